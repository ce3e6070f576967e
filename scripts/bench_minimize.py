"""Rounds to the same target, beside other ways to minimise with parallel differences. A round is one evaluation's time.

    python scripts/bench_minimize.py [--only TABLE]

``counted`` counts rounds on as many problems as there are, with W = d + 4 slots on paper: a wave of n new points takes
ceil(n / W), a call by itself one. ``wall`` takes wall time over the time of one evaluation, which sleeps, in processes,
and has beside it what Ray alone takes for as many calls. ``overhead`` is what an iteration costs beyond its
evaluations. ``rounds``, ``lbfgs_wall`` and ``noise`` are those of the method "L-BFGS" (`bench_lbfgs`). Beside distfd:
SciPy's own L-BFGS-B with ``workers`` (SciPy >= 1.17), optimparallel, and optimagic (pip install optimparallel
optimagic); those that are not installed are left out. ``rounds`` needs optimparallel. More tables are functions of no
arguments in ``TABLES``.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench_lbfgs
import numpy as np
from counted_rounds import ReachedError, Rounds, by_optimparallel, stopped

import distfd

if TYPE_CHECKING:
    from collections.abc import Callable

    from problems import Problem

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

CLOSE = 1e-5
"""The target: within so much of the way from J(x0) to the least value known."""
NAMES = (
    "extended rosenbrock",
    "extended powell",
    "penalty one",
    "variably dimensioned",
    "trigonometric",
    "brown almost linear",
    "boundary value",
    "integral equation",
    "broyden tridiagonal",
    "broyden banded",
    "watson",
    "chebyquad",
    "zakharov",
    "styblinski tang",
    "himmelblau",
    "mccormick",
)


def by_distfd(rounds: Rounds, x0: Any) -> None:
    """distfd.minimize"""  # noqa: D400  # the name of a row

    def watch(event: Any) -> None:
        if isinstance(event, distfd_events().WaveStarted) and event.n_points > event.n_reused:
            rounds.rounds += math.ceil((event.n_points - event.n_reused) / rounds.slots)
        if isinstance(event, distfd_events().WaveEnded) and rounds.reached is not None:
            raise ReachedError

    rounds.in_wave = True
    distfd.minimize(
        rounds,
        x0,
        executor="serial",
        speculative=True,
        observers=[watch],
        options={"ftol": 0, "gtol": 0, "maxiter": 500},
    )


def by_scipy(rounds: Rounds, x0: Any) -> None:
    """SciPy, workers"""  # noqa: D400  # the name of a row
    from scipy.optimize import minimize

    options = {"ftol": 0, "gtol": 0, "maxiter": 500, "workers": rounds.map}
    minimize(rounds, x0, method="L-BFGS-B", options=options)


def by_optimagic(rounds: Rounds, x0: Any) -> None:
    """optimagic, n_cores"""  # noqa: D400  # the name of a row
    import optimagic

    def batch(func: Any, arguments: Any, *_: Any, unpack_symbol: str | None = None, **__: Any) -> list[Any]:
        call = {"*": lambda a: func(*a), "**": lambda a: func(**a), None: func}[unpack_symbol]
        return rounds.map(call, arguments)

    optimagic.minimize(
        fun=rounds,
        params=x0,
        algorithm="scipy_lbfgsb",
        algo_options={"convergence_ftol_rel": 0, "convergence_gtol_abs": 0, "stopping_maxiter": 500, "n_cores": 1},
        numdiff_options=optimagic.NumdiffOptions(n_cores=rounds.slots, batch_evaluator=batch),
    )


PEERS = (by_distfd, by_scipy, by_optimparallel, by_optimagic)


def distfd_events() -> Any:
    from distfd import events

    return events


def single(problem: Problem) -> Callable[[Any], float]:
    """J at one point."""
    return lambda x: float(problem.value(np.asarray(x, dtype=float)[None])[0])


def least(problem: Problem) -> float:
    """The least value that L-BFGS-B comes to with the true gradient."""
    from scipy.optimize import minimize

    found = minimize(
        single(problem), problem.x0, jac=problem.gradient, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-12}
    )
    return float(found.fun)


def to_target(peer: Any, problem: Problem, target: float, slots: int) -> int | None:
    """Rounds until J was seen as low as the target."""
    return stopped(Rounds(single(problem), target, slots), lambda rounds: peer(rounds, problem.x0))


def counted() -> None:
    """Rounds by counting, W = d + 4."""
    from problems import PROBLEMS
    from scipy.optimize import minimize

    peers = [peer for peer in PEERS if installed(peer)]
    print("| rounds to target, W = d + 4 | d | SciPy's nfev | " + " | ".join(map(title, peers)) + " |")
    print("|---" * (len(peers) + 3) + "|")
    total = [0] * len(peers)
    worse, ratios = [], []
    for name in NAMES:
        problem = PROBLEMS[name]
        d, fun = len(problem.x0), single(problem)
        low, first = least(problem), fun(problem.x0)
        target = low + CLOSE * (first - low)
        how = {"jac": problem.gradient, "method": "L-BFGS-B", "options": {"ftol": 0, "gtol": 0}}
        nfev = stopped(Rounds(fun, target), partial(minimize, x0=problem.x0, **how))
        found = [to_target(peer, problem, target, d + 4) for peer in peers]
        print(f"| {name} | {d} | {nfev} | " + " | ".join("-" if n is None else f"{n}" for n in found) + " |")
        # Who does not come there has spent what the others did, at the least.
        spent = [n if n is not None else max(m or 0 for m in found) for n in found]
        total = [a + b for a, b in zip(total, spent, strict=True)]
        ratios.append((found[0] or math.inf) / (nfev or 1))
        worse += [name] if found[0] is None or any(n is not None and n < found[0] for n in found[1:]) else []
    print("| all | | | " + " | ".join(map(str, total)) + " |")
    spread = f"{statistics.mean(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
    print(f"\nrounds a function evaluation of SciPy's with the true gradient: {spread}")
    print(f"problems on which another takes fewer: {', '.join(worse) or 'none'}")


@dataclass(frozen=True)
class Sleeper:
    """Rosenbrock's function, which takes a while."""

    seconds: float

    def __call__(self, x: Any) -> float:
        time.sleep(self.seconds)
        return float(np.sum(100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2))


