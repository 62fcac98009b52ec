"""Experiments beside each other: what is kept of each utterance, and tests of differences."""
