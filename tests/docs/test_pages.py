"""What the documentation shows is what happens: its Python runs, its commands print that, its YAML is valid."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pages import PAGES, ROOT, blocks, commands, page_id, run_command, run_program, run_python, simulator, write_files

from distfd.config import load_config
from distfd.config.yaml_source import read_text

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RequireSimulator

WHOLE: dict[str, Any] = {
    "objective": {"command": {"argv": ["true"], "outputs": {}, "value": "1"}},
    "x0": [1.0],
    "output": "runs/part",
}
"""A configuration for parts of one to be put into; outputs are those that the part names."""

OPTIONAL = ("nlopt", "iminuit", "casadi", "optuna", "pymoo", "pytensor", "tensorboardX", "mlflow", "wandb")
"""Libraries of recipes, of which none is an extra: what is not installed is not tested."""
NEIGHBOURS = ROOT / "docs" / "howto" / "neighbours.md"
"""Whose programs need other libraries, each its own."""


def merged(whole: Any, part: Any) -> Any:
    if not isinstance(whole, dict) or not isinstance(part, dict):
        return part
    return {**whole, **{key: merged(whole.get(key), value) for key, value in part.items()}}


def having(*languages: str) -> list[Path]:
    return [path for path in PAGES if blocks(path, *languages)]


def console(path: Path) -> list[tuple[str, list[str]]]:
    return [each for block in blocks(path, "console") for each in commands(block) if each[0].startswith("distfd ")]


def marked(path: Path, *, slow: bool) -> Any:
    return pytest.param(path, id=page_id(path), marks=[pytest.mark.slow] * slow)


def uses_ray(path: Path) -> bool:
    """Whether a page's Python starts a cluster; none of what README shows is left to the slow tests."""
    text = "".join(block.text for block in blocks(path, "python") if not block.name)
    calls = len(re.findall(r"distfd\.(?:Evaluator|gradient|minimize|differentiate)\(", text))
    return calls > text.count('executor="serial"') + text.count("**run") and path.name != "README.md"


