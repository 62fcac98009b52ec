"""Small corpora in the layouts of the published ones, and what the tests of preparations share."""

import gzip
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import soundfile

from espnet_audiollm.corpus.tts import Espeak, Voice
from espnet_audiollm.data import kaldi_dir, validation


def preparer(root: Path, recipe: str, place: Path):
    """call(option, ...): run local/prepare.py of a recipe in the directory `place`."""
    script = root / "egs2" / recipe / "audiollm1/local/prepare.py"

    def call(*arguments):
        return subprocess.run(
            [sys.executable, str(script), *map(str, arguments)],
            cwd=place,
            env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )

    return call


def fails(done, *words):
    """The run ended as the user's error, in sentences that hold all the words."""
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def utterances(directory: Path) -> dict:
    """{id: utterance} of a data directory without a fault."""
    assert validation.validate(directory, require_text=True) == []
    return {utt.id: utt for utt in kaldi_dir.load_utterances(directory)}


def say(path: Path, seconds: float = 0.1, rate: int = 16_000, **how) -> Path:
    """A recording of a soft tone, which every codec keeps; `how`: soundfile's format, ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    soundfile.write(path, tone, rate, **how)
    return path


def librispeech_part(corpus: Path, part: str, speakers=("19", "7"), chapters=("198", "5")) -> None:
    """Two utterances of each chapter, beside their .trans.txt."""
    for speaker in speakers:
        for chapter in chapters:
            place = corpus / part / speaker / chapter
            lines = []
            for number in range(2):
                id_ = f"{speaker}-{chapter}-{number:04d}"
                say(place / f"{id_}.flac")
                lines.append(f"{id_} THAT'S NUMBER {number}\n")
            (place / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))


def mls(corpus: Path, suffix: str = "opus") -> None:
    """Multilingual LibriSpeech: speaker 100 sorts before 10 among the ids ("100_" < "10_")."""
    how = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}
    books = {"train": [("10", "7"), ("100", "7"), ("10", "70")], "dev": [("3", "1")]}
    for split, pairs in (books | {"test": [("4", "2")]}).items():
        ids = [f"{speaker}_{book}_{n:06d}" for speaker, book in pairs for n in range(2)]
        for id_ in ids:
            speaker, book, _ = id_.split("_")
            say(corpus / split / "audio" / speaker / book / f"{id_}.{suffix}", **how)
        texts = "".join(f"{id_}\twell-known number {id_[-1]}\n" for id_ in ids)
        (corpus / split / "transcripts.txt").write_text(texts)
        where = "http://www.archive.org/download/book/chapter_64kb.mp3"
        segments = "".join(f"{id_}\t{where}\t401.76\t419.76\n" for id_ in ids)
        (corpus / split / "segments.txt").write_text(segments)
    (corpus / "metainfo.txt").write_text(" SPEAKER   |   GENDER   | PARTITION  |\n")
    lists = {f"1hr/{n}": [] for n in range(6)} | {"1hr/0": ["10_7_000001"], "9hr": ["10_70_000000"]}
    for name, handles in lists.items():
        place = corpus / "train/limited_supervision" / name
        place.mkdir(parents=True)
        (place / "handles.txt").write_text("".join(f"{id_}\n" for id_ in handles))


SPHERE = """NIST_1A
   1024
