#!/usr/bin/env python3
"""CoVoST 2, speech translation, as Kaldi data directories.

The translations are covost_v2.{src}_{tgt}.tsv (columns path, translation, split; the rows
"train_covost" belong to train), downloaded here; the clips and their sentences are Common Voice's,
{src}/validated.tsv and {src}/clips, of the release of 2019-12-10 (version 4) by which CoVoST was
made. Besides Kaldi's tables each directory gets `translation`, the reference of BLEU and chrF.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import common_voice
from espnet_audiollm.corpus import prepare as corpus
from espnet_audiollm.corpus.download import fetch

URL = "https://dl.fbaipublicfiles.com/covost/covost_v2.{}.tsv.tar.gz"
WHERE = "the clips are Common Voice's, https://commonvoice.mozilla.org/datasets"
SPLITS = ("train", "dev", "test")
MARK = re.compile(r"\[?(TO )?(REMOVED?|REJECT)\]?", re.IGNORECASE)  # a translator's, of a bad clip
FROM_ENGLISH = "de tr fa sv-SE mn zh-CN cy ca sl et id ar ta lv ja".split()
PUBLISHED = {  # {src}_{tgt}: train, dev, test
    **{f"en_{lang}": (289_430, 15_531, 15_531) for lang in FROM_ENGLISH},
    "fr_en": (207_374, 14_760, 14_760),
    "de_en": (127_834, 13_511, 13_511),
    "es_en": (79_015, 13_221, 13_221),
    "ca_en": (95_854, 12_730, 12_730),
    "it_en": (31_698, 8_940, 8_951),
    "ru_en": (12_112, 6_110, 6_300),
    "zh-CN_en": (7_085, 4_843, 4_898),
    "pt_en": (9_158, 3_318, 4_023),
    "fa_en": (53_949, 3_445, 3_445),
    "et_en": (1_782, 1_576, 1_571),
    "mn_en": (2_067, 1_761, 1_759),
    "nl_en": (7_108, 1_699, 1_699),
    "tr_en": (3_966, 1_624, 1_629),
    "ar_en": (2_283, 1_758, 1_695),
    "sv-SE_en": (2_160, 1_349, 1_595),
    "lv_en": (2_337, 1_125, 1_629),
    "sl_en": (1_843, 509, 360),
    "ta_en": (1_358, 384, 786),
    "ja_en": (1_119, 635, 684),
    "id_en": (1_243, 792, 844),
    "cy_en": (1_241, 690, 690),
}


def get_parser() -> argparse.ArgumentParser:
    parser = corpus.get_parser(__doc__, "covost_v2.*_*.tsv ('': download)")
    parser.add_argument("--commonvoice", default="", help="directory of the Common Voice release")
    parser.add_argument("--pair", default="fr_en", help="languages of speech and translation")
    parser.add_argument("--text", choices=common_voice.TEXTS, default="written")
    parser.add_argument("output", type=Path, help="where train, valid and test go")
    return parser


def translations(table: Path, faults: corpus.Faults) -> dict[str, dict[str, dict[str, str]]]:
    """{split: {clip: {"translation": text}}}; a text may be empty, or a translator's mark."""
    found: dict[str, dict[str, dict[str, str]]] = {split: {} for split in SPLITS}
    for row in corpus.read_columns(table, ("path", "translation", "split"), faults):
        split = "train" if row["split"] == "train_covost" else row["split"]
        if split not in found:
            continue  # dev_covost and test_covost: what the first CoVoST had beyond these
        if row["path"] in found[split]:
            faults.add(table, corpus.TWICE, row["path"])
        else:
            translation = corpus.one_line(common_voice.unquote(row["translation"]))
            found[split][row["path"]] = {"translation": translation}
    return found


def entries(
    clips: Path,
    table: Path,
    found: Mapping[str, dict[str, str]],
    text: str,
    faults: corpus.Faults,
) -> Iterator[corpus.Entry]:
    """The clips of a split, {clip: {"translation": text}} of the table, with their translations;
    those that have none are left out."""
    kept = {}
    for name, lines in found.items():
        if not lines["translation"]:
            faults.leave_out(table, "clips without a translation", name)
        elif MARK.fullmatch(lines["translation"]):
            faults.leave_out(table, "translations that are only a translator's mark", name)
        else:
            kept[name] = lines
    yield from common_voice.translated(clips, kept, text, faults)


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    pair = args.pair
    if pair not in PUBLISHED:
        raise ValueError(f"CoVoST 2 has no --pair {pair}; it has {', '.join(PUBLISHED)}")
    release = corpus.directory_of("commonvoice", args.commonvoice, WHERE)
    clips = common_voice.language_directory(release, pair.partition("_")[0])
    if args.corpus:
        root = corpus.directory_of("covost2", args.corpus)
    else:
        url = URL.format(pair)
        root = fetch(url, args.downloads, args.downloads / f"covost_v2.{pair}", inside="")
    faults = corpus.Faults("get the files again, of Common Voice its version 4", args.subset)
    table = corpus.existing(root, f"covost_v2.{pair}.tsv")
    found = translations(table, faults)
    names = {"train": "train", "dev": "valid", "test": "test"}
    places = {split: str(args.output / name) for split, name in names.items()}
    splits = {
        place: entries(clips, table, found[split], args.text, faults)
        for split, place in places.items()
    }
    counts = dict(zip(SPLITS, PUBLISHED[pair], strict=True))
    corpus.write_splits(splits, faults, {(places[split],): counts[split] for split in SPLITS})
    return 0


if __name__ == "__main__":
    sys.exit(main())
