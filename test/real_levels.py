"""Real speech as units: small enough to be learned by heart."""

import pytest
import torch


def real_levels(shared, number, frames=50):
    """(4, T) semantic units and (4, T, L) levels of four speakers' first two seconds: 12
    semantic units, and 16 of each of the `number` levels."""
    from espnet_audiollm.data.audio import read_mono_16k
    from espnet_audiollm.model.patches import LogMelPatches
    from espnet_audiollm.units.quantiser import Quantiser, learn
    from espnet_audiollm.units.sources import Source

    paths = sorted((shared / "data/LibriSpeech/dev-clean").rglob("*.flac"))[:4]
    if len(paths) < 4:
        pytest.skip("the shared speech is not here")
    waves = [torch.from_numpy(read_mono_16k(path)[: 640 * frames + 400]) for path in paths]
    x_BTC, _ = LogMelPatches()(torch.stack(waves), torch.full((4,), len(waves[0])))
    x_NC = x_BTC[:, :frames].flatten(0, 1)

    def codes(size, levels):
        parts = learn(x_NC.numpy(), size, levels=levels)
        return Quantiser(Source("fbank", "", 4), "", "", 25.0, **parts).codes(x_NC)

    levels_BTL = codes(16, number).T.reshape(4, frames, number)
    return codes(12, 1).reshape(4, frames), levels_BTL
