"""The model card of a packed speech LM: README.md with the front matter that the Hub reads."""

from __future__ import annotations

import yaml

from ..store.speech_directory import SpeechFacts
from .tables import plain

USE = """\
    import espnet_audiollm
    from espnet_audiollm.types import Audio, Dialogue, Turn

    system = espnet_audiollm.load("DIRECTORY")
    [answer] = system.respond([Dialogue("a", (Turn("user", Audio("question.wav")),))])
    print(answer.response)

    python -m espnet_audiollm.bin.serve DIRECTORY    # OpenAI's API, and a page to talk to it
"""


def speech_card(name: str, facts: SpeechFacts, licence: str, data: str, cloned: bool) -> str:
    """The card as Markdown.

    licence: of the weights, by the Hub's names. data: in words; "": not stated. cloned: its voice
    comes from somebody's recording."""
    speaks = facts.vocoder is not None
    head = yaml.safe_dump(
        {
            "library_name": "espnet_audiollm",
            "license": licence,
            "pipeline_tag": "any-to-any" if speaks else "audio-text-to-text",
            "tags": ["espnet", "audiollm", "speech"],
        },
        sort_keys=False,
        allow_unicode=True,
    )
    prompt = "none" if facts.system_prompt is None else f'"{plain(facts.system_prompt)}"'
    voice = f"`{facts.voice}`" if speaks else "none: it does not speak"
    imitated = "; it imitates a recording, whose speaker must have agreed" if cloned else ""
    return "\n".join(
        [
            f"---\n{head}---\n",
            f"# {plain(name)}\n",
            "A speech LM: a Llama that reads and writes units of speech as tokens, with what makes "
            "units of recordings and speech of units. Made by ESPnet-AudioLLM.\n",
            f"- Tasks: {', '.join(f'`{tag}`' for tag in facts.tags)}; no others were trained, and "
            "each question is without context",
            f"- System prompt: {prompt}",
            f"- Voice: {voice}{imitated}",
            f"- Fingerprints: LLM `{facts.llm}`, quantiser `{facts.quantiser}`",
            f"- Licence of the weights: {plain(licence)}",
            f"- Data: {plain(data) or 'not stated'}\n",
            "What it speaks is generated, and its files say so in their metadata.\n",
            "## Use\n",
            USE,
        ]
    )
