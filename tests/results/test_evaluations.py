"""Evaluations as columns: the same as one by one, whatever the kind, in memory and in files."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from solving import rosenbrock, trigonometric

import distfd
from distfd.core.points import single_points
from distfd.core.records import Batch, Status
from distfd.differentiation.method import Request
from distfd.results.evaluations import Evaluations

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RequireSimulator
    from numpy.typing import NDArray

X = np.array([0.3, -1.2, 2.0])


def fragile(x: Any) -> float:
    if x[1] != X[1]:
        raise ValueError("negative, width\nhere")
    return float(x @ x)


def result(**options: Any) -> distfd.DerivativeResult:
    fun = options.pop("fun", rosenbrock)
    return distfd.differentiate(fun, X, executor="serial", **options)


CASES: dict[str, dict[str, Any]] = {
    "gradient": {},
    "central": {"scheme": "central"},
    "auto": {"step": "auto"},
    "complex": {"scheme": "complex-step", "fun": lambda x: np.sum(x**3)},
    "jacobian": {"kind": "jacobian", "fun": trigonometric},
    "hessian": {"kind": "hessian"},
    "jvp": {"kind": "jvp", "fun": trigonometric, "v": np.ones(3)},
    "failed": {"fun": fragile, "on_failure": "nan"},
}


@pytest.mark.parametrize("case", CASES)
def test_columns_say_what_the_objects_say(case: str) -> None:
    evaluations = result(**CASES[case]).evaluations
    assert isinstance(evaluations, Evaluations)
    array = np.asarray(evaluations)
    assert len(array) == len(evaluations)
    for row, one in zip(array, evaluations, strict=True):
        assert (row["point"], row["status"], row["attempt"]) == (one.index, one.status, one.attempt)
        assert (row["host"], row["pid"], row["slot"], row["reused"]) == (one.host, one.pid, one.slot, one.reused)
        assert (row["started"], row["ended"]) == (one.started, one.ended)
        np.testing.assert_array_equal(row["value"], np.nan if one.value is None else one.value)
        if not one.changes:
            assert (row["coordinate"], row["displacement"]) == (-1, 0)
        elif len(one.changes) > 1:
            assert row["coordinate"] == -2
            assert np.isnan(row["displacement"])
        else:
            ((coordinate, value),) = one.changes
            assert (row["coordinate"], row["displacement"]) == (coordinate, value - X[coordinate])


def test_columns_by_name() -> None:
    evaluations = result(**CASES["failed"]).evaluations
    np.testing.assert_array_equal(evaluations["seconds"], [one.seconds for one in evaluations])
    assert evaluations["point"][evaluations["status"] == Status.ERROR].tolist() == [2]
    assert "4 evaluations" in repr(evaluations)
    with pytest.raises(ValueError, match="no field"):
        evaluations["vaule"]
    with pytest.raises(ValueError, match="read-only"):
        evaluations.array["value"][0] = 1.0
    copied = np.array(evaluations, copy=True)
    copied["value"][0] = 1.0


def test_no_evaluations_are_no_rows() -> None:
    with distfd.Evaluator(rosenbrock, executor="serial") as evaluator:
        evaluator.differentiate(X)
        again = evaluator.differentiate(X).evaluations
    assert again["reused"].all()
    assert np.isnan(again["seconds"]).all()
    assert len(np.asarray(Evaluations([], str))) == 0


def test_a_million_evaluations_are_columns_at_once() -> None:
    n = 1_000_000
    request = Request(single_points(np.zeros(n), np.arange(n), np.full(n, 0.5)))
    ones, numbers = np.ones(n), np.arange(n)
    values: NDArray[np.float64] = numbers.astype(np.float64)
    status, size, attempt = ones.astype(np.uint8), ones.astype(np.int64), ones.astype(np.int32)
    batch = Batch(numbers, status, size, values, ones, ones + ones, attempt, host="node", pid=1, slot=0)
    array = Evaluations([(request, [batch])], str).array
    assert array.nbytes < 150 * n
    np.testing.assert_array_equal(array["value"], values)
    np.testing.assert_array_equal(array["coordinate"], numbers)


@pytest.mark.parametrize("case", CASES)
def test_a_csv_file_keeps_every_bit(case: str, tmp_path: Path) -> None:
    evaluations = result(**CASES[case]).evaluations
    evaluations.to_csv(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == [one.status.word for one in evaluations]
    assert [float(row["started"]) for row in rows] == [one.started for one in evaluations]
    values = evaluations["value"].reshape(len(rows), -1)
    for a in range(values.shape[1]):
        cells = [row[f"value{a}" if values.shape[1] > 1 else "value"] for row in rows]
        read = np.array([complex(cell) if cell else np.nan for cell in cells])
        np.testing.assert_array_equal(read, values[:, a])
    failed = [one for one in evaluations if one.failure is not None]
    assert [row["message"] for row in rows if row["message"]] == [one.failure.text for one in failed if one.failure]


def test_the_derivative_as_a_csv_file(tmp_path: Path) -> None:
    found = result(names=["a", "b,c", '"d"'], step="auto")
    found.to_csv(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["a", "b,c", '"d"']
    assert found.error is not None
    for name, column in (("dJ/dx", found.derivative), ("error", found.error), ("x", X), ("step", found.step)):
        assert [float(row[name]) for row in rows] == column.tolist()
    with pytest.raises(distfd.InputError, match=r"nowhere.* cannot be written.*give a path"):
        found.to_csv(tmp_path / "nowhere" / "a.csv")


def test_data_frames(require_simulator: RequireSimulator) -> None:
    require_simulator("pandas")
    found = result(**CASES["failed"])
    frame = found.evaluations.to_dataframe()
    assert frame.status.tolist() == ["ok", "ok", "error", "ok"]
    assert frame.loc[frame.status == "error", "message"].item() == "ValueError: negative, width here"
    assert found.to_dataframe()["dJ/dx"].isna().tolist() == [False, True, False]


def test_without_pandas_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(distfd.InputError, match=r"pip install 'distfd\[report\]'"):
        result().to_dataframe()
