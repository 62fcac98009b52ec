"""docs/cluster.md: its configuration is one that the runner takes, its links lead somewhere."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")


@pytest.fixture
def slurm_config(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "utils"))
    from jobs import slurm_config

    return slurm_config


def shown_configuration() -> str:
    found = re.search(r"^    default:\n(?:    .*\n)+", GUIDE, re.MULTILINE)
    return textwrap.dedent(found[0])


def test_the_shown_configuration_is_taken(slurm_config, tmp_path):
    path = tmp_path / "slurm.yaml"
    path.write_text(shown_configuration())
    training = slurm_config.load_config(str(path), "train").asked
    assert (training.account, training.partition, training.time) == ("speech", "gpu", "2-00")
    assert (training.cpus_per_gpu, training.mem, training.signal) == (5, "120G", 300)
    assert slurm_config.load_config(str(path), "cpu").asked.partition == "batch"


def test_refusals_of_the_guide_name_the_keys_it_names(slurm_config, tmp_path):
    """What the guide says to change is among what the runner says."""
    path = tmp_path / "slurm.yaml"
    path.write_text(shown_configuration())
    config = slurm_config.load_config(str(path), "train")
    section = GUIDE.split("## What goes wrong")[1]
    rows = re.findall(r"^\| (`(?:Invalid|Requested|Job violates).*?) \| (.*) \|$", section, re.M)
    assert len(rows) == 6
    for seen, change in rows:
        for sentence in re.findall(r"`([A-Z][^`]* [^`]+)`", seen):
            keys = set(re.findall(r"([a-z]+) \(now", slurm_config.advice(sentence, config)))
            shown = set(re.findall(r"`(\w+)`", change))
            assert keys & shown or (not keys and "--nj" in change), (sentence, keys, shown)


def test_its_links_lead_somewhere():
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^## (.*)$", GUIDE, re.MULTILINE)
    }
    targets = re.findall(r"\]\(#([\w-]+)\)", GUIDE.replace("\n", " "))
    assert targets and set(targets) <= headings
