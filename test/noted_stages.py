"""A recipe whose Python mains only note how they are called: audiollm.sh without models."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

FAKE_PYTHON = """#!/usr/bin/env bash
set -euo pipefail
if [ "$1" == utils/config_value.py ]; then
    exec "${PYTHON}" "$@"
elif [ "$1" != -m ]; then
    echo "$(basename "$1" .py) ${*:2}" >> calls # A tool of utils/data.
    exit
fi
module="${2##*.}"
words="${*:3}"
# A line for each run.
sed 's/ --run\\( --num_jobs.*\\| --job .*\\|\\)$//' <<< "${module} ${words}" |
    sed "s/ --run /\\n${module} /g" >> calls
printf '%s\\0' "${@:3}" > "words.${module}"
[ "${module}" != "${FAIL:-}" ] || { echo "${module}: error: the moon is full" >&2; exit 1; }
option() { # option NAME WORD...: the word after NAME
    local name="$1"
    while shift && [ $# -gt 0 ]; do [ "$1" != "${name}" ] || { echo "$2"; return; }; done
}
out="$(option --output "$@")$(option --output_dir "$@")"
outs=() # Of all runs.
for ((i = 1; i < $#; i++)); do
    next=$((i + 1))
    [ "${!i}" != --output ] || outs+=("${!next}")
done
case "${module}" in
    data_lengths)
        mkdir -p "${out}" && echo x | tee "${out}"/{speech,text}_shape > "${out}/response_shape" ;;
    format_data)
        [[ " $* " != *" --job "* ]] || exit 0 # Tables are the merge's.
        mkdir -p "$4" && cp "$3"/* "$4" && echo "a 16000" > "$4/utt2num_samples"
        echo x > "$4/.done" ;;
    add_noise) [[ " $* " == *" --job "* ]] || { mkdir -p "${out}" && echo a > "${out}/wav.scp"; } ;;
    tokenize_text)
        mkdir -p "${out}"
        echo x | tee "${out}"/{tokens.txt,tokenizer.json} > "${out}/bpe.model" ;;
    ctc_train | aggregate_stats_dirs)
        mkdir -p "${out}"/{train,valid}
        echo x > "${out}/train/feats_stats.npz"
        for file in {train,valid}/{speech,text}_shape 2epoch.pth valid.loss.ave.pth; do
            echo x > "${out}/${file}"
        done ;;
    ngram_train) mkdir -p "${out%/*}" && echo x > "${out}" && echo "${out}: 4-gram of much" ;;
    ctc_decode)
        for out in "${outs[@]}"; do
            mkdir -p "${out}" && echo "a b" > "${out}/hyp"
            printf '{\n  "wer": 5.0,\n  "errors": 1\n}\n' > "${out}/wer.json"
        done ;;
    respond)
        [ -z "${LOST:-}" ] || for word in "$@"; do
            [ "${word}" != --run ] || echo "a run: 1 dialogues do not fit, not answered (first: a)"
        done ;;
    generate_responses)
        kept="$(option --teacher_top_k "$@")"
        for out in "${outs[@]}"; do
            mkdir -p "${out}/teacher" && echo "a 3 4 2" > "${out}/response_ids"
            [ -z "${kept}" ] || echo "${kept}" > "${out}/teacher/top_k"
            [[ " $* " != *" --prompt_ids"* ]] || echo x > "${out}/teacher/prompt_ids"
            [[ " $* " != *" --behaviours "* ]] ||
                echo x | tee "${out}"/{prompt_ids,recording_samples} > "${out}/recordings"
        done ;;
    audiollm_train) mkdir -p "${out}" && echo x > "${out}/valid.loss.ave.pth" ;;
esac
"""


def make_recipe(tmp_path):
    """A recipe directory in a checkout whose environment is the fake one."""
    template = tmp_path / "egs2/TEMPLATE"
    shutil.copytree(ROOT / "egs2/TEMPLATE", template)
    shutil.copytree(ROOT / "utils", tmp_path / "utils")
    (tmp_path / "tools/bin").mkdir(parents=True)
    (tmp_path / "tools/activate").write_text(f'export PATH="{tmp_path}/tools/bin:${{PATH}}"\n')
    executable(tmp_path / "tools/bin/python", FAKE_PYTHON)
    path = tmp_path / "egs2/fake/audiollm1"
    subprocess.run([template / "common/setup.sh", path], check=True, capture_output=True)
    executable(path / "local/data.sh", '#!/bin/sh\necho data.sh "$@" >> calls\n')
    for split in ("train", "valid", "test"):
        (path / "data" / split).mkdir(parents=True)
        (path / "data" / split / "wav.scp").write_text("a a.wav\n")
        (path / "data" / split / "text").write_text("a hello\n")
    for name in ("ctc", "align_small", "align_other"):
        (path / f"conf/train_{name}.yaml").write_text("encoder: conformer\n")
    return path


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def run(recipe, *words, **environment):
    """Run audiollm.sh; the result, with the mains that were called."""
    (recipe / "calls").unlink(missing_ok=True)
    words = ["--llm", "my llm", "--align_configs", "conf/train_align_small.yaml", *words]
    done = subprocess.run(
        ["./audiollm.sh", *words],
        cwd=recipe,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, **environment},
        check=False,
    )
    calls = recipe / "calls"
    done.calls = calls.read_text().splitlines() if calls.exists() else []
    done.mains = [call.split()[0] for call in done.calls]
    return done


def outputs(done, main):
    """Where the calls of a main write, in order."""
    calls = [call.split() for call in done.calls if call.startswith(f"{main} ")]
    return [call[call.index("--output") + 1] for call in calls]


def words_of(recipe, module):
    return (recipe / f"words.{module}").read_text().split("\0")