database_id -s3 an4
utterance_id -s{width} {id_}
channel_count -i 1
sample_count -i {count}
sample_rate -i 16000
sample_n_bytes -i 2
sample_byte_format -s2 {order}
sample_sig_bits -i 16
end_head
"""


def write_sphere(path: Path, samples: np.ndarray, order: str = "01") -> Path:
    """A NIST SPHERE file of int16 (N,), written by hand; `order`: "01" little-endian, "10" big."""
    path.parent.mkdir(parents=True, exist_ok=True)
    id_ = path.stem
    header = SPHERE.format(id_=id_, width=len(id_), count=len(samples), order=order).encode()
    data = samples.astype("<i2" if order == "01" else ">i2").tobytes()
    path.write_bytes(header.ljust(1024) + data)
    return path


def an4_samples(number: int) -> np.ndarray:
    """int16 (1600,): a ramp that no other byte order and no other file has."""
    return (np.arange(1600) - 800 + 100 * number).astype(np.int16)


AN4 = {  # part: {set/speaker/id: what is said}
    "train": {
        "an4_clstk/fash/an251-fash-b": "YES",
        "an4_clstk/fash/cen4-fash-b": "P I T T S B U R G H",
        "an4_clstk/mblw/cen7-mblw-b": "NOVEMBER EIGHTH  NINETEEN SIXTY",
    },
    "test": {"an4test_clstk/fcaw/an406-fcaw-b": "RUBOUT G M E F THREE NINE"},
}


def an4(corpus: Path, suffix: str = ".sph") -> None:
    """CMU's AN4 as SPHERE files (.sph) or as bare big-endian samples (.raw)."""
    (corpus / "etc").mkdir(parents=True)
    for part, said in AN4.items():
        for number, (file_id, _) in enumerate(said.items()):
            path, samples = corpus / "wav" / f"{file_id}{suffix}", an4_samples(number)
            write_sphere(path, samples)
            if suffix == ".raw":
                path.write_bytes(samples.astype(">i2").tobytes())
        lines = [f"{words} ({Path(file_id).name})\n" for file_id, words in said.items()]
        if part == "train":
            lines = [f"<s> {line.replace(' (', ' </s> (')}" for line in lines]
        (corpus / f"etc/an4_{part}.transcription").write_text("".join(lines))
        (corpus / f"etc/an4_{part}.fileids").write_text("".join(f"{name}\n" for name in said))


CV_COLUMNS = "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender "
CV_COLUMNS += "accents variant locale segment"  # release 17.0
CV_SAID = {
    "train": ["Le chat dort.", "Ça va ?", '"Il dit ""non"""', "« Oui »"],
    "dev": ["Un, deux."],
    "test": ["L’été finit."],
}


def cv_row(speaker: str, path: str, sentence: str) -> str:
    row = dict.fromkeys(CV_COLUMNS.split(), "")
    row |= {"client_id": speaker, "path": path, "sentence": sentence, "up_votes": "2"}
    return "\t".join(row.values()) + "\n"


def common_voice(release: Path, lang: str = "fr") -> None:
    """Common Voice: MP3 at 48 kHz, rows in no order of their paths, names of the real length."""
    place, number, validated = release / lang, 40, ""
    header = "\t".join(CV_COLUMNS.split()) + "\n"
    for split, sentences in CV_SAID.items():
        rows = ""
        for sentence in sentences:
            number -= 1
            name = f"common_voice_{lang}_{number}.mp3"
            say(place / "clips" / name, 0.2, 48_000, format="MP3")
            rows += cv_row(f"{number % 2}" * 128, name, sentence)
        validated += rows
        (place / f"{split}.tsv").write_text(header + rows, encoding="utf-8")
    (place / "validated.tsv").write_text(header + validated, encoding="utf-8")


def covost(place: Path, pair: str = "fr_en") -> None:
    """CoVoST 2's translations of what `common_voice` made."""
    rows = [  # Le chat dort, Ça va, Il dit "non", « Oui »; Un, deux; L'été finit
        (39, "The cat\tsleeps.".replace("\t", "  "), "train"),
        (38, "How are you?", "train_covost"),
        (37, '"He says ""no"""', "train"),
        (36, "Yes", "test_covost"),
        (35, "One, two.", "dev"),
        (34, "Summer ends.", "test"),
    ]
    place.mkdir(parents=True)
    lines = [f"common_voice_{pair[:2]}_{n}.mp3\t{text}\t{split}\n" for n, text, split in rows]
    (place / f"covost_v2.{pair}.tsv").write_text("path\ttranslation\tsplit\n" + "".join(lines))


CVSS_SAID = {  # clips of `common_voice`, in English as it is spoken
    "train": {39: "the cat sleeps", 38: "how are you", 37: "he says no"},
    "dev": {35: "one two"},
    "test": {34: "summer ends"},
}


