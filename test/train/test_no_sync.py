"""Gradients of several processes are reduced once an update, and in the same order always."""

import pytest
import torch
import torch.distributed as dist
from learning_ranks import (
    PROCESSES,
    OutOfOrder,
    align_model,
    in_processes,
    in_the_middle,
    once_and_every_time,
    trainer_options,
)

from espnet_audiollm.train.wrapping import wrap_distributed


def test_gradients_are_reduced_once_an_update(tmp_path):
    found = in_processes(2, once_and_every_time, tmp_path)
    start = dict(align_model().named_parameters())
    for of_rank in found:
        once, every_time = of_rank["once"], of_rank["every time"]
        assert (once.pop("reductions"), every_time.pop("reductions")) == (4, 18)
        for name, weight in once.items():
            torch.testing.assert_close(weight, every_time[name], rtol=1e-5, atol=1e-7, msg=name)
            assert torch.equal(weight, found[0]["once"][name]), name  # the same in both processes
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
