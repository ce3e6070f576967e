"""What is said of a program that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distfd.objectives.command.spec import absent

if TYPE_CHECKING:
    from pathlib import Path


def test_each_mistake_has_its_own_answer(tmp_path: Path) -> None:
    (tmp_path / "solver").write_text("")
    (tmp_path / "folder").mkdir()
    here = f"solver is not on the PATH; to run the one in {tmp_path}, write ./solver in argv"
    assert absent("solver", tmp_path, "ask Ann") == here
    assert absent("ccx", tmp_path, "apt-get install it") == "ccx is not installed: apt-get install it"
    assert absent("ccx", tmp_path, None).endswith("set objective.command.hint to say how to get it")
    assert "not marked executable: chmod +x it" in absent(str(tmp_path / "solver"), tmp_path, None)
    assert absent("./folder", tmp_path, None) == "./folder is a folder, not a program"
    assert absent(str(tmp_path / "sovler"), tmp_path, None).endswith("does not exist; did you mean solver")
    assert absent(str(tmp_path / "other"), tmp_path, "ask Ann").endswith("other does not exist: ask Ann")
    gone = tmp_path / "gone" / "solver"
    assert absent(str(gone), tmp_path, None) == f"{gone} does not exist, nor does the folder {gone.parent}"
