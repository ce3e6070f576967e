"""Every kind of derivative divides by the step as a deck of three decimals has it, or refuses one that it swallows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.sparse

import distfd
from distfd.core.records import Status
from distfd.differentiation.base_point import BasePoint
from distfd.differentiation.method import Request, Wave
from distfd.differentiation.placement import as_bounds
from distfd.differentiation.stencils import resolve_scheme
from distfd.errors import InputError
from distfd.evaluation.derivative_setting import Setting
from distfd.evaluation.method_registry import make_method
from distfd.evaluation.options import DerivativeOptions
from distfd.objectives.command.objective import CommandObjective

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from distfd.differentiation.method import Answer

DECK = '{{ a | fmt(".3f") }}\n{{ b | fmt(".3f") }}\n'
X = np.array([0.5, -0.25])
# Neither is a whole number of the deck's thousandths, and both are rounded by different amounts.
STEP = 0.0234
COARSE = [0.0014, 0.0026]


def command(folder: Path) -> CommandObjective:
    (folder / "deck.j2").write_text(DECK)
    return CommandObjective(
        ["cat", "deck"],
        inputs={"deck": "deck.j2"},
        outputs={"J": {"file": "stdout", "regex": "(.+)", "which": "all"}},
        names=("a", "b"),
        base=folder,
    )


def read(x: Any) -> Any:
    """What stands in the deck."""
    return np.array([float(format(v, ".3f")) for v in x])


def solved(folder: Path, kind: str, fun: Callable[[Any], Any], **options: Any) -> Answer:
    """The method driven here, J reading its numbers from text, as a program would; the program itself need not run."""
    particulars = {name: options.pop(name) for name in ("v", "directions", "sparsity") if name in options}
    bounds = as_bounds(options.pop("bounds", None), len(X))
    x = options.pop("x", X)
    site = BasePoint(x, *bounds, lambda k: "ab"[k], command(folder).written)
    scheme = resolve_scheme(options.pop("scheme", "forward"))
    method = make_method(kind, Setting(site, DerivativeOptions(scheme, **options)), **particulars)
    waves: list[Wave] = []
    while isinstance(asked := method.advance(waves), Request):
        n = len(asked.points)
        values = np.array([np.atleast_1d(fun(read(asked.points.dense(k)))) for k in range(n)])
        waves.append(Wave(asked, values, np.full(n, Status.OK, dtype=np.uint8)))
    return asked


A = np.array([[2.0, 0.7], [0.7, -3.0]])


def quadratic(x: Any) -> float:
    return float(0.5 * x @ A @ x + np.array([1.0, -2.0]) @ x)


def pair(x: Any) -> Any:
    return np.array([x[0] ** 2, x[0] * 3.0 + 1.0, x[1] * x[1] + x[1]])


@pytest.mark.parametrize("bounds", [None, [(0.5, 9), (None, None)], [(0.5, 9), (-9, -0.25)]])
def test_hessians(tmp_path: Path, bounds: Any) -> None:
    found = solved(tmp_path, "hessian", quadratic, step=distfd.AbsoluteStep(STEP), bounds=bounds)
    np.testing.assert_allclose(np.diag(found.derivative), np.diag(A), rtol=1e-8)
    np.testing.assert_allclose(found.derivative, A, rtol=1e-8)
    assert abs(found.step) == pytest.approx([0.023, 0.024], abs=1.5e-3)


@pytest.mark.parametrize("bounds", [None, [(0.5, 9), (None, None)]])
@pytest.mark.parametrize("v", [[1.0, 0.0], [1.0, -1.0], [2.0, 1.0]])
def test_products_with_the_hessian(tmp_path: Path, bounds: Any, v: list[float]) -> None:
    # The step along v is such that its rounding does not turn it aside; those of the coordinates are rounded unevenly.
    found = solved(tmp_path, "hvp", quadratic, v=v, step=distfd.AbsoluteStep([0.2341, 0.2337]), bounds=bounds)
    np.testing.assert_allclose(found.derivative, A @ v, rtol=2e-2, atol=2e-2)


def test_a_product_along_one_coordinate_is_exact_for_a_cubic(tmp_path: Path) -> None:
    """Uneven offsets must take the value between them: without it this is wrong by a few per cent."""

    def cubic(x: Any) -> float:
        return float(x[0] ** 2 * x[1] + x[0] * x[1])

    found = solved(tmp_path, "hvp", cubic, v=[1.0, 0.0], step=distfd.AbsoluteStep([0.0123, 0.0176]))
    a, b = X
    np.testing.assert_allclose(found.derivative, [2 * b, 2 * a + 1], rtol=5e-3)


@pytest.mark.parametrize("scheme", ["forward", "central", "forward2"])
@pytest.mark.parametrize("kind", ["directional", "jvp"])
def test_directions_of_one_coordinate(tmp_path: Path, kind: str, scheme: str) -> None:
    along: dict[str, Any] = {"directions": [[2.0, 0.0]]} if kind == "directional" else {"v": [2.0, 0.0]}
    found = solved(
        tmp_path,
        kind,
        lambda x: 5 * x[0] - 2 * x[1] ** 2,
        scheme=scheme,
        step=distfd.AbsoluteStep(0.0014),
        **along,
    )
    np.testing.assert_allclose(np.ravel(found.derivative), [10.0], rtol=1e-9)
    assert abs(found.step[0]) == pytest.approx(0.0005)  # 0.001 of coordinate a


def test_a_direction_that_the_formats_turn_aside_is_refused(tmp_path: Path) -> None:
    options: dict[str, Any] = {"directions": [[1.0, 0.5]]}
    with pytest.raises(InputError, match=r"along direction 0 leave that direction .* more digits"):
        solved(tmp_path, "directional", quadratic, step=distfd.AbsoluteStep(0.0031), **options)
    found = solved(tmp_path, "directional", quadratic, step=distfd.AbsoluteStep(0.4), **options)
    wanted = (A @ X + [1.0, -2.0]) @ [1.0, 0.5]
    curvature = 0.5 * np.array([1.0, 0.5]) @ A @ [1.0, 0.5] * found.step[0]
    np.testing.assert_allclose(found.derivative, [wanted + curvature], rtol=1e-2)


@pytest.mark.parametrize("sparsity", ["mask", "probe"])
def test_sparse_jacobians(tmp_path: Path, sparsity: str) -> None:
    given: Any = scipy.sparse.csr_array(np.array([[1, 0], [1, 0], [0, 1]])) if sparsity == "mask" else sparsity
    step = distfd.AbsoluteStep(COARSE)
    found = solved(tmp_path, "jacobian", pair, sparsity=given, scheme="central", step=step)
    wanted = [[2 * X[0], 0], [3.0, 0], [0, 2 * X[1] + 1]]
    np.testing.assert_allclose(found.derivative.toarray(), wanted, rtol=1e-8)
    assert found.derivative.nnz == 3


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("gradient", {}),
        ("hessian", {}),
        ("hvp", {"v": [1.0, 0.0]}),
        ("jvp", {"v": [1.0, 0.0]}),
        ("directional", {"directions": [[0.0, 1.0]]}),
        ("jacobian", {"sparsity": np.eye(2)}),
        ("jacobian", {"sparsity": "probe"}),
    ],
)
def test_a_swallowed_step_is_refused_before_anything_runs(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    def never(x: Any) -> Any:
        raise AssertionError("it was evaluated")

    with pytest.raises(InputError, match=r"[ab] \(coordinate [01]\) .*swallows it"):
        solved(tmp_path, kind, never, step=distfd.AbsoluteStep(1e-5), **options)


def test_a_program_gets_the_hessian_right(tmp_path: Path) -> None:
    """J = a^2 b by a real program; by the nominal steps the diagonal would be off by 4 %."""
    (tmp_path / "deck.j2").write_text(DECK)
    argv = ["awk", '{v[NR] = $1} END {printf "%.17g\\n", v[1] * v[1] * v[2]}', "deck"]
    made = CommandObjective(
        argv,
        inputs={"deck": "deck.j2"},
        outputs={"J": {"file": "stdout", "regex": "(.+)"}},
        names=("a", "b"),
        base=tmp_path,
    )
    found = distfd.hessian(made, X, executor="serial", step=distfd.AbsoluteStep(STEP))
    np.testing.assert_allclose(found[0, 0], 2 * X[1], rtol=1e-8)
    np.testing.assert_allclose(found[0, 1], 2 * X[0], rtol=5e-3)
