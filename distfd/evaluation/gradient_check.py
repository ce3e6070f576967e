"""Hold a gradient that somebody wrote down, or a program made, against differences of J."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from distfd.core.errors import DerivativeWarning, InputError
from distfd.core.points import single_points
from distfd.core.validation import is_number, is_whole
from distfd.differentiation.auto_step import AutoStep
from distfd.differentiation.method import Values
from distfd.differentiation.scale_search import safe_sizes
from distfd.differentiation.steps import as_real, typical_sizes
from distfd.evaluation.subspace import Subspace, line_base_point, random_directions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from distfd.differentiation.method import Answer, Method, PointValues
    from distfd.evaluation.derivative_setting import Setting
    from distfd.evaluation.tally import Tally

    Floats = NDArray[np.float64]

AGREES, DIFFERS, UNTOLD = "agrees", "differs", "cannot tell"
_MANY = 100
"""Coordinates from which on a few directions are looked at first, and alone where they agree."""
_DIRECTIONS = 4
_SURE = 3.0
"""A difference of so many bars is one: of a thousand components some are outside a single bar by chance."""
_POWER = 0.1
"""A bar so wide that an error of this part would not be seen tells nothing."""
_SMALL = 0.01
"""A small relative error of a component is no error below this part of the largest component (each times its scale)."""
_GROSS = 0.1
"""An error above this part of a component is one however small the component is, ..."""
_VERY_SURE = 5.0
"""... if it is this many bars, ..."""
_DOUBLE, _SINGLE = 1e-12, 1e-6
"""... but for what round-off does to a gradient in double or single precision, as a part of the largest component."""
_LOOKS = 8
"""The most components that get a second look, at steps that fit what was given."""
_VISIBLE = 1e-3
"""At this step J should change by this part of its noise, if the given component is right."""
_SPACINGS = 1e4
"""The step of a second look is no less than this many units in the last place of x."""
_FITS = 0.01
"""J's own slope at that step confirms the given one within this part."""
_TINY = 1e-4
"""A coordinate that is so small against its default scale moves by its own size along a random direction."""
_ROWS = 40


@dataclass(frozen=True, eq=False, repr=False)
class GradientCheck:
    """A given gradient beside distfd's own, component by component.

    Attributes
    ----------
    given : (d,) ndarray
    derivative, error : (d,) ndarrays
        distfd's own, and half the width of an interval meant to hold the derivative with 95 %; NaN where not looked at.
    status : tuple of str
        "agrees", "differs", "cannot tell" (its bar is too wide, or J has a kink there), or "" where the component was
        not looked at.
    slopes : (p, 3) ndarray
        Along random directions: the given gradient's slope, distfd's, and its bar. Empty where none were looked at.
    slope_status : tuple of str
    label : callable
        Coordinate number -> what messages call it.
    hint : str
        What the differences look like; empty where they look like nothing known.
    warnings : tuple of str
        Reasons to doubt distfd's own derivative.
    n_evaluations : int
    """

    given: Floats
    derivative: Floats
    error: Floats
    status: tuple[str, ...]
    slopes: Floats
    slope_status: tuple[str, ...]
    label: Callable[[int], str]
    hint: str
    warnings: tuple[str, ...]
    n_evaluations: int

    @property
    def ok(self) -> bool:
        """Whether nothing differs, and something agrees. See ``cannot_tell`` for what is left open."""
        every = self.status + self.slope_status
        return DIFFERS not in every and AGREES in every

    @property
    def differing(self) -> NDArray[np.int64]:
        """The coordinates whose components differ."""
        return self._with(DIFFERS)

    @property
    def cannot_tell(self) -> NDArray[np.int64]:
        """The coordinates of which J is too noisy, or too still, to tell."""
        return self._with(UNTOLD)

    def _with(self, word: str) -> NDArray[np.int64]:
        return np.array([k for k, status in enumerate(self.status) if status == word], dtype=np.int64)

    def __repr__(self) -> str:
        """A verdict, a hint, and a table, the components that differ first."""
        looked = [k for k, status in enumerate(self.status) if status]
        lines = [self._sentence(len(looked))]
        lines += [self.hint] if self.hint else []
        if len(self.slopes):
            lines += ["", f"{'along':>12}{'given':>16}{'differences':>16}{'+-':>10}"]
            rows = zip(self.slopes.tolist(), self.slope_status, strict=True)
            for p, ((given, own, bar), status) in enumerate(rows):
                lines.append(f"direction {p:2d}{given:16.8g}{own:16.8g}{bar:10.1e}  {status}")
        if looked:
            rank = {DIFFERS: 0, UNTOLD: 1, AGREES: 2}
            shown = sorted(looked, key=lambda k: (rank[self.status[k]], k))[:_ROWS]
            width = max(len(self.label(k)) for k in shown)
            lines += ["", f"{'':{width}}{'given':>16}{'differences':>16}{'+-':>10}"]
            for k in shown:
                numbers = f"{self.given[k]:16.8g}{self.derivative[k]:16.8g}{self.error[k]:10.1e}"
                lines.append(f"{self.label(k):{width}}{numbers}  {self.status[k]}")
            if len(looked) > len(shown):
                lines.append(f"... and {len(looked) - len(shown)} more")
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings), f"{self.n_evaluations} evaluations"])

    def _sentence(self, looked: int) -> str:
        wrong, untold = len(self.differing), len(self.cannot_tell)
        if wrong:
            names = ", ".join(self.label(int(k)) for k in self.differing[:5]) + (" ..." if wrong > 5 else "")
            return f"the gradient is WRONG in {wrong} of {looked} components: {names}"
        if DIFFERS in self.slope_status:
            return "the gradient is WRONG: its slopes along random directions are not those of J"
        where = f"{looked - untold} of {looked} components" if looked else f"{len(self.slopes)} random directions"
        if not self.ok:
            return "cannot tell: J is too noisy for any component"
        return f"the gradient agrees with J in {where}" + (f"; of {untold} J cannot tell" if untold else "")


