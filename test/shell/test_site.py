"""The documentation site builds without a warning, from the guides and the docstrings."""

import shutil
import subprocess
import sys

import pytest


def build(root, output):
    command = [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-c", "docs"]
    return subprocess.run(
        [*command, "-d", output / "doctrees", ".", output / "site"],
        cwd=root,
        capture_output=True,
        text=True,
    )


def test_the_site_builds_without_a_warning(root, tmp_path):
    done = build(root, tmp_path)
    assert done.returncode == 0 and not done.stdout + done.stderr, done.stderr
    site = tmp_path / "site"
    first = (site / "index.html").read_text()
    guides = [root / "README.md", *root.glob("docs/*.md"), *root.glob("egs2/*/*1/README.md")]
    for path in [*guides, root / "CONTRIBUTING.md", root / "CHANGELOG.md"]:
        name = str(path.relative_to(root).with_suffix(".html"))
        assert (site / name).is_file() and (name in first or name == "README.html"), name
    assert "espnet_audiollm.score.wer.word_errors" in (site / "docs/api/score.html").read_text()


@pytest.mark.parametrize("link", ["docs/none.md", "docs/text.md#no-such-heading"])
def test_a_link_that_leads_nowhere_is_an_error(root, tmp_path, link):
    (tmp_path / "docs").mkdir()
    for name in ("conf.py", "api.py", "text.md"):
        shutil.copy(root / "docs" / name, tmp_path / "docs")
    (tmp_path / "utils").mkdir()
    (tmp_path / "README.md").write_text(f"# Here\n\n[there]({link})\n")
    done = build(tmp_path, tmp_path)
    assert done.returncode == 1 and link.split("#")[-1] in done.stderr
