"""J that returns a Series: its numbers are taken by place, and so their labels must have one order."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.core.points import dense_points
from distfd.core.records import Status
from distfd.errors import EvaluationError
from distfd.objectives.function import PythonObjective
from distfd.stores.memory import MemoryStore
from distfd.workers.messages import EvaluationChunk
from distfd.workers.value_labels import UNLABELLED, LabelOrder, LabelReader
from distfd.workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd.core.records import Batch

pd: Any = pytest.importorskip("pandas")

X = np.array([1.0, 2.0])
EXACT = np.array([[2.0, 0.0], [0.0, 12.0]])


def by_name(x: Any) -> Any:
    return pd.Series({"a": x[0] ** 2, "b": x[1] ** 3})


class Turning:
    """Returns its outputs in another order from its second call on."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        return by_name(x) if self.calls < 2 else by_name(x)[::-1]


def run(fun: Callable[..., Any], n: int = 2) -> Batch:
    points = dense_points([X + k for k in range(n)])
    return Worker(PythonObjective(fun)).run(EvaluationChunk(3, np.arange(n), points, True, None, np.inf))


@pytest.mark.parametrize("options", [{}, {"scheme": "complex-step"}, {"step": "auto"}, {"check": True}])
def test_labels_in_one_order_change_nothing(options: dict[str, Any]) -> None:
    jacobian = distfd.jacobian(by_name, X, executor="serial", **options)
    plain = distfd.jacobian(lambda x: by_name(x).to_numpy(), X, executor="serial", **options)
    np.testing.assert_array_equal(jacobian, plain)
    np.testing.assert_allclose(jacobian, EXACT, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"scheme": "central"}, {"step": "auto"}])
@pytest.mark.parametrize(
    "fun",
    [
        Turning(),
        lambda x: pd.Series({"a": x[0], "b": x[1] / 2 + 1e-9}).sort_values(),
        lambda x: pd.Series([x[0], x[1] / 2 + 1e-9]).sort_values(),
        lambda x: pd.DataFrame({"v": [x[0], x[1] / 2 + 1e-9]}, index=["a", "b"]).sort_values("v")["v"],
        lambda x: pd.Series([x[0], x[1]], index=["a", "b" if x[1] == X[1] else "c"]),
    ],
)
def test_labels_that_change_are_an_error(fun: Callable[..., Any], options: dict[str, Any]) -> None:
    if isinstance(fun, Turning):
        fun.calls = 0
    with pytest.raises(EvaluationError, match=r"labels are other ones, or in another order.*reindex"):
        distfd.jacobian(fun, X, executor="serial", **options)


def test_labels_that_change_at_complex_points_are_an_error() -> None:
    with pytest.raises(EvaluationError, match="in another order"):
        distfd.jacobian(Turning(), X, scheme="complex-step", executor="serial")


def test_labels_that_are_numbers_or_times_may_move_as_long_as_their_order_stays() -> None:
    def fun(x: Any) -> Any:
        return pd.Series([x[0] ** 2, x[1] ** 3], index=[x[0], x[0] + x[1]])

    np.testing.assert_allclose(distfd.jacobian(fun, X, executor="serial"), EXACT, rtol=1e-6, atol=1e-6)
    times = pd.to_datetime(["2026-01-01", "2026-01-02"])
    there = [LabelReader().digest(pd.Series([1.0, 2.0], index=at)) for at in (times, times + pd.Timedelta("1h"))]
    assert there[0] == there[1] != LabelReader().digest(pd.Series([1.0, 2.0], index=times[::-1]))


def test_what_has_no_labels_or_one_output_has_no_digest() -> None:
    reader = LabelReader()
    for raw in (1.0, [1.0, 2.0], np.ones(3), pd.Series([1.0], index=["a"])):
        assert reader.digest(raw) == UNLABELLED
    assert run(lambda x: x).labels is None


def test_equal_labels_have_one_digest_whatever_holds_them() -> None:
    reader = LabelReader()
    assert reader.digest(pd.Series([1.0, 2.0])) == reader.digest(pd.Series([1.0, 2.0], index=[0, 1]))
    names = [pd.Series([1.0, 2.0], index=index) for index in (["a", "b"], pd.CategoricalIndex(["a", "b"]))]
    assert len({reader.digest(each) for each in names}) == 1
    several = pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])
    turned = [reader.digest(pd.Series([1.0, 2.0], index=index)) for index in (several, several[::-1])]
    assert turned[0] != turned[1]


def test_other_processes_have_the_same_digests_and_the_first_value_of_all_decides() -> None:
    batches = [run(by_name), run(lambda x: by_name(x)[::-1]), run(by_name)]
    store, real = MemoryStore(), np.zeros(2, dtype=bool)
    for batch, right in zip(batches, (True, False, True), strict=True):
        found = LabelOrder(7, store.decision, store.decide).checked(batch, real)  # another session on the same store
        assert (found.status == (Status.OK if right else Status.ERROR)).all()
        assert found.size.tolist() == ([2, 2] if right else [0, 0])
        assert len(found.flat) == found.size.sum()
        assert sorted(found.failures) == ([] if right else [0, 1])
    other = LabelOrder(8, store.decision, store.decide).checked(batches[1], real)
    assert (other.status == Status.OK).all()


def test_a_point_in_another_order_is_missing_where_points_may_be() -> None:
    def fun(x: Any) -> Any:
        return by_name(x) if x[0] == X[0] else by_name(x)[::-1]

    result = distfd.differentiate(fun, X, kind="jacobian", on_failure="nan", executor="serial")
    assert result.missing.tolist() == [0]
    np.testing.assert_allclose(result.derivative[:, 1], EXACT[:, 1], rtol=1e-6)


def test_fits() -> None:
    with pytest.raises(EvaluationError, match="in another order"):
        distfd.least_squares(lambda x: by_name(x - 0.3).sort_values(), [1.0, 1.0], executor="serial")
    t = np.linspace(0, 1, 5)

    def model(at: Any, a: float, b: float) -> Any:
        found = pd.Series(a + b * at, index=list("vwxyz"))
        return found if a == 1.0 else found[::-1]

    with pytest.raises(EvaluationError, match="in another order"):
        distfd.curve_fit(model, t, 2 + 3 * t, executor="serial")


def test_digests_do_not_depend_on_the_process() -> None:
    code = (
        "import pandas as pd; from distfd.workers.value_labels import LabelReader; "
        "print(LabelReader().digest(pd.Series({'a': 1.0, 'b': 2.0})))"
    )
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        assert int(said.stdout) == LabelReader().digest(by_name(X))
