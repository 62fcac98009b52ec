"""Small real models for tests: random weights, the code paths of a 7B."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from espnet_audiollm.model.conformer import ConformerEncoder
from espnet_audiollm.model.frontend import Filterbank
from espnet_audiollm.model.speech_encoder import SpeechEncoder

LLAMA = dict(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    initializer_range=0.3,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)


def random_llama(vocab_size, seed=0, dtype=torch.float32, **config):
    """A frozen Llama with random weights; `config` says what differs from LLAMA."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, **LLAMA | config))
    return model.to(dtype).eval().requires_grad_(False)


def tiny_llama(kv_heads=2, dtype=torch.float64, seed=0):
    return random_llama(40, seed, dtype, num_key_value_heads=kv_heads)


def tiny_encoder(dtype=torch.float64, seed=0, **options):
    torch.manual_seed(seed)
    frontend = Filterbank()
    defaults = dict(
        output_size=16,
        attention_heads=2,
        linear_units=24,
        num_blocks=2,
        dropout_rate=0.0,
        cnn_module_kernel=5,
        subsampling_channels=4,
    )
    encoder = ConformerEncoder(80, **{**defaults, **options})
    return SpeechEncoder(frontend, None, None, encoder).to(dtype)


def noise(*lengths, dtype=torch.float64, seed=1):
    """Zero-padded (B, N) noise and its lengths."""
    generator = torch.Generator().manual_seed(seed)
    waves = [torch.randn(n, generator=generator, dtype=dtype) * 0.1 for n in lengths]
    return torch.nn.utils.rnn.pad_sequence(waves, batch_first=True), torch.tensor(lengths)
