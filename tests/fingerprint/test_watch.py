"""What J can reach is seen to change, whatever it is, and not to change where nobody has changed it."""

from __future__ import annotations

import array
import collections
import contextvars
import dataclasses
import enum
import functools
import importlib
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.sparse

from distfd.fingerprint.array_digest import array_digest
from distfd.fingerprint.fingerprint import fingerprint
from distfd.fingerprint.hidden_changes import hidden_changes
from distfd.fingerprint.reach import Reach
from distfd.fingerprint.reads import Member
from distfd.fingerprint.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Model:
    kind = 1.0

    def __init__(self) -> None:
        self.load = 1.0
        self.parts = {"a": [1.0, {"deep": (2.0, [3.0])}]}
        self.lock = threading.Lock()
        self.numbers = np.arange(3.0)

    def fun(self, x: Any) -> float:
        return float(self.load * x.sum())


@dataclasses.dataclass
class Data:
    value: float = 1.0


@dataclasses.dataclass(slots=True)
class Slotted:
    value: float = 1.0


class Counted(dict[str, float]):
    extra = None


class Shade(enum.Enum):
    DARK = 1.0


def _set(name: str, value: Any) -> Callable[[Any], None]:
    return lambda obj: setattr(obj, name, value)


def closure(value: Any) -> Any:
    def fun(x: Any) -> Any:
        return value, x

    def change(other: Any) -> None:
        nonlocal value
        value = other

    fun.change = change  # type: ignore[attr-defined]
    return fun


def _view() -> Any:
    view = np.zeros(3)[:]
    view.flags.writeable = False
    return view


CHANGES: list[tuple[Any, Callable[[Any], object]]] = [
    (lambda: Model().fun, lambda f: setattr(f.__self__, "load", 2.0)),
    (lambda: Model().fun, lambda f: f.__self__.parts["a"][1]["deep"][1].append(4.0)),
    (lambda: Model().fun, lambda f: f.__self__.numbers.__setitem__(1, 7.0)),
    (lambda: Model().fun, lambda f: setattr(f.__self__, "new", 1)),
    (lambda: Model().fun, lambda f: delattr(f.__self__, "load")),
    (lambda: [1.0, [2.0]], lambda a: a[1].append(3.0)),
    (lambda: ([1.0],), lambda a: a[0].__setitem__(0, -1.0)),
    (lambda: [0.0], lambda a: a.__setitem__(0, -0.0)),
    (lambda: [1], lambda a: a.__setitem__(0, True)),
    (lambda: {"a": 1.0}, lambda a: a.update(a=2.0)),
    (lambda: {"a": 1.0, "b": 2.0}, lambda a: a.update({"c": a.pop("a")})),
    (lambda: {1.0, 2.0}, lambda a: a.add(3.0)),
    (lambda: np.zeros(3), lambda a: a.__setitem__(2, 5e-324)),
    (lambda: np.ones(1_000_000), lambda a: a.__setitem__(777_777, np.nextafter(1.0, 2.0))),
    (lambda: np.ones(1_000_000), lambda a: np.negative(a, out=a)),
    (lambda: np.arange(1_000_000), lambda a: a.__setitem__([3, 999_999], a[[999_999, 3]])),
    (lambda: np.array([1, [2]], dtype=object), lambda a: a[1].append(3)),
    (lambda: np.ma.array([1.0, 2.0]), lambda a: a.__setitem__(0, np.ma.masked)),
    (_view, lambda a: a.base.__setitem__(0, 1.0)),
    (lambda: bytearray(9), lambda a: a.__setitem__(3, 1)),
    (lambda: array.array("d", [1.0, 2.0]), lambda a: a.__setitem__(1, 3.0)),
    (lambda: collections.deque([1.0]), lambda a: a.append(1.0)),
    (lambda: collections.OrderedDict(a=1, b=2), lambda a: a.move_to_end("a")),
    (lambda: collections.defaultdict(list, a=[1]), lambda a: a["a"].append(2)),
    (lambda: Counted(a=1.0), lambda a: setattr(a, "extra", 2)),
    (Data, _set("value", 2.0)),
    (Slotted, _set("value", 2.0)),
    (lambda: types.SimpleNamespace(a=1), _set("a", 2)),
    (lambda: functools.partial(max, [1.0]), lambda f: f.args[0].append(2.0)),
    (lambda: functools.partial(max, key=None), lambda f: f.keywords.update(key=min)),
    (lambda: closure(1.0), lambda f: f.change(2.0)),
    (lambda: closure([1.0]), lambda f: f("x")[0].append(2.0)),
    (lambda: closure(1.0), lambda f: setattr(f, "__defaults__", (3.0,))),
    (lambda: closure(1.0), lambda f: setattr(f, "option", 3.0)),
    (lambda: np.random.default_rng(0), lambda g: g.random()),
    (lambda: np.random.default_rng(0).normal, lambda m: m.__self__.random()),
    (lambda: contextvars.ContextVar("v"), lambda v: v.set(1.0)),
    (lambda: Shade.DARK, _set("weight", 2.0)),
    (lambda: scipy.sparse.csr_array(np.eye(3)), lambda a: a.data.__setitem__(0, 2.0)),
]


