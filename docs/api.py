"""Pages of docs/api/ from docstrings: one for each room of the package, and one for utils."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "espnet_audiollm"
FENCE = "`" * 6
CODE = re.compile(r"(`[^`]*`)")


def write_pages(root: Path) -> None:
    """Only what changed is written: Sphinx reads only that again."""
    place = root / "docs/api"
    place.mkdir(exist_ok=True)
    pages = {path.stem: page(root, path) for path in sorted((root / PACKAGE).glob("[!_]*"))}
    pages["utils"] = page(root, root / "utils")
    for old in place.glob("*.md"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        path = place / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def page(root: Path, room: Path) -> str:
    """The modules of a room."""
    files = sorted(room.rglob("*.py")) if room.is_dir() else [room]
    parts = (part for file in files for part in module(file, name_of(root, file)))
    return "\n".join([f"# {room.stem}", "", *parts, ""])


def name_of(root: Path, file: Path) -> str:
    """espnet_audiollm.score.wer."""
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def module(file: Path, name: str) -> Iterator[str]:
    """A heading, the docstring, and what is public."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    yield from (f"## {name}", "", f"{FENCE}{{py:module}} {name}", FENCE, "", docstring(tree), "")
    for node in tree.body:
        yield from definition(node, 6)


def definition(node: ast.stmt, ticks: int) -> Iterator[str]:
    """A class with its methods, a function; nothing for what is private."""
    if getattr(node, "name", "_").startswith("_"):
        return
    fence = "`" * ticks
    if isinstance(node, ast.ClassDef):
        yield from (f"{fence}{{py:class}} {node.name}", "", docstring(node), "")
        for inner in node.body:
            yield from field(inner)
        yield ""
        for inner in node.body:
            yield from definition(inner, ticks - 1)
        yield from (fence, "")
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        kind, signature = kind_and_signature(node, ticks < 6)
        yield from (f"{fence}{{py:{kind}}} {signature}", "", docstring(node), fence, "")


def kind_and_signature(node: ast.FunctionDef | ast.AsyncFunctionDef, method: bool) -> tuple:
    """Sphinx's name of the directive, and what follows it."""
    if any(ast.unparse(each).endswith("property") for each in node.decorator_list):
        return "property", node.name
    arguments = re.sub(r"^(self|cls)(, )?", "", ast.unparse(node.args)) if method else ""
    arguments = arguments if method else ast.unparse(node.args)
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return ("method" if method else "function"), f"{node.name}({arguments}){result}"


def field(node: ast.stmt) -> Iterator[str]:
    """An annotated field of a class."""
    if isinstance(node, ast.AnnAssign) and not ast.unparse(node.target).startswith("_"):
        yield f"- `{ast.unparse(node.target)}: {ast.unparse(node.annotation)}`"


def docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """As Markdown: what looks like a tag or a comment is none."""
    parts = CODE.split(ast.get_docstring(node) or "")
    escaped = (p if p.startswith("`") else re.sub(r"<(?=\w)|^%", r"\\\g<0>", p) for p in parts)
    return "".join(escaped)
