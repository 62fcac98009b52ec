"""SentencePiece vocabularies and the token list ESPnet trains with."""

from __future__ import annotations

import hashlib
import io
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..store.atomic import atomic_write

MAX_BYTES = 32_000_000  # of text (6 million words): SentencePiece takes 20 bytes of memory for each
META_PIECES = ("<unk>", "<s>", "</s>")  # SentencePiece's own, replaced by ESPnet's


def train_pieces(
    lines: Iterable[str], vocab_size: int, model_type: str, directory: str | Path
) -> bool:
    """Learn a vocabulary; write bpe.model, then tokens.txt, then the marker .learned.

    `vocab_size` counts as ESPnet's nbpe does: the entries of tokens.txt, in its order `<blank>`,
    `<unk>`, pieces, `<sos/eos>`. `model_type` is "unigram" or "bpe". The same lines give the same
    files (one thread; of more than MAX_BYTES, evenly spaced lines are taken). `lines` are gone
    through more than once, and never held.
    Returns False, with nothing done, when the directory holds this very vocabulary already.
    Raises ValueError, with the limit that works, when the text does not fit the size."""
    directory = Path(directory)
    size, key = _fingerprint(lines, vocab_size, model_type)
    if not size:
        raise ValueError("there is no text to learn a vocabulary from: run stage 2 again")
    marker = directory / ".learned"
    if marker.is_file() and marker.read_text().strip() == key:
        return False
    step = -(-size // MAX_BYTES)
    model = _train(itertools.islice(_with_words(lines), 0, None, step), vocab_size, model_type)
    marker.unlink(missing_ok=True)
    with atomic_write(directory / "bpe.model", "wb") as out:
        out.write(model)
    with atomic_write(directory / "tokens.txt") as out:
        out.writelines(f"{token}\n" for token in token_list(model))
    with atomic_write(marker) as out:
        out.write(key + "\n")
    return True


def token_list(model: bytes) -> list[str]:
    """ESPnet's token list of a serialised SentencePiece model."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    return ["<blank>", "<unk>", *(p for p in pieces if p not in META_PIECES), "<sos/eos>"]


def _train(lines: Iterable[str], vocab_size: int, model_type: str) -> bytes:
    import sentencepiece

    model, number = io.BytesIO(), itertools.count()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(line for line, _ in zip(lines, number, strict=False)),
            model_writer=model,
            vocab_size=vocab_size,
            model_type=model_type,
            character_coverage=1.0,
            max_sentence_length=1_000_000,  # bytes: no transcript is left out unsaid
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(_explain(str(error), vocab_size, next(number))) from error
    return model.getvalue()


def _explain(error: str, vocab_size: int, lines: int) -> str:
    most = re.search(r"size too high .* <= (\d+)", error)
    if most:
        return (
            f"a vocabulary of {vocab_size} pieces is too large for this text of {lines} lines: "
            f"the largest that works is {most[1]}; set --vocab_size {most[1]} or less"
        )
    least = re.search(r"smaller than required_chars\. \d+ vs (\d+)", error)
    if least:
        return (
            f"a vocabulary of {vocab_size} pieces is too small for the characters of this text: "
            f"set --vocab_size {least[1]} or more"
        )
    return f"SentencePiece cannot learn {vocab_size} pieces from this text: {error}"


def _with_words(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if line.strip())


def _fingerprint(lines: Iterable[str], vocab_size: int, model_type: str) -> tuple[int, str]:
    """The bytes of all lines with words, and a hash of these and of the options."""
    size, digest = 0, hashlib.sha256(f"{model_type} {vocab_size}\n".encode())
    for line in _with_words(lines):
        text = line.encode() + b"\n"
        size += len(text)
        digest.update(text)
    return size, digest.hexdigest()
