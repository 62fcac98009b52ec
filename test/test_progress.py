"""The line that long stages print."""

import pytest

from espnet_audiollm import progress


@pytest.mark.parametrize(
    ("done", "elapsed", "line"),
    [
        (30, 10.0, "work: 30/120 utt (3.0 utt/s, 10 s so far, 30 s left)"),
        (2, 80.0, "work: 2/120 utt (40.0 s/utt, 80 s so far, 4720 s left)"),
        (0, 5.0, "work: 0/120 utt (0.0 utt/s, 5 s so far, 0 s left)"),
    ],
)
def test_what_is_done_the_rate_the_time_left(capsys, done, elapsed, line):
    progress._report("work", "utt", done, 120, elapsed)
    assert capsys.readouterr().err == line + "\n"


def test_items_pass_through_and_count_by_size(capsys):
    batches = [["a", "b"], ["c"]]
    assert list(progress.progress(batches, 3, "work", size=len, every=0)) == batches
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["2/3", "3/3", "3/3"]
