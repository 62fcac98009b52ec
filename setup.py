"""The dependencies that pyproject.toml leaves open: tools/requirements.txt owns all versions.

pip by itself takes ESPnet with all that it requires, some of which is compiled; tools/install.sh
leaves that out."""

import re
from pathlib import Path

from setuptools import setup

PINS = Path(__file__).parent / "tools/requirements.txt"
EXACT = {"espnet", "torch", "torchaudio"}  # Subclassed deeply, or bound to one another.
SECTIONS = ("# To develop and test.", "# To build the documentation.")


def ranges(pins: str) -> list[str]:
    """ "numpy==2.4.6" becomes "numpy>=2.4.6,<3"; those in EXACT stay as they are."""
    found = re.findall(r"^([\w.-]+)==((\d+)\S*)$", pins, re.MULTILINE)
    return [
        f"{name}=={version}" if name in EXACT else f"{name}>={version},<{int(major) + 1}"
        for name, version, major in found
    ]


runtime, test, docs = map(ranges, re.split("|".join(SECTIONS), PINS.read_text(encoding="utf-8")))
setup(install_requires=runtime, extras_require={"test": test, "docs": docs})
