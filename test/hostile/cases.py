"""What nobody should give to a tool, and what the tool says to it: one sentence, exit status 1.

A case is data: files beside a good data directory (`data`) or a good experiment (`dump`, `exp`),
the words of a command, and words of its complaint."""

import gzip
import io
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import soundfile

FIFO, DIRECTORY, GONE = object(), object(), object()
Content = str | bytes | object


@dataclass(frozen=True)
class Case:
    name: str
    command: tuple[str, ...]  # the tool and its words
    says: tuple[str, ...]
    files: Mapping[str, Content] = field(default_factory=dict)
    base: str = "data"  # or "experiment"


def wav(samples, subtype: str = "PCM_16", rate: int = 16_000) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.asarray(samples, "f4"), rate, subtype, format="WAV")
    return out.getvalue()


TONE = wav(0.3 * np.sin(np.arange(8000) / 6))
GOOD = {
    "data/a.wav": TONE,
    "data/b.wav": TONE,
    "data/wav.scp": "a data/a.wav\nb data/b.wav\n",
    "data/text": "a one\nb two\n",
    "data/utt2spk": "a s\nb t\n",
}

# --- every tool that reads a data directory, every table of it, every damage ----------------------

DAMAGES = {
    "fifo": (FIFO, "a directory or a pipe, not a"),
    "directory": (DIRECTORY, ""),
    "latin1": ("a é\nb ü\n".encode("latin-1"), "not UTF-8"),
    "nul": ("a x\0y\nb z\n", "NUL"),
    "bom": ("\ufeffa x\nb y\n", "byte order mark"),
    "crlf": ("a x\r\nb y\r\n", "CRLF"),
    "no_id": (" a x\nb y\n", "without an id"),
    "blank": ("a x\n\nb y\n", "blank lines"),
    "long_id": ("a x\n" + "b" * 60_000 + " y\n", "ids longer than 1000 letters"),
    "long_ids": ("".join(f"{'a' * 60_000}{n} x\n" for n in "12"), "ids longer than 1000 letters"),
    "control": ("a\x01x x\na\x01y y\n", "control characters"),
    "twice": ("a x\na y\nb z\n", "duplicate ids"),
    "unsorted": ("b x\na y\n", ""),  # out of order, or missing where it was expected
}
TABLES = ("wav.scp", "utt2spk", "text")
READERS = {
    "validate": ("data",),
    "subset": ("data", "out", "--first", "1"),
    "split_by_speaker": ("data", "x=1spk", "y=rest"),
    "combine": ("out", "data"),
    "speed_perturb": ("data", "out", "--speeds", "1.0"),
    "statistics": ("data",),
    "listen": ("data", "--output", "out.html"),
    "format_data": ("data", "out"),
    "learn_units": ("--source", "fbank", "--data", "data", "--size", "2", "--output", "out"),
    "add_noise": ("--data", "data", "--noise", "white:10", "--output", "out"),
}
TEXT_READERS = {
    "tokenize_text": ("--text", "data/text", "--token_type", "word", "--output", "out"),
    "generate_responses": ("--llm", "none", "--data", "data", "--output", "out"),
}
TABLE_CASES = [
    Case(f"{tool}-{table}-{damage}", (tool, *words), (table, says), {f"data/{table}": content})
    for tool, words in READERS.items()
    for table in TABLES
    for damage, (content, says) in DAMAGES.items()
]
TABLE_CASES += [
    Case(f"{tool}-{damage}", (tool, *words), ("text", says), {"data/text": content})
    for tool, words in TEXT_READERS.items()
    for damage, (content, says) in DAMAGES.items()
]
UNIT_SET = {"quantiser": "f", "size": 9, "frames_per_second": 25.0, "merged": False}
UNITS = {"u/units.json": json.dumps(UNIT_SET), "u/units": "a 1 2\nb 3\n"}
REPORT = ("report_units", "u", "--data", "data")


def numbers(content: Content) -> Content:
    """A damaged table whose values are units."""
    return re.sub(r" [xyz]\n", " 1\n", content) if isinstance(content, str) else content


