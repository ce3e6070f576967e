"""What a coordinate costs where there are very many of them, in time and in the driver's memory.

    python scripts/bench_scale.py            # a minute or two; SciPy with a Pool beside it at d = 10,000
    python scripts/bench_scale.py --slots 256                # that many slots of evaluations that sleep, alone

Each line is measured in a process of its own, as the peak of memory is the process's. "Peak" is above what the process
held after its imports.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SLOTS = 2


def dot(x: Any) -> float:
    """Next to nothing."""
    return float(x @ x)


def few(x: Any) -> float:
    """About 20 us, and reads a few of its coordinates."""
    total = 0.0
    for k in range(0, 1_000_000, 6_000):
        total += float(x[k]) * 1e-3
    return total


CASES = {
    "distfd 10000 dot": (10_000, dot),
    "scipy 10000 dot": (10_000, dot),
    "distfd 100000 few": (100_000, lambda x: few(np.broadcast_to(x[:1], 1_000_000)) + float(x[-1])),
    "distfd 1000000 few": (1_000_000, few),
    "store 10000 dot": (10_000, dot),
}


def peak() -> float:
    """Peak memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def run(case: str) -> None:
    """One case, in this process."""
    d, fun = CASES[case]
    x = np.linspace(1.0, 2.0, d)
    begin = time.perf_counter()
    n = 2000
    for _ in range(n):
        fun(x)
    serial = (time.perf_counter() - begin) / n
    if case.startswith("store"):
        print(f"store   d {d:>9,}: {with_store(fun, x)}")
        return
    wall, base = with_scipy(fun, x) if case.startswith("scipy") else with_distfd(fun, x)
    system = case.partition(" ")[0]
    points = f"{wall:6.1f} s, {1e6 * wall / d:6.1f} us a point beside {1e6 * serial:5.1f} us of J"
    print(f"{system:7} d {d:>9,}: {points}, serial loop / wall {serial * d / wall:5.2f}, peak {peak() - base:5.0f} MB")


def with_distfd(fun: Any, x: Any) -> tuple[float, float]:
    """Seconds of a gradient, and memory before it."""
    import ray

    import distfd

    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init(address="local", num_cpus=SLOTS, include_dashboard=False, logging_level=logging.ERROR)
    with distfd.Evaluator(fun, executor=distfd.RayExecutor(max_slots=SLOTS)) as evaluator:
        evaluator.start(wait=True)
        evaluator.map_function(abs, [1.0])
        base = peak()
        begin = time.perf_counter()
        evaluator.gradient(x)
        return time.perf_counter() - begin, base


def with_many_slots(slots: int) -> None:
    """Waves of eight rounds of 0.5 s on more slots than cores: how close to ideal, and what the driver spends."""
    import psutil
    import ray

    import distfd

    def sleeping(x: Any) -> float:
        time.sleep(0.5)
        return float(x[0])

    me = psutil.Process()
    begin = time.perf_counter()
    with distfd.Evaluator(
        sleeping, executor=distfd.RayExecutor(address="local", num_cpus=slots), deterministic=False
    ) as evaluator:
        evaluator.start(wait=True)
        workers = [p for p in psutil.process_iter(["name"]) if (p.info["name"] or "").startswith("ray::RayWorker")]
        memory = sum(p.memory_full_info().pss for p in workers) / 1e6
        print(f"{slots} slots up after {time.perf_counter() - begin:.0f} s, {memory / slots:.0f} MB each (pss)")
        x = np.zeros(8 * slots - 1)
        for wave in range(3):
            evaluator.start(wait=True)
            before = sum(me.cpu_times()[:2])
            began = time.perf_counter()
            result = evaluator.differentiate(x + wave)
            wall = time.perf_counter() - began
            spent = sum(me.cpu_times()[:2]) - before
            print(
                f"d {len(x):,}: {wall:.2f} s, {wall / 4.0:.3f} of the ideal; driver {spent:.2f} s "
                f"of processor, {me.memory_info().rss / 1e6:.0f} MB; {result.n_evaluations} evaluations",
                flush=True,
            )
    ray.shutdown()


def with_store(fun: Any, x: Any) -> str:
    """What it costs to keep each attempt in a file, beside keeping its value in memory; serial, best of five."""
    import distfd

    def seconds(store: Any) -> float:
        with distfd.Evaluator(fun, executor="serial", store=store) as evaluator:
            evaluator.value(x)
            begin = time.perf_counter()
            evaluator.gradient(x)
            return time.perf_counter() - begin

    with tempfile.TemporaryDirectory(dir=".") as folder:
        memory = min(seconds(None) for _ in range(5))
        file = min(seconds(Path(folder) / f"{k}.sqlite") for k in range(5))
        begin = time.perf_counter()
        seconds(Path(folder) / "0.sqlite")
        again = time.perf_counter() - begin
    point = 1e6 / len(x)
    return (
        f"{point * file:5.1f} us a point with a file, {point * memory:5.1f} in memory: {point * (file - memory):5.1f} "
        f"us an attempt; to open, check and read it again {point * again:5.1f}"
    )


def with_scipy(fun: Any, x: Any) -> tuple[float, float]:
    """The same from SciPy with a Pool."""
    from scipy.optimize._numdiff import approx_derivative

    with multiprocessing.Pool(SLOTS) as pool:
        pool.map(abs, [1.0])
        base = peak()
        begin = time.perf_counter()
        approx_derivative(fun, x, method="2-point", workers=pool.map)
        return time.perf_counter() - begin, base


def main() -> None:
    """Every case, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--slots", type=int, help="measure so many slots of sleeping evaluations instead")
    given = parser.parse_args()
    if given.slots:
        with_many_slots(given.slots)
        return
    case = given.case
    if case:
        run(case)
        return
    print(f"{os.cpu_count()} cores, {SLOTS} slots")
    for name in CASES:
        subprocess.run([sys.executable, __file__, "--case", name], check=True)


if __name__ == "__main__":
    main()
