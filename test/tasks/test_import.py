"""What importing the tasks does, and does not."""

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
