"""The directional check: what it doubts, what it does not, and that it changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import PROBLEMS
from scipy.sparse import csr_array, diags_array
from solving import bits, drive, rosenbrock, trigonometric

import distfd
from distfd.core.errors import EvaluationError
from distfd.core.records import Failure, Status
from distfd.differentiation.base_point import BasePoint
from distfd.differentiation.check_displacements import LARGEST, SMALLEST, multipliers, two_points
from distfd.differentiation.consistency import CONSISTENT, DOUBTFUL, UNKNOWN, Consistency
from distfd.differentiation.doubtful_coordinates import CODES, Groups
from distfd.differentiation.method import Answer, Request, Wave
from distfd.differentiation.placement import as_bounds
from distfd.differentiation.steps import AbsoluteStep
from distfd.evaluation.derivative_setting import Setting
from distfd.evaluation.method_registry import make_method
from distfd.evaluation.options import DerivativeOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

X = np.array([0.4, -0.7, 1.1, 2.3])


def checked(
    fun: Callable[[Any], Any],
    x: Any,
    kind: str = "gradient",
    *,
    check: bool | None = None,
    bounds: Any = None,
    repair: bool = False,
    options: dict[str, Any] | None = None,
    **particulars: Any,
) -> tuple[Answer, list[Wave]]:
    at = np.asarray(x, dtype=float)
    setting = Setting(
        BasePoint(at, *as_bounds(bounds, len(at))),
        DerivativeOptions(**(options or {})),
        repair,
        check=check,
        rides=True,
    )
    return drive(make_method(kind, setting, **particulars), fun)


def found(*args: Any, **how: Any) -> Consistency:
    consistency = checked(*args, **how)[0].consistency
    assert consistency is not None
    return consistency


class Noisy:
    """J with Gaussian noise, another one each time."""

    def __init__(self, fun: Callable[[Any], Any], sigma: float, seed: int = 0) -> None:
        self.fun, self.sigma, self.random = fun, sigma, np.random.default_rng(seed)

    def __call__(self, x: Any) -> Any:
        value = np.asarray(self.fun(x))
        return value + self.sigma * self.random.standard_normal(value.shape)


KINDS: list[tuple[str, Callable[[Any], Any], dict[str, Any]]] = [
    ("gradient", rosenbrock, {}),
    ("jacobian", trigonometric, {}),
    ("jacobian", lambda x: x**3, {"sparsity": np.eye(4)}),
    ("jacobian", lambda x: x**3, {"sparsity": "probe"}),
    ("jvp", rosenbrock, {"v": [1.0, 2.0, -1.0, 0.5]}),
    ("directional", rosenbrock, {"directions": [[1.0, 2.0, -1.0, 0.5], [0.0, 1.0, 1.0, 0.0]]}),
    ("directional", trigonometric, {"directions": [[1.0, 2.0, -1.0, 0.5], [0.0, 1.0, 1.0, 0.0]]}),
    ("hessian", rosenbrock, {}),
    ("hvp", rosenbrock, {"v": [1.0, 2.0, -1.0, 0.5]}),
]
SCHEMES = ["forward", "backward", "forward2", "backward2", "central", "central4", "richardson"]


def names(case: Any) -> str:
    return f"{case[0]} {next(iter(case[2].values()), '')}" if isinstance(case, tuple) else str(case)


@pytest.mark.parametrize("case", KINDS, ids=names)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_smooth_function_is_not_doubted(case: Any, scheme: str) -> None:
    kind, fun, particulars = case
    if scheme == "richardson" and (kind not in ("gradient", "jacobian") or particulars):
        pytest.skip("of six nodes, for gradients and dense Jacobians")
    answer, _ = checked(fun, X, kind, options={"scheme": scheme}, **particulars)
    assert answer.consistency is not None
    assert answer.consistency.verdict == CONSISTENT, answer.consistency
    assert answer.consistency.error is not None
    assert answer.consistency.error < 1e-3
    assert answer.consistency.cause == ""
    assert not [text for text in answer.warnings if "in doubt" in text]


@pytest.mark.parametrize("case", KINDS, ids=names)
@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_noise_is_doubted(case: Any, scheme: str) -> None:
    kind, fun, particulars = case
    if isinstance(particulars.get("sparsity"), str):
        particulars = {"sparsity": np.eye(4)}  # noise is taken for entries
    verdicts = []
    for seed in range(20):
        noisy = Noisy(fun, 0.1, seed)
        verdicts.append(found(noisy, X, kind, options={"scheme": scheme}, **particulars).verdict)
    assert verdicts.count(DOUBTFUL) >= 18, verdicts


@pytest.mark.parametrize("kind", ["gradient", "jvp"])
@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_one_residual_that_is_small_by_chance_is_not_enough(kind: str, scheme: str) -> None:
    fun, particulars = rosenbrock, {"v": [1.0, 2.0]} if kind == "jvp" else {}
    at, lucky, silent = X[:2], 0, 0
    for seed in range(400):
        noisy = Noisy(fun, 0.1, seed)
        lucky += found(noisy, at, kind, options={"scheme": scheme}, **particulars).verdict == CONSISTENT
        noisy = Noisy(fun, 0.1, seed)
        silent += found(noisy, at, kind, check=True, options={"scheme": scheme}, **particulars).verdict == CONSISTENT
    assert lucky > 2 + silent  # one residual of a hundred is so much smaller than the noise that makes it
    assert silent <= 1


@pytest.mark.parametrize("case", KINDS, ids=names)
def test_a_check_of_a_smooth_function_takes_one_draw(case: Any) -> None:
    kind, fun, particulars = case
    _, once = checked(fun, X, kind, **particulars)
    _, waves = checked(fun, X, kind, check=True, **particulars)
    assert len(waves) == len(once)


@pytest.mark.parametrize("case", KINDS, ids=names)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("check", [None, True])
def test_it_changes_no_bit(case: Any, scheme: str, check: bool | None) -> None:
    kind, fun, particulars = case
    if scheme == "richardson":
        fun, kind, particulars = (lambda x: np.sin(x).sum() * x[0] ** 2), "gradient", {}
    how: dict[str, Any] = {"options": {"scheme": scheme}, **particulars}
    plain, waves = checked(fun, X, kind, check=False, **how)
    answer, more = checked(fun, X, kind, check=check, **how)
    same = [
        np.asarray(a.derivative.toarray() if hasattr(a.derivative, "toarray") else a.derivative)
        for a in (plain, answer)
    ]
    assert bits(same[0]) == bits(same[1])
    assert bits(plain.value) == bits(answer.value)
    assert plain.consistency is None
    extra = [len(b.request.points) - len(a.request.points) for a, b in zip(waves, more, strict=True)]
    first = 1 if scheme in ("forward", "backward") else 2
    gradients = 3 if scheme in ("backward", "forward2", "backward2") else 2  # of a product
    near = 3 if check else 0  # points near x, of second derivatives
    assert sum(extra) == {"hessian": 2 + near, "hvp": 2 * gradients + near}.get(kind, first)
    for a, b in zip(waves, more, strict=True):
        n = len(a.request.points)
        assert b.request.optional.tolist() == list(range(n, len(b.request.points))), "they are the last"
        assert b.request.points.keys()[:n].tolist() == a.request.points.keys().tolist()


def test_the_formulas_for_forward_differences() -> None:
    fun, d = Noisy(rosenbrock, 1e-6), len(X)
    answer, (wave,) = checked(fun, X)
    values, consistency = wave.values[:, 0], answer.consistency
    assert consistency is not None
    h = np.array([wave.request.points.changes(k + 1)[1][0] - X[k] for k in range(d)])
    u = (wave.request.points.dense(d + 1) - X) / h
    np.testing.assert_allclose(np.abs(u), np.abs(multipliers(X, d)), rtol=1e-6)
    assert (np.abs(u) >= 0.6 - 1e-6).all()
    assert (np.abs(u) <= 1.6 + 1e-6).all()
    change = values[1 : d + 1] - values[0]
    residual = values[d + 1] - values[0] - u @ change
    sigma = abs(residual) / np.sqrt(1 + u @ u + (1 - u.sum()) ** 2)
    assert consistency.residual == pytest.approx(abs(residual), rel=1e-9)
    assert consistency.noise == pytest.approx(sigma, rel=1e-9)
    assert consistency.change == pytest.approx(np.linalg.norm(change), rel=1e-6)
    assert consistency.error == pytest.approx(np.sqrt(2 * d) * sigma / np.linalg.norm(change), rel=1e-6)
    assert 1e-7 < sigma < 1e-5


def test_the_point_comes_from_the_bits_of_x() -> None:
    assert bits(multipliers(X, 4)) == bits(multipliers(X.copy(), 4))
    assert bits(multipliers(X, 4)) != bits(multipliers(np.nextafter(X, 9), 4))
    u = np.concatenate([multipliers(np.array([float(k)]), 50) for k in range(40)])
    assert 0.4 < np.mean(u > 0) < 0.6
    assert (np.abs(u - 1) >= 0.2 - 1e-12).all()
    assert np.abs(u).min() >= 0.6
    assert np.abs(u).max() <= 1.6


@given(
    x=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5),
    room=st.lists(st.sampled_from([0.0, 1e-12, 1e-8, 1e-3, np.inf]), min_size=10, max_size=10),
    kind=st.sampled_from(["gradient", "hessian", "hvp", "jvp"]),
    scheme=st.sampled_from(["forward", "central", "forward2", "central4", "richardson"]),
)
@settings(max_examples=150)
def test_no_point_is_outside_the_bounds(x: list[float], room: list[float], kind: str, scheme: str) -> None:
    at = np.array(x)
    d = len(at)
    lower, upper = at - room[:d], at + room[5 : 5 + d]
    if scheme == "richardson" and kind != "gradient":
        scheme = "forward"
    particulars: dict[str, Any] = {"v": np.linspace(-1, 1, d) + 0.5} if kind in ("hvp", "jvp") else {}
    asked: list[Any] = []

    def fun(point: Any) -> Any:
        asked.append(point)
        return np.sin(point).sum()

    try:
        checked(
            fun,
            at,
            kind,
            check=True,
            bounds=list(zip(lower, upper, strict=True)),
            options={"scheme": scheme},
            **particulars,
        )
    except Exception as error:  # a step that cannot be held
        assert "step" in str(error)  # noqa: PT017
    for point in asked:
        assert (point.real >= lower).all()
        assert (point.real <= upper).all()


def test_a_pair_that_bounds_let_go_one_way_is_of_second_order_too() -> None:
    x, v = np.zeros(2), np.array([0.1, -0.2])
    both, symmetric = two_points(x, v, x - 1, x + 1)
    np.testing.assert_allclose(both, [v, -v])
    assert symmetric
    one, symmetric = two_points(x, v, np.array([0.0, -1.0]), x + 1)
    np.testing.assert_allclose(one, [[0.1, -0.2], [0.2, -0.4]])
    assert not symmetric
    turned, _ = two_points(x, v, x, x + 1)
    np.testing.assert_allclose(turned, [[0.1, 0.2], [0.2, 0.4]])
    short, _ = two_points(x, v, x, np.array([0.1, 1.0]))
    np.testing.assert_allclose(short[:, 0], [0.05, 0.1])


@pytest.mark.parametrize("scheme", ["central", "forward2", "forward", "richardson"])
def test_at_a_bound_a_smooth_function_is_not_doubted(scheme: str) -> None:
    x = np.array([0.0, 1.0, 3.0])
    consistency = found(
        lambda p: np.exp(p).sum() * p[1], x, bounds=[(0, 1), (0, 1), (None, None)], options={"scheme": scheme}
    )
    assert consistency.verdict == CONSISTENT


CORNERS: dict[str, Any] = {
    "lower": [(k, None) for k in X],
    "upper": [(None, k) for k in X],
    "mixed": [(k, None) if i % 2 else (None, k) for i, k in enumerate(X)],
    "one": [(X[0], None), *[(None, None)] * 3],
    "room for half a step": [(k - 2e-5, None) for k in X],
}


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("scheme", ["central", "central4"])
def test_a_product_at_bounds(corner: str, scheme: str) -> None:
    """Coordinates with room on one side were not moved, so a corner had no check, and nothing said so."""
    how: dict[str, Any] = {"check": True, "bounds": CORNERS[corner], "options": {"scheme": scheme}}
    for v in ([1.0, 2.0, -1.0, 0.5], [0.0, -1.0, 0.0, 0.0], [-1.0, -1.0, 1.0, 1.0]):
        clean, waves = checked(rosenbrock, X, "hvp", v=v, **how)
        assert clean.consistency is not None
        assert clean.consistency.verdict == CONSISTENT
        assert clean.warnings == ()
        points = np.array([wave.request.points.dense(k) for wave in waves for k in range(len(wave.request.points))])
        lower, upper = as_bounds(CORNERS[corner], 4)
        assert ((points >= lower) & (points <= upper)).all()
        sigma = 1e-4 * abs(rosenbrock(X))
        verdicts = [checked(Noisy(rosenbrock, sigma, seed), X, "hvp", v=v, **how)[0].consistency for seed in range(10)]
        assert sum(each is not None and each.verdict == DOUBTFUL for each in verdicts) >= 8


def test_a_check_for_which_there_is_no_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who asks for a check, and gets none, is told so."""
    monkeypatch.setattr("distfd.differentiation.hessian_vector._MOST_CHANGES", 0)
    answer, _ = checked(rosenbrock, X, "hvp", v=X, check=True)
    assert answer.consistency is not None
    assert answer.consistency.verdict == UNKNOWN
    assert "could not be checked: the derivative takes too many points" in answer.warnings[-1]
    assert checked(rosenbrock, X, "hvp", v=X)[0].warnings == ()
    fixed = checked(rosenbrock, X, check=True, bounds=[(k, k) for k in X])[0]
    assert fixed.consistency is None, "nothing moves, so there is nothing to check"


