"""``distfd init``: what it writes is valid, explained and runs; nothing is overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import distfd
from distfd.cli.config_template import config_template
from distfd.config.load import load_config
from distfd.errors import InputError
from distfd.objectives.function import load_name

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def write(to: str | None = None) -> Path:
    made = config_template(to)
    for path, text in made.files.items():
        path.write_text(text)
    return made.config


@pytest.mark.parametrize("to", [None, "cases/cup.yaml"])
def test_what_is_written_runs_as_it_is(folder: Path, to: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "cases").mkdir()
    config = write(to)
    monkeypatch.delitem(sys.modules, "model", raising=False)
    loaded = load_config(config)
    problem = loaded.config.problem()
    fun = load_name(loaded.config.objective.python or "", loaded.folder)
    value, slopes = distfd.value_and_gradient(fun, problem.x0, executor="serial")
    assert 20 < value < 90, "coffee cools, and not below the room"
    by_name = dict(zip(problem.names, slopes, strict=True))
    assert 0 < by_name["start"] < 1
    assert 0 < by_name["room"] < 1
    assert by_name["loss"] < 0 < by_name["lid"]
    monkeypatch.delitem(sys.modules, "model", raising=False)
    ran = subprocess.run([sys.executable, "model.py"], cwd=config.parent, capture_output=True, text=True, check=True)
    assert float(ran.stdout) == pytest.approx(value), "the model runs by itself, at the same x"


def test_every_section_is_in_it_and_no_line_is_too_long(folder: Path) -> None:
    text = write().read_text()
    for key in (
        "task:",
        "objective:",
        "parameters:",
        "derivative:",
        "evaluation:",
        "resources:",
        "cluster:",
        "output:",
    ):
        assert f"\n{key}" in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", ["config.yaml", "model.py"])
def test_nothing_is_overwritten(folder: Path, name: str) -> None:
    (folder / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} is there already"):
        config_template()
    with pytest.raises(InputError, match="no folder"):
        config_template("nowhere/config.yaml")
    assert [path.name for path in folder.iterdir()] == [name]


@pytest.mark.slow
def test_the_first_minute(folder: Path) -> None:
    """In an empty folder: two commands, few lines, and each of them of use."""
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    distfd = [sys.executable, "-m", "distfd"]
    made = subprocess.run([*distfd, "init"], env=env, capture_output=True, text=True, check=True)
    assert made.stdout.splitlines() == ["wrote config.yaml, model.py", "next: distfd run config.yaml"]
    ran = subprocess.run([*distfd, "run", "config.yaml"], env=env, capture_output=True, text=True, check=True)
    assert len(ran.stderr.splitlines()) <= 3, ran.stderr
    table = {line.split()[0]: line.split()[1:] for line in ran.stdout.splitlines() if line.strip()}
    assert list(table)[1:5] == ["start", "room", "loss", "lid"]
    assert np.isfinite([float(number) for number in table["start"]]).all()
    assert "results in runs/config: result.json" in ran.stdout
    assert not (folder / "runs" / "config" / "ray.log").exists(), "Ray had nothing to say"
    again = subprocess.run([*distfd, "init"], env=env, capture_output=True, text=True, check=False)
    assert again.returncode == 2
