"""How right ``step="auto"`` is, on noisy versions of functions whose gradients are known, and what others do there.

    python scripts/bench_accuracy.py            # the figures of auto: coverage, bars, error against the best fixed step
    python scripts/bench_accuracy.py --peers    # and error digits and evaluations of peers (pip install distfd[bench])
    python scripts/bench_accuracy.py --wrongs   # on a second set, public_problems.py: how often a derivative is wrong
                                                # without a word, by kind and package; a few minutes with
                                                # --functions 15 --points 1 --kinds gradient

Evaluations are made in this process: the methods are pure, and ask for points.
"""

from __future__ import annotations

import argparse
import sys
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from problems import PROBLEMS  # noqa: E402  # found only now

from distfd.differentiation.auto_step import AutoStep  # noqa: E402
from distfd.differentiation.base_point import BasePoint  # noqa: E402
from distfd.differentiation.method import Answer, Request, Wave  # noqa: E402
from distfd.differentiation.probe_refinement import CAP  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray
    from problems import Problem

    Floats = NDArray[np.float64]

LEVELS = (1e-8, 1e-6, 1e-4, 1e-2)
VERSIONS = [("absolute", v) for v in LEVELS] + [("relative", v) for v in LEVELS] + [("digits", n) for n in range(4, 9)]
FIXED = CAP * 10.0 ** -np.arange(0, 8, 0.25)
"""Fixed steps, relative to max(1, abs(x)), none above the cap that auto has."""
WRONG_KINDS = ["gradient", "jacobian", "sparse", "hessian", "complex step"]
SKIPPED = {"forward": ("linear",), "central": ("linear", "quadratic")}
"""Functions of which the best fixed step of a scheme is simply the largest: no J'', no J'''."""


def noisy(problem: Problem, kind: str, amount: float, rng: np.random.Generator) -> Callable[[Floats], Floats]:
    """J at points (n, d) with noise of that kind: standard deviation, relative one, or significant digits."""

    def values(points: Floats) -> Floats:
        exact = problem.value(points)
        if kind == "digits":
            return np.array([float(f"{v:.{int(amount) - 1}e}") for v in exact])
        size = amount if kind == "absolute" else amount * np.abs(exact)
        return np.asarray(exact + size * rng.normal(size=exact.shape))

    return values


def solve(method: Any, values: Callable[[Floats], Floats]) -> tuple[Answer, int, int]:
    """What a method answers, and its evaluations and rounds."""
    waves: list[Wave] = []
    while isinstance(step := method.advance(waves), Request):
        points = np.array([step.points.dense(k) for k in range(len(step.points))])
        waves.append(Wave(step, values(points)[:, None], np.ones(len(points), dtype=np.uint8)))
    return step, sum(len(wave.values) for wave in waves), len(waves)


def everywhere(x: Floats) -> BasePoint:
    """A site without bounds."""
    return BasePoint(x, np.full(len(x), -np.inf), np.full(len(x), np.inf))


@dataclass(frozen=True)
class Case:
    """One function with one kind of noise, several draws: (draws, d) errors and bars, (draws,) costs and rounds."""

    problem: Problem
    version: tuple[str, float]
    error: Floats
    bar: Floats
    cost: NDArray[np.int64]
    rounds: NDArray[np.int64]
    best: dict[str, float]

    def ratio(self, scheme: str) -> float:
        """Median error of auto over that of the best fixed step."""
        return float(np.median(self.error)) / self.best[scheme]


def case(problem: Problem, version: tuple[str, float], draws: int, *, fixed: bool = True) -> Case:
    """Draw x around x0, by 1 %, and noise."""
    rng = np.random.default_rng(zlib.crc32(f"{problem.name} {version}".encode()))
    values = noisy(problem, *version, rng)
    at = problem.x0 * (1 + 0.01 * rng.normal(size=(draws, len(problem.x0))))
    exact = np.array([problem.gradient(x) for x in at])
    found = [solve(AutoStep(everywhere(x), np.maximum(1.0, np.abs(x))), values) for x in at]
    schemes = {"forward": 0, "central": 1} if fixed else {}
    best = {name: fixed_error(values, at, exact, central=bool(two)) for name, two in schemes.items()}
    return Case(
        problem,
        version,
        np.abs(np.array([answer.derivative for answer, _, _ in found]) - exact),
        np.array([answer.error for answer, _, _ in found]),
        np.array([n for _, n, _ in found]),
        np.array([rounds for _, _, rounds in found]),
        best,
    )


