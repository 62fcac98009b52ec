"""A Llama with units in its vocabulary: against transformers' own resizing and generation."""

import json

import chat_llms
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from espnet_audiollm.data.prompt import decode, encode, user_prompt
from espnet_audiollm.data.unit_tables import UnitSet
from espnet_audiollm.data.unit_tokens import FACTS, UnitTokens, read_vocabulary
from espnet_audiollm.model import llm as llms
from espnet_audiollm.model.joint_vocabulary import directions, extend
from espnet_audiollm.types import Units
from espnet_audiollm.units.quantiser import Quantiser
from espnet_audiollm.units.sources import Source

INITS = ("mean", "normal", "centroid", "zero")
PROMPT = torch.tensor([[1, 300, 261, 305, 290]])


def quantiser(size=6, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centroids_KC = torch.randn(size, width, generator=generator) + 3
    zero_C, one_C = torch.zeros(width), torch.ones(width)
    return Quantiser(Source("fbank", "", 4), "", "", 25.0, centroids_KC, zero_C, one_C)


def save_llm(directory, tied, padding=0, dtype=torch.float32):
    tokenizer = chat_llms.llama2_trained()
    config = chat_llms.tiny_llama(len(tokenizer) + padding).config
    config.tie_word_embeddings = tied
    torch.manual_seed(2)
    LlamaForCausalLM(config).to(dtype).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


@pytest.fixture(params=["untied", "tied"])
def directory(request, tmp_path):
    return save_llm(tmp_path / "llm", tied=request.param == "tied")


def extended(directory, output, init="mean", made=None, seed=0):
    """What transformers loads of the directory that was written."""
    llm = llms.load(directory, dtype=llms.stored_dtype(directory))
    facts = extend(llm, made or [quantiser()], init, seed)
    llms.save(llm, output, {FACTS: facts.as_text()})
    model = AutoModelForCausalLM.from_pretrained(output).eval()
    return model, AutoTokenizer.from_pretrained(output)


def logits(model, ids=PROMPT):
    with torch.no_grad():
        return model(ids).logits


def answer(model, ids=PROMPT, **options):
    return model.generate(
        ids, max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0, **options
    ).tolist()


@pytest.mark.parametrize("init", INITS)
def test_what_it_says_of_text_is_what_it_said(directory, tmp_path, init):
    old = AutoModelForCausalLM.from_pretrained(directory).eval()
    model, tokenizer = extended(directory, tmp_path / "joint", init)
    size = old.config.vocab_size
    assert type(model) is LlamaForCausalLM and model.config.vocab_size == len(tokenizer) == size + 8
    assert model.config.tie_word_embeddings == old.config.tie_word_embeddings
    tables = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert (tables[0].data_ptr() == tables[1].data_ptr()) == old.config.tie_word_embeddings
    torch.testing.assert_close(logits(model)[..., :size], logits(old), rtol=0, atol=0)
    text = {"suppress_tokens": list(range(size, size + 8))}
    assert answer(model, **text) == answer(old)


@pytest.mark.parametrize("init", INITS)
def test_it_is_what_resizing_makes(directory, tmp_path, init):
    """transformers' own resize_token_embeddings, our rows put in: the same model."""
    model, tokenizer = extended(directory, tmp_path / "joint", init)
    theirs = AutoModelForCausalLM.from_pretrained(directory).eval()
    theirs.resize_token_embeddings(len(tokenizer))
    pairs = zip(model.parameters(), theirs.parameters(), strict=True)
    assert [a.shape for a, _ in pairs] == [b.shape for b in theirs.parameters()]
    with torch.no_grad():
        for mine, table in (
            (model.get_input_embeddings(), theirs.get_input_embeddings()),
            (model.get_output_embeddings(), theirs.get_output_embeddings()),
        ):
            table.weight[-8:] = mine.weight[-8:]
    units = UnitTokens.of(tokenizer)
    ids = torch.tensor([[1, 300, *units.encode(Units((3, 5, 0)))]])
    torch.testing.assert_close(logits(model, ids), logits(theirs, ids), rtol=0, atol=0)
    assert answer(model, ids) == answer(theirs, ids)


def test_mean_rows_are_as_likely_as_the_average_token(directory, tmp_path):
    old = AutoModelForCausalLM.from_pretrained(directory).eval()
    model, _ = extended(directory, tmp_path / "joint")
    mean = logits(old).mean(-1, keepdim=True).expand(-1, -1, 8)
    torch.testing.assert_close(logits(model)[..., -8:], mean)
    assert answer(model) == answer(old)


def test_centroid_rows_have_the_text_rows_scale_and_the_centroids_distances(tmp_path):
    directory = save_llm(tmp_path / "llm", tied=True)
    made = quantiser(size=400, width=3)
    rows_ND = extended(directory, tmp_path / "joint", "centroid", [made])[0].get_input_embeddings()
    text_VD, units_KD = rows_ND.weight[:-402].detach(), rows_ND.weight[-400:].detach()
    spread = [(each - each.mean(0)).norm(dim=1).mean() for each in (text_VD, units_KD)]
    assert spread[1] == pytest.approx(float(spread[0]), rel=0.5)
    torch.testing.assert_close(units_KD.mean(0), text_VD.mean(0), atol=1e-3, rtol=0)
    near_K = (made.centroids_KC - made.centroids_KC[0]).norm(dim=1)
    rows_K = (units_KD - units_KD[0]).norm(dim=1)
    assert torch.corrcoef(torch.stack([near_K, rows_K]))[0, 1] > 0.85
    normal = extended(directory, tmp_path / "normal", "normal", [made])[0].get_input_embeddings()
    rows_K = (normal.weight[-400:] - normal.weight[-400]).norm(dim=1).detach()
    assert abs(torch.corrcoef(torch.stack([near_K[1:], rows_K[1:]]))[0, 1]) < 0.2


def test_centroids_of_two_sets_are_near_within_a_set(tmp_path):
    directory = save_llm(tmp_path / "llm", tied=False)
    sets = [quantiser(size=300, width=3), quantiser(size=200, width=2, seed=1)]
    model, tokenizer = extended(directory, tmp_path / "joint", "centroid", sets)
    rows_KD = model.get_input_embeddings().weight[-500:].detach()
    for made, own_KD in zip(sets, rows_KD.split([300, 200]), strict=True):
        near_K = (made.centroids_KC - made.centroids_KC[0]).norm(dim=1)
        assert torch.corrcoef(torch.stack([near_K, (own_KD - own_KD[0]).norm(dim=1)]))[0, 1] > 0.8
    facts = read_vocabulary(tmp_path / "joint")
    assert facts.quantisers == tuple(each.fingerprint for each in sets)
    assert (facts.input.first, facts.output.first, facts.size) == (0, 300, 500)
    assert facts.tokens(tokenizer).size == 500
    extended(directory, tmp_path / "one")
    with pytest.raises(ValueError, match="500 unit tokens, and unit_vocabulary.json says 6"):
        read_vocabulary(tmp_path / "one").tokens(tokenizer)


def test_directions_by_hand():
    found = directions(torch.tensor([[1.0, 5.0], [5.0, 5.0]]))
    torch.testing.assert_close(found, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))


