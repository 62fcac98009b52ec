"""`--max_positions`: what is counted beforehand, against what the model lays into the LLM."""

import logging

import numpy as np
import pytest
import torch
from tiny_tasks import task_options

from espnet_audiollm.data.position_bound import PositionBound
from espnet_audiollm.model import audiollm
from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.train.iterators import read_integers


@pytest.fixture
def options(data, llm_dir, tmp_path):
    """A command line whose batches are of samples and response tokens."""
    lengths = {}
    for line in (data / "response_ids").read_text().splitlines():
        id_, value = line.split(maxsplit=1)
        lengths[id_] = len(read_integers(value))
    shape = data / "response_shape"
    shape.write_text("".join(f"{id_} {n}\n" for id_, n in lengths.items()))

    def build(*words, **more):
        sizes = dict(batch_type="numel", batch_bins=10**7, max_epoch=1, **more)
        cmd = task_options(data, tmp_path, "response_ids,response,text_int", **sizes)
        cmd += [w for s in ("train", "valid") for w in (f"--{s}_shape_file", str(shape))]
        return [*cmd, "--llm", str(llm_dir), *words]

    return build


@pytest.mark.parametrize(
    ("adapter", "conf"),
    [("stack", {}), ("stack", {"stack": 3}), ("qformer", {"window": 4, "queries": 3, "heads": 2})],
)
def test_never_more_positions_than_were_counted(data, options, adapter, conf):
    words = options("--audio_adapter", adapter, "--max_positions", "100", audio_adapter_conf=conf)
    args = AudioLLMTask.get_parser().parse_args(words)
    model = AudioLLMTask.build_model(args).eval()
    bound = PositionBound(100, **args.position_costs)
    for seconds in (0.3, 0.5, 0.64, 1.0, 1.27):
        samples = round(16_000 * seconds)
        speech = np.zeros((1, samples), np.float32)
        (audio_PD,) = model.encode_audio(torch.from_numpy(speech), [samples])
        exact = len(model.prompt) - 1 + len(audio_PD) + 4 - 1  # the last token is not read
        (counted,) = bound.positions(np.array([samples]), np.array([4]))
        assert exact <= counted <= exact + 5


def test_batches_of_a_training_keep_to_it(data, options, monkeypatch, caplog):
    """What the real training packs, batch by batch."""
    packed, real = [], audiollm.Targets.losses

    def losses(self, model, prompts, responses, *more):
        packed.append(sum(len(p) + len(r) - 1 for p, r in zip(prompts, responses, strict=True)))
        return real(self, model, prompts, responses, *more)

    monkeypatch.setattr(audiollm.Targets, "losses", losses)
    with caplog.at_level(logging.INFO):
        AudioLLMTask.main(cmd=options("--max_positions", "50"))
    assert len(packed) >= 6 and 25 < max(packed) <= 50
    assert "8 utterances in" in caplog.text


def test_an_utterance_that_is_too_long_is_a_sentence(data, options):
    with pytest.raises(ValueError, match=r"of 8 utterances .*--max_positions 16 .*\(first: u"):
        AudioLLMTask.main(cmd=options("--max_positions", "16"))
