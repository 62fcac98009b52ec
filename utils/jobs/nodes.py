"""Where this node stands among those of the job, and where their processes meet."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from .contract import UserError

PLACES = re.compile(  # what torchrun gives to its processes, and reads itself (PET_)
    r"(LOCAL_|GROUP_|ROLE_|NODE_)?RANK|(LOCAL_|GROUP_|ROLE_)?WORLD_SIZE|ROLE_NAME|MASTER_(ADDR|PORT)"
    r"|(TORCHELASTIC|PET)_\w+"
)
PORTS = range(12_000, 32_000)  # below those that the kernel hands out


@dataclass(frozen=True)
class Place:
    """Where this launcher is among the nodes of a training."""

    node: int
    nodes: int
    procs: int  # on each node
    address: str
    port: int

    @property
    def world(self) -> int:
        """Processes on all nodes."""
        return self.nodes * self.procs

    @property
    def ranks(self) -> range:
        """Those of this node."""
        return range(self.node * self.procs, (self.node + 1) * self.procs)


def without_place(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the place of another training that this process may be part of: a
    command that finds one waits for that training's other processes."""
    return {name: value for name, value in environment.items() if not PLACES.fullmatch(name)}


def find_place(nodes: int, procs: int) -> Place:
    """From Slurm's environment when there are several nodes. Raises UserError."""
    if nodes == 1:
        return Place(0, 1, procs, "127.0.0.1", free_port())
    listed = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_JOB_NODELIST")
    if not listed or "SLURM_NODEID" not in os.environ:
        raise UserError(f"--num_nodes {nodes} needs Slurm: let srun start it, once on each node")
    hosts = host_names(listed)
    if len(hosts) != nodes:
        raise UserError(f"--num_nodes {nodes}, but Slurm gave {len(hosts)} node(s): {listed}")
    port = PORTS[int(os.environ.get("SLURM_JOB_ID", "0")) % len(PORTS)]
    return Place(int(os.environ["SLURM_NODEID"]), nodes, procs, address_of(hosts[0]), port)


def host_names(listed: str) -> list[str]:
    """gpu[01-02,07],login becomes gpu01, gpu02, gpu07, login: by Slurm's own rules."""
    return ask_slurm("show", "hostnames", listed).split()


def address_of(host: str) -> str:
    """Where the other nodes reach `host`; it need not be its name."""
    found = re.search(r"\bNodeAddr=(\S+)", ask_slurm("--oneliner", "show", "node", host))
    return found[1] if found else host


def ask_slurm(*words: str) -> str:
    """What scontrol prints. UserError where it fails."""
    try:
        done = subprocess.run(["scontrol", *words], capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(f"scontrol, to find the other nodes: {error.strerror}") from error
    if done.returncode:
        raise UserError(f"scontrol {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
