"""Workers have the state that J reads, wherever it is kept and by whatever way J comes to it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
X = [1.0, 2.0]
PARTS = """
import contextvars, enum, functools
K = 2.0
FACTOR = contextvars.ContextVar("FACTOR", default=2.0)
class Color(enum.Enum):
    RED = 2.0
@functools.singledispatch
def dispatched(s): return 2.0 * s
def decorate(f):
    @functools.wraps(f)
    def inner(s): return inner.factor * f(s)
    inner.factor = 2.0
    return inner
@decorate
def decorated(s): return s
def __getattr__(name):
    if name == "made": return K
    raise AttributeError(name)
"""
READER = """
import importlib, operator, sys
import other_places.inner.parts as parts
import other_places
def J(x, of): return of(parts, float(x @ x))
class Holds:
    def __init__(self): self.of = parts
    def J(self, x): return self.of.K * float(x @ x)
held = Holds().J
TABLE = {"parts": parts}
OWN = 2.0
def table(x): return TABLE["parts"].K * float(x @ x)
def default(x, of=parts): return of.K * float(x @ x)
def by_text(x): return getattr(parts, "K") * float(x @ x)
def by_vars(x): return vars(parts)["K"] * float(x @ x)
def by_loop(x): return sum(getattr(parts, name) for name in ("K",)) * float(x @ x)
def by_path(x): return operator.attrgetter("inner.parts.K")(other_places) * float(x @ x)
def by_name(x): return sys.modules["other_places.inner.parts"].K * float(x @ x)
def by_import(x): return importlib.import_module("other_places.inner.parts").K * float(x @ x)
def by_globals(x): return globals()["OWN"] * float(x @ x)
def made(x): return parts.made * float(x @ x)
def context(x): return parts.FACTOR.get() * float(x @ x)
def enumeration(x): return getattr(parts.Color.RED, "weight", 2.0) * float(x @ x)
def decorated(x): return parts.decorated(float(x @ x))
def dispatched(x): return parts.dispatched(float(x @ x))
"""


def _k(reader: Any) -> None:
    reader.parts.K = 5.0


CHANGES: dict[str, Callable[[Any], object]] = {
    **dict.fromkeys(("held", "table", "default", "by_text", "by_vars", "by_loop", "by_path", "by_name"), _k),
    **dict.fromkeys(("by_import", "made"), _k),
    "by_globals": lambda reader: setattr(reader, "OWN", 5.0),
    "context": lambda reader: reader.parts.FACTOR.set(5.0),
    "enumeration": lambda reader: setattr(reader.parts.Color.RED, "weight", 5.0),
    "decorated": lambda reader: setattr(reader.parts.decorated, "factor", 5.0),
}


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(tmp_path)
    inner = tmp_path / "other_places" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "other_places" / "__init__.py").touch()
    (inner / "__init__.py").touch()
    (inner / "parts.py").write_text(PARTS)
    (tmp_path / "other_places_reader.py").write_text(READER)
    importlib.invalidate_caches()
    yield importlib.import_module("other_places_reader")
    for name in [name for name in sys.modules if name.startswith("other_places")]:
        del sys.modules[name]


@pytest.fixture
def executor(private_ray: None) -> Iterator[distfd.RayExecutor]:
    with distfd.RayExecutor(max_slots=2) as made:
        yield made


def times(factor: float) -> Any:
    return pytest.approx([2.0 * factor, 4.0 * factor], rel=1e-6)


@pytest.mark.parametrize("where", CHANGES)
def test_it_is_there_on_workers_and_in_the_key(
    where: str, reader: Any, executor: distfd.RayExecutor, tmp_path: Path
) -> None:
    fun, store = getattr(reader, where), tmp_path / "s.sqlite"
    with distfd.Evaluator(fun, executor=executor, store=store) as evaluator:
        assert evaluator.gradient(X) == times(2.0)
        CHANGES[where](reader)
        assert evaluator.value(X) == pytest.approx(25.0)
        assert evaluator.gradient(X) == times(5.0)
        assert evaluator.map_function(fun, [np.array(X)] * 3) == [25.0] * 3
    # A later call finds the values of this J, not those of the first one.
    with distfd.Evaluator(fun, executor="serial", store=store) as evaluator:
        result = evaluator.differentiate(X)
    assert list(result.derivative) == times(5.0)
    assert result.n_evaluations == 0


def test_a_module_that_is_an_argument(reader: Any, executor: distfd.RayExecutor) -> None:
    with distfd.Evaluator(lambda x, of: float(of.K * (x @ x)), args=(reader.parts,), executor=executor) as evaluator:
        assert evaluator.gradient(X) == times(2.0)
        reader.parts.K = 5.0
        assert evaluator.gradient(X) == times(5.0)


def test_what_functools_remembers_of_types_is_no_difference(reader: Any, executor: distfd.RayExecutor) -> None:
    """The driver has called it, and a worker has not."""
    assert reader.parts.dispatched(1.0) == 2.0
    with distfd.Evaluator(reader.dispatched, executor=executor) as evaluator:
        assert evaluator.gradient(X) == times(2.0)
        reader.parts.dispatched(1)
        assert evaluator.differentiate(X).n_evaluations == 0


SCRIPT = """
import enum, functools, weakref
import numpy as np
import distfd

