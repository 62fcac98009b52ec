"""Training all, LoRA or added rows; the directory that comes of it is an ordinary one."""

import logging

import chat_llms
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from espnet_audiollm.data.prompt import encode, user_prompt
from espnet_audiollm.data.unit_tokens import UnitTokens, unit_names
from espnet_audiollm.model import llm as llms
from espnet_audiollm.model.tuning import (
    Tuning,
    load_trained_state,
    merge,
    trained_share,
    trained_state,
)
from espnet_audiollm.types import Units

UNITS = unit_names(5)
IDS = torch.tensor([[1, 300, 261, 305]])


@pytest.fixture(params=["untied", "tied"])
def directory(request, tmp_path):
    return save_llm(tmp_path / "llm", tied=request.param == "tied")


def save_llm(directory, tied=False, padding=0):
    """A tiny LLM; its tables may have rows that no token uses."""
    tokenizer = chat_llms.llama2_trained()
    config = chat_llms.tiny_llama(len(tokenizer) + padding).config
    config.tie_word_embeddings = tied
    torch.manual_seed(2)
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(ids).logits


def step(llm, ids):
    """One optimiser step on every parameter that is trained, with weight decay."""
    parameters = [p for p in llm.model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.5)
    llm.model(ids, labels=ids).loss.backward()
    optimiser.step()
    optimiser.zero_grad()


def frozen_and_trained(before, model):
    after = dict(model.named_parameters())
    changed = {name for name, old in before.items() if not torch.equal(old, after[name])}
    return before.keys() - changed, changed


