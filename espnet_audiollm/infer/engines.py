"""What decodes for the frozen LLM: this process, or an unmodified vLLM server.

`load_engine(...)` gives what is called like `generate`: who calls it does not know which it is.
Embeddings and likelihoods of given responses (perplexities) are computed in this process in any
case; vLLM only decodes, greedily.
"""

# T positions, V vocabulary

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..model.llm import LLM
from .decoder import Prompt, embed
from .generate import Asked, Fitting, Generate, Generated
from .vllm_http import Away, Server, VllmError, to_body
from .vllm_server import started

TRANSFORMERS, VLLM = ENGINES = ("transformers", "vllm")
CONCURRENT = 256  # prompts that the server has at a time; it batches them itself
PROBE_TOKENS = 64
# Mean difference of log-probabilities (nats) that number formats and kernels explain; other LLMs
# differ by more than one.
TOLERANCE = {torch.float32: 0.01, torch.float64: 0.01}
COARSE = 0.15  # of formats of 16 bits

GREEDY: dict[str, Any] = {  # all that a server could have defaults of its own for
    "temperature": 0.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "n": 1,
}


@contextmanager
def load_engine(
    name: str,
    llm: LLM,
    url: str | None = None,
    log: str | Path = "vllm.log",
    audio: bool = True,
    rows: int | None = None,
) -> Iterator[Generate]:
    """What generates for an LLM.

    Args:
        name: one of ENGINES.
        url: of a vLLM server that runs. None: one is started here, and ends with the block.
        log: what the started server prints.
        audio: whether there are embeddings among the prompts.
        rows: hypotheses that this process writes at the same time, at first (default: those of all
            prompts of a batch); vLLM chooses for itself.

    Errors (ValueError): an unknown engine; the server does not start, does not answer, or has
    another LLM."""
    if name not in ENGINES:
        raise ValueError(f"the engine '{name}' is not one of {', '.join(ENGINES)}")
    if name == TRANSFORMERS:
        yield Fitting(rows)
    elif url is None:
        with started(llm, log) as server:
            yield VllmEngine(server, llm, audio)
    else:
        server = Server(url)
        try:
            yield VllmEngine(server, llm, audio)
        finally:
            server.close()


class VllmEngine(Generate):
    """Generates by a vLLM server, which must have the LLM that this process has.

    Errors (ValueError), also later when the server was away: it has another one."""

    def __init__(self, server: Server, llm: LLM, audio: bool = True):
        self.server, self.llm, self.audio = server, llm, audio
        server.wait()
        server.on_return = self.check
        try:
            self.check()
        except Away as error:
            raise VllmError(f"the vLLM server {server.url} failed at once ({error})") from error

    def answer(self, asked: Asked) -> list[Generated]:
        """As `Generate`. Errors (ValueError): a beam; the server stays away."""
        assert asked.llm is self.llm
        if asked.beam != 1:
            raise ValueError(
                f"--beam {asked.beam}: vLLM decodes greedily here; --llm_engine transformers"
            )
        rows = list(zip(asked.names, asked.prompts, asked.limits, strict=True))
        with ThreadPoolExecutor(min(CONCURRENT, len(rows))) as pool:
            answers = [pool.submit(self._one, *row) for row in rows]
            try:
                return [answer.result() for answer in answers]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _one(self, name: str, prompt: Prompt, limit: int) -> Generated:
        body = request(self.llm, prompt, limit)
        choice = self.server.complete(name, body | GREEDY | {"logprobs": 0})
        nats = -sum(choice.logprobs)
        stopped = bool(choice.ids) and choice.ids[-1] in self.llm.eos_ids
        if not stopped and len(choice.ids) != limit:
            raise VllmError(
                f"the vLLM server {self.server.url} ended {name} after {len(choice.ids)} tokens of "
                f"{limit} ({choice.finish_reason}): give it a longer --max-model-len"
            )
        return Generated(choice.ids, "stop" if stopped else "length", nats)

    @torch.inference_mode()
    def check(self) -> None:
        """Compare what server and process make of the same token ids, up to the last of the
        vocabulary. Errors (ValueError): they have not the same LLM. Away: no answer."""
        size = self.llm.model.get_input_embeddings().weight.shape[0]
        ids = _probe_ids(size)[: max(2, min(PROBE_TOKENS, self.llm.context - 2))]
        logp_TV = _log_probabilities(self.llm, ids)
        what = f"a probe of {len(ids)} token ids of a vocabulary of {size}"
        body = {"prompt": ids, "max_tokens": 1, "ignore_eos": True, "return_token_ids": True}
        try:
            found = self.server.ask(what, body | GREEDY | {"prompt_logprobs": 0, "logprobs": 0})
        except VllmError as error:
            raise VllmError(f"{error}; {self._same_llm()}") from error
        theirs_T = torch.tensor(found.prompt_logprobs, dtype=torch.float64)
        ours_T = logp_TV[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        if len(theirs_T) != len(ours_T):
            raise VllmError(
                f"{self.server.url} gives {len(theirs_T)} of {len(ours_T)} log-probabilities of a "
                "prompt: it is no vLLM server, or one that is too old (0.32 was tested)"
            )
        self._compare("token ids", float((theirs_T - ours_T).abs().mean()))
        if self.audio:
            self._check_embeddings(ids, logp_TV[-1], body)

    def _check_embeddings(self, ids: list[int], logp_V: torch.Tensor, body: dict[str, Any]) -> None:
        """The same ids as embeddings draw the same next token."""
        del body["prompt"]
        body |= to_body(embed(self.llm, ids))
        try:
            found = self.server.ask("a prompt of embeddings", body | GREEDY | {"logprobs": 0})
        except VllmError as error:
            raise VllmError(f"{error}; start the server with --enable-prompt-embeds") from error
        self._compare("embeddings", abs(float(logp_V[found.ids[0]]) - found.logprobs[0]))

    def _compare(self, what: str, apart: float) -> None:
        if not apart <= TOLERANCE.get(self.llm.model.dtype, COARSE):
            raise VllmError(
                f"the vLLM server {self.server.url} has another LLM than {self.llm.name}: the same "
                f"{what} are {apart:.3f} nats a token apart; {self._same_llm()}"
            )

    def _same_llm(self) -> str:
        dtype = str(self.llm.model.dtype).removeprefix("torch.")
        return f"start it with --model {self.llm.name} --dtype {dtype}"


def request(llm: LLM, prompt: Prompt, limit: int) -> dict[str, Any]:
    """A prompt with its limit and the LLM's own ends of turns: what engine and server share."""
    if isinstance(prompt, torch.Tensor):
        prompt = embed(llm, prompt)
    ends = {"stop_token_ids": list(llm.eos_ids), "ignore_eos": True, "return_token_ids": True}
    return {**to_body(prompt), "max_tokens": limit, **ends}


def _probe_ids(size: int) -> list[int]:
    """Tokens all over the vocabulary, its last one among them."""
    generator = torch.Generator().manual_seed(size)
    drawn = torch.randint(size, (PROBE_TOKENS - 1,), generator=generator).tolist()
    return [size - 1, *drawn]


def _log_probabilities(llm: LLM, ids: list[int]) -> torch.Tensor:
    """(T, V) after each of the ids, in double precision on the processor."""
    logits_1TV = llm.model(torch.tensor([ids], device=llm.model.device)).logits
    return logits_1TV[0].cpu().double().log_softmax(-1)
