"""What docs/simulators.md shows is what happens: read from top to bottom, in one folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from test_readme import numbers

from distfd.config import load_config

if TYPE_CHECKING:
    from conftest import RequireSimulator

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "simulators.md").read_text(encoding="utf-8")
NEEDS = {"configs/pose.yaml": "mujoco", "configs/openmdao_beam.yaml": "openmdao"}

# (name of the file or "", language, content), in their order
BLOCKS = re.findall(r"(?:^`([\w.]+)`\n\n)?^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def merged(whole: Any, part: Any) -> Any:
    if not isinstance(whole, dict) or not isinstance(part, dict):
        return part
    return {**whole, **{key: merged(whole.get(key), value) for key, value in part.items()}}


def write_files(folder: Path) -> None:
    (folder / "configs").symlink_to(ROOT / "configs")
    for name, _, content in BLOCKS:
        if name:
            (folder / name).write_text(content)


def test_every_kind_of_block_is_there() -> None:
    kinds = {(bool(name), language) for name, language, _ in BLOCKS}
    named = {(True, language) for language in ("awk", "text", "yaml", "python")}
    assert kinds == named | {(False, language) for language in ("console", "yaml", "python")}


def test_every_yaml_is_a_configuration_or_a_part_of_one(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "deck.inp.j2").write_text("")  # init writes it
    parts = 0
    for name, language, content in BLOCKS:
        if language != "yaml":
            continue
        if not name:
            parts += 1
            name = f"part{parts}.yaml"  # noqa: PLW2901  # a file that the page leaves without a name
            whole = merged(yaml.safe_load((tmp_path / "beam.yaml").read_text()), yaml.safe_load(content))
            whole["derivative"]["step"] = 0.001  # which this reader takes for a text
            (tmp_path / name).write_text(yaml.safe_dump(whole))
        load_config(tmp_path / name)
    assert parts >= 4


@pytest.mark.slow
def test_the_page_from_top_to_bottom(tmp_path: Path, ray_address: str, require_simulator: RequireSimulator) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    env = {**os.environ, "RAY_ADDRESS": ray_address, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    skipped = []
    for name, language, content in BLOCKS:
        if name:
            (tmp_path / name).write_text(content)
        elif language == "python":
            program = content + "\nassert abs(first[0] - 18.095866) < 1e-4 and best.fun < 25, (first, best)\n"
            command = [sys.executable, "-W", "error", "-c", program]
            subprocess.run(command, check=True, cwd=tmp_path, env=env, timeout=120)
        elif language == "console":
            skipped += _console(content, tmp_path, env, require_simulator)
    if skipped:
        pytest.skip(f"NOT tested: {'; '.join(skipped)}")


def _console(content: str, folder: Path, env: dict[str, str], require_simulator: RequireSimulator) -> list[str]:
    """Run a block's commands, and compare; those whose simulator is missing are given back."""
    skipped = []
    for part in re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]:
        line, *shown = part.rstrip().splitlines()
        try:
            for config, simulator in NEEDS.items():
                if config in line:
                    require_simulator(simulator)
        except pytest.skip.Exception:
            skipped.append(line)
            continue
        command = [sys.executable, "-m", *shlex.split(line)]
        ran = subprocess.run(command, check=False, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, f"{line}\n{ran.stderr}"
        printed = {text.split()[0]: text for text in ran.stdout.splitlines() if text.strip()}
        for expected in shown:
            word = expected.split()[0]
            assert numbers(printed[word]) == pytest.approx(numbers(expected), rel=1e-5), line
    return skipped


def test_the_readme_leads_here() -> None:
    assert "(docs/simulators.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
