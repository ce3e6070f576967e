"""distfd.openmdao against OpenMDAO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd

if TYPE_CHECKING:
    from conftest import RequireSimulator

pytestmark = pytest.mark.slow  # to import it takes seconds


def rosenbrock(x: Any) -> float:
    return float((1 - x[0]) ** 2 + 5 * (x[1] - x[0] ** 2) ** 2)


def pair(x: Any) -> Any:
    return np.array([x[0] * x[1], x[1] ** 2])


def test_totals_go_through_the_black_box(require_simulator: RequireSimulator) -> None:
    require_simulator("openmdao")
    import openmdao.api as om

    from distfd.openmdao import BlackBox

    with distfd.Evaluator(pair, scheme="central", executor="serial") as ev:
        problem = om.Problem(reports=False)
        problem.model.add_subsystem("box", BlackBox(evaluator=ev, x=[2.0, 3.0], outputs=2), promotes=["*"])
        problem.model.add_subsystem("after", om.ExecComp("f = J[0] + 2 * J[1]", J=np.ones(2)), promotes=["*"])
        problem.setup()
        problem.run_model()
        totals = problem.compute_totals(of=["f"], wrt=["x"])
    assert problem.get_val("f")[0] == pytest.approx(24.0)
    assert totals["f", "x"] == pytest.approx(np.array([[3.0, 14.0]]))


def test_a_driver_finds_the_minimum_and_the_baseline_is_shared(require_simulator: RequireSimulator) -> None:
    require_simulator("openmdao")
    import openmdao.api as om

    from distfd.openmdao import BlackBox

    seen: list[bytes] = []

    def counted(x: Any) -> float:
        seen.append(x.tobytes())
        return rosenbrock(x)

    with distfd.Evaluator(counted, executor="serial") as ev:
        problem = om.Problem(reports=False)
        problem.model.add_subsystem("box", BlackBox(evaluator=ev, x=[-0.5, 0.5]), promotes=["*"])
        problem.model.add_design_var("x", lower=-2, upper=2)
        problem.model.add_objective("J")
        problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", disp=False)
        problem.setup()
        problem.run_driver()
    assert problem.get_val("x") == pytest.approx([1.0, 1.0], abs=2e-3)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    ("j", "outputs", "answer"), [(rosenbrock, 3, "give outputs=1"), (pair, None, "give outputs=2")]
)
def test_another_number_of_outputs_than_j_has_fills_nothing(
    require_simulator: RequireSimulator, j: Any, outputs: int | None, answer: str
) -> None:
    require_simulator("openmdao")
    import openmdao.api as om

    from distfd.openmdao import BlackBox

    with distfd.Evaluator(j, executor="serial") as ev:
        problem = om.Problem(reports=False)
        problem.model.add_subsystem("box", BlackBox(evaluator=ev, x=[2.0, 3.0], outputs=outputs), promotes=["*"])
        problem.setup()
        with pytest.raises(Exception, match=answer):
            problem.run_model()


def test_j_in_the_place_of_an_evaluator(require_simulator: RequireSimulator) -> None:
    require_simulator("openmdao")
    from distfd.openmdao import BlackBox

    with pytest.raises(distfd.InputError, match=r"BlackBox: evaluator: needs a distfd\.Evaluator"):
        BlackBox(evaluator=rosenbrock, x=[2.0, 3.0])
