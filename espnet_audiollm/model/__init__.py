"""The encoder, adapters, the frozen LLM, packing, and the two ESPnet models."""
