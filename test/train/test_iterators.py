"""Our iterators give ESPnet's batches, in ESPnet's order, with ESPnet's values."""

import errno
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from espnet2.iterators.sequence_iter_factory import SequenceIterFactory
from espnet2.samplers.build_batch_sampler import build_batch_sampler
from espnet2.train.collate_fn import CommonCollateFn
from espnet2.train.dataset import ESPnetDataset
from tiny_tasks import ctc_options

from espnet_audiollm.data.batches import Plan, Rules
from espnet_audiollm.data.kaldi_dir import write_table
from espnet_audiollm.tasks.ctc import CTCTask
from espnet_audiollm.train.iterators import BatchIterFactory, TableDataset
from espnet_audiollm.train.supervision import classify

SEED = 3
IDS = [f"u{i:02d}" for i in range(23)]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """23 recordings, WAV and FLAC, with transcripts, token ids and lengths."""
    root = tmp_path_factory.mktemp("recordings")
    random = np.random.default_rng(0)
    tables = {name: [] for name in ("wav.scp", "text", "token_int", "speech_shape")}
    for i, id_ in enumerate(IDS):
        path = root / f"{id_}.{('wav', 'flac')[i % 2]}"
        samples = int(random.integers(400, 900))
        soundfile.write(path, random.uniform(-1, 1, samples), 16_000, "PCM_16")
        tables["wav.scp"].append((id_, str(path)))
        tables["text"].append((id_, " ".join(["né", "two"] * (i % 3 + 1))))
        tables["token_int"].append((id_, " ".join(map(str, range(i % 5 + 1)))))
        tables["speech_shape"].append((id_, str(samples)))
    for name, rows in tables.items():
        write_table(root / name, rows)
    return root


def letters(uid, data):
    return {**data, "text": np.array([ord(c) for c in data["text"]], np.int32)}


def sources(root):
    return [
        (f"{root}/wav.scp", "speech", "sound"),
        (f"{root}/text", "text", "text"),
        (f"{root}/token_int", "tokens", "text_int"),
    ]


@pytest.fixture
def build(recordings, tmp_path):
    """build(**options of BatchIterFactory): the factory over the recordings."""

    def build(**options):
        rules = Rules("numel", 3000, 0, min_batch_size=2)
        plan = Plan([recordings / "speech_shape"], rules, tmp_path / ".batches")
        dataset = TableDataset(sources(recordings), letters)
        return BatchIterFactory(dataset, plan, CommonCollateFn(int_pad_value=-1), SEED, **options)

    return build


def espnets(root, rank=0, world_size=1, **options):
    batches = list(
        build_batch_sampler(
            "numel", 1, 3000, [f"{root}/speech_shape"], sort_batch="descending", min_batch_size=2
        )
    )
    batches = [batch[rank::world_size] for batch in batches]
    dataset = ESPnetDataset(sources(root), letters, "float32")
    collate = CommonCollateFn(int_pad_value=-1)
    return SequenceIterFactory(dataset, batches, seed=SEED, collate_fn=collate, **options)


def same(ours, theirs):
    ours, theirs = list(ours), list(theirs)
    assert len(ours) == len(theirs) > 0
    for (ids, batch), (their_ids, their_batch) in zip(ours, theirs, strict=True):
        assert ids == their_ids and batch.keys() == their_batch.keys()
        for name, values in batch.items():
            assert values.dtype == their_batch[name].dtype, name
            assert torch.equal(values, their_batch[name]), name


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_is_espnets(recordings, build, num_workers, shuffle):
    ours = build(shuffle=shuffle, num_workers=num_workers)
    theirs = espnets(recordings, shuffle=shuffle)
    for epoch in (1, 2):
        same(ours.build_iter(epoch), theirs.build_iter(epoch))


@pytest.mark.parametrize("iterations", [1, 2, 5, 6, 40])
def test_short_and_long_epochs_are_espnets(recordings, build, iterations):
    ours = build(shuffle=True, num_iters_per_epoch=iterations)
    theirs = espnets(recordings, shuffle=True, num_iters_per_epoch=iterations)
    for epoch in range(1, 8):
        assert len(ours.build_iter(epoch)) == iterations
        found = [ids for ids, _ in ours.build_iter(epoch)]
        assert found == [ids for ids, _ in theirs.build_iter(epoch)]


def test_ranks_share_each_batch(recordings, build):
    batches = [ids for ids, _ in build(shuffle=True).build_iter(1)]
    for rank in (0, 1):
        ours = build(shuffle=True, rank=rank, world_size=2)
        same(ours.build_iter(1), espnets(recordings, rank, 2, shuffle=True).build_iter(1))
        assert [ids for ids, _ in ours.build_iter(1)] == [ids[rank::2] for ids in batches]


