"""How near the simulation of `distfd plan --slots` comes to waves that are measured: J sleeps, spread 0.3.

python scripts/bench_simulation.py            # less than a minute
"""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import ray

import distfd
from distfd.jobs.simulation import simulate_wave

SECONDS, SPREAD, ROUNDS = 0.25, 0.3, 8


class Sleeper:
    """J whose time depends on the coordinate that has moved."""

    def __init__(self, d: int) -> None:
        s = np.sqrt(np.log1p(SPREAD**2))
        self.seconds = SECONDS * np.exp(s * np.random.default_rng(1).standard_normal(d + 1) - s**2 / 2)

    def __call__(self, x: Any) -> float:
        moved = np.flatnonzero(x)
        time.sleep(self.seconds[moved[0] if len(moved) else -1])
        return float(x.sum())


def main() -> None:
    """A line for each number of slots."""
    ray.init(address="local", num_cpus=32, include_dashboard=False, logging_level=logging.ERROR)
    for slots in (2, 8, 32):
        d = slots * ROUNDS - 1
        fun = Sleeper(d)
        with distfd.Evaluator(fun, executor=distfd.RayExecutor(max_slots=slots), store=None) as evaluator:
            evaluator.start(wait=True)
            begin = time.perf_counter()
            evaluator.gradient(np.zeros(d))
            wall = time.perf_counter() - begin
        ideal = max(fun.seconds.max(), fun.seconds.sum() / slots)
        found = simulate_wave(d + 1, slots, SECONDS, SPREAD, seed=1)
        print(
            f"{slots:3} slots: measured {wall / ideal:.3f} of the ideal ({wall:.2f} s), simulated "
            f"{found.wall / found.ideal:.3f}"
        )
    ray.shutdown()


if __name__ == "__main__":
    main()
