"""The structure of the house: layers, and what may be imported where."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "distfd"

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
                found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def inside(names: list[str]) -> list[str]:
    return [name.removeprefix("distfd.") for name in names if name.startswith("distfd.")]


MODULES = {name: tree for name, tree in modules().items() if name != "__init__"}


def test_imports_go_down_only() -> None:
    """The contracts of import-linter in pyproject.toml; `lint-imports` on a terminal shows them."""
    ran = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", MODULES)
def test_adapters_do_not_know_each_other(name: str) -> None:
    package = name.split(".", maxsplit=1)[0]
    if package in ADAPTERS:
        others = {target for target in inside(imported(MODULES[name])) if target.split(".")[0] in ADAPTERS - {package}}
        # What an executor evaluates is an objective: it knows the contract, and no objective that fulfils it.
        others -= {other for other in others if package == "executors" and other.startswith("objectives.base")}
        assert not others, f"{name} imports of other adapters: {others}"


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
def test_slow_packages_are_imported_where_they_are_used(name: str) -> None:
    # The command line is typer's; the schema's modules are themselves imported late (a test of config holds that).
    allowed = {
        f"cli.{name}": {"typer"}
        for name in (
            "commands",
            "interrupts",
            "inspection_commands",
            "listing_commands",
            "ui_command",
            "submit_command",
            "options",
        )
    }
    late = {
        "config.schema",
        "config.sections",
        "config.command_section",
        "config.fmu_section",
        "config.output_sections",
        "config.field_types",
        "config.section_base",
        "config.launch_section",
        "config.error_messages",
        "objectives.command.template_sandbox",
        "optimization.fit_result",
        "optimization.minimize_result",
    }
    if name in late:
        return
    top = [node for node in MODULES[name].body if isinstance(node, (ast.Import, ast.ImportFrom))]
    slow = {target.split(".")[0] for node in top for target in imported(node)} & SLOW
    assert not slow - allowed.get(name, set()), f"{name} imports {slow} at its top"


def test_loose_modules_are_documented_names() -> None:
    loose = {path.stem for path in PACKAGE.glob("*.py")}
    documented = {"errors", "events", "plot", "torch", "jax", "openmdao", "optimagic"}
    assert loose == {"__init__", "__main__"} | documented


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