class Base:
    gain = 2.0
class Model(Base):
    def J(self, x): return self.gain * float(x @ x)
class Lazy:
    @functools.cached_property
    def gain(self): return 5.0
    def J(self, x): return self.gain * float(x @ x)
class Color(enum.Enum):
    RED = 2.0
def enumeration(x): return getattr(Color.RED, "weight", 2.0) * float(x @ x)
@functools.singledispatch
def dispatched(s): return 2.0 * s
def dispatch(x): return dispatched(float(x @ x))
@functools.lru_cache
def remembered(n): return 1 if n < 2 else remembered(n - 1) + remembered(n - 2)
def remember(x): return remembered(2) * float(x @ x)
model, X = Model(), np.array([1.0, 2.0])

def show(name, evaluator, fun):
    told = evaluator.value(X), evaluator.gradient(X).round(3).tolist(), evaluator.map_function(fun, [X])
    print(name, *told, flush=True)

if __name__ == "__main__":
    executor = distfd.RayExecutor(address="local", num_cpus=2, max_slots=2)
    with distfd.Evaluator(model.J, executor=executor) as evaluator:
        Model.gain = 7.0
        show("set", evaluator, model.J)
        del Model.gain
        show("gone", evaluator, model.J)
        Base.gain = 3.0
        show("base", evaluator, model.J)
    with distfd.Evaluator(enumeration, executor=executor) as evaluator:
        Color.RED.weight = 7.0
        show("set", evaluator, enumeration)
        del Color.RED.weight
        show("gone", evaluator, enumeration)
    with distfd.Evaluator(dispatch, executor=executor) as evaluator:
        show("once", evaluator, dispatch)
        dispatched.register(float, lambda s: 7.0 * s)
        show("registered", evaluator, dispatch)
    with distfd.Evaluator(remember, executor=executor) as evaluator:
        show("remembered", evaluator, remember)
    lazy = Lazy()
    with distfd.Evaluator(lazy.J, executor=executor) as evaluator:
        show("lazy", evaluator, lazy.J)
    executor.close()
"""


def test_state_of_a_script(tmp_path: Path) -> None:
    """Its classes travel by value, and a worker that has read one before takes it again."""
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": ""}
    argv = [sys.executable, "-W", "ignore", "script.py"]
    ran = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300, check=False)
    factors = [7, 2, 3, 7, 2, 2, 7, 2, 5]
    assert [line.split(" ", 1)[1] for line in ran.stdout.splitlines()] == [
        f"{5.0 * k} [{2.0 * k}, {4.0 * k}] [{5.0 * k}]" for k in factors
    ], ran.stderr


SPAWNED = """
import multiprocessing, sys
import distfd

gain = 3.0
def J(x): return gain * float(x @ x)

def child():
    executor = distfd.RayExecutor(address="local", num_cpus=2)
    assert abs(distfd.gradient(J, [1.0, 2.0], executor=executor) - [6.0, 12.0]).max() < 1e-5
    distfd.shutdown()

if __name__ == "__main__":
    process = multiprocessing.get_context(sys.argv[1]).Process(target=child)
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_j_of_a_script_travels_from_a_process_that_it_has_spawned(method: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SPAWNED)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": ""}
    argv = [sys.executable, "script.py", method]
    ran = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
