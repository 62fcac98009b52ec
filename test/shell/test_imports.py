"""Imports go down only, and heavy packages are not loaded where a tool can do without."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "espnet_audiollm"
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = (
    "types progress store text data corpus units model train tasks infer score report serve bin"
).split()
# Each may import those before it, and score only these: it knows no model.
BELOW_SCORE = {"types", "progress", "store", "text", "data"}
HEAVY = {"torch", "torchaudio", "transformers", "espnet", "espnet2", "matplotlib", "librosa"}
LIGHT_ROOMS = {"types", "progress", "store", "text", "data", "corpus", "score", "report", "bin"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path, anywhere: bool) -> set[str]:
    """Absolute names of the modules that a file imports, `anywhere` or on its top level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    here = [PACKAGE.name, *path.relative_to(PACKAGE).parts]
    found = set()
    for node in ast.walk(tree) if anywhere else top_level(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: -node.level] if node.level else []
            base += [node.module] if node.module else []
            found |= {".".join([*base, alias.name]) for alias in node.names}
    return found


def top_level(tree: ast.AST):
    """Nodes that run when the module is imported; `if TYPE_CHECKING:` does not."""
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from ast.walk(node)


def by_file(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda p: str(p.relative_to(PACKAGE)))


@by_file([path for path in FILES if room_of(path) != "__init__"])
def test_imports_go_down_only(path):
    room = room_of(path)
    names = [name.split(".") for name in imports(path, anywhere=True)]
    used = {name[1] for name in names if name[0] == PACKAGE.name and len(name) > 1}
    allowed = BELOW_SCORE if room == "score" else set(ROOMS[: ROOMS.index(room)])
    assert used - {"__version__"} <= allowed | {room}


@by_file([path for path in FILES if room_of(path) in LIGHT_ROOMS])
def test_light_modules_load_nothing_heavy(path):
    used = {name.split(".")[0] for name in imports(path, anywhere=False)}
    assert not used & HEAVY


def test_types_knows_no_torch():
    assert "torch" not in imports(PACKAGE / "types.py", anywhere=True)
