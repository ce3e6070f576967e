"""The lower bounds in pyproject.toml are true: the oldest versions they allow are installed, and tests run there."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
QUICK = [
    "tests/core",
    "tests/differentiation/test_coloring.py",
    "tests/differentiation/test_hessian.py",
    "tests/differentiation/test_kinds.py",
    "tests/config/test_bad_configs.py",
    "tests/config/test_load.py",
    "tests/optimization/test_method_options.py",
    "tests/optimization/test_constraints.py",
]
"""Tests that need no Ray and take seconds, of each part that leans on a dependency; not those of the JSON schema, which
pydantic has spelled in other ways."""


ON_RAY = """
import distfd, ray
slots = distfd.RayExecutor(num_cpus=2)
result = distfd.differentiate(lambda x: float((x**2).sum()), [1.0, 2.0, 3.0], step=1e-6, executor=slots)
print(result.derivative.round(4), "ray", ray.__version__)
"""
"""A gradient by two workers of the oldest Ray; tests/executors/test_internals.py has much more of it, at night."""


def run(argv: list[str], folder: Path, **environ: str) -> Any:
    done = subprocess.run(
        argv, cwd=folder, env={**os.environ, **environ}, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_the_oldest_versions_that_are_allowed(tmp_path: Path) -> None:
    if find_spec("uv") is None:
        pytest.skip("NOT tested: uv is missing")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds: dict[str, str] = dict(line.split(">=") for line in project["dependencies"])
    uv, python = [sys.executable, "-m", "uv"], str(tmp_path / "low" / "bin" / "python")
    run([*uv, "venv", "-q", "--python", sys.executable, str(tmp_path / "low")], tmp_path)
    requirements = [f"{name}>={version}" for name, version in bounds.items()]
    install = [*uv, "pip", "install", "-q", "--compile-bytecode", "--python", python]
    run([*install, "--resolution", "lowest-direct", *requirements], tmp_path)
    run([*install, "pytest>=8.2", "pytest-xdist", "pytest-rerunfailures", "hypothesis", "jsonschema"], tmp_path)

    at = {"PYTHONPATH": str(ROOT), "CI": ""}  # pandas and simulators are not there
    asked = "import importlib.metadata as m, sys; print(*(m.version(name) for name in sys.argv[1:]))"
    installed = dict(zip(bounds, run([python, "-c", asked, *bounds], tmp_path, **at).split(), strict=True))
    # What comes after a bound's own numbers is ".0": the oldest is installed, and the later step has changed nothing.
    assert {name: version for name, version in installed.items() if not version.startswith(bounds[name])} == {}
    old = ["-W", "ignore::DeprecationWarning"]  # of an old typer with a new click
    run([python, "-m", "distfd", "--help"], tmp_path, **at)
    run([python, "-m", "distfd", "run", "--help"], tmp_path, **at)
    shown = run([python, *old, "-c", ON_RAY], tmp_path, **at)
    assert shown.split() == ["[2.", "4.", "6.]", "ray", bounds["ray"] + ".0"]
    # Those of noise take most of the time, and tell nothing of versions.
    quick = ["-n", "0", "-q", "-p", "no:cacheprovider", "-k", "not noise"]
    run([python, "-m", "pytest", *quick, *old, *QUICK], ROOT, **at)