def wall() -> None:
    """Rounds by the clock: wall time over one evaluation's; the best of some runs, as others use the machine too."""
    for seconds, times in ((0.1, 3), (0.5, 2)):
        _wall(seconds, times)


def _wall(seconds: float, times: int) -> None:
    from scipy.optimize import minimize

    d, target = 8, 1e-3
    fun, x0 = Sleeper(seconds), np.array([-1.2, 1.0] * (d // 2))
    one = statistics.median(clock(partial(fun, x0)) for _ in range(5))
    nfev = minimize(Sleeper(0), x0, method="L-BFGS-B", jac="2-point", callback=None).nfev // (d + 1)

    def reached(x: Any) -> None:
        if Sleeper(0)(x) <= target:
            raise StopIteration

    def by_distfd() -> tuple[float, int]:
        with distfd.Evaluator(fun, executor=distfd.RayExecutor(max_slots=d + 4, num_cpus=d + 4)) as ev:
            ev.start(wait=True)
            ev.gradient(x0 + 1)
            begin = time.perf_counter()
            found = distfd.minimize(ev, x0, callback=reached)
            return time.perf_counter() - begin, found.nfev

    def by_threads() -> tuple[float, int]:
        with ThreadPoolExecutor(d + 4) as pool:
            begin = time.perf_counter()
            found = minimize(fun, x0, method="L-BFGS-B", callback=reached, options={"workers": pool.map})
            return time.perf_counter() - begin, found.nit

    alone = partial(ray_alone, fun, x0, d)
    ours, rays = zip(*((by_distfd(), alone()) for _ in range(times)), strict=True)  # in turn: load comes and goes
    print(
        f"\nrosenbrock, d {d}, W {d + 4}, J sleeps {seconds:g} s ({one:.4f} s), best of {times}; "
        f"SciPy alone has nfev {nfev} to its end"
    )
    rows = {
        "distfd": (ours, "function evaluations"),
        "Ray alone": (rays, f"waves of {d + 1} calls"),
        "SciPy, workers": ([by_threads()], "iterations"),
    }
    for name, (runs, unit) in rows.items():
        (spent, n), worst = min(runs), max(runs)[0]
        each = f"{spent / one / n:.3f} each (at worst {worst / one / n:.3f})"
        print(f"  {name:<16} {spent / one:6.1f} rounds, {n} {unit}, {each}", flush=True)


def ray_alone(fun: Any, x: Any, d: int) -> tuple[float, int]:
    """What Ray itself needs: d + 1 actors on distfd's cluster, a call each until all are done; seconds, and waves."""
    import ray

    class Actor:
        def run(self, x: Any) -> float:
            return float(fun(x))

    remote: Any = ray.remote(Actor)
    actors = [remote.options(num_cpus=1).remote() for _ in range(d + 1)]
    ray.get([actor.run.remote(x) for actor in actors])
    n = 20
    begin = time.perf_counter()
    for _ in range(n):
        left = [actor.run.remote(x) for actor in actors]
        while left:
            ready, left = ray.wait(left)
            ray.get(ready)
    spent = time.perf_counter() - begin
    for actor in actors:
        ray.kill(actor)
    return spent, n


def cheap(x: Any) -> float:
    """A J of a few microseconds, which no gradient method has done with at once."""
    return float(x @ x) ** 2 + float(x[::2].sum()) ** 2


def overhead() -> None:
    """What an iteration costs beyond its evaluations, at d = 1000."""
    import scipy.optimize  # noqa: F401  # half a second, once, and no iteration's

    d = 1000
    x0 = np.linspace(-1, 1, d)
    with distfd.Evaluator(cheap, executor=distfd.RayExecutor(max_slots=2)) as ev:
        ev.start(wait=True)
        for k in (1, 2, 3):
            ev.gradient(x0 + k)
        spent = clock(partial(ev.gradient, x0 + 4))
        print(f"\nd {d}, J takes some us, 2 slots: a gradient alone {1000 * spent:.1f} ms")
        begin = time.perf_counter()
        found = distfd.minimize(ev, x0, limits=distfd.Limits(max_iterations=20), options={"ftol": 0, "gtol": 0})
        spent = time.perf_counter() - begin
    busy = found.totals["ideal_seconds"]
    print(
        f"  an iteration {1000 * spent / found.nit:.1f} ms, {1000 * (spent - busy) / found.nit:.1f} of them beyond its"
    )
    print(f"  evaluations ({found.nfev / found.nit:.2f} gradients each)")


TABLES: dict[str, Callable[[], None]] = {
    "counted": counted,
    "wall": wall,
    "overhead": overhead,
    "rounds": bench_lbfgs.rounds,
    "lbfgs_wall": bench_lbfgs.lbfgs_wall,
    "noise": bench_lbfgs.noise,
}


def clock(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def title(peer: Any) -> str:
    return str(peer.__doc__)


def installed(peer: Any) -> bool:
    from importlib.util import find_spec

    needs = {"by_optimparallel": "optimparallel", "by_optimagic": "optimagic"}.get(peer.__name__)
    return needs is None or find_spec(needs) is not None


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=TABLES, help="one table")
    only = parser.parse_args().only
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, NumPy {np.__version__}\n", flush=True)
    for name, table in TABLES.items():
        if only in (None, name):
            table()


if __name__ == "__main__":
    main()
