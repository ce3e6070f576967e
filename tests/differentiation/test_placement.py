"""Placement: no point outside the bounds by one ulp, and the order of flip, other arrangement, shrinking."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import Bounds

from distfd.differentiation.placement import as_bounds, check_offsets, place
from distfd.differentiation.stencils import SCHEMES, Stencil
from distfd.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LARGEST = float(np.finfo(np.float64).max)
STENCILS = [*SCHEMES.values(), Stencil("far", (10,)), Stencil("skew", (-1, 0.5, 3)), Stencil("half", (-0.5, 0.5))]
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@dataclass(frozen=True)
class Case:
    """One coordinate."""

    x: float
    h: float
    lower: float
    upper: float


@st.composite
def cases(draw: st.DrawFn) -> Case:
    x = draw(st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-300, 1e300, LARGEST, -LARGEST]) | st.floats(-1e3, 1e3) | FINITE)
    size = draw(st.sampled_from([1.5e-8, 6e-6, 1e-3, 5e-324, 1.0]) | st.floats(1e-12, 1e3))
    h = draw(st.sampled_from([size, -size, size * x])) or size

    reach = min(abs(h), LARGEST)  # h may be infinite, as a user's step times x may be

    def edge(to: float) -> float:
        gap = draw(
            st.sampled_from([0.0, 1e-12, math.inf]) | st.floats(0, 5).map(lambda n: n * reach) | st.floats(0, 1e3)
        )
        return draw(st.sampled_from([x + math.copysign(gap, to), math.nextafter(x, to)]))

    lower, upper = edge(-math.inf), edge(math.inf)
    return Case(x, h, lower, upper if upper > lower else math.nextafter(lower, math.inf))


def place_one(case: Case, stencil: Stencil) -> tuple[list[float], float]:
    x, h, lower, upper = (np.array([v]) for v in (case.x, case.h, case.lower, case.upper))
    values, step = place(x, h, stencil, lower, upper)
    return values[0].tolist(), float(step[0])


def arrangements(stencil: Stencil) -> list[tuple[float, ...]]:
    """All that may be used: the stencil, its mirror image, and n neighbours among ..., -2, -1, 1, 2, ..."""
    n = len(stencil.nodes)
    windows = [tuple(float(i) for i in range(-a, n - a + 1) if i) for a in range(n + 1)]
    return [stencil.nodes, tuple(-c for c in stencil.nodes), *windows]


def moved(case: Case, nodes: tuple[float, ...]) -> list[float]:
    with np.errstate(over="ignore"):
        return [float(np.float64(case.x) + np.float64(case.h) * c) for c in nodes]


def fits(case: Case, nodes: tuple[float, ...]) -> bool:
    return all(case.lower <= v <= case.upper and math.isfinite(v) for v in moved(case, nodes))


@pytest.mark.parametrize("stencil", STENCILS, ids=lambda s: s.name)
@given(cases())
def test_no_point_is_outside_the_bounds_by_one_ulp(stencil: Stencil, case: Case) -> None:
    values, _ = place_one(case, stencil)
    assert all(case.lower <= v <= case.upper for v in values), values


@pytest.mark.parametrize("stencil", STENCILS, ids=lambda s: s.name)
@given(cases())
def test_shrinking_comes_last(stencil: Stencil, case: Case) -> None:
    values, _ = place_one(case, stencil)
    fitting = [nodes for nodes in arrangements(stencil) if fits(case, nodes)]
    if not fitting:
        return
    if fitting[0] in arrangements(stencil)[:2]:  # as it is, else mirrored
        assert values == moved(case, fitting[0])
    else:
        assert sorted(values) in [sorted(moved(case, nodes)) for nodes in fitting]


@pytest.mark.parametrize("stencil", STENCILS, ids=lambda s: s.name)
@given(cases())
def test_shrinking_keeps_the_largest_step_that_any_arrangement_can_have(stencil: Stencil, case: Case) -> None:
    if not math.isfinite(case.lower) or not math.isfinite(case.upper) or not math.isfinite(case.upper - case.lower):
        return
    if any(fits(case, nodes) for nodes in arrangements(stencil)):
        return
    _, step = place_one(case, stencil)
    x, lower, upper = Fraction(case.x), Fraction(case.lower), Fraction(case.upper)
    rooms = [
        min((upper - x if c > 0 else lower - x) / Fraction(c) for c in (Fraction(c) for c in nodes))
        for nodes in arrangements(stencil)
    ]
    room = float(max(rooms))
    # Each point is rounded to where floating point can put it.
    grid = math.ulp(max(abs(case.lower), abs(case.upper)))
    assert abs(step) == pytest.approx(room, rel=1e-14, abs=8 * grid)


@pytest.mark.parametrize("stencil", STENCILS, ids=lambda s: s.name)
@given(st.lists(cases(), min_size=1, max_size=5))
def test_coordinates_do_not_know_of_each_other(stencil: Stencil, many: list[Case]) -> None:
    x, h, lower, upper = (np.array([getattr(case, name) for case in many]) for name in ("x", "h", "lower", "upper"))
    values, step = place(x, h, stencil, lower, upper)
    assert [(v.tolist(), s) for v, s in zip(values, step.tolist(), strict=True)] == [
        place_one(case, stencil) for case in many
    ]


@pytest.mark.parametrize("stencil", STENCILS, ids=lambda s: s.name)
@given(cases())
def test_values_are_x_plus_nodes_times_the_step(stencil: Stencil, case: Case) -> None:
    values, step = place_one(case, stencil)
    if not math.isfinite(step):
        return
    grid = math.ulp(max(abs(case.x), *(abs(v) for v in values)))
    with np.errstate(over="ignore"):
        wanted = [np.array(nodes) * step + case.x for nodes in arrangements(stencil)]
    assert any(np.allclose(values, w, rtol=0, atol=32 * grid) for w in wanted)


# At x = 1 with h = 0.25, between bounds: what is used, in units of h.
TABLE = [
    ("forward", 0, 2, [1]),
    ("forward", 0, 1, [-1]),
    ("forward", 0, 1.125, [-1]),
    ("forward", 0.875, 1.125, [0.5]),
    ("forward", 0.875, 1.0625, [-0.5]),
    ("backward", 0, 2, [-1]),
    ("backward", 1, 2, [1]),
    ("backward", 0.875, 1.0625, [-0.5]),
    ("forward2", 0, 1.25, [-1, -2]),
    ("forward2", 0.75, 1.25, [-1, 1]),
    ("backward2", 1, 2, [1, 2]),
    ("central", 0, 2, [-1, 1]),
    ("central", 0.75, 1.25, [-1, 1]),
    ("central", 1, 2, [1, 2]),
    ("central", 0, 1, [-1, -2]),
    ("central", 1 - 1e-12, 2, [1, 2]),
    ("central", 0.875, 1.125, [-0.5, 0.5]),
    ("central", 1 - 2**-20, 1.25, [0.5, 1]),
    ("central4", 0, 2, [-2, -1, 1, 2]),
    ("central4", 0.75, 2, [-1, 1, 2, 3]),
    ("central4", 0, 1.25, [1, -1, -2, -3]),
    ("central4", 1, 2, [1, 2, 3, 4]),
    ("central4", 0, 1, [-1, -2, -3, -4]),
    ("central4", 1, 1.5, [0.5, 1, 1.5, 2]),
]


@pytest.mark.parametrize(("name", "lower", "upper", "nodes"), TABLE)
def test_what_is_done_at_a_bound(name: str, lower: float, upper: float, nodes: list[float]) -> None:
    values, step = place_one(Case(1.0, 0.25, lower, upper), SCHEMES[name])
    assert sorted(values) == sorted(1 + 0.25 * c for c in nodes)
    # A mirrored arrangement has the opposite step; a backward difference is x - h with the same h.
    sign = -1 if sum(nodes) * (sum(SCHEMES[name].nodes) or 1) < 0 else 1
    assert step == sign * 0.25 * min(abs(c) for c in nodes)


@pytest.mark.parametrize(("x", "upper"), [(-1.26, 3.4), (1.32, 3.4), (-0.29, 63.8)])
def test_a_step_that_is_shrunk_to_the_bound_is_not_rounded_past_it(x: float, upper: float) -> None:
    assert x + (upper - x) > upper
    assert place_one(Case(x, 1e3, x, upper), SCHEMES["forward"])[0] == [upper]
    assert place_one(Case(-x, 1e3, -upper, -x), SCHEMES["backward"])[0] == [-upper]


def test_with_equal_room_a_shrunk_step_keeps_its_direction() -> None:
    assert place_one(Case(1.0, 0.25, 0.875, 1.125), SCHEMES["forward"]) == ([1.125], 0.125)
    assert place_one(Case(-1.0, -0.25, -1.125, -0.875), SCHEMES["forward"]) == ([-1.125], -0.125)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_infinity_is_never_asked_for(scheme: str) -> None:
    values, _ = place_one(Case(LARGEST, 1e300, -math.inf, math.inf), SCHEMES[scheme])
    assert all(math.isfinite(v) for v in values)


@pytest.mark.parametrize(
    ("offsets", "word"),
    [
        ([0.0, 1.0], "small"),
        ([1.0, 1.0], "small"),
        ([-0.0, 1.0], "small"),
        ([math.inf, 1.0], "large"),
        ([math.inf, math.inf], "large"),
        ([-LARGEST, LARGEST], "large"),
    ],
)
def test_offsets_that_cannot_be_divided_by_name_their_coordinate(offsets: list[float], word: str) -> None:
    rows = np.array([[-1.0, 1.0], offsets, offsets])
    with pytest.raises(InputError, match=rf"at 'mass 1' \(and 1 more\) the step is too {word}"):
        check_offsets(rows, lambda a: f"'mass {a}'")


def test_offsets_that_differ_pass() -> None:
    check_offsets(np.array([[-1.0, 1.0], [5e-324, 1e-323], [LARGEST, -1.0]]), str)
    check_offsets(np.empty((0, 2)), str)


@pytest.mark.parametrize(
    "bounds",
    [
        [(None, 1), (0, None)],
        [(-np.inf, 1), [0, np.inf]],
        np.array([[-np.inf, 1], [0, np.inf]]),
        (p for p in [(None, 1), (0, None)]),
        zip([None, 0], [1, None], strict=True),
        Bounds([-np.inf, 0], [1, np.inf]),
    ],
)
def test_bounds_come_in_pairs_or_as_scipys(bounds: Any) -> None:
    lower, upper = as_bounds(bounds, 2)
    assert (lower.tolist(), upper.tolist()) == ([-math.inf, 0.0], [1.0, math.inf])


def test_bounds_may_be_none_or_one_for_all() -> None:
    assert [b.tolist() for b in as_bounds(None, 2)] == [[-math.inf] * 2, [math.inf] * 2]
    assert [b.tolist() for b in as_bounds(Bounds(0, 1), 2)] == [[0.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    "bounds", [[(0, 1)], [(0, 1)] * 3, [(0, 1, 2)] * 2, 5, [0, 1], [("a", 1), (0, 1)], Bounds([0] * 3, 1), "ab"]
)
def test_what_are_no_bounds_is_refused(bounds: Any) -> None:
    with pytest.raises(InputError, match=r"2 \(lower, upper\) pairs"):
        as_bounds(bounds, 2)


@pytest.mark.parametrize("bad", [(1, 0), (math.nan, 1), (0, math.nan)])
def test_crossed_bounds_name_their_coordinate(bad: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="coordinate 1"):
        as_bounds([(0, 1), bad], 2)
