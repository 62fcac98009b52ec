"""Small tokenizers and LLMs in the three chat forms that recipes meet, for tests.

The templates are minimal ones that give the published formats; the tokenizers are made here.
"""

import random

import torch
from tiny_models import LLAMA, random_llama
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from espnet_audiollm.model import llm as llms

LLAMA2 = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set turns = messages[1:] %}{% else %}{% set turns = messages %}{% endif %}"
    "{% for turn in turns %}"
    "{% if (turn.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and assistant must take turns') }}{% endif %}"
    "{% if turn.role == 'user' %}{{ bos_token + '[INST] ' }}"
    "{% if loop.first and system is defined %}"
    "{{ '<<SYS>>\n' + system + '\n<</SYS>>\n\n' }}{% endif %}"
    "{{ turn.content | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + turn.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
# The paper: prefix = "<s>[INST] <<SYS>>\n\n<</SYS>>\n\n", suffix = " [/INST]"; these are the ids
# that Llama-2's tokenizer gives them.
LLAMA2_BEGIN = [1, 518, 25580, 29962]  # "<s>[INST]"
LLAMA2_PREFIX = [*LLAMA2_BEGIN, 3532, 14816, 29903, 6778, 13, 13]
LLAMA2_PREFIX += [29966, 829, 14816, 29903, 6778, 13, 13]
LLAMA2_SUFFIX = [518, 29914, 25580, 29962]
LLAMA3 = (
    "{{ bos_token }}{% for turn in messages %}"
    "{{ '<|start_header_id|>' + turn.role + '<|end_header_id|>\n\n' }}"
    "{{ turn.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
CHATML = (
    "{% for turn in messages %}"
    "{{ '<|im_start|>' + turn.role + '\n' + turn.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CORPUS = [
    "the cat sat on the mat and the dog ran to the park",
    "what is the capital of france ? the capital of france is paris .",
    "Hello there , how are you today ? I am fine , thank you .",
    "user assistant system user assistant system",
    "[INST] <<SYS>> <</SYS>> [/INST]",
    "user\n\nassistant\n\nsystem\n\n",
] * 4

_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def llama2_published():
    """The part of Llama-2's vocabulary that its prompt needs, under the published ids."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {name: 3 + i for i, name in enumerate(_BYTES)}
    vocab |= {"▁[": 518, "▁<": 529, "</": 829, "▁<<": 3532, ">>": 6778, "SY": 14816}
    vocab |= {"INST": 25580, "▁": 29871, "[": 29961, "]": 29962, "/": 29914, "<": 29966}
    vocab |= {">": 29958, "S": 29903, "Y": 29979, "I": 29902, "N": 29940, "T": 29911}
    vocab |= {"IN": 1177, "ST": 1254, "Hello": 10994, "▁Hello": 15043, "H": 29950, "He": 3868}
    vocab |= {"e": 29872, "l": 29880, "o": 29877, "ll": 645, "Hell": 31000, "a": 29874}
    merges = "< /,▁ [,▁ <,> >,S Y,I N,S T,IN ST,▁< <,l l,H e,He ll,Hell o,▁ Hello"
    pairs = [tuple(merge.split(" ")) for merge in merges.split(",")]
    model = BPE(vocab, pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    return _fast(_spaces_prepended(Tokenizer(model)), LLAMA2, bos="<s>", eos="</s>")


def llama2_trained(prefix_space="normalizer"):
    """A SentencePiece-like BPE with byte fallback.

    prefix_space: how a piece of text gets its first space: "normalizer" (Llama-2's own
    tokenizer.json), or the scheme of Metaspace: "always" or "first"."""
    tokenizer = Tokenizer(BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    special = ["<unk>", "<s>", "</s>", *_BYTES]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer = _without_special_bytes(tokenizer)
    if prefix_space == "normalizer":
        tokenizer = _spaces_prepended(tokenizer)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prefix_space, split=False)
        tokenizer.decoder = _sentencepiece_decoder()
    return _fast(tokenizer, LLAMA2, bos="<s>", eos="</s>")


def llama3_trained():
    """Byte-level BPE with Llama-3's way to split text into words."""
    words = (
        r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    split = pre_tokenizers.Split(Regex(words), behavior="isolated")
    special = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer = _byte_level(split, special)
    return _fast(tokenizer, LLAMA3, bos="<|begin_of_text|>", eos="<|eot_id|>")


def chatml_trained():
    """Byte-level BPE as GPT-2's."""
    tokenizer = _byte_level(None, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return _fast(tokenizer, CHATML, bos=None, eos="<|im_end|>")


def tiny_llama(vocab_size, seed=0, dtype=torch.float32, context=512, layers=2, **sizes):
    sizes = dict(max_position_embeddings=context, num_hidden_layers=layers) | sizes
    return random_llama(vocab_size, seed, dtype, **sizes)


def tiny_windowed_llm(window):
    """In fp64; its layers attend to so many positions."""
    tokenizer = llama2_trained()
    torch.manual_seed(0)
    config = MistralConfig(vocab_size=len(tokenizer), sliding_window=window, **LLAMA)
    model = MistralForCausalLM(config).double().eval().requires_grad_(False)
    return llms.wrap(model, tokenizer, "windowed")


def write_texts(directory, number, longest):
    """A table `text` of so many transcripts utt00 ..., of 1 to `longest` words."""
    rng = random.Random(0)
    words = "the cat sat on mat and dog ran to park what is capital of france paris".split()
    texts = (" ".join(rng.choices(words, k=rng.randint(1, longest))) for _ in range(number))
    (directory / "text").write_text("".join(f"utt{i:02d} {text}\n" for i, text in enumerate(texts)))
    return directory


def by_transformers(llm, prompt, limit, beam=1):
    """The ids that transformers' own generation answers to `prompt` with, `limit` at most."""
    ids = llm.model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=limit,
        num_beams=beam,
        do_sample=False,
        eos_token_id=list(llm.eos_ids),
        pad_token_id=llm.eos_ids[0],
    )
    return tuple(ids[0, len(prompt) :].tolist())


def save_tiny_llm(directory, seed=0, tokenizer=None, context=512, many_ends=True, **sizes):
    """A directory as --llm takes it. many_ends: every tenth token ends a turn, so that random
    weights give short and long answers."""
    tokenizer = tokenizer or llama2_trained()
    model = tiny_llama(len(tokenizer), seed, context=context, **sizes)
    if many_ends:
        model.generation_config.eos_token_id = [2, *range(260, len(tokenizer), 10)]
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _spaces_prepended(tokenizer):
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = _sentencepiece_decoder()
    return tokenizer


def _sentencepiece_decoder():
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])


def _without_special_bytes(tokenizer):
    """The same model, in which the byte tokens are no added tokens."""
    import json

    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][:3]
    return Tokenizer.from_str(json.dumps(state))


def _byte_level(split, special):
    tokenizer = Tokenizer(BPE())
    steps = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, *steps] if split else steps)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=special,
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _fast(tokenizer, template, bos, eos):
    special = [AddedToken(token, special=True, normalized=False) for token in (bos, eos) if token]
    tokenizer.add_special_tokens(special)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos)
    fast.chat_template = template
    return fast