@pytest.mark.parametrize(("make", "change"), CHANGES, ids=range(len(CHANGES)))
def test_a_change_is_seen(make: Callable[[], Any], change: Callable[[Any], object]) -> None:
    obj = make()
    watch = Watch((obj,))
    assert watch.same()
    assert watch.same()
    change(obj)
    assert not watch.same()
    assert Watch((obj,)).same()


@pytest.mark.parametrize("number", range(20))
def test_random_changes_of_large_arrays_are_seen(number: int) -> None:
    random = np.random.default_rng(number)
    values = random.standard_normal(100_003)
    before = array_digest(values)
    at = random.choice(len(values), random.integers(1, 5), replace=False)
    values[at] = random.standard_normal(len(at))
    assert array_digest(values) != before
    assert array_digest(values[::-1]) != array_digest(values)
    assert array_digest(values.astype(np.float32)) != array_digest(values)
    assert array_digest(values[:100_000].reshape(100, 1000)) != array_digest(values[:100_000].reshape(1000, 100))


def test_equal_numbers_in_the_place_of_others_are_no_change() -> None:
    model = Model()
    watch = Watch((model.fun,))
    model.load = float("1.0")
    model.parts["a"][0] = float("1")
    assert watch.same()


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Any]]:
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(name: str, text: str) -> Any:
        made.append(name)
        file = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        for folder in file.relative_to(tmp_path).parents[:-1]:
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "__init__.py").touch()
        file.write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield make
    for name in made:
        del sys.modules[name]


GIVEN: list[Callable[[Any], tuple[Any, ...]]] = [
    lambda h: (lambda x, of: of.K * x, (h,)),
    lambda h: (lambda x, of=h: of.K * x,),
    lambda h: (functools.partial(lambda x, of: of.K * x, of=h),),
    lambda h: (lambda x, of: of["h"].K * x, {"h": h}),
    lambda h: (lambda x, of: of.h.K * x, types.SimpleNamespace(h=h)),
    lambda h: (lambda x: getattr(h, "K") * x,),  # noqa: B009  # that is what is tested
    lambda h: (lambda x: vars(h)["K"] * x,),
    lambda h: (lambda x: [getattr(h, name) * x for name in ("K", "TABLE")],),
    lambda h: (lambda x: sys.modules["watched_helper"].K * x,),
    lambda h: (lambda x: importlib.import_module("watched_helper").K * x,),
    lambda h: (lambda x: h.made * x,),
]


@pytest.mark.parametrize("number", range(len(GIVEN)))
def test_a_module_is_seen_however_j_comes_to_it(number: int, modules: Callable[[str, str], Any]) -> None:
    helper = modules("watched_helper", HELPER + "def __getattr__(name): return K\n")
    parts = GIVEN[number](helper)
    watch, before = Watch(parts), hidden_changes(parts)
    assert watch.same()
    assert before == {}
    helper.K = 5.0
    assert not watch.same()
    assert Reach(parts).members[Member("watched_helper", "K")] == 5.0
    # A fingerprint does not see it, so that it is beside it in the key.
    assert "watched_helper.K" in {
        **hidden_changes(parts),
        **dict.fromkeys(map(str, Reach(parts, imports=False).members)),
    }


