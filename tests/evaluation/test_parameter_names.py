"""An objective that knows what its parameters are called: messages and results say so, and nothing is stored anew."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.objectives.base import Objective, adapted
from distfd.workers.model import Model

if TYPE_CHECKING:
    from pathlib import Path


class Beam(Objective):
    """J with parameters of its own: (x0 - 1)^2 + x0 x1, and none where x1 > 3."""

    def __init__(self, names: tuple[str, ...] | None = ("mass", "width")) -> None:
        self.given = names

    @property
    def parameter_names(self) -> tuple[str, ...] | None:
        return self.given

    def make(self) -> Model:
        return BeamModel()

    def fingerprint(self) -> str:
        return "bea3" * 16


class BeamModel(Model):
    def evaluate(self, x: Any, *, timeout: float | None) -> float:
        if x[1] > 3:
            raise ValueError("too wide")
        return float((x[0] - 1) ** 2 + x[0] * x[1])


def differentiate(x: Any, fun: Objective | None = None, **options: Any) -> distfd.DerivativeResult:
    return distfd.differentiate(fun or Beam(), x, executor="serial", **options)


def test_the_printed_result_has_them() -> None:
    result = differentiate([2.0, 1.0])
    assert result.names == ("mass", "width")
    assert [line.split()[0] for line in repr(result).splitlines()[3:5]] == ["mass", "width"]
    assert result.labels.tolist() == ["d J / d mass", "d J / d width"]


def test_errors_and_warnings_name_them() -> None:
    with pytest.raises(distfd.EvaluationError, match=r"coordinate 1 \('width'\)"):
        differentiate([2.0, 3.0])
    with pytest.raises(distfd.InputError, match=r"coordinate 0 \('mass'\) = 9.0 is outside its bounds"):
        differentiate([9.0, 1.0], bounds=[(0, 5), (0, 5)])
    with pytest.warns(distfd.DerivativeWarning, match=r"does not change coordinate 0 \('mass'\)"):
        differentiate([2.0, 1.0], step=[1e-20, 1e-6])


def test_optimisers_and_uncertainties_have_them() -> None:
    found = distfd.minimize(Beam(), [2.0, 1.0], bounds=[(0, 3), (0, 2)], executor="serial")
    assert found.derivative.names == ("mass", "width")
    spread = distfd.sensitivity(Beam(), [2.0, 1.0], [0.1, 0.2], executor="serial")
    assert spread.names == ["mass", "width"]


def test_what_the_caller_says_comes_first() -> None:
    assert differentiate([2.0, 1.0], names=("a", "b")).names == ("a", "b")
    named: Any = differentiate({"u": 2.0, "v": 1.0}).derivative
    assert named == pytest.approx({"u": 3.0, "v": 2.0}, rel=1e-6)
    assert differentiate([2.0, 1.0], Beam(None)).names is None


def test_names_in_another_order_than_that_of_j_are_refused_as_x_goes_by_position() -> None:
    same: Any = differentiate({"mass": 2.0, "width": 1.0}).derivative
    assert same == pytest.approx({"mass": 3.0, "width": 2.0}, rel=1e-6)
    with pytest.raises(distfd.InputError, match="x0: names the parameters width, mass, and J takes mass, width"):
        differentiate({"width": 1.0, "mass": 2.0})
    with pytest.raises(distfd.InputError, match="names: names the parameters width, mass, and J takes mass, width"):
        differentiate([2.0, 1.0], names=("width", "mass"))
    with pytest.raises(distfd.InputError, match=r"there are 2 for 3 coordinates \(mass, width\)"):
        differentiate([2.0, 1.0, 0.0])


def test_they_change_no_identity_in_a_store(tmp_path: Path) -> None:
    store = tmp_path / "values.sqlite"
    first = differentiate([2.0, 1.0], Beam(None), store=store)
    again = differentiate([2.0, 1.0], store=store)
    assert (first.n_evaluations, again.n_evaluations, again.n_reused) == (3, 0, 3)


def test_a_program_has_the_names_that_it_was_given(tmp_path: Path) -> None:
    text = "import json; p = json.load(open('parameters.json')); print('J =', p['mass'] ** 2 + 3 * p['width'])"
    program = distfd.CommandObjective(
        [sys.executable, "-c", text],
        outputs={"J": {"file": "stdout", "regex": r"J = (\S+)"}},
        names=("mass", "width"),
        base=tmp_path,
    )
    result = differentiate(np.array([2.0, 1.0]), program)
    assert result.names == ("mass", "width")
    assert result.derivative == pytest.approx([4.0, 3.0], rel=1e-4)


def test_one_of_another_class_may_have_them_or_not() -> None:
    class Duck:
        parameter_names = ("k",)

        def make(self) -> Any:
            raise AssertionError

        def fingerprint(self) -> None: ...

    duck = adapted(Duck())
    assert duck is not None
    assert duck.parameter_names == ("k",)
    assert Beam.parameter_names is not Objective.parameter_names
    assert Objective.parameter_names.fget(Beam()) is None  # type: ignore[attr-defined]  # the default
