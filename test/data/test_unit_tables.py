"""Tables of units."""

import pytest

from espnet_audiollm.data.unit_tables import (
    LevelsRow,
    UnitRow,
    UnitSet,
    expand,
    iter_levels,
    iter_units,
    merge_repeats,
    read_set,
    write_set,
)

SET = UnitSet("f" * 64, 10, 25.0, merged=False)
GOOD = '{"quantiser": "f", "size": 10, "frames_per_second": 25.0, "merged": false}'
MERGED = UnitSet("f" * 64, 10, 25.0, merged=True)


def put(directory, unit_set, **tables):
    directory.mkdir(exist_ok=True)
    write_set(directory, unit_set)
    for name, text in tables.items():
        (directory / name).write_text(text)
    return directory


def test_merged_and_expanded_again():
    assert merge_repeats([3, 3, 3, 1, 3, 3]) == ([3, 1, 3], [3, 1, 2])
    assert list(expand([3, 1, 3], [3, 1, 2])) == [3, 3, 3, 1, 3, 3]
    assert merge_repeats([]) == ([], [])


def test_read_with_and_without_durations(tmp_path):
    plain = put(tmp_path / "a", SET, units="u 3 3 1\nv 9\n")
    assert list(iter_units(plain)) == [UnitRow("u", (3, 3, 1), (1, 1, 1)), UnitRow("v", (9,), (1,))]
    merged = put(tmp_path / "b", MERGED, units="u 3 1\nv 9\n", durations="u 2 1\nv 1\n")
    assert [row.frames for row in iter_units(merged)] == [(3, 3, 1), (9,)]
    assert read_set(merged) == MERGED


@pytest.mark.parametrize(
    "unit_set, tables, says",
    [
        (SET, {"units": "u 1\nv\n"}, "v has no units"),
        (SET, {"units": "u 1 10 11\n"}, "2 of 3 units .first: 10.*0 to 9"),
        (SET, {"units": "u 1 x\n"}, "1 of 2 units"),
        (MERGED, {"units": "u 1 2\n", "durations": "u 4\n"}, "1 durations for 2 units"),
        (MERGED, {"units": "u 1 2\n", "durations": "u 4 0\n"}, "below 1"),
        (MERGED, {"units": "u 1\n", "durations": "v 4\n"}, "u is missing in durations"),
        (MERGED, {"units": "u 1\n"}, "durations does not exist"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, unit_set, tables, says):
    with pytest.raises(ValueError, match=says):
        list(iter_units(put(tmp_path / "a", unit_set, **tables)))


def test_no_or_damaged_units_json(tmp_path):
    with pytest.raises(ValueError, match="has no units.*bin/extract_units"):
        read_set(tmp_path)
    for text, says in {
        '{"size": 3}': "3 fields are wrong, first: no frames_per_second",
        GOOD.replace("25.0", "0"): "10 units at 0 a second",
        GOOD.replace("10", "true"): "size is True",
        GOOD.replace("25.0", "NaN"): "frames_per_second is nan",
        GOOD.replace("25.0", '"25"'): "frames_per_second is '25'",
        GOOD[:-1]: "is damaged",
    }.items():
        (tmp_path / "units.json").write_text(text)
        with pytest.raises(ValueError, match=f"{says}.*bin/extract_units"):
            read_set(tmp_path)


def test_a_table_for_each_level(tmp_path):
    levels = UnitSet("f" * 64, 10, 25.0, merged=False, levels=2)
    place = put(tmp_path / "a", levels, units="u 3 3 1\nv 9\n", units_2="u 0 5 5\nv 1\n")
    assert list(iter_levels(place)) == [
        LevelsRow("u", ((3, 3, 1), (0, 5, 5))),
        LevelsRow("v", ((9,), (1,))),
    ]
    assert [row.units for row in iter_units(place)] == [(3, 3, 1), (9,)]
    assert [row.units for row in iter_units(place, level=2)] == [(0, 5, 5), (1,)]
    (place / "units_2").write_text("u 0 5\nv 1\n")
    with pytest.raises(ValueError, match="u has 2 units in one level and 3.*bin/extract_units"):
        list(iter_levels(place))
    (place / "units_2").unlink()
    with pytest.raises(ValueError, match="units_2 does not exist"):
        list(iter_levels(place))
    with pytest.raises(ValueError, match="merged repeats of 2 levels.*--merge_repeats false"):
        UnitSet("f", 10, 25.0, merged=True, levels=2)


def test_units_of_another_quantiser_are_refused():
    SET.check_quantiser("f" * 64, "dump", "the LLM exp/joint")
    with pytest.raises(ValueError, match="dump.*ffffffffffff.*the LLM exp/joint.*aaaaaaaaaaaa"):
        SET.check_quantiser("a" * 64, "dump", "the LLM exp/joint")