# --- what ruins derivatives ---------------------------------------------------------------------------------------


def test_tiny_parameters() -> None:
    def fun(p: Floats) -> Any:
        return 5 * (1 - np.exp(-1e-6 / (p[0] * p[1])))

    consistency = found(fun, [1e3, 1e-9])
    assert consistency.verdict == DOUBTFUL
    assert "coordinate 1" in consistency.cause
    assert "scale" in consistency.remedy
    named = found(fun, [1e3, 1e-9], check=True)
    assert named.coordinates == (1,)
    # The remedy works.
    x = np.array([1e3, 1e-9])
    answer, _ = checked(fun, x, options={"scale": np.abs(x)})
    np.testing.assert_allclose(answer.derivative[1], -1.8393972e9, rtol=1e-4)
    assert answer.consistency is not None
    assert answer.consistency.verdict == CONSISTENT


@pytest.mark.parametrize(
    ("fun", "x", "right"),
    [
        (lambda p: p[0] / (p[0] + 1e-8), 1e-8, 2.5e7),
        (lambda p: ((1e12 * p - 1) ** 2).sum(), 2e-12, 2e12),
        (lambda p: np.exp(min(1e6 * p[0], 99.0)), 1e-6, 2.718281828e6),
        (lambda p: np.arctan(1e9 * p[0]), 1e-9, 5e8),
    ],
)
@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_a_step_that_is_larger_than_the_scale_of_j(fun: Any, x: float, right: float, scheme: str) -> None:
    answer, _ = checked(fun, [x], options={"scheme": scheme}, check=True)
    wrong = abs(answer.derivative[0] / right - 1) > 0.1
    assert answer.consistency is not None
    assert answer.consistency.verdict == (DOUBTFUL if wrong else CONSISTENT)
    if wrong:
        assert answer.consistency.coordinates == (0,)
        assert any("the derivative is in doubt along coordinate 0" in text for text in answer.warnings)
    scaled, _ = checked(fun, [x], options={"scheme": scheme, "scale": [abs(x)]})
    np.testing.assert_allclose(scaled.derivative, right, rtol=1e-4)


