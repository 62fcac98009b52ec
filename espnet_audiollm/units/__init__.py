"""Discrete units of speech: where their frames come from, and quantisers."""
