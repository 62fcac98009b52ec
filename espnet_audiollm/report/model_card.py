"""The model card of a packed model: README.md with the front matter that the Hub reads.

All figures are those of results.json; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from .tables import HEADER, NONE, Table, number, plain, within

TASK = "audio-text-to-text"
CHECKPOINT = "valid.loss.ave.pth"  # of systems in results.json that do not say theirs
USE = """\
    import espnet_audiollm
    from espnet_audiollm.types import Audio, Dialogue, Turn

    system = espnet_audiollm.load("DIRECTORY", llm="LLM")
    [answer] = system.respond([Dialogue("a", (Turn("user", Audio("question.wav")),))])
    print(answer.response)
"""


@dataclass(frozen=True)
class About:
    """What a card says besides the figures."""

    name: str  # of the model, which is its experiment's
    checkpoint: str  # its file in the experiment
    llm: str  # as --llm named it
    llm_fingerprint: str
    llm_id: str | None  # on the Hub. None: the LLM was a directory
    licence: str  # of the weights, by the Hub's names; "unknown"
    parameters: int  # in the weights
    system_prompt: str | None
    data: str = ""  # in words. "": only the recipe's name


def model_card(about: About, results: Mapping[str, Any] | None) -> str:
    """The card as Markdown. results: the object of results.json; None: the model was not scored,
    which the card also says where none of the systems is this one.

    Errors (ValueError): those of `own_system`."""
    own = None if results is None else own_system(about, results)
    if results is None or own is None:
        results = {}
    head = yaml.safe_dump(_front_matter(about, results, own), sort_keys=False, allow_unicode=True)
    prompt = "none" if about.system_prompt is None else f'"{plain(about.system_prompt)}"'
    return "\n".join(
        [
            f"---\n{head}---\n",
            f"# {plain(about.name)}\n",
            "Audio for a frozen LLM: a speech encoder and an adapter, whose output stands in the "
            "LLM's prompt where a user's text would. Made by ESPnet-AudioLLM.\n",
            f"- LLM: `{about.llm}`, which is not in this directory. Fingerprint of its weights:\n"
            f"  `{about.llm_fingerprint}`; another LLM is refused.",
            f"- System prompt: {prompt}",
            f"- Parameters here: {about.parameters:,}",
            f"- Licence of the weights: {plain(about.licence)}. The LLM has its own.",
            f"- Data: {_data(about, results)}\n",
            "## Use\n",
            USE.replace("LLM", about.llm_id or about.llm).rstrip(),
            "\n## Results\n",
            *_results(results, own),
        ]
    )


def own_system(about: About, results: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The first of the systems of results.json that is this checkpoint of this experiment; None:
    there is none.

    Errors (ValueError): the results are of another LLM, or no results."""
    for each in _systems(about, results):
        whose = each.get("name"), each.get("model"), each.get("checkpoint", CHECKPOINT)
        if whose == ("audiollm", about.name, about.checkpoint):
            return each
    return None


def _systems(about: About, results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    systems = results.get("systems")
    if not isinstance(systems, list) or not all(isinstance(each, dict) for each in systems):
        raise ValueError("the results have no list of systems: run stage 11 again")
    theirs = results.get("llm_fingerprint", about.llm_fingerprint)
    if theirs != about.llm_fingerprint:
        raise ValueError(
            f"the results are those of another LLM ({theirs[:12]}) than the model's "
            f"({about.llm_fingerprint[:12]}): run stage 11 again"
        )
    return systems


def _front_matter(
    about: About, results: Mapping[str, Any], own: Mapping[str, Any] | None
) -> dict[str, Any]:
    base = {"base_model": about.llm_id, "base_model_relation": "adapter"} if about.llm_id else {}
    index = {"model-index": [_index(about.name, results, own)]} if own else {}
    return {
        "library_name": "espnet_audiollm",
        "license": about.licence,
        "pipeline_tag": TASK,
        "tags": ["espnet", "audiollm", "speech"],
        **base,
        **index,
    }


def _index(name: str, results: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of this model, as the Hub lists them."""
    recipe, test_set = str(results.get("recipe")), str(results.get("test_set"))
    metrics = [
        {"type": "perplexity", "name": "response perplexity", "value": own.get("response_ppl")},
        {"type": "accuracy", "name": "success rate (%)", "value": own.get("success_rate")},
    ]
    return {
        "name": name,
        "results": [
            {
                "task": {"type": TASK},
                "dataset": {"name": f"{recipe}, {test_set}", "type": recipe, "split": test_set},
                "metrics": [each for each in metrics if each["value"] is not None],
            }
        ],
    }


def _data(about: About, results: Mapping[str, Any]) -> str:
    words = [f"recipe `{results['recipe']}`"] if "recipe" in results else []
    words += [plain(about.data)] if about.data else []
    return "; ".join(words) or "not stated"


def _results(results: Mapping[str, Any], own: Mapping[str, Any] | None) -> list[str]:
    if own is None:
        return ["Not scored.\n"]
    table = Table(HEADER, tuple(map(_row, results["systems"])))
    return [
        f"Test set `{results.get('test_set')}`. This model: {plain(_label(own))}.\n",
        table.markdown() + "\n",
    ]


def _label(system: Mapping[str, Any]) -> str:
    return str(system.get("label", system.get("name")))


def _row(system: Mapping[str, Any]) -> tuple[str, ...]:
    """As in RESULTS.md."""
    wer, success = system.get("prompt_wer"), system.get("success_rate")
    ppl = system.get("response_ppl_ci95") or ()
    interval = f" [{', '.join(map(number, ppl))}]" if ppl else ""
    return (
        _label(system),
        NONE if wer is None else within(wer, system.get("prompt_wer_ci95"), 1),
        f"{number(system['response_ppl'])}{interval}",
        NONE if success is None else f"{success:.1f}",
        str(system.get("num_utts", NONE)),
        str(system.get("num_response_tokens", NONE)),
    )
