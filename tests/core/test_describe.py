"""Words: what failed, where, why, and what to do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from solving import ask, method

from distfd.core.describe import coordinate_label, failure_message, point_label, short_vector, where
from distfd.core.points import dense_points
from distfd.core.records import Batch, Failure, Status

X = np.array([0.5, 2.0])
POINTS = ask(method(X, step=0.25)).points


def test_coordinates_have_numbers_and_where_given_names() -> None:
    assert coordinate_label(None)(3) == "coordinate 3"
    assert coordinate_label(["a", "b", "c", "mass"])(3) == "coordinate 3 ('mass')"


def test_a_point_is_told_by_what_sets_it_apart() -> None:
    label = coordinate_label(["a", "b"])
    assert point_label(POINTS, 0, label) == "x itself (the baseline)"
    assert point_label(POINTS, 2, label) == "coordinate 1 ('b'), x = 2.5 (baseline 2.0, moved by 0.5)"
    several = dense_points([X, X + 1])
    assert point_label(several, 1, label) == "point 1, which changes coordinate 0 ('a') and coordinate 1 ('b')"
    many = dense_points([np.zeros(4), np.ones(4)])
    assert point_label(many, 1, label) == "point 1, which changes 4 coordinates of x"


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_a_label_has_every_digit_of_the_value(a: float, b: float) -> None:
    if np.float64(a).view(np.uint64) == np.float64(b).view(np.uint64):
        return
    text = point_label(dense_points([[a], [b]]), 1, coordinate_label(None))
    assert float(text.split("x = ")[1].split(" ")[0]) == b
    assert float(text.split("baseline ")[1].split(",")[0]) == a


@given(hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(-1e9, 1e9)))
def test_all_of_a_short_vector_is_shown(x: np.ndarray) -> None:
    np.testing.assert_allclose([float(v) for v in short_vector(x).strip("[]").split(", ")], x, rtol=1e-9)


def test_a_long_vector_is_shown_by_its_ends() -> None:
    assert short_vector(np.arange(1e6)) == "[0, 1, 2, 3, ... 999994 more ..., 999998, 999999]"


def message(failure: Failure, place: str = "node pid 7", attempts: int = 1) -> list[str]:
    return failure_message(POINTS, 1, failure, coordinate_label(None), attempts=attempts, place=place).splitlines()


def test_a_failure_says_what_where_why_and_what_to_do() -> None:
    lines = message(
        Failure(Status.ERROR, "ValueError: negative width", "Traceback\n\n  in J\nValueError: negative width\n")
    )
    assert lines == [
        "J failed at coordinate 0, x = 0.625 (baseline 0.5, moved by 0.125)",
        "  why:   ValueError: negative width",
        "  x:     [0.625, 2]",
        "  where: node pid 7, 1 attempt",
        "  J said:",
        "    Traceback",
        "      in J",
        "    ValueError: negative width",
        "  to do: correct J, its bounds or step, or let a component be missing or repaired (on_failure: nan, repair)",
    ]


def test_only_the_last_lines_of_a_long_detail_are_shown() -> None:
    detail = "\n".join(f"line {i}" for i in range(100))
    lines = message(Failure(Status.TIMEOUT, "timeout", detail))
    assert [line.strip() for line in lines if line.startswith("    ")] == [f"line {i}" for i in range(92, 100)]


@pytest.mark.parametrize(("status", "word"), [(Status.CRASH, "crash: n"), (Status.TIMEOUT, "timeout: n")])
def test_the_remedy_is_that_of_the_cause(status: Status, word: str) -> None:
    assert word in message(Failure(status, "gone"))[-1]


def test_a_process_that_died_said_nothing() -> None:
    assert not any("Ray's words" in line for line in message(Failure(Status.CRASH, "killed", "Ray's words")))


def test_what_never_started_has_no_place() -> None:
    lines = message(Failure(Status.LOST, "the node went away"), place="", attempts=3)
    assert lines[-1] == "  where: never started, 3 attempts"


@pytest.mark.parametrize(("host", "text"), [("node", "node pid 7"), ("", "")])
def test_a_place_is_a_host_and_a_process(host: str, text: str) -> None:
    none = np.empty(0)
    batch = Batch(
        none.astype(int), none.astype(np.uint8), none.astype(int), none, none, none, none.astype(np.int32), host, 7, 0
    )
    assert where(batch) == text


def test_where_j_fails_at_x_itself_no_component_can_be_left_out() -> None:
    failure = Failure(Status.ERROR, "ValueError: no")
    lines = failure_message(POINTS, 0, failure, coordinate_label(None), attempts=1, place="").splitlines()
    assert lines[0] == "J failed at x itself (the baseline)"
    assert lines[-1] == "  to do: correct J, or choose another x"


def test_a_module_that_is_missing_has_a_remedy_of_its_own() -> None:
    failure = Failure(Status.ERROR, "ModuleNotFoundError: No module named 'solver'")
    text = failure_message(POINTS, 0, failure, coordinate_label(None), attempts=1, place="here")
    assert "to do: install the module where J is evaluated" in text