def fixed_error(values: Callable[[Floats], Floats], at: Floats, exact: Floats, *, central: bool) -> float:
    """The least median error, over components and draws, of any one fixed step."""
    errors = []
    for relative in FIXED:
        found = []
        for x in at:
            h = relative * np.maximum(1.0, np.abs(x))
            ahead = values(x + np.diag(h))
            found.append((ahead - values(x - np.diag(h))) / (2 * h) if central else (ahead - values(x[None])) / h)
        errors.append(np.median(np.abs(np.array(found) - exact)))
    return float(min(errors))


def row(title: str, cases: list[Case]) -> str:
    """One line of the table."""
    error, bar = (np.concatenate([getattr(c, name).ravel() for c in cases]) for name in ("error", "bar"))
    known = np.isfinite(bar)
    over = np.concatenate([c.cost - 2 * len(c.problem.x0) for c in cases])
    most = max(int((c.cost - 4 * len(c.problem.x0)).max()) for c in cases)
    text = (
        f"{title:<20} {100 * np.mean(error <= bar):6.1f} {100 * np.mean(~known):6.1f} "
        f"{np.median(bar[known] / np.maximum(error[known], 1e-300)):8.2f} "
        f"{np.median(over):6.0f} {most:6d} {max(int(c.rounds.max()) for c in cases):6d}"
    )
    for scheme, skipped in SKIPPED.items():
        ratios = [c.ratio(scheme) for c in cases if c.problem.kind not in skipped]
        text += f" {np.median(ratios):8.2f} {max(ratios):7.2f}" if ratios else " " * 17
    return text


def show(cases: list[Case]) -> None:
    """The figures of auto."""
    print(f"{len({c.problem.name for c in cases})} functions, {len(cases)} cases, {len(cases[0].cost)} draws each")
    print("inside, no bar: % of components; n: evaluations, median over 2d and largest over 4d;")
    print("fixed: error over that of the best fixed step of forward and central differences, functions apart of which")
    print("the best fixed step is the largest (J'' = 0; for central J''' = 0)")
    print(f"{'':<20} {'inside':>6} {'no bar':>6} {'bar/err':>8} {'n-2d':>6} {'n-4d':>6} {'rounds':>6}", end="")
    print(f" {'forward':>8} {'worst':>7} {'central':>8} {'worst':>7}")
    for version in VERSIONS:
        some = [c for c in cases if c.version == version]
        if some:
            print(row(f"{version[0]} {version[1]:g}", some))
    print(row("all", cases))
    for scheme, skipped in SKIPPED.items():
        functions = sorted({c.problem.name for c in cases if c.problem.kind not in skipped})
        ratios = {f: float(np.median([c.ratio(scheme) for c in cases if c.problem.name == f])) for f in functions}
        worst = sorted(ratios, key=lambda f: -ratios[f])[:3]
        named = ", ".join(f"{f} {ratios[f]:.2f}" for f in worst)
        print(f"against {scheme}, by function: median {np.median(list(ratios.values())):.2f}; worst {named}")
    for kind in ("quadratic", "linear"):
        ratios_of = [c.ratio("central") for c in cases if c.problem.kind == kind]
        if ratios_of:
            print(f"{kind} functions apart, against central: {np.median(ratios_of):.2f}, worst {max(ratios_of):.1f}")
    names = sorted({c.problem.name for c in cases})
    inside = {f: np.mean([np.mean(c.error <= c.bar) for c in cases if c.problem.name == f]) for f in names}
    lowest = sorted(names, key=lambda f: inside[f])[:5]
    print("fewest inside: " + ", ".join(f"{f} {100 * inside[f]:.1f} %" for f in lowest))


