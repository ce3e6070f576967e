"""What is no value, wherever it comes: an error that names coordinate, x and value, and never a silent number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from faulty import CONTAINED, CRASHES, NAMES, POSITIONS, RETURNS, faulty, slopes, start

import distfd
from distfd.core.records import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = [(fault, RETURNS[fault][1]) for fault in RETURNS] + [(fault, CRASHES[fault][1]) for fault in CONTAINED]


@pytest.fixture(scope="module")
def serial() -> Iterator[distfd.Evaluator]:
    with distfd.Evaluator(faulty, executor="serial", names=NAMES) as evaluator:
        yield evaluator


def refuses(evaluator: distfd.Evaluator, fault: str, position: str, text: str) -> distfd.EvaluationError:
    """The error of a gradient with this fault, which says all that there is to say."""
    x = start(fault, position)
    with pytest.raises(distfd.EvaluationError, match=text) as caught:
        evaluator.gradient(x)
    said = str(caught.value)
    assert said.startswith(f"J failed at {POSITIONS[position]}")
    assert "  x:     [" in said
    shown = said.partition("  x:     [")[2].partition("]")[0].split(", ")
    np.testing.assert_allclose([float(number) for number in shown], x, rtol=1e-6)
    record = caught.value.evaluation
    assert record is not None
    assert record.failure is not None
    assert record.value is None
    assert record.status in (Status.ERROR, Status.CRASH)
    return caught.value


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(("fault", "text"), CASES, ids=[fault for fault, _ in CASES])
def test_in_the_callers_process(serial: distfd.Evaluator, fault: str, text: str, position: str) -> None:
    error = refuses(serial, fault, position, text)
    assert error.evaluation is not None
    assert error.evaluation.status is Status.ERROR


@pytest.mark.parametrize("on_failure", ["nan", "repair"])
@pytest.mark.parametrize("fault", RETURNS)
def test_as_a_component(fault: Any, on_failure: Any) -> None:
    """The failed coordinate alone is missing, and what the others are does not depend on it."""
    for position, k in (("first", 0), ("last", 2)):
        x = start(fault, position)
        result = distfd.differentiate(faulty, x, executor="serial", names=NAMES, on_failure=on_failure, step=1e-6)
        assert result.missing.tolist() == [k]
        assert np.isnan(result.derivative[k])
        assert result.repaired == {}  # there is no value on that line at all
        others = np.arange(3) != k
        np.testing.assert_allclose(result.derivative[others], slopes(x)[others], rtol=1e-3)
    with pytest.raises(distfd.EvaluationError, match=r"x itself \(the baseline\)"):
        distfd.gradient(faulty, start(fault, "baseline"), executor="serial", on_failure=on_failure)


@pytest.mark.parametrize("raw", ["nan", "None", "matrix", "empty", "object array", "dict", "masked"])
def test_as_a_row_of_a_jacobian(raw: str) -> None:
    bad = RETURNS[raw][0]

    def fun(x: np.ndarray) -> object:
        return bad() if x[1] != 2.0 else x

    with pytest.raises(distfd.EvaluationError, match=r"coordinate 1, x = 2\.0000000"):
        distfd.jacobian(fun, [1.0, 2.0], executor="serial")
    found = distfd.differentiate(fun, [1.0, 2.0], kind="jacobian", executor="serial", on_failure="nan")
    assert found.missing.tolist() == [1]
    assert np.isnan(found.derivative[:, 1]).all()


@pytest.mark.slow
def test_on_ray(private_ray: None) -> None:
    """One session for all: a failed evaluation is data, and leaves the workers as they were."""
    executor = distfd.RayExecutor(max_slots=2)
    with distfd.Evaluator(faulty, executor=executor, names=NAMES, retries=0) as evaluator:
        for fault, text in CASES:
            for position in POSITIONS:
                error = refuses(evaluator, fault, position, text)
                assert error.evaluation is not None
                assert error.evaluation.status is Status.ERROR, (fault, position)
                assert error.evaluation.host, (fault, position)
