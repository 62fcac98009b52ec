"""ESPnet task of stages 8 and 9: the alignment of audio with the frozen LLM."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

from espnet2.tasks.abs_task import IteratorOptions
from espnet2.utils.types import str2bool, str_or_none

from ..data.position_bound import PositionBound
from ..data.prompt import encode, user_prompt
from ..model import llm as llms
from ..model.adapters import ADAPTERS, TokenBridgeAdapter
from ..model.audiollm import AudioLLMESPnetModel
from ..model.compiling import compile_layers
from ..model.layers import decoder_layers
from ..model.recompute import recompute_layers
from ..model.sharding import SHARDINGS, load_shared
from ..model.targets import PAPER, TABLES, Targets, missing_table
from ..store import teacher
from ..store.responses import check_origin, read_about
from ..types import SAMPLE_RATE, Audio
from .base import SpeechTask
from .choices import (
    add_choice,
    add_speech_encoder_arguments,
    build_part,
    build_speech_encoder,
)
from .ctc import TokenIds
from .ctc import tokenizer as ctc_tokenizer
from .init_ctc import InitCTC, check_adapter, read_tokens


class AudioLLMTask(SpeechTask):
    """Options, model and data of stages 8 and 9."""

    target = "response"
    tag = "--align_tag"
    target_padding = 0

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """What targets beside the response need, a CTC loss, and examples with behaviours."""
        more = (*TABLES.values(), "text", "texts", "prompt", "recording_samples")
        return () if inference else more

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """ESPnet's hook."""
        required = parser.get_default("required")
        required += ["llm"]
        group = parser.add_argument_group("LLM")
        group.add_argument("--llm", type=str_or_none, help="Hugging Face id or local directory")
        group.add_argument(
            "--chat_template", type=str_or_none, help="Jinja file, when the LLM has none"
        )
        group.add_argument(
            "--system_prompt",
            help='Text of a system turn before the audio ("": an empty one; default: none)',
        )
        group.add_argument("--llm_dtype", default="auto", choices=llms.DTYPES)
        group.add_argument(
            "--llm_sharding",
            default="none",
            choices=SHARDINGS,
            help="Share its layers out among the processes of a node, or among all (FSDP)",
        )
        group.add_argument(
            "--llm_activation_checkpointing",
            type=str2bool,
            default=False,
            help="Compute its activations again in the backward pass: less memory, more time "
            "(the conformer's: --encoder_conf activation_checkpointing=true)",
        )
        group.add_argument(
            "--llm_compile",
            type=str2bool,
            default=False,
            help="Compile its layers (torch.compile): fewer kernels, a minute at the start",
        )
        group.add_argument(
            "--packed", type=str2bool, default=True, help="No padding inside the LLM"
        )
        group.add_argument(
            "--max_positions",
            type=int,
            default=0,
            help="Of the LLM in a batch (prompt, audio, response), of all processes together; "
            "beside --batch_bins (0: any number)",
        )
        group.add_argument(
            "--init_ctc",
            type=str_or_none,
            help="CTC checkpoint of stage 5 to start from: its speech encoder, and the CTC layer "
            "where the adapter has one",
        )
        # `--adapter` is taken: ESPnet means LoRA by it.
        add_choice(group, "audio_adapter", ADAPTERS, "stack")
        group.add_argument(
            "--ctc_weight",
            type=float,
            default=0.0,
            help="Of the transcript's CTC loss beside the response's, with the tokens of "
            "--init_ctc (0: none, the paper)",
        )
        group.add_argument(
            "--normalize_audio",
            type=str2bool,
            default=False,
            help="Bring audio embeddings to the RMS of the LLM's own, times a learned gain",
        )
        group = parser.add_argument_group("Targets", "Weights of the terms of the loss")
        group.add_argument(
            "--response_weight",
            type=float,
            default=PAPER.response,
            help="Cross-entropy of the response tokens; the paper has this alone",
        )
        group.add_argument(
            "--distribution_weight",
            type=float,
            default=PAPER.distribution,
            help="KL divergence from the LLM's distributions with the text prompt, which stage 7 "
            "kept (--teacher_top_k)",
        )
        group.add_argument(
            "--hidden_weight",
            type=float,
            default=PAPER.hidden,
            help="Distance to the LLM's hidden states with the text prompt, computed in each step",
        )
        group.add_argument(
            "--hidden_layers",
            type=int,
            nargs="+",
            default=list(PAPER.hidden_layers),
            help="Layers whose states are matched (1: the first; -1: the last)",
        )
        group.add_argument(
            "--risk_weight",
            type=float,
            default=PAPER.risk,
            help="What the response is expected to cost more (nats of a token) after other tokens "
            "that the recogniser may have recognised; for a token bridge with neither mixture nor "
            "residual",
        )
        group.add_argument(
            "--risk_draws",
            type=int,
            default=PAPER.risk_draws,
            help="Token sequences drawn of each recording for it",
        )
        add_speech_encoder_arguments(parser)

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> Callable | None:
        """Transcripts to token ids, where there is a CTC loss."""
        return (
            TokenIds(ctc_tokenizer(argparse.Namespace(**args.ctc_tokens)))
            if args.ctc_weight
            else None
        )

    @classmethod
    def position_bound(
        cls, args: argparse.Namespace, options: IteratorOptions
    ) -> PositionBound | None:
        """That of --max_positions."""
        if not args.max_positions:
            return None
        if args.max_positions < 0 or not args.position_costs:
            raise ValueError(
                f"--max_positions {args.max_positions}: give a number above 0, and an encoder that "
                "says how many frames it has (ours and the pretrained ones do)"
            )
        tables = {name: path for path, name, _ in options.data_path_and_name_and_type}
        return PositionBound(
            args.max_positions, **args.position_costs, prompts=tables.get("prompt", "")
        )

    @classmethod
    def build_model(
        cls, args: argparse.Namespace, llm: llms.LLM | None = None
    ) -> AudioLLMESPnetModel:
        """The model of `args`.

        llm: None: a training begins; the LLM is loaded from --llm and the weights of --init_ctc.
            Else the model is about to get the weights of a checkpoint."""
        if args.audio_adapter not in ADAPTERS:
            known = ", ".join(ADAPTERS)
            raise ValueError(f"--audio_adapter {args.audio_adapter}: choose one of {known}")
        start = InitCTC.read(args.init_ctc) if llm is None and args.init_ctc else None
        if start:
            start.set_sizes(args)
        model = cls._assemble(args, llm or cls._load_llm(args))
        if start:
            start.load_into(model, args)
        return model

    @classmethod
    def _load_llm(cls, args: argparse.Namespace) -> llms.LLM:
        device = "cuda" if args.ngpu > 0 else "cpu"
        llm = load_shared(args.llm, args.chat_template, args.llm_dtype, device, args.llm_sharding)
        if args.llm_compile:  # before recomputing, which then computes compiled layers again
            compile_layers(decoder_layers(llm.model))
        if args.llm_activation_checkpointing:
            recompute_layers(llm.model)
        return llm

    @classmethod
    def _assemble(cls, args: argparse.Namespace, llm: llms.LLM) -> AudioLLMESPnetModel:
        check_stores(args, llm)
        check_adapter(args)
        targets = build_targets(args)
        targets.layers(llm.model)
        ctc_weight = getattr(args, "ctc_weight", 0.0)  # an older experiment has none
        speech_encoder = build_speech_encoder(args)
        adapter = build_part(
            "audio_adapter",
            ADAPTERS[args.audio_adapter],
            args.audio_adapter_conf,
            encoder_width=speech_encoder.output_size(),
            llm_width=llm.model.get_input_embeddings().embedding_dim,
        )
        frames = speech_encoder.frames_per_second
        if frames:
            positions = frames * adapter.positions_per_frame
            logging.info(
                f"{frames:g} frames a second, {positions:g} positions of the LLM (at most)"
            )
        prompt = encode(user_prompt(Audio(), args.system_prompt), llm.tokenizer)
        args.position_costs = frames and {
            "per_sample": positions / SAMPLE_RATE,
            "rounding": adapter.rounding,
            "prompt": len(prompt),
        }
        tokens = (getattr(args, "ctc_tokens", None) or {}).get("token_list", [])
        if isinstance(adapter, TokenBridgeAdapter):
            read_tokens(adapter, tokens, llm)
        return AudioLLMESPnetModel(
            speech_encoder,
            adapter,
            llm,
            prompt,
            args.packed,
            targets,
            num_pieces=len(tokens) if ctc_weight else 0,
            ctc_weight=ctc_weight,
            normalize_audio=getattr(args, "normalize_audio", False),
        )


