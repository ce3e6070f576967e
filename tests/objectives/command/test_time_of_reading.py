"""The time limit of an evaluation holds for what comes after its program: expressions of logs and outputs."""

from __future__ import annotations

import functools
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.core.failures import EvaluationFailure, ProgramTimeout
from distfd.errors import DerivativeWarning, EvaluationError, InputError
from distfd.evaluation.evaluator import Evaluator
from distfd.objectives.command import outputs
from distfd.objectives.command.objective import CommandObjective

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

X = np.array([1.0])
SLOW = "(a+)+$"
CODE = "printf 'J=1\\n'; printf 'a%.0s' $(seq 60); echo '!'"


def program(work: Path, **options: Any) -> CommandObjective:
    options.setdefault("outputs", {"J": {"file": "stdout", "regex": "J=(.+)"}})
    return CommandObjective(["sh", "-c", options.pop("code", CODE)], work=work, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"outputs": {"J": {"file": "stdout", "regex": SLOW}}},
        {"outputs": {"J": {"file": "stdout", "columns": {"line": SLOW, "from": 1, "to": 3}}}},
        {"fails_if": SLOW},
        {"retry_if": SLOW},
    ],
    ids=["regex", "columns", "fails_if", "retry_if"],
)
def test_an_expression_without_end_ends_with_the_evaluation(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ProgramTimeout, match=r"did not end within .* s: it backtracks") as caught:
        program(tmp_path / "w", **options).make().evaluate(X, timeout=1.5)
    assert SLOW in str(caught.value)


def test_it_ends_without_a_time_limit_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distfd.workers.bounded_regex.SECONDS", 0.3)
    with pytest.raises(ProgramTimeout, match="did not end"):
        program(tmp_path / "w", fails_if=SLOW).make().evaluate(X)


@pytest.mark.parametrize("file", ["o.json", "my.log"])
def test_a_pipe_that_nobody_writes_to_hangs_nothing(tmp_path: Path, file: str) -> None:
    objective = program(
        tmp_path / "w",
        code=f"mkfifo {file}; echo J=1; exit 1",
        outputs={"J": {"file": "o.json", "json": "/a"}},
        log=["my.log"],
    )
    with pytest.raises(EvaluationFailure, match="return code 1"):
        objective.make().evaluate(X, timeout=60)


def test_programs_are_held_to_their_time_where_there_is_no_process_to_end(tmp_path: Path) -> None:
    objective = program(tmp_path / "w", code="sleep 600")
    evaluator = Evaluator(objective, executor="serial", timeout=0.3, retries=0, on_failure="nan")
    with evaluator, pytest.raises(EvaluationError, match=r"still ran after 0\.3 s"):
        evaluator.value(X)


def test_a_value_that_comes_too_late_is_refused_where_nobody_could_end_j() -> None:
    def slow(x: NDArray[np.float64]) -> float:
        time.sleep(0.2 if x[0] == 1.0 else 0.0)
        return float(x[0])

    with pytest.warns(DerivativeWarning, match=r"timeout=0\.1 cannot end J in the caller's own process"):
        opened = Evaluator(slow, executor="serial", timeout=0.1, retries=0)
    with opened as evaluator:
        with pytest.raises(EvaluationError, match=r"more than its timeout of 0\.1 s: its value is refused"):
            evaluator.value(X)
        assert evaluator.value([2.0]) == 2.0
    with pytest.warns(DerivativeWarning, match="timeout=60"):
        opened = Evaluator(slow, executor="serial", timeout=60.0)
    with opened as evaluator:
        assert evaluator.value(X) == 1.0


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"timeout": 5.0}, "timeout=5 cannot"),
        ({"setup_timeout": 5.0}, "setup_timeout=5 cannot"),
        ({"timeout": 5.0, "setup_timeout": 9.0}, "timeout=5 and setup_timeout=9 cannot"),
    ],
)
@pytest.mark.parametrize("call", [distfd.gradient, distfd.differentiate, distfd.hessian, distfd.minimize, "evaluator"])
def test_a_limit_that_ends_nothing_is_said_before_the_first_evaluation(
    limits: dict[str, float], named: str, call: Any
) -> None:
    seen: list[float] = []

    def fun(x: NDArray[np.float64]) -> float:
        seen.append(x[0])
        return float(x @ x)

    use: Any = functools.partial(call, fun, X) if callable(call) else functools.partial(Evaluator, fun)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DerivativeWarning, match=f"^{named}.* executor='ray' ends J"):
            use(executor="serial", **limits)
    assert seen == []


def test_nothing_is_said_where_limits_hold_or_are_not_given(tmp_path: Path) -> None:
    with Evaluator(lambda x: float(x @ x), executor="serial") as evaluator:
        assert evaluator.value(X) == 1.0
    with Evaluator(program(tmp_path / "w", code="echo J=1"), executor="serial", timeout=60.0) as evaluator:
        assert evaluator.value(X) == 1.0
    Evaluator(lambda x: float(x @ x), executor="ray", timeout=60.0).close()


@pytest.mark.parametrize(
    "where",
    [
        {"token": {"line": "^(a+)+$", "field": 1}},
        {"regex": "^(?:a+)+(b)$"},
        {"csv": {"column": 1, "row": 1, "header": False, "start": "^(a+)+$"}},
        {"columns": {"line": "^(a|a)+$", "from": 1, "to": 2}},
    ],
    ids=["token", "regex", "csv", "columns"],
)
def test_measurements_are_not_searched_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: dict[str, Any]
) -> None:
    """They are read where a configuration is looked at, and nobody has given a timeout."""
    assert outputs._SEARCH < 5
    monkeypatch.setattr(outputs, "_SEARCH", 0.5)
    (tmp_path / "measured.txt").write_text("a" * 60 + "!\n")
    with pytest.raises(InputError, match=r"data: m: .* did not end within 0\.5 s: it backtracks"):
        outputs.read_measured("m", {"file": "measured.txt", **where}, tmp_path)
