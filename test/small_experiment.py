"""A small test set with systems, as stages 2, 7 and 10 leave them."""

import json

import browser
import numpy as np
import pytest

TEXTS = {
    "utt1": "what is the capital of france",
    "utt2": "two plus three",
    "utt3": "i walked home today",
    "utt4": "translate cat into spanish",
}
ANSWERS = {"utt1": "Paris", "utt2": "five | 5", "utt4": "gato | el gato"}
CATEGORIES = {"utt1": "fact", "utt2": "sum", "utt3": "statement", "utt4": "spanish"}
RESPONSES = {
    "utt1": "The capital is Paris.",
    "utt2": "It is 5.",
    "utt3": "How nice!",
    "utt4": "Gato.",
}
TOKENS = {"utt1": 6, "utt2": 4, "utt3": 3, "utt4": 2}


def write_table(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{id} {value}".rstrip() + "\n" for id, value in table.items()))


def write_responses(path, responses):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"id": id, "response": text}) for id, text in responses.items())
    path.write_text("".join(line + "\n" for line in lines))


class Experiment:
    """Writes a data directory with its response store, and system directories."""

    texts, right = TEXTS, RESPONSES

    def __init__(self, root, test_set="test"):
        self.root, self.test_set = root, test_set
        self.data = root / "dump" / test_set
        self.output = root / "exp"
        self.systems = []
        for name, table in (("text", TEXTS), ("answers", ANSWERS), ("category", CATEGORIES)):
            write_table(self.data / name, table)
        write_table(self.data / "utt2dur", dict.fromkeys(TEXTS, "1.250"))
        ids = {id: " ".join(["7"] * number) for id, number in TOKENS.items()}
        write_table(self.data / "responses" / "response_ids", ids)
        write_responses(self.data / "responses" / "shard.0001.jsonl", RESPONSES)

    def system(self, name, label, nats_per_token, wer=None, responses=RESPONSES, hyp=None):
        directory = self.output / f"respond_{self.test_set}" / label.replace(" ", "_")
        directory.mkdir(parents=True)
        about = {"name": name, "label": label, "prompt_wer": wer}
        (directory / "system.json").write_text(json.dumps(about))
        nats = {id: f"{nats_per_token * n} {n}" for id, n in TOKENS.items()}
        write_table(directory / "nats", nats)
        write_responses(directory / "responses.jsonl", responses)
        if hyp is not None:
            write_table(directory / "hyp", hyp)
        self.systems.append(directory)
        return directory

    def embeddings(self, directory, id="utt2", positions=9, width=8, seed=0):
        rng = np.random.default_rng(seed)
        text = rng.normal(size=(3, width))
        audio = np.repeat(text, positions // 3, axis=0) + 0.3 * rng.normal(size=(positions, width))
        tokens = np.array(["▁two", "▁plus", "▁$three"])
        arrays = {f"{id}/audio": audio, f"{id}/text": text, f"{id}/tokens": tokens}
        np.savez(directory / "embeddings.npz", **arrays)

    def all_systems(self):
        """One or two of each kind, given out of the table's order."""
        self.system("no_prompt", "no prompt", np.log(50.0))
        audio = self.system("audiollm", "AudioLLM, stack 2", np.log(1.5))
        self.embeddings(audio)
        wrong = {**RESPONSES, "utt1": "It is Rome.", "utt3": "How nice"}
        bad = {**TEXTS, "utt1": "what is capital of romance now"}  # 1 del, 1 sub, 1 ins
        self.system("cascade", "cascade 5epoch", np.log(4.0), responses=wrong, hyp=bad)
        good = {**TEXTS, "utt2": "two plus tree"}
        self.system("cascade", "cascade 20epoch", np.log(2.0), wer=99.0, hyp=good)
        self.system("reference", "reference text", np.log(1.1), wer=0.0)

    def read(self):
        return json.loads((self.output / "results.json").read_text())

    def arguments(self):
        return [
            "--data",
            str(self.data),
            "--recipe",
            "toy",
            "--llm",
            "tiny",
            "--output",
            str(self.output),
            "--resamples",
            "200",
            *map(str, self.systems),
        ]


@pytest.fixture(scope="session")
def chromium():
    yield from browser.launched()


@pytest.fixture
def experiment(tmp_path):
    return Experiment(tmp_path)


@pytest.fixture(scope="session")
def make_experiment():
    return Experiment


@pytest.fixture
def second_experiment(tmp_path):
    return Experiment(tmp_path, "test2")


@pytest.fixture
def put_table():
    return write_table


@pytest.fixture
def put_responses():
    return write_responses
