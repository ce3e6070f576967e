"""Uses several sessions of one process at random, seed by seed, on a private cluster.

usage: python scripts/fuzz_sessions.py [SEEDS [FIRST]]

By default 200 seeds from 0 on. A seed with a wrong number or an error is printed, and the next one is tried. One with a
session that hangs ends the script, as its threads are still there. The exit code is 1 if a seed failed or a worker is
left.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

import ray  # noqa: E402  # what it is used on is set up first
from sessions_at_random import use_at_random, workers_left  # noqa: E402  # found by the line above

if __name__ == "__main__":
    seeds, first = (int(given) for given in (*sys.argv[1:], *("200", "0")[len(sys.argv) - 1 :]))
    ray.init(address="local", num_cpus=8, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    failed: list[int] = []
    for seed in range(first, first + seeds):
        try:
            use_at_random(seed)
        except AssertionError as error:
            failed.append(seed)
            traceback.print_exception(error)
            print(f"seed {seed}: FAILED", flush=True)
            if "one hangs" in str(error):
                break
        else:
            print(f"seed {seed}: right", flush=True)
    left = workers_left()
    print(f"seeds that failed: {' '.join(map(str, failed)) or 'none'}; workers left: {left}", flush=True)
    sys.stderr.flush()
    os._exit(1 if failed or left else 0)  # threads of a session that hangs would keep the process