def cvss(root: Path, version: str = "c", lang: str = "fr") -> Path:
    """A language of CVSS as its archive has it: WAV at 24 kHz, tables without a header."""
    place = root / f"cvss_{version}_{lang}_en_v1.0"
    for split, said in CVSS_SAID.items():
        rows = {f"common_voice_{lang}_{number}.mp3": text for number, text in said.items()}
        for name in rows:
            say(place / split / f"{name}.wav", 0.15, 24_000)
        lines = (f"{name}\t{text}\n" for name, text in rows.items())
        (place / f"{split}.tsv").write_text("".join(lines))
    return place


CHATS = [  # French, English: fit to be joined
    [("le chat", "the cat"), ("la vache", "the cow"), ("un enfant", "a child")],
    [("mange", "eats"), ("dort", "sleeps"), ("chante", "sings"), ("court", "runs")],
    [("ici", "here"), ("le matin", "in the morning"), ("sans bruit", "without a sound")],
]


def spoken_covost(root: Path) -> None:
    """36 French sentences said by espeak-ng as Common Voice, and their translations as CoVoST 2."""
    header, place = "\t".join(CV_COLUMNS.split()) + "\n", root / "fr"
    (place / "clips").mkdir(parents=True)
    espeak, clips, translations = Espeak(), "", "path\ttranslation\tsplit\n"
    for number, parts in enumerate(itertools.product(*CHATS)):
        french, english = (" ".join(words).capitalize() + "." for words in zip(*parts, strict=True))
        name = f"common_voice_fr_{100 + number}.mp3"
        samples = espeak.speak(french, Voice("fr", speed=160 + number))
        soundfile.write(place / "clips" / name, samples, espeak.rate, format="MP3")
        clips += cv_row(f"{number % 6}" * 128, name, french)
        split = {0: "dev", 1: "test"}.get(number % 9, "train")
        translations += f"{name}\t{english}\t{split}\n"
    (place / "validated.tsv").write_text(header + clips, encoding="utf-8")
    (root / "covost_v2.fr_en.tsv").write_text(translations)


VOX = [  # session, segment, raw text, normalised text, speaker, split
    ("20090112-0900-PLENARY-3-de", "20090112-18:07:11_3", "Ja, 3!", "ja drei", "96757", "train"),
    ("20180206-0900-PLENARY-15-de", "20180206-21:25:15_7", "", "nein", "None", "train"),
    ("20130521-0900-PLENARY-5-de", "20130521-09:29:40_0", "Gut.", "gut", "1", "dev"),
    ("20100907-0900-PLENARY-4-de", "20100907-10:00:00_1", "So.", "so", "2", "test"),
    ("20100907-0900-PLENARY-4-de", "20100907-10:00:00_2", "Alt.", "alt", "2", "invalid"),
]


def voxpopuli(root: Path, lang: str = "de", tables: bool = True) -> None:
    """VoxPopuli after get_asr_data.py, or (not `tables`) only the annotations it starts from."""
    place = root / "transcribed_data" / lang
    written = {split: "" for split in ("train", "dev", "test")}
    annotations = "session_id|id_|original_text|normed_text|speaker_id|split|gender|vad\n"
    for session, id_, raw, normed, speaker, split in VOX:
        if split in written:
            say(place / session[:4] / f"{session}-{id_}.ogg", subtype="VORBIS")
            values = (f"{session}-{id_}", raw, normed, speaker, split, "female")
            written[split] += "\t".join(values) + "\n"
        values = (session, id_, raw, normed, speaker, split, "female", "[(0.0, 1.5)]")
        annotations += "|".join(values) + "\n"
    (place / f"asr_{lang}.tsv.gz").write_bytes(gzip.compress(annotations.encode()))
    header = "id\traw_text\tnormalized_text\tspeaker_id\tsplit\tgender\n"
    for split, rows in written.items() if tables else ():
        (place / f"asr_{split}.tsv").write_text(header + rows)


WEBQUESTIONS = {
    "trainmodel": [
        ("wqr000001", "what is the capital of italy?", ["Rome", "rome", "Roma | Roma Capitale"]),
        ("wqr000002", "who wrote hamlet?", ["William Shakespeare", "?"]),
        ("wqr000003", "where is mount everest?", ["Nepal"]),
    ],
    "val": [("wqr000004", "who discovered radium?", ["Marie Curie"])],
    "test": [("wqs000000", "what is the name of caesar's wife?", ["Calpurnia", "Pompeia"])],
}


