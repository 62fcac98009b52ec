"""Twelve spoken questions, four at each level of the cascade's word error rate, two systems."""

import json

import numpy as np
import pytest
from written_runs import write_run, write_store

from espnet_audiollm.bin.human_eval import main
from espnet_audiollm.data.audio import write_audio

WORDS = "one two three four five six seven eight nine ten"
WRONG = (0, 1, 3)  # of ten words: 0, 10 and 30 %
SAME = "u05"  # both systems answer alike
ATTACK = "</script><script>document.title='stolen'</script><img src=x onerror=alert(1)>"


class Toy:
    ids = tuple(f"u{number:02d}" for number in range(12))

    def __init__(self, root, put_table):
        self.root, self.data, self.output = root, root / "dump/toy", root / "human"
        put_table(self.data / "text", dict.fromkeys(self.ids, WORDS))
        put_table(self.data / "answers", {"u00": "Paris | the city of Paris"})
        references = {id: (f"Reference of {id}.", [7, 7]) for id in self.ids}
        write_store(self.data / "responses", references)
        for id in self.ids:
            self._record(id)
        put_table(self.data / "wav.scp", {id: str(root / f"{id}.wav") for id in self.ids})
        hyp = {
            id: " ".join(["x"] * WRONG[i // 4] + WORDS.split()[WRONG[i // 4] :])
            for i, id in enumerate(self.ids)
        }
        self.cascade = self.system("cascade", "ears then Llama", hyp)
        self.audio = self.system("audiollm", "Llama with ears")

    def _record(self, id):
        seconds = 0.3 + 0.05 * int(id[1:])
        samples = 0.3 * np.sin(np.arange(int(16000 * seconds)) * 0.1)
        write_audio(self.root / f"{id}.wav", samples.astype(np.float32))

    def system(self, name, label, hyp=(), place=None, said=()):
        answers = {id: f"{name} says {id}" for id in self.ids} | {SAME: "The same."}
        answers["u08"] = f"{ATTACK} {name}"
        answers["u09"] = "" if name == "cascade" else "Something."
        answers |= dict(said)
        made = {id: (text, [5, 2], [1.0, 0.5], None) for id, text in answers.items()}
        directory = self.root / "systems" / (place or name)
        write_run(directory, name, label, self.data / "responses", made, hyp, set="toy")
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
def toy(tmp_path, put_table):
    return Toy(tmp_path, put_table)
