"""Kaldi directories, indices and batches, audio, noise, prompts, conversations, responses."""
