"""Check a derivative by a step sweep: `step_sweep`, and all that ``distfd check`` shows."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from distfd.core.errors import DerivativeWarning, InputError
from distfd.differentiation.assessment import (
    DISTRUST,
    FLOOR,
    TRUST,
    Component,
    advice,
    first_line,
    judge,
    overall,
    sizes,
)
from distfd.differentiation.first_derivative import FirstDerivative
from distfd.differentiation.scale_search import ScaleSearch, safe_sizes
from distfd.differentiation.stencils import coefficients
from distfd.differentiation.step_sweep import Sweep
from distfd.differentiation.steps import AbsoluteStep, NoiseStep, typical_sizes
from distfd.evaluation.api import opened
from distfd.evaluation.derivative_setting import for_precision
from distfd.evaluation.evaluator import Evaluator
from distfd.evaluation.keywords import lists_options_of
from distfd.evaluation.method_registry import make_plain_method
from distfd.evaluation.tally import gather

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from distfd.differentiation.method import Answer, Method
    from distfd.differentiation.noise import Noise
    from distfd.differentiation.sweep_result import StepSweep
    from distfd.evaluation.derivative_setting import Setting
    from distfd.evaluation.keywords import EvaluatorOptions, Kind, PointLike, Verbosity
    from distfd.results.derivative_result import DerivativeResult

    Floats = NDArray[np.float64]

MOST = 5
"""Coordinates that are swept where none are named."""
_LEAST = 1e-300


@dataclass(frozen=True, eq=False)
class Check:
    """What a check found.

    Attributes
    ----------
    verdict : str
        "trust", "do not trust" or "cannot tell".
    sentence : str
        The verdict, and on what it rests.
    components : list of Component
        Those that were swept.
    doubtful : tuple of int
        Other coordinates, which noise alone may spoil.
    label : callable
        Coordinate number -> what messages call it.
    advice : str or None
        A line of YAML that does better; None where the configuration is good enough, or nothing does.
    sweep : StepSweep
    result : DerivativeResult or None
        The derivative as configured; None where it cannot be formed at all.
    tolerance : float
        The relative error that counts as good enough.
    n_evaluations, n_reused : int
        Of the configured derivative and the sweep together.
    """

    verdict: str
    sentence: str
    components: list[Component]
    doubtful: tuple[int, ...]
    label: Callable[[int], str]
    advice: str | None
    sweep: StepSweep
    result: DerivativeResult | None
    tolerance: float
    n_evaluations: int
    n_reused: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons to doubt the derivative as configured, and what the sweep adds to them, by coordinate name."""
        told = () if self.result is None else self.result.warnings
        return tuple(dict.fromkeys(told + self.sweep.warnings))


@lists_options_of(Evaluator)
def step_sweep(
    fun: Any,
    x0: PointLike,
    coordinates: Sequence[int | str] | None = None,
    *,
    vector: bool = False,
    verbose: Verbosity = 0,
    **options: Unpack[EvaluatorOptions],
) -> StepSweep:
    """Forward and central differences at steps from 1e-12 to 1e-1 of the scale, along a few coordinates, in one wave.

    Parameters
    ----------
    fun, x0
        As for `distfd.differentiate`.
    coordinates : sequence of int or str, optional
        Which, by number or by name; the first 5 that may move where none are given. Each takes 24 evaluations, and the
        noise 13 in all.
    vector : bool
        Whether J has several outputs.
    verbose : 0, 1 or 2
        As for `distfd.differentiate`.
    **options
        Of `distfd.Evaluator`. Unless ``on_failure`` is "raise", steps at which J has no value are left out.

    Returns
    -------
    StepSweep
        Its ``derivative`` and ``error`` are the best that the sweep tells; ``print`` shows it as a table.

    Raises
    ------
    InputError
        If a coordinate is none, or may not move.
    EvaluationError
        If J fails at x0.
    """
    options.setdefault("on_failure", "nan")
    with opened("step_sweep", fun, verbose, options) as evaluator:
        setting = evaluator.setting(x0)
        rows = _numbers(setting, coordinates) if coordinates is not None else setting.site.moving[:MOST]
        scale, _ = _sizes(evaluator, setting, vector=vector)
        return _sweep(evaluator, setting, rows, scale, vector=vector)


def check_derivative(
    evaluator: Evaluator,
    x0: ArrayLike,
    coordinates: Sequence[int | str] | None = None,
    *,
    kind: Kind = "gradient",
    tolerance: float,
) -> Check:
    """The derivative as the Evaluator is set up, held against a step sweep.

    The configured derivative is one wave, the sweep another; where no coordinates are named, the noise that tells which
    are doubtful comes before.

    Parameters
    ----------
    evaluator : Evaluator
    x0 : (d,) array
    coordinates : sequence of int or str, optional
        Which to sweep; by default the most doubtful and the largest in turn, at most 5.
    kind : str
        "gradient" or "jacobian".
    tolerance : float
        The relative error that counts as good enough.

    Raises
    ------
    InputError, EvaluationError
        As `step_sweep`.
    """
    with evaluator.checked(False if evaluator.check is False else None):  # the sweep is more than that
        return _checked(evaluator, x0, coordinates, kind, tolerance)


