"""local/ablation.sh on top of the mini recipe, cut down: two systems, all stages for real."""

import shutil
import subprocess

import yaml
from recipe_copies import ADAPTER, MINI_OPTIONS, MINI_TRAINING, environment


def test_two_systems_on_top_of_the_recipe_cut_down(mini_run, tmp_path):
    """For real; a second run trains nothing, and the main job's results stay as they are."""
    place = tmp_path / "checkout"
    shutil.copytree(mini_run.recipe.parents[2], place, symlinks=True)
    recipe = place / "egs2/mini/audiollm1"
    (recipe / "conf/train_align_other.yaml").write_text(
        MINI_TRAINING.replace("max_epoch: 3", "max_epoch: 1") + ADAPTER
    )
    systems = [
        {"name": "plain", "config": "conf/train_align_other.yaml"},
        {"name": "two", "config": "conf/train_align_other.yaml", "args": "--ctc_weight 0.5"},
    ]
    (recipe / "list.yaml").write_text(yaml.safe_dump(systems))
    main_results = (recipe / "exp/results.json").read_bytes()
    config = MINI_OPTIONS.index("--align_configs")  # each system has its own
    left = [*MINI_OPTIONS[:config], *MINI_OPTIONS[config + 2 :]]
    main_options = [word for word in left if word not in ("--stop_stage", "12")]
    words = ["--list", "list.yaml", "--seeds", "3", "--", *main_options]
    texts = []
    for _ in range(2):
        done = subprocess.run(
            [recipe / "local/ablation.sh", *words],
            capture_output=True, text=True, env=environment(), check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        texts.append((recipe / "exp/ablation/table.md").read_text())
    assert done.stdout.count("up to date: exp/audiollm_ablation_") >= 2
    assert texts[0] == texts[1] and texts[0].count("\n| plain | 3 | ") == 1
    assert (recipe / "exp/results.json").read_bytes() == main_results
    assert "test_babble0: success" in texts[0].splitlines()[0]
