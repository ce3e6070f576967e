"""``distfd check`` as a shell sees it, and the warnings wherever they must be seen."""

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

if TYPE_CHECKING:
    from pathlib import Path

MODEL = """
import math

def rough(x):
    return round(float(math.exp(x[0]) + x[1] ** 2), 6)

def doubtful(x):
    grain = 1e-5 * math.sin(1e9 * (x[0] + 0.7 * x[1] + 0.3 * x[2]))
    return float(math.exp(x[0]) + 1e-9 * x[1] + max(x[2] - 3.0, 0.0) + grain)

def nowhere(x):
    raise ArithmeticError("no solution")

def gap(x):
    if 2.0 < x[1] < 2.001:
        raise ValueError("no mesh")
    return float(math.exp(x[0]) + x[1])
"""
CONFIG = """
objective: {python: "model:rough"}
parameters: [{name: width, value: 1.0}, {name: depth, value: 2.0}]
cluster: {num_cpus: 2}
output: run
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "job.yaml").write_text(CONFIG)
    return tmp_path


def shell(folder: Path, *args: str, address: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "distfd", *args],
        check=False,
        cwd=folder,
        env={**os.environ, **({} if address is None else {"RAY_ADDRESS": address})},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_check_says_no_says_what_to_set_and_run_goes_on_from_there(folder: Path, ray_address: str) -> None:
    ran = shell(folder, "check", "job.yaml", "--json", "check.json", address=ray_address)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("do NOT trust the derivative as configured (forward, its default step")
    assert "did not change at all" in ran.stdout
    found = json.loads((folder / "check.json").read_text())
    assert found["verdict"] == "do not trust"
    assert [one["name"] for one in found["components"]] == ["width", "depth"]
    assert found["n_evaluations"] == 13 + 2 + 2 * 24
    assert found["advice"] in ran.stdout
    (folder / "job.yaml").write_text(CONFIG + found["advice"] + "\n")
    again = shell(folder, "check", "job.yaml", "--coordinates", "depth", address=ray_address)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("trust the derivative as configured")
    assert "coordinate 0" not in again.stdout
    ran = shell(folder, "run", "job.yaml", address=ray_address)
    assert ran.returncode == 0, ran.stderr
    result = json.loads((folder / "run" / "result.json").read_text())
    np.testing.assert_allclose(result["derivative"], [math.e, 4.0], rtol=0.01)
    assert result["n_reused"] == 3, "all of its points were part of the checks"


@pytest.mark.slow
def test_failures_are_exit_3(folder: Path, ray_address: str) -> None:
    ran = shell(folder, "check", "job.yaml", "objective.python=model:nowhere", "output=a", address=ray_address)
    assert ran.returncode == 3
    assert "ArithmeticError: no solution" in ran.stderr
    ran = shell(folder, "check", "job.yaml", "objective.python=model:gap", "output=null", address=ray_address)
    assert ran.returncode == 3, ran.stderr
    assert "it has no value" in ran.stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--coordinates", "height"], "there is no 'height'; there are width, depth"),
        (["task=hessian"], "check: only first derivatives can be checked"),
        (["--tolerance", "2"], "--tolerance: must be between 0 and 1"),
    ],
)
def test_mistakes_are_exit_2_before_anything_runs(folder: Path, args: list[str], says: str) -> None:
    ran = shell(folder, "check", "job.yaml", *args)
    assert ran.returncode == 2, ran.stderr
    assert says in ran.stderr


def test_every_warning_is_told_by_name_in_shell_file_and_python(folder: Path, ray_address: str) -> None:
    """Of a parameter that is dead, one that noise hides, and a kink."""
    text = CONFIG.replace("model:rough", "model:doubtful").replace(
        "{name: depth, value: 2.0}]", "{name: depth, value: 2.0}, {name: edge, value: 3.0}, {name: dead, value: 1.0}]"
    )
    (folder / "job.yaml").write_text(text)
    ran = shell(folder, "run", "job.yaml", "derivative.step=auto", address=ray_address)
    assert ran.returncode == 0, ran.stderr
    found = json.loads((folder / "run" / "result.json").read_text())
    assert found["scheme"] == "auto"
    assert abs(found["derivative"][0] - math.e) <= found["error"][0] < 1e-2
    told = found["warnings"]
    wanted = {"did not change at all": "'dead'", "noise above the signal": "'depth'", "kink": "'edge'"}
    for says, name in wanted.items():
        (text,) = [line for line in told if says in line]
        assert name in text
        assert text in ran.stderr

    space: dict[str, Any] = {}
    exec(MODEL, space)  # the same J, in this process
    with pytest.warns(distfd.DerivativeWarning) as record:
        result = distfd.differentiate(
            space["doubtful"],
            [1.0, 2.0, 3.0, 1.0],
            step="auto",
            executor="serial",
            names=["width", "depth", "edge", "dead"],
        )
    assert list(result.warnings) == told
    assert [str(warning.message) for warning in record] == told


def test_a_step_that_the_deck_cannot_hold_is_exit_2_and_names_the_format(folder: Path) -> None:
    (folder / "deck.j2").write_text('{{ width | fmt("8.3f") }} {{ depth }}\n')
    text = """
objective:
  command:
    argv: [awk, '{print $1 * $2}', deck]
    inputs: {deck: deck.j2}
    outputs: {J: {file: stdout, regex: '(\\S+)'}}
parameters: [{name: width, value: 1.0}, {name: depth, value: 2.0}]
output: run
"""
    (folder / "job.yaml").write_text(text)
    ran = shell(folder, "run", "job.yaml")
    assert ran.returncode == 2, ran.stderr
    assert "width (coordinate 0) is moved" in ran.stderr
    assert 'fmt("8.3f") swallows it' in ran.stderr
    assert "use a larger step" in ran.stderr
