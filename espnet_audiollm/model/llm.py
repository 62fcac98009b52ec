"""The LLM, frozen unless asked otherwise: the only place that loads a Hugging Face model or
tokenizer.

`--llm` is a local directory, a Hugging Face id, or a conf/llm/*.yaml that names one. Nothing
downloaded is executed: no `trust_remote_code`. The local cache is tried before the network, and
HF_HUB_OFFLINE is honoured.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..store.atomic import new_directories
from ..store.known_weights import KnownWeights
from . import llm_config
from .tuning import FROZEN, Tuning, merge, trained_share, tune

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class LLM:
    """A causal LM with all that the stages need to know of it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str  # as given to --llm
    fingerprint: str  # of the weights as they were loaded, see `fingerprint`
    chat_template_hash: str  # sha256 of the template's text
    eos_ids: tuple[int, ...]  # any of these ends a turn; the tokenizer's own first

    @property
    def context(self) -> int:
        """The most positions the LLM can attend to (prompt and answer)."""
        return getattr(self.model.config, "max_position_embeddings", None) or 2**31


def load(
    llm: str,
    chat_template: str | None = None,
    dtype: str = "auto",
    device: str = "cpu",
    attn_implementation: str = "sdpa",
    tuning: Tuning = FROZEN,
) -> LLM:
    """Load model and tokenizer, in eval mode, and take their fingerprints.

    tuning: what of the LLM is trained, and which tokens it gains; the share is logged.

    Errors (ValueError): see the loaders below, and `tune`."""
    tokenizer = load_tokenizer(llm, chat_template)
    model, known = read_known(llm, dtype, device, attn_implementation)
    loaded = wrap(model, tokenizer, llm, known)
    tune_loaded(loaded, tuning)
    loaded.model.to(device)
    return loaded


def tune_loaded(llm: LLM, tuning: Tuning) -> None:
    """Make of an LLM trainable what `tuning` says; the share is logged."""
    if tuning != FROZEN:
        tune(llm.model, llm.tokenizer, tuning)
        logging.info(f"LLM {llm.name}: {trained_share(llm.model)}")


def at_random(llm: LLM, seed: int) -> LLM:
    """An LLM of the same shape, tokenizer and name, whose weights are random numbers."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            llm.model.config,
            dtype=llm.model.dtype,
            attn_implementation=llm.model.config._attn_implementation,
        )
    return replace(llm, model=model.eval().requires_grad_(False))


def save(llm: LLM, directory: str | Path, texts: Mapping[str, str] | None = None) -> None:
    """Write model and tokenizer as an ordinary Hugging Face directory, all of it or nothing.

    What was trained is merged into the weights: `llm` is no longer trained after this.
    texts: more files, by name."""
    merge(llm.model)
    with new_directories(directory) as (aside,):
        llm.model.save_pretrained(aside)
        llm.tokenizer.save_pretrained(aside)
        for name, text in (texts or {}).items():
            (aside / name).write_text(text, encoding="utf-8")


def wrap(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    known: str | None = None,
) -> LLM:
    """An `LLM` of objects that are loaded already. known: its fingerprint (default: computed)."""
    return LLM(
        model=model,
        tokenizer=tokenizer,
        name=name,
        fingerprint=known or fingerprint(model),
        chat_template_hash=chat_template_hash(tokenizer),
        eos_ids=eos_ids(model, tokenizer),
    )


def load_tokenizer(llm: str, chat_template: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of `llm`, with its own chat template or the one given.

    chat_template: a path to a jinja file, or the template itself (recognised by its braces).

    Errors (ValueError): no such directory, a model that is not at hand, no chat template."""
    from transformers import AutoTokenizer

    tokenizer = _from_pretrained(llm, "tokenizer", AutoTokenizer.from_pretrained)
    if chat_template:
        tokenizer.chat_template = _read_template(chat_template)
    if not tokenizer.chat_template:
        raise ValueError(
            f"the LLM {llm} has no chat template: give one with --chat_template FILE "
            "(a jinja template), or take a chat-tuned LLM"
        )
    known = llm_config.find(llm)
    if known and not chat_template:
        known.check_template(tokenizer)
    return tokenizer


