"""A real Slurm on this machine: munged, slurmctld and three slurmd, in a directory of its own.

Nothing of the machine's own Slurm is touched: own configuration, ports, munge key and socket.
Partitions: `main` (all nodes), `urgent` (all nodes, pre-empts and requeues the jobs of main),
`small` (n1 and n2; one node and five minutes a job at most). n3 has two things called GPUs.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

Seconds = float

PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
LIBC = ctypes.CDLL(None)
NODE = Path(__file__).with_name("slurm_node.py")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "sinfo")
SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"
PATIENCE: Seconds = 180.0  # for a daemon to come up or a job to be forgotten, on a busy machine
CPUS = 4  # of a node, whatever the machine has
CONFIGURATION = """\
ClusterName=audiollm-test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={dir}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={dir}/state
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd-%n.pid
SlurmdSpoolDir={dir}/spool-%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=120
MessageTimeout=10
KillWait=15
MinJobAge=60
InactiveLimit=0
MaxArraySize=1001
EnforcePartLimits=ALL
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
PartitionName=small Nodes=n1,n2 MaxNodes=1 MaxTime=5 PriorityTier=1 PreemptMode=OFF
"""


class ClusterError(Exception):
    pass


def missing() -> str:
    """Why there can be no cluster here; empty when there can."""
    if os.getuid() != 0:
        return "a Slurm of the test's own needs root"
    path = f"{os.environ['PATH']}:{SYSTEM}"
    absent = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if absent:
        return f"Slurm is not installed (no {', '.join(absent)}); see tools/install_for_tests.sh"
    return ""


def end_with_parent() -> None:
    """In a daemon, before exec: a killed test leaves no Slurm behind."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """cluster.env is for those who call Slurm; cluster.run([...]) calls it."""

    def __init__(self, nodes: tuple[str, ...] = ("n1", "n2", "n3")):
        self.nodes = nodes
        self.dir = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: it holds sockets
        self.daemons: dict[str, subprocess.Popen] = {}
        self.dead: set[str] = set()  # nodes that the controller was told are down
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
        self.env["SLURM_CONF"] = str(self.dir / "slurm.conf")
        self.env["PATH"] += f":{SYSTEM}"

    def start(self) -> None:
        self.write_configuration()
        (self.dir / "munge.key").write_bytes(os.urandom(1024))
        (self.dir / "munge.key").chmod(0o400)
        self.daemon("munged", "munged", "--foreground", "--force", *self.munge_files())
        self.wait_for(lambda: (self.dir / "munge.socket").exists(), "munged to listen")
        self.start_controller(wait=False)
        for node in self.nodes:
            self.start_node(node, wait=False)
        self.wait_idle()

    def stop(self) -> None:
        """End everything, jobs included, and remove the directory."""
        for name in reversed(list(self.daemons)):
            self.end(name)
        shutil.rmtree(self.dir, ignore_errors=True)

    def run(self, words: list, check: bool = True, **options) -> subprocess.CompletedProcess:
        """Run a command in the cluster's environment; text comes back."""
        options = {"env": self.env, "capture_output": True, "text": True, "timeout": 300} | options
        done = subprocess.run([str(word) for word in words], check=False, **options)
        if check and done.returncode:
            raise ClusterError(f"{words}: exit status {done.returncode}\n{done.stderr}")
        return done

    def start_controller(self, wait: bool = True) -> None:
        self.daemon("slurmctld", "slurmctld", "-D")
        if wait:
            self.wait_for(lambda: not self.run(["scontrol", "ping"], check=False).returncode)

    def stop_controller(self) -> None:
        """As for maintenance: its state is saved, and start_controller() goes on from there."""
        self.end("slurmctld", signal.SIGTERM)

    def start_node(self, node: str, wait: bool = True) -> None:
        self.daemon(node, sys.executable, NODE, "slurmd", "-D", "-N", node)
        if node in self.dead:
            self.dead.remove(node)
            self.mark(node, "RESUME")
        if wait:
            self.wait_for(lambda: self.state(node) in ("IDLE", "MIXED"), f"{node} up")

    def kill_node(self, node: str) -> None:
        """A power cut: slurmd and all that runs on the node are gone at once.

        The controller is told, as a site's health check would, and not left to its timeout."""
        self.end(node, signal.SIGTERM)
        self.dead.add(node)
        if "slurmctld" in self.daemons:
            self.mark(node, "DOWN")

    def mark(self, node: str, state: str) -> None:
        self.run(["scontrol", "update", f"NodeName={node}", f"State={state}", "Reason=test"])

    def state(self, node: str) -> str:
        """IDLE, MIXED, ALLOCATED, DOWN, DOWN*+DRAIN ..."""
        text = self.run(["scontrol", "--oneliner", "show", "node", node], check=False).stdout
        return text.partition(" State=")[2].partition(" ")[0]

    def jobs(self, *options: str) -> list[str]:
        """What is in the queue, one line a job or array member."""
        return self.run(["squeue", "-h", "-r", *options]).stdout.splitlines()

    def wait_idle(self) -> None:
        """Until the queue is empty and all nodes can take jobs."""
        self.wait_for(self.is_idle, "an idle cluster")

    def is_idle(self) -> bool:
        return all(self.state(node) == "IDLE" for node in self.nodes) and not self.jobs()

    def restore(self) -> None:
        """After a test: the queue emptied, what was stopped or killed started again."""
        if "slurmctld" not in self.daemons:
            self.start_controller()
        self.run(["scancel", "--user", "root"])
        for node in self.nodes:
            if node not in self.daemons:
                self.start_node(node, wait=False)
        self.wait_idle()

    def wait_for(self, happened, what: str = "the cluster", seconds: Seconds = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            if time.monotonic() > deadline:
                raise ClusterError(f"waited {seconds:.0f} s for {what}\n{self.logs()}")
            time.sleep(0.1)

    def logs(self) -> str:
        """The end of every daemon's log."""
        ends = [
            f"{log.name}:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            for log in sorted(self.dir.glob("*.log"))
        ]
        return "\n".join(ends)

    def daemon(self, name: str, program, *options) -> None:
        program = shutil.which(program, path=self.env["PATH"])
        with open(self.dir / f"{name}.log", "ab") as out:
            self.daemons[name] = subprocess.Popen(
                [program, *options],
                env=self.env,
                cwd=self.dir,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        daemon = self.daemons.pop(name, None)
        if daemon is None:
            return
        daemon.send_signal(number)
        try:
            daemon.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def munge_files(self) -> list[str]:
        names = {
            "key-file": "munge.key",
            "socket": "munge.socket",
            "pid-file": "munge.pid",
            "log-file": "munge.log",
            "seed-file": "munge.seed",
        }
        return [f"--{option}={self.dir / name}" for option, name in names.items()]

    def write_configuration(self) -> None:
        (self.dir / "state").mkdir()
        self.dir.chmod(0o755)
        host = socket.gethostname()
        port, *ports = free_ports(1 + len(self.nodes))
        lines = []
        for node, own in zip(self.nodes, ports, strict=True):
            (self.dir / f"spool-{node}").mkdir()
            gres = " Gres=gpu:2" if node == "n3" else ""
            lines.append(
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={own} "
                f"CPUs={CPUS} RealMemory=4000{gres} State=UNKNOWN"
            )
        gpus = [f"NodeName=n3 Name=gpu File={path}" for path in ("/dev/null", "/dev/zero")]
        (self.dir / "gres.conf").write_text("\n".join(gpus) + "\n")
        text = CONFIGURATION.format(host=host, port=port, dir=self.dir, nodes="\n".join(lines))
        (self.dir / "slurm.conf").write_text(text)
