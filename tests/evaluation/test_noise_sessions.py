"""Noise through the front doors: Evaluator, functions, files."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.config.load import load_config
from distfd.jobs.preview import preview

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MODEL = """
import numpy as np


def half(x):
    return round(float(np.exp(x[0])), 6)
"""
CONFIG = """
objective: {python: "model:half"}
parameters: [{name: a, value: 1.0}, {name: b, value: 0.5}]
cluster: {num_cpus: 2}
output: run
"""


def rough(x: NDArray[np.float64]) -> float:
    return round(float(np.exp(x).sum()), 6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "job.yaml").write_text(CONFIG)
    return tmp_path


X = np.array([1.0, 0.5])


@pytest.mark.parametrize("step", ["auto", distfd.NoiseStep(), distfd.NoiseStep("shi"), distfd.NoiseStep("gill", 3e-7)])
def test_steps_from_noise_come_with_bars(step: Any) -> None:
    result = distfd.differentiate(rough, X, step=step, executor="serial")
    assert result.error is not None
    assert np.all(np.abs(result.derivative - np.exp(X)) <= result.error)
    assert result.noise == pytest.approx(3e-7, rel=0.5)
    assert result.scheme == ("auto" if step in ("auto", distfd.NoiseStep()) else "forward")


def test_points_that_are_known_are_not_evaluated_again() -> None:
    with distfd.Evaluator(rough, step="auto", executor="serial") as ev:
        level = ev.noise_level(X)
        first = ev.differentiate(X)
        second = ev.differentiate(X)
    assert (level.n_evaluations, level.status, level.quantum) == (13, "quantised", 1e-6)
    assert first.n_reused == 13
    assert second.n_evaluations == 0
    assert second.derivative.tolist() == first.derivative.tolist()


def test_jacobians_and_richardson_and_accuracy_have_bars() -> None:
    fun = lambda x: np.array([np.exp(x).sum(), x[0] * x[1]])  # noqa: E731  # one line says it
    exact = np.array([np.exp(X), X[::-1]])
    for options in ({"step": "auto"}, {"scheme": "richardson"}, {"accuracy": 1e-8}, {"accuracy": 1e-3, "step": "auto"}):
        result = distfd.differentiate(fun, X, kind="jacobian", executor="serial", **options)
        assert result.error is not None
        assert result.error.shape == (2, 2)
        assert np.all(np.abs(result.derivative - exact) <= np.maximum(result.error, 1e-12))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"step": "automatic"}, "step: must be 'auto'"),
        ({"accuracy": 0}, "accuracy: must be finite and > 0"),
        ({"accuracy": [1, 2]}, "accuracy: must be one number"),
        ({"accuracy": 1e-3, "scheme": "central"}, "accuracy: is only for the scheme forward"),
        ({"accuracy": 1e-3, "step": distfd.NoiseStep("shi")}, r"accuracy: is only for NoiseStep\('probe'\)"),
        ({"step": distfd.NoiseStep("gill"), "scheme": "central"}, r"NoiseStep\('gill'\) takes forward"),
        ({"step": distfd.NoiseStep("shi"), "scheme": "central4"}, "takes the scheme forward or central"),
        ({"step": "auto", "scheme": "complex-step"}, "the complex step does not depend on J's noise"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(distfd.InputError, match=says):
        distfd.gradient(rough, X, executor="serial", **options)


def test_every_kind_finds_its_steps_in_one_session() -> None:
    with distfd.Evaluator(rough, step="auto", executor="serial") as ev:
        kinds: list[tuple[Any, dict[str, Any]]] = [
            ("hessian", {}),
            ("hvp", {"v": X}),
            ("jvp", {"v": X}),
            ("directional", {"directions": [X]}),
        ]
        for kind, particulars in kinds:
            found = ev.differentiate(X, kind=kind, **particulars)
            assert found.error is not None
            assert found.error.shape == found.derivative.shape
            assert found.scheme == "auto"


def test_a_noise_step_is_checked_when_made() -> None:
    with pytest.raises(distfd.InputError, match="one of probe, shi, gill"):
        distfd.NoiseStep("bisect")
    with pytest.raises(distfd.InputError, match="noise: must be finite and > 0"):
        distfd.NoiseStep(noise=-1.0)


def test_warnings_reach_the_caller_and_the_result() -> None:
    with pytest.warns(distfd.DerivativeWarning, match="did not change at all along coordinate 1: "):
        result = distfd.differentiate(lambda x: float(np.exp(x[0])), X, executor="serial")
    assert len(result.warnings) == 1


def distfd_command(folder: Path, *args: str, address: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({} if address is None else {"RAY_ADDRESS": address})}
    return subprocess.run(
        [sys.executable, "-m", "distfd", *args],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("derivative.step=auto", ["about 21, at most 46", "in 3 to 6 waves", "steps from the noise"]),
        ("task=noise", ["13, or 25 where these do not tell", "two lines"]),
        ("derivative.accuracy=1e-3", ["15 for the noise and forward differences"]),
    ],
)
def test_the_plan_says_what_it_takes(folder: Path, override: str, says: list[str]) -> None:
    told = preview(load_config(folder / "job.yaml", [override]))
    for text in says:
        assert text in told


@pytest.mark.slow
def test_a_file_asks_for_auto_and_for_the_noise(folder: Path, ray_address: str) -> None:
    ran = distfd_command(folder, "run", "job.yaml", "derivative.step=auto", address=ray_address)
    assert ran.returncode == 0, ran.stderr
    assert "error" in ran.stdout
    assert "'b'" in ran.stderr
    result = json.loads((folder / "run" / "result.json").read_text())
    assert abs(result["derivative"][0] - math.e) <= result["error"][0] < 1e-2
    assert result["scheme"] == "auto"
    assert "'b'" in result["warnings"][0]
    ran = distfd_command(folder, "run", "job.yaml", "task=noise", "output=noise", address=ray_address)
    assert ran.returncode == 0, ran.stderr
    assert "quantised" in ran.stdout
    noise = json.loads((folder / "noise" / "result.json").read_text())
    assert noise["status"] == "done"
    assert noise["derivative"] is None
    assert noise["noise"]["quantum"] == 1e-6
    assert noise["n_evaluations"] == 13


def test_a_step_of_its_own_and_auto_exclude_each_other(folder: Path) -> None:
    text = (folder / "job.yaml").read_text().replace("value: 0.5", "value: 0.5, step: 0.1")
    (folder / "job.yaml").write_text(text)
    with pytest.raises(distfd.InputError, match="b has a step of its own"):
        preview(load_config(folder / "job.yaml", ["derivative.step=auto"]))