TABLE_CASES += [
    Case(f"units-{damage}", REPORT, ("units", says), {**UNITS, "u/units": numbers(content)})
    for damage, (content, says) in DAMAGES.items()
]
TABLE_CASES += [
    Case(f"units-json-{name}", REPORT, ("units.json", "bin/extract_units"), {"u/units.json": text})
    for name, text in {
        "gone": GONE,
        "empty": "",
        "list": "[]",
        "deep": "[" * 100_000,
        "size_0": json.dumps({**UNIT_SET, "size": 0}),
        "rate_1e999": json.dumps({**UNIT_SET, "frames_per_second": float("inf")}),
    }.items()
]
TABLE_CASES += [
    Case(
        "units-level-gone",
        REPORT,
        ("units_2 does not exist",),
        {**UNITS, "u/units.json": json.dumps({**UNIT_SET, "levels": 2})},
    ),
    Case("units-none", REPORT, ("a has no units",), {**UNITS, "u/units": "a\nb 3\n"}),
    Case(
        "units-letters", REPORT, ("1 of 2 units", "first: x"), {**UNITS, "u/units": "a 1 x\nb 3\n"}
    ),
    Case("units-digits", REPORT, ("1 of 1 units",), {**UNITS, "u/units": f"a {'9' * 5000}\n"}),
    Case("units-large", REPORT, ("1 of 1 units", "99"), {**UNITS, "u/units": "a 99\nb 3\n"}),
    Case("units-one", REPORT, ("at least 2",), {**UNITS, "u/units": "a 1\n"}),
    Case("units-other", REPORT, ("1 of 2", "first: c"), {**UNITS, "u/units": "a 1\nc 3\n"}),
]
TABLE_CASES += [  # what cannot be repaired without guessing
    Case(f"fix-{table}-{damage}", ("fix", "data"), (table, says), {f"data/{table}": content})
    for table in TABLES
    for damage, (content, says) in DAMAGES.items()
    if damage in ("fifo", "directory", "latin1", "nul", "no_id", "long_id", "long_ids")
]

# --- recordings -----------------------------------------------------------------------------------


def sphere(**fields: str) -> bytes:
    given = {"sample_rate": "16000", "channel_count": "1", "sample_count": "8000", **fields}
    lines = "".join(f"{name} -i {value}\n" for name, value in given.items())
    return f"NIST_1A\n   1024\n{lines}end_head\n".encode().ljust(1024) + bytes(16_000)


AUDIO = {  # what a.wav is: what is said of it
    "fifo": (FIFO, "a directory or a pipe, not a file"),
    "directory": (DIRECTORY, "a directory or a pipe, not a file"),
    "gone": (GONE, "cannot be opened"),
    "empty": (b"", "0 bytes"),
    "text": ("RIFF said the frog", "not audio"),
    "cut": (TONE[:5000], "truncated"),
    "header_only": (TONE[:44], "truncated"),
    "no_samples": (wav([]), "no samples"),
    "nan": (wav([0.1, np.nan] * 4000, "FLOAT"), "not numbers"),
    "infinity": (wav([0.1, np.inf] * 4000, "FLOAT"), "not numbers"),
    "1e38": (wav([1e38] * 8000, "FLOAT"), "as large as 1e+38"),
    "two_channels_3e38": (wav([[3e38, 3e38]] * 8000, "FLOAT"), "as large as 3e+38"),
    "sphere_rate_1e999": (sphere(sample_rate="1e999"), "NIST SPHERE header"),
    "sphere_rate_nan": (sphere(sample_rate="nan"), "NIST SPHERE header"),
    "sphere_rate_11_digits": (sphere(sample_rate="1" * 11), "11111111111 Hz"),
    "sphere_rate_0": (sphere(sample_rate="0"), "0 Hz"),
    "sphere_channels_11_digits": (sphere(channel_count="1" * 11), "11111111111 channels"),
    "sphere_samples_11_digits": (sphere(sample_count="1" * 11), "truncated"),
    "sphere_samples_400_digits": (sphere(sample_count="9" * 400), "truncated"),
    "sphere_samples_negative": (sphere(sample_count="-5"), "truncated"),
    "sphere_samples_5000_digits": (sphere(sample_count="9" * 990), "truncated"),
    "sphere_header_negative": (b"NIST_1A\n     -1\n" + bytes(100), "length of its header"),
    "pickle": (b"PKL" + bytes(100), "not audio"),
    "riff_of_nothing": (b"RIFF" + struct.pack("<I", 4) + b"WAVE", "not audio"),
}
AUDIO_CASES = [
    Case(
        f"{tool}-audio-{name}",
        (tool, *words),
        (says,),
        {"data/a.wav": content, "data/b.wav": content},
    )
    for tool, words in {
        "listen": ("data", "--output", "out.html"),
        "format_data": ("data", "out"),
        "speed_perturb": ("data", "out", "--speeds", "0.9"),
    }.items()
    for name, (content, says) in AUDIO.items()
    if tool != "format_data" or name not in ("fifo", "gone", "empty")
]
AUDIO_CASES += [  # what is seen before a recording is read
    Case(f"format_data-audio-{name}", ("format_data", "data", "out"), (says,), {"data/a.wav": what})
    for name, what, says in (
        ("fifo", FIFO, "audio files that are empty (first: a data/a.wav)"),
        ("gone", GONE, "audio files that do not exist (first: a data/a.wav)"),
        ("empty", b"", "audio files that are empty (first: a data/a.wav)"),
    )
]

