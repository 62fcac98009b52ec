"""A recipe's stages as Slurm's jobs leave what they leave on one machine."""

import os
import subprocess

import pytest
from recipe_copies import MINI_OPTIONS, MINI_TRAINING, check_same, copy_recipe

# As many threads as this machine's runner takes: another number rounds sums otherwise.
SLURM = f"""
default: {{mem: 1500M, cpus: {len(os.sched_getaffinity(0))}}}
poll: 1
file_delay: 5
"""


@pytest.fixture
def recipe(root, tmp_path):
    recipe = copy_recipe(root, tmp_path, "mini", MINI_TRAINING)
    (recipe / "slurm.yaml").write_text(SLURM)
    return recipe


def test_mini(cluster, recipe, mini_run):
    options = ["--cmd_backend", "slurm", "--slurm_config", "slurm.yaml", *MINI_OPTIONS]
    done = subprocess.run(
        [str(recipe / "run.sh"), *options, "--inference_nj", "2"],
        cwd="/",
        env={**cluster.env, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    check_same(recipe, mini_run.recipe)
    assert "# job: " in (recipe / "exp/ctc_test_llm_llm_120/train.log").read_text()
    cluster.wait_idle()  # nothing is left in the queue