A = TypeVar("A", bound="Answer | PointValues")


class Solver(Protocol):
    """What evaluates: an Evaluator."""

    def setting(self, x: Any) -> Setting:
        """What every method at x is made from."""

    def solve(self, method: Method[A], task: str, *, raises: bool | None = None) -> tuple[A, Tally]:
        """Evaluate what a method asks for until it answers."""


def check_given(
    evaluator: Solver,
    grad: ArrayLike,
    x: Floats,
    *,
    components: str | Sequence[int] | None,
    directions: int | None,
    tolerance: float,
    noise: float | None,
) -> GradientCheck:
    """Hold a gradient (d,) at x (d,) against differences; see `distfd.check_gradient`.

    Parameters
    ----------
    noise : float, optional
        The noise of J, where it is known.

    Raises
    ------
    InputError
        If the gradient is not d finite numbers.
    EvaluationError
        If J fails.
    """
    if not is_number(tolerance) or not 0 <= tolerance < np.inf:
        raise InputError(f"tolerance: must be finite and >= 0 (was {tolerance!r})")
    if directions is not None and not (is_whole(directions) and directions >= 0):
        raise InputError(f"directions: must be a whole number >= 0, or None (was {directions!r})")
    setting = evaluator.setting(x)
    site, d = setting.site, len(setting.site.x)
    given = as_real("grad", grad)
    if given.shape != (d,) or not np.isfinite(given).all():
        raise InputError(f"grad: must be {d} finite numbers at x0 (had shape {given.shape})")
    many = len(site.moving) > _MANY
    p = (_DIRECTIONS if many else 0) if directions is None else directions
    slopes, slope_status, cost = _slopes(evaluator, setting, given, p, noise=noise, tolerance=tolerance)
    rows = _rows(site.moving, components, all_of_them=not many or DIFFERS in slope_status)
    scale = typical_sizes(site.x, setting.options.scale)
    if many and components is None and not len(rows):
        # Along the directions they move by their own size, in which an error of theirs may not show.
        tiny = np.flatnonzero(safe_sizes(site, scale, _TINY) < scale)
        rows = tiny if 2 * len(tiny) < len(site.moving) else rows
    own, bar = np.full(d, np.nan), np.full(d, np.nan)
    told: tuple[str, ...] = ()
    status = [""] * d
    if len(rows):
        answer, tally = _components(evaluator, setting, rows, noise)
        cost += tally
        assert answer.error is not None, "auto has an error bar"
        own[rows], bar[rows], told = answer.derivative[rows], answer.error[rows], answer.warnings
        scale = scale if answer.scale is None else answer.scale
        words = _compare(
            given[rows],
            own[rows],
            bar[rows],
            scale[rows],
            tolerance,
            kinks=answer.kinks[rows] if answer.kinks is not None else 0.0,
            wide=_scalar(answer.typical_slope),
        )
        for k, word in zip(rows.tolist(), words, strict=True):
            status[k] = word
        texts, more = _confirmed_by_second_look(evaluator, setting, given, own, bar, status=status, noise=answer.noise)
        told, cost = told + texts, cost + more
    found = GradientCheck(
        given=given,
        derivative=own,
        error=bar,
        status=tuple(status),
        slopes=slopes,
        slope_status=slope_status,
        label=site.label,
        hint="",
        warnings=told,
        n_evaluations=cost,
    )
    return replace(found, hint=_hint(found, site.x, scale))