@pytest.mark.parametrize("path", [marked(path, slow=uses_ray(path)) for path in having("python") if path != NEIGHBOURS])
def test_python_runs(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    write_files(path, tmp_path)
    needs_ray = uses_ray(path) or path.name == "README.md"
    run_python(path, tmp_path, request.getfixturevalue("ray_address") if needs_ray else "local")


LIBRARIES = ["jax", "torch", "openmdao.api", "optimagic", *OPTIONAL, "scipy.optimize"]
"""What a neighbour's program imports."""


def recipe(library: str) -> str:
    (block,) = [
        block for block in blocks(NEIGHBOURS, "python") if re.search(rf"^import {library}\b", block.text, re.MULTILINE)
    ]
    return block.text


def require_library(library: str, require_simulator: RequireSimulator) -> None:
    package = library.partition(".")[0]
    if package in (*OPTIONAL, "torch"):
        if find_spec(package) is None:
            why = "; CI leaves it out, as it is several GB" if package == "torch" else ""
            pytest.skip(f"NOT tested: {package} is missing{why}")
    else:
        require_simulator(package)


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_each_neighbour_has_a_program_that_runs(
    library: str, tmp_path: Path, require_simulator: RequireSimulator
) -> None:
    require_library(library, require_simulator)
    run_program(recipe(library), tmp_path)


ALL_ON_RAY = """
import json, os, sys, time, traceback, warnings
from distfd.errors import DerivativeWarning
# At the minimum, a check that rides on an idle slot doubts the sign of what is next to 0.
warnings.simplefilter("ignore", DerivativeWarning)
told = {}
for library, text in json.loads(sys.stdin.read()).items():
    try:
        exec(compile(text, library, "exec"), {"__name__": "__main__"})
    except BaseException:  # an exit, too
        told[library] = traceback.format_exc()
    else:
        told[library] = "right"
with open("told.json", "w") as file:
    json.dump(told, file)
sys.stdout.flush()
os._exit(0)  # some of the libraries have threads that are in no hurry
"""
"""Runs programs one after another in one process, so that they share its workers."""


@pytest.fixture(scope="module")
def told_on_ray(ray_address: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of each neighbour's program on Ray: "right", or what it raised."""
    folder = tmp_path_factory.mktemp("neighbours")
    programs = {
        library: recipe(library).replace('executor="serial"', 'executor="ray"')
        for library in LIBRARIES
        if find_spec(library.partition(".")[0]) is not None
    }
    assert all('executor="ray"' in text for text in programs.values())
    ran = subprocess.run(
        # JAX warns of the forks by which others start their processes.
        [sys.executable, "-W", "error", "-W", "ignore::RuntimeWarning", "-c", ALL_ON_RAY],
        input=json.dumps(programs),
        check=False,
        cwd=folder,
        env={**os.environ, "RAY_ADDRESS": ray_address, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert ran.returncode == 0, ran.stderr
    told: dict[str, str] = json.loads((folder / "told.json").read_text())
    return told


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_each_neighbours_program_runs_on_ray(
    library: str, told_on_ray: dict[str, str], require_simulator: RequireSimulator
) -> None:
    require_library(library, require_simulator)
    assert told_on_ray[library] == "right", told_on_ray[library]


LONG = ("docs/examples.md", "docs/simulators.md", "docs/tutorial.md", "docs/numerics.md", "docs/howto/step.md")
"""Pages of many runs. The programs and configs that they show are run by tests of their own too."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=page_id(path), marks=pytest.mark.nightly)
        if page_id(path) in LONG
        else marked(path, slow=path.name != "README.md")
        for path in having()
        if console(path)
    ],
)
def test_commands_print_what_is_shown(
    path: Path, tmp_path: Path, ray_address: str, require_simulator: RequireSimulator
) -> None:
    write_files(path, tmp_path)
    if path.name == "README.md":
        (tmp_path / "deck.inp").write_text("width = {{ width = 0.3 }}\n")
    skipped = []
    for line, shown in console(path):
        needed = simulator(line)
        try:
            if needed:
                require_simulator(needed)
        except pytest.skip.Exception:
            skipped.append(line)
            continue
        run_command(line, shown, tmp_path, ray_address)
    if skipped:
        pytest.skip(f"NOT tested: {'; '.join(skipped)}")


@pytest.mark.parametrize("path", [marked(path, slow=False) for path in having("yaml")])
def test_yaml_is_a_configuration_or_a_part_of_one(path: Path, tmp_path: Path) -> None:
    write_files(path, tmp_path)
    (tmp_path / "deck.inp.j2").write_text("")  # init writes it
    for number, block in enumerate(blocks(path, "yaml")):
        if all(line.startswith("#") for line in block.text.splitlines()):
            continue
        content: Any = read_text(block.text, page_id(path)).data
        name = block.name or f"part{number}.yaml"
        if "output" not in content:
            whole = merged(WHOLE, content)
            named = [each["value"] for each in whole.get("minimize", {}).get("constraints", ())]
            outputs = {key: {"file": "stdout", "regex": r"(\S+)"} for key in (*named, "J")}
            whole["objective"]["command"]["outputs"] = outputs
            if "parameters" in whole:
                whole["parameters"] = [{"value": 1.0, **each} for each in whole["parameters"]]
                del whole["x0"]
            (tmp_path / name).write_text(yaml.safe_dump(whole))
        elif not block.name:
            (tmp_path / name).write_text(block.text)
        load_config(tmp_path / name)


def test_the_tutorial_shows_the_quickstart() -> None:
    (shown,) = blocks(ROOT / "docs" / "tutorial.md", "yaml")
    there = read_text((ROOT / "configs" / "quickstart.yaml").read_text(encoding="utf-8"), "quickstart").data
    there.pop("cluster")
    assert read_text(shown.text, "tutorial").data == there


@pytest.mark.parametrize("path", [marked(path, slow=False) for path in PAGES])
def test_what_a_page_names_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"\b(?:configs|scripts)/[\w.]+\w", text):
        assert (ROOT / name).exists(), name
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)):
        assert target.startswith(("https://", "#")) or (path.parent / target.partition("#")[0]).exists(), target