def test_single_precision() -> None:
    double = {"step": AbsoluteStep(1.5e-8)}  # what suits a float64
    x = [0.04, 0.1, 0.3]
    consistency = found(lambda x: np.float32(np.sum(np.cosh(x) ** 3 * x)), x, options=double)
    assert consistency.verdict == DOUBTFUL
    assert "float32" in consistency.cause

    def several(x: Floats) -> Any:
        return np.array([np.sum(np.cosh(x) ** 3 * x), x @ x], np.float32)

    residuals = found(several, x, "jacobian", options=double)
    assert residuals.verdict == DOUBTFUL
    assert "float32" in residuals.cause
    # Steps that nobody gave follow the precision, and the check's point goes out with the second request. A user who
    # asked for the check has another: a float32 has so few digits that one residual may be small by chance.
    for check, count in ((None, [1, 1]), (True, [1, 1, 1])):
        answer, waves = checked(several, x, "jacobian", check=check)
        assert answer.consistency is not None
        assert answer.consistency.verdict == CONSISTENT
        assert [len(wave.request.optional) for wave in waves] == count
        assert waves[1].request.insist == bool(check)
        np.testing.assert_allclose(answer.derivative[1], 2 * np.array(x), rtol=1e-2)
    # Where nothing moves at all, the check's point does not either: of that there is another warning.
    zeros, _ = checked(lambda x: np.float32(3 * np.sin(x).sum()), [0.3, 1.7, 25.0], options=double)
    assert any("J did not change at all" in text for text in zeros.warnings)


