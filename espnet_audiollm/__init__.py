"""ESPnet-AudioLLM: teach a frozen Llama to hear."""

__version__ = "0.1.0"
