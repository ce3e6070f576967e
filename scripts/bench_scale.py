"""What a coordinate costs where there are very many of them, in time and in the driver's memory.

    python scripts/bench_scale.py            # a minute or two; SciPy with a Pool beside it at d = 10,000
    python scripts/bench_scale.py --slots 32 256       # so many slots of evaluations that sleep; 62 MB and 1 s a slot

Each line is measured in a process of its own, as the peak of memory is the process's. "Peak" is above what the process
held after its imports.
"""

from __future__ import annotations

import argparse
import contextlib
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
    """Waves of eight rounds of 0.5 s on more slots than cores: how close to ideal, and what they take."""
    import psutil

    import distfd

    def sleeping(x: Any) -> float:
        time.sleep(0.5)
        return float(x.sum())

    me, since, begin = psutil.Process(), time.time(), time.perf_counter()
    executor = distfd.RayExecutor(address="local", num_cpus=slots, show_output=False)
    with distfd.Evaluator(sleeping, executor=executor) as evaluator:
        evaluator.start(wait=True)
        up = time.perf_counter() - begin
        below = me.children(recursive=True)
        reapers = [p for p in psutil.process_iter() if reaps(p) and p.create_time() > since]
        workers = [p for p in below if p.name().startswith("ray::RayWorker")]
        print(
            f"{slots} slots up after {up:.0f} s; MB a slot: {pss(workers) / slots:.0f} worker, "
            f"{pss(reapers) / slots:.1f} reaper; {psutil.virtual_memory().available / 1e9:.1f} GB left"
        )
        groups = {"driver": [me], "workers": workers}
        for process in below:
            if process not in workers:
                groups.setdefault(process.name(), []).append(process)
        for wave in range(6):
            before = {name: spent(group) for name, group in groups.items()}
            began, busy = time.perf_counter(), machine()
            result = evaluator.differentiate(np.full(8 * slots - 1, float(wave)))
            wall, busy = time.perf_counter() - began, machine() - busy
            took = {name: spent(group) - before[name] for name, group in groups.items()}
            print(
                f"  {result.n_evaluations:,} evaluations: {wall:.2f} s, {wall / 4.0:.3f} of the ideal; processor s: "
                + ", ".join(f"{name} {seconds:.2f}" for name, seconds in took.items())
                + f", all others {busy - sum(took.values()):.1f}; driver {me.memory_info().rss / 1e6:.0f} MB; "
                f"load {os.getloadavg()[0]:.0f}",
                flush=True,
            )


def pss(processes: list[Any]) -> float:
    """Memory, MB, with what is shared divided."""
    import psutil

    total = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # some end while one looks
            total += process.memory_full_info().pss
    return total / 1e6


def reaps(process: Any) -> bool:
    """Whether it is the reaper of a worker."""
    try:
        return any(part.endswith("reaper.py") for part in process.cmdline())
    except Exception:
        return False


def spent(processes: list[Any]) -> float:
    """Processor seconds."""
    return float(sum(sum(p.cpu_times()[:2]) for p in processes if p.is_running()))


def machine() -> float:
    """Processor seconds of all."""
    import psutil

    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


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
    parser.add_argument("--slots", type=int, nargs="+", help="measure so many slots of sleeping evaluations instead")
    given = parser.parse_args()
    if given.slots and len(given.slots) == 1:
        with_many_slots(given.slots[0])
        return
    for slots in given.slots or ():
        subprocess.run([sys.executable, __file__, "--slots", str(slots)], check=True)
    if given.slots:
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
