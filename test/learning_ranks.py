"""Processes of gloo that learn together: what each does in the tests of `train/wrapping.py`."""

from contextlib import nullcontext
from datetime import timedelta

import torch
import torch.distributed as dist
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.reporter import SubReporter
from tiny_models import noise, tiny_encoder, tiny_llama
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from espnet_audiollm.data.prompt import AUDIO_SLOT
from espnet_audiollm.model.adapters import StackAdapter
from espnet_audiollm.model.audiollm import AudioLLMESPnetModel
from espnet_audiollm.model.llm import LLM
from espnet_audiollm.model.targets import Targets
from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.train.accumulate import AccumulatedMean
from espnet_audiollm.train.epoch import Batches
from espnet_audiollm.train.halving import MemoryLimit, part_of
from espnet_audiollm.train.ranks import Ranks
from espnet_audiollm.train.shares import UpdateShares
from espnet_audiollm.train.trainer import AudioTrainer
from espnet_audiollm.train.wrapping import wrap, wrap_distributed

PROCESSES = DistributedOption(distributed=True, dist_backend="gloo")


def trainer_options(*more):
    words = ["--output_dir", "exp", "--llm", "llm", "--grad_clip", "1000", *more]
    return AudioTrainer.build_options(AudioLLMTask.get_parser().parse_args(words))


def in_processes(number, function, directory):
    """`function(rank, directory)` in each process of a gloo group; what it returned, by rank."""
    torch.multiprocessing.spawn(begin, (number, function, directory), nprocs=number)
    return [torch.load(directory / f"{rank}.pt") for rank in range(number)]


def begin(rank, number, function, directory):
    torch.set_num_threads(1)
    meeting = f"file://{directory / 'meeting'}"
    dist.init_process_group(
        "gloo", init_method=meeting, rank=rank, world_size=number, timeout=timedelta(minutes=2)
    )
    torch.save(function(rank, directory), directory / f"{rank}.pt")
    dist.destroy_process_group()


# --- how often ----------------------------------------------------------------------------------

BATCHES = 9  # two updates of four, and one left over


def align_model():
    torch.manual_seed(0)
    llm = LLM(tiny_llama(dtype=torch.float32), None, "tiny", "", "", (2,))
    encoder, adapter = tiny_encoder(torch.float32), StackAdapter(16, 16)
    return AudioLLMESPnetModel(encoder, adapter, llm, [1, AUDIO_SLOT, 5])


def batch_of(rank, number):
    """Two utterances, with responses of other lengths in each batch and process."""
    generator = torch.Generator().manual_seed(10 * number + rank)
    samples = torch.randint(8_000, 16_000, (2,), generator=generator).tolist()
    speech, _ = noise(*samples, dtype=torch.float32, seed=10 * number + rank)
    lengths = torch.randint(1, 9, (2,), generator=generator).tolist()
    response = torch.randint(3, 39, (2, max(lengths)), generator=generator)
    data = {"speech": speech, "speech_lengths": samples, "response": response}
    return ["a", "b"], {**data, "response_lengths": lengths}


def count(counts, bucket):
    """DDP's reduction, counted by parameters."""
    counts.append(len(bucket.parameters()))
    return allreduce_hook(None, bucket)


def train(rank, every_time):
    """Two epochs of ESPnet's loop: the number of reductions of all parameters, and the weights."""
    options, model = trainer_options("--accum_grad", "4"), align_model()
    ranks = Ranks.of(DistributedOption(True, "gloo", dist_rank=rank))
    wrapped = wrap(model, options, PROCESSES, ranks, MemoryLimit())
    (parallel,) = (m for m in wrapped.modules() if isinstance(m, DistributedDataParallel))
    if every_time:
        wrapped = AccumulatedMean(parallel, 4, ranks, nullcontext)
    counts = []
    parallel.register_comm_hook(counts, count)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in (1, 2):
        optimizer.zero_grad()
        batches = [batch_of(rank, BATCHES * epoch + i) for i in range(BATCHES)]
        learn(wrapped, optimizer, batches, options, PROCESSES)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    return {"reductions": sum(counts) / len(weights), **weights}


# --- what a term counts -------------------------------------------------------------------------

TERMS = ("response", "distribution", "hidden", "ctc")


