"""The sections of scripts/chaos.py, with small counts: nothing may be broken, and each is seen to do what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def table(*argv: str) -> dict[str, tuple[int, int, str]]:
    """(times, broken, seen) by fault."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop("RAY_ADDRESS", None)
    command = [sys.executable, str(ROOT / "scripts" / "chaos.py"), *argv]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    rows = re.findall(r"^\| [\w-]+ \| (.*?) \| (\d+) \| (\d+) \| (.*?) \|", ran.stdout, re.MULTILINE)
    assert rows, ran.stderr
    assert ran.returncode == 0, ran.stdout
    return {fault: (int(times), int(broken), seen) for fault, times, broken, seen in rows}


def test_damage() -> None:
    found = table("--only", "damage", "--scale", "0.06")
    assert len(found) == 2
    for times, broken, seen in found.values():
        assert (times, broken) == (30, 0)
        # Not every mutation was harmless.
        assert re.search(r"[1-9]\d* files put aside", seen)


@pytest.mark.slow
def test_drivers_that_are_killed_and_pairs_of_them() -> None:
    found = table("--only", "driver-serial", "pairs", "--scale", "0.06")
    assert [times for times, _, _ in found.values()][:2] == [6, 6]
    assert {broken for _, broken, _ in found.values()} == {0}
    (refused,) = [seen for fault, (_, _, seen) in found.items() if "made twice" in fault]
    assert refused == "3 drivers refused"


@pytest.mark.nightly
def test_drivers_on_ray_that_are_killed() -> None:
    found = table("--only", "driver-long", "--scale", "0.1")
    assert {(times > 0, broken) for times, broken, _ in found.values()} == {(True, 0)}


def test_an_unknown_section_is_refused() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "chaos.py"), "--only", "earthquake"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "driver-serial" in ran.stderr
