"""Stage 6: transcripts of a test set from one CTC checkpoint, and their word error rate."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .cli import user_errors


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--exp", required=True, help="experiment of stage 5, e.g. exp/ctc")
    parser.add_argument("--checkpoint", default="valid.loss.ave.pth", help="file in --exp")
    parser.add_argument("--data", required=True, help="e.g. dump/test")
    parser.add_argument("--output", required=True, help="directory for hyp and wer.json")
    parser.add_argument("--bpemodel", help="SentencePiece model (the one trained with)")
    parser.add_argument("--batch_seconds", type=float, default=120.0, help="audio in one batch (s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    from ..atomic import atomic_write
    from ..data.kaldi_dir import load_utterances, write_table
    from ..score.wer import word_errors

    utterances = load_utterances(args.data)
    hyps = recognise(args, utterances)
    output = Path(args.output)
    references = {utt.id: utt.text for utt in utterances if utt.text is not None}
    write_table(output / "hyp", hyps.items())
    if references:
        errors = word_errors(references, hyps)
        with atomic_write(output / "wer.json") as out:
            json.dump({"checkpoint": args.checkpoint, **errors.as_dict()}, out, indent=2)
        print(f"{output}: WER {errors.rate:.2f} % ({errors.errors} / {errors.reference_words})")
    return 0


def recognise(args: argparse.Namespace, utterances) -> dict[str, str]:
    from sentencepiece import SentencePieceProcessor

    from ..infer.recognise import transcribe
    from ..progress import progress
    from ..tasks.ctc import CTCTask
    from ..tasks.loading import load_weights, read_config

    config = read_config(args.exp)
    model = CTCTask.build_model(config).to(args.device)
    load_weights(model, Path(args.exp) / args.checkpoint, args.device)
    processor = SentencePieceProcessor(model_file=args.bpemodel or config.bpemodel)
    batches = transcribe(
        model, processor.decode_pieces, utterances, args.batch_seconds, args.device
    )
    return {
        id_: text
        for batch in progress(batches, len(utterances), "ctc_decode", size=len)
        for id_, text in batch
    }


if __name__ == "__main__":
    sys.exit(main())
