"""A small test set with runs on it, as stages 2, 7 and 10 leave them."""

import json
import shutil

import browser
import numpy as np
import pytest
from written_runs import write_run, write_store

from espnet_audiollm.store.runs import write_embeddings

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


class Experiment:
    """Writes a data directory with its response store, and runs."""

    def __init__(self, root, test_set="test", more=0):
        """more: utterances beside the four."""
        self.root, self.test_set = root, test_set
        self.data, self.output = root / "dump" / test_set, root / "exp"
        self.store = self.data / "responses"
        self.systems = []
        new = [f"more{number:04d}" for number in range(more)]
        self.texts = dict(sorted({**TEXTS, **dict.fromkeys(new, "one two")}.items()))
        self.right = {**RESPONSES, **{id: f"Answer of {id}." for id in new}}
        self.ids = {id: [7] * TOKENS.get(id, 2) for id in self.texts}
        categories = {**dict.fromkeys(new, "fact"), **CATEGORIES}
        for name, table in (("text", self.texts), ("answers", ANSWERS), ("category", categories)):
            write_table(self.data / name, table)
        write_table(self.data / "utt2dur", dict.fromkeys(self.texts, "1.250"))
        self.write_store()

    def write_store(self, **about):
        shutil.rmtree(self.store, ignore_errors=True)
        write_store(self.store, {id: (self.right[id], self.ids[id]) for id in self.texts}, **about)

    def system(self, kind, label, nats_per_token, responses=None, hyp=None, **about):
        """A run. nats_per_token: of all tokens, or {id: nats of each token}."""
        directory = self.output / f"respond_{self.test_set}" / label.replace(" ", "_")
        said = {**self.right, **(responses or {})}
        answers = {}
        for id in self.texts:
            each = nats_per_token
            nats = each[id] if isinstance(each, dict) else [each] * len(self.ids[id])
            ids = self.ids[id] if said[id] == self.right[id] else [8]
            answers[id] = (said[id], ids, nats, None)
        if kind == "cascade":
            about["recordings"] = {**self.texts, **(hyp or {})}
        about = {"set": self.test_set, **about}
        write_run(directory, kind, label, self.store, answers, **about)
        self.systems.append(directory)
        return directory

    def embeddings(self, directory, id="utt2", positions=9, width=8, seed=0):
        rng = np.random.default_rng(seed)
        text = rng.normal(size=(3, width))
        audio = np.repeat(text, positions // 3, axis=0) + 0.3 * rng.normal(size=(positions, width))
        tokens = np.array(["▁two", "▁plus", "▁$three"])
        arrays = {f"{id}/audio": audio, f"{id}/text": text, f"{id}/tokens": tokens}
        write_embeddings(directory, arrays)

    def all_systems(self):
        """One or two of each kind, given out of the table's order."""
        self.system("no_prompt", "no prompt", np.log(50.0))
        audio = self.system("audiollm", "AudioLLM, stack 2", np.log(1.5))
        self.embeddings(audio)
        wrong = {"utt1": "It is Rome.", "utt3": "How nice"}
        bad = {"utt1": "what is capital of romance now"}  # 1 del, 1 sub, 1 ins
        self.system("cascade", "cascade 5epoch", np.log(4.0), responses=wrong, hyp=bad)
        self.system("cascade", "cascade 20epoch", np.log(2.0), hyp={"utt2": "two plus tree"})
        self.system("reference", "reference text", np.log(1.1))

    def read(self):
        return json.loads((self.output / "results.json").read_text())

    def arguments(self):
        names = ["--recipe", "toy", "--llm", "tiny", "--output", str(self.output)]
        return [*names, "--resamples", "200", *self.where()]

    def where(self):
        """The options of all commands that read runs."""
        return ["--sets", str(self.data), "--runs", str(self.output)]


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
