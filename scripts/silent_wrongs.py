"""How often a derivative is wrong without a word: by kind of derivative, kind of J, and package.

A component is wrong where it is off by more than 10 % (of itself, or of 1 % of its row's largest), and outside its
error bar, or estimate, where it has one. It is silent where no warning came with it: of distfd a `DerivativeWarning`, a
missing component, or a directional check (``check=True``) that doubts it; the other packages have no warnings, but what
they raise counts as one. ``bench_accuracy.py --wrongs`` runs it.
"""

from __future__ import annotations

import inspect
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from public_problems import SCALARS, VECTORS, load, points, usable

import distfd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from public_problems import PublicProblem

    Floats = NDArray[np.float64]
    Fun = Callable[[Floats], Any]

WRONG, RIGHT = 0.1, 0.02
SMALL = 0.01
CHECKED = "check" in inspect.signature(distfd.Evaluator).parameters
"""Whether this distfd has the directional check."""
SCALE = 1e-8
OFFSET = 1e9
RIPPLE = 1e-4
AROUND = np.linspace(-0.01, 0.01, 41)
TURNS = 4


def added(law: str, level: float) -> Callable[[Fun, Floats, np.random.Generator], Fun]:
    """J with random noise of a law, of standard deviation ``level`` max(1, abs(J(x)))."""
    draws: dict[str, Callable[[np.random.Generator, Any], Any]] = {
        "gauss": lambda rng, shape: rng.normal(size=shape),
        "t3": lambda rng, shape: rng.standard_t(3, size=shape) / np.sqrt(3),
        "outliers": lambda rng, shape: rng.normal(size=shape) * np.where(rng.random(shape) < 0.01, 100, 1),
    }

    def wrap(fun: Fun, x: Floats, rng: np.random.Generator) -> Fun:
        size = level * np.maximum(1.0, np.abs(fun(x)))
        return lambda at: _like(fun(at) + size * draws[law](rng, np.shape(size)))

    return wrap


