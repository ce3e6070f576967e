"""Sessions of one process used at random; scripts/fuzz_sessions.py goes on for as many seeds as are wanted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from sessions_at_random import use_at_random, workers_left

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def _few_slots(_ray_ends: None) -> Iterator[None]:
    """A cluster of its own: where there are fewer slots than sessions they wait in line, and fewer processes start."""
    import ray

    ray.shutdown()
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("_few_slots")
def test_none_hangs_and_all_are_right() -> None:
    for seed in range(10):
        use_at_random(seed)
    assert workers_left() == 0
