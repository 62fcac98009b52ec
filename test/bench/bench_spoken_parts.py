"""What it costs to speak an answer before it is complete: parts against one piece.

    PYTHONPATH=test python test/bench/bench_spoken_parts.py VOCODER UNITS [--voice NAME]

For the first recordings of a directory of units: how far both waveforms' log mel energies are from
those that the vocoder makes of all units, the step from a part's last sample to the next one as a
share of the largest within 25 ms, and how long it took.
"""

import argparse
import itertools
import time

import torch

from espnet_audiollm.data.spoken_units import SpokenUnits
from espnet_audiollm.data.unit_tables import iter_units, merge_repeats
from espnet_audiollm.infer.speak import load_vocoder
from espnet_audiollm.infer.voices import Voices
from espnet_audiollm.model.frontend import Filterbank
from espnet_audiollm.model.griffin_lim import waveform
from espnet_audiollm.types import SAMPLE_RATE

QUIET = -12.0  # log mel energy below which differences do not count
NEAR = SAMPLE_RATE // 40


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vocoder")
    parser.add_argument("units")
    parser.add_argument("--voice")
    parser.add_argument("--number", type=int, default=50, help="of recordings")
    args = parser.parse_args(argv)
    voices = Voices.of(load_vocoder(args.vocoder), False, args.voice, None)
    rows = [compare(voices, row) for row in itertools.islice(iter_units(args.units), args.number)]
    found = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
    found["largest joint"] = max(row["joint"] for row in rows)
    for name, value in found.items():
        print(f"{name:<14}{value:10.3f}")
    return found


def compare(voices, row):
    """The figures of one recording."""
    units, bank = row.frames, Filterbank()
    began = time.monotonic()
    speaker, parts, first = voices.speaker(), [], None
    for unit in units:
        speaker.add(unit)
        if speaker.ready:
            parts.append(torch.from_numpy(speaker.part()))
            first = first or time.monotonic() - began
    parts.append(torch.from_numpy(speaker.rest()))
    grown = time.monotonic() - began
    merged, durations = merge_repeats(units)
    voice_1D = voices.vocoder.voices([voices.names.index(voices.default)])
    began = time.monotonic()
    [mel_FM] = voices.vocoder.mel([SpokenUnits("", tuple(merged), tuple(durations))], voice_1D)
    whole_N = waveform(mel_FM, bank)
    seconds = time.monotonic() - began
    joined_N = torch.cat(parts)
    return {
        "seconds": len(joined_N) / SAMPLE_RATE,
        "parts": len(parts),
        "mel of whole": apart(whole_N, mel_FM, bank),
        "mel of parts": apart(joined_N, mel_FM, bank),
        "joint": max((step_at(joined_N, end) for end in ends(parts)), default=0.0),
        "first sound s": first or grown,
        "parts s": grown,
        "whole s": seconds,
    }


def apart(wave_N, mel_FM, bank):
    """Mean deviation of a waveform's log mel energies."""
    made_FM = bank(wave_N[None], torch.tensor([len(wave_N)]))[0][0]
    return float((made_FM.clamp(min=QUIET) - mel_FM.clamp(min=QUIET)).abs().mean())


def ends(parts):
    """Where parts but the last end, in samples; the first ones may be empty."""
    return [end for end in itertools.accumulate(map(len, parts[:-1])) if end]


def step_at(wave_N, end):
    """The step at a joint, as a share of the largest step of 25 ms on both sides."""
    steps_N = wave_N.diff().abs()
    near_N = torch.cat([steps_N[max(0, end - NEAR) : end - 1], steps_N[end : end + NEAR]])
    return float(steps_N[end - 1] / near_N.max().clamp(min=1e-4))


if __name__ == "__main__":
    main()