def _like(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 else np.asarray(value)


def _solver(fun: Fun, _: Floats, __: np.random.Generator) -> Fun:
    """An iteration that stops at a relative tolerance of 1e-6: as much is left as the bits of x say."""
    return lambda at: _like(fun(at) * (1 + 1e-6 * (zlib.crc32(np.asarray(at).tobytes()) / 2**32)))


def _printed(fun: Fun, _: Floats, __: np.random.Generator) -> Fun:
    return lambda at: _like(np.array([float(f"{v:.5e}") for v in np.ravel(fun(at))]).reshape(np.shape(fun(at))))


def _ripple(wave: Callable[[Any], Any]) -> Callable[[Fun, Floats, np.random.Generator], Fun]:
    def wrap(fun: Fun, x: Floats, rng: np.random.Generator) -> Fun:
        way = rng.normal(size=x.shape) / np.maximum(1.0, np.abs(x))
        way *= 1.4 / np.linalg.norm(way * np.maximum(1.0, np.abs(x)))
        size = RIPPLE * np.maximum(1.0, np.abs(fun(x)))
        return lambda at: _like(fun(at) + size * wave(float(way @ at)))

    return wrap


def _plain(fun: Fun, _: Floats, __: np.random.Generator) -> Fun:
    return fun


def _single(fun: Fun, _: Floats, __: np.random.Generator) -> Fun:
    return lambda at: np.float32(fun(at))


def _tiny(fun: Fun, _: Floats, __: np.random.Generator) -> Fun:
    return lambda at: fun(np.asarray(at) / SCALE)


def _offset(fun: Fun, _: Floats, __: np.random.Generator) -> Fun:
    return lambda at: _like(OFFSET + fun(at))


KINDS_OF_J: dict[str, Callable[[Fun, Floats, np.random.Generator], Fun]] = {
    "clean": _plain,
    "float32": _single,
    **{f"gauss {level:g}": added("gauss", level) for level in (1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)},
    "t3 1e-06": added("t3", 1e-6),
    "outliers 1e-06": added("outliers", 1e-6),
    "solver 1e-06": _solver,
    "printed 6 digits": _printed,
    "tiny scale": _tiny,
    "huge offset": _offset,
    "ripples, saw": _ripple(lambda t: 1000 * t % 1),
    "ripples, sine": _ripple(lambda t: np.sin(2000 * t)),
}


@dataclass(frozen=True)
class Found:
    """One derivative: values, bars (NaN for none), and whether it came with a warning."""

    value: Floats
    bar: Floats
    told: bool
    raised: bool = False


def by_distfd(kind: str, **options: Any) -> Callable[[Fun, Floats], Found]:
    """By distfd itself, with the directional check where there is one."""

    def derivative(fun: Fun, x: Floats, **more: Any) -> Found:
        checked = {"check": True} if CHECKED else {}
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            try:
                result = distfd.differentiate(
                    fun, x, kind=kind, executor="serial", on_failure="nan", **checked, **options, **more
                )
            except distfd.DistfdError:
                return Found(np.full(1, np.nan), np.full(1, np.nan), told=True)
        value = result.derivative
        value = value.toarray() if hasattr(value, "toarray") else np.asarray(value)
        bar = np.full(value.shape, np.nan) if result.error is None else np.asarray(result.error)
        bar = bar if bar.shape == value.shape else np.full(value.shape, np.nan)
        check = getattr(result, "consistency", None)
        doubted = check is not None and check.verdict not in ("consistent", "unknown")
        return Found(value, bar, bool(record or result.warnings or doubted or len(result.missing)))

    return derivative


def by_peers(kind: str) -> dict[str, Callable[..., Found]]:
    """SciPy, numdifftools and jacobi, each with its own defaults."""
    import jacobi
    import numdifftools
    from scipy.optimize._numdiff import approx_derivative

    def plain(value: Any) -> Found:
        value = np.asarray(value)
        return Found(value, np.full(value.shape, np.nan), told=False)

    def estimated(value: Any, error: Any) -> Found:
        value, error = np.asarray(value), np.abs(np.asarray(error))
        return Found(value, np.broadcast_to(error, value.shape), told=False)

    def by_numdifftools(make: Any) -> Callable[..., Found]:
        def derivative(fun: Fun, x: Floats, **_: Any) -> Found:
            value, error, *_ = make(fun, full_output=True)(x)
            error = getattr(error, "error_estimate", error)  # before numdifftools 0.11 it is one of several
            return estimated(value, np.reshape(error, np.shape(value)))

        return derivative

    if kind == "hessian":
        return {"numdifftools": by_numdifftools(numdifftools.Hessian)}
    if kind == "sparse":
        return {
            "scipy 2-point": lambda fun, x, sparsity, **_: plain(
                approx_derivative(fun, x, "2-point", sparsity=sparsity).toarray()
            )
        }
    if kind == "complex step":
        return {"scipy cs": lambda fun, x, **_: plain(approx_derivative(fun, x, method="cs"))}
    return {
        "scipy 2-point": lambda fun, x, **_: plain(approx_derivative(fun, x, method="2-point")),
        "scipy 3-point": lambda fun, x, **_: plain(approx_derivative(fun, x, method="3-point")),
        "numdifftools": by_numdifftools(numdifftools.Gradient if kind == "gradient" else numdifftools.Jacobian),
        "jacobi": lambda fun, x, **_: estimated(*jacobi.jacobi(fun, x)),
    }


def makers(kind: str, *, peers: bool) -> dict[str, Callable[..., Found]]:
    """Who makes derivatives of a kind."""
    own: dict[str, dict[str, Callable[..., Found]]] = {
        "gradient": {"distfd": by_distfd("gradient"), "distfd auto": by_distfd("gradient", step="auto")},
        "jacobian": {"distfd": by_distfd("jacobian"), "distfd auto": by_distfd("jacobian", step="auto")},
        "sparse": {"distfd": by_distfd("jacobian")},
        "hessian": {"distfd": by_distfd("hessian")},
        "complex step": {"distfd": by_distfd("gradient", scheme="complex-step")},
    }
    return {**own[kind], **(by_peers(kind) if peers else {})}


@dataclass(frozen=True)
class Tried:
    """One derivative, component by component: relative error, inside its bar, has a bar; and whether it was told."""

    off: Floats
    inside: NDArray[np.bool_]
    barred: NDArray[np.bool_]
    told: bool
    raised: bool


def judge(found: Found, exact: Floats) -> Tried:
    """Hold a derivative against the exact one."""
    exact = np.atleast_1d(exact)
    value = found.value if found.value.shape == exact.shape else np.full(exact.shape, np.nan)
    bar = found.bar if found.bar.shape == exact.shape else np.full(exact.shape, np.nan)
    least = SMALL * np.abs(exact).max(axis=-1, keepdims=True)
    with np.errstate(all="ignore"):
        error = np.abs(value - exact)
        off = error / np.maximum(np.maximum(np.abs(exact), least), np.finfo(float).tiny)
        return Tried(
            np.nan_to_num(off, nan=np.inf).ravel(),
            (error <= bar).ravel(),
            np.isfinite(bar).ravel(),
            found.told,
            found.raised,
        )


def case(problem: PublicProblem, x: Floats, kind: str, j: str, seed: int) -> tuple[Fun, Floats, Floats, dict[str, Any]]:
    """J with its kind of trouble, the point, the exact derivative, and what the derivative needs beside."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{problem.name} {kind} {j}".encode()), zlib.crc32(x.tobytes())])
    exact = problem.hessian(x) if kind == "hessian" else problem.derivative(x)
    fun = KINDS_OF_J[j](problem.fun, x, rng)
    more = {"sparsity": (exact != 0).astype(int)} if kind == "sparse" else {}
    if j == "tiny scale":
        x, exact = x * SCALE, exact / SCALE ** (2 if kind == "hessian" else 1)
    return fun, x, exact, more


def has_waves(problem: PublicProblem, x: Floats) -> bool:
    """Whether the function itself has ripples around x, as its exact derivative has it.

    That is where the slope along one of three random directions turns more than four times within 1 % of x's scale.
    """
    rng = np.random.default_rng(zlib.crc32(x.tobytes()))
    scale = np.where(x == 0, 1.0, np.abs(x))
    for draw in rng.normal(size=(3, len(x))):
        way = draw / np.linalg.norm(draw) * scale
        with np.errstate(all="ignore"):
            change = np.diff([np.atleast_1d(problem.derivative(x + t * way) @ way) for t in AROUND], axis=0)
        if (np.count_nonzero(change[1:] * change[:-1] < 0, axis=0) > TURNS).any():
            return True
    return False


def complex_cases(count: int, seed: int) -> list[tuple[str, Fun, Floats, Floats]]:
    """J for the complex step: those of the first set, whole, and with a part that loses its imaginary part."""
    from problems import PROBLEMS

    found: list[tuple[str, Fun, Floats, Floats]] = []
    rng = np.random.default_rng(seed)
    for problem in list(PROBLEMS.values())[:count]:
        x = problem.x0 * (1 + 0.1 * rng.normal(size=problem.x0.shape))
        fun = lambda at, problem=problem: problem.value(np.asarray(at)[None])[0]  # noqa: E731
        slopes = problem.gradient(x)
        size = np.abs(slopes).max()
        found.append(("clean", fun, x, slopes))
        lost = lambda at, fun=fun, size=size: fun(at) + size * np.abs(at[-1])  # noqa: E731
        exact = slopes + size * np.sign(x[-1]) * (np.arange(len(x)) == len(x) - 1)
        found.append(("loses a part", lost, x, exact))
    return found


def table(rows: dict[tuple[str, str, str], list[Tried]]) -> str:
    """Shares by kind of derivative, kind of J and package."""
    lines = [
        "silent: % of components off by more than 10 % (and outside their bar) without a warning; wrong: the same with",
        "or without one; outside: % of bars that do not hold; alarms: % of derivatives that are right to 2 % and warn;",
        "raised: % of derivatives that ended as an exception (a sign of trouble with the package, if it is many)",
        f"{'kind':<17}{'J':<18}{'package':<15}{'n':>6}{'silent':>8}{'wrong':>8}{'outside':>9}{'alarms':>8}{'raised':>8}",
    ]
    for (kind, j, package), tried in rows.items():
        n = sum(len(one.off) for one in tried)
        wrong = sum(int(((one.off > WRONG) & ~one.inside).sum()) for one in tried)
        silent = sum(int(((one.off > WRONG) & ~one.inside).sum()) for one in tried if not one.told)
        bars = sum(int(one.barred.sum()) for one in tried)
        outside = sum(int((one.barred & ~one.inside).sum()) for one in tried)
        right = [one for one in tried if (one.off < RIGHT).all()]
        cells = [
            f"{100 * silent / n:8.2f}",
            f"{100 * wrong / n:8.1f}",
            f"{100 * outside / bars:9.1f}" if bars else f"{'':>9}",
            f"{100 * sum(one.told for one in right) / len(right):8.1f}" if right else f"{'':>8}",
            f"{100 * sum(one.raised for one in tried) / len(tried):8.1f}",
        ]
        lines.append(f"{kind:<17}{j:<18}{package:<15}{n:6d}{''.join(cells)}")
    return "\n".join(lines)


def show(names: Sequence[str] | int | None, count: int, seed: int, kinds: Sequence[str], *, peers: bool) -> None:
    """Run, and print the table of each kind as soon as it is there; when interrupted, of what there is by then."""
    print(f"directional check: {'check=True' if CHECKED else 'not in this version'}")
    for kind in kinds:
        rows: dict[tuple[str, str, str], list[Tried]] = {}
        functions: set[str] = set()
        try:
            for name, waves, j, package, tried in _attempts(names, count, seed, kind, peers=peers):
                rows.setdefault((f"{kind}, waves" if waves else kind, j, package), []).append(tried)
                functions.add(name)
        except KeyboardInterrupt:
            print("interrupted")
            return
        finally:
            places = {j: i for i, j in enumerate(KINDS_OF_J)}
            order = {key: rows[key] for key in sorted(rows, key=lambda key: (key[0], places.get(key[1], 0)))}
            print(f"{len(functions)} functions, {count} points each\n{table(order)}", flush=True)


def _attempts(
    names: Sequence[str] | int | None, count: int, seed: int, kind: str, *, peers: bool
) -> Iterator[tuple[str, bool, str, str, Tried]]:
    """Function, whether it has waves of its own there, kind of J, package, and how its derivative came out."""
    made = makers(kind, peers=peers)
    if kind == "complex step":
        for k, (j, fun, x, exact) in enumerate(complex_cases(names if isinstance(names, int) else 60, seed)):
            for package, derivative in made.items():
                yield str(k), False, j, package, _attempt(derivative, fun, x, exact, {})
        return
    every = VECTORS if kind in ("jacobian", "sparse") else SCALARS
    # A few are spread over the alphabet, as families of problems share their beginnings.
    few = every[:: max(1, len(every) // names)][:names] if isinstance(names, int) else every
    for name in [name for name in every if name in names] if isinstance(names, list) else few:
        problem = load(name)
        for _, x in points(problem, count, np.random.default_rng([seed, zlib.crc32(name.encode())])):
            if not usable(problem, x):
                continue
            waves = has_waves(problem, x)
            for j in KINDS_OF_J:
                for package, derivative in made.items():
                    fun, at, exact, more = case(problem, x, kind, j, seed)
                    yield name, waves, j, package, _attempt(derivative, fun, at, exact, more)


def _attempt(derivative: Callable[..., Found], fun: Fun, x: Floats, exact: Floats, more: dict[str, Any]) -> Tried:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = derivative(fun, x, **more)
        except Exception:  # a package that raises has told
            found = Found(np.full(1, np.nan), np.full(1, np.nan), told=True, raised=True)
    return judge(found, exact)
