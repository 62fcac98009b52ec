"""GPU-hours, disk and memory of the stages that count, as tables with their arithmetic.

Operations are counted in the models of the configurations; updates and batches are theirs. How much
of a GPU's peak is reached is an assumption: replace it by what test/bench/bench_align.py measures.

Memory is the peak of a training step's tensors on each GPU, counted in the models as well; CUDA,
its libraries and the allocator come on top. Batches are of utterances of the mean length.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..types import Seconds
from .cli import new_parser, user_errors

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from ..model.conformer import ConformerEncoder

SAMPLE_RATE = 16_000  # Hz
TOKENS_PER_SECOND = 3.5  # of a transcript, in an LLM's tokens; assumed
TEMPLATE_TOKENS = 15  # of a chat template around the user's turn; assumed
TOKEN_BYTES = 4.3  # of text; assumed
ID_BYTES = 6.3  # a token's number, written; assumed
# Of a trained weight: two checkpoints and one in the writing, with Adam's two moments; the best
# epoch, the latest, the mean.
CHECKPOINT_BYTES = 3 * 12 + 3 * 4
FLAC_BYTES = 15_000  # a second of 16 kHz mono: MLS English, 2.4 TB for 44,660 hours


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = new_parser(__doc__)
    parser.add_argument("--ctc_config", required=True, help="training configuration of stage 5")
    parser.add_argument("--align_config", required=True, help="and of stage 9")
    parser.add_argument("--hours", type=float, required=True, help="of audio to learn from")
    parser.add_argument("--utterances", type=int, required=True)
    parser.add_argument(
        "--llm", help="conf/llm/*.yaml, id or directory (default: the shape of Llama-2-7B)"
    )
    parser.add_argument("--response_tokens", type=float, default=150, help="of a response, a mean")
    parser.add_argument("--ctc_tokens", type=int, default=5000, help="of the recogniser; assumed")
    parser.add_argument(
        "--memory", choices=["true", "false"], default="true", help="count it: takes some seconds"
    )
    parser.add_argument("--ctc_gpus", type=int, default=1, help="that share a batch (memory)")
    parser.add_argument("--align_gpus", type=int, default=1, help="likewise")
    parser.add_argument(
        "--max_positions", type=int, help="of the alignment (default: the configuration's)"
    )
    parser.add_argument("--align_updates", type=int, help="(default: the configuration's)")
    parser.add_argument("--gpu", default="A100", help="A100, H100, H200, or its TFLOP/s")
    parser.add_argument("--encoder_mfu", type=float, default=12, help="%% of the peak, assumed")
    parser.add_argument("--llm_mfu", type=float, default=35, help="%% of the peak, assumed")
    parser.add_argument(
        "--generation_mfu", type=float, default=5, help="%% of the peak in stage 7, assumed"
    )
    return parser


@dataclass(frozen=True)
class Corpus:
    """What is to be trained on."""

    hours: float
    utterances: int

    @property
    def mean(self) -> Seconds:
        """Of an utterance."""
        return 3600 * self.hours / self.utterances

    @property
    def tokens(self) -> int:
        """Of a transcript, in an LLM's tokens."""
        return round(TOKENS_PER_SECOND * self.mean)


@dataclass(frozen=True)
class Training:
    """What a configuration trains, and on how much."""

    encoder_flops: float  # forward, for a second of audio
    weights: int  # trained
    updates: int
    audio: Seconds  # of an update
    positions: float  # of the LLM, for a second of audio (ctc_compress: at most)
    config: dict  # all options of the configuration

    @property
    def hours(self) -> float:
        """Audio that the training reads, repeats included."""
        return self.updates * self.audio / 3600


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    for option in (
        "hours",
        "utterances",
        "ctc_gpus",
        "align_gpus",
        "ctc_tokens",
        "response_tokens",
    ):
        if getattr(args, option) <= 0:
            raise ValueError(f"--{option} is {getattr(args, option)}; it must be more than 0")
    import torch

    from ..model import llm as llms

    corpus = Corpus(args.hours, args.utterances)
    shape = shape_of(args.llm)
    llm = llms.empty_llm(shape, torch.bfloat16)
    ctc = read_training(args.ctc_config, corpus)
    align = read_training(args.align_config, corpus, args.align_updates)
    print(f"{args.hours:,.0f} hours, {args.utterances:,} utterances of {corpus.mean:.1f} s\n")
    print_hours(corpus, ctc, align, llm, args)
    print()
    print_disk(corpus, ctc, align, llm, args.response_tokens)
    if args.memory == "true":
        print()
        print_memory(corpus, ctc, align, shape, args)
    return 0