def copies(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_frozen_is_the_default(directory):
    llm = llms.load(directory)
    assert not trained_state(llm.model) and trained_share(llm.model).startswith("0 of ")


def test_new_tokens_leave_the_old_logits_as_they_are(directory):
    old, new = llms.load(directory), llms.load(directory, tuning=Tuning(added_tokens=UNITS))
    size = len(old.tokenizer)
    assert len(new.tokenizer) == size + 7 == new.model.config.vocab_size
    torch.testing.assert_close(logits(new.model)[..., :size], logits(old.model))
    assert new.fingerprint == old.fingerprint  # that of the LLM that was enlarged
    by_hand = AutoModelForCausalLM.from_pretrained(directory)
    by_hand.resize_token_embeddings(size + 7, mean_resizing=False)
    assert copies(by_hand).keys() == copies(new.model).keys()
    assert [t.shape for t in copies(by_hand).values()] == [
        t.shape for t in copies(new.model).values()
    ]
    tables = new.model.get_input_embeddings().weight, new.model.get_output_embeddings().weight
    assert (tables[0] is tables[1]) == new.model.config.tie_word_embeddings


def test_rows_begin_at_the_mean(directory):
    model = llms.load(directory, tuning=Tuning(added_tokens=UNITS)).model
    for table in (model.get_input_embeddings(), model.get_output_embeddings()):
        mean_D = table.weight[:-7].mean(0)
        torch.testing.assert_close(table.weight[-7:], mean_D.expand(7, -1))


def test_rows_drawn_with_mean_and_covariance_of_the_old_ones(tmp_path):
    tuning = Tuning(added_tokens=unit_names(20_000), row_init="normal", seed=1)
    model = llms.load(save_llm(tmp_path / "llm"), tuning=tuning).model
    for table in (model.get_input_embeddings(), model.get_output_embeddings()):
        old, new = table.weight[:-20_002], table.weight[-20_002:]
        torch.testing.assert_close(new.mean(0), old.mean(0), atol=0.02, rtol=0)
        torch.testing.assert_close(new.T.cov(), old.T.cov(), atol=0.01, rtol=0)
        assert old.T.cov().abs().max() > 0.05


def test_new_rows_depend_on_the_seed_only(directory):
    def rows(seed):
        torch.rand(1)  # the process's own random numbers do not matter
        model = llms.load(directory, tuning=Tuning("lora", UNITS, "normal", seed)).model
        return torch.cat([t.flatten() for t in trained_state(model).values()])

    torch.manual_seed(0)
    first = rows(1)
    after = torch.rand(1)
    assert torch.equal(first, rows(1)) and not torch.equal(first, rows(2))
    torch.manual_seed(0)
    torch.rand(1)
    assert torch.equal(after, torch.rand(1))  # and are not used up


def test_padded_tables_do_not_grow_while_there_is_room(tmp_path):
    directory = save_llm(tmp_path / "llm", padding=10)
    old = llms.load(directory)
    used, rows = len(old.tokenizer), old.model.config.vocab_size
    llm = llms.load(directory, tuning=Tuning("rows", UNITS))
    assert llm.model.config.vocab_size == rows == used + 10
    assert UnitTokens.of(llm.tokenizer) == UnitTokens(used + 2, 5, used, used + 1)
    table = llm.model.get_input_embeddings()
    torch.testing.assert_close(table.rows, table.weight[:used].mean(0).expand(7, -1))
    step(llm, torch.tensor([[1, 300, used + 1, used + 3, 2]]))
    merge(llm.model)
    merged = llm.model.get_input_embeddings().weight
    before = old.model.get_input_embeddings().weight
    same = (merged == before).all(1)
    assert same[:used].all() and not same[used : used + 7].any() and same[used + 7 :].all()
    larger = llms.load(directory, tuning=Tuning(added_tokens=unit_names(30)))
    assert larger.model.config.vocab_size == used + 32


@pytest.mark.parametrize("train", ["all", "lora", "rows"])
def test_only_what_is_asked_for_is_trained(directory, train):
    llm = llms.load(directory, tuning=Tuning(train, UNITS))
    before, size = copies(llm.model), len(llm.tokenizer)
    for _ in range(2):  # LoRA's first matrix moves only when the second is no longer zero
        step(llm, torch.tensor([[1, 300, size - 7, size - 3, size - 6, 2]]))
    frozen, trained = frozen_and_trained(before, llm.model)
    assert trained == trained_state(llm.model).keys()
    if train == "all":
        assert not frozen
    else:
        rows = {name for name in trained if name.endswith(".rows")}
        assert len(rows) == (1 if llm.model.config.tie_word_embeddings else 2)
        assert all(before[name].shape == (7, 16) for name in rows)
        lora = {name for name in trained if ".lora_" in name}
        assert trained == rows | lora
        assert len(lora) == (8 if train == "lora" else 0)  # A, B of q, v in two layers


def test_trained_rows_are_the_ordinary_model(directory):
    """Logits and gradients of the rows beside the table are those of the rows in it."""
    ours = llms.load(directory, tuning=Tuning("rows", UNITS, "normal"))
    plain = llms.load(directory, tuning=Tuning("all", UNITS, "normal"))
    size = len(ours.tokenizer)
    ids = torch.tensor([[1, 300, size - 7, size - 5, size - 1, 2]])
    torch.testing.assert_close(logits(ours.model, ids), logits(plain.model, ids))
    for llm in (ours, plain):
        llm.model(ids, labels=ids).loss.backward()
    for mine, theirs in (
        (ours.model.get_input_embeddings().rows, plain.model.get_input_embeddings().weight),
        (ours.model.get_output_embeddings().rows, plain.model.get_output_embeddings().weight),
    ):
        torch.testing.assert_close(mine.grad, theirs.grad[-7:])
        assert mine.grad.abs().sum() > 0


@pytest.mark.parametrize("train", ["all", "lora", "rows"])
def test_trained_state_and_export(directory, tmp_path, train):
    """Trained, its state into a fresh one, saved: the same logits each time."""
    tuning = Tuning(train, UNITS, "normal")
    llm = llms.load(directory, tuning=tuning)
    size = len(llm.tokenizer)
    ids = torch.tensor([[1, 300, size - 7, size - 5, size - 1, 2]])
    untrained = logits(llm.model, ids)
    for _ in range(2):
        step(llm, ids)
    trained = logits(llm.model, ids)
    assert (trained - untrained).abs().max() > 0.01
    fresh = llms.load(directory, tuning=tuning)
    load_trained_state(fresh.model, trained_state(llm.model))
    torch.testing.assert_close(logits(fresh.model, ids), trained, rtol=0, atol=0)
    llms.save(fresh, tmp_path / "saved")
    merged = logits(fresh.model, ids)
    torch.testing.assert_close(merged, trained, rtol=1e-4, atol=1e-4)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert type(plain) is LlamaForCausalLM
    assert copies(plain).keys() == copies(AutoModelForCausalLM.from_pretrained(directory)).keys()
    torch.testing.assert_close(logits(plain, ids), merged, rtol=0, atol=0)
    assert plain.config.tie_word_embeddings == llm.model.config.tie_word_embeddings
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert tokenizer.convert_tokens_to_ids(list(UNITS)) == list(range(size - 7, size))
    again = llms.load(str(tmp_path / "saved"), tuning=Tuning("rows", UNITS))  # goes on from there
    torch.testing.assert_close(logits(again.model, ids), merged)
    assert len(again.tokenizer) == size


def test_what_is_trained_has_float32(directory):
    llm = llms.load(directory, dtype="bfloat16", tuning=Tuning("lora", UNITS))
    types = {p.dtype for p in llm.model.parameters() if not p.requires_grad}
    assert types == {torch.bfloat16}
    assert {t.dtype for t in trained_state(llm.model).values()} == {torch.float32}
    assert logits(llm.model).dtype == torch.bfloat16


def test_a_real_llama_gains_rows(shared, tmp_path):
    directory = str(shared / "models/stories260k")
    template = "{{ messages[0].content }}"
    llm = llms.load(directory, template, tuning=Tuning("rows", UNITS))
    old, ids = llms.load(directory, template), torch.tensor([[1, 403, 407, 261, 378]])
    torch.testing.assert_close(logits(llm.model, ids)[..., :512], logits(old.model, ids))
    # A row that is the mean has the mean of the logits: the untrained token is never the best.
    torch.testing.assert_close(
        logits(llm.model, ids)[0, -1, 512:], logits(old.model, ids)[0, -1].mean().expand(7)
    )
    llms.save(llm, tmp_path / "saved")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    torch.testing.assert_close(logits(plain, ids), logits(llm.model, ids), rtol=0, atol=0)


def test_the_share_is_reported_in_one_line(directory, caplog):
    with caplog.at_level(logging.INFO):
        llm = llms.load(directory, tuning=Tuning("rows", UNITS))
    (line,) = [record.message for record in caplog.records if "trained" in record.message]
    rows = 7 * 16 * (1 if llm.model.config.tie_word_embeddings else 2)
    total = sum(p.numel() for p in llm.model.parameters())
    assert f"{rows} of {total:,} parameters are trained ({100 * rows / total:.2f} %)" in line


def test_a_state_of_another_tuning_is_refused(directory):
    rank8, rank4 = (
        llms.load(directory, tuning=Tuning("lora", lora_rank=rank)).model for rank in (8, 4)
    )
    with pytest.raises(ValueError, match=r"^8 trained .*lora_A.*\(4, 16\).*\(8, 16\)"):
        load_trained_state(rank8, trained_state(rank4))
    state = trained_state(rank8)
    first = min(state)
    del state[first]
    before = copies(rank8)
    with pytest.raises(ValueError, match=f"^1 trained .*{first}"):
        load_trained_state(rank8, state)
    assert all(torch.equal(before[name], p) for name, p in rank8.named_parameters())


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (("<|audio|>", "</s>"), "1 of 2 tokens.*first: </s>"),
        (("</s>", "<s>"), "2 of 2 tokens.*this order"),
        (("▁cat",), "1 of 1 tokens.*first: ▁cat"),
    ],
)
def test_tokens_that_are_there_already(tmp_path, tokens, message):
    with pytest.raises(ValueError, match=message):
        llms.load(save_llm(tmp_path / "llm"), tuning=Tuning(added_tokens=tokens))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "some"}, "'some' is none of none, all, lora, rows"),
        ({"row_init": "ones"}, "'ones' is none of mean, normal, zero"),
        ({"train": "rows"}, "no token is added"),
        ({"added_tokens": ("a", "b", "a")}, "3 added tokens"),
        ({"train": "lora", "lora_rank": 0}, "rank of 0"),
    ],
)
def test_tuning_that_does_not_exist(options, message):
    with pytest.raises(ValueError, match=message):
        Tuning(**options)


