"""ESPnet task of stages 8 and 9: the alignment of audio with the frozen LLM."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from espnet2.utils.types import str2bool, str_or_none

from ..data.prompt import encode, user_prompt
from ..model import llm as llms
from ..model.adapters import ADAPTERS, TokenBridgeAdapter
from ..model.audiollm import AudioLLMESPnetModel
from ..model.compiling import compile_layers
from ..model.recompute import decoder_layers, recompute_layers
from ..model.sharding import SHARDINGS, load_shared
from ..store.responses import check_origin
from ..text.tokens import BLANK, END, UNKNOWN
from ..types import Audio
from .base import SpeechTask
from .choices import (
    add_choice,
    add_speech_encoder_arguments,
    build_part,
    build_speech_encoder,
)
from .ctc import TokenIds
from .ctc import tokenizer as ctc_tokenizer
from .init_ctc import InitCTC, check_adapter


class AudioLLMTask(SpeechTask):
    """Options, model and data of stages 8 and 9."""

    target = "response"
    target_padding = 0

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
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Transcripts, for a CTC loss."""
        return ("text",)

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
        if isinstance(adapter, TokenBridgeAdapter):
            read_tokens(adapter, args.ctc_tokens["token_list"], llm)
        return AudioLLMESPnetModel(
            speech_encoder,
            adapter,
            llm,
            prompt,
            args.packed,
            num_pieces=len(args.ctc_tokens["token_list"]) if args.ctc_weight else 0,
            ctc_weight=args.ctc_weight,
            normalize_audio=args.normalize_audio,
        )


def read_tokens(adapter: TokenBridgeAdapter, token_list: list[str], llm: llms.LLM) -> None:
    """Give the adapter the LLM's embeddings of a recogniser's tokens.

    ValueError: they are not tokens of this LLM."""
    known = llm.tokenizer.get_vocab()
    own = (BLANK, UNKNOWN, END)
    strange = [token for token in token_list if token not in known and token not in own]
    if strange:
        raise ValueError(
            f"{len(strange)} of {len(token_list)} tokens of the recogniser are none of the LLM "
            f"{llm.name} (first: {strange[0]!r}): train the recogniser with --token_type llm and "
            "this LLM"
        )
    ids_V = torch.tensor([0 if token in own else known[token] for token in token_list])
    readable_V = torch.tensor([token not in own for token in token_list])
    embed = llm.model.get_input_embeddings()
    with torch.no_grad():
        adapter.read_tokens(embed(ids_V.to(embed.weight.device)), readable_V)


def check_stores(args: argparse.Namespace, llm: llms.LLM) -> None:
    """The responses to learn must be this LLM's own; files outside a store are taken on trust."""
    for split in ("train", "valid"):
        for path, name, _ in getattr(args, f"{split}_data_path_and_name_and_type", None) or ():
            store = Path(path).parent
            if name == "response" and (store / "store.json").exists():
                check_origin(store, llm.fingerprint, llm.chat_template_hash, args.system_prompt)
