"""How near the wall clock of a gradient comes to the ideal, for distfd and for others, in one run.

    python -m pip install -e '.[bench]'
    python scripts/bench_scheduler.py                 # all of it, about ten minutes
    python scripts/bench_scheduler.py --only table    # or: uneven, slow, waves, calls, start

J sleeps, so more slots than cores are fine. Ideal is ceil((d + 1) / W) evaluations' time, where an evaluation's time is
measured serially in the same run; the warm median of five gradients is compared with it. Each row of the table is one
system, warmed up by a gradient of its own; cold is the time from nothing (but Ray is up) to the end of that first
gradient, beyond the ideal, with all slots up. Others are left out, with a word, where they are not installed.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import importlib.metadata
import logging
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import distfd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COLUMNS = ((0.5, 15, 16), (0.1, 63, 16), (0.01, 255, 8), (0.001, 1023, 4))
"""Seconds of an evaluation, coordinates, slots."""
REPEATS = 5
CPUS = 16


class Sleeper:
    """J that takes a time; picklable for everybody."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, x: Any) -> float:
        time.sleep(self.seconds)
        return float(x[0] * x[-1])


class Uneven:
    """J that takes a time of its own for each coordinate that has moved."""

    def __init__(self, seconds: Any) -> None:
        self.seconds = seconds

    def __call__(self, x: Any) -> float:
        moved = np.flatnonzero(x != np.round(x))
        time.sleep(self.seconds[moved[0] if len(moved) else -1])
        return float(x[0])


class SlowProcess:
    """J that takes thirty times as long in the process whose number the file holds."""

    def __init__(self, seconds: float, file: Path) -> None:
        self.seconds, self.file = seconds, file

    def __call__(self, x: Any) -> float:
        slow = self.file.exists() and self.file.read_text() == str(os.getpid())
        time.sleep(self.seconds * (30 if slow else 1))
        return float(x[0])


@contextlib.contextmanager
def with_distfd(fun: Any, slots: int) -> Iterator[Any]:
    """Distfd."""
    with ready(fun, slots) as evaluator:
        yield evaluator.gradient


@contextlib.contextmanager
def with_one_call(fun: Any, slots: int) -> Iterator[Any]:
    """Distfd, one call: a function after another, whose workers stay."""
    with distfd.RayExecutor(max_slots=slots) as executor:
        with distfd.Evaluator(fun, executor=executor) as evaluator:
            evaluator.start(wait=True)  # all slots are up, as for the others
        yield lambda x: distfd.gradient(fun, x, executor=executor)


@contextlib.contextmanager
def with_pool(fun: Any, slots: int) -> Iterator[Any]:
    """SciPy's approx_derivative, workers = multiprocessing.Pool.map."""
    with multiprocessing.Pool(slots) as pool:
        yield scipy_gradient(fun, pool.map)


@contextlib.contextmanager
def with_joblib(fun: Any, slots: int) -> Iterator[Any]:
    """SciPy's approx_derivative over joblib's loky."""
    import joblib

    with joblib.Parallel(n_jobs=slots, backend="loky") as parallel:
        yield scipy_gradient(fun, lambda f, xs: parallel(joblib.delayed(f)(x) for x in xs))


@contextlib.contextmanager
def with_dask(fun: Any, slots: int) -> Iterator[Any]:
    """SciPy's approx_derivative over dask.distributed."""
    from dask.distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=slots, threads_per_worker=1, dashboard_address=None, silence_logs=50)
    with cluster, Client(cluster) as client:
        yield scipy_gradient(fun, lambda f, xs: client.gather(client.map(f, list(xs), pure=False)))


@contextlib.contextmanager
def with_ray_pool(fun: Any, slots: int) -> Iterator[Any]:
    """SciPy's approx_derivative over ray.util.multiprocessing.Pool."""
    from ray.util.multiprocessing import Pool

    with Pool(slots) as pool:
        yield scipy_gradient(fun, pool.map)


@contextlib.contextmanager
def with_optimagic(fun: Any, slots: int) -> Iterator[Any]:
    """optimagic.first_derivative, n_cores."""
    import optimagic

    yield lambda x: optimagic.first_derivative(fun, x, method="forward", n_cores=slots).derivative