def test_a_large_constant_part() -> None:
    def fun(x: Floats) -> float:
        return float(1e9 + np.sin(x).sum())

    answer, _ = checked(fun, [1.0, 1.0])
    assert answer.derivative.tolist() == [8.0, 8.0]
    assert answer.consistency is not None
    assert answer.consistency.verdict == DOUBTFUL
    assert "rounding hides them" in answer.consistency.cause
    # The remedies work.
    for x, options in ((fun, {"step": "auto"}), (lambda p: fun(p) - 1e9, {"scheme": "central"})):
        better, _ = checked(x, [1.0, 1.0], options=options)
        np.testing.assert_allclose(better.derivative, 2 * [np.cos(1.0)], rtol=0.05)


@pytest.mark.parametrize(
    ("kind", "particulars", "points"),
    [
        ("gradient", {}, 5),
        ("jacobian", {"sparsity": np.ones((1, 4))}, 5),
        ("jvp", {"v": [1.0, 2.0, 3.0, 4.0]}, 2),
        ("hessian", {}, 25),
        ("hvp", {"v": [1.0, 2.0, 3.0, 4.0]}, 9),
    ],
)
def test_a_complex_step_has_its_own_points_and_no_others(kind: str, particulars: Any, points: int) -> None:
    def fun(x: Any) -> Any:
        return np.exp(x).sum() * x[0]

    scheme = {"options": {"scheme": "complex-step"}, **particulars}
    bare, waves = checked(fun, X, kind, check=False, **scheme)
    assert [len(wave.values) for wave in waves] == [points]
    for check in (None, True):
        answer, more = checked(fun, X, kind, check=check, **scheme)
        assert answer.consistency is None
        (request,) = [wave.request for wave in more]
        assert len(request.points) == points + len(request.optional) > points
        assert request.insist
        same = [getattr(a.derivative, "toarray", lambda a=a: a.derivative)() for a in (bare, answer)]
        assert bits(same[0]) == bits(same[1])


