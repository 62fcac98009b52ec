r"""The alignment step on one GPU: what it does a second, what memory it takes, where the time goes.

    python test/bench/bench_align.py                   # Llama-2-7B's shape, 18 and 36 layers
    python test/bench/bench_align.py --audio 40 160    # seconds in a batch
    python test/bench/bench_align.py --profile         # and the kernels that take the time
    python test/bench/bench_align.py --tiny            # a few seconds on a processor
    OMP_NUM_THREADS=1 python test/bench/bench_align.py --small --layout packed --recompute none \
        --targets response distribution hidden all     # an LLM of 58 million weights, on one core

Random weights; the sizes of the paper's encoders; the model's own forward pass, backward pass, and
Adam. Utterances are as long as LibriSpeech's (up to 20 s, 12 s on average), responses have 100 to
200 tokens. The systems take turns on the same batches; times are medians (on a processor, this
process's own time, whatever else is running):

    packed, gathered, padded     sequences end to end, with attention by FlashAttention's kernel for
                                 variable lengths (on a GPU) or by laying them out; a padded batch
    repeated                     packed, and the --prefix tokens with which all prompts begin are
                                 read with each of them (packed: once, where they are enough)
    none, encoder, LLM, both     whose activations are computed again in the backward pass
    eager, LLM, both             whose layers torch.compile has compiled
    response, distribution,      what is learned from (model/targets.py): the paper's, then each
    hidden, all                  term beside it; the text prompt has three tokens a second of audio

MFU: see espnet_audiollm/model/flops.py; neither padding nor recomputing nor reading the text again
counts as work; the prefix counts with each prompt. Peak memory is the allocator's, of the worst
batch. Waits are the times that the host waits for the GPU in a step. The optimiser runs after every
batch here (the paper: every 8th).
"""

import argparse
import gc
import statistics
import sys
import time
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import torch
from bench_lengths import (
    PREFIX,
    RATE,
    SMALL,
    SUFFIX,
    TINY,
    WORDS,
    draw_durations,
    draw_responses,
)

from espnet_audiollm.data.prompt import AUDIO_SLOT
from espnet_audiollm.model import packing
from espnet_audiollm.model.adapters import StackAdapter
from espnet_audiollm.model.audiollm import AudioLLMESPnetModel
from espnet_audiollm.model.beginnings import Beginnings
from espnet_audiollm.model.compiling import compile_layers
from espnet_audiollm.model.conformer import ConformerEncoder
from espnet_audiollm.model.flops import (
    PEAK_FLOPS,
    encoder_flops,
    llama2_7b,
    llm_step_flops,
    peak_flops,
)
from espnet_audiollm.model.frontend import Filterbank
from espnet_audiollm.model.layers import decoder_layers
from espnet_audiollm.model.llm import LLM
from espnet_audiollm.model.normalize import UtteranceMVN
from espnet_audiollm.model.recompute import recompute_layers
from espnet_audiollm.model.speech_encoder import SpeechEncoder
from espnet_audiollm.model.targets import Targets
from espnet_audiollm.train.epoch import sent

PHASES = ("encoder forward", "LLM forward", "LLM backward", "encoder backward", "optimiser")
DEFAULTS = ("packed", "gathered", "padded")
LAYOUTS = (*DEFAULTS, "repeated")
RECOMPUTE = ("none", "encoder", "LLM", "both")
COMPILED = ("eager", "LLM", "both")
TARGETS = {
    "response": Targets(),
    "distribution": Targets(1, 1),
    "hidden": Targets(1, 0, 1),
    "all": Targets(1, 1, 1),
}


@dataclass(frozen=True)
class System:
    layers: int  # of the conformer
    layout: str
    recompute: str
    compiled: str
    targets: str = "response"


@dataclass
class Measured:
    seconds: list[float] = field(default_factory=list)  # a step
    phases: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    peak: int = 0  # bytes
    waits: Counter = field(default_factory=Counter)  # of the host, by the line that waits
    failed: bool = False  # out of memory


@dataclass(frozen=True)
class Batch:
    tensors: dict[str, torch.Tensor]
    durations: list[float]  # seconds
    responses: list[int]  # tokens