@dataclass(frozen=True, eq=False)
class _Evaluated:
    """What a check has evaluated: the derivative as configured, and the sweep that it is held against.

    Attributes
    ----------
    result : DerivativeResult or None
        None where the steps cannot be formed; ``refused`` then says why.
    method : Method or None
        The method of the derivative.
    rows : ndarray of int
        The coordinates that were swept.
    scale : (d,) ndarray
        Typical sizes.
    """

    result: DerivativeResult | None
    refused: str
    method: Method[Answer] | None
    rows: NDArray[np.int64]
    scale: Floats
    sweep: StepSweep
    n_evaluations: int
    n_reused: int


def _checked(
    evaluator: Evaluator, x0: ArrayLike, coordinates: Sequence[int | str] | None, kind: Kind, tolerance: float
) -> Check:
    setting = evaluator.setting(x0)
    found = _evaluated(evaluator, setting, x0, coordinates, kind)
    components: list[Component] = []
    doubtful: list[int] = []
    if found.result is None:
        verdict = DISTRUST
        sentence = f"do NOT trust the derivative as configured: it cannot be formed: {found.refused}"
    else:
        components, doubtful = _judged(found, found.result, setting, tolerance)
        verdict = overall(components, doubtful)
        how = _how(evaluator.setting(x0))  # by now it is known how many digits J has
        sentence = first_line(verdict, components, doubtful, setting.site.label, how)
    return Check(
        verdict=verdict,
        sentence=sentence,
        components=components,
        doubtful=tuple(doubtful),
        label=setting.site.label,
        advice=None if verdict == TRUST else _advice(found, setting, tolerance),
        sweep=found.sweep,
        result=found.result,
        tolerance=tolerance,
        n_evaluations=found.n_evaluations,
        n_reused=found.n_reused,
    )


def _evaluated(
    evaluator: Evaluator, setting: Setting, x0: ArrayLike, coordinates: Sequence[int | str] | None, kind: Kind
) -> _Evaluated:
    """The derivative, then the sweep of the coordinates that are named, or else of those that need it most."""
    site, vector = setting.site, kind == "jacobian"
    if not len(site.moving):
        raise InputError("check: every coordinate is fixed, and so every derivative is 0")
    rows = None if coordinates is None else _numbers(setting, coordinates)
    method, refused = _method(evaluator, x0, kind)
    result = None
    if method is not None:
        with warnings.catch_warnings():
            # The report has them all, in their place.
            warnings.simplefilter("ignore", DerivativeWarning)
            result = evaluator.differentiate(x0, kind=kind)
        method = make_plain_method(kind, evaluator.setting(x0))
    costs = [] if result is None else [(result.n_evaluations, result.n_reused)]
    scale, looked = _sizes(evaluator, setting, vector=vector)
    if looked:
        costs.append((looked, 0))
    if rows is None:
        first = _sweep(evaluator, setting, np.empty(0, dtype=np.int64), scale, vector=vector)
        costs.append((first.n_evaluations, 0))
        rows = site.moving[:MOST]
        if result is not None:
            rows = _choice(site.moving, _table(result), _noise_part(method, result, first.bars), scale)
    sweep = _sweep(evaluator, setting, rows, scale, vector=vector)
    costs.append((sweep.n_evaluations, sweep.n_reused))
    # What the later parts reuse are the values of the first.
    return _Evaluated(result, refused, method, rows, scale, sweep, sum(n for n, _ in costs), costs[0][1])


def _judged(
    found: _Evaluated, result: DerivativeResult, setting: Setting, tolerance: float
) -> tuple[list[Component], list[int]]:
    """The components that were swept, and other coordinates that noise alone may spoil."""
    rows, scale, moving = found.rows, found.scale, setting.site.moving
    value, noise = _table(result), _noise_part(found.method, result, found.sweep.bars)
    chosen = setting.options.step is not None and not isinstance(setting.options.step, NoiseStep)
    components = judge(found.sweep, value[rows], noise[rows], scale[rows], tolerance, chosen=chosen)
    rest = np.setdiff1d(moving, rows)
    quiet = (noise <= tolerance * np.maximum(sizes(value, scale), _LEAST)).all(axis=1)
    spoilt = np.asarray(~quiet | np.isnan(value).any(axis=1))
    return components, rest[spoilt[rest]].tolist()


def _advice(found: _Evaluated, setting: Setting, tolerance: float) -> str | None:
    """A step that is better for all that were swept, as a line of YAML; None where there is none."""
    options, x = setting.options, setting.site.x
    return advice(
        found.sweep,
        found.scale,
        np.abs(x) if options.scale is None else _relative(x, setting),
        scheme=options.stencil.name,
        tolerance=tolerance,
        auto=isinstance(options.step, NoiseStep),
    )