def test_a_lost_imaginary_part_is_not_looked_for_without_a_check() -> None:
    def fun(x: Any) -> Any:
        return x[0] ** 2 + np.abs(x[1]) ** 2

    scheme: dict[str, Any] = {"options": {"scheme": "complex-step"}}
    np.testing.assert_allclose(checked(fun, [3.0, 4.0], check=False, **scheme)[0].derivative, np.array([6.0, 0.0]))
    for check in (None, True):
        with pytest.raises(EvaluationError, match="loses imaginary parts"):
            checked(fun, [3.0, 4.0], check=check, **scheme)


def test_a_sparsity_that_lacks_an_entry() -> None:
    def fun(x: Floats) -> Floats:
        return np.array([x[0] * x[1], x[1] + x[2], x[2] ** 2, x[3]])

    full = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert found(fun, X, "jacobian", sparsity=full).verdict == CONSISTENT
    for row, column in zip(*np.nonzero(full), strict=True):
        mask = full.copy()
        mask[row, column] = 0
        answer, _ = checked(fun, X, "jacobian", sparsity=csr_array(mask), check=True)
        consistency = answer.consistency
        assert consistency is not None
        assert (consistency.verdict, consistency.output) == (DOUBTFUL, row)
        assert "sparsity" in consistency.cause
        # Where the column shares its points with another of this row, that one is wrong as well.
        assert consistency.coordinates == (() if (row, column) == (0, 1) else (column,))
        (text,) = [text for text in answer.warnings if "in doubt" in text]
        assert f"in output {row}" in text


def test_a_mask_of_a_hessian_that_lacks_the_only_entry_of_a_coordinate() -> None:
    def fun(x: Floats) -> float:
        return float(x[0] ** 3 + x[1] ** 2 * x[2] + np.exp(x[3]) * x[0])

    full = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 0], [1, 0, 0, 1]])
    assert found(fun, X, "hessian", sparsity=full).verdict == CONSISTENT
    for row, column in [(1, 2), (0, 3)]:
        mask = full.copy()
        mask[row, column] = mask[column, row] = mask[3, 3] = 0
        for scheme in ({}, {"scheme": "central4"}):
            answer, _ = checked(fun, X, "hessian", sparsity=mask, check=True, options=scheme)
            assert answer.consistency is not None
            assert answer.consistency.verdict == DOUBTFUL
            assert "sparsity" in answer.consistency.cause
    free = np.array([1, 1, 0, 0])[:, None] * np.array([1, 1, 0, 0])
    linear = checked(lambda x: x[0] ** 2 * x[1] + 3 * x[2] - x[3], X, "hessian", sparsity=free, check=True)[0]
    assert linear.consistency is not None
    assert linear.consistency.verdict == CONSISTENT