def terms_model(term):
    """An alignment with one term beside the response, or only the response, in float64."""
    torch.manual_seed(0)
    llm = LLM(tiny_llama(), None, "tiny", "", "", (2,))
    weights = {term: 1.0} if term in ("distribution", "hidden") else {}
    return AudioLLMESPnetModel(
        tiny_encoder(),
        StackAdapter(16, 16).double(),
        llm,
        [1, AUDIO_SLOT, 5],
        targets=Targets(**weights),
        num_pieces=7 if term == "ctc" else 0,
        ctc_weight=1.0 if term == "ctc" else 0.0,
    ).double()


def eight():
    """Eight utterances: those with short responses have long transcripts."""
    generator = torch.Generator().manual_seed(5)
    speech, samples = noise(*(20_000 + 3_000 * i for i in range(8)))
    lengths = {"response": [1, 1, 2, 2, 6, 7, 8, 9], "text": [3, 4, 3, 4, 1, 1, 1, 2]}
    lengths["text_prompt"] = [5] * 8
    data = {"speech": speech, "speech_lengths": samples}
    for name, of_name in lengths.items():
        data[name] = torch.randint(1, 7, (8, max(of_name)), generator=generator)
        data[f"{name}_lengths"] = torch.tensor(of_name)
    logp = torch.randn(8, 9, 4, generator=generator, dtype=torch.float64).log_softmax(-1)
    data |= {"teacher_logp": logp, "teacher_ids": torch.arange(3).repeat(8, 9, 1)}
    for name in ("teacher_logp", "teacher_ids"):
        data[f"{name}_lengths"] = data["response_lengths"]
    return data


def update(term, rows, rank=0, number=1, limit=None):
    """What ESPnet's loop adds to the weights in one update of batches of these rows, times -1."""
    model, batch = terms_model(term), eight()
    options = trainer_options("--accum_grad", str(len(rows)))
    option = DistributedOption(True, "gloo", dist_rank=rank) if number > 1 else DistributedOption()
    ranks = Ranks.of(option)
    wrapped = wrap(model, options, option, ranks, limit or MemoryLimit())
    before = [p.detach().clone() for p in model.parameters()]
    read = [(["x"], part_of(batch, *pair)) for pair in rows]
    shares = UpdateShares(model.term_counts, ranks)
    batches = Batches("train", read, lambda done: False, step=len(rows), shares=shares)
    learn(wrapped, torch.optim.SGD(model.parameters(), lr=1.0), batches, options, option)
    return [old - new.detach() for old, new in zip(before, model.parameters(), strict=True)]


def learn(wrapped, optimizer, batches, options, option):
    """An epoch of ESPnet's loop."""
    AudioTrainer.train_one_epoch(
        model=wrapped,
        optimizers=[optimizer],
        schedulers=[None],
        iterator=batches,
        reporter=SubReporter("train", 1, 0),
        scaler=None,
        summary_writer=None,
        options=options,
        distributed_option=option,
    )


def once_and_every_time(rank, directory):
    """Of two processes: two trainings, and the update of each term by batches of two rows."""
    rows = [(2 * rank, 2 * rank + 2), (2 * rank + 4, 2 * rank + 6)]
    updates = {term: update(term, rows, rank, 2) for term in TERMS}
    return {"once": train(rank, False), "every time": train(rank, True), "updates": updates}


# --- which parameters, in which order -----------------------------------------------------------


class OutOfOrder(torch.nn.Module):
    """Layers are used in another order than they are registered in, which DDP begins with."""

    uses_all_parameters = True

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(31, 31) for _ in range(5))

    def forward(self, speech):
        for number in (3, 0, 4, 1, 2):
            speech = self.layers[number](speech).tanh()
        return speech.square().mean()


def in_the_middle(rank, directory):
    """The weights after six updates, without and with another DDP from the fourth one on."""
    options, ended = trainer_options(), []
    for restarts in ((0,), (0, 3)):
        model, generator = OutOfOrder(), torch.Generator().manual_seed(rank)
        for step in range(6):
            if step in restarts:
                parallel = wrap_distributed(model, options, PROCESSES)
            parallel(speech=torch.randn(4, 31, generator=generator)).backward()
            for p in model.parameters():
                p.data -= 0.3 * p.grad
                p.grad = None
        ended.append([p.detach() for p in model.parameters()])
    return {"ended": ended, "looks": parallel.find_unused_parameters}
