"""The cluster that the tests here share, and a moment of quiet before each."""

import pytest
from local_slurm import Cluster, missing


@pytest.fixture(scope="session")
def slurm_cluster():
    """Comes up in seconds, goes with all its jobs at the end."""
    if reason := missing():
        pytest.skip(reason)
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(slurm_cluster):
    """The cluster with all nodes up; afterwards its queue is emptied, its dead are raised."""
    yield slurm_cluster
    slurm_cluster.restore()
