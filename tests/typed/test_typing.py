"""What type checkers say of users' programs: mistakes are refused line by line, right uses pass."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import distfd
from distfd.evaluation.keywords import EvaluatorOptions

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
REFUSED = {n for n, line in enumerate((HERE / "mistakes.py").read_text().splitlines(), 1) if "# refused" in line}


FILES = ("mistakes.py", "right_uses.py")


@functools.cache  # both files at once, as nearly all of the time goes into distfd and what it imports
def mypy() -> dict[str, set[int]]:
    argv = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--follow-imports=silent"]
    argv += ["--no-error-summary", "--hide-error-context", *(str(HERE / name) for name in FILES)]
    said = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not said.stderr, said.stderr
    refused: dict[str, set[int]] = {name: set() for name in FILES}
    for where, number, *_ in (line.split(":") for line in said.stdout.splitlines() if ": error:" in line):
        refused[Path(where).name].add(int(number))
    return refused


@functools.cache
def pyright() -> dict[str, set[int]]:
    argv = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    argv += [str(HERE / name) for name in FILES]
    said = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    refused: dict[str, set[int]] = {name: set() for name in FILES}
    for each in json.loads(said.stdout)["generalDiagnostics"]:
        if each["severity"] == "error":
            refused[Path(each["file"]).name].add(each["range"]["start"]["line"] + 1)
    return refused


@pytest.fixture(params=[mypy, pyright], ids=["mypy", "pyright"])
def checker(request: pytest.FixtureRequest) -> Callable[[], dict[str, set[int]]]:
    package = "mypy" if request.param is mypy else "basedpyright"
    if importlib.util.find_spec(package) is None:
        message = f"NOT tested: {package} is missing"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    made: Callable[[], dict[str, set[int]]] = request.param
    return made


def test_mistakes_are_refused_line_by_line(checker: Callable[[], dict[str, set[int]]]) -> None:
    assert checker()["mistakes.py"] == REFUSED


def test_right_uses_pass(checker: Callable[[], dict[str, set[int]]]) -> None:
    assert checker()["right_uses.py"] == set()


def test_options_are_those_of_the_evaluator() -> None:
    known = inspect.signature(distfd.Evaluator).parameters.values()
    named = {p.name: str(p.annotation) for p in known if p.kind is p.KEYWORD_ONLY}
    assert {name: str(kind.__forward_arg__) for name, kind in EvaluatorOptions.__annotations__.items()} == named


@pytest.mark.parametrize(
    "name",
    [
        *("differentiate", "gradient", "value_and_gradient", "jacobian", "hessian", "hvp", "jvp", "directional"),
        *("noise_level", "minimize", "least_squares", "step_sweep", "check_gradient"),
    ],
)
def test_help_lists_every_option(name: str) -> None:
    listed = inspect.signature(getattr(distfd, name)).parameters
    assert set(EvaluatorOptions.__annotations__) <= set(listed)
    assert not [p for p in listed.values() if p.kind is p.VAR_KEYWORD]
    for option, default in inspect.signature(distfd.Evaluator).parameters.items():
        if option in EvaluatorOptions.__annotations__:
            assert listed[option].default == default.default
