"""Settings of all tests, and the Ray cluster that they share."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# A deadline is a timed assertion: on a loaded machine it fails a test that is right.
settings.register_profile("distfd", deadline=None)
settings.load_profile("distfd")

CPUS = 8
"""More than most machines have: what the tests evaluate mostly waits."""


@pytest.fixture(scope="session")
def _ray_ends() -> Iterator[None]:
    yield
    import ray

    ray.shutdown()


@pytest.fixture
def private_ray(_ray_ends: None) -> None:
    """A private Ray cluster with `CPUS` CPUs, connected; started once unless a test ends it."""
    import ray

    if ray.is_initialized():
        if ray.cluster_resources().get("CPU", 0) >= CPUS:  # type: ignore[no-untyped-call]  # Ray lacks types
            return
        ray.shutdown()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(address="local", num_cpus=CPUS, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