def test_lora_modules_that_the_llm_does_not_have(directory):
    with pytest.raises(ValueError, match="c_attn"):
        llms.load(directory, tuning=Tuning("lora", lora_targets=("c_attn",)))


@pytest.mark.parametrize("make", ["llama2_trained", "llama3_trained", "chatml_trained"])
def test_units_by_ids_and_their_names_as_text(make, tmp_path):
    """A user who types the name of a unit says text, before and after the tokenizer is saved."""
    tokenizer = getattr(chat_llms, make)()
    directory = chat_llms.save_tiny_llm(tmp_path / "llm", tokenizer=tokenizer)
    llm = llms.load(str(directory), tuning=Tuning(added_tokens=UNITS))
    llms.save(llm, tmp_path / "saved")
    for known in (llm.tokenizer, llms.load_tokenizer(str(tmp_path / "saved"))):
        units = UnitTokens.of(known)
        ids = encode(user_prompt("<|a_3|> and <|audio|><|a_0|>"), known, units=units)
        assert max(ids) < units.begin
        assert "<|a_3|> and <|audio|><|a_0|>" in known.decode(ids)
        spoken = encode(user_prompt(Units((3, 0, 3))), known, units=units)
        assert units.decode(spoken) == Units((3, 0, 3))


def test_rows_of_embeddings_that_are_not_plain(tmp_path):
    """Some LLMs scale their embeddings, or have a bias in the output: not replaced row by row."""
    directory = tmp_path / "llm"
    tokenizer = chat_llms.llama2_trained()
    config = PhiConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    PhiForCausalLM(config).save_pretrained(directory)  # it has such a bias
    tokenizer.save_pretrained(directory)
    with pytest.raises(ValueError, match="PhiForCausalLM .*train all of it"):
        llms.load(str(directory), tuning=Tuning("rows", UNITS))
    llm = llms.load(str(directory), tuning=Tuning("all", UNITS))
    assert logits(llm.model).shape[-1] == len(tokenizer) + 7