def test_what_a_module_has_beside_what_j_names_is_no_part_of_it(modules: Callable[[str, str], Any]) -> None:
    helper = modules("watched_helper", HELPER)
    watch = Watch((lambda x, of: of.K * x, (helper,)))
    helper.TABLE["k"].append(2.0)
    assert watch.same()


def test_what_functools_remembers_of_types_is_no_change() -> None:
    @functools.singledispatch
    def fun(x: Any) -> Any:
        return x

    watch, before = Watch((fun,)), fingerprint(fun)
    fun(1.0)
    assert watch.same()
    assert before.stable
    assert fingerprint(fun) == before
    fun.register(float, lambda x: 2.0 * x)
    assert not watch.same()
    assert fingerprint(fun) != before


HELPER = """
import math
K = 2.0
TABLE = {"k": [1.0]}
class Base:
    scale = 1.0
class Kind(Base):
    def call(self, x): return self.scale * x * K
    @staticmethod
    def fixed(x): return x * TABLE["k"][0]
    @property
    def half(self): return 0.5
def f(x): return K * x
"""
READERS = {
    "global": "import watched_helper\ndef J(x): return watched_helper.f(x) + watched_helper.Kind().call(x)",
    "from": "from watched_helper import f, Kind, TABLE\ndef J(x): return f(x) + Kind().fixed(x) + Kind().half",
    "inside": "def J(x):\n    import watched_helper as h\n    return h.f(x) + h.Kind().fixed(x)",
    "inside from": "def J(x):\n    from watched_helper import f, Kind\n    return f(x) + Kind().fixed(x)",
    "instance": "import watched_helper\nk = watched_helper.Kind()\ndef J(x): return k.call(x) + watched_helper.f(x)",
}
IN_MODULE: list[Callable[[Any], object]] = [
    lambda h: setattr(h, "K", 5.0),
    lambda h: h.TABLE["k"].append(2.0),
    lambda h: setattr(h.Base, "scale", 2.0),
    lambda h: setattr(h.Kind, "call", lambda self, x: x),
    lambda h: setattr(h.Kind, "fixed", staticmethod(lambda x: x)),
    lambda h: setattr(h.Kind, "half", 3.0),
    lambda h: setattr(h, "f", abs),
    lambda h: setattr(h.f, "__code__", (lambda x: x).__code__),
]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("change", IN_MODULE, ids=range(len(IN_MODULE)))
def test_changes_in_modules_are_seen(
    reader: str, change: Callable[[Any], object], modules: Callable[[str, str], Any]
) -> None:
    helper = modules("watched_helper", HELPER)
    fun = modules("watched_reader", READERS[reader]).J
    watch = Watch((fun,))
    assert watch.same()
    change(helper)
    # What was imported by `from` before stays what it was.
    assert watch.same() == (reader == "from" and change is IN_MODULE[6])


def test_members_are_those_of_the_users_own_modules(modules: Callable[[str, str], Any]) -> None:
    modules("watched_helper", HELPER)
    fun = modules("watched_reader", READERS["inside"]).J
    found = Reach((fun,)).members
    assert {
        Member("watched_helper", name) for name in ("K", "f", "TABLE", "Kind", "Kind.call", "Base.scale")
    } <= found.keys()
    assert {member.module for member in found} == {"watched_helper", "watched_reader"} & {m.module for m in found}
    assert found[Member("watched_helper", "K")] == 2.0
    assert {str(member) for member in Reach((fun,), imports=False).members} == {"watched_reader.J"}


def test_an_object_that_does_as_it_likes_is_no_trouble() -> None:
    class Wild:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __reduce_ex__(self, protocol: Any) -> Any:
            raise RuntimeError(protocol)

        def __eq__(self, other: object) -> bool:
            raise RuntimeError(other)

        __hash__ = None  # type: ignore[assignment]

    wild = [Wild(), {"a": Wild()}]
    watch = Watch((wild,))
    assert watch.same()
    wild[0] = Wild()
    assert not watch.same()
