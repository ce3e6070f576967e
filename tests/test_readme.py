"""What README shows is what happens: its Python runs, its commands run and print what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import RequireSimulator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
NEEDS = {
    "configs/ladder.yaml": "ngspice",
    "configs/bandpass.yaml": "ngspice",
    "configs/arm.yaml": "mujoco",
    "configs/beam.yaml": "ccx",
    "configs/fin.yaml": "gfortran",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Each command that README shows, and the lines it shows below it."""
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, *shown = part.rstrip().splitlines()
            yield line.split("  ")[0].strip(), shown


COMMANDS = [(line, shown) for line, shown in commands() if line.startswith("distfd")]
SLOW = {f"distfd run configs/{name}.yaml" for name in ("beam", "fin", "bandpass")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands are given: README's reader stands in a clone, and so do we."""
    path = tmp_path_factory.mktemp("clone")
    (path / "configs").symlink_to(ROOT / "configs")
    (path / "deck.inp").write_text("width = {{ width = 0.3 }}\n")
    return path


def numbers(line: str) -> list[float]:
    return [float(word) for word in re.findall(r"(?<![\w.])-?\d+\.?\d*(?:e[+-]?\d+)?(?![\w.])", line)]


@pytest.mark.parametrize(
    ("line", "shown"),
    [pytest.param(line, shown, id=line, marks=[pytest.mark.slow] * (line in SLOW)) for line, shown in COMMANDS],
)
def test_commands_print_what_is_shown(
    line: str, shown: list[str], folder: Path, ray_address: str, require_simulator: RequireSimulator
) -> None:
    for config, simulator in NEEDS.items():
        if config in line:
            require_simulator(simulator)
    ran = subprocess.run(
        [sys.executable, "-m", *shlex.split(line)],
        check=False,
        cwd=folder,
        env={**os.environ, "RAY_ADDRESS": ray_address},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    printed = {text.split()[0]: text for text in ran.stdout.splitlines() if text.strip()}
    for expected in filter(str.strip, shown):
        name = expected.split()[0]
        # Minimisers end within their tolerance of the optimum, and gradients there are next to nothing.
        assert numbers(printed[name]) == pytest.approx(numbers(expected), rel=2e-3, abs=2e-3), name


def test_python_runs(ray_address: str) -> None:
    assert blocks("python")
    # One program: what a section makes, those below it go on with.
    last_line = (
        "print(gradient.tolist(), best.x.tolist(), hessian[0].tolist(), product.tolist(), (dense - sparse).sum())"
    )
    program = "\n".join([*blocks("python"), last_line])
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=False,
        env={**os.environ, "RAY_ADDRESS": ray_address},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    bars = [numbers(line.replace("+-", " ")) for line in ran.stdout.splitlines() if "+-" in line]
    assert len(bars) == 3
    for (slope, bar), exact in zip(bars, [5.0, 6.0, 6.0], strict=True):
        assert bar < 0.1
        assert abs(slope - exact) <= 3 * bar  # the bar of one draw in twenty may miss
    last = numbers(ran.stdout.splitlines()[-1])
    assert last == pytest.approx([5.0, 6.0, 6.0, 2 / 3, 2 / 3, 1.0, 2.0, 1.0, 0.0, -1.0, -8.0, 0.0], abs=1e-4)


def test_the_two_commands_are_there_and_ci_runs_them() -> None:
    for name in ("scripts/quickstart", "scripts/test"):
        assert name in {line for line, _ in commands()}
        assert os.access(ROOT / name, os.X_OK)
        assert name in (ROOT / ".ci" / "run").read_text()


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target.startswith("https://") or (ROOT / target.partition("#")[0]).exists(), target
