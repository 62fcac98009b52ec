"""The trainer, sessions, checkpoints, iterators, supervision."""
