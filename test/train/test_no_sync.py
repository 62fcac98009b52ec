"""Gradients of several processes are reduced once an update, and in the same order always."""

import pytest
import torch
import torch.distributed as dist
from learning_ranks import (
    PROCESSES,
    TERMS,
    OutOfOrder,
    align_model,
    in_processes,
    in_the_middle,
    once_and_every_time,
    trainer_options,
    update,
)
from tiny_tasks import task_options

from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.train import checkpoints
from espnet_audiollm.train.halving import MemoryLimit
from espnet_audiollm.train.wrapping import wrap_distributed


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes did, by rank."""
    return in_processes(2, once_and_every_time, tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("term", TERMS)
def test_batches_of_two_processes_count_as_one(two, term):
    whole = update(term, [(0, 8)])
    for of_rank in two:
        for one, parts in zip(whole, of_rank["updates"][term], strict=True):
            torch.testing.assert_close(one, parts, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("term", TERMS)
def test_two_batches_of_four_count_as_one_of_eight(term):
    whole, halves = (update(term, rows) for rows in ([(0, 8)], [(0, 4), (4, 8)]))
    assert max(change.abs().max() for change in whole) > 1e-3
    for one, parts in zip(whole, halves, strict=True):
        torch.testing.assert_close(one, parts, rtol=1e-5, atol=1e-7)


def test_halves_of_accumulated_batches_count_as_one():
    """Each of the two batches does not fit, and is done in halves."""
    limit = MemoryLimit(too_large=1)
    whole, quarters = update("ctc", [(0, 8)]), update("ctc", [(0, 4), (4, 8)], limit=limit)
    for one, parts in zip(whole, quarters, strict=True):
        torch.testing.assert_close(one, parts, rtol=1e-5, atol=1e-7)


def test_gradients_are_reduced_once_an_update(two):
    start = dict(align_model().named_parameters())
    for of_rank in two:
        once, every_time = of_rank["once"], of_rank["every time"]
        assert (once.pop("reductions"), every_time.pop("reductions")) == (4, 18)
        for name, weight in once.items():
            torch.testing.assert_close(weight, every_time[name], rtol=1e-5, atol=1e-7, msg=name)
            assert torch.equal(weight, two[0]["once"][name]), name  # the same in both processes
    assert any((once[n] - start[n]).abs().max() > 1e-3 for n in once)  # something was learned


def test_a_training_begun_anew_sums_in_the_same_order(tmp_path):
    for of_rank in in_processes(3, in_the_middle, tmp_path):
        whole, anew = of_rank["ended"]
        assert not of_rank["looks"]
        for one, other in zip(whole, anew, strict=True):
            assert torch.equal(one, other)


@pytest.fixture
def alone(tmp_path):
    """A group of this process only."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    "says, words, looks",
    [(True, (), False), (False, (), True), (True, ("--unused_parameters", "true"), True)],
)
def test_unused_parameters_are_looked_for_where_there_may_be_some(says, words, looks):
    model = OutOfOrder()
    model.uses_all_parameters = says
    parallel = wrap_distributed(model, trainer_options(*words), PROCESSES)
    assert parallel.find_unused_parameters is looks
    assert all(p.grad is None for p in model.parameters())


def test_a_training_counts_transcripts_by_themselves(data, ctc_exp, llm_dir, tmp_path):
    """The alignment's own command, with a CTC loss: two batches of four, and one of eight."""
    lines = (f"u{i} {' '.join(['7'] * (1 + 3 * (i % 2) + i // 4))} 2\n" for i in range(8))
    (data / "uneven_ids").write_text("".join(lines))
    start = ["--llm", str(llm_dir), "--init_ctc", f"{ctc_exp}/valid.loss.ave.pth"]
    text = f"{data}/text,text,text"
    sources = [w for s in ("train", "valid") for w in (f"--{s}_data_path_and_name_and_type", text)]

    def trained(batch_size):
        directory = tmp_path / str(batch_size)
        size = dict(batch_size=batch_size, accum_grad=8 // batch_size, max_epoch=2, ctc_weight=1.0)
        more = dict(optim="sgd", optim_conf={"lr": 0.1}, **size)
        cmd = task_options(data, directory, "uneven_ids,response,text_int", **more)
        AudioLLMTask.main(cmd=[*cmd, *start, *sources])
        return checkpoints.load(directory / "2epoch.pth")

    one, two = trained(8), trained(4)
    for name, weight in one.items():
        if isinstance(weight, torch.Tensor):
            torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-6, msg=name)
