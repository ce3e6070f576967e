"""Uses several sessions of one process at random, seed by seed, on a private cluster.

usage: python scripts/fuzz_sessions.py [SEEDS [FIRST]]

A seed with a session that hangs, a wrong number, an error or a worker that is left is printed, and ends the script.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

import ray  # noqa: E402  # what it is used on is set up first
from sessions_at_random import use_at_random, workers_left  # noqa: E402  # found by the line above

if __name__ == "__main__":
    seeds, first = (int(given) for given in (*sys.argv[1:], *("200", "0")[len(sys.argv) - 1 :]))
    ray.init(address="local", num_cpus=8, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    for seed in range(first, first + seeds):
        use_at_random(seed)
        print(f"seed {seed}: right", flush=True)
    print(f"workers left: {workers_left()}")
    sys.exit(workers_left() > 0)