def test_zero_rows_are_zero_and_the_seed_decides_the_others(tmp_path):
    directory = save_llm(tmp_path / "llm", tied=False)

    def rows(init, seed):
        name = tmp_path / f"{init}{seed}"
        return extended(directory, name, init, seed=seed)[0].get_output_embeddings().weight[-8:]

    assert not rows("zero", 0).any()
    for init in ("normal", "centroid"):
        first, other = rows(init, 0), rows(init, 1)
        assert not torch.equal(first, other) and len(first.unique(dim=0)) == 8
        (again,) = [extended(directory, tmp_path / f"{init}0", init)[0]]  # the same files: it stays
        assert torch.equal(again.get_output_embeddings().weight[-8:], first)


def test_padded_tables_do_not_shrink(tmp_path):
    directory = save_llm(tmp_path / "llm", tied=False, padding=100)
    model, tokenizer = extended(directory, tmp_path / "joint")
    old = AutoModelForCausalLM.from_pretrained(directory)
    assert model.config.vocab_size == old.config.vocab_size == len(tokenizer) + 92
    assert UnitTokens.of(tokenizer).size == 6


def test_weights_stay_in_their_type(tmp_path):
    directory = save_llm(tmp_path / "llm", tied=True, dtype=torch.bfloat16)
    extended(directory, tmp_path / "joint", "normal")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "joint", dtype="auto")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_text_that_looks_like_a_unit_is_text(directory, tmp_path):
    _, tokenizer = extended(directory, tmp_path / "joint")
    units = UnitTokens.of(tokenizer)
    unit_ids = set(units.encode(Units(tuple(range(6)))))
    said = "the <|a_3|> <|audio|>"
    ids = encode(user_prompt(said), tokenizer, units=units)
    assert not unit_ids & set(ids) and said in decode(ids, tokenizer)
    ids = encode(user_prompt(("the ", Units((3,)))), tokenizer, units=units)
    assert units.first + 3 in ids


def test_it_knows_whose_units_it_has(directory, tmp_path):
    extended(directory, tmp_path / "joint")
    written = json.loads((tmp_path / "joint" / FACTS).read_text())
    old = ["quantiser", "size", "frames_per_second", "llm", "init", "seed"]
    assert list(written) == old  # as it was before there could be two sets
    facts = read_vocabulary(tmp_path / "joint")
    assert facts.quantisers == (quantiser().fingerprint,) and facts.size == 6
    mine, other = (UnitSet(each.fingerprint, 6, 25.0, False) for each in map(quantiser, (6, 7)))
    assert facts.set_of(mine, "dump", "joint") == facts.input == facts.output
    with pytest.raises(ValueError, match="dump.*another quantiser.*the LLM joint"):
        facts.set_of(other, "dump", "joint")
    assert facts.llm == llms.load(directory).fingerprint


def test_what_is_refused(directory, tmp_path):
    llm = llms.load(directory)
    with pytest.raises(ValueError, match="--init ones is none of mean"):
        extend(llm, [quantiser()], "ones")
    extended(directory, tmp_path / "joint")
    with pytest.raises(ValueError, match="has 8 tokens of units already .first: <.audio.>"):
        extend(llms.load(str(tmp_path / "joint")), [quantiser()])
    with pytest.raises(ValueError, match="no units in its vocabulary"):
        read_vocabulary(directory)
    (tmp_path / "joint" / FACTS).write_text("{}")
    with pytest.raises(ValueError, match="is damaged"):
        read_vocabulary(tmp_path / "joint")
