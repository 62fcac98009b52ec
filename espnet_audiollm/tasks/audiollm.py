"""ESPnet task of stages 8 and 9: the alignment of audio with the frozen LLM."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from espnet2.utils.types import str2bool, str_or_none

from ..data.prompt import encode, user_prompt
from ..model import llm as llms
from ..model.adapters import ADAPTERS
from ..model.audiollm import AudioLLMESPnetModel
from ..model.compiling import compile_layers
from ..model.recompute import decoder_layers, recompute_layers
from ..model.sharding import SHARDINGS, load_shared
from ..store.responses import check_origin, read_about
from ..types import Audio
from .base import SpeechTask
from .choices import (
    add_choice,
    add_speech_encoder_arguments,
    build_part,
    build_speech_encoder,
)
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
        add_speech_encoder_arguments(parser)

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Of examples with behaviours."""
        return ("prompt", "recording_samples")

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
        return AudioLLMESPnetModel(speech_encoder, adapter, llm, prompt, args.packed)


def check_stores(args: argparse.Namespace, llm: llms.LLM) -> None:
    """The responses to learn must be this LLM's own, to the prompts that they are learnt with;
    files outside a store are taken on trust."""
    for split in ("train", "valid"):
        sources = getattr(args, f"{split}_data_path_and_name_and_type", None) or ()
        stores = {name: Path(path).parent for path, name, _ in sources}
        store = stores.get("response")
        if store and (store / "store.json").exists():
            check_origin(store, llm.fingerprint, llm.chat_template_hash, args.system_prompt)
            if read_about(store).get("behaviours") and stores.get("prompt") != store:
                raise ValueError(
                    f"the responses in {store} are to prompts with behaviours: give their table "
                    f"{store}/prompt_ids as the {split} data 'prompt', or the store of the "
                    "transcripts alone"
                )