def load_llm(
    llm: str,
    dtype: str = "auto",
    device: str = "cpu",
    attn_implementation: str = "sdpa",
) -> PreTrainedModel:
    """The causal LM, in eval mode, no parameter of it trainable.

    dtype: "auto" is float32 on the CPU; elsewhere bfloat16 for what is stored in 16 bits.

    Errors (ValueError): no such directory, not a causal LM, weights missing or not at hand."""
    return read_llm(llm, dtype, device, attn_implementation).to(device)


def read_llm(
    llm: str,
    dtype: str = "auto",
    device: str = "cpu",
    attn_implementation: str = "sdpa",
) -> PreTrainedModel:
    """`load_llm` as far as the host's memory: in the type that suits `device`, not yet on it."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    if dtype not in DTYPES:
        raise ValueError(f"--dtype {dtype} is not one of {', '.join(DTYPES)}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: no GPU is visible here; use --device cpu")
    config = load_config(llm)
    if known := llm_config.find(llm):
        known.check_architecture(config)
        dtype = known.dtype if dtype == "auto" and device != "cpu" else dtype
    logging.disable_progress_bar()
    model, report = _from_pretrained(
        llm,
        "weights",
        AutoModelForCausalLM.from_pretrained,
        dtype=_choose_dtype(dtype, device, config),
        attn_implementation=attn_implementation,
        output_loading_info=True,
    )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ValueError(
            f"the LLM {llm} lacks {len(missing)} of its weights (first: {missing[0]}): "
            "its files are damaged or of another architecture; fetch it again"
        )
    return model.eval().requires_grad_(False)


def read_known(
    llm: str, dtype: str = "auto", device: str = "cpu", attn_implementation: str = "sdpa"
) -> tuple[PreTrainedModel, str]:
    """`read_llm`, and its fingerprint, which is computed once while the files stay the same."""
    import transformers

    known = KnownWeights(_directory_of(llm), f"LLM, transformers {transformers.__version__}")
    model = read_llm(llm, dtype, device, attn_implementation)
    return model, known.fingerprint(lambda: fingerprint(model))


def load_config(llm: str) -> PretrainedConfig:
    """The configuration of the causal LM. Errors (ValueError): as for `load_llm`."""
    from transformers import AutoConfig

    config = _from_pretrained(llm, "configuration", AutoConfig.from_pretrained)
    _check_causal(llm, config)
    return config


def stored_dtype(llm: str) -> str:
    """The `dtype` with which an LLM loads as exactly as it is stored, whatever the device.

    Errors (ValueError): as for `load_llm`."""
    return "bfloat16" if load_config(llm).dtype == torch.bfloat16 else "float32"


def empty_llm(config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """The causal LM of `config` without weights (meta device): they come from another process, or
    only its size is wanted."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=config._attn_implementation
        )
    return model.eval().requires_grad_(False)


def fingerprint(model: torch.nn.Module, buffers: bool = False) -> str:
    """sha256 over the names, shapes and values of all parameters, as a hexadecimal string.

    buffers: those of real numbers count, too (a codec's codebooks).

    Every weight counts: a sample would miss an edited row of the vocabulary. Values are rounded
    to bfloat16 first, so that the same LLM has the same fingerprint on a GPU in bfloat16 and on a
    CPU in float32. A fine-tuned LLM differs in many weights by more than that. A 7B takes about
    ten seconds: each parameter is hashed in a thread of its own. Tied weights count once."""
    named = list(model.named_parameters())
    if buffers:
        named += [(name, b) for name, b in model.named_buffers() if b.is_floating_point()]
    assert named, "a model of buffers only: all such models would have one fingerprint"
    named = sorted(named, key=lambda item: item[0])
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        digests = list(pool.map(lambda item: _digest(item[1]), named))
    total = hashlib.sha256()
    for (name, weight), digest in zip(named, digests, strict=True):
        total.update(f"{name} {tuple(weight.shape)} {digest}\n".encode())
    return total.hexdigest()


