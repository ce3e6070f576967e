"""A program that misses a file which is beside the configuration: the failure says what to copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.core.failures import EvaluationFailure

if TYPE_CHECKING:
    from pathlib import Path


def failure(tmp_path: Path, script: str, **options: Any) -> str:
    objective = distfd.CommandObjective(
        ["sh", "-c", script],
        outputs={"J": {"file": "stdout", "regex": r"J = (\S+)"}},
        base=tmp_path,
        work=tmp_path / "work",
        names=["a"],
        **options,
    )
    with pytest.raises(EvaluationFailure) as caught:
        objective.make().evaluate(np.array([1.0]), timeout=60.0)
    return str(caught.value)


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "plate.msh").write_text("*NODE\n")
    (tmp_path / "load.dat").write_text("1\n")
    return tmp_path


@pytest.mark.parametrize("end", ["exit 1", "true"])
def test_a_file_in_a_folder(mesh: Path, end: str) -> None:
    text = failure(mesh, f"echo ' *ERROR: could not open file mesh/plate.msh.'; {end}")
    assert text.endswith("it names mesh/plate.msh, which is beside the configuration: add copy: [mesh]")


def test_a_file_alone(mesh: Path) -> None:
    assert failure(mesh, "cat load.dat").endswith("add copy: [load.dat]")


def test_nothing_is_said_of_what_is_there_or_nowhere(mesh: Path) -> None:
    for script in ("echo nowhere/plate.msh; exit 1", "echo mesh; exit 1", "echo ../mesh/plate.msh 1.5; exit 1"):
        assert "add copy" not in failure(mesh, script)
    assert "add copy" not in failure(mesh, "echo mesh/plate.msh; exit 1", copy=[str(mesh / "mesh")])
