"""Python callables as J, and how a name becomes one."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.errors import InputError, MissingSimulatorError
from distfd.objectives.function import PythonObjective, load_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

X = np.array([1.0, 2.0])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a weird name and modules in it; what they leave behind is put back."""
    path = tmp_path / 'it\'s a "folder", with\nall'
    (path / "package").mkdir(parents=True)
    (path / "plate_model.py").write_text(
        "class Plate:\n    @staticmethod\n    def drag(x): return float(x @ x)\nnumber = 3\n"
    )
    (path / "broken_model.py").write_text("1 / 0\n")
    (path / "needy_model.py").write_text("import no_such_simulator\n")
    (path / "package" / "__init__.py").write_text("")
    (path / "package" / "inner.py").write_text("def drag(x): return 2 * float(x @ x)\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield path
    for name in ("plate_model", "broken_model", "needy_model", "package", "package.inner"):
        sys.modules.pop(name, None)


def test_names_are_found_from_the_folder_and_from_installed_packages(folder: Path) -> None:
    assert load_name("plate_model:Plate.drag", folder)(X) == 5.0
    assert load_name("package.inner:drag", folder)(X) == 10.0
    assert load_name("numpy.linalg:norm", folder) is np.linalg.norm


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("plate_model", InputError, "form module:name"),
        (":drag", InputError, "form module:name"),
        ("plate_model:", InputError, "form module:name"),
        ("plate_model.py:drag", InputError, "did you mean 'plate_model:drag'"),
        ("./package/inner.py:drag", InputError, "did you mean 'package.inner:drag'"),
        ("plate_model:Plate.darg", InputError, "no 'darg'; it has drag"),
        ("no_such_model:drag", MissingSimulatorError, "there is no module 'no_such_model'"),
        ("package.outer:drag", MissingSimulatorError, "there is no module 'package.outer'"),
        ("needy_model:drag", MissingSimulatorError, "pip install no_such_simulator"),
        ("broken_model:drag", InputError, "ZeroDivisionError"),
    ],
)
def test_names_that_lead_nowhere(name: str, error: type[InputError], message: str, folder: Path) -> None:
    with pytest.raises(error, match=message):
        load_name(name, folder)


def test_a_module_of_the_folder_reaches_the_workers(folder: Path, private_ray: None) -> None:
    fun = load_name("plate_model:Plate.drag", folder)
    found = distfd.gradient(fun, X, executor=distfd.RayExecutor(max_slots=1))
    np.testing.assert_allclose(found, 2 * X, rtol=1e-6)


class Body:
    def __init__(self, mass: float) -> None:
        self.mass = mass

    def drag(self, x: NDArray[np.float64], factor: float = 1.0) -> float:
        return self.mass * factor * float(x @ x)


@pytest.mark.slow
def test_all_kinds_of_callables_on_ray(private_ray: None) -> None:
    offset = 3.0

    def closure(x: NDArray[np.float64]) -> float:
        return float(x @ x) + offset

    class Local:
        def __call__(self, x: NDArray[np.float64]) -> float:
            return 4 * float(x @ x)

    kinds: dict[Any, float] = {
        closure: 1,
        (lambda x: 2 * float(x @ x)): 2,
        Body(5.0).drag: 5,
        functools.partial(Body(2.0).drag, factor=3.0): 6,
        Local(): 4,
        np.sum: 0,
    }
    for fun, factor in kinds.items():
        executor = distfd.RayExecutor(max_slots=1)
        expected = 2 * factor * X if factor else np.ones(2)
        np.testing.assert_allclose(distfd.gradient(fun, X, executor=executor), expected, rtol=1e-6)


def test_the_fingerprint_tells_arguments_and_instances_apart() -> None:
    made = [
        PythonObjective(Body(1.0).drag),
        PythonObjective(Body(2.0).drag),
        PythonObjective(Body(1.0).drag, (2.0,)),
        PythonObjective(Body(1.0).drag, kwargs={"factor": 2.0}),
        PythonObjective(Body(1.0).drag, version="7"),
    ]
    digests = [objective.fingerprint() for objective in made]
    assert None not in digests
    assert len(set(digests)) == len(made)