def weight_files(llm: str) -> str | None:
    """Names, sizes and times of the weight files at hand; None when there are none.

    Equal strings spare a rerun the loading of the LLM; different ones prove nothing."""
    if (directory := _directory_of(llm)) is None:
        return None
    files = sorted([*directory.glob("*.safetensors"), *directory.glob("*.bin")])
    stats = ((file.name, file.stat()) for file in files)
    return "; ".join(f"{name} {s.st_size} {s.st_mtime_ns}" for name, s in stats) or None


def _directory_of(llm: str) -> Path | None:
    """Where its files lie; None: they are not at hand yet."""
    from transformers.utils import cached_file

    llm = llm_config.resolve(llm)
    if Path(llm).is_dir():
        return Path(llm)
    config = cached_file(
        llm,
        "config.json",
        local_files_only=True,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if config is None else Path(config).parent


def chat_template_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 of the template that `apply_chat_template` uses."""
    return hashlib.sha256(tokenizer.get_chat_template().encode()).hexdigest()


def eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """All ids that end a turn: the tokenizer's, then those of the model's configurations.

    Llama-3 lists several in its generation configuration; ChatML models often name the end of
    the turn only in the tokenizer."""
    found: list[int] = []
    for ids in (
        tokenizer.eos_token_id,
        getattr(model.generation_config, "eos_token_id", None),
        getattr(model.config, "eos_token_id", None),
    ):
        found += [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
    if not found:
        raise ValueError(
            "the LLM names no end-of-turn token: set eos_token in its tokenizer_config.json"
        )
    return tuple(dict.fromkeys(found))


def _digest(weight: torch.Tensor) -> str:
    rounded = weight.detach().to(torch.bfloat16).flatten().cpu()
    return hashlib.sha256(rounded.view(torch.uint8).numpy()).hexdigest()


def _read_template(chat_template: str) -> str:
    if "{{" in chat_template or "{%" in chat_template:
        return chat_template
    path = Path(chat_template)
    if not path.is_file():
        raise ValueError(f"--chat_template {chat_template}: no such file")
    template = path.read_text(encoding="utf-8")
    if not template.strip():
        raise ValueError(f"--chat_template {chat_template}: the file is empty")
    return template


def _choose_dtype(dtype: str, device: str, config: Any) -> torch.dtype:
    if dtype != "auto":
        return getattr(torch, dtype)
    stored = config.dtype or torch.float32
    if device == "cpu" or stored == torch.float32:
        return torch.float32
    return torch.bfloat16


def _check_causal(llm: str, config: Any) -> None:
    architectures = config.architectures or ["no architecture in its config.json"]
    if not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        raise ValueError(
            f"the LLM {llm} is not a causal LM (its config.json says: {architectures[0]}): "
            "give --llm a Llama-family chat model"
        )


def _from_pretrained(llm: str, what: str, loader: Callable, **options: Any) -> Any:
    """Call a `from_pretrained`, the cache before the network; name what is wrong in one line.

    Code that comes with a model is never run."""
    options["trust_remote_code"] = False
    llm = llm_config.resolve(llm)
    if not Path(llm).is_dir():
        if llm.count("/") != 1 or llm.startswith(("/", ".", "~")):
            raise ValueError(f"the LLM directory {llm} does not exist: check --llm")
    elif not (Path(llm) / "config.json").is_file():
        raise ValueError(
            f"the LLM directory {llm} has no config.json: --llm wants a Hugging Face directory"
        )
    from safetensors import SafetensorError

    broken = (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError)
    try:
        return loader(llm, local_files_only=True, **options)
    except broken as error:
        if Path(llm).is_dir():
            raise ValueError(f"cannot load the {what} of the LLM {llm}: {_line(error)}") from error
        if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
            raise ValueError(
                f"the LLM {llm} is not in the Hugging Face cache and HF_HUB_OFFLINE is set: "
                "fetch it where there is a network (hf download), or give --llm a directory"
            ) from error
    try:
        return loader(llm, **options)
    except broken as error:
        raise ValueError(
            f"cannot fetch the {what} of the LLM {llm} (not in the cache; no network, no such "
            f"model, or gated: accept its licence and `hf auth login`): {_line(error)}"
        ) from error


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
