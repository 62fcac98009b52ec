"""What happens to disks: they are full, and bytes change."""

import contextlib
import resource
import signal
from pathlib import Path


@contextlib.contextmanager
def file_size_limit(size):
    """No file of this process grows over `size` bytes: as a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def flip(path, position, bits=1):
    """Change `bits` of the byte at `position`."""
    content = bytearray(path.read_bytes())
    content[position] ^= bits
    path.write_bytes(content)


@contextlib.contextmanager
def memory_limit(more):
    """This process may ask for `more` bytes than it has: as on a full node."""
    sizes = Path("/proc/self/statm").read_text().split()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    has = int(sizes[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + more, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