def test_an_epoch_taken_up_in_the_middle_reads_only_the_rest(build):
    factory = build(shuffle=True)
    read = []
    factory.dataset.preprocess = lambda uid, data: read.append(uid) or letters(uid, data)
    batches = list(factory.build_iter(2))
    for start in range(len(batches) + 1):
        read.clear()
        rest = factory.build_iter(2, start=start)
        assert len(rest) == len(batches)
        found = [ids for ids, _ in rest]
        assert found == [ids for ids, _ in batches[start:]]
        assert read == [id_ for ids in found for id_ in ids]
    with pytest.raises(ValueError, match=f"has {len(batches)} batches"):
        factory.build_iter(2, start=len(batches) + 1)


def test_the_models_random_numbers_are_not_touched(build):
    """Where an epoch is taken up must not change what dropout draws."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(build(shuffle=True).build_iter(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_fingerprint_tells_other_data(recordings, build, tmp_path):
    ours = build().fingerprint()
    assert ours == build(num_workers=1, rank=1, world_size=2).fingerprint()
    assert (ours["utterances"], ours["batches"]) == (23, len(espnets(recordings).build_iter(1)))
    changed = [(id_, str(100 + i)) for i, id_ in enumerate(IDS)]
    write_table(tmp_path / "speech_shape", changed)
    plan = Plan([tmp_path / "speech_shape"], Rules("numel", 3000, 0), tmp_path / ".other")
    assert plan.ids == ours["ids"] and plan.digest != ours["plan"]


# --- faults -------------------------------------------------------------------------------------


@pytest.fixture
def broken(recordings, tmp_path):
    """One recording is cut short, one is gone."""
    table = dict(line.split() for line in open(recordings / "wav.scp"))
    cut, gone = tmp_path / "cut.wav", tmp_path / "gone.wav"
    cut.write_bytes(Path(table["u04"]).read_bytes()[:-100])
    write_table(tmp_path / "cut.scp", {**table, "u04": str(cut)}.items())
    write_table(tmp_path / "gone.scp", {**table, "u05": str(gone)}.items())
    return tmp_path


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cut", "cut.scp: utterance u04: .*cut.wav: truncated: the header promises"),
        ("gone", "gone.scp: utterance u05: .*gone.wav: cannot be opened"),
    ],
)
def test_a_fault_names_utterance_and_file(broken, build, num_workers, name, message):
    factory = build(num_workers=num_workers)
    factory.dataset = TableDataset([(f"{broken}/{name}.scp", "speech", "sound")])
    with pytest.raises(ValueError, match=message) as caught:
        list(factory.build_iter(1))
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_file_system_that_is_away_keeps_its_number(recordings, build, monkeypatch, num_workers):
    """By which a training is started again, not given up (train/supervision.py)."""
    factory = build(num_workers=num_workers)

    def away(value):
        raise OSError(errno.EIO, "Input/output error")

    factory.dataset.readers["speech"] = away
    with pytest.raises(OSError, match="utterance u.*Input/output error") as caught:
        list(factory.build_iter(1))
    assert classify(caught.value)[0] == "passing"


def test_other_types_and_other_ids_are_refused(recordings, tmp_path):
    with pytest.raises(ValueError, match="type kaldi_ark is not supported; choose one of sound"):
        TableDataset([(f"{recordings}/wav.scp", "speech", "kaldi_ark")])
    write_table(tmp_path / "text", [(id_, "x") for id_ in IDS[:-1]])
    with pytest.raises(ValueError, match="u22 is missing in .*text"):
        TableDataset([*sources(recordings)[:1], (f"{tmp_path}/text", "text", "text")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_type": "folded", "fold_length": [800]}, "--batch_type folded is not supported"),
        ({"iterator_type": "chunk"}, "--iterator_type chunk is not supported"),
        ({"multiple_iterator": True}, "--multiple_iterator True is not supported"),
        ({"max_cache_size": 0.5}, "--max_cache_size 0.5 is not supported"),
    ],
)
def test_what_espnet_can_and_ours_cannot_is_refused(data, tmp_path, change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        CTCTask.main(cmd=ctc_options(data, tmp_path, max_epoch=1, **change))


def test_lengths_of_other_utterances_are_refused(data, tmp_path):
    write_table(tmp_path / "shape", [(f"u{i}", "9000") for i in range(7)])
    cmd = ctc_options(data, tmp_path / "exp", max_epoch=1)
    cmd = [word.replace(f"{data}/shape", f"{tmp_path}/shape") for word in cmd]
    with pytest.raises(ValueError, match="do not hold the same ids: u7 is missing in .*shape"):
        CTCTask.main(cmd=cmd)
