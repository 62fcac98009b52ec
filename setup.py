"""`pip install -e .` for an environment of your own; tools/install.sh makes a pinned one.

The ranges come from the versions that tools/requirements.txt pins."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
EXACT = {"espnet", "torch", "torchaudio"}  # Subclassed deeply, or bound to one another.
DEVELOP = "# To develop and test."


def ranges(pins: str) -> list[str]:
    """ "numpy==2.4.6" becomes "numpy>=2.4.6,<3"; those in EXACT stay as they are."""
    found = re.findall(r"^([\w.-]+)==((\d+)\S*)$", pins, re.MULTILINE)
    return [
        f"{name}=={version}" if name in EXACT else f"{name}>={version},<{int(major) + 1}"
        for name, version, major in found
    ]


runtime, develop = (ROOT / "tools/requirements.txt").read_text(encoding="utf-8").split(DEVELOP)
version = re.search(r'__version__ = "(.*)"', (ROOT / "espnet_audiollm/__init__.py").read_text())

setup(
    name="espnet_audiollm",
    version=version[1],
    description="Teach a frozen Llama to hear: ESPnet-style recipes for audio LLMs",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["espnet_audiollm", "espnet_audiollm.*"]),
    package_data={
        "espnet_audiollm": ["**/*.json", "**/*.jinja", "report/**/*.html", "report/**/*.css"]
        + ["report/**/*.js"]
    },
    install_requires=ranges(runtime),
    extras_require={"test": ranges(develop)},
)
