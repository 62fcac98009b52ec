"""Names of sources."""

import pytest

from espnet_audiollm.units.sources import Source


@pytest.mark.parametrize(
    "name, source",
    [
        ("ctc:exp/ctc:3", Source("ctc", "exp/ctc", 3)),
        ("ctc:exp/ctc", Source("ctc", "exp/ctc", None)),
        ("ctc:exp/a:b:3", Source("ctc", "exp/a:b", 3)),
        ("hf:/models/hubert:9", Source("hf", "/models/hubert", 9)),
        ("fbank:2", Source("fbank", "", 2)),
    ],
)
def test_parse(name, source):
    assert Source.parse(name) == source and str(source) == name


def test_patches_are_of_40_ms():
    assert Source.parse("fbank") == Source("fbank", "", 4)


@pytest.mark.parametrize(
    "name, says",
    [
        ("mfcc:4", "'mfcc'"),
        ("", "give ctc:EXP"),
        ("ctc", "directory ''"),
        ("hf:DIR", "which layer"),
        ("fbank:DIR:3", "'DIR'"),
        ("ctc:exp:0", "from 1"),
    ],
)
def test_wrong_names_are_refused(name, says):
    with pytest.raises(ValueError, match=says):
        Source.parse(name)