def peers() -> dict[str, Callable[[Callable[[Floats], float], Floats], Floats]]:
    """Gradients by other packages, with their own defaults."""
    import jacobi
    import numdifftools
    import optimagic
    from scipy.optimize._numdiff import approx_derivative

    return {
        "scipy 2-point": lambda f, x: approx_derivative(f, x, method="2-point"),
        "scipy 3-point": lambda f, x: approx_derivative(f, x, method="3-point"),
        "numdifftools": lambda f, x: numdifftools.Gradient(f)(x),
        "jacobi": lambda f, x: jacobi.jacobi(lambda y: float(f(y)), x)[0],
        "optimagic": lambda f, x: optimagic.first_derivative(f, x).derivative,
        "distfd auto": lambda f, x: (
            solve(AutoStep(everywhere(x), np.maximum(1.0, np.abs(x))), lambda points: np.array([f(p) for p in points]))[
                0
            ].derivative
        ),
    }


def compare(problems: Iterable[Problem], draws: int) -> None:
    """Correct digits (median, and of the worst tenth) and evaluations a parameter of each package."""
    problems = list(problems)
    made = peers()
    print("\ncorrect digits of a component, against the larger of it and 1 % of the largest: median, worst tenth;")
    print("evaluations, over d, median. Each package with its own defaults.")
    print(f"{'':<16}" + "".join(f"{name:>20}" for name in made))
    for version in VERSIONS:
        cells = []
        for gradient in made.values():
            digits, costs = [], []
            for problem in problems:
                rng = np.random.default_rng(zlib.crc32(f"{problem.name} {version}".encode()))
                values = noisy(problem, *version, rng)
                for _ in range(draws):
                    x = problem.x0 * (1 + 0.01 * rng.normal(size=problem.x0.shape))
                    count = [0]

                    def fun(at: Floats, values: Any = values, count: list[int] = count) -> float:
                        count[0] += 1
                        return float(values(np.asarray(at)[None])[0])

                    exact = problem.gradient(x)
                    with warnings.catch_warnings(), np.errstate(all="ignore"):
                        warnings.simplefilter("ignore")
                        error = np.abs(np.asarray(gradient(fun, x)).ravel() - exact)
                    size = np.maximum(np.abs(exact), 0.01 * np.abs(exact).max())
                    digits += np.clip(-np.log10(np.nan_to_num(error / size, nan=1e9) + 1e-16), -9, 16).tolist()
                    costs.append(count[0] / len(x))
            cells.append(f"{np.median(digits):6.1f} {np.quantile(digits, 0.1):5.1f} {np.median(costs):6.1f}")
        print(f"{version[0] + f' {version[1]:g}':<16}" + "".join(f"{cell:>20}" for cell in cells))


def main() -> None:
    """Parse the command line, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--functions", nargs="*", default=list(PROBLEMS), help="names, or how many; all by default")
    parser.add_argument("--peers", action="store_true", help="compare with other packages instead")
    parser.add_argument("--wrongs", action="store_true", help="silent wrongs on the second set instead")
    parser.add_argument(
        "--points", type=int, default=3, help="with --wrongs: points a function, late iterates among them"
    )
    parser.add_argument("--seed", type=int, default=0, help="with --wrongs")
    parser.add_argument("--kinds", nargs="*", default=WRONG_KINDS, choices=WRONG_KINDS, help="with --wrongs")
    parser.add_argument("--alone", action="store_true", help="with --wrongs: distfd without its peers")
    given = parser.parse_args()
    if given.wrongs:
        import silent_wrongs

        few = given.functions[0].isdigit()
        names = int(given.functions[0]) if few else None if given.functions == list(PROBLEMS) else given.functions
        silent_wrongs.show(names, given.points, given.seed, given.kinds, peers=not given.alone)
        return
    first = given.functions[0]
    names = list(PROBLEMS)[: int(first)] if first.isdigit() else given.functions
    chosen = [PROBLEMS[name] for name in names]
    if given.peers:
        compare(chosen, max(1, given.draws // 10))
    else:
        show([case(problem, version, given.draws) for problem in chosen for version in VERSIONS])


if __name__ == "__main__":
    main()