def test_a_band_that_is_too_narrow() -> None:
    d = 40
    x = np.linspace(0.5, 2, d)
    shift = diags_array([np.ones(d), np.ones(d - 1), np.ones(d - 2)], offsets=[0, 1, 2]).toarray()

    def fun(p: Floats) -> Floats:
        return np.asarray(shift @ p**2)

    narrow = diags_array([np.ones(d), np.ones(d - 1)], offsets=[0, 1])
    assert found(fun, x, "jacobian", sparsity=narrow).verdict == DOUBTFUL
    assert found(fun, x, "jacobian", sparsity=csr_array(shift)).verdict == CONSISTENT


@pytest.mark.filterwarnings("ignore::distfd.DerivativeWarning")
@pytest.mark.parametrize("options", [{}, {"scheme": "central"}, {"scheme": "central4"}, {"step": "auto"}])
def test_a_missing_entry_whose_effect_is_in_another_column(options: dict[str, Any]) -> None:
    """Two columns are moved together, and one of them changes a row in which only the other one has an entry."""

    def fun(x: Floats) -> Floats:
        return np.array([3 * x[0], 2 * x[1] + 5 * x[0]])

    rng = np.random.default_rng(1)
    for x in rng.uniform(0.3, 1, (20, 2)) * rng.choice([-1.0, 1.0], (20, 2)):
        answer = distfd.differentiate(
            fun, x, kind="jacobian", sparsity=np.eye(2), check=True, executor="serial", **options
        )
        assert answer.consistency is not None
        assert (answer.consistency.verdict, answer.consistency.output) == (DOUBTFUL, 1), x
        assert any("sparsity lacks an entry" in text for text in answer.warnings)
        whole = distfd.differentiate(
            fun, x, kind="jacobian", sparsity=[[1, 0], [1, 1]], check=True, executor="serial", **options
        )
        assert whole.consistency is not None
        assert (whole.consistency.verdict, whole.warnings) == (CONSISTENT, ())
        derivative: Any = whole.derivative
        np.testing.assert_allclose(derivative.toarray(), [[3, 0], [5, 2]], rtol=1e-6)


def test_columns_of_one_group_move_by_different_multiples() -> None:
    group = np.array([0, 1, 0, 2, 1, 0, 0, 1])
    u = multipliers(np.arange(8.0), 8, group)
    assert ((np.abs(u) >= SMALLEST) & (np.abs(u) <= LARGEST)).all()
    for members in (np.flatnonzero(group == g) for g in range(3)):
        assert (np.abs(np.diff(u[members])) >= 2 * SMALLEST).all()
        assert (np.abs(u[members][2:] - u[members][:-2]) >= 0.3).all()


def test_a_probe_that_has_missed_an_entry() -> None:
    def fun(x: Floats) -> Floats:
        # What the second output has of x[0] is switched off around x, and on at the check's point.
        return np.array([x[0], x[1] + np.where(x[0] * x[1] > 0.28, 3.0, 0.0) * x[0], x[2]])

    assert (
        found(lambda x: np.array([x[0] * x[1], x[1], x[2]]), X[:3], "jacobian", sparsity="probe").verdict == CONSISTENT
    )
    seen = {found(fun, [0.4 + e, 0.7, 1.0], "jacobian", sparsity="probe").verdict for e in np.linspace(-1e-8, 1e-8, 9)}
    assert DOUBTFUL in seen


class Leaking:
    """A simulator that is not reset: what it did before stays."""

    def __init__(self) -> None:
        self.before = 0.0

    def __call__(self, x: Floats) -> float:
        value = float(np.sin(x).sum() + 0.1 * self.before)
        self.before = value
        return value


def test_a_state_that_leaks() -> None:
    consistency = found(Leaking(), X)
    assert consistency.verdict == DOUBTFUL
    assert "a state passes" in consistency.cause


def test_a_minimum_or_maximum_is_named() -> None:
    def fun(x: Any) -> float:
        return -float((x[0] - 1) ** 2 + 100 * (x[1] - x[0]) ** 2)

    doubted = found(fun, [1.0, 1.0])
    assert doubted.verdict == DOUBTFUL
    assert "minimum or maximum of J" in doubted.cause
    assert "central" in doubted.remedy


@pytest.mark.parametrize("d", [2, 5])
def test_noise_is_taken_for_no_minimum(d: int) -> None:
    rng = np.random.default_rng(d)
    causes = {found(lambda x: 1 + 1e-6 * float(rng.standard_normal()), np.ones(d)).cause for _ in range(20)}
    assert not any("minimum or maximum of J" in cause for cause in causes)
    assert any("J is noisy" in cause for cause in causes)


def test_printed_output() -> None:
    consistency = found(lambda x: float(f"{np.exp(x).sum():.9g}"), X)
    assert consistency.verdict == DOUBTFUL
    assert "few digits" in consistency.cause


