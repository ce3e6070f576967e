"""Random limited, failing and interrupted optimisations, and what must hold of each: for a test, and for a long script.

Run as a script it makes as many cases as it is told: ``python tests/optimization/limited_runs.py 300``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import distfd
import distfd.events
from distfd.executors.serial import SerialExecutor

if TYPE_CHECKING:
    from numpy.typing import NDArray

H = 2.0**-20
MINIMIZERS = ("L-BFGS", "L-BFGS-B", "BFGS", "CG", "TNC", "SLSQP", "trust-constr", "Newton-CG", "trust-krylov")
CONSTRAINED = ("SLSQP", "trust-constr")
FITTERS = ("trf", "dogbox", "lm", "model")


class Wide(SerialExecutor):
    """As many slots as a case wants, on paper."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots


@dataclass
class Problem:
    """A trivial J that fails at points which its seed chooses, and notes where it was evaluated."""

    seed: int
    d: int
    kind: str
    failing: float
    stops_at: int | None = None
    calls: int = 0
    seen: dict[bytes, float] = field(default_factory=dict)
    outputs: dict[bytes, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, 1])
        self.x0 = rng.normal(size=self.d)
        self.matrix = rng.normal(size=(self.d + 2, self.d))
        self.right = rng.normal(size=self.d + 2)

    def fails(self, x: NDArray[np.float64]) -> bool:
        """Whether J has no value there; never next to x0, and the same for all points of one stencil's base mostly."""
        if np.abs(x - self.x0).max() <= 2 * H:
            return False
        cell = np.floor(x * 1e3).astype(np.int64)
        return bool(np.random.default_rng([self.seed, *np.abs(cell) % 2**31]).random() < self.failing)

    def residuals(self, x: Any) -> NDArray[np.float64]:
        """(d + 2,)."""
        x = np.array(x, dtype=np.float64)
        with np.errstate(all="ignore"):
            return np.asarray(self.matrix @ x - self.right + 0.3 * np.tanh(x[0]) ** 2)

    def __call__(self, x: Any) -> Any:
        """J, or the residuals, or J and a constraint."""
        x = np.array(x, dtype=np.float64)
        self.calls += 1
        if self.calls == self.stops_at:
            raise KeyboardInterrupt
        if self.fails(x):
            if self.calls % 2:
                raise ArithmeticError("no value here")
            return np.full(self.d + 2, np.nan) if self.kind == "fit" else np.nan
        r = self.residuals(x)
        with np.errstate(all="ignore"):
            value = 0.5 * float(r @ r)
        self.seen[x.tobytes()] = value
        if self.kind == "fit":
            return r
        if self.kind == "constrained":
            self.outputs[x.tobytes()] = np.array([x.sum()])
            return np.array([value, x.sum()])
        return value

    def violation(self, key: bytes) -> float:
        """Of 0 <= sum(x)."""
        return 0.0 if self.kind != "constrained" else max(0.0, -float(self.outputs[key][0]))

    def rank(self, key: bytes) -> tuple[float, float]:
        """The best point first, a feasible one before all others."""
        beyond = self.violation(key)
        return (0.0 if beyond <= 1e-6 else beyond, self.seen[key])

    def whole(self) -> list[bytes]:
        """Points at which J and all of its forward differences were evaluated, without central ones."""
        found = []
        for key in self.seen:
            x = np.frombuffer(key)
            if all((x + H * row).tobytes() in self.seen for row in np.eye(self.d)):
                found.append(key)
        return found


@dataclass
class Case:
    """One random run."""

    seed: int
    method: str
    problem: Problem
    limits: dict[str, Any]
    slots: int
    speculative: Any

    def __str__(self) -> str:
        p = self.problem
        return (
            f"seed {self.seed}: {self.method} {p.kind} d={p.d} failing={p.failing:.2f} stops_at={p.stops_at} "
            f"{self.limits} slots={self.slots} speculative={self.speculative}"
        )


def make_case(seed: int) -> Case:
    """The case of a seed."""
    rng = np.random.default_rng([seed, 0])
    kind = str(rng.choice(["plain", "plain", "constrained", "fit"]))
    methods = {"plain": MINIMIZERS, "constrained": CONSTRAINED, "fit": FITTERS}[kind]
    method = str(rng.choice(methods))
    failing = 0.0 if method == "lm" else float(rng.choice([0.0, 0.1, 0.3, 0.5]))
    limits: dict[str, Any] = {}
    if rng.random() < 0.5:
        limits["max_evaluations"] = int(rng.integers(1, 80))
    if rng.random() < 0.4:
        limits["max_iterations"] = int(rng.integers(1, 8))
    d = int(rng.integers(2, 5))
    stops_at = int(rng.integers(d + 2, 80)) if rng.random() < 0.4 else None
    problem = Problem(seed, d, kind, failing, stops_at)
    return Case(
        seed, method, problem, limits, int(rng.choice([1, 3, 12, 20])), bool(rng.choice([True, False])) or "auto"
    )