def get_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, nargs="+", default=[18, 36], help="of the encoder")
    parser.add_argument("--layout", nargs="+", default=list(DEFAULTS), choices=LAYOUTS)
    parser.add_argument("--recompute", nargs="+", default=["none", "both"], choices=RECOMPUTE)
    parser.add_argument("--compile", nargs="+", default=["eager"], choices=COMPILED)
    parser.add_argument("--targets", nargs="+", default=["response"], choices=TARGETS)
    parser.add_argument("--top_k", type=int, default=16, help="tokens of the teacher that are kept")
    parser.add_argument("--audio", type=float, nargs="+", default=[40], help="seconds in a batch")
    parser.add_argument("--prefix", type=int, default=PREFIX, help="tokens before the audio")
    parser.add_argument("--batches", type=int, default=8, help="measured steps of each system")
    parser.add_argument("--warm_up", type=int, default=2, help="steps before them")
    parser.add_argument("--peak", help=f"{', '.join(PEAK_FLOPS)}, or TFLOP/s (default: by name)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--profile", action="store_true", help="top kernels of the first system")
    parser.add_argument("--tiny", action="store_true", help="tiny models, two batches")
    parser.add_argument("--small", action="store_true", help="small models, for a processor")
    parser.add_argument("--seed", type=int, default=1)
    return parser


def known_peak(device: str) -> float | None:
    """Of the GPU at hand, where its name is known."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else ""
    return next((flops for gpu, flops in PEAK_FLOPS.items() if gpu in name), None)


def make_llm(args) -> LLM:
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = llama2_7b()
    if args.tiny or args.small:
        config = LlamaConfig(**(TINY if args.tiny else SMALL), attn_implementation="sdpa")
    dtype = torch.bfloat16 if args.device.startswith("cuda") else torch.float32
    with torch.device(args.device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return LLM(model.eval().requires_grad_(False), None, "random", "", "", (2,))


def make_model(layers: int, llm: LLM, args) -> AudioLLMESPnetModel:
    sizes = dict(output_size=512, attention_heads=8, linear_units=2048, num_blocks=layers)
    if args.tiny or args.small:
        width, heads = (32, 2) if args.tiny else (256, 4)
        sizes |= dict(output_size=width, attention_heads=heads, linear_units=width * 4)
    encoder = ConformerEncoder(80, **sizes)
    adapter = StackAdapter(encoder.output_size(), llm.model.config.hidden_size)
    prompt = [1] * args.prefix + [AUDIO_SLOT] + [1] * SUFFIX
    speech_encoder = SpeechEncoder(Filterbank(), None, UtteranceMVN(), encoder)
    return AudioLLMESPnetModel(speech_encoder, adapter, llm, prompt).to(args.device).train()


def make_batch(args, vocab: int, audio: float) -> Batch:
    """Utterances until the batch would hold more than `audio` seconds."""
    durations = draw_durations(audio)
    responses = draw_responses(len(durations))
    samples = torch.tensor([round(d * RATE) for d in durations])
    speech = torch.randn(len(durations), int(samples.max())) * 0.1
    tensors = {
        "speech": speech,
        "speech_lengths": samples,
        "response": torch.randint(3, vocab, (len(durations), max(responses))),
        "response_lengths": torch.tensor(responses),
        **make_teacher(args, vocab, durations, responses),
    }
    return Batch(sent(tensors, args.device), durations, responses)


def make_teacher(args, vocab: int, durations: list[float], responses: list[int]) -> dict:
    """What the targets beside the response read."""
    if set(args.targets) == {"response"}:
        return {}
    prompts = [args.prefix + round(WORDS * d) + SUFFIX for d in durations]
    shape = len(responses), max(responses)
    return {
        "teacher_ids": torch.arange(args.top_k).repeat(*shape, 1),
        "teacher_ids_lengths": torch.tensor(responses),
        "teacher_logp": torch.randn(*shape, args.top_k + 1).log_softmax(-1),
        "teacher_logp_lengths": torch.tensor(responses),
        "text_prompt": torch.randint(3, vocab, (len(prompts), max(prompts))),
        "text_prompt_lengths": torch.tensor(prompts),
    }


class Clock:
    """Times between marks: events in the GPU's stream, this process's own time without one."""

    def __init__(self, device: str):
        self.on_gpu = device.startswith("cuda")
        self.marks: list[tuple[str, object]] = []

    def mark(self, name: str) -> None:
        if self.on_gpu:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append((name, event))
        else:
            self.marks.append((name, time.process_time()))

    def phases(self) -> dict[str, float]:
        """Seconds from the mark before, for each mark but the first."""
        if self.on_gpu:
            torch.cuda.synchronize()
        spans = {}
        for (_, start), (name, end) in zip(self.marks, self.marks[1:], strict=False):
            spans[name] = start.elapsed_time(end) / 1e3 if self.on_gpu else end - start
        return spans


def step(model: AudioLLMESPnetModel, optimizer, batch: Batch, device: str) -> dict[str, float]:
    """One update; seconds of each phase."""
    clock = Clock(device)

    def heard(adapter, inputs, output):
        clock.mark("encoder forward")
        output[0].register_hook(lambda gradient: clock.mark("LLM backward"))

    with model.adapter.register_forward_hook(heard):
        clock.mark("start")
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=clock.on_gpu):
            loss, _, _ = model(**batch.tensors)
        clock.mark("LLM forward")
        loss.backward()
        clock.mark("encoder backward")
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    optimizer.zero_grad()
    clock.mark("optimiser")
    return clock.phases()


def set_up(model: AudioLLMESPnetModel, system: System, ready: dict) -> None:
    """ready: the layers' forward passes for each way in which they were needed before."""
    model.packed, model.targets = system.layout != "padded", TARGETS[system.targets]
    model.beginnings = Beginnings(sys.maxsize if system.layout == "repeated" else None)
    packing._has_flash = _no_flash if system.layout == "gathered" else _HAS_FLASH
    encoder, llm = model.speech_encoder.encoder, model.llm.model
    encoder.activation_checkpointing = system.recompute in ("encoder", "both")
    recompute, layers = system.recompute in ("LLM", "both"), decoder_layers(llm)
    ways = {
        ("LLM", recompute, system.compiled != "eager"): (layers, llm),
        ("encoder", False, system.compiled == "both"): (encoder.layers, None),
    }
    for (part, again, compiled), (modules, model_to_recompute) in ways.items():
        way = (part, again, compiled)
        for module in modules:
            module.__dict__.pop("forward", None)
        if way not in ready:
            if compiled:
                compile_layers(modules)
            if again:
                recompute_layers(model_to_recompute)
            ready[way] = [module.__dict__.get("forward") for module in modules]
        for module, forward in zip(modules, ready[way], strict=True):
            if forward is not None:
                module.forward = forward


