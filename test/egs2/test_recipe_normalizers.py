"""The recipes of several languages compare texts in the form of the language that is asked for."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from espnet_audiollm.text.normalize import normalizer

ROOT = Path(__file__).parents[2]


def chosen(recipe: str, directory: Path, *options: str) -> str:
    """The last --normalizer that the recipe's run.sh gives to audiollm.sh."""
    place = directory / recipe
    place.mkdir()
    shutil.copy(ROOT / "egs2" / recipe / "audiollm1/run.sh", place)
    (place / "utils").symlink_to(ROOT / "utils")
    (place / "conf").symlink_to(ROOT / "egs2" / recipe / "audiollm1/conf")
    (place / "audiollm.sh").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (place / "audiollm.sh").chmod(0o755)
    done = subprocess.run([place / "run.sh", *options], capture_output=True, text=True, check=True)
    words = done.stdout.splitlines()
    return [b for a, b in zip(words, words[1:], strict=False) if a == "--normalizer"][-1]


@pytest.mark.parametrize(
    ("recipe", "options", "name"),
    [
        ("commonvoice", [], "en"),
        ("commonvoice", ["--lang", "zh-TW", "--local_data_opts", "--stats x.json"], "zh-TW"),
        ("commonvoice", ["--lang=tr", "--normalizer", "basic"], "basic"),
        ("voxpopuli", ["--local_data_opts", "--text raw", "--lang", "it"], "it"),
        ("covost2", ["--pair", "ca_en"], "ca"),
        ("covost2", ["--pair", "en_de"], "en"),
        ("mls_english", [], "en"),
    ],
)
def test_the_language_chooses(tmp_path, recipe, options, name):
    assert chosen(recipe, tmp_path, *options) == name
    normalizer(name)


def test_there_is_a_form_for_every_language_of_the_corpora():
    voxpopuli = (ROOT / "egs2/voxpopuli/audiollm1/local/data.sh").read_text()
    codes = re.search(r"The language \(([a-z\s#]+)\)", voxpopuli)[1].replace("#", "").split()
    assert len(codes) == 16
    covost2 = "fr de es ca it ru zh-CN pt fa et mn nl tr ar sv-SE lv sl ta ja id cy en"
    for code in [*codes, *covost2.split()]:
        assert normalizer(code).language
