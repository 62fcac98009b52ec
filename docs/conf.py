"""The documentation site: `python -m sphinx -c docs . OUT` from the checkout.

Its pages are the Markdown files where they lie, so that their links are right here and in a code
browser, and docs/api/, which is written from the docstrings each time. Nothing is imported, and
nothing is fetched."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.append(str(Path(__file__).parent))
import api

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "Guides": [
        "egs2/TEMPLATE/audiollm1/README",
        *("docs/author_tools", "docs/cluster", "docs/text", "docs/hearing"),
        *("docs/behaviours", "docs/packing", "docs/chat", "docs/serve", "docs/serving"),
        "docs/speechlm",
    ],
    "Evaluation": ["docs/evaluation", "docs/noise", "docs/conversations", "docs/human_evaluation"],
    "Measured": [
        *("docs/first_real_run", "docs/casing", "docs/scale", "docs/speed"),
        *("docs/speechlm_results", "docs/LOG"),
    ],
    "Corpora": ["egs2/README", "egs2/*/*1/README", "egs2/*/audiollm1/RESULTS"],
    "The package": ["docs/api/*"],
    "The project": ["CONTRIBUTING", "CHANGELOG"],
}

project = "ESPnet-AudioLLM"
copyright = "the authors, under the Apache Licence 2.0"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = project
root_doc = "README"
include_patterns = ["README.md", *(f"{page}.md" for pages in PAGES.values() for page in pages)]
exclude_patterns = ["test", "tools", "espnet_audiollm", "utils"]
exclude_patterns += [f"egs2/**/{name}" for name in ("utils", "data", "dump", "exp", "downloads")]
myst_heading_anchors = 3
suppress_warnings = ["ref.python"]  # annotations have short names, of which some are not unique


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """The first page is the README, with the table of contents behind it."""
    if name == root_doc:
        for caption, pages in PAGES.items():
            options = f":caption: {caption}\n:hidden:\n:glob:\n"
            source[0] += "\n```{toctree}\n" + options + "\n" + "\n".join(pages) + "\n```\n"


def add_index(app: Sphinx, exception: Exception | None) -> None:
    """What a web server shows first."""
    first = Path(app.outdir) / f"{root_doc}.html"
    if exception is None and first.exists():
        shutil.copy(first, first.with_name("index.html"))


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    api.write_pages(ROOT)
    app.connect("source-read", add_contents)
    app.connect("build-finished", add_index)
