"""AudioLM's two stages one after the other: all levels of an utterance, the prompt before every
chunk of 3 s."""

import pytest
import torch

from espnet_audiollm.data.unit_tables import UnitSet
from espnet_audiollm.infer.level_generators import AudioLMGenerator, seed_of
from espnet_audiollm.model.acoustic_lm import AcousticLM, Sampling
from espnet_audiollm.model.durations import DurationPredictor

UNITS, LEVELS = UnitSet("a" * 64, 6, 12.5, False), UnitSet("b" * 64, 5, 25.0, False, 5)
CHUNK = 75  # frames


@pytest.fixture
def generator():
    torch.manual_seed(0)
    size = dict(width=16, heads=2, hidden=16, layers=1, dropout=0.0)
    coarse, fine = AcousticLM(1, 6, 2, 5, **size).eval(), AcousticLM(2, 5, 3, 5, **size).eval()
    predictor = DurationPredictor(6, 16, 0.0).eval()
    return AudioLMGenerator(UNITS, LEVELS, predictor, coarse, fine, Sampling(), Sampling())


def utterances():
    """Of 170, 20 and 75 frames behind prompts of 10, 6 and 0."""
    torch.manual_seed(1)
    prompts = [torch.randint(5, (n, 5)) for n in (10, 6, 0)]
    semantic = [torch.randint(6, (n,)) for n in (180, 26, 75)]
    return semantic, prompts


def test_prompts_stay_and_all_levels_come(generator):
    semantic, prompts = utterances()
    made = generator(semantic, prompts, [1, 2, 3])
    for levels_TL, units_T, prompt_PL in zip(made, semantic, prompts, strict=True):
        assert levels_TL.shape == (len(units_T), 5)
        assert levels_TL[: len(prompt_PL)].equal(prompt_PL)
        assert levels_TL.min() >= 0 and levels_TL.max() < 5


def test_the_fine_stage_reads_the_prompt_before_every_chunk(generator, monkeypatch):
    semantic, prompts = utterances()
    seen, generate = [], generator.fine.generate

    def watched(prefixes, shown, seeds, sampling):
        seen.extend(zip(prefixes, shown, seeds, strict=True))
        return generate(prefixes, shown, seeds, sampling)

    monkeypatch.setattr(generator.fine, "generate", watched)
    made = generator(semantic, prompts, [10, 20, 30])
    frames = [10 + CHUNK, 10 + CHUNK, 10 + 20, 6 + 20, CHUNK]
    assert [len(prefix) for prefix, _, _ in seen] == [2 * n for n in frames]
    assert [len(shown) for _, shown, _ in seen] == [3 * n for n in (10, 10, 10, 6, 0)]
    assert len({seed for _, _, seed in seen}) == 5
    levels_TL, prefix = made[0], seen[1][0]  # the second chunk of the first utterance
    read = torch.cat([prompts[0], levels_TL[10 + CHUNK : 10 + 2 * CHUNK]])[:, :2]
    assert prefix.view(-1, 2).sub(torch.tensor([0, 5])).equal(read)


def test_one_is_as_in_a_batch(generator):
    semantic, prompts = utterances()
    both = generator(semantic, prompts, [1, 2, 3])
    for n, seed in enumerate((1, 2, 3)):
        [single] = generator(semantic[n : n + 1], prompts[n : n + 1], [seed])
        assert single.equal(both[n])


def test_seeds_are_of_utterances():
    assert seed_of(0, "a") == seed_of(0, "a")
    assert len({seed_of(0, "a"), seed_of(0, "b"), seed_of(1, "a")}) == 3
