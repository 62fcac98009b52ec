"""bin/bestrq_train: it trains, goes on, gives units, and others start from it."""

import shutil

import pytest
import torch
import yaml
from tiny_tasks import ENCODER, ctc_options, task_options

from espnet_audiollm.data.unit_tables import iter_units
from espnet_audiollm.infer.unit_frames import load_frames
from espnet_audiollm.train import checkpoints
from espnet_audiollm.units.sources import Source

BEST = "valid.loss.ave.pth"
OPTIONS = {
    **ENCODER,
    "quantiser_conf": dict(codebooks=2, codes=16, width=4),
    "mask_conf": dict(mask_prob=0.3, mask_frames=1),
    "max_epoch": 2,
}


@pytest.fixture(scope="module")
def place(data, tmp_path_factory):
    """Data with lengths, and an experiment on it."""
    from espnet_audiollm.bin import bestrq_train

    place = tmp_path_factory.mktemp("bestrq")
    shutil.copytree(data, place / "data")
    shutil.copy(data / "shape", place / "data/utt2num_samples")
    lengths = (line.split() for line in (data / "shape").read_text().splitlines())
    seconds = (f"{id_} {int(samples) / 16_000}\n" for id_, samples in lengths)
    (place / "data/utt2dur").write_text("".join(seconds))
    (place / "data/utt2spk").write_text("".join(f"u{i} s\n" for i in range(8)))
    assert bestrq_train.main(training(place, place / "exp")) == 0
    return place


def training(place, output, **more):
    output.mkdir(parents=True, exist_ok=True)
    (output / "given.yaml").write_text(yaml.safe_dump({**OPTIONS, **more}))
    words = ["--config", output / "given.yaml", "--output_dir", output]
    words += ["--train_data", place / "data", "--valid_data", place / "data"]
    return [str(word) for word in words]


def test_a_training_that_stopped_goes_on_to_the_same_weights(place, run, tmp_path):
    run("bestrq_train", *training(place, tmp_path / "exp", max_epoch=1)).says()
    run("bestrq_train", *training(place, tmp_path / "exp"), "--resume", "true").says()
    one, two = (checkpoints.load(path / BEST) for path in (place / "exp", tmp_path / "exp"))
    assert one.keys() == two.keys() and "quantiser.codes_QKE" in one
    assert all(torch.equal(one[key], two[key]) for key in one if torch.is_tensor(one[key]))


def test_units_of_a_layer(place, run, tmp_path):
    words = ["--source", f"bestrq:{place}/exp", "--data", place / "data", "--size", 4]
    run("learn_units", *words, "--output", tmp_path / "q").says("4 units of bestrq", ":1 at 12.5")
    words = ["--quantiser", tmp_path / "q", "--data", place / "data", "--output", tmp_path / "u"]
    run("extract_units", *words).says("units of 8 recordings")
    assert len(list(iter_units(tmp_path / "u"))) == 8


def test_a_source_names_how_it_was_trained(place, ctc_exp):
    with pytest.raises(ValueError, match="no experiment of ctc_train.*bestrq:EXP"):
        load_frames(Source("ctc", str(place / "exp"), 1))
    with pytest.raises(ValueError, match="no experiment of bestrq_train.*ctc:EXP"):
        load_frames(Source("bestrq", str(ctc_exp), 1))


def test_other_trainings_start_from_it(place, data, llm_dir, tmp_path):
    from espnet_audiollm.tasks.audiollm import AudioLLMTask
    from espnet_audiollm.tasks.ctc import CTCTask

    part = "speech_encoder"
    init = ["--init_param", f"{place}/exp/{BEST}:{part}:{part}"]
    still = dict(max_epoch=1, optim_conf={"lr": 0.0})
    CTCTask.main(cmd=[*ctc_options(data, tmp_path / "ctc", **still), *init])
    answers = "response_ids,response,text_int"
    options = task_options(data, tmp_path / "align", answers, **still)
    AudioLLMTask.main(cmd=[*options, "--llm", str(llm_dir), *init])
    theirs = checkpoints.load(place / "exp" / BEST)
    for name in ("ctc", "align"):
        ours = checkpoints.load(tmp_path / name / BEST)
        same = [torch.equal(theirs[key], ours[key]) for key in ours if key.startswith(part)]
        assert len(same) > 20 and all(same)


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"specaug": "specaug"}, ["--specaug specaug", "leave it out"]),
        ({"encoder": "transformer", "encoder_conf": {}}, ["--encoder transformer", "conformer"]),
        ({"mask_conf": {"mask_prob": 2.0}}, ["mask_prob 2", "between 0 and 1"]),
        ({"mask_conf": {"span": 2}}, ["--mask_conf", "span"]),
        ({"quantiser_conf": {"codes": 1}}, ["1 codebooks of 1 codes"]),
    ],
)
def test_what_is_refused(place, run, tmp_path, wrong, says):
    run("bestrq_train", *training(place, tmp_path / "exp", **wrong)).fails(*says)


def test_directories_that_are_missing(place, run, tmp_path):
    words = training(place, tmp_path / "exp")
    run("bestrq_train", *words[:-2]).fails("1 of 2 directories", "--valid_data")
    run("bestrq_train", *words[:-4]).fails("--train_data and --valid_data")


def options_of(task, path):
    return task.get_parser().parse_args(["--config", str(path), "--output_dir", "none"])


@pytest.mark.parametrize("recipe, size, codes", [("mini", 3.1e6, 512), ("librispeech", 6e8, 8192)])
def test_configurations_of_the_recipes(root, recipe, size, codes):
    from espnet_audiollm.tasks.bestrq import BestRQTask
    from espnet_audiollm.tasks.ctc import CTCTask

    conf = root / f"egs2/{recipe}/audiollm1/conf"
    args = options_of(BestRQTask, conf / "train_bestrq.yaml")
    with torch.device("meta"):
        model = BestRQTask.build_model(args)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(size, rel=0.15)
    assert model.quantiser.size == codes
    masked_ms = model.mask_frames * 10 * args.encoder_conf["subsampling"]
    assert masked_ms == 400  # the paper's spans
    updates = args.scheduler_conf.get("total_steps")
    if recipe == "mini":  # CTC may start from it
        assert args.encoder_conf == options_of(CTCTask, conf / "train_ctc.yaml").encoder_conf
        assert updates == pytest.approx(args.max_epoch * 529, rel=0.02)  # as the log says
