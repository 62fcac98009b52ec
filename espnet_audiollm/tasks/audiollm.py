"""ESPnet task of stages 8 and 9: the alignment of audio with the frozen LLM."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from espnet2.tasks.abs_task import AbsTask
from espnet2.train.collate_fn import CommonCollateFn
from espnet2.utils.types import str2bool, str_or_none

from ..data.prompt import encode, user_prompt
from ..data.responses import check_origin
from ..model import llm as llms
from ..model.audiollm import AudioLLMESPnetModel
from ..types import Audio
from .choices import (
    ADAPTERS,
    add_choice,
    add_speech_encoder_arguments,
    build_part,
    build_speech_encoder,
    prepare_statistics,
)
from .trainer import AudioTrainer


class AudioLLMTask(AbsTask):
    num_optimizers = 1
    class_choices_list = []
    trainer = AudioTrainer

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        required = parser.get_default("required")
        required += ["llm"]
        group = parser.add_argument_group("LLM")
        group.add_argument("--llm", type=str_or_none, help="Hugging Face id or local directory")
        group.add_argument(
            "--chat_template", type=str_or_none, help="Jinja file, when the LLM has none"
        )
        group.add_argument(
            "--system_prompt",
            type=str_or_none,
            help="Text of a system turn before the audio (default: no system turn)",
        )
        group.add_argument("--llm_dtype", default="auto", choices=llms.DTYPES)
        group.add_argument(
            "--packed", type=str2bool, default=True, help="No padding inside the LLM"
        )
        # `--adapter` is taken: ESPnet means LoRA by it.
        add_choice(group, "audio_adapter", ADAPTERS, "stack")
        add_speech_encoder_arguments(parser)

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        prepare_statistics(args)
        super().main_worker(args)

    @classmethod
    def build_collate_fn(cls, args, train: bool) -> Callable:
        return CommonCollateFn(float_pad_value=0.0, int_pad_value=0)

    @classmethod
    def build_preprocess_fn(cls, args, train: bool) -> None:
        return None

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        return ("speech",) if inference else ("speech", "response")

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        return ()

    @classmethod
    def build_model(
        cls, args: argparse.Namespace, llm: llms.LLM | None = None
    ) -> AudioLLMESPnetModel:
        """The model; `llm` is loaded from --llm unless it is handed over."""
        name = args.audio_adapter
        if name not in ADAPTERS:
            raise ValueError(f"--audio_adapter {name}: choose one of {', '.join(ADAPTERS)}")
        if llm is None:
            device = "cuda" if args.ngpu > 0 else "cpu"
            llm = llms.load(args.llm, args.chat_template, args.llm_dtype, device)
        check_stores(args, llm)
        speech_encoder = build_speech_encoder(args)
        adapter = build_part(
            "audio_adapter",
            ADAPTERS[name],
            args.audio_adapter_conf,
            encoder_width=speech_encoder.output_size(),
            llm_width=llm.model.get_input_embeddings().embedding_dim,
        )
        prompt = encode(user_prompt(Audio(), args.system_prompt), llm.tokenizer)
        return AudioLLMESPnetModel(speech_encoder, adapter, llm, prompt, args.packed)


def check_stores(args: argparse.Namespace, llm: llms.LLM) -> None:
    """The responses to learn must be this LLM's own; files outside a store are taken on trust."""
    for split in ("train", "valid"):
        for path, name, _ in getattr(args, f"{split}_data_path_and_name_and_type", None) or ():
            store = Path(path).parent
            if name == "response" and (store / "store.json").exists():
                check_origin(store, llm.fingerprint, llm.chat_template_hash, args.system_prompt)
