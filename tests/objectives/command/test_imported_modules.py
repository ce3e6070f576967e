"""Python functions that read outputs are known by what they import too, and workers run the texts that were read."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING

import pytest

import distfd
from distfd.objectives.command.user_function import UserFunction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXTRACT = """
import extract_helper

def read(folder):
    from extract_late import factor
    return factor() * extract_helper.K
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    paths = list(sys.path)
    (tmp_path / "extract.py").write_text(EXTRACT)
    (tmp_path / "extract_helper.py").write_text("import numpy\nfrom extract_deep import K\n")
    (tmp_path / "extract_deep.py").write_text("K = 2.0\n")
    (tmp_path / "extract_late.py").write_text("def factor(): return 10.0\n")
    yield tmp_path
    sys.path[:] = paths
    for name in [name for name in sys.modules if name.startswith("extract")]:
        del sys.modules[name]


def objective(folder: Path) -> distfd.CommandObjective:
    return distfd.CommandObjective(
        ["echo", "1"], outputs={"J": {"file": "stdout", "python": "extract:read"}}, base=folder
    )


@pytest.mark.parametrize("name", ["extract", "extract_helper", "extract_deep", "extract_late"])
def test_a_change_of_any_of_them_is_another_objective(name: str, folder: Path) -> None:
    before = objective(folder).fingerprint()
    assert objective(folder).fingerprint() == before
    file = folder / f"{name}.py"
    file.write_text(file.read_text() + "X = 1\n")
    assert objective(folder).fingerprint() != before


def test_without_modules_of_the_users_own_the_fingerprint_is_what_it_was(folder: Path) -> None:
    (folder / "extract.py").write_text("import numpy, json\ndef read(folder): return 1.0\n")
    assert UserFunction("extract:read", str(folder)).imported == {}
    made = objective(folder)
    known = made.fingerprint()
    object.__setattr__(made.taken[0].extractor, "imported", {"other": ("other.py", b"")})
    assert made.fingerprint() != known


def test_stored_values_are_those_of_the_same_texts(folder: Path, tmp_path: Path) -> None:
    values = []
    for k in (2.0, 3.0, 2.0):
        (folder / "extract_deep.py").write_text(f"K = {k}\n")
        for name in ("extract_helper", "extract_deep", "extract_late"):
            sys.modules.pop(name, None)
        with distfd.Evaluator(objective(folder), executor="serial", store=tmp_path / "s.sqlite") as evaluator:
            values.append(evaluator.value([1.0]))
    assert values == [20.0, 30.0, 20.0]


def test_it_runs_the_texts_that_were_read(folder: Path) -> None:
    function = UserFunction("extract:read", str(folder))
    (folder / "extract_deep.py").write_text("K = 200.0\n")
    (folder / "extract_helper.py").unlink()
    loaded = pickle.loads(pickle.dumps(function)).load()
    assert loaded(folder) == 20.0


def test_modules_in_packages_and_circles(folder: Path) -> None:
    package = folder / "extract_package"
    package.mkdir()
    (package / "__init__.py").write_text("from . import part\n")
    (package / "part.py").write_text("from .other import K\n")
    (package / "other.py").write_text("import extract_package\nK = 4.0\n")
    (folder / "extract.py").write_text("import extract_package.part as p\ndef read(folder): return p.K\n")
    function = UserFunction("extract:read", str(folder))
    assert sorted(function.imported) == ["extract_package", "extract_package.other", "extract_package.part"]
    assert function.load()(folder) == 4.0


@pytest.mark.usefixtures("private_ray")
def test_workers_run_them_too(folder: Path) -> None:
    made = objective(folder)
    (folder / "extract_deep.py").write_text("K = 200.0\n")
    (folder / "extract_late.py").write_text("def factor(): return 1000.0\n")
    with distfd.Evaluator(made, executor=distfd.RayExecutor(max_slots=1)) as evaluator:
        assert evaluator.value([1.0]) == 20.0
