"""Twelve spoken questions, four at each level of the cascade's word error rate, two systems."""

import json

import numpy as np
import pytest

from espnet_audiollm.bin.human_eval import main
from espnet_audiollm.data.audio import write_audio

WORDS = "one two three four five six seven eight nine ten"
WRONG = (0, 1, 3)  # of ten words: 0, 10 and 30 %
SAME = "u05"  # both systems answer alike
ATTACK = "</script><script>document.title='stolen'</script><img src=x onerror=alert(1)>"


class Toy:
    ids = tuple(f"u{number:02d}" for number in range(12))

    def __init__(self, root, put_table, put_responses):
        self.root, self.data, self.output = root, root / "dump/toy", root / "human"
        put_table(self.data / "text", dict.fromkeys(self.ids, WORDS))
        put_table(self.data / "answers", {"u00": "Paris | the city of Paris"})
        put_table(self.data / "responses/response_ids", dict.fromkeys(self.ids, "7 7"))
        references = {id: f"Reference of {id}." for id in self.ids}
        put_responses(self.data / "responses/shard.0001.jsonl", references)
        for id in self.ids:
            self._record(id)
        put_table(self.data / "wav.scp", {id: str(root / f"{id}.wav") for id in self.ids})
        heard = {
            id: " ".join(["x"] * WRONG[i // 4] + WORDS.split()[WRONG[i // 4] :])
            for i, id in enumerate(self.ids)
        }
        self.cascade = self._system("cascade", "ears then Llama", put_table, put_responses)
        put_table(self.cascade / "hyp", heard)
        self.audio = self._system("audiollm", "Llama with ears", put_table, put_responses)

    def _record(self, id):
        seconds = 0.3 + 0.05 * int(id[1:])
        samples = 0.3 * np.sin(np.arange(int(16000 * seconds)) * 0.1)
        write_audio(self.root / f"{id}.wav", samples.astype(np.float32))

    def _system(self, name, label, put_table, put_responses):
        directory = self.root / "systems" / name
        put_table(directory / "nats", dict.fromkeys(self.ids, "1.5 2"))
        (directory / "system.json").write_text(json.dumps({"name": name, "label": label}))
        answers = {id: f"{name} says {id}" for id in self.ids} | {SAME: "The same."}
        answers["u08"] = f"{ATTACK} {name}"
        answers["u09"] = "" if name == "cascade" else "Something."
        put_responses(directory / "responses.jsonl", answers)
        return directory

    def page_arguments(self, *more):
        systems = [str(self.cascade), str(self.audio)]
        where = ["--data", str(self.data), "--output", str(self.output)]
        return ["page", *systems, *where, "--items", "4", *more]

    def make_page(self, *more):
        """The key, as read; the page lies beside it."""
        assert main(self.page_arguments(*more)) == 0
        return json.loads((self.output / "key.json").read_text())

    def rate(self, rater, verdict, leave=()):
        """Write the file of a rater who says verdict(id, systems) of every answer, but for the
        items of the ids in `leave`; its path."""
        key = json.loads((self.output / "key.json").read_text())
        ratings = [
            {
                "item": number,
                "answers": [verdict(item["id"], tuple(systems)) for systems in item["answers"]],
                "comment": "",
                "seconds": 10 + number,
            }
            for number, item in enumerate(key["items"], 1)
            if item["id"] not in leave
        ]
        head = {"format": "audiollm human ratings", "version": 1, "page": key["page"]}
        path = self.root / f"{rater}.json"
        path.write_text(json.dumps({**head, "rater": rater, "ratings": ratings}))
        return path

    def score(self, *paths):
        key = ["--key", str(self.output / "key.json"), "--output", str(self.root / "scored")]
        assert main(["score", *map(str, paths), *key]) == 0
        return json.loads((self.root / "scored/human_eval.json").read_text())


@pytest.fixture
def toy(tmp_path, put_table, put_responses):
    return Toy(tmp_path, put_table, put_responses)
