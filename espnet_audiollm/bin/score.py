"""Stage 11: score the systems of stage 10 and write the tables, the pictures and the report."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from .cli import user_errors


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="score",
        description="Score system directories; write RESULTS.md, results.json, report.html and "
        "images/ under --output, and print the table. For several test sets give --data (and "
        "--references) once for each; a system says in its system.json, or by the name of its "
        "parent directory (respond_<test set>), which one it belongs to.",
    )
    parser.add_argument("systems", nargs="+", metavar="SYSTEM_DIR", help="left by stage 10")
    parser.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="DIR",
        help="dump/<test set>: text, answers, category, utt2dur if any",
    )
    parser.add_argument(
        "--references",
        action="append",
        default=[],
        metavar="DIR",
        help="its response store (default: DATA/responses)",
    )
    parser.add_argument("--recipe", required=True, help="name of the recipe, for the reports")
    parser.add_argument("--llm", required=True, help="the LLM, for the reports")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument(
        "--train_dirs",
        nargs="*",
        action="extend",
        default=[],
        metavar="DIR",
        help="experiments whose train.log gives a loss curve (end with --)",
    )
    parser.add_argument(
        "--command", metavar="STRING", help="the command RESULTS.md opens with (default: this one)"
    )
    parser.add_argument("--resamples", type=int, default=2000, help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    from ..atomic import remove_asides
    from ..score import html, report
    from ..score.results import score

    everything = [
        score(test_set, systems, args.resamples, args.seed)
        for test_set, systems in _read(args.data, args.references, args.systems)
    ]
    output = Path(args.output)
    remove_asides(output, "results*.json", "RESULTS.md", "report.html")
    remove_asides(output / "images", "*.png")
    images = _draw(everything, args.data, args.train_dirs, output / "images")
    made = report.origin(args.command or _command(argv), args.recipe, args.llm)
    relative = [image.relative_to(output).as_posix() for image in images]
    _write(output / "report.html", html.page(everything, made, images))
    _write(output / "RESULTS.md", report.markdown(everything, made, relative))
    _write_json(output, [results.as_dict(args.recipe, args.llm) for results in everything])
    print(report.screen(everything))
    print(f"\nwritten: {output}/RESULTS.md, results.json, report.html, images/")
    return 0


def _read(data: list[str], references: list[str], directories: list[str]) -> list[tuple]:
    """(test set, its systems) for each data directory."""
    from ..score.systems import read_system

    if references and len(references) != len(data):
        raise ValueError(
            f"{len(data)} --data but {len(references)} --references; give one for each, or none"
        )
    stores = references or [f"{directory}/responses" for directory in data]
    names = [Path(directory).name for directory in data]
    systems = [read_system(directory, names) for directory in directories]
    return [
        (_test_set(Path(directory), store), [s for s in systems if s.test_set == name])
        for directory, store, name in zip(data, stores, names, strict=True)
    ]


def _test_set(data: Path, store: str):
    from ..data.kaldi_dir import read_dict
    from ..score.results import TestSet
    from ..score.systems import read_references

    if not data.is_dir():
        raise ValueError(f"{data}: there is no such data directory; run stages 1 and 2 first")
    optional = [
        read_dict(data / file) if (data / file).is_file() else None
        for file in ("text", "answers", "category")
    ]
    return TestSet(data.name, read_references(store), *optional)


def _draw(everything: list, data: list[str], train_dirs: list[str], images: Path) -> list[Path]:
    """Write the pictures; their paths in the order of the report."""
    from ..score.curves import plot_losses, plot_perplexity, read_losses

    drawn = []
    for number, results in enumerate(everything):
        name = "ppl_vs_wer.png" if number == 0 else f"ppl_vs_wer.{results.test_set.name}.png"
        drawn.append(_save(plot_perplexity(results), images / name))
    if train_dirs:
        losses = [read_losses(directory) for directory in train_dirs]
        drawn.append(_save(plot_losses(losses), images / "loss_curves.png"))
    for results, directory in zip(everything, data, strict=True):
        drawn += _draw_similarities(results, Path(directory), images)
    return drawn


def _draw_similarities(results, data: Path, images: Path) -> list[Path]:
    from ..data.kaldi_dir import read_dict
    from ..score.similarity import picture_name, plot_similarity, read_embeddings

    by_id: dict[str, list] = {}
    for row in results.rows:
        if row.system.embeddings is not None:
            for id, embeddings in read_embeddings(row.system.embeddings).items():
                by_id.setdefault(id, []).append((row.system.label, embeddings))
    durations = read_dict(data / "utt2dur") if by_id and (data / "utt2dur").is_file() else {}
    return [
        _save(
            plot_similarity(systems, float(durations[id]) if id in durations else None),
            images / picture_name(id),
        )
        for id, systems in by_id.items()
    ]


def _save(figure, path: Path) -> Path:
    from ..atomic import atomic_write
    from ..score.curves import save

    with atomic_write(path, "wb") as out:
        save(figure, out)
    return path


def _write(path: Path, text: str) -> None:
    from ..atomic import atomic_write

    with atomic_write(path) as out:
        out.write(text)


def _write_json(output: Path, items: list[dict]) -> None:
    """results.json of the first test set; where there are several, results.<name>.json of each."""

    def text(item: dict) -> str:
        return json.dumps(item, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    if len(items) > 1:
        for item in items:
            _write(output / f"results.{item['test_set']}.json", text(item))
    _write(output / "results.json", text(items[0]))


def _command(argv: list[str] | None) -> str:
    arguments = sys.argv[1:] if argv is None else argv
    return shlex.join(["python", "-m", "espnet_audiollm.bin.score", *arguments])


if __name__ == "__main__":
    sys.exit(main())
