"""Every public module, class, function and method says what it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = ("espnet_audiollm", "utils")
FILES = sorted(path for place in PLACES for path in (ROOT / place).rglob("*.py"))


def public(tree: ast.Module, path: Path) -> Iterator[tuple[str, ast.AST]]:
    """(name, node) of the file and of what it defines for others to use."""
    yield path.stem, tree
    for node in tree.body:
        yield from _defined(node, "")


def _defined(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    if not isinstance(node, kinds) or node.name.startswith("_"):
        return
    yield prefix + node.name, node
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            yield from _defined(inner, f"{prefix}{node.name}.")


def lacking(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [name for name, node in public(tree, path) if not ast.get_docstring(node)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_everything_public_has_a_docstring(path):
    assert not lacking(path)


def test_what_is_public(tmp_path):
    path = tmp_path / "some.py"
    path.write_text(
        '"""Some."""\ndef f():\n    def inner(): ...\ndef _g(): ...\n'
        "class A:\n    x: int\n    def __init__(self): ...\n    def m(self): ...\n"
        "class _B:\n    def n(self): ...\n"
    )
    assert lacking(path) == ["f", "A", "A.m"]