def _rows(moving: NDArray[np.int64], components: Any, *, all_of_them: bool) -> NDArray[np.int64]:
    if components is None:
        return moving if all_of_them else moving[:0]
    if isinstance(components, str):
        if components not in ("all", "none"):
            raise InputError(f"components: must be 'all', 'none' or numbers of coordinates (was {components!r})")
        return moving if components == "all" else moving[:0]
    found = np.asarray(components)
    if found.dtype.kind not in "iu" and found.size:
        raise InputError(f"components: must be 'all', 'none' or numbers of coordinates (was {components!r})")
    rows = np.unique(found.astype(np.int64))
    strange = np.setdiff1d(rows, moving)
    if len(strange):
        raise InputError(f"components: there is no coordinate {strange[0]} that may move")
    return rows


def _components(
    evaluator: Solver, setting: Setting, rows: NDArray[np.int64], noise: float | None
) -> tuple[Answer, int]:
    """The derivative along some coordinates: the others are held fast."""
    site = setting.site
    lower, upper = site.x.copy(), site.x.copy()
    lower[rows], upper[rows] = site.lower[rows], site.upper[rows]
    scale = typical_sizes(site.x, setting.options.scale)
    method = AutoStep(replace(site, lower=lower, upper=upper), scale, noise=noise)
    answer, tally = evaluator.solve(method, "gradient")
    return answer, tally.n_evaluations


def _slopes(
    evaluator: Solver, setting: Setting, given: Floats, p: int, *, noise: float | None, tolerance: float
) -> tuple[Floats, tuple[str, ...], int]:
    """Slopes along random directions: given, own and bar, (p, 3), and how they compare."""
    site = setting.site
    if p < 1 or not len(site.moving):
        return np.empty((0, 3)), (), 0
    ways = random_directions(site, safe_sizes(site, typical_sizes(site.x, setting.options.scale), _TINY), p)
    inner = AutoStep(line_base_point(site, ways, lambda k: f"direction {k}"), np.ones(p), noise=noise)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        answer, tally = evaluator.solve(Subspace(site, ways, inner), "directional")
    assert answer.error is not None, "auto has an error bar"
    table = np.stack((ways @ given, answer.derivative, answer.error), axis=1)
    words = _compare(
        table[:, 0],
        table[:, 1],
        table[:, 2],
        np.ones(p),
        tolerance,
        kinks=answer.kinks if answer.kinks is not None else 0.0,
        wide=_scalar(answer.typical_slope),
    )
    return table, words, tally.n_evaluations


def _scalar(values: Floats | None) -> float:
    return 0.0 if values is None else float(values[0])


def _compare(  # what was given, and what is known of J
    given: Floats, own: Floats, bar: Floats, scale: Floats, tolerance: float, *, kinks: Floats | float, wide: float
) -> tuple[str, ...]:
    """agrees, differs or cannot tell, for each.

    ``kinks`` are half the differences of one-sided slopes: at a kink, any slope between the two may be meant, and there
    is nothing to tell. ``wide`` is the size of J's slopes over long distances: where no component can be told from 0,
    as at a stationary point, it says whether a bar is small.
    """
    size = np.maximum(np.abs(given), np.abs(np.nan_to_num(own))) * scale
    # Against the largest of what was measured: one wild component that was given must not hide all others.
    largest = float(np.max(np.abs(np.nan_to_num(own)) * scale, initial=0.0))
    least = _SMALL * largest
    precise = _SINGLE if _is_single(given) else _DOUBLE
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        gap, beyond = np.abs(given - own) * scale, (np.abs(given - own) - kinks) / bar
        gross = (gap > _GROSS * size) & (gap > precise * largest) & (beyond > _VERY_SURE)
        differs = ((gap > tolerance * np.maximum(size, least)) & (beyond > _SURE)) | gross
        if not (np.abs(own) > bar).any():
            least = max(least, wide)
        sharp = (_SURE * bar * scale <= _POWER * np.maximum(size, least)) & (np.asarray(kinks) == 0)
    return tuple(np.select([differs, sharp], [DIFFERS, AGREES], UNTOLD).tolist())


