"""The structure of the house: floors, doors, and what may be imported where."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "distfd"

FLOORS: dict[str, int] = {
    **dict.fromkeys(("errors", "home", "records", "failures", "events", "points", "describe", "results", "repeats"), 0),
    **dict.fromkeys(("attempt_array", "evaluations", "tally", "csv_file", "given"), 0),
    "suggestions": 0,
    "numerics": 0,
    **dict.fromkeys(("protocols", "scheduling", "options", "work", "lending", "threads", "processes", "reaper"), 1),
    **dict.fromkeys(("fingerprint", "identity", "recycle", "hosts", "silence", "spool", "modes", "last_resort"), 1),
    **dict.fromkeys(("time_limit", "shipment", "local_code"), 1),
    **dict.fromkeys(("objectives", "executors", "stores", "observers"), 2),
    **dict.fromkeys(
        (
            "session",
            "drive",
            "evaluate",
            "warm",
            "states",
            "solve",
            "calls",
            "evaluator",
            "opening",
            "surroundings",
            "kinds",
            "methods",
            "outcome",
            "pending",
        ),
        3,
    ),
    **dict.fromkeys(("api", "optimize", "optimizing", "report", "rundir", "scipy_derivative", "scipy_sources"), 4),
    **dict.fromkeys(("checking", "check_report", "gradient_check", "along"), 4),
    **dict.fromkeys(("reporting", "plot"), 4),
    **dict.fromkeys(("torch", "jax", "openmdao", "optimagic"), 4),
    **dict.fromkeys(
        ("config", "build", "run", "ending", "preview", "single", "draft", "check_job", "cli", "__main__"), 5
    ),
    **dict.fromkeys(("launch", "simulation", "forecast", "cli_launch"), 5),
    **dict.fromkeys(("cli_options", "cli_aside", "terminal", "result_table", "starter", "watch", "doctor"), 5),
}
ADAPTERS = {"objectives", "executors", "stores", "observers"}
SLOW = {"ray", "scipy", "pydantic", "jinja2", "matplotlib", "rich", "threadpoolctl", "typer", "pandas"}


def modules() -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imported(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "distfd":
                found += [f"distfd.{alias.name}" for alias in node.names]
            else:
                found.append(node.module or "")
    return found


def inside(names: list[str]) -> list[str]:
    return [name.removeprefix("distfd.") for name in names if name.startswith("distfd.")]


MODULES = {name: tree for name, tree in modules().items() if name != "__init__"}


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down_only(name: str) -> None:
    room = name.split(".", maxsplit=1)[0]
    for target in inside(imported(MODULES[name])):
        other = target.split(".")[0]
        assert FLOORS[other] <= FLOORS[room], f"{name} (floor {FLOORS[room]}) imports {target} ({FLOORS[other]})"
        assert not (room in ADAPTERS and other in ADAPTERS and other != room), (
            f"{name} imports another adapter, {target}"
        )


@pytest.mark.parametrize("name", MODULES)
def test_nothing_inside_imports_the_root(name: str) -> None:
    assert "distfd" not in imported(MODULES[name])


def test_no_circle_even_for_types() -> None:
    graph = {name: {t for t in inside(imported(tree)) if t in MODULES} for name, tree in MODULES.items()}
    while graph:
        leaves = {name for name, targets in graph.items() if not targets & set(graph)}
        assert leaves, f"these import each other in a circle: {sorted(graph)}"
        graph = {name: targets for name, targets in graph.items() if name not in leaves}


@pytest.mark.parametrize("name", MODULES)
def test_ray_stays_in_its_rooms(name: str) -> None:
    if any(target.split(".")[0] == "ray" for target in imported(MODULES[name])):
        assert name.startswith(("executors.ray", "launch.")), f"{name} imports ray"


@pytest.mark.parametrize("name", MODULES)
def test_slow_packages_are_imported_where_they_are_used(name: str) -> None:
    # The command line is typer's; the schema's modules are themselves imported late (a test of config holds that).
    allowed = {name: {"typer"} for name in ("cli", "cli_aside", "cli_launch", "cli_options")}
    late = {
        "config.schema",
        "config.sections",
        "config.command",
        "config.outputs",
        "config.fields",
        "config.section",
        "config.launching",
        "config.messages",
        "objectives.sandbox",
    }
    if name in late:
        return
    top = [node for node in MODULES[name].body if isinstance(node, (ast.Import, ast.ImportFrom))]
    slow = {target.split(".")[0] for node in top for target in imported(node)} & SLOW
    assert not slow - allowed.get(name, set()), f"{name} imports {slow} at its top"


def test_every_room_is_on_a_floor() -> None:
    assert {name.split(".")[0] for name in MODULES} <= set(FLOORS)


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import distfd", {"numpy", "ray", "scipy", "pydantic", "jinja2", "rich", "typer"}),
        ("from distfd import Evaluator", {"ray", "scipy", "pydantic", "jinja2", "rich", "typer"}),
        ("import distfd.cli.commands", {"ray", "scipy", "pydantic", "jinja2", "numpy"}),
    ],
)
def test_importing_is_light(statement: str, absent: set[str]) -> None:
    program = f"{statement}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(json.loads(ran.stdout)) & absent


def test_public_names_are_there_and_documented() -> None:
    import distfd

    assert set(distfd.__all__) == {*distfd._HOMES, "__version__"}
    for name in distfd.__all__:
        assert getattr(distfd, name) is not None
        if name != "__version__":
            assert getattr(distfd, name).__doc__, f"{name} has no docstring"
    # A module would take the place of the function of its name as soon as it is imported.
    assert not set(distfd.__all__) & set(MODULES)
    with pytest.raises(AttributeError, match="no attribute 'gradiant'"):
        _ = distfd.gradiant
