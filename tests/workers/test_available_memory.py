"""Memory that a process may still take, by its control groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from distfd.workers.memory import available_memory

if TYPE_CHECKING:
    from pathlib import Path

MIB = 2**20
NAMES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def group(at: Path, version: int, limit: str, used: int, cache: int) -> None:
    at.mkdir(parents=True, exist_ok=True)
    names = NAMES[version]
    (at / names[0]).write_text(f"{limit}\n")
    (at / names[1]).write_text(f"{used}\n")
    (at / "memory.stat").write_text(f"anon 5\n{names[2]} {cache}\n")


def test_without_groups_it_is_what_the_machine_has(tmp_path: Path) -> None:
    free = available_memory(tmp_path / "none", tmp_path)
    assert 0 < free <= psutil.virtual_memory().total


@pytest.mark.parametrize("version", [1, 2])
def test_the_least_of_the_groups_on_the_way_up_counts(tmp_path: Path, version: int) -> None:
    """The kernel gives back what it caches of files, so that is no use of memory."""
    groups = tmp_path / "groups"
    groups.write_text("0::/slice/job\n" if version == 2 else "9:cpu:/x\n7:memory:/slice/job\n")
    top = tmp_path if version == 2 else tmp_path / "memory"
    group(top / "slice/job", version, str(64 * MIB), 30 * MIB, 10 * MIB)
    assert available_memory(groups, tmp_path) == 44 * MIB
    group(top / "slice", version, str(40 * MIB), 30 * MIB, 5 * MIB)
    assert available_memory(groups, tmp_path) == 15 * MIB
    group(top / "slice", version, "max" if version == 2 else str(2**63 - 4096), 30 * MIB, 5 * MIB)
    assert available_memory(groups, tmp_path) == 44 * MIB
    group(top / "slice/job", version, str(64 * MIB), 80 * MIB, 0)
    assert available_memory(groups, tmp_path) == 0
