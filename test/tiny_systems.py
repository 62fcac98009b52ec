"""All that stages 6, 7 and 10 read, in one directory: test set, LLM, recogniser, AudioLLM.

data/     the test set: tones with transcripts, as stage 2 leaves it
llm/      a random Llama with a tokenizer and a chat template
ctc/      a recogniser trained for an epoch
align/    an AudioLLM trained for an epoch, on responses made up here
talks.jsonl  conversations of two spoken turns, with the system's own answer between
"""

import json
import random
from pathlib import Path

import numpy as np
import soundfile
from chat_llms import save_tiny_llm
from tiny_tasks import ctc_options, task_options

from espnet_audiollm.data.kaldi_dir import write_data_dir, write_table
from espnet_audiollm.types import Utterance

WORDS = "the cat sat on mat and dog ran to park what is capital of france paris".split()


def make_data(directory: Path, number: int = 12) -> None:
    rng, noise = random.Random(0), np.random.default_rng(0)
    utterances = []
    for i in range(number):
        length = 9_000 + 1_700 * (7 * i % number)
        path = directory / "wav" / f"u{i:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        tones = np.repeat(noise.uniform(100, 6_000, 30), 2_000)[:length]  # Hz, of 125 ms each
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * np.cumsum(tones) / 16_000), 16_000)
        text = " ".join(rng.choices(WORDS, k=rng.randint(1, 6)))
        utterances.append(Utterance(path.stem, str(path), "s", length / 16_000, text))
    write_data_dir(directory, utterances)
    write_table(directory / "utt2dur", ((u.id, f"{u.duration:.4f}") for u in utterances))
    write_table(directory / "shape", ((u.id, str(round(16_000 * u.duration))) for u in utterances))
    write_table(directory / "response_ids", ((u.id, "5 7 2") for u in utterances))


def make_talks(root: Path, number: int = 12) -> None:
    texts = dict(line.split(" ", 1) for line in (root / "data/text").read_text().splitlines())
    ids = list(texts)
    with open(root / "talks.jsonl", "w") as out:
        for i in range(number):
            spoken = [
                {"role": "user", "audio": f"data/wav/{utt}.wav", "text": texts[utt]}
                for utt in (ids[i % len(ids)], ids[(i + 1) % len(ids)])
            ]
            turns = [spoken[0], {"role": "assistant"}, spoken[1]]
            talk = {"id": f"t{i:02d}", "category": "talk", "turns": turns, "expected": ["the"]}
            out.write(json.dumps(talk) + "\n")


def make(root: Path) -> Path:
    from espnet_audiollm.tasks.audiollm import AudioLLMTask
    from espnet_audiollm.tasks.ctc import CTCTask
    from espnet_audiollm.text.pieces import train_pieces

    data = root / "data"
    make_data(data)
    make_talks(root)
    save_tiny_llm(root / "llm")
    train_pieces([" ".join(WORDS)] * 4, 40, "bpe", data / "bpe")
    still = {"lr": 1e-9}  # random weights say more than trained ones, which say only blanks
    CTCTask.main(cmd=ctc_options(data, root / "ctc", max_epoch=1, optim_conf=still))
    cmd = task_options(data, root / "align", "response_ids,response,text_int", max_epoch=1)
    init = f"{root}/ctc/valid.loss.ave.pth"
    AudioLLMTask.main(cmd=[*cmd, "--llm", f"{root}/llm", "--init_ctc", init])
    return root