_HAS_FLASH = packing._has_flash


def _no_flash(device: torch.device) -> bool:
    return False


def measure(model, optimizer, systems, batches: list[Batch], ready: dict, args):
    measured = {system: Measured() for system in systems}
    for number, batch in enumerate(batches):
        turn = number % len(systems)  # who is first pays for a batch's new shapes
        for system in systems[turn:] + systems[:turn]:
            result = measured[system]
            if not result.failed:
                set_up(model, system, ready)
                one_step(model, optimizer, batch, args, number, result)
    if args.device.startswith("cuda"):
        for system, result in measured.items():
            if not result.failed:
                set_up(model, system, ready)
                result.waits = count_waits(lambda: step(model, optimizer, batch, args.device))
    return measured


def one_step(model, optimizer, batch: Batch, args, number: int, result: Measured) -> None:
    """Step `number`, measured once it is warm."""
    on_gpu = args.device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    try:
        phases = step(model, optimizer, batch, args.device)
    except torch.OutOfMemoryError:
        result.failed = True
        optimizer.zero_grad()
        gc.collect()
        torch.cuda.empty_cache()
        return
    if on_gpu:
        result.peak = max(result.peak, torch.cuda.max_memory_allocated())
    if number >= args.warm_up:
        result.seconds.append(sum(phases.values()))
        for phase, seconds in phases.items():
            result.phases[phase].append(seconds)


def count_waits(run) -> Counter:
    """Lines at which the host waits for the GPU in `run()`, and how often; not the clock's own."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    lines = (f"{Path(w.filename).name}:{w.lineno}" for w in found if "synchroniz" in str(w.message))
    return Counter(lines)


def positions(batch: Batch, prefix: int) -> list[int]:
    """Of the LLM, for each utterance; the last response token is never read."""
    frames = (1 + (round(d * RATE) - 400) // 160 for d in batch.durations)  # 25 ms every 10 ms
    pairs = zip(frames, batch.responses, strict=True)
    return [prefix + -(-f // 8) + SUFFIX + answer - 1 for f, answer in pairs]


def step_flops(llm: LLM, layers: int, batches: list[Batch], args) -> float:
    """Of a batch, a mean. The encoder's are counted for the mean utterance: it does 3 % of them."""
    meta = make_model(layers, llm, argparse.Namespace(**{**vars(args), "device": "meta"}))
    durations = [duration for batch in batches for duration in batch.durations]
    one = encoder_flops(meta.speech_encoder.encoder, statistics.mean(durations))
    answers = (
        llm_step_flops(llm.model, positions(b, args.prefix), sum(b.responses)) for b in batches
    )
    return (3 * len(durations) * one + sum(answers)) / len(batches)