@contextlib.contextmanager
def with_tasks(fun: Any, slots: int) -> Iterator[Any]:
    """One Ray task for each point, written by hand."""
    import ray

    @ray.remote
    def evaluate(x: Any) -> float:
        return float(fun(x))

    task = evaluate.options(num_cpus=CPUS / slots)

    def gradient(x: Any) -> Any:
        h = 1.5e-8 * np.maximum(1, np.abs(x))
        refs = [task.remote(x)] + [task.remote(x + h[k] * (np.arange(len(x)) == k)) for k in range(len(x))]
        values = np.array(ray.get(refs))
        return (values[1:] - values[0]) / h

    yield gradient


OWN = (with_distfd, with_one_call)
SYSTEMS = (*OWN, with_pool, with_joblib, with_optimagic, with_dask, with_ray_pool, with_tasks)


def scipy_gradient(fun: Any, workers: Any) -> Callable[[Any], Any]:
    from scipy.optimize._numdiff import approx_derivative

    return lambda x: approx_derivative(fun, x, method="2-point", workers=workers)


def one_evaluation(fun: Any, x: Any, seconds: float) -> float:
    """Seconds of an evaluation here, serially."""
    walls = []
    for _ in range(max(3, int(0.5 / seconds))):
        begin = time.perf_counter()
        fun(x)
        walls.append(time.perf_counter() - begin)
    return statistics.mean(walls)


def seconds_each(gradient: Callable[[Any], Any], x: Any, n: int) -> list[float]:
    """Wall seconds of n gradients, each at another point."""
    walls = []
    for k in range(n):
        begin = time.perf_counter()
        gradient(x + 1000 * (k + 1))
        walls.append(time.perf_counter() - begin)
    return walls


def measure(system: Any, seconds: float, d: int, slots: int, one: float) -> tuple[float, float]:
    """(ideal / wall, seconds of a cold start) of one system in one column, where an evaluation takes ``one``."""
    fun, x = Sleeper(seconds), np.arange(1.0, d + 1.0)
    ideal = math.ceil((d + 1) / slots) * one
    begin = time.perf_counter()
    with system(fun, slots) as gradient:
        gradient(x)
        cold = time.perf_counter() - begin - ideal
        walls = seconds_each(gradient, x, REPEATS)
    return ideal / statistics.median(walls), cold


def table() -> None:
    """Ideal over wall, of everybody."""
    heads = [f"{s:g} s, d {d}, W {w}" for s, d, w in COLUMNS]
    print("| ideal / wall | " + " | ".join(heads) + " | cold start |\n" + "|---" * (len(COLUMNS) + 2) + "|")
    best = [0.0] * len(COLUMNS)
    own: list[float] = []
    ones = [one_evaluation(Sleeper(seconds), np.ones(d), seconds) for seconds, d, _ in COLUMNS]
    for system in SYSTEMS:
        name = (system.__doc__ or "").rstrip(".")
        try:
            found = [measure(system, *column, one) for column, one in zip(COLUMNS, ones, strict=True)]
        except ImportError as error:
            print(f"| {name} | not installed: {error.name} |")
            continue
        ratios = [ratio for ratio, _ in found]
        cold = sorted(seconds for _, seconds in found)
        print(
            f"| {name} | " + " | ".join(f"{r:.3f}" for r in ratios) + f" | {cold[0]:.1f}-{cold[-1]:.1f} s |", flush=True
        )
        if system is with_distfd:
            own = ratios
        elif system not in OWN:
            best = [max(b, r) for b, r in zip(best, ratios, strict=True)]
    if any(best):
        print(
            "| distfd over the best other | "
            + " | ".join(f"{a / b:.2f}" for a, b in zip(own, best, strict=True))
            + " | |"
        )


def uneven() -> None:
    """Evaluations of very different length."""
    d, slots, typical = 255, 8, 0.1
    print(f"\nlognormal times (sigma 1, median {typical:g} s), d {d}, W {slots}: wall over max(longest, total / W)")
    for seed in range(4):
        seconds = typical * np.random.default_rng(seed).lognormal(0, 1, d + 1)
        bound = max(seconds.max(), seconds.sum() / slots)
        with ready(Uneven(seconds), slots) as evaluator:
            first, *later = [wall / bound for wall in seconds_each(evaluator.gradient, np.arange(1.0, d + 1.0), 3)]
        known = ", ".join(f"{wall:.3f}" for wall in later)
        paper = list_scheduling(seconds, slots) / bound
        print(f"  unknown times {first:.3f} (list scheduling on paper {paper:.3f}); known times {known}", flush=True)