def _is_single(given: Floats) -> bool:
    """Whether all numbers are float32, and not merely because they are round."""
    with np.errstate(over="ignore"):
        held = bool((given.astype(np.float32) == given).all())
    digits = np.frexp(given)[0] * 2.0**16
    return held and bool((digits != np.rint(digits)).any())


def _confirmed_by_second_look(
    evaluator: Solver,
    setting: Setting,
    given: Floats,
    own: Floats,
    bar: Floats,
    *,
    status: list[str],
    noise: float | None,
) -> tuple[tuple[str, ...], int]:
    """Warnings of components that a second look confirms, and the cost; ``own``, ``bar`` and ``status`` take them in.

    Only components are looked at that differ from slopes of which nothing can be told.
    """
    unknown = np.array(status, dtype=object) == DIFFERS
    slope, at, cost = _second_look(evaluator, setting, given, np.flatnonzero(unknown & ~(np.abs(own) > bar)), noise)
    texts = []
    for k in np.flatnonzero(np.abs(slope - given) <= _FITS * np.abs(given)).tolist():
        own[k], bar[k], status[k] = slope[k], _FITS * abs(given[k]), AGREES
        texts.append(
            f"J's own scale along {setting.site.label(k)} is far below the scale that was assumed: its slope is the "
            f"given one over a step of {at[k]:.1g}, and cannot be seen at larger steps; give `scale`"
        )
    return tuple(texts), cost


def _second_look(
    evaluator: Solver, setting: Setting, given: Floats, rows: NDArray[np.int64], noise: float | None
) -> tuple[Floats, Floats, int]:
    """Slopes of J over steps that fit the given gradient, (d,), NaN where there are none, these steps, and the cost.

    Where J's scale is far below all steps that were tried, as that of sin(1e7 x) is, J looks like noise at them. Over a
    step at which it should change by a small part of that noise, it then has the given slope; noise does not.
    """
    site, d = setting.site, len(given)
    slope, step = np.full(d, np.nan), np.zeros(d)
    if not noise or not len(rows):
        return slope, step, 0
    with np.errstate(divide="ignore", over="ignore"):
        h = _VISIBLE * noise / np.abs(given[rows])
    kept = np.isfinite(h) & (h >= _SPACINGS * np.spacing(np.abs(site.x[rows])))
    rows, h = rows[kept][:_LOOKS], h[kept][:_LOOKS]
    if not len(rows):
        return slope, step, 0
    ends = [np.clip(site.x[rows] + sign * h, site.lower[rows], site.upper[rows]) for sign in (1.0, -1.0)]
    points = single_points(site.x, np.repeat(rows, 2), np.stack(ends, axis=1).ravel())
    answer, tally = evaluator.solve(Values(points), "values", raises=False)
    rises = answer.values[0::2, 0] - answer.values[1::2, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope[rows] = rises / (ends[0] - ends[1])
    step[rows] = h
    return slope, step, tally.n_evaluations


def _hint(check: GradientCheck, x: Floats, scale: Floats) -> str:
    """What a wrong gradient looks like: a factor, a sign, another order, other units."""
    status = np.array(check.status, dtype=object)
    told = np.isin(status, (AGREES, DIFFERS)) & (check.derivative != 0) & (check.given != 0)
    if DIFFERS not in check.status or not told.any():
        return ""
    given, own, bar = check.given[told], check.derivative[told], check.error[told]
    ratio, loose = given / own, 2 * (_SURE * bar / np.abs(own) + 1e-6)

    def is_alike(wanted: Any) -> bool:
        with np.errstate(divide="ignore", invalid="ignore"):
            return bool((np.abs(ratio / wanted - 1) <= loose).all())

    if is_alike(-1.0):
        return "the sign is wrong"
    if len(ratio) > 1 and is_alike(np.median(ratio)):
        return f"all components are {np.median(ratio):.6g} times those of J"
    units = {"x": x[told], "1 / x": 1 / np.where(x[told] == 0, np.nan, x[told]), "scale": scale[told]}
    for name, unit in {**units, "1 / scale": 1 / scale[told]}.items():
        if len(ratio) > 1 and np.ptp(unit) > 0 and is_alike(unit):
            return f"each component is {name} times that of J: it may be meant for other units"
    if len(own) > 1 and (np.abs(np.sort(given) - np.sort(own)) <= _SURE * bar.max()).all():
        return "the components are right, and in another order"
    return ""