def run_case(case: Case, folder: Path) -> str:
    """Run it and assert what must hold; returns how it ended."""
    p, told, tally = case.problem, [], []
    journal = folder / f"{case.seed}.jsonl"

    def note(event: Any) -> None:
        if isinstance(event, distfd.events.Improved):
            tally.append(event)

    common: dict[str, Any] = {
        "method": case.method,
        "limits": distfd.Limits(**case.limits),
        "speculative": case.speculative,
        "slots": case.slots,
        "journal": journal,
        "callback": lambda x: told.append(np.array(x)),
        "executor": Wide(case.slots),
        "step": distfd.AbsoluteStep(H),
        "observers": [note],
    }
    if p.kind == "constrained":
        common["constraints"] = distfd.Outputs(lower=0.0)
    solve = distfd.least_squares if p.kind == "fit" else distfd.minimize
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = solve(p, p.x0, **common)
    except (KeyboardInterrupt, distfd.EvaluationError) as error:
        result, how = None, type(error).__name__
    else:
        how = str(result.status)
    whole = p.whole()
    _check_best(case, whole, result, tally, how)
    _check_iterates(case, told, journal, whole, result)
    if how in {"130", "KeyboardInterrupt"}:
        _go_on(case, solve, common, journal)
    return how


def _go_on(case: Case, solve: Any, common: dict[str, Any], journal: Path) -> None:
    """Run an interrupted case again, on other slots: it comes to the same iterates, and gives nothing worse."""
    before = journal.read_text()
    case.problem.stops_at = None
    again = {**common, "slots": None, "executor": Wide(case.slots + 2), "callback": lambda x: None}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with contextlib.suppress(distfd.EvaluationError):
            solve(case.problem, case.problem.x0, **again)
    assert not [one for one in caught if "differs from the one" in str(one.message)], f"{case}: the replay diverged"
    assert journal.read_text().startswith(before), f"{case}: the journal was begun anew"


def _check_best(case: Case, whole: list[bytes], result: Any, tally: list[Any], how: str) -> None:
    """What is given, or would be written, is no worse than the best of the points whose differences are all known."""
    p = case.problem
    best = min((p.rank(key) for key in whole), default=None)
    given = None if result is None else result.x
    if result is None and tally:
        given = tally[-1].x  # what result.json has
    if best is not None and given is not None:
        mine = p.rank(np.array(given).tobytes())
        slack = 1e-9 * max(1.0, abs(best[1]))
        if p.kind == "constrained" and result is not None and result.success:
            slack = 1e-4  # the method's own end keeps constraints as it sees fit
        assert mine[0] <= best[0], f"{case}: violation {mine[0]}, and {best[0]} was known ({how})"
        assert mine[1] <= best[1] + slack, f"{case}: {mine[1]!r} is worse than {best[1]!r}, which was known ({how})"
    if best is not None and given is None:
        raise AssertionError(f"{case}: nothing is given, and {best} was known ({how})")


def _check_iterates(case: Case, told: list[Any], journal: Path, whole: list[bytes], result: Any) -> None:
    """Callback, journal and history hold the same points, each with its own value and (but for the last) a gradient."""
    p = case.problem
    written = [json.loads(line) for line in journal.read_text().splitlines()]
    iterates = [line for line in written if "iterate" in line]
    assert [line["x"] for line in iterates] == [x.tolist() for x in told], f"{case}: journal and callback differ"
    for x, line in zip(told, iterates, strict=True):
        assert x.tobytes() in p.seen, f"{case}: {x} was never evaluated"
        assert line["value"] == p.seen[x.tobytes()], f"{case}: {line} is no value of J there"
    # Models take slopes along some directions, and trust regions take gradients after they have told of a step.
    if case.method != "model":
        for x in told[:-1]:
            assert x.tobytes() in whole, f"{case}: {x} is no accepted iterate"
    values = [p.seen[x.tobytes()] for x in told]
    if p.kind != "constrained" and case.method != "Newton-CG":
        falls = all(a >= b - 1e-12 * max(1, abs(a)) for a, b in itertools.pairwise(values))
        assert falls, f"{case}: J rises along the iterates: {values}"
    if result is not None:
        assert [row.value for row in result.history[1:]] == values, f"{case}: history"
        assert result.nit == len(told), f"{case}: nit {result.nit}, and {len(told)} iterates"
        wanted = case.limits.get("max_iterations")
        assert wanted is None or len(told) <= wanted, f"{case}: {len(told)} iterates"


def main(n: int, first: int = 0) -> None:
    """Run n cases and say how they ended."""
    ends: dict[str, int] = {}
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + n):
            try:
                how = run_case(make_case(seed), Path(folder))
            except AssertionError as error:
                bad += 1
                print(str(error).splitlines()[0][:400])
                continue
            ends[how] = ends.get(how, 0) + 1
    print(f"{n - bad} of {n} hold; they ended so: {ends}")
    if bad:
        sys.exit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
