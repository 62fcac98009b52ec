"""Log mel energies of recordings, and back to a waveform by Griffin-Lim: what a vocoder that makes
the true mel energies would sound like. A ceiling for bin/judge_speech."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from ..data.kaldi_dir import load_utterances, write_data_dir
from ..progress import progress
from ..types import Utterance
from .add_noise import recording
from .cli import user_errors


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="directory of stage 2, e.g. dump/test")
    parser.add_argument("--output", required=True, help="data directory to make")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Make the data directory."""
    args = get_parser().parse_args(argv)
    utterances = load_utterances(args.data)
    made = [resynthesised(utt, args.output) for utt in progress(utterances, len(utterances), "mel")]
    write_data_dir(args.output, made)
    print(f"{args.output}: {len(made)} recordings, from their log mel energies")
    return 0


def resynthesised(utt: Utterance, output: str) -> Utterance:
    """Write one recording again."""
    import torch

    from ..data.audio import read_mono_16k, write_audio
    from ..model.frontend import Filterbank
    from ..model.griffin_lim import waveform

    samples = torch.from_numpy(read_mono_16k(utt.audio))
    filterbank = Filterbank()
    mel_BFM, _ = filterbank(samples[None], torch.tensor([len(samples)]))
    path = f"{output}/{recording(utt.id)}"
    write_audio(Path(path), waveform(mel_BFM[0], filterbank).numpy())
    return replace(utt, audio=path)


if __name__ == "__main__":
    sys.exit(main())
