"""What the benchmarks of the alignment are fed: LibriSpeech's lengths, shapes of LLMs.

Needs only torch: imported where no time is to be spent on more."""

from __future__ import annotations

import torch

RATE = 16_000  # Hz
PREFIX, SUFFIX = 10, 4  # tokens of the prompt around the audio, about those of Llama-2's template
WORDS = 3  # tokens of a transcript, a second
TINY = dict(hidden_size=64, intermediate_size=172, num_hidden_layers=2, vocab_size=500)
TINY |= dict(num_attention_heads=4, num_key_value_heads=4)
SMALL = dict(hidden_size=512, intermediate_size=1376, num_hidden_layers=8, vocab_size=32000)
SMALL |= dict(num_attention_heads=8, num_key_value_heads=8)
SMOLLM2_135M = dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30)
SMOLLM2_135M |= dict(num_attention_heads=9, num_key_value_heads=3, vocab_size=49152)
SMOLLM2_135M |= dict(tie_word_embeddings=True, max_position_embeddings=8192)
MINI = dict(hidden_size=192, intermediate_size=512, num_hidden_layers=4, vocab_size=600)
MINI |= dict(num_attention_heads=3, num_key_value_heads=3)
LLMS = {"smollm2-135m": SMOLLM2_135M, "small": SMALL, "mini": MINI, "tiny": TINY}


def draw_durations(audio: float) -> list[float]:
    """Seconds of utterances, as long as LibriSpeech's, until there would be more than `audio`."""
    durations: list[float] = []
    while True:
        short = torch.rand(()) < 0.3
        low, high = (1.5, 12) if short else (12, 17)
        duration = min(float(torch.empty(()).uniform_(low, high)), 20.0)
        if durations and sum(durations) + duration > audio:
            return durations
        durations.append(round(duration, 2))


def draw_responses(number: int, shortest: int = 100, longest: int = 200) -> list[int]:
    """Tokens of `number` responses."""
    return torch.randint(shortest, longest + 1, (number,)).tolist()
