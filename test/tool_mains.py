"""The mains of the tools and of the stages, called in this process: as the start of another one
takes longer than most of their work."""

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class Done(NamedTuple):
    status: int
    out: str
    err: str

    def fails(self, *words: str) -> None:
        """Exit status 1 and one complaint with all these words."""
        assert self.status == 1 and "Traceback" not in self.err, self.err
        for word in words:
            assert word in self.err

    def says(self, *words: str) -> None:
        assert self.status == 0, self.err
        for word in words:
            assert word in self.out


def main_of(root: Path, name: str) -> Callable:
    """The main of utils/data/NAME.py, else of espnet_audiollm.bin.NAME."""
    path = root / "utils/data" / f"{name}.py"
    if not path.exists():
        return importlib.import_module(f"espnet_audiollm.bin.{name}").main
    spec = importlib.util.spec_from_file_location(f"utils.data.{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def imported_for_help(name: str, modules: Sequence[str]) -> list[str]:
    """Which of `modules` a process has imported that shows the help of espnet_audiollm.bin.NAME."""
    code = (
        f"import sys, espnet_audiollm.bin.{name} as main; main.get_parser().format_help(); "
        f"print(*(m for m in {tuple(modules)} if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def run_main(main: Callable, words, capfd) -> Done:
    capfd.readouterr()
    try:
        status = main([str(word) for word in words])
    except SystemExit as end:
        status = end.code
    return Done(status or 0, *capfd.readouterr())
