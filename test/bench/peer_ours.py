"""Worker of bench_peers.py: this project's alignment step."""

from __future__ import annotations

import sys

import torch
from bench_lengths import PREFIX, RATE, SUFFIX
from peer_lines import fill, serve
from transformers import AutoModelForCausalLM, LlamaConfig

from espnet_audiollm.data.prompt import AUDIO_SLOT
from espnet_audiollm.model.adapters import StackAdapter, TokenBridgeAdapter
from espnet_audiollm.model.audiollm import AudioLLMESPnetModel
from espnet_audiollm.model.conformer import ConformerEncoder
from espnet_audiollm.model.frontend import Filterbank
from espnet_audiollm.model.llm import LLM
from espnet_audiollm.model.normalize import UtteranceMVN
from espnet_audiollm.model.speech_encoder import SpeechEncoder


def build(setting: dict) -> tuple:
    model = make_model(setting)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6)
    vocab = model.llm.model.config.vocab_size

    def prepare(batch: dict):
        tensors = make_tensors(batch, vocab, setting)

        def learn() -> dict:
            loss, stats, _ = model(**tensors)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 5.0)
            optimizer.step()
            optimizer.zero_grad()
            return counts(batch, float(stats["audio_positions"]), float(loss.detach()))

        return learn

    facts = {
        "encoder": sum(p.numel() for p in model.speech_encoder.parameters()),
        "trained": sum(p.numel() for p in trained),
    }
    return prepare, facts


def make_model(setting: dict) -> AudioLLMESPnetModel:
    config = LlamaConfig(**setting["llm"], attn_implementation="sdpa")
    llm_model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    llm = LLM(llm_model, None, "random", "", "", (2,))
    width, pieces = setting["width"], setting["pieces"]
    encoder = ConformerEncoder(
        80,
        output_size=width,
        attention_heads=setting["heads"],
        linear_units=4 * width,
        num_blocks=setting["layers"],
        dropout_rate=0.0,
    )
    bridge = setting["objective"] == "bridge"
    kind = TokenBridgeAdapter if bridge else StackAdapter
    kwargs = {"num_pieces": pieces, "residual": False} if bridge else {}
    adapter = kind(width, config.hidden_size, **kwargs)
    speech_encoder = SpeechEncoder(Filterbank(), None, UtteranceMVN(), encoder)
    prompt = [1] * PREFIX + [AUDIO_SLOT] + [1] * SUFFIX
    weight = 1.0 if bridge else 0.0
    model = AudioLLMESPnetModel(speech_encoder, adapter, llm, prompt, ctc_weight=weight).train()
    if isinstance(adapter, TokenBridgeAdapter):
        readable = torch.arange(pieces) > 0
        adapter.read_tokens(llm_model.get_input_embeddings().weight[:pieces], readable)
        blank_as_often_as_in_speech(model, setting["words"])
    return model


@torch.no_grad()
def blank_as_often_as_in_speech(model: AudioLLMESPnetModel, words: float) -> None:
    """Set the biases of random weights so that the bridge has `words` positions a second, within a
    tenth: frames differ little there, so each token's mean is taken away first, or one token would
    win in all frames and be one position; then blank is raised until it wins as often as wanted."""
    speech = torch.randn(4, 15 * RATE) * 0.1
    lengths = [speech.shape[1]] * len(speech)
    linear, seen = model.adapter.ctc_out, []
    hook = linear.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model.encode_audio(speech, lengths)
    hook.remove()
    linear.bias -= torch.cat([x.flatten(0, -2) for x in seen]).mean(dim=0)
    centred, (low, high) = float(linear.bias[0]), (-20.0, 20.0)
    for _ in range(20):
        raised = (low + high) / 2
        linear.bias[0] = centred + raised
        found = sum(map(len, model.encode_audio(speech, lengths))) / (len(speech) * 15)
        if abs(found - words) < words / 10:
            return
        low, high = (raised, high) if found > words else (low, raised)
    print(f"warning: the bridge has {found:.1f} positions a second, not {words}", file=sys.stderr)


def make_tensors(batch: dict, vocab: int, setting: dict) -> dict:
    samples = [round(seconds * RATE) for seconds in batch["seconds"]]
    rows, responses = len(samples), batch["responses"]
    tensors = {
        "speech": torch.randn(rows, max(samples)) * 0.1,
        "speech_lengths": samples,
        "response": fill(rows, responses, vocab),
        "response_lengths": responses,
    }
    if setting["objective"] == "bridge":
        words = batch["transcripts"]
        tensors |= {"text": fill(rows, words, setting["pieces"]), "text_lengths": words}
    return tensors


def counts(batch: dict, audio_positions: float, loss: float) -> dict:
    """audio_positions: of an utterance, a mean. The last response token is never read."""
    rows, answers = len(batch["seconds"]), sum(batch["responses"])
    positions = rows * (PREFIX + SUFFIX - 1) + round(rows * audio_positions) + answers
    return {"positions": positions, "logits": answers, "responses": answers, "loss": loss}


if __name__ == "__main__":
    serve(build)
