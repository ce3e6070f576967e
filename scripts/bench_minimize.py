"""Rounds to the same target, beside other ways to minimise with parallel differences. A round is one evaluation's time.

    python scripts/bench_minimize.py [--only TABLE]

``counted`` counts rounds on as many problems as there are, with W = d + 4 slots on paper: a wave of n new points takes
ceil(n / W), a call by itself one. ``wall`` takes wall time over the time of one evaluation, which sleeps, in processes.
``overhead`` is what an iteration costs beyond its evaluations. ``rounds``, ``lbfgs_wall`` and ``noise`` are those of
the method "L-BFGS" (`bench_lbfgs`). Beside distfd: SciPy's own L-BFGS-B with ``workers``
(SciPy >= 1.17), optimparallel, and optimagic (pip install optimparallel optimagic); those that are not installed are
left out. ``rounds`` needs optimparallel. More tables are functions of no arguments in ``TABLES``.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
import warnings
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench_lbfgs
import numpy as np

import distfd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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


class ReachedError(Exception):
    """The target is."""


@dataclass
class Rounds:
    """J at single points, with the rounds that W slots would take, until a value is as low as the target.

    Parameters
    ----------
    fun : callable
    target : float
    slots : int
    """

    fun: Callable[[Any], float]
    target: float = -math.inf
    slots: int = 1
    rounds: int = 0
    reached: int | None = None
    in_wave: bool = False
    lowest: float = math.inf
    points: list[bytes] = field(default_factory=list)

    def __call__(self, x: Any) -> float:
        if not self.in_wave:
            self.rounds += 1
        value = float(self.fun(np.asarray(x, dtype=float)))
        self.lowest = min(self.lowest, value)
        if value <= self.target and self.reached is None:
            self.reached = self.rounds
        if self.reached is not None and not self.in_wave:
            raise ReachedError
        return value

    def map(self, fun: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """A map on W slots."""
        todo = list(items)
        self.rounds += math.ceil(len(todo) / self.slots)
        self.in_wave = True
        try:
            found = [fun(item) for item in todo]
        finally:
            self.in_wave = False
        if self.reached is not None:
            raise ReachedError
        return found


class CountingExecutor(Executor):
    """An executor of concurrent.futures whose maps are counted."""

    def __init__(self, rounds: Rounds) -> None:
        self.rounds = rounds

    def map(self, fn: Any, *iterables: Any, **_: Any) -> Any:
        return iter(self.rounds.map(lambda args: fn(*args), list(zip(*iterables, strict=False))))

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(self.rounds.map(lambda _: fn(*args, **kwargs), [0])[0])
        return future


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


def by_optimparallel(rounds: Rounds, x0: Any) -> None:
    """optimparallel"""  # noqa: D400, D403  # the name of a row
    from optimparallel import minimize_parallel

    options = {"ftol": 0, "gtol": 0, "maxiter": 500}
    minimize_parallel(rounds, x0, options=options, parallel={"executor": CountingExecutor(rounds)})


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


def stopped(rounds: Rounds, run: Callable[[Rounds], Any]) -> int | None:
    """The rounds at which the target was reached; whatever else ends the run is told."""
    try:
        run(rounds)
    except Exception:  # some put what J raises into errors of their own
        if rounds.reached is None:
            raise
    return rounds.reached


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
    """Rounds by the clock: wall time over one evaluation's."""
    for seconds in (0.1, 0.5):
        _wall(seconds)


def _wall(seconds: float) -> None:
    from scipy.optimize import minimize

    d, target = 8, 1e-3
    fun, x0 = Sleeper(seconds), np.array([-1.2, 1.0] * (d // 2))
    one = statistics.mean(clock(partial(fun, x0)) for _ in range(5))
    nfev = minimize(Sleeper(0), x0, method="L-BFGS-B", jac="2-point", callback=None).nfev // (d + 1)

    def reached(x: Any) -> None:
        if Sleeper(0)(x) <= target:
            raise StopIteration

    with distfd.Evaluator(fun, executor=distfd.RayExecutor(max_slots=d + 4, num_cpus=d + 4)) as ev:
        ev.start(wait=True)
        ev.value(x0 + 1)
        begin = time.perf_counter()
        ours = distfd.minimize(ev, x0, callback=reached)
        rows = [("distfd", time.perf_counter() - begin, ours.nfev)]
    with ThreadPoolExecutor(d + 4) as pool:
        begin = time.perf_counter()
        theirs = minimize(fun, x0, method="L-BFGS-B", callback=reached, options={"workers": pool.map})
        rows.append(("SciPy, workers", time.perf_counter() - begin, theirs.nit))
    print(
        f"\nrosenbrock, d {d}, W {d + 4}, J sleeps {seconds:g} s ({one:.4f} s); SciPy alone has nfev {nfev} to its end"
    )
    for name, spent, n in rows:
        print(f"  {name:<16} {spent / one:6.1f} rounds ({n} values or iterations)")
    print(f"  distfd: {rows[0][1] / one / rows[0][2]:.3f} rounds a function evaluation")


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
