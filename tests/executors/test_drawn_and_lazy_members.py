"""Data that a module draws by chance are the driver's on all workers; what was set in a module imported late counts."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

X = [1.0, 2.0]
DRAWN = """
import random
import numpy as np
NOISE = np.random.default_rng().normal(size=2)
SEED = random.randrange(1_000_000)
class Net:
    def __init__(self):
        self.kind = "linear"
        self.weights = np.random.default_rng().normal(size=2)
NET = Net()
class Holder:
    FACTOR = 1.0 + random.random()
def noise(x): return float(NOISE @ x)
def seed(x): return float(np.random.default_rng(SEED).normal(size=2) @ x)
def net(x): return float(NET.weights @ x)
def factor(x): return Holder.FACTOR * float(x @ x)
def late(x):
    import drawn_settings
    return float(drawn_settings.DRAWN @ x)
"""
SETTINGS = """
import os
import numpy as np
PID = os.getpid()
DRAWN = np.random.default_rng().normal(size=2)
TABLE = np.array([2.0, 1.0])
COMPUTED = sum([1.0, 1.0])
class Options:
    def __init__(self): self.load = 2.0
OPTIONS = Options()
def scaled(s, k=2.0): return k * s
def by(k): return lambda s: k * s
made = by(2.0)
class Model: load = 2.0
class Other: load = 5.0
"""
READER = """
def table(x):
    import drawn_settings
    return float(drawn_settings.TABLE @ x)
def computed(x):
    from drawn_settings import COMPUTED, PID
    return PID / PID * COMPUTED * float(x @ x)
def options(x):
    import drawn_settings
    return drawn_settings.OPTIONS.load * float(x @ x)
def scaled(x):
    import drawn_settings
    return drawn_settings.scaled(float(x @ x))
def made(x):
    import drawn_settings
    return drawn_settings.made(float(x @ x))
def model(x):
    import drawn_settings
    return drawn_settings.Model.load * float(x @ x)
"""
TAKES = """
from drawn_settings import *
def takes(x): return COMPUTED * float(x @ x)
"""
CHANGES: dict[str, Callable[[Any], object]] = {
    "table": lambda m: m.TABLE.__setitem__(0, 5.0),
    "computed": lambda m: setattr(m, "COMPUTED", 5.0),
    "options": lambda m: setattr(m.OPTIONS, "load", 5.0),
    "scaled": lambda m: setattr(m.scaled, "__defaults__", (5.0,)),
    "made": lambda m: setattr(m, "made", m.by(5.0)),
    "model": lambda m: setattr(m, "Model", m.Other),
}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any, Any]]:
    """(drawn, reader, settings), imported from files."""
    monkeypatch.syspath_prepend(tmp_path)
    names = {"drawn_data": DRAWN, "drawn_reader": READER, "drawn_settings": SETTINGS}
    for name, text in names.items():
        (tmp_path / f"{name}.py").write_text(text)
    importlib.invalidate_caches()
    drawn, reader, settings = map(importlib.import_module, names)
    yield drawn, reader, settings
    for name in names:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["noise", "seed", "net", "factor", "late"])
def test_data_drawn_by_chance_are_the_drivers_on_every_worker(
    name: str, modules: tuple[Any, Any, Any], private_ray: None
) -> None:
    fun = getattr(modules[0], name)
    expected = distfd.gradient(fun, X, executor="serial")
    with distfd.RayExecutor(max_slots=2) as executor, distfd.Evaluator(fun, executor=executor) as evaluator:
        for _ in range(2):
            assert np.array_equal(evaluator.gradient(X), expected)
        assert evaluator.map_function(fun, [np.array(X)] * 4) == [fun(np.array(X))] * 4


def test_a_module_that_a_worker_imports_later_takes_nothing_of_another_j(
    modules: tuple[Any, Any, Any], private_ray: None, tmp_path: Path
) -> None:
    _, reader, settings = modules
    (tmp_path / "drawn_later.py").write_text(TAKES)
    takes = importlib.import_module("drawn_later").takes
    settings.COMPUTED = 5.0
    try:
        with distfd.RayExecutor(max_slots=2) as executor:
            assert distfd.gradient(reader.computed, X, executor=executor) == pytest.approx([10.0, 20.0])
            # On the driver it was imported before.
            assert distfd.gradient(takes, X, executor=executor) == pytest.approx([4.0, 8.0])
    finally:
        del sys.modules["drawn_later"]


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_set_in_a_module_that_is_imported_late_is_another_j(
    name: str, modules: tuple[Any, Any, Any], private_ray: None, tmp_path: Path
) -> None:
    _, reader, settings = modules
    fun, store = getattr(reader, name), tmp_path / "s.sqlite"

    def evaluated(executor: Any) -> int:
        with distfd.Evaluator(fun, executor=executor, store=store) as evaluator:
            result = evaluator.differentiate(X)
        assert np.array_equal(result.derivative, distfd.gradient(fun, X, executor="serial"))
        return result.n_evaluations

    with distfd.RayExecutor(max_slots=2) as executor:
        assert evaluated(executor) > 0
        # A value of the same J is found, whatever process it comes from.
        assert evaluated("serial") == 0
        CHANGES[name](settings)
        assert evaluated(executor) > 0
        assert evaluated("serial") == 0
