"""ESPnet-AudioLLM: audio for Llamas, in recipes of ESPnet's style."""

__version__ = "0.2.0"