# --- lists of others ------------------------------------------------------------------------------

LIST = ("from_table", "list.jsonl", "out")
ROW = '{"id": "a", "audio": "data/a.wav", "text": "one"}\n'


def cut(**recording: object) -> str:
    source = {"type": "file", "channels": [0], "source": "data/a.wav"}
    audio = {
        "id": "a",
        "sources": [source],
        "sampling_rate": 16_000,
        "duration": 0.5,
        **recording,
    }
    said = [{"id": "s", "text": "one", "start": 0.0, "duration": 0.2}]
    times = {"start": 0.1, "duration": 0.3, "channel": 0}
    return json.dumps(
        {"id": "a", **times, "supervisions": said, "recording": audio, "type": "MonoCut"}
    )


LISTS = {  # the list: what is said of it
    "text_nan": (ROW.replace('"one"', "NaN"), "values that are no text"),
    "text_infinity": (ROW.replace('"one"', "1e999"), "values that are no text"),
    "text_object": (ROW.replace('"one"', "{}"), "values that are no text"),
    "text_list_of_nan": (ROW.replace('"one"', "[NaN]"), "values that are no text"),
    "text_half_a_character": (ROW.replace("one", "\\ud800"), "values that are no text"),
    "id_nan": (ROW.replace('"a"', "NaN"), "values that are no text"),
    "id_with_a_space": (ROW.replace('"a"', '"a b"'), "ids with white space"),
    "id_of_60_kB": (ROW.replace('"a"', f'"{"a" * 60_000}"'), "ids longer than 1000 letters"),
    "id_twice": (ROW * 2, "ids that come twice"),
    "audio_directory": (ROW.replace("data/a.wav", "data"), "a directory or a pipe, not a file"),
    "audio_fifo": (ROW.replace("data/a.wav", "fifo"), "a directory or a pipe, not a file"),
    "audio_pipe": (ROW.replace("data/a.wav", "cat x |"), "pipes"),
    "audio_gone": (ROW.replace("data/a.wav", "no.wav"), "do not exist"),
    "audio_nan": (ROW.replace('"data/a.wav"', "NaN"), "do not exist"),
    "nested": (ROW + "[" * 100_000 + "\n", "no JSON object"),
    "number_of_5000_digits": (ROW + '{"id": ' + "9" * 5000 + "}\n", "no JSON object"),
    "one_huge_line": ("a" * (1 << 24), "line 1: longer than 16 MB"),
    "fifo": (FIFO, "a pipe"),
    "gone": (GONE, "no such file"),
    "empty": ("", "is empty"),
    "one_list": (f"[{ROW}]", "one JSON list"),
    "cut_recording_with_a_space": (cut(id="a b"), "recordings whose id is empty or has white"),
    "cut_recording_without_id": (cut(id=None), "recordings whose id is empty"),
    "cut_recording_empty_id": (cut(id=""), "recordings whose id is empty"),
    "cut_recording_nan": (cut(duration=float("nan")), "times are not within the recording"),
    "cut_recording_400_digits": (cut(duration=10**400), "times are not within the recording"),
    "cut_without_sources": (cut(sources=[]), "no MonoCut"),
}
LIST_CASES = [
    Case(f"from_table-{name}", LIST, (says,), {"list.jsonl": content, "fifo": FIFO})
    for name, (content, says) in LISTS.items()
]
LIST_CASES.append(
    Case(
        "from_table-gzip_bomb",
        ("from_table", "list.tsv.gz", "out"),
        ("line 2: longer than 16 MB",),
        {"list.tsv.gz": gzip.compress(b"id\taudio\n" + bytes(1 << 25), 1)},
    )
)
DATASETS = {  # files of a Hugging Face dataset
    "dict_without_splits": ({"dataset_dict.json": "{}"}, "no list of splits"),
    "dict_of_a_list": ({"dataset_dict.json": "[]"}, "no JSON object"),
    "dict_nested": ({"dataset_dict.json": "[" * 100_000}, "nested too deeply"),
    "dict_of_numbers": ({"dataset_dict.json": '{"splits": [1]}'}, "no list of splits"),
    "state_without_files": ({"state.json": "{}"}, "no list of _data_files"),
    "state_of_numbers": ({"state.json": '{"_data_files": [1]}'}, "no list of _data_files"),
    "state_without_names": ({"state.json": '{"_data_files": [{}]}'}, "no Parquet or Arrow file"),
    "nothing": ({"other": ""}, "no dataset"),
    "damaged": ({"a.parquet": b"PAR1" + bytes(9)}, "no Parquet or Arrow file"),
}
LIST_CASES += [
    Case(
        f"from_table-dataset-{name}",
        ("from_table", "set", "out"),
        (says,),
        {f"set/{file}": content for file, content in files.items()},
    )
    for name, (files, says) in DATASETS.items()
]

