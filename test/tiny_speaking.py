"""A tiny speech LM with all its parts, made by the commands of the recipe.

data/ units/        tones with transcripts, and their units by the recogniser `ctc_exp`
q/ joint/ llm/      quantiser, LLM with units, the same when it has learned its tasks
tasks/ valid/       examples: questions in text and audio, answers in text and speech
vocoder/ patches/   a trained vocoder of one voice, mean patches
"""

import importlib
import shutil
from pathlib import Path

import yaml
from tiny_tasks import QUICK

UNITS = 40
SPOKEN = tuple(range(UNITS))  # what every spoken answer consists of
TAGS = ["[ASR English]", "[ASR SQA SQSA English]", "[QA English]", "[QSA English]"]
TAGS += ["[SQA English]"]
SYSTEM = "be brief"
VOCODER = QUICK | {
    "vocoder_conf": dict(width=16, heads=2, hidden=16, layers=1, kernel=3, mel_width=8),
    "batch_type": "numel",
    "batch_bins": 200_000,
    "max_epoch": 2,
}


def call(name, *words):
    main = importlib.import_module(f"espnet_audiollm.bin.{name}").main
    assert main([str(word) for word in words]) == 0


def make_text_llm(directory: Path) -> None:
    import chat_llms

    sizes = dict(hidden_size=32, intermediate_size=48, tie_word_embeddings=True)
    chat_llms.save_tiny_llm(directory, 2, many_ends=False, initializer_range=0.02, **sizes)


def make_answers(place: Path) -> None:
    """A written answer to each transcript, and the same spoken one to all."""
    from espnet_audiollm.data.kaldi_dir import read_dict, write_table

    texts = read_dict(place / "data/text")
    write_table(place / "answer", ((id_, f"ran {text.split()[0]}") for id_, text in texts.items()))
    shutil.copytree(place / "units", place / "answer_audio")
    spoken = " ".join(map(str, SPOKEN))
    write_table(place / "answer_audio/units", ((id_, spoken) for id_ in texts))
    (place / "answer_audio/durations").unlink(missing_ok=True)


def prepare(place: Path, output: Path, tags=TAGS, **more) -> None:
    fields = {"audio": place / "units", "text": place / "data/text", "answer": place / "answer"}
    fields["answer_audio"] = place / "answer_audio"
    fields = {name: str(path) for name, path in fields.items()}
    source = {"name": "a", "language": "English", "tasks": tags, "fields": fields, **more}
    (place / "tasks.yaml").write_text(yaml.safe_dump({"sources": [source]}))
    words = ["--mixture", place / "tasks.yaml", "--llm", place / "joint", "--output", output]
    call("prepare_tasks", *words, "--system_prompt", SYSTEM)


def learn(place: Path, epochs: int) -> None:
    import tiny_speechlm

    config = {**tiny_speechlm.OPTIONS, "max_epoch": epochs, "scheduler": None}
    config |= {"batch_bins": 1200, "optim_conf": {"lr": 0.01}}
    (place / "speechlm.yaml").write_text(yaml.safe_dump(config))
    words = ["--config", place / "speechlm.yaml", "--output_dir", place / "exp"]
    words += ["--llm", place / "joint"]
    words += ["--train_tasks", place / "tasks", "--valid_tasks", place / "valid"]
    call("speechlm_train", *words)
    call("export_llm", "--exp", place / "exp", "--output", place / "llm")


def make(place: Path, ctc_exp: Path) -> Path:
    import tiny_systems

    tiny_systems.make_data(place / "data", 8)
    shutil.copy(place / "data/shape", place / "data/utt2num_samples")
    make_text_llm(place / "text_llm")
    data = ["--data", place / "data"]
    source = ["--source", f"ctc:{ctc_exp}:1", "--size", UNITS]
    call("learn_units", *source, *data, "--output", place / "q")
    call("extract_units", "--quantiser", place / "q", *data, "--output", place / "units")
    words = ["--llm", place / "text_llm", "--quantiser", place / "q", "--init", "normal"]
    call("extend_llm", *words, "--output", place / "joint")
    make_answers(place)
    prepare(place, place / "tasks")
    prepare(place, place / "valid", ["[QA English]"])
    learn(place, epochs=60)
    call("mean_patches", *data, "--units", place / "units", "--output", place / "patches")
    train_vocoder(place, "vocoder")
    return place


def train_vocoder(place: Path, name: str, *words) -> None:
    (place / "vocoder.yaml").write_text(yaml.safe_dump(VOCODER))
    given = ["--config", place / "vocoder.yaml", "--output_dir", place / name]
    for split in ("train", "valid"):
        given += [f"--{split}_data", place / "data", f"--{split}_units", place / "units"]
    call("vocoder_train", *given, *words)


def pack(place: Path, output: Path, *words, llm="llm", tasks=None) -> None:
    parts = ["--speech_llm", place / llm, "--quantiser", place / "q"]
    parts += ["--tasks", tasks or place / "tasks"]
    call("pack", *parts, "--output", output, *words)