def _sizes(evaluator: Evaluator, setting: Setting, *, vector: bool) -> tuple[Floats, int]:
    """The typical size of each coordinate, and how many evaluations it took to tell: none where no x is tiny."""
    site, scale = setting.site, typical_sizes(setting.site.x, setting.options.scale)
    if not (safe_sizes(site, scale) < scale).any():
        return scale, 0
    answer, tally = evaluator.solve(ScaleSearch(site, scale, vector), "sweep")
    assert answer.scale is not None, "it was looked for"
    return answer.scale, tally.n_evaluations


def _sweep(
    evaluator: Evaluator, setting: Setting, rows: NDArray[np.int64], scale: Floats, *, vector: bool
) -> StepSweep:
    method = Sweep(setting.site, scale, rows, vector)
    _, tally = evaluator.solve(method, "sweep")
    waves = [gather(request, batches) for request, batches in tally.waves]
    return method.result(waves, tally.n_evaluations, tally.n_reused)


def _numbers(setting: Setting, coordinates: Sequence[int | str]) -> NDArray[np.int64]:
    """Coordinates by number or name, as sorted numbers."""
    if isinstance(coordinates, str) or not isinstance(coordinates, Iterable):
        raise InputError(f"coordinates: must be a list of numbers or names (was {coordinates!r})")
    site, names = setting.site, list(setting.options.names or ())
    found = set()
    for given in coordinates:
        if given in names:
            k = names.index(str(given))
        elif str(given).isdigit() and int(given) < len(site.x):
            k = int(given)
        else:
            known = (
                f"; there are {', '.join(names[:20])}" if names else f"; they are numbered from 0 to {len(site.x) - 1}"
            )
            raise InputError(f"coordinates: there is no {given!r}{known}")
        if k not in site.moving:
            raise InputError(f"coordinates: {site.label(k)} is fixed, and its derivative is 0")
        found.add(k)
    if not found:
        raise InputError("coordinates: name at least one")
    return np.array(sorted(found), dtype=np.int64)


def _method(evaluator: Evaluator, x0: ArrayLike, kind: Kind) -> tuple[Method[Answer] | None, str]:
    """The configured plan, or why its steps make none: that is a finding here, and no reason to stop."""
    method = evaluator.method(x0, kind)
    try:
        method.advance(())
    except InputError as error:
        if not str(error).startswith("step:"):
            raise
        return None, str(error).removeprefix("step: ")
    return method, ""


def _noise_part(method: Method[Answer] | None, result: DerivativeResult, bars: Noise) -> Floats:
    """How far noise alone may put the configured components off, (d, m); for schemes with a bar of their own, that."""
    value = _table(result)
    if result.error is not None:
        return np.asarray(np.atleast_2d(result.error).T)
    part = np.zeros(value.shape)
    if isinstance(method, FirstDerivative) and not method.stencil.imaginary:
        offsets = method.lines.offsets
        part[method.lines.moving] = bars.part(coefficients(offsets) / offsets)
    return part


def _table(result: DerivativeResult) -> Floats:
    """A gradient (d,) or Jacobian (m, d) as (d, m)."""
    return np.asarray(np.atleast_2d(result.derivative).T)


def _choice(moving: NDArray[np.int64], value: Floats, noise: Floats, scale: Floats) -> NDArray[np.int64]:
    """The most doubtful coordinate, the largest, the next most doubtful ... up to `MOST`, as sorted numbers."""
    size = np.abs(np.nan_to_num(value)) * scale[:, None]
    least = FLOOR * size.max(axis=0, initial=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        doubt = np.nan_to_num(noise * scale[:, None] / np.maximum(size, least), nan=np.inf).max(axis=1)
    doubt[(np.nan_to_num(value) == 0).all(axis=1)] = np.inf
    orders = [moving[np.argsort(-key[moving], kind="stable")] for key in (doubt, size.max(axis=1))]
    turns = np.stack(orders, axis=1).ravel().tolist()
    return np.array(sorted(list(dict.fromkeys(turns))[:MOST]), dtype=np.int64)


def _how(setting: Setting) -> str:
    """Scheme and step in words."""
    options = setting.options
    step = options.step
    if options.accuracy is not None:
        return f"forward, and central where accuracy {options.accuracy:g} asks for it"
    if isinstance(step, NoiseStep):
        return "steps from the noise"
    if step is None:
        return (
            f"{options.stencil.name}, its default step {for_precision(options.stencil, setting.bits).relative_step:.2g}"
        )
    numbers = np.asarray(step.h if isinstance(step, AbsoluteStep) else step)
    text = f"{numbers:g}" if numbers.ndim == 0 else "for each coordinate"
    return f"{options.stencil.name}, {'absolute' if isinstance(step, AbsoluteStep) else 'relative'} step {text}"


def _relative(x: Floats, setting: Setting) -> Floats:
    """What relative steps are relative to: the scale where there is one, else abs(x)."""
    given = np.broadcast_to(np.asarray(setting.options.scale, dtype=float), x.shape)
    return np.asarray(np.where(np.isnan(given), np.abs(x), given))
