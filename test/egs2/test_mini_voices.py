"""No voice of the mini recipe's test set is in the training data."""

import sys
from pathlib import Path

from espnet_audiollm.corpus import voices

LOCAL = Path(__file__).parents[2] / "egs2" / "mini" / "audiollm1" / "local"


def test_test_voices_are_never_in_training(monkeypatch):
    monkeypatch.syspath_prepend(str(LOCAL))
    import synthesize

    spoken = {s: {v.name for _, _, v in synthesize.plan(s, 500, 1)} for s in ("train", "test")}
    assert len(spoken["test"]) > 20 and not spoken["train"] & spoken["test"]
    assert not set(voices.TRAIN_VARIANTS) & set(voices.TEST_VARIANTS)
    sys.modules.pop("synthesize")
