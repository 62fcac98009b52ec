"""How the tools of this directory start: import it before anything of espnet_audiollm.

They run from anywhere, also through a recipe's link `utils`, with no environment activated: what
they import is found from this file's place, and a Python without our requirements hands over to
that of tools/venv."""

import importlib.util
import os
import sys

_here = os.path.dirname(os.path.realpath(__file__))
_root = os.path.dirname(os.path.dirname(_here))
_python = os.path.join(_root, "tools", "venv", "bin", "python")

# Our statistics.py is not Python's: this directory is no place to import from.
sys.path[:] = [place for place in sys.path if os.path.realpath(place or ".") != _here]
sys.path.insert(0, _root)

if importlib.util.find_spec("soundfile") is None:
    if not os.path.exists(_python) or os.environ.get("AUDIOLLM_STARTED"):
        sys.exit(f"{sys.argv[0]}: error: {_root}/tools/venv is not installed: run tools/install.sh")
    os.environ["AUDIOLLM_STARTED"] = "1"
    os.execv(_python, [_python, *sys.argv])
