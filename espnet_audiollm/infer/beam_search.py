"""Transcripts by a beam: ESPnet's search over the CTC posteriors, with the LLM as a language model.

The score of a labelling is its CTC log-probability (all its alignments summed) plus `lm_weight`
times its log-probability under the language model, end of the transcript included.
"""

# T frames, V tokens of the recogniser, B hypotheses, L tokens of a hypothesis with its start

from __future__ import annotations

import torch
from espnet.nets.batch_beam_search import BatchBeamSearch
from espnet.nets.scorer_interface import BatchScorerInterface
from espnet.nets.scorers.ctc import CTCPrefixScorer

from ..data.prompt import AUDIO_SLOT, encode, user_prompt
from ..model.ctc import BLANK
from ..model.llm import LLM
from ..tasks.init_ctc import llm_ids
from ..text.tokens import END
from ..types import Audio
from .decoder import Decoder

LOG_ZERO = -1e10  # of a token that cannot come, as in ESPnet's CTC scores


class BeamSearch:
    """The most probable labelling of log-posteriors (T, V), as far as a beam finds it.

    The last of the V tokens begins and ends hypotheses, as in ESPnet's token lists.

    lm: scores the V tokens; None: only CTC. A beam wider than V is one of V."""

    def __init__(
        self,
        num_tokens: int,
        beam: int,
        lm: BatchScorerInterface | None = None,
        lm_weight: float = 0.0,
    ):
        end = self._end = num_tokens - 1
        self._search = BatchBeamSearch(
            scorers={
                "ctc": CTCPrefixScorer(_Posteriors(), end),
                "no_blank": _NoBlank(num_tokens),
                "lm": lm,
            },
            weights={"ctc": 1.0, "no_blank": 1.0, "lm": lm_weight},
            beam_size=min(beam, num_tokens),
            vocab_size=num_tokens,
            sos=end,
            eos=end,
        )

    @torch.inference_mode()
    def __call__(self, log_posterior_TV: torch.Tensor) -> list[int]:
        """The tokens of the best hypothesis, start and end left out."""
        # One frame more, surely blank: ESPnet's search ends by force what has a token a frame.
        blank_1V = torch.full_like(log_posterior_TV[:1], LOG_ZERO)
        blank_1V[:, BLANK] = 0.0
        best, *_ = self._search(torch.cat([log_posterior_TV, blank_1V]))
        return [token for token in best.yseq.tolist() if token != self._end]


class _Posteriors(torch.nn.Module):
    """In place of a CTC layer: what comes in are log-posteriors already."""

    def log_softmax(self, log_posterior_BTV: torch.Tensor) -> torch.Tensor:
        return log_posterior_BTV


class _NoBlank(BatchScorerInterface):
    """No blank in a labelling: a beam that has nothing better left would take one, and the CTC
    score of the step after it gives its cost back."""

    def __init__(self, num_tokens: int):
        self._score_V = torch.zeros(num_tokens)
        self._score_V[BLANK] = LOG_ZERO

    def batch_score(
        self, ys: torch.Tensor, states: list[None], xs: torch.Tensor
    ) -> tuple[torch.Tensor, list[None]]:
        return self._score_V.to(xs.device, xs.dtype).expand(len(ys), -1), states


class LLMScorer(BatchScorerInterface):
    """The frozen LLM as a language model of what users say: it reads the chat template up to where
    a user's words begin, and predicts them token by token, the template's next token as their end.

    Chat LLMs that were trained on complete conversations know what users say (Magpie,
    arXiv 2406.08464); one that was trained only on its answers does not.

    Errors (ValueError): the recogniser's tokens are not the LLM's."""

    def __init__(self, llm: LLM, token_list: list[str], system_prompt: str | None = None):
        prompt = encode(user_prompt(Audio(), system_prompt), llm.tokenizer)
        slot = prompt.index(AUDIO_SLOT)
        first_end = prompt[slot + 1] if slot + 1 < len(prompt) else llm.eos_ids[0]
        self.llm = llm
        self._prompt = prompt[:slot] or [llm.eos_ids[0]]
        found = [first_end if token == END else id for token, id in llm_ids(token_list, llm)]
        device = llm.model.device
        self._cannot_V = torch.tensor([id is None for id in found], device=device)
        self._id_V = torch.tensor([first_end if id is None else id for id in found], device=device)
        self._decoder = Decoder(llm)

    def batch_init_state(self, x: torch.Tensor) -> int:
        """A hypothesis is a row of the LLM's cache."""
        self._decoder = Decoder(self.llm)
        return 0

    def batch_score(
        self, ys: torch.Tensor, states: list[int], xs: torch.Tensor
    ) -> tuple[torch.Tensor, list[int]]:
        """Log-probabilities (B, V) of each hypothesis' next token; ys: (B, L)."""
        if ys.shape[1] == 1:
            log_p_BX = self._decoder.read([self._prompt])
        else:
            self._decoder.select(states)
            log_p_BX = self._decoder.step(self._id_V[ys[:, -1].to(self._id_V.device)])
        log_p_BV = log_p_BX[:, self._id_V].masked_fill(self._cannot_V, LOG_ZERO)
        return log_p_BV.to(xs.device, xs.dtype), list(range(len(ys)))
