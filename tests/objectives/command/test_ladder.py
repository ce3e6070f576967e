"""The ladder example on the real circuit simulator; skipped without ngspice, but never in CI."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from scipy.optimize import minimize
from scipy.optimize._numdiff import approx_derivative

from distfd.core.failures import ProgramError
from distfd.objectives.command.objective import CommandObjective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.objectives.command.model import ProgramModel

CONFIGS = Path(__file__).parents[3] / "configs"
PUBLISHED = np.array([0.618, 1.618, 2.0, 1.618, 0.618])
ONES = np.ones(5)


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CONFIGS / "ladder.yaml").read_text())
    return loaded


@pytest.fixture
def model(config: dict[str, Any], tmp_path: Path) -> ProgramModel:
    if shutil.which("ngspice") is None:
        message = "ngspice is not installed (apt-get install ngspice): THE LADDER EXAMPLE IS NOT TESTED"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    command = dict(config["objective"]["command"])
    names = [parameter["name"] for parameter in config["parameters"]]
    objective = CommandObjective(command.pop("argv"), **command, names=names, base=CONFIGS, work=tmp_path)
    objective.check(ONES)
    return objective.make()


def response(p: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.complex128]:
    """The ladder's transfer function by chain matrices, to hold ngspice against."""
    chain = np.tile(np.eye(2, dtype=complex), (len(w), 1, 1))
    chain[:, 0, 1] = 1.0  # the source's ohm
    for k, element in enumerate(p):
        step = np.tile(np.eye(2, dtype=complex), (len(w), 1, 1))
        step[:, 1 - k % 2, k % 2] = 1j * w * element  # capacitors across, inductors along
        chain = chain @ step
    transfer: NDArray[np.complex128] = 1 / (chain[:, 0, 0] + chain[:, 0, 1])  # into the load's ohm
    return transfer


def expected(p: NDArray[np.float64]) -> float:
    w = 2 * np.pi * np.geomspace(0.03, 0.8, 29)
    wanted = -10 * np.log10(1 + w**10) - 20 * np.log10(2)
    return float(np.mean((20 * np.log10(np.abs(response(p, w))) - wanted) ** 2))


def test_value_is_the_formulas_in_full_precision(model: ProgramModel) -> None:
    for p in (ONES, PUBLISHED * 1.1, np.array([0.7, 1.2, 1.9, 1.4, 0.5])):
        assert model.evaluate(p) == pytest.approx(expected(p), rel=1e-11)
    assert model.evaluate(ONES) == model.evaluate(ONES)


def test_published_values_are_the_optimum_up_to_their_rounding(model: ProgramModel) -> None:
    exact = 2 * np.sin((2 * np.arange(1, 6) - 1) * np.pi / 10)
    assert model.evaluate(exact) < 1e-25
    assert model.evaluate(PUBLISHED) < 1e-6


def test_minimizer_arrives_at_the_published_values(model: ProgramModel, config: dict[str, Any]) -> None:
    assert config["derivative"] == {"scheme": "forward", "step": None}
    lower, upper = ([parameter[end] for parameter in config["parameters"]] for end in ("lower", "upper"))
    start = np.array([parameter["value"] for parameter in config["parameters"]])
    np.testing.assert_array_equal(start, ONES)

    def gradient(p: NDArray[np.float64]) -> NDArray[np.float64]:
        slopes: NDArray[np.float64] = approx_derivative(model.evaluate, p, method="2-point", bounds=(lower, upper))
        return slopes

    settings = config["minimize"]
    result = minimize(
        model.evaluate,
        start,
        jac=gradient,
        method=settings["method"],
        bounds=list(zip(lower, upper, strict=True)),
        tol=settings["tolerance"],
        options={"maxiter": settings["max_iterations"]},
    )
    np.testing.assert_allclose(result.x, PUBLISHED, atol=1e-4)
    assert result.fun < 1e-9


def test_simulator_that_exits_0_without_an_answer_is_an_error(
    config: dict[str, Any], model: ProgramModel, tmp_path: Path
) -> None:
    command = dict(config["objective"]["command"])
    deck = (CONFIGS / "ladder" / "ladder.cir.j2").read_text().replace("vdb(c)", "vdb(nowhere)")
    (tmp_path / "wrong.j2").write_text(deck)
    command["inputs"] = {"ladder.cir": tmp_path / "wrong.j2"}
    names = [parameter["name"] for parameter in config["parameters"]]
    for fails_if, pattern in ((command["fails_if"], "fails_if matches: Error.*nowhere"), (None, "matches 0 times")):
        options = {**command, "fails_if": fails_if, "names": names, "work": tmp_path}
        with pytest.raises(ProgramError, match=pattern):
            CommandObjective(options.pop("argv"), **options).make().evaluate(ONES, timeout=60)
