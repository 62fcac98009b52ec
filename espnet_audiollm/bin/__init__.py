"""One short main for each command."""
