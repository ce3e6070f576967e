"""``verbose`` of the functions of one call."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import distfd

X = [1.0, 2.0]
ONE_CALL: dict[str, Any] = {
    "differentiate": (),
    "gradient": (),
    "value_and_gradient": (),
    "jacobian": (),
    "hessian": (),
    "hvp": ([1.0, 0.0],),
    "jvp": ([1.0, 0.0],),
    "directional": ([[1.0, 0.0]],),
    "noise_level": (),
    "sensitivity": ([0.1, 0.2],),
    "step_sweep": (),
}


def bowl(x: Any) -> float:
    return float(np.sum(np.asarray(x) ** 2))


@pytest.mark.parametrize("name", ONE_CALL)
def test_a_line_at_the_end(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    function = getattr(distfd, name)
    function(bowl, X, *ONE_CALL[name], executor="serial")
    assert capsys.readouterr().out == ""
    function(bowl, X, *ONE_CALL[name], executor="serial", verbose=1)
    (line,) = capsys.readouterr().out.splitlines()
    assert re.match(rf"{name}: .*\d+ evaluations?, [\d.e-]+ s in \d+ waves?$", line)


def test_of_a_gradient(capsys: pytest.CaptureFixture[str]) -> None:
    distfd.gradient(bowl, X, executor="serial", verbose=True)
    assert capsys.readouterr().out.startswith("gradient: J = 5, 3 evaluations, ")
    seen: list[Any] = []
    distfd.gradient(bowl, X, executor="serial", step="auto", verbose=2, observers=[seen.append])
    *waves, last = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in waves] == [f"gradient, wave {k + 1}" for k in range(len(waves))]
    assert last.endswith(f" in {len(waves)} waves")
    assert len(waves) > 1
    assert seen


@pytest.mark.parametrize("verbose", [3, -1, "1", None])
def test_what_is_no_level(verbose: Any) -> None:
    with pytest.raises(distfd.InputError, match="verbose: must be 0"):
        distfd.gradient(bowl, X, executor="serial", verbose=verbose)


def test_of_a_gradient_that_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    found = distfd.check_gradient(bowl, lambda x: 2 * x, X, executor="serial", verbose=1)
    (line,) = capsys.readouterr().out.splitlines()
    assert re.match(rf"check_gradient: .*{found.n_evaluations} evaluations, ", line)
    distfd.check_gradient(bowl, lambda x: 2 * x, X, executor="serial")
    assert capsys.readouterr().out == ""


def test_an_evaluator_that_is_given_has_observers_instead() -> None:
    with (
        distfd.Evaluator(bowl, executor="serial") as ev,
        pytest.raises(distfd.InputError, match=r"verbose: .*give the Evaluator observers"),
    ):
        distfd.sensitivity(ev, X, [0.1, 0.2], verbose=1)