def test_a_kink() -> None:
    assert found(lambda x: np.abs(x - 0.4).sum(), [0.4, 1.0, 2.0]).verdict in (CONSISTENT, DOUBTFUL)
    verdicts = [found(lambda x, c=c: np.abs(x - c).sum(), [c, c, c]).verdict for c in np.linspace(0.1, 5, 20)]
    assert verdicts.count(DOUBTFUL) > 15


def test_derivatives_with_error_bars_are_checked_only_where_that_is_insisted_on() -> None:
    for options in ({"step": "auto"}, {"accuracy": 1e-3}):
        assert checked(rosenbrock, X, options=options)[0].consistency is None
        answer, waves = checked(rosenbrock, X, options=options, check=True)
        assert answer.consistency is not None
        assert answer.consistency.verdict == CONSISTENT
        assert waves[-1].request.insist
        assert len(waves[-1].request.points) == 2 + 4, "a pair over the steps, two over far longer ones"
        noisy = found(Noisy(rosenbrock, 1e-3), X, options=options, check=True)
        assert noisy.verdict == CONSISTENT, "its bars are honest"


def test_repaired_components_are_checked_too() -> None:
    def fun(x: Floats) -> float:
        return float(np.exp(3 * x[0]) + x[1])

    plain, _ = checked(fun, [1.0, 2.0], repair=True)
    assert plain.consistency is not None
    assert plain.consistency.verdict == CONSISTENT


# --- verdicts --------------------------------------------------------------------------------------------------------


def answered(method: Any, waves: list[Wave], fun: Callable[[Any], Any], status: int, text: str = "") -> Answer:
    """The answer where the check's points have ended so."""
    request = method.advance(waves)
    assert isinstance(request, Request)
    values = np.array([np.atleast_1d(fun(request.points.dense(k))) for k in range(len(request.points))])
    ended = np.full(len(values), Status.OK, dtype=np.uint8)
    ended[request.optional], values[request.optional] = status, np.nan
    failures = {int(k): Failure(Status.ERROR, text) for k in request.optional} if text else {}
    answer = method.advance([*waves, Wave(request, values, ended, failures)])
    assert isinstance(answer, Answer)
    return answer


@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_without_a_value_the_verdict_is_unknown(scheme: str) -> None:
    site = BasePoint(X, *as_bounds(None, 4))
    options = DerivativeOptions(scheme)
    plain = answered(make_method("gradient", Setting(site, options)), [], rosenbrock, Status.OK)
    for check in (None, True):
        method = make_method("gradient", Setting(site, options, check=check, rides=True))
        for status, text in ((Status.ERROR, "ValueError: no"), (Status.CANCELLED, "")):
            answer = answered(method, [], rosenbrock, status, text)
            assert answer.consistency is not None
            assert answer.consistency.verdict == UNKNOWN
            assert answer.consistency.error is None
            assert (text or "late") in answer.consistency.sentence
            assert bits(answer.derivative) == bits(plain.derivative)
            asked = bool(check and text)
            assert [text in told for told in answer.warnings] == [True] * asked, "who asks for a check hears of it"
    left_out = answered(make_method("gradient", Setting(site, options, rides=True)), [], rosenbrock, Status.NOT_RUN)
    assert left_out.consistency is None, "there was no room for it"


def test_the_warning_keeps_its_words_from_x_to_x() -> None:
    consistency = found(Noisy(rosenbrock, 1e-6), X)
    text = consistency.warning(lambda k: f"p{k}")
    assert text.startswith(
        "the derivative is in doubt: it does not predict J at one more point. Likely cause: J is noisy"
    )
    assert text.endswith(")")
    several = replace(consistency, coordinates=(1, 2), output=3)
    assert "in output 3 along one of p1, p2:" in several.warning(lambda k: f"p{k}")
    many = replace(consistency, coordinates=tuple(range(9)))
    assert "p4 and 4 more" in many.warning(lambda k: f"p{k}")


