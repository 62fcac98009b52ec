"""What importing the tasks does, and does not."""

import re
import subprocess
import sys


def test_nothing_is_fetched(root):
    program = (
        "import nltk.downloader as d\n"
        "def fetch(*args, **kwargs): raise SystemExit('it fetches')\n"
        "d.Downloader._update_index = fetch\n"
        "import espnet_audiollm.tasks.ctc, espnet_audiollm.tasks.audiollm"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_espnet_requires_and_is_not_installed_is_not_imported(root):
    """pyworld needs a compiler, editdistance one from Python 3.13 on; numba takes 100 MB."""
    program = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    sys.modules[name] = None
import espnet_audiollm
for module in pkgutil.walk_packages(espnet_audiollm.__path__, "espnet_audiollm."):
    importlib.import_module(module.name)
import espnet2.bin.aggregate_stats_dirs, espnet2.train.preprocessor
"""
    absent = "pyworld editdistance lightning hydra ci_sdr fast_bss_eval asteroid_filterbanks numba"
    pins = (root / "tools/constraints.txt").read_text()
    assert "torch==" in pins and not {"pyworld", "editdistance"} & set(re.split("==|\n", pins))
    words = [sys.executable, "-c", program, "g2p_en", *absent.split()]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