# --- words and tables that single tools take ------------------------------------------------------

SEGMENTS = {
    "superscript_channel": ("a r 0 0.2 ²", "not 'recording begin end'"),
    "arabic_channel": ("a r 0 0.2 ١", "not 'recording begin end'"),
    "channel_of_400_digits": (f"a r 0 0.2 {'9' * 400}", "not 'recording begin end'"),
    "negative_channel": ("a r 0 0.2 -1", "not 'recording begin end'"),
    "nan": ("a r nan 0.2", "not 'recording begin end'"),
    "infinity": ("a r 0 1e999", "not 'recording begin end'"),
    "reversed": ("a r 0.2 0.1", "end before they begin"),
    "lost": ("a q 0 0.2", "not in wav.scp"),
    "short": ("a r 0", "not 'recording begin end'"),
}
OTHER_CASES = [
    Case(
        f"{tool}-segments-{name}",
        (tool, *words),
        (says,),
        {
            "data/segments": f"{line}\n",
            "data/wav.scp": "r data/a.wav\n",
            "data/text": "a one\n",
            "data/utt2spk": "a s\n",
        },
    )
    for tool, words in {"validate": ("data",), "segments": ("list", "data", "out")}.items()
    for name, (line, says) in SEGMENTS.items()
]
SPEEDS = (" 0.9", "0.9 ", "nan", "1e0", "0_9", "٠.٩", "", "-1", "0x1", "inf")
OTHER_CASES += [
    Case(
        f"speed_perturb-{speed!r}",
        ("speed_perturb", "data", "out", f"--speeds={speed}"),
        ("is not a number, such as 0.9",),
    )
    for speed in SPEEDS
]
OTHER_CASES += [
    Case(
        f"split_by_speaker-twice-{again!r}",
        ("split_by_speaker", "data", "x=1spk", f"{again}=rest"),
        ("given twice",),
    )
    for again in ("x", "x/", "./x", "x/../x")
]
DURATIONS = ("nan", "inf", "1e400", "-1", "one", "")
OTHER_CASES += [
    Case(
        f"{tool}-utt2dur-{seconds!r}",
        (tool, *words),
        ("utt2dur", "a"),
        {"data/utt2dur": f"a {seconds}\nb 0.5\n"},
    )
    for tool, words in {
        "split_by_speaker": READERS["split_by_speaker"],
        "subset": ("data", "out", "--hours", "0.0001"),
        "statistics": ("data",),
    }.items()
    for seconds in DURATIONS
]

