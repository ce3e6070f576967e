"""Settings of the driver's process that decide what J returns, or whether it raises, are those of its workers."""

from __future__ import annotations

import decimal
import importlib
import socket
import sys
import types
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

X = [1.0, 2.0]
SETS = """
import decimal
import numpy as np
np.seterr(over="raise")
decimal.getcontext().prec = 50
def J(x): return decimal.getcontext().prec * (3.0 if np.geterr()["over"] == "raise" else 1.0) * float(x @ x)
"""


def warned(message: str) -> type[Warning] | None:
    """The category of a warning, where it is an error."""
    try:
        for category in (UserWarning, RuntimeWarning, np.exceptions.RankWarning):
            warnings.warn(message, category, stacklevel=1)
    except Warning as error:
        return type(error)
    return None


@pytest.fixture
def evaluator(private_ray: None) -> Iterator[distfd.Evaluator]:
    with (
        warnings.catch_warnings(),
        np.errstate(),
        decimal.localcontext(),
        distfd.RayExecutor(max_slots=2) as executor,
        distfd.Evaluator(len, executor=executor) as made,
    ):
        warnings.simplefilter("ignore")
        yield made


def test_warnings_that_are_errors_are_so_there(evaluator: distfd.Evaluator) -> None:
    messages = ["one", "two", "One more"]

    def there() -> list[Any]:
        found = evaluator.map_function(warned, messages)
        assert found == [warned(message) for message in messages]
        return found

    assert there() == [None] * 3
    warnings.simplefilter("error")
    assert there() == [UserWarning] * 3
    warnings.filterwarnings("ignore", "one")
    assert there() == [None, UserWarning, None]
    warnings.filterwarnings("ignore", category=UserWarning)
    assert there() == [None, RuntimeWarning, None]
    warnings.resetwarnings()
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("error", "two", np.exceptions.RankWarning)
    assert there() == [None, np.exceptions.RankWarning, None]
    warnings.resetwarnings()
    warnings.filterwarnings("ignore")
    assert there() == [None] * 3


def test_a_filter_imports_no_module_there(
    evaluator: distfd.Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only the driver has imported has its own warnings; they are errors there once J imports it too."""
    monkeypatch.syspath_prepend(tmp_path)
    classes = (
        "class Outer:\n    class Own(UserWarning): pass\nclass Less(Outer.Own): pass\nclass Other(UserWarning): pass\n"
    )
    (tmp_path / "only_here.py").write_text(classes)
    importlib.invalidate_caches()
    module = importlib.import_module("only_here")
    warnings.filterwarnings("error", category=module.Outer.Own)
    name = module.__name__

    def there(imports: bool) -> list[str]:
        if not imports:
            return [name] if name in sys.modules else []
        own, found = importlib.import_module(name), []
        for kind in (own.Outer.Own, own.Less, own.Other):
            try:
                warnings.warn("", kind, stacklevel=1)
            except UserWarning:
                found.append(kind.__qualname__)
        return found

    try:
        assert evaluator.map_function(there, [False]) == [[]]
        assert evaluator.map_function(there, [True]) == [there(True)] == [["Outer.Own", "Less"]]
    finally:
        sys.modules.pop(name, None)


def test_the_timeout_of_sockets_follows(evaluator: distfd.Evaluator) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(33.0)
    try:
        assert evaluator.map_function(lambda _: socket.getdefaulttimeout(), [0]) == [33.0]
    finally:
        socket.setdefaulttimeout(before)


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports a module that sets what J sees of its process."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sets_as_imported.py").write_text(SETS)
    importlib.invalidate_caches()
    with np.errstate(), decimal.localcontext():
        yield lambda: importlib.import_module("sets_as_imported")
    sys.modules.pop("sets_as_imported", None)


def test_what_the_driver_has_set_since_it_imported_a_module(sets: Any, private_ray: None) -> None:
    module = sets()
    np.seterr(over="warn")
    decimal.getcontext().prec = 10
    with distfd.RayExecutor(max_slots=2) as executor:
        assert distfd.gradient(module.J, X, executor=executor) == pytest.approx([20.0, 40.0])


def test_what_a_module_sets_that_only_workers_import_stays_there(sets: Any, private_ray: None) -> None:
    factor = [1.0]

    def fun(x: Any) -> float:
        import sets_as_imported  # type: ignore[import-not-found]  # written above

        return factor[0] * float(sets_as_imported.J(x))

    with distfd.RayExecutor(max_slots=2) as executor, distfd.Evaluator(fun, executor=executor) as evaluator:
        for factor[0] in (1.0, 2.0, 3.0):
            assert evaluator.gradient(X) == pytest.approx([300.0 * factor[0], 600.0 * factor[0]])
    assert "sets_as_imported" not in sys.modules


class OwnModule(types.ModuleType):
    """As mpmath has, whose precision is an attribute of it."""


def test_a_module_of_a_class_of_its_own_travels_by_its_name(sets: Any, private_ray: None) -> None:
    module = sets()
    module.__class__ = OwnModule
    with distfd.RayExecutor(max_slots=2) as executor:
        assert distfd.gradient(lambda x, of=module: of.J(x), X, executor=executor) == pytest.approx([300.0, 600.0])


def test_the_precision_of_mpmath(private_ray: None, tmp_path: Path) -> None:
    mpmath = pytest.importorskip("mpmath")

    def fun(x: Any) -> float:
        return float(mpmath.mp.dps * (x @ x))

    with distfd.RayExecutor(max_slots=2) as executor, mpmath.workdps(15):
        for digits, count in ((15, 4), (50, 4), (15, 0)):
            mpmath.mp.dps = digits
            with distfd.Evaluator(fun, executor=executor, store=tmp_path / "s.sqlite") as evaluator:
                result = evaluator.differentiate(X)
            assert result.derivative == pytest.approx([2.0 * digits, 4.0 * digits])
            assert result.n_evaluations == count
