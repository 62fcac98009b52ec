"""Every file format has its one owner here: atomic files, shards, run directories, tables."""
