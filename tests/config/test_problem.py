from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from distfd.config import load_config
from distfd.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from distfd.config.problem import Problem


def problem(folder: Path, text: str) -> Problem:
    path = folder / "c.yaml"
    path.write_text("objective: {python: m:f}\n" + text)
    return load_config(path).config.problem()


def test_parameters(tmp_path: Path) -> None:
    found = problem(
        tmp_path,
        "parameters:\n"
        "- {name: a, value: 1}\n"
        "- {name: b, value: 2, lower: 0, upper: 3, scale: 10, step: 1e-3}\n"
        "- {name: c, value: 3, fixed: true}\n"
        "- {name: d, value: 4, lower: 4, upper: 4}\n",
    )
    assert found.names == ("a", "b", "c", "d")
    np.testing.assert_array_equal(found.x0, [1, 2, 3, 4])
    np.testing.assert_array_equal(found.lower, [-np.inf, 0, -np.inf, 4])
    np.testing.assert_array_equal(found.upper, [np.inf, 3, np.inf, 4])
    np.testing.assert_array_equal(found.scale, [np.nan, 10, np.nan, np.nan])
    np.testing.assert_array_equal(found.step, [np.nan, 1e-3, np.nan, np.nan])
    np.testing.assert_array_equal(found.fixed, [False, False, True, True])
    assert {a.dtype for a in (found.x0, found.lower, found.upper, found.scale, found.step)} == {np.dtype(float)}


@pytest.mark.parametrize(
    ("bounds", "lower", "upper"),
    [
        ("", [-np.inf] * 3, [np.inf] * 3),
        ("bounds:\n", [-np.inf] * 3, [np.inf] * 3),
        ("bounds: {lower: 0}\n", [0, 0, 0], [np.inf] * 3),
        ("bounds: {lower: [0, null, 3], upper: 3}\n", [0, -np.inf, 3], [3, 3, 3]),
        ("bounds: {lower: low.npy, upper: [null, 5, null]}\n", [0, -np.inf, 1], [np.inf, 5, np.inf]),
    ],
)
@pytest.mark.parametrize("x0", ["[1, 2, 3]", "x0.npy"])
def test_x0_and_bounds(tmp_path: Path, x0: str, bounds: str, lower: list[float], upper: list[float]) -> None:
    np.save(tmp_path / "x0.npy", np.array([1, 2, 3]))
    np.save(tmp_path / "low.npy", np.array([0, -np.inf, 1]))
    found = problem(tmp_path, f"x0: {x0}\n{bounds}")
    assert found.names == ("x0", "x1", "x2")
    np.testing.assert_array_equal(found.x0, [1, 2, 3])
    np.testing.assert_array_equal(found.lower, lower)
    np.testing.assert_array_equal(found.upper, upper)
    np.testing.assert_array_equal(found.fixed, found.lower == found.upper)
    assert np.isnan(found.scale).all()
    assert np.isnan(found.step).all()


def test_a_million_coordinates_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x0.npy", np.zeros(1_000_000))
    found = problem(tmp_path, "x0: x0.npy\nbounds: {lower: -1, upper: 1}\n")
    assert len(found.names) == len(found.x0) == 1_000_000
    assert found.names[-1] == "x999999"


def test_few_of_many_mistakes_in_a_file_are_told(tmp_path: Path) -> None:
    np.save(tmp_path / "x0.npy", np.zeros(1000))
    with pytest.raises(ConfigError) as caught:
        problem(tmp_path, "x0: x0.npy\nbounds: {lower: 1}\n")
    assert len(str(caught.value).split("\n")) == 5


def test_a_file_that_changes_after_loading_is_seen(tmp_path: Path) -> None:
    np.save(tmp_path / "x0.npy", np.zeros(3))
    path = tmp_path / "c.yaml"
    path.write_text("objective: {python: m:f}\nx0: x0.npy\n")
    config = load_config(path).config
    np.save(tmp_path / "x0.npy", np.eye(3))
    with pytest.raises(ValueError, match=r"must hold a \(d,\) array"):
        config.problem()
