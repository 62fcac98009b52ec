"""bfloat16 on a processor: only where its own instructions do it."""

import os
import subprocess
import sys

import pytest
import torch

from espnet_audiollm.train.precision import cpu_has_bfloat16

ASK = """
import torch
from espnet_audiollm.train.precision import cpu_has_bfloat16
print(cpu_has_bfloat16(), torch.backends.cpu.get_cpu_capability())
"""


@pytest.mark.parametrize("capability", ["avx2", "default"])
def test_a_processor_that_hides_its_instructions_has_none(capability):
    env = os.environ | {"ATEN_CPU_CAPABILITY": capability}
    found = subprocess.run([sys.executable, "-c", ASK], env=env, capture_output=True, text=True)
    assert found.stdout.split() == ["False", capability.upper()], found.stderr


def test_the_flags_of_the_processor_decide():
    with open("/proc/cpuinfo") as cpuinfo:
        flags = next((line for line in cpuinfo if line.startswith("flags")), "").split()
    seen = torch.backends.cpu.get_cpu_capability() == "AVX512"
    assert cpu_has_bfloat16() == (seen and "avx512_bf16" in flags)