def list_scheduling(seconds: Any, slots: int) -> float:
    """The end of all, where each in turn goes to the first slot that is free, and nothing else takes time."""
    free = [0.0] * slots
    for each in seconds:
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)


def slow() -> None:
    """One process thirty times slower than the others."""
    print("\none slot 30 times slower: what that adds, in evaluations' times")
    for seconds, d, slots in ((0.2, 15, 16), (0.2, 63, 16), (0.5, 15, 8)):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "slow"
            for backups in (True, False):
                file.unlink(missing_ok=True)
                with ready(SlowProcess(seconds, file), slots, deterministic=backups) as evaluator:
                    x = np.arange(1.0, d + 1.0)
                    evaluator.gradient(x)
                    undisturbed = statistics.median(seconds_each(evaluator.gradient, x, 3))
                    file.write_text(str(evaluator.differentiate(x + 1).evaluations[0].pid))
                    (wall,) = seconds_each(evaluator.gradient, x + 2, 1)
                what = "with backups" if backups else "without     "
                print(f"  {seconds:g} s, d {d}, W {slots}, {what}: + {(wall - undisturbed) / seconds:.1f}")


def waves() -> None:
    """Many gradients in a row, as an optimizer asks for them."""
    d, n = 30, 100
    with ready(Sleeper(0.0), 2) as evaluator:
        evaluator.gradient(np.arange(1.0, d + 1.0))
        wall = sum(seconds_each(evaluator.gradient, np.arange(1.0, d + 1.0), n))
    print(f"\n{n} gradients in a row, d {d}, J takes nothing: {1000 * wall / n:.1f} ms a wave beyond the ideal")


def calls() -> None:
    """One-call functions of a J that takes nothing."""
    x = np.arange(1.0, 4.0)
    executor = distfd.RayExecutor(max_slots=2)
    with executor:
        first, *later = seconds_each(lambda x: distfd.gradient(Sleeper(0.0), x, executor=executor), x, 30)
    print(
        f"\none-call gradients, d {len(x)}, J takes nothing: the first {1000 * first:.0f} ms, each later one "
        f"{1000 * statistics.median(later):.1f} ms (median; longest {1000 * max(later):.0f} ms)"
    )


START = {
    "distfd's first gradient": """
import time
import distfd
begin = time.perf_counter()
distfd.gradient(lambda x: float(x @ x), [1.0], executor=distfd.RayExecutor(max_slots=1), check=False)
print(time.perf_counter() - begin)
""",
    "ray.init and one actor": """
import logging
import time
import ray
begin = time.perf_counter()
ray.init(address="local", include_dashboard=False, logging_level=logging.ERROR)

@ray.remote
class Actor:
    def call(self, x):
        return x

ray.get(Actor.remote().call.remote(1.0))
print(time.perf_counter() - begin)
""",
}
STARTS = 7


def start() -> None:
    """The first gradient of a process, beside what Ray takes for its own: new processes in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in START}
    for _ in range(STARTS):
        for name, program in START.items():
            told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
            seconds[name].append(float(told.split()[-1]))
    print()
    for name, found in seconds.items():
        print(f"{name}: {statistics.median(found):.2f} s (median of {STARTS}; {min(found):.2f} to {max(found):.2f})")
    ours, floor = (statistics.median(found) for found in seconds.values())
    print(f"the first gradient takes {ours / floor:.2f} of what Ray takes by itself")


@contextlib.contextmanager
def ready(fun: Any, slots: int, **options: Any) -> Iterator[distfd.Evaluator]:
    """An Evaluator whose slots are all up, and end with it."""
    with (
        distfd.RayExecutor(max_slots=slots) as executor,
        distfd.Evaluator(fun, executor=executor, **options) as evaluator,
    ):
        evaluator.start(wait=True)
        yield evaluator


def main() -> None:
    """Print what was asked for."""
    parts = {"table": table, "uneven": uneven, "slow": slow, "waves": waves, "calls": calls, "start": start}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=parts, help="one part")
    only = parser.parse_args().only
    warnings.simplefilter("ignore")
    import ray

    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init(address="local", num_cpus=CPUS, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    packages = ("numpy", "scipy", "ray", "joblib", "optimagic", "distributed")
    versions = []
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {', '.join(versions)}\n", flush=True)
    for name, part in parts.items():
        if only in (None, name):
            part()


if __name__ == "__main__":
    main()
