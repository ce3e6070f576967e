"""Sessions of one process used at random; scripts/fuzz_sessions.py goes on for as many seeds as are wanted."""

from __future__ import annotations

import pytest
from sessions_at_random import use_at_random, workers_left


@pytest.mark.slow
def test_none_hangs_and_all_are_right(private_ray: None) -> None:
    for seed in range(20):
        use_at_random(seed)
    assert workers_left() == 0