def report(measured, model, batches: list[Batch], args, peak: float | None) -> None:
    audio = statistics.mean(sum(b.durations) for b in batches)
    tokens = statistics.mean(sum(positions(b, args.prefix)) for b in batches)
    layers = next(iter(measured)).layers
    flops = step_flops(model.llm, layers, batches, args)
    for system, result in measured.items():
        name = (
            f"| {audio:.0f} | {layers} | {system.layout} | {system.recompute} | {system.compiled} "
            f"| {system.targets} |"
        )
        if result.failed:
            print(f"{name} out of memory | | | | | | | |")
            continue
        seconds = statistics.median(result.seconds)
        shares = (statistics.median(result.phases[phase]) / seconds for phase in PHASES)
        mfu = f"{100 * flops / seconds / peak:.1f} %" if peak else ""
        memory = f"{result.peak / 2**30:.1f}" if result.peak else ""
        print(
            f"{name} {seconds * 1e3:.0f} | {audio / seconds:.0f} | {tokens / seconds:.0f} | {mfu} "
            f"| {memory} | {result.waits.total()} | {flops / 1e12:.3g} "
            f"| {' / '.join(f'{100 * s:.0f}' for s in shares)} |"
        )


def profile(model, optimizer, batch: Batch, device: str) -> None:
    from torch.profiler import ProfilerActivity

    activities = [ProfilerActivity.CPU]
    if device.startswith("cuda"):
        activities.append(ProfilerActivity.CUDA)
    step(model, optimizer, batch, device)
    with torch.profiler.profile(activities=activities) as profiler:
        step(model, optimizer, batch, device)
    by = "self_cuda_time_total" if device.startswith("cuda") else "self_cpu_time_total"
    print(profiler.key_averages().table(sort_by=by, row_limit=40, max_name_column_width=60))


def main(argv=None):
    args = get_parser().parse_args(argv)
    if args.tiny:
        args.layers, args.batches, args.warm_up = [1, 2], 2, 1
    torch.manual_seed(args.seed)
    llm = make_llm(args)
    peak = peak_flops(args.peak) if args.peak else known_peak(args.device)
    on = torch.cuda.get_device_name() if args.device.startswith("cuda") else "processor"
    print(f"{on}, torch {torch.__version__}, peak {peak / 1e12 if peak else '?'} TFLOP/s")
    print(f"{args.batches} batches, a median of each\n")
    print(
        "| audio, s | layers | batch | recomputed | compiled | targets | ms a step | audio s/s "
        "| LLM positions/s | MFU | peak GiB | waits | TFLOP a step "
        f"| share, %: {' / '.join(PHASES)} |"
    )
    print("|--:|--:|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|---|")
    notes = [run(layers, audio, llm, peak, args) for layers in args.layers for audio in args.audio]
    print("\n" + "\n".join(notes))


def run(layers: int, audio: float, llm: LLM, peak: float | None, args) -> str:
    """Measure and print the systems of one size; what else there is to say of them."""
    vocab = llm.model.config.vocab_size
    batches = [make_batch(args, vocab, audio) for _ in range(args.warm_up + args.batches)]
    model = make_model(layers, llm, args)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-5, betas=(0.9, 0.98))
    choices = product(args.recompute, args.compile, args.layout, args.targets)
    systems = [
        System(layers, layout, again, compiled, targets)
        for again, compiled, layout, targets in choices
    ]
    ready: dict = {}
    measured = measure(model, optimizer, systems, batches, ready, args)
    report(measured, model, batches[args.warm_up :], args, peak)
    lengths = [positions(batch, args.prefix) for batch in batches]
    used = [sum(each) / (len(each) * max(each)) for each in lengths]
    notes = [
        f"At most {audio:g} s of audio: padding is {100 * (1 - statistics.mean(used)):.0f} % of a "
        "padded batch in the LLM."
    ]
    for system, result in measured.items():
        if result.waits:
            where = ", ".join(f"{line} ({times})" for line, times in result.waits.most_common())
            notes.append(f"The host waits ({system.layout}, {system.recompute}): {where}")
    if args.profile and layers == args.layers[0]:
        set_up(model, systems[0], ready)
        profile(model, optimizer, batches[-1], args.device)
    del model, optimizer, trained
    gc.collect()
    if args.device.startswith("cuda"):
        torch.cuda.empty_cache()
    return "\n".join(notes)


if __name__ == "__main__":
    main()
