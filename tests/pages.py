"""What a page of documentation shows, as something to run.

A block is ```language ...```; with `name` alone on the line above it is a file that those below it use. Commands are
the lines of console blocks that begin with "$ distfd", and what stands below a command is a part of what it prints.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fmus import load_builder

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NEEDS = {"ladder": "ngspice", "bandpass": "ngspice", "arm": "mujoco", "pose": "mujoco", "beam": "ccx"}
NEEDS |= {"fin": "gfortran", "openmdao_beam": "openmdao", "tank_fmu": "gcc" if find_spec("fmpy") else "fmpy"}


@dataclass(frozen=True)
class Block:
    """A fenced block; ``name`` is "" where it is no file."""

    name: str
    language: str
    text: str


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, *languages: str) -> list[Block]:
    found = re.findall(
        r"(?:^`([\w.]+)`\n\n)?^```(\w+)\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return [Block(*parts) for parts in found if not languages or parts[1] in languages]


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """Each command of a console block, and the lines shown below it."""
    found = []
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, *shown = part.rstrip().splitlines()
        found.append((re.split(r"  +", line)[0].strip(), shown))
    return found


def numbers(line: str) -> list[float]:
    return [float(word) for word in re.findall(r"(?<![\w.])-?\d+\.?\d*(?:e[+-]?\d+)?(?![\w.])", line)]


def simulator(line: str) -> str | None:
    """The simulator without which a command cannot run."""
    config = re.search(r"configs/(\w+)\.yaml", line)
    return NEEDS.get(config[1] if config else "tank_fmu" if re.search(r"\btank\.", line) else "")


def write_files(path: Path, folder: Path) -> None:
    """The page's files, in a folder where its reader stands in a clone."""
    if "tank.fmu" in path.read_text(encoding="utf-8") and shutil.which("gcc") and find_spec("fmpy"):
        shutil.copytree(ROOT / "configs", folder / "configs")
        for place in (folder, folder / "configs" / "tank_fmu"):
            load_builder().build(place / "tank.fmu")
    else:
        (folder / "configs").symlink_to(ROOT / "configs")
    for block in blocks(path):
        if block.name:
            (folder / block.name).write_text(block.text)


def run_command(line: str, shown: list[str], folder: Path, address: str) -> None:
    """Run a command of distfd's, and hold each line that is shown against the printed one of its name."""
    ran = _run(["-m", *shlex.split(line)], folder, address)
    assert ran.returncode == 0, f"{line}\n{ran.stderr}"
    printed = {text.split()[0]: text for text in ran.stdout.splitlines() if text.strip()}
    for expected in filter(str.strip, shown):
        name = expected.split()[0]
        # Minimisers end within their tolerance of the optimum, and gradients there are next to nothing.
        assert numbers(printed[name]) == pytest.approx(numbers(expected), rel=2e-3, abs=2e-3), f"{line}: {name}"


def run_python(path: Path, folder: Path, address: str = "local") -> None:
    """Run the page's Python as one program."""
    run_program("\n".join(block.text for block in blocks(path, "python") if not block.name), folder, address)


def run_program(program: str, folder: Path, address: str = "local") -> None:
    """Run Python; a warning is an error."""
    (folder / "page.py").write_text(program)
    ran = _run(["-W", "error", "page.py"], folder, address)
    assert ran.returncode == 0, ran.stderr


def _run(arguments: list[str], folder: Path, address: str) -> Any:
    return subprocess.run(
        [sys.executable, *arguments],
        check=False,
        cwd=folder,
        env={**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
