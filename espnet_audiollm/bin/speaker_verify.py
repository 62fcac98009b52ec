"""Test a speaker encoder on speakers that it did not learn from: equal error rate and minDCF of
pairs of recordings, with intervals over speakers.

Pairs are those of --trials ("1 ID ID": one speaker, "0 ID ID": two), or all of --data, or as many
as --number, half of them of one speaker."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..data.kaldi_dir import existing, load_utterances
from ..data.trials import Trial, check_trials, draw_trials, read_trials
from ..store.atomic import atomic_write
from ..store.json_files import write_json
from ..types import Utterance
from .cli import AVERAGE, add_bootstrap_options, add_flag, check_bootstrap, new_parser, user_errors

RESULTS, SCORES = "verification.json", "scores"


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--exp", required=True, help="experiment of bin/speaker_train")
    add("--checkpoint", default=AVERAGE, help="file in --exp")
    add("--data", required=True, help="data directory of unseen speakers, with utt2spk")
    add("--trials", help="file of pairs of these recordings")
    add("--number", type=int, default=20_000, help="of pairs at most, where no --trials are given")
    add("--p_target", type=float, default=0.01, help="share of pairs of one speaker, in minDCF")
    add_flag(parser, "--seen_speakers", "true: speakers of the training are tested, too")
    add("--output", required=True, help=f"directory for {RESULTS} and {SCORES}")
    add("--device", default="cpu", help="cpu or cuda")
    add_bootstrap_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Score the pairs and print the error rates."""
    args = get_parser().parse_args(argv)
    check(args)
    existing(Path(args.data) / "utt2spk")
    utterances = load_utterances(args.data)
    speakers = {utt.id: utt.speaker for utt in utterances}
    trials = trials_of(args, speakers)
    from ..infer.speaker import load_speaker_encoder

    encoder = load_speaker_encoder(args.exp, args.checkpoint, args.device)
    if args.seen_speakers != "true":
        check_unseen(args.data, speakers.values(), encoder.speakers)
    scores = scores_of(encoder, trials, utterances)
    from ..score.verification import verify

    pairs = [(speakers[trial.first], speakers[trial.second]) for trial in trials]
    same = [trial.same for trial in trials]
    found = verify(scores, same, pairs, args.p_target, args.resamples, args.seed)
    write(Path(args.output), trials, scores, {**found.as_dict(), "encoder": encoder.fingerprint})
    print(
        f"EER {found.eer:.1f} % [{found.eer_ci95[0]:.1f}, {found.eer_ci95[1]:.1f}], minDCF "
        f"{found.min_dcf:.3f} [{found.min_dcf_ci95[0]:.3f}, {found.min_dcf_ci95[1]:.3f}] (p_target "
        f"{found.p_target:g}): {found.trials} pairs, {found.targets} of one speaker; "
        f"{found.speakers} speakers"
    )
    return 0


def check(args: argparse.Namespace) -> None:
    """ValueError: options that cannot be."""
    check_bootstrap(args)
    if args.number < 2:
        raise ValueError(f"--number {args.number}: give 2 or more")
    if not 0 < args.p_target < 1:
        raise ValueError(f"--p_target {args.p_target:g}: give a share between 0 and 1")


def trials_of(args: argparse.Namespace, speakers: dict[str, str]) -> list[Trial]:
    """Those of the file, or drawn ones.

    Errors (ValueError): one speaker; those of reading them."""
    if len(set(speakers.values())) < 2:
        raise ValueError(
            f"{args.data}/utt2spk has 1 speaker (first recording: {min(speakers)}): give at least "
            "2, with several recordings each"
        )
    if not args.trials:
        return draw_trials(speakers, args.number, args.seed)
    trials = read_trials(args.trials)
    check_trials(trials, speakers, args.trials)
    return trials


def check_unseen(data: str, speakers, seen: Sequence[str]) -> None:
    """ValueError: speakers of the training."""
    names = sorted(set(speakers))
    if known := [name for name in names if name in set(seen)]:
        raise ValueError(
            f"{data}: {len(known)} of {len(names)} speakers (first: {known[0]}) are in the "
            "encoder's training: give unseen ones (utils/data/split_by_speaker.py), or "
            "--seen_speakers true"
        )


def scores_of(encoder, trials: list[Trial], utterances: list[Utterance]) -> list[float]:
    """Cosines of the pairs."""
    from ..infer.speaker import cosine, embed_recordings

    needed = {id_ for trial in trials for id_ in (trial.first, trial.second)}
    found = embed_recordings(encoder, [utt for utt in utterances if utt.id in needed])
    scores = [cosine(found[trial.first], found[trial.second]) for trial in trials]
    return [score for score in scores if score is not None]


def write(output: Path, trials: list[Trial], scores: list[float], found: dict) -> None:
    """`scores`: lines of trials with their cosines; then the results."""
    with atomic_write(output / SCORES) as out:
        for trial, score in zip(trials, scores, strict=True):
            out.write(f"{int(trial.same)} {trial.first} {trial.second} {score:.6f}\n")
    write_json(output / RESULTS, found)


if __name__ == "__main__":
    sys.exit(main())
