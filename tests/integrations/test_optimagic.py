"""distfd.optimagic against optimagic."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import cloudpickle  # type: ignore[import-untyped]  # it has no types
import numpy as np
import pytest

import distfd
from distfd.optimagic import batch_evaluator

if TYPE_CHECKING:
    from conftest import RequireSimulator

pytestmark = pytest.mark.slow  # to import it takes seconds


def bowl(x: Any) -> float:
    return float(np.sum(x**2) + x[0] * x[1])


def test_its_derivatives_come_from_the_slots(require_simulator: RequireSimulator) -> None:
    require_simulator("optimagic")
    import optimagic

    with distfd.Evaluator(bowl, executor="serial") as ev:
        calls = []
        inner = batch_evaluator(ev)

        def counted(func: Any, arguments: Any, **options: Any) -> list[Any]:
            calls.append(len(arguments))
            return inner(func, arguments, **options)

        options = {"numdiff_options": optimagic.NumdiffOptions(batch_evaluator=counted)}
        found = optimagic.minimize(bowl, np.array([1.0, 2.0]), algorithm="scipy_lbfgsb", **options)
    assert np.asarray(found.params) == pytest.approx([0.0, 0.0], abs=1e-4)
    assert calls
    assert min(calls) >= 2


@pytest.mark.parametrize(("symbol", "arguments"), [("*", [(1, 2)]), ("**", [{"a": 1, "b": 2}]), (None, [3])])
def test_arguments_are_unpacked(symbol: str | None, arguments: list[Any]) -> None:
    with distfd.Evaluator(bowl, executor="serial") as ev:
        add = {"*": lambda a, b: a + b, "**": lambda a, b: a + b, None: lambda a: a}[symbol]
        assert batch_evaluator(ev)(add, arguments, n_cores=4, unpack_symbol=symbol) == [3]


def test_failures_are_raised_or_given_back(require_simulator: RequireSimulator) -> None:
    require_simulator("optimagic")
    from optimagic.typing import ErrorHandling

    def picky(a: float) -> float:
        if a < 0:
            raise ValueError("negative width")
        return a

    with distfd.Evaluator(bowl, executor="serial") as ev:
        evaluate = batch_evaluator(ev)
        first, second = evaluate(picky, [1.0, -1.0], error_handling=ErrorHandling.CONTINUE)
        assert first == 1.0
        assert "negative width" in second
        for word in (ErrorHandling.RAISE, "raise"):
            with pytest.raises(ValueError, match="negative width"):
                evaluate(picky, [1.0, -1.0], error_handling=word)


def test_multistart_runs_its_local_optimisations_on_rays_workers(require_simulator: RequireSimulator) -> None:
    # Each holds the batch evaluator in what is sent to a worker, and calls it there for its derivatives.
    require_simulator("optimagic")
    import optimagic

    with distfd.Evaluator(bowl, executor=distfd.RayExecutor(max_slots=2), check=False) as ev:
        evaluate = batch_evaluator(ev)
        numdiff = optimagic.NumdiffOptions(batch_evaluator=evaluate)
        found = optimagic.minimize(
            bowl,
            np.array([1.0, 2.0]),
            algorithm="scipy_lbfgsb",
            bounds=optimagic.Bounds(lower=np.full(2, -5.0), upper=np.full(2, 5.0)),
            numdiff_options=numdiff,
            multistart=optimagic.MultistartOptions(n_samples=6, stopping_maxopt=2, batch_evaluator=evaluate),
        )
        plain = optimagic.minimize(bowl, np.array([1.0, 2.0]), algorithm="scipy_lbfgsb", numdiff_options=numdiff)
    assert np.asarray(found.params) == pytest.approx([0.0, 0.0], abs=1e-4)
    assert np.asarray(plain.params) == pytest.approx([0.0, 0.0], abs=1e-4)


def test_a_pickled_copy_makes_the_calls_where_it_is() -> None:
    with distfd.Evaluator(bowl, executor="serial") as ev:
        evaluate = batch_evaluator(ev)
        assert copy.deepcopy(evaluate) is copy.copy(evaluate) is evaluate
        there = cloudpickle.loads(cloudpickle.dumps(evaluate))
    assert there(lambda a, b: a - b, [(3, 1), (5, 1)], n_cores=2, unpack_symbol="*") == [2, 4]
    assert "ZeroDivisionError" in there(lambda a: 1 / a, [0])[0]
    with pytest.raises(ZeroDivisionError):
        there(lambda a: 1 / a, [0], error_handling="raise")
    assert there(abs, []) == []


def test_j_in_the_place_of_an_evaluator() -> None:
    given: Any = bowl
    with pytest.raises(distfd.InputError, match=r"batch_evaluator: needs a distfd\.Evaluator"):
        batch_evaluator(given)