def webquestions(place: Path) -> None:
    """WebQuestions as in dataset-factoid-webquestions: a list, an object a line."""
    place.mkdir(parents=True)
    for name, rows in WEBQUESTIONS.items():
        objects = [{"qId": i, "answers": answers, "qText": text} for i, text, answers in rows]
        lines = ",\n ".join(map(json.dumps, objects))
        (place / f"{name}.json").write_text(f"[\n {lines}\n]\n")


def triviaqa(place: Path, part: str = "unfiltered-web", number: int = 5) -> None:
    """TriviaQA: pretty-printed, with the evidence that makes its files large."""
    place.mkdir(parents=True)
    for split in ("train", "dev"):
        data = [
            {
                "Answer": {
                    "Aliases": [f"{split} {n}", f"The {n}", "Ünïcode"],
                    "NormalizedAliases": [f"{split} {n}", f"{n}", "unicode"],
                    "Type": "WikipediaEntity",
                    "Value": f"{split} {n}",
                },
                "EntityPages": [{"DocSource": "TagMe", "Filename": f"{n}.txt", "Title": "[x], y"}],
                "Question": f"Which  Lloyd Webber musical number {n} premiered?",
                "QuestionId": f"{split}_{n}",
                "QuestionSource": "http://www.triviacountry.com/",
                "SearchResults": [{"Description": 'He said "]}" and left. ' * 30, "Rank": n}],
            }
            for n in range(number)
        ]
        complete = {"Data": data, "Domain": part, "Split": split, "Version": 1.0}
        (place / f"{part}-{split}.json").write_text(json.dumps(complete, indent=4))


SQUAD = {  # part: [[(paragraph, {id: (question, answers, kept)})] of a topic]
    "train": [
        [
            ("Architecturally, the school has a Catholic character. Atop is a dome.",
             {"5733be284776f41900661182": ("What is atop?", ["a dome", "dome"], True),
              "5733be284776f4190066117f": ("What is in front?", ["a statue"], False)}),
            ("It was founded in 1842.", {"5733bed24776f41900661188": ("When?", ["1842"], True)}),
        ],
        [("Beyoncé sang.", {"56be85543aeaaa14008c9063": ("Who sang?", ["Beyoncé"], True)})],
    ],
    "dev": [
        [("Denver won. So it was.", {"56be4db0acb8001400a502ec": ("Who won?", ["Denver"], True)})]
    ],
}  # fmt: skip


def squad_file(topics: list, kept_only: bool) -> str:
    data = [
        {
            "title": f"Topic_{t}",
            "paragraphs": [
                {
                    "context": text.lower().replace(",", "") if kept_only else text,
                    "qas": [
                        {"id": id_, "question": asked, "answers": [{"text": a} for a in answers]}
                        for id_, (asked, answers, kept) in qas.items()
                        if kept or not kept_only
                    ],
                }
                for text, qas in topic
            ],
        }
        for t, topic in enumerate(topics)
    ]
    return json.dumps({"data": data, "version": "1.1"})


def spoken_squad(root: Path) -> None:
    """Spoken SQuAD beside SQuAD; sentence s of a paragraph lasts 0.1 x (s + 1) seconds."""
    for squad, spoken in (("train", "train"), ("dev", "test")):
        root.mkdir(exist_ok=True)
        (root / f"{squad}-v1.1.json").write_text(squad_file(SQUAD[squad], kept_only=False))
        (root / f"spoken_{spoken}-v1.1.json").write_text(squad_file(SQUAD[squad], kept_only=True))
        for t, topic in enumerate(SQUAD[squad]):
            for p, (text, _) in enumerate(topic):
                for s in range(text.count(".")):
                    path = root / f"Spoken-SQuAD_audio/{squad}_wav/{t}_{p}_{s}.wav"
                    say(path, 0.1 * (s + 1), 24_000)


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """The address at which a server on this machine offers the files of a directory."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(directory)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