TURNS = '[{"role": "user", "text": "hello"}]'
TALK = f'{{"id": "a", "category": "x", "turns": {TURNS}}}\n'
TALKS = {  # a file of dialogues: what is said of it
    "fifo": (FIFO, "no such file"),
    "gone": (GONE, "no such file"),
    "empty": ("", "no dialogue in it"),
    "latin1": ("é\n".encode("latin-1"), "not UTF-8"),
    "nested": ("[" * 100_000 + "\n", "line 1: not JSON"),
    "list": ("[]\n", "line 1: not a JSON object"),
    "number_of_5000_digits": ("9" * 5000 + "\n", "line 1: not JSON"),
    "twice": (TALK * 2, "line 2: a: this id comes twice"),
    "number_as_id": (TALK.replace('"a"', "5"), "the id 5 is not a word"),
    "nan_as_id": (TALK.replace('"a"', "NaN"), "the id nan is not a word"),
    "space_in_id": (TALK.replace('"a"', '"a b"'), "the id 'a b' is not a word"),
    "no_turns": (TALK.replace(TURNS, "[]"), "turns is no list of turns"),
    "turns_of_words": (TALK.replace(TURNS, '"hello"'), "turns is no list of turns"),
    "turn_of_words": (TALK.replace(TURNS, '["hello"]'), "turn 1: not a JSON object"),
    "text_nan": (TALK.replace('"hello"', "NaN"), "turn 1: text"),
    "text_empty": (TALK.replace("hello", " "), "turn 1: text"),
    "unknown_role": (TALK.replace("user", "root"), "turn 1: the role 'root'"),
    "audio_gone": (TALK.replace('"text"', '"audio": "no.wav", "text"'), "no.wav is missing"),
    "audio_fifo": (TALK.replace('"text"', '"audio": "fifo", "text"'), "fifo is missing"),
    "audio_directory": (TALK.replace('"text"', '"audio": "data", "text"'), "data is missing"),
    "audio_number": (TALK.replace('"text"', '"audio": 5, "text"'), "turn 1: audio"),
    "last_turn_the_assistants": (
        TALK.replace("}]", '}, {"role": "assistant", "text": "hi"}]'),
        "a: ",
    ),
    "expected_nan": (TALK.replace('"turns"', '"expected": NaN, "turns"'), "expected is no list"),
    "reference_number": (TALK.replace('"turns"', '"reference": 5, "turns"'), "reference"),
    "unknown_field": (TALK.replace('"turns"', '"speaker": 5, "turns"'), "speaker"),
}
OTHER_CASES += [
    Case(
        f"generate_responses-dialogues-{name}",
        ("generate_responses", "--llm", "none", "--data", "talks.jsonl", "--output", "out"),
        ("talks.jsonl", says),
        {"talks.jsonl": content, "fifo": FIFO},
    )
    for name, (content, says) in TALKS.items()
]
CONTEXT = '{"name": "a", "weight": 1}\n'
CONTEXTS = {  # a file of behaviours: its ending, and what is said of it
    "fifo": ("yaml", FIFO, "no such file"),
    "directory": ("yaml", DIRECTORY, "no such file"),
    "gone": ("jsonl", GONE, "no such file"),
    "empty": ("yaml", "", "no list of contexts"),
    "options": ("yaml", "weight: 1\n", "no list of contexts"),
    "latin1": ("yaml", "- é\n".encode("latin-1"), "is no YAML"),
    "latin1_lines": ("jsonl", "é\n".encode("latin-1"), "line 1 is not JSON"),
    "nested": ("yaml", "[" * 100_000, "is no YAML"),
    "nested_lines": ("jsonl", "[" * 100_000 + "\n", "line 1 is not JSON"),
    "number_of_5000_digits": ("yaml", "- weight: " + "9" * 5000, "is no YAML"),
    "number_as_key": ("yaml", "- {1: a, b: c}\n", "unknown field 1"),
    "nan": ("jsonl", CONTEXT.replace("1", "NaN"), "the weight 'nan'"),
    "infinite": ("jsonl", CONTEXT.replace("1", "Infinity"), "the weight 'inf'"),
    "heavy": ("jsonl", CONTEXT.replace("1", "1" + "0" * 400), "the weight '1000"),
    "slash_in_name": ("jsonl", CONTEXT.replace('"a"', '"../a"'), "the name '../a'"),
    "half_a_character": (
        "jsonl",
        CONTEXT.replace("}", ', "turns": [{"role": "user", "text": "\\ud800 {speech}"}]}'),
        "surrogates not allowed",
    ),
    "endless_pattern": (
        "jsonl",
        CONTEXT.replace("}", ', "fits": "a{999999999999}"}'),
        "no pattern",
    ),
    "deep_pattern": (
        "jsonl",
        CONTEXT.replace("}", f', "fits": "{"(" * 5000}{")" * 5000}"}}'),
        "no pattern",
    ),
    "twice": ("jsonl", CONTEXT * 2, "context 2 (a): this name comes twice"),
}
OTHER_CASES += [
    Case(
        f"generate_responses-behaviours-{name}",
        ("generate_responses", "--llm", "none", "--data", "data", "--output", "out")
        + ("--behaviours", f"some.{ending}"),
        (f"some.{ending}", says),
        {f"some.{ending}": content},
    )
    for name, (ending, content, says) in CONTEXTS.items()
]
OTHER_CASES += [
    Case(
        f"compare-{name}",
        ("compare", "a.json", "b.json"),
        ("a.json", says),
        {"a.json": content, "b.json": "{}"},
    )
    for name, content, says in (
        ("nested", "[" * 100_000, "not a results.json"),
        ("list", "[]", "not a results.json"),
        ("number", "5", "not a results.json"),
        ("empty", "", "not a results.json"),
        ("nothing", "{}", "no version"),
        ("version_nan", '{"version": NaN}', "version nan"),
        ("only_version", '{"version": 1}', "damaged, or not a results.json"),
        ("gone", GONE, "no such file"),
        ("fifo", FIFO, "no such file"),
    )
]

