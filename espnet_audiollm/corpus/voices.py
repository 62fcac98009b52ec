"""Which of espeak-ng's voices speak a corpus: no test voice is in the training data.

How the variants were chosen: each of espeak-ng's 104 said three sentences; its log-mel picture,
aligned in time, was correlated with the plain voice's. Left out: those under 0.69 (from "zac",
0.36, to "david", 0.66; "Demonic" and "whisperf" are among them), those that change the speed by
themselves ("pedro"), whisper, croak, klatt and the robots, and those with breath ("f2"), whose
noise is another every second: the corpus should be the same in every run. Test voices are spread
over the range that is left (0.78 to 0.95).
"""

from __future__ import annotations

import random

from .tts import Voice

ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland")
TEST_VARIANTS = "f1 Reed adam quincy rob Gene ed m4 m5 paul Denis".split()
TRAIN_VARIANTS = (
    "f4 m1 m2 m3 m6 m7 m8 linda belinda steph steph2 steph3 grandma announcer aunty "
    "norbert Michael mike2 boris iven iven2 iven3 iven4 benjamin edward Andy Mario robert "
    "pablo Hugo Henrique Nguyen miguel Diogo Tweaky michel Mike grandpa max Alex john"
).split()
SPEEDS = (140, 200)  # words per minute; espeak-ng's own choice is 175
PITCHES = (30, 70)  # the voice's own is 50


def any_voice(rng: random.Random, test: bool) -> Voice:
    """A random accent, variant, speed and pitch; `test`: of the test voices."""
    return Voice(
        f"{rng.choice(ACCENTS)}+{rng.choice(TEST_VARIANTS if test else TRAIN_VARIANTS)}",
        speed=rng.randint(*SPEEDS),
        pitch=rng.randint(*PITCHES),
    )


def speaker_of(voice: Voice) -> str:
    """The voice's name as a speaker: without the "+"."""
    return voice.name.replace("+", "_")