def build_targets(args: argparse.Namespace) -> Targets:
    """What is learned from. Errors (ValueError): weights that cannot be, data that is not given.

    Experiments of before these options have none of them: the paper's."""
    options = vars(args)
    targets = Targets(
        options.get("response_weight", PAPER.response),
        options.get("distribution_weight", PAPER.distribution),
        options.get("hidden_weight", PAPER.hidden),
        tuple(options.get("hidden_layers", PAPER.hidden_layers)),
        options.get("risk_weight", PAPER.risk),
        options.get("risk_draws", PAPER.risk_draws),
    )
    if targets.risk and options.get("llm_sharding", "none") != "none":
        raise ValueError(
            f"--risk_weight {targets.risk:g} with --llm_sharding {options['llm_sharding']}: each "
            "process would run the LLM as often as its hypotheses differ, and a shared LLM must be "
            "run equally often by all: give --llm_sharding none, or --risk_weight 0"
        )
    for split in ("train", "valid"):
        option = f"{split}_data_path_and_name_and_type"
        data = options.get(option)
        names = {name for _, name, _ in data or ()}
        for table in targets.tables if data else ():
            if table not in names:
                raise ValueError(missing_table(table, f"--{option}"))
        if data and options.get("ctc_weight") and not names & {"text", "texts"}:
            raise ValueError(
                f"--ctc_weight needs the transcripts: give --{option} DIR/text,text,text as well"
            )
    return targets


def check_stores(args: argparse.Namespace, llm: llms.LLM) -> None:
    """The responses to learn must be this LLM's own, to the prompts that they are learnt with;
    files outside a store are taken on trust."""
    for split in ("train", "valid"):
        sources = getattr(args, f"{split}_data_path_and_name_and_type", None) or ()
        for path, name, _ in sources:
            if name not in ("response", *TABLES.values()):
                continue
            store = Path(path).parent
            store = store.parent if store.name == teacher.DIRECTORY else store
            if (store / "store.json").exists():
                check_origin(store, llm.fingerprint, llm.chat_template_hash, args.system_prompt)
        stores = {name: Path(path).parent for path, name, _ in sources}
        store = stores.get("response", Path())
        if not (store / "store.json").exists():
            continue
        if read_about(store).get("behaviours") and stores.get("prompt") != store:
            raise ValueError(
                f"the responses in {store} are to prompts with behaviours: give their table "
                f"{store}/prompt_ids as the {split} data 'prompt', or the store of the "
                "transcripts alone"
            )
