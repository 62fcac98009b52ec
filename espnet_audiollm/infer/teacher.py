"""What the frozen LLM makes of its own answers to text: the teacher's side of an alignment."""

# X response tokens of a batch laid end to end, R of one response, K kept tokens, V vocabulary

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..model.llm import LLM
from ..model.response_loss import embed_prompt, response_states, wide


@torch.inference_mode()
def top_k(
    llm: LLM, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], k: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every token of each answer, the k most probable tokens in its place and their
    log-probabilities, then that of all others: (R, K) and (R, K + 1).

    One forward pass for the batch, then the vocabulary one answer at a time: it is wide."""
    embeds = [embed_prompt(llm.model, prompt) for prompt in prompts]
    responses = [torch.tensor(ids, device=embeds[0].device) for ids in answers]
    (states_XD,) = response_states(llm.model, embeds, responses)
    head = llm.model.get_output_embeddings()
    return [_top_k(head(s_RD), k) for s_RD in states_XD.split(list(map(len, responses)))]


def _top_k(logits_RV: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    logp_RV = wide(logits_RV).log_softmax(-1)
    best = logp_RV.topk(min(k, logp_RV.shape[-1]), dim=-1)
    rest_R1 = logp_RV.scatter(-1, best.indices, -torch.inf).logsumexp(-1, keepdim=True)
    logp_RK1 = torch.cat([best.values, rest_R1], -1)
    return best.indices.cpu().numpy(), logp_RK1.cpu().numpy()