PACK = ("--exp", "e", "--output", "out")
ESTIMATE = ("estimate", "--ctc_config", "c.yaml", "--align_config", "c.yaml")
ESTIMATE += ("--hours", "1", "--utterances", "10")
CONFIGS = {  # a configuration: what is said of it
    "broken": ("a: [", "is no YAML"),
    "tag": ("a: !!python/object/apply:os.system [true]", "is no YAML"),
    "list": ("[a]", "holds no options"),
    "empty": ("", "holds no options"),
    "latin1": ("a: é".encode("latin-1"), "is no YAML"),
    "nested": ("[" * 10_000, "is no YAML"),
}
OTHER_CASES += [
    Case(f"{tool[0]}-config-{name}", tool, (file, says), {file: content})
    for tool, file in ((ESTIMATE, "c.yaml"), (("pack", *PACK), "e/config.yaml"))
    for name, (content, says) in CONFIGS.items()
]
OTHER_CASES += [
    Case("pack-no_experiment", ("pack", *PACK), ("not a trained experiment",), {"e/a": ""}),
    Case("pack-experiment_of_stage_5", ("pack", *PACK), ("lacks llm",), {"e/config.yaml": "a: 1"}),
]

# --- what stages leave ----------------------------------------------------------------------------

SCORE = ("score", "--sets", "dump/test", "--runs", "exp", "--output", "exp", "--recipe", "toy")
SCORE += ("--llm", "tiny", "--resamples", "200")
STORE, SHARD = "dump/test/responses/store.json", "dump/test/responses/shard.00000.jsonl"
ABOUT = {
    "fingerprint": "f", "chat_template_hash": "t", "system_prompt": None, "max_tokens_factor": 4.0,
    "beam": 1, "shard_size": 4096, "num_prompts": 4, "prompts_hash": "p", "prompt_casing": "asis",
}  # fmt: skip
RESULTS = {  # a file that scoring reads: what is said
    "store_list": (STORE, "[]", "store.json is damaged (no JSON object)"),
    "store_nested": (STORE, "[" * 100_000, "nested too deeply"),
    "store_empty": (STORE, "", "store.json is damaged"),
    "store_without_keys": (STORE, "{}", "store.json lacks 'fingerprint'"),
    "store_of_words": (STORE, json.dumps(ABOUT | {"num_prompts": "4"}), "num_prompts is not"),
    "store_of_nan": (STORE, json.dumps(ABOUT | {"shard_size": float("nan")}), "shard_size is not"),
    "store_of_none": (STORE, json.dumps(ABOUT | {"num_prompts": 0}), "num_prompts is not"),
    "store_of_400_digits": (STORE, json.dumps(ABOUT | {"num_prompts": 10**400}), "num_prompts"),
    "shard_size_0": (STORE, json.dumps(ABOUT | {"shard_size": 0}), "shard_size is not"),
    "shard_empty": (SHARD, "", "it holds 0 answers to 4 prompts"),
    "shard_of_lists": (SHARD, "[]\n", "line 1 is not a result"),
    "shard_nested": (SHARD, "[" * 100_000 + "\n", "line 1 is not a result"),
    "shard_of_numbers": (
        SHARD,
        '{"id": 5, "prompt": "", "response": "", "response_ids": [], "finish_reason": ""}\n',
        "its id 5 is not text",
    ),
    "duration_nan": ("dump/test/utt2dur", "utt1 nan\nutt2 1\nutt3 1\nutt4 1\n", "utt1 is 'nan'"),
    "duration_1e400": ("dump/test/utt2dur", "utt1 1e400\nutt2 1\nutt3 1\nutt4 1\n", "'1e400'"),
    "noise_nested": ("dump/test/noise.json", "[" * 100_000, "does not say what noise"),
    "noise_list": ("dump/test/noise.json", "[]", "does not say what noise"),
    "run_nested": ("exp/respond_test/reference_text/run.json", "[" * 100_000, "not describe a run"),
    "run_list": ("exp/respond_test/reference_text/run.json", "[]", "not describe a run"),
    "answers_nested": (
        "exp/respond_test/reference_text/answers.jsonl",
        "[" * 100_000,
        "line 1 is not an answer",
    ),
    "answers_of_numbers": (
        "exp/respond_test/reference_text/answers.jsonl",
        '{"id": 5}\n',
        "line 1 is not an answer",
    ),
    "nats_nan": ("exp/respond_test/reference_text/nats", "utt1 nan 3\n", "not a finite number"),
    "text_fifo": ("dump/test/text", FIFO, ""),
}
SCORE_CASES = [
    Case(f"score-{name}", SCORE, (says,), {file: content}, "experiment")
    for name, (file, content, says) in RESULTS.items()
]

CASES = [*TABLE_CASES, *AUDIO_CASES, *LIST_CASES, *OTHER_CASES, *SCORE_CASES]

# --- not command lines of Python ------------------------------------------------------------------

CORPORA = ("path", "uid", "home", "ifs", "llm", "stage", "nj", "subset", "dumpdir")  # of setup.sh
SLURM = {  # slurm.yaml: what is said of it
    "train: {signal: .nan}": "'signal' is a number, 0 or more, not nan",
    "train: {signal: .inf}": "'signal' is a number",
    "train: {signal: -1}": "'signal' is a number",
    "train: {signal: true}": "'signal' is a number",
    f"train: {{cpus: {'9' * 400}}}": "'cpus' is a number",
    "poll: .nan": "'poll' is a number",
    "train: [a]": "holds keys and values",
    "[a]": "holds no keys",
    "train: {partitions: a}": "unknown key 'partitions'",
    "a: [": "is no YAML",
}
LLM_CONFIGS = ("", "{", "[]", "{}", '{"architectures": 5}', '{"architectures": [5]}', "[" * 100_000)
