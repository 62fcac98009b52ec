import pytest

from espnet_audiollm.data import sorting


@pytest.mark.parametrize("own_place", [True, False])
def test_rows_are_sorted_on_the_disk(tmp_path, monkeypatch, own_place):
    """Runs of 2 rows: 4 files are merged; the end of an id sorts before what it may go on with."""
    monkeypatch.setattr(sorting, "RUN", 2)
    ids = ["b", "a-1", "a", "é", "a\x01", "a1", "b"]
    rows = ((id_, f"text\t{n}") for n, id_ in enumerate(ids))
    found = list(sorting.sort_rows(rows, tmp_path if own_place else None))
    assert [id_ for id_, _ in found] == ["a", "a\x01", "a-1", "a1", "b", "b", "é"]
    assert [value for _, value in found][-3:] == ["text\t0", "text\t6", "text\t3"]
    assert len(list(tmp_path.iterdir())) == (4 if own_place else 0)


def test_fewer_rows_need_no_disk():
    rows = [("b", "", "2"), ("a", "x y", "1"), ("a", "", "3")]
    assert list(sorting.sort_rows(rows)) == [("a", "", "3"), ("a", "x y", "1"), ("b", "", "2")]
    assert list(sorting.sort_rows([])) == []


@pytest.mark.parametrize("row", [("a b", "x"), ("", "x"), ("a", "x\0y"), ("a", "x\ny")])
def test_rows_that_no_table_can_hold(row):
    with pytest.raises(ValueError, match="cannot be an id|a NUL or a line break"):
        list(sorting.sort_rows([row]))
