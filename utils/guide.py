#!/usr/bin/env python3
"""Write the tables of the author's guide anew: audiollm.sh's options, and the tools of utils/data.

A table stands between <!-- NAME --> and <!-- /NAME -->; the rest of the guide is left as it is."""

from __future__ import annotations

import argparse
import ast
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "egs2/TEMPLATE/audiollm1"
# As utils/parse_options.sh knows them.
OPTION = re.compile(r"([a-z][a-zA-Z0-9_]*)=(?!\()(.*?)(?:\s+# (.*))?")


def options(script: str) -> str:
    """A table under each heading of a script's option block."""
    lines = []
    for line in script.split(". utils/parse_options.sh")[0].splitlines():
        if line.startswith("## "):
            lines += ["", f"**{line[3:]}**", "", "| option | default | meaning |", "|---|---|---|"]
        elif found := OPTION.fullmatch(line):
            name, default, meaning = found.groups()
            lines.append(f"| `--{name}` | {_code(default)} | {_cell(meaning or '')} |")
    return "\n".join(lines[1:])


def tools(scripts: list[Path]) -> str:
    """A row for each script: its name, and the first sentence of its docstring."""
    lines = ["| tool | what |", "|---|---|"]
    for script in scripts:
        docstring = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
        first = " ".join(docstring.split("\n\n")[0].split())
        lines.append(f"| `utils/data/{script.name}` | {_cell(first)} |")
    return "\n".join(lines)


def _code(default: str) -> str:
    value = default.strip('"') if default.count('"') == 2 else default
    if default.startswith('"$(basename'):
        return "the corpus's directory"
    return f"`{_cell(value)}`" if value else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def fill_in(guide: str, name: str, table: str) -> str:
    """The guide with another table of that name. ValueError where there is no place for it."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    guide, count = pattern.subn(lambda found: f"{found[1]}{table}\n{found[2]}", guide)
    if count != 1:
        raise ValueError(f"there are {count} places <!-- {name} --> in the guide, not 1")
    return guide


def main() -> None:
    """Run the command; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--script", type=Path, default=TEMPLATE / "audiollm.sh")
    parser.add_argument("--guide", type=Path, default=TEMPLATE / "README.md")
    args = parser.parse_args()
    scripts = sorted(ROOT.glob("utils/data/[a-z]*.py"))
    text = fill_in(args.guide.read_text(), "options", options(args.script.read_text()))
    aside = args.guide.with_suffix(".tmp")
    aside.write_text(fill_in(text, "tools", tools(scripts)))
    os.replace(aside, args.guide)


if __name__ == "__main__":
    main()
