"""The author's guide: its tables are the scripts', and its worked example works, word for word."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from recipe_copies import environment

from espnet_audiollm.data import kaldi_dir

GUIDE = "egs2/TEMPLATE/audiollm1/README.md"


def test_its_tables_are_those_of_the_scripts(root, tmp_path):
    """If not: utils/guide.py, and look at what it changed."""
    again = tmp_path / "README.md"
    shutil.copy(root / GUIDE, again)
    subprocess.run([sys.executable, root / "utils/guide.py", "--guide", again], check=True)
    assert again.read_text() == (root / GUIDE).read_text()


def test_a_table_follows_its_script(root, tmp_path):
    script, guide = tmp_path / "audiollm.sh", tmp_path / "README.md"
    script.write_text(
        "## Sound\nmax_audio=20  # Longest kept (seconds).\n"
        'name=""  # A|B.\n_hidden=1\nbare=1\n. utils/parse_options.sh\nlate=1 # No option.\n'
    )
    guide.write_text(
        "A\n<!-- options -->\nold\n<!-- /options -->\n<!-- tools -->\n<!-- /tools -->\nB\n"
    )
    command = [sys.executable, root / "utils/guide.py", "--script", script, "--guide", guide]
    subprocess.run(command, check=True)
    lines = guide.read_text().split("<!-- tools -->")[0].splitlines()
    assert lines == [
        "A",
        "<!-- options -->",
        "**Sound**",
        "",
        "| option | default | meaning |",
        "|---|---|---|",
        "| `--max_audio` | `20` | Longest kept (seconds). |",
        "| `--name` |  | A\\|B. |",
        "| `--bare` | `1` |  |",
        "<!-- /options -->",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "audiollm.sh"]


def test_links_within_it_lead_somewhere(root):
    text = (root / GUIDE).read_text()
    headings = re.findall(r"^## (.*)", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    found = set(re.findall(r"\]\(#([\w-]+)\)", text))
    assert found and found <= anchors


@pytest.fixture
def checkout(root, tmp_path):
    """A tree whose template is a copy, so that setup.sh makes recipes here."""
    ignore = shutil.ignore_patterns("data", "dump", "exp")
    shutil.copytree(root / "egs2/TEMPLATE", tmp_path / "egs2/TEMPLATE", ignore=ignore)
    for name in ("utils", "tools", "espnet_audiollm", "egs2/mini"):
        (tmp_path / name).symlink_to(root / name)
    return tmp_path


def test_the_worked_example(root, checkout):
    pytest.importorskip("espeakng_loader", reason="speech is made by espeak-ng")
    section = (root / GUIDE).read_text().split("## A worked example")[1].split("\n## ")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=checkout,
        capture_output=True,
        text=True,
        env=environment(HF_HUB_OFFLINE="1"),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    recipe = checkout / "egs2/lamps/audiollm1"
    speakers = {}
    for split, number in {"train": 64, "valid": 8, "test": 8}.items():
        utts = kaldi_dir.load_utterances(recipe / "dump" / split)
        speakers[split] = {utt.speaker for utt in utts}
        assert len(utts) == number
    assert not speakers["train"] & speakers["test"]
    results = json.loads((recipe / "exp/results.json").read_text())
    systems = {system["name"]: system for system in results["systems"]}
    assert set(systems) == {"reference", "cascade", "audiollm", "no_prompt"}
    assert {system["num_utts"] for system in systems.values()} == {8}
    assert "| reference" in done.stdout  # the table is shown at the end
