"""distfd.optimagic against optimagic."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

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


def test_it_travels_as_a_serial_one_and_stays_itself_in_copies() -> None:
    with distfd.Evaluator(bowl, executor="serial") as ev:
        evaluate = batch_evaluator(ev)
        assert copy.deepcopy(evaluate) is evaluate
        there = pickle.loads(pickle.dumps(evaluate))
    assert there(abs, [-1, 2], n_cores=4) == [1, 2]


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