def shape_of(llm: str | None) -> PretrainedConfig:
    """The configuration of --llm; that in conf/llm/*.yaml needs neither files nor a network."""
    from transformers import LlamaConfig

    from ..model import llm as llms
    from ..model import llm_config
    from ..model.flops import llama2_7b

    if not llm:
        return llama2_7b()
    known = llm_config.find(llm)
    return LlamaConfig(**known.architecture) if known else llms.load_config(llm)


def read_training(path: str, corpus: Corpus, updates: int | None = None) -> Training:
    """The size and length of the training in a configuration; `updates` in place of its own.

    ValueError where operations or updates cannot be counted."""
    import torch

    from ..model.conformer import ConformerEncoder
    from ..model.flops import encoder_flops
    from ..store.yaml_files import read_options

    config = read_options(path, "give a training configuration")
    if config.get("encoder") != "conformer":
        raise ValueError(f"{path}: operations are counted in `encoder: conformer` only")
    if "num_iters_per_epoch" not in config:
        raise ValueError(f"{path}: without num_iters_per_epoch the number of updates is unknown")
    accumulated = config.get("accum_grad", 1)
    with torch.device("meta"):
        encoder = ConformerEncoder(80, **config["encoder_conf"])
    return Training(
        encoder_flops=encoder_flops(encoder, corpus.mean) / corpus.mean,
        weights=sum(p.numel() for p in encoder.parameters()),
        updates=updates or config["max_epoch"] * config["num_iters_per_epoch"] // accumulated,
        audio=_batch_audio(path, config, corpus) * accumulated,
        positions=_frames_per_second(encoder) * _positions_per_frame(config),
        config=config,
    )


def _frames_per_second(encoder: ConformerEncoder) -> float:
    from ..model.flops import FRAMES_PER_SECOND

    return FRAMES_PER_SECOND / encoder.subsampling


def _positions_per_frame(config: dict) -> float:
    from ..model.adapters import ADAPTERS

    name, conf = config.get("audio_adapter", "stack"), config.get("audio_adapter_conf", {})
    if name == "ctc_compress":  # whose number of pieces is in the CTC checkpoint
        return ADAPTERS[name].positions_per_frame
    return ADAPTERS[name](4, 4, **conf).positions_per_frame


def _batch_audio(path: str, config: dict, corpus: Corpus) -> Seconds:
    if config["batch_type"] == "numel":
        return config["batch_bins"] / SAMPLE_RATE
    if config["batch_type"] in ("sorted", "unsorted"):
        return config["batch_size"] * corpus.mean
    raise ValueError(f"{path}: batch_type is {config['batch_type']}; numel or sorted is counted")


def print_hours(corpus: Corpus, ctc: Training, align: Training, llm, args) -> None:
    """Stages 5, 7 and 9; the others need minutes of a GPU, or none."""
    from ..model.flops import llm_forward_flops, llm_step_flops, peak_flops

    peak = peak_flops(args.gpu)
    answer = round(args.response_tokens)
    prompt = corpus.tokens + TEMPLATE_TOKENS
    positions = round(corpus.mean * align.positions) + TEMPLATE_TOKENS + answer
    read, said = (llm_forward_flops(llm, [prompt], 0), llm_forward_flops(llm, [1] * answer, answer))
    learned = llm_step_flops(llm, [positions], answer)
    utterances = align.hours * 3600 / corpus.mean

    def hours(flops: float, percent: float) -> float:
        return flops / (peak * percent / 100) / 3600

    rows = [
        (
            "5: CTC",
            f"{_training(ctc, corpus)}; 3 x {ctc.encoder_flops / 1e9:.2f} GFLOP a second of audio, "
            f"at {args.encoder_mfu:g} %",
            hours(3 * ctc.encoder_flops * ctc.hours * 3600, args.encoder_mfu),
        ),
        (
            "7: responses",
            f"{corpus.utterances:,} x ({prompt} tokens read, {read / 1e12:.2f} TFLOP at "
            f"{args.llm_mfu:g} %; {answer} written, {said / 1e12:.2f} TFLOP at "
            f"{args.generation_mfu:g} %)",
            corpus.utterances * (hours(read, args.llm_mfu) + hours(said, args.generation_mfu)),
        ),
        (
            "9: alignment",
            f"{_training(align, corpus)}; an utterance: {positions} positions of the LLM, "
            f"{learned / 1e12:.2f} TFLOP at {args.llm_mfu:g} %, and the encoder, "
            f"{3 * align.encoder_flops * corpus.mean / 1e12:.2f} TFLOP at {args.encoder_mfu:g} %",
            utterances * hours(learned, args.llm_mfu)
            + hours(3 * align.encoder_flops * align.hours * 3600, args.encoder_mfu),
        ),
    ]
    print(f"| stage | arithmetic (peak {peak / 1e12:g} TFLOP/s) | GPU-hours |")
    print("|---|---|--:|")
    for stage, arithmetic, needed in rows:
        print(f"| {stage} | {arithmetic} | {needed:,.0f} |")