@pytest.mark.filterwarnings("error::distfd.DerivativeWarning")
@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-160, 1e160, 1e290])
def test_sizes_of_j_whose_squares_are_beyond_floating_point(size: float) -> None:
    """A product of many densities is such a J; its check and its noise were in doubt for that alone."""

    def fun(x: Floats) -> float:
        return float(size * (x[0] ** 2 * x[1] + np.sin(x[0]) * x[2] ** 3))

    x = np.array([1.3, -0.7, 0.4])
    exact = size * np.array([2 * x[0] * x[1] + np.cos(x[0]) * x[2] ** 3, x[0] ** 2, 3 * np.sin(x[0]) * x[2] ** 2])
    ways: list[dict[str, Any]] = [{}, {"scheme": "central"}, {"step": "auto"}, {"accuracy": 1e-3}]
    for how in ways:
        result = distfd.differentiate(fun, x, check=True, executor="serial", **how)
        np.testing.assert_allclose(result.derivative, exact, rtol=1e-5)
        assert result.consistency is not None
        assert result.consistency.verdict == CONSISTENT
        if result.error is not None:
            assert np.isfinite(result.error).all()
    kinds: tuple[Any, ...] = ("hessian", "hvp")
    for kind in kinds:
        more: dict[str, Any] = {"v": [1, 0, 0]} if kind == "hvp" else {}
        second = distfd.differentiate(fun, x, kind=kind, check=True, executor="serial", **more)
        assert second.consistency is not None
        assert second.consistency.verdict == CONSISTENT


def test_a_gradient_of_exact_zeros() -> None:
    still = found(lambda x: 3.0, X)
    assert still.verdict == UNKNOWN
    assert still.sentence == "unknown: J did not move at any point, so there is nothing to compare"
    assert found(lambda x: float(np.round(x.sum() * 1e8)), [1.00000001e-1]).verdict == DOUBTFUL


def test_a_fixed_coordinate_stays_where_it_is() -> None:
    answer, (wave,) = checked(rosenbrock, X, bounds=[(None, None), (-0.7, -0.7), (None, None), (None, None)])
    assert answer.consistency is not None
    assert answer.consistency.verdict == CONSISTENT
    assert wave.request.points.dense(4)[1] == -0.7
    none, _ = checked(rosenbrock, X, bounds=list(zip(X, X, strict=True)), check=True)
    assert none.consistency is None


@pytest.mark.parametrize("bad", range(7))
def test_three_more_points_name_the_coordinate(bad: int) -> None:
    x = np.linspace(0.5, 2, 7)

    def fun(p: Floats) -> float:
        return float(np.sin(p).sum() + 1e9 * (p[bad] - x[bad]) ** 2)

    consistency = found(fun, x, check=True)
    assert consistency.verdict == DOUBTFUL
    assert bad in consistency.coordinates
    assert len(consistency.coordinates) <= 2


def test_noise_names_no_coordinate() -> None:
    named = [found(Noisy(rosenbrock, 1e-6, seed), np.ones(8) * 1.3, check=True).coordinates for seed in range(20)]
    assert named.count(()) >= 18, named


def test_groups_by_their_codes() -> None:
    groups = Groups([np.array([k]) for k in range(6)])
    for k, code in enumerate(CODES):
        rest = np.array([1.0 if code & bit else 0.01 for bit in (1, 2, 4)])
        assert groups.doubtful(1.0, rest) == (k,)
    assert groups.doubtful(1.0, np.ones(3)) == ()
    assert groups.doubtful(1.0, np.zeros(3)) == ()
    assert groups.doubtful(1.0, np.array([1.0, 0.7, 0.0])) == (), "they do not fit"
    three = Groups([np.array([5]), np.array([7]), np.array([9])])
    assert three.doubtful(2.0, np.array([0.9, 0.0, 1.1])) == (5, 9)
    assert three.doubtful(2.0, np.array([0.9, 0.8, 0.3])) == ()
    assert Groups([np.array([3])]).doubtful(1.0, np.ones(1)) == ()


# --- false alarms ----------------------------------------------------------------------------------------------------


def value_of(problem: Any) -> Callable[[Any], Any]:
    return lambda p: problem.value(p[None])[0]


@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_of_right_derivatives_of_clean_functions_one_in_a_hundred_is_doubted_at_most(scheme: str) -> None:
    right = alarms = 0
    for name, problem in sorted(PROBLEMS.items()):
        if len(problem.x0) > 12:
            continue
        rng = np.random.default_rng(sum(map(ord, name)))
        for spread in (0.0, 1e-3, 0.3):
            x = problem.x0 + spread * rng.standard_normal(len(problem.x0)) * np.maximum(0.1, np.abs(problem.x0))
            true = problem.gradient(x)
            answer, _ = checked(value_of(problem), x, options={"scheme": scheme})
            if answer.consistency is None or not np.isfinite(true).all():
                continue
            h = np.abs(answer.step)
            if np.linalg.norm((answer.derivative - true) * h) < 0.02 * np.linalg.norm(true * h):
                right += 1
                alarms += answer.consistency.verdict == DOUBTFUL
    assert right > 100
    assert alarms <= 0.01 * right, f"{alarms} of {right}"
