"""Settings and fixtures of all tests."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    RequireSimulator: TypeAlias = Callable[[str], None]

# A deadline, and a look at how long examples take to make, are timed assertions: on a loaded machine they fail a test
# that is right.
settings.register_profile("distfd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("distfd")


@pytest.fixture(autouse=True)
def _usual_settings() -> None:
    """Each test begins with the usual value of the settings that are part of the key of stored values.

    Other tests may have changed them, and so does the import of some libraries: optimagic switches JAX to float64.
    """
    from distfd.workers.process_settings import SETTINGS

    for setting in SETTINGS.values():
        if setting.in_key and setting.weight(setting.read()) != setting.weight(setting.usual()):
            setting.write(setting.usual())


@pytest.fixture
def require_simulator() -> RequireSimulator:
    """Skip, loudly, where a simulator is missing; in CI that is a failure."""

    def require(name: str) -> None:
        if shutil.which(name) is None and importlib.util.find_spec(name) is None:
            message = f"NOT tested: {name} is missing"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)

    return require


@pytest.fixture(autouse=True)
def _modules_of_one_test_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forget modules that a test has written and imported: the next one may have another of the same name."""
    before = set(sys.modules)
    yield
    base = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if isinstance(file, str) and file.startswith(base):
            del sys.modules[name]


# Programs that a shell starts in the background ignore Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

CPUS = 4
"""More than the cores of small machines: what the tests evaluate mostly waits. Each slot is a process to start."""


@pytest.fixture(scope="session")
def _ray_ends() -> Iterator[None]:
    yield
    import ray

    ray.shutdown()


def _connect(cpus: int) -> None:
    import ray

    from distfd.executors.ray.internals import quick_start

    if ray.is_initialized():
        if ray.cluster_resources().get("CPU", 0) >= cpus:  # type: ignore[no-untyped-call]  # Ray lacks types
            return
        ray.shutdown()
    with quick_start(log_monitor=False):  # some seconds of processor time less
        ray.init(
            address="local", num_cpus=cpus, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False
        )


@pytest.fixture
def private_ray(_ray_ends: None) -> None:
    """A private Ray cluster with `CPUS` CPUs, connected; started once unless a test ends it."""
    _connect(CPUS)


@pytest.fixture
def wide_ray(_ray_ends: None) -> None:
    """One with twice as many."""
    _connect(2 * CPUS)


_CLUSTER = """
import logging, sys
import ray
from distfd.executors.ray.internals import quick_start
with quick_start(log_monitor=False):
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()  # until the tests end, however they do
ray.shutdown()
"""


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A running cluster with 2 CPUs for commands to join: starting one for each would take minutes."""
    argv = [sys.executable, "-c", _CLUSTER]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as cluster:
        assert cluster.stdin is not None
        assert cluster.stdout is not None
        yield cluster.stdout.readline().strip()
        cluster.stdin.close()