def _training(training: Training, corpus: Corpus) -> str:
    return (
        f"{training.updates:,} updates x {training.audio:,.0f} s = {training.hours:,.0f} hours, "
        f"{training.hours / corpus.hours:.1f} passes"
    )


def print_disk(corpus: Corpus, ctc: Training, align: Training, llm, answer: float) -> None:
    """Print what each stage leaves on the disk, and the sum."""
    weights = sum(p.numel() for p in llm.parameters())
    prompt = TOKENS_PER_SECOND * corpus.mean * TOKEN_BYTES
    response = round(200 + prompt + answer * (TOKEN_BYTES + 2 * ID_BYTES))
    rows = [
        (
            "audio as 16 kHz FLAC (stage 2 writes it only where it is something else)",
            f"{FLAC_BYTES / 1e3:g} kB a second",
            corpus.hours * 3600 * FLAC_BYTES,
        ),
        ("tables of stages 1 to 8", "1.5 kB an utterance", corpus.utterances * 1500),
        ("responses", f"{response / 1e3:.1f} kB an utterance", corpus.utterances * response),
        ("CTC training", _checkpoints(ctc), CHECKPOINT_BYTES * ctc.weights),
        ("alignment", _checkpoints(align), CHECKPOINT_BYTES * align.weights),
        ("the LLM in bfloat16", f"2 bytes x {weights / 1e9:.2f} billion", 2 * weights),
    ]
    print("| what | arithmetic | GB |")
    print("|---|---|--:|")
    for what, arithmetic, size in rows:
        print(f"| {what} | {arithmetic} | {size / 1e9:,.1f} |")


def _checkpoints(training: Training) -> str:
    return f"{CHECKPOINT_BYTES} bytes x {training.weights / 1e6:.0f} million weights"


def print_memory(corpus: Corpus, ctc: Training, align: Training, shape, args) -> None:
    """Print the peak of a step of stages 5 and 9 on each GPU, of utterances of the mean length."""
    from ..report.step_memory import StepTable
    from ..tasks.memory import BatchShape, align_memory, ctc_memory, shards_of

    if args.max_positions is not None:
        align.config["max_positions"] = args.max_positions
    answer, text = round(args.response_tokens), corpus.tokens
    each = round(corpus.mean * align.positions) + TEMPLATE_TOKENS + answer
    bound = align.config.get("max_positions", 0)
    gpus = args.align_gpus
    if bound < 0 or 0 < bound < each * gpus:
        raise ValueError(
            f"--max_positions {bound}: an utterance of the mean length has {each} positions, and "
            f"each of {gpus} GPUs needs one: give {each * gpus} or more (0: no bound)"
        )
    number = _utterances(ctc, corpus, text, args.ctc_gpus)
    step = ctc_memory(
        ctc.config, BatchShape(number, corpus.mean, text), args.ctc_tokens, args.ctc_gpus
    )
    table = StepTable(gpus, shards_of(align.config, gpus))
    table.add("5: CTC", number, step)
    number = _utterances(align, corpus, answer, gpus, bound // each if bound else None)
    batch = BatchShape(number, corpus.mean, text, answer, TEMPLATE_TOKENS)
    step = align_memory(align.config, shape, batch, args.ctc_tokens, gpus)
    table.add("9: alignment", number, step)
    print(f"{table}\n\n{table.bound(bound, step)}")


def _utterances(
    training: Training, corpus: Corpus, target: int, gpus: int, most: int | None = None
) -> int:
    """Of a GPU's largest batch, of utterances of the mean length. target: tokens that one costs
    beside its samples; most: of all GPUs together."""
    config = training.config
    if config["batch_type"] == "numel":  # closed when it is full
        count = config["batch_bins"] // (round(corpus.mean * SAMPLE_RATE) + target) + 1
    else:
        count = config["batch_size"]
    return -(-min(count, most or count) // gpus)


if __name__ == "__main__":
    sys.exit(main())
