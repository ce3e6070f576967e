"""The identity of an objective."""

from __future__ import annotations

import dataclasses
import enum
import functools
import gc
import importlib
import io
import itertools
import math
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from collections import Counter, OrderedDict, defaultdict, namedtuple
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import distfd
from distfd.fingerprint.fingerprint import fingerprint
from distfd.fingerprint.graph_digest import Node, graph_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def digest(obj: object) -> str:
    print_ = fingerprint(obj)
    assert print_.stable, print_.unstable_because
    assert len(print_.digest) == 32
    return print_.digest


def compiled(source: str, **known: object) -> Any:
    """The function f of a source text, with these globals."""
    names: dict[str, object] = {"__name__": "made_up", **known}
    exec(textwrap.dedent(source), names)
    return names["f"]


def same(*sources: str) -> bool:
    return len({digest(compiled(source)) for source in sources}) == 1


def test_equal_code_is_equal_wherever_it_was_written() -> None:
    assert same("def f(x): return x + 1", "\n\n# a comment\ndef f(x):\n\n    return (x +\n       1)")
    inner = "def f(x):\n    class A:\n        b = 2\n        def g(s): s.u = s.v = 1\n    return A.b"
    assert same(inner, "\n" * 40 + inner)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(x): return x + 1", "def f(x): return x + 2"),
        ("def f(x): return x + 1", "def f(x): return x - 1"),
        ("def f(x): return x + 1.0", "def f(x): return x + 1"),
        ("def f(x): return x + 0.0", "def f(x): return x + -0.0"),
        ("def f(x): return x + 1", "def f(x): return x + True"),
        ("def f(x, k=1): return x", "def f(x, k=2): return x"),
        ("def f(x, *, k=1): return x", "def f(x, *, k=2): return x"),
        ("def f(x): return x.sin()", "def f(x): return x.cos()"),
        ("def f(x): return x in {1, 2}", "def f(x): return x in {1, 3}"),
        ("def f(x): return [y + 1 for y in x]", "def f(x): return [y + 2 for y in x]"),
        ("f = lambda x: x + 1", "f = lambda x: x * 1"),
        ("def g(x): return 1\ndef f(x): return g(x)", "def g(x): return 2\ndef f(x): return g(x)"),
        ("a = [1, 2]\ndef f(x): return a", "a = [2, 1]\ndef f(x): return a"),
        ("import math\ndef f(x): return math", "import cmath as math\ndef f(x): return math"),
        ("from math import sin as g\ndef f(x): return g", "from math import cos as g\ndef f(x): return g"),
        ("def f(x):\n try: g()\n except OSError: return 0", "def f(x):\n try: g()\n except OSError: return 1"),
        ("def f(x):\n import json\n return 1", "def f(x):\n import csv\n return 1"),
        ("class A:\n    b = 1\ndef f(x): return A", "class A:\n    b = 2\ndef f(x): return A"),
        ("class B:\n  c = 1\nclass A(B): pass\nf = A()", "class B:\n  c = 2\nclass A(B): pass\nf = A()"),
    ],
)  # fmt: skip
def test_other_code_is_another(one: str, other: str) -> None:
    assert same(one, one)
    assert not same(one, other)


def test_two_lambdas_on_one_line() -> None:
    f, g = (lambda x: x + 1), (lambda x: x + 2)
    assert digest(f) != digest(g)


def test_closures() -> None:
    def make(k: object) -> Callable[[float], object]:
        return lambda x: (k, x)

    assert digest(make(1)) == digest(make(1))
    assert digest(make(1)) != digest(make(2))
    assert digest(make(make(1))) != digest(make(make(2)))
    assert digest(make([1, {"a": np.zeros(2)}])) != digest(make([1, {"a": np.ones(2)}]))


class Model:
    factor = 1.0

    def __init__(self, k: object) -> None:
        self.k = k

    def evaluate(self, x: object) -> object:
        return self.k, x

    def other(self, x: object) -> object:
        return x

    @classmethod
    def made(cls) -> object:
        return cls(1)


class Slots:
    __slots__ = ("a", "b")

    def __init__(self, a: int) -> None:
        self.a = a


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Data:
    a: float = 1.0
    b: list[int] = dataclasses.field(default_factory=list)


class Bag(set[str]):
    pass


Pair = namedtuple("Pair", "a b")  # noqa: PYI024  # its made-up methods are what is tested


def test_bound_methods_and_instances() -> None:
    assert digest(Model(1).evaluate) == digest(Model(1).evaluate)
    assert digest(Model(1).evaluate) != digest(Model(2).evaluate)
    assert digest(Model(1).evaluate) != digest(Model(1).other)
    assert digest(Model(1)) != digest(Model(2))
    assert digest(Slots(1)) != digest(Slots(2))
    assert digest(Model) != digest(Slots)


def test_a_class_attribute_set_later_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(Model(1))
    monkeypatch.setattr(Model, "factor", 2.0)
    assert digest(Model(1)) != before


def plus(a: float, b: float) -> float:
    return a + b


DISTINCT: list[Callable[[], object]] = [
    *(lambda: None, lambda: 0, lambda: False, lambda: 0.0, lambda: -0.0, lambda: 0j, lambda: "0", lambda: b"0"),
    *(lambda: (), list, dict, set, frozenset, lambda: 2**70, lambda: -(2**70), lambda: "\udcff"),
    *(lambda: (1, 2), lambda: [1, 2], lambda: {1, 2}, lambda: {1: 2}, lambda: (2, 1)),
    *(lambda: ((1, 2),), lambda: ("12",), lambda: ("1", "2")),
    *(lambda: np.zeros(2), lambda: np.zeros((2, 1)), lambda: np.zeros(2, np.float32), lambda: -np.zeros(2)),
    *(lambda: np.float64(0), lambda: np.float32(0), lambda: np.array([None, 1]), lambda: np.dtype("f8")),
    *(lambda: np.zeros(1, [("a", "f8")]), lambda: np.ma.masked_array([0.0, 0.0], [True, False]), lambda: np.int64(0)),
    *(lambda: Path("a"), lambda: Path("b"), lambda: Colour.RED, lambda: Colour.BLUE, lambda: Colour, lambda: Data),
    *(lambda: Data(1.0), lambda: Data(2.0), lambda: Data(1.0, [1]), lambda: Pair(1, 2), lambda: Pair(2, 1)),
    *(lambda: functools.partial(plus, 1.0), lambda: functools.partial(plus, 2.0), lambda: Pair),
    *(lambda: functools.partial(plus, b=1.0), lambda: Model(plus)),
    *(lambda: plus, lambda: functools.lru_cache(plus), lambda: math.sin, lambda: math.cos, lambda: len, lambda: math),
    *(lambda: np.sin, lambda: np.cos, lambda: np.linalg.norm, lambda: np.linalg, lambda: np, lambda: np.random.normal),
    *(lambda: np.random.default_rng(1), lambda: np.random.default_rng(2), lambda: slice(1, 2), lambda: range(1, 2)),
    *(lambda: OrderedDict(a=1), lambda: Counter("ab"), lambda: defaultdict(list), lambda: defaultdict(set)),
    *(lambda: Bag("abc"), lambda: Bag("abd"), lambda: int, lambda: np.ndarray, lambda: "a".upper, lambda: str.upper),
    *(lambda: Model, lambda: Model(1), lambda: Model(1).evaluate, lambda: Slots(1), lambda: (plus, (1,), {"b": 2})),
    *(lambda: (plus, (2,), {"b": 2}), lambda: (plus, (1,), {"b": 3}), lambda: (plus, (1,), {"c": 2})),
    *(lambda: np.vectorize(plus), lambda: compiled("def f(x): return x"), lambda: bytearray(b"0"), lambda: ...),
    *(lambda: property(len), lambda: staticmethod(plus), lambda: vars(Model)["made"], lambda: list[int]),
]  # fmt: skip


def test_what_is_distinct_is_told_apart_and_what_is_equal_is_not() -> None:
    digests = [digest(make()) for make in DISTINCT]
    assert len(set(digests)) == len(digests)
    assert digests == [digest(make()) for make in DISTINCT]


def test_sets_have_no_order() -> None:
    assert digest({1, "a", (2,)}) == digest({(2,), 1, "a"})
    assert digest({1: 2, 3: 4}) != digest({1: 4, 3: 2})


@pytest.mark.parametrize(
    "keys", [("a", "b", "c"), (1, 2, 300), (1.5, "a", None), ((1, 2), "a", 3), (Colour.RED, Colour.BLUE, "a")]
)
@pytest.mark.parametrize(
    "made",
    [
        dict,
        OrderedDict,
        Counter,
        MappingProxyType,
        lambda known: defaultdict(list, known),
        lambda known: Data(1.0, known),
        lambda known: functools.partial(plus, known),
        lambda known: {"nested": [known]},
        lambda known: SimpleNamespace(**{str(key): value for key, value in known.items()}),
    ],
)
def test_dictionaries_have_the_order_in_which_code_goes_through_them(
    made: Callable[[dict[Any, int]], object], keys: tuple[Any, ...]
) -> None:
    orders = list(itertools.permutations(keys))
    digests = [digest(made({key: keys.index(key) for key in order})) for order in orders]
    assert len(set(digests)) == len(orders)
    assert digests == [digest(made({key: keys.index(key) for key in order})) for order in orders]


def test_cycles_end() -> None:
    ring: list[object] = [1]
    ring.append(ring)
    other: list[object] = [2]
    other.append(other)
    assert digest(ring) != digest(other)
    even = "def odd(x): return even(x)\ndef even(x): return odd(x){}\nf = {}"
    assert same(even.format("", "odd"), even.format("", "odd"))
    assert not same(even.format("", "odd"), even.format(" + 1", "odd"))
    assert not same(even.format(" + 1", "even"), even.format(" + 1", "odd"))


def test_deep_and_wide_objects() -> None:
    deep: list[object] = []
    for _ in range(20_000):
        deep = [deep]
    assert digest(deep) != digest([deep])
    wide = "\n".join(f"def g{i}(x): return {' + '.join(f'g{j}(x)' for j in range(40))}" for i in range(40))
    assert digest(compiled(wide + "\nf = g0")) == digest(compiled(wide + "\nf = g0"))


def test_recursion_through_globals_reaches_data() -> None:
    source = "def g(x): return table[x]\ndef f(x): return g(x)"
    tables = [np.arange(3), np.arange(4), {"a": 1}, {"a": 2}]
    assert len({digest(compiled(source, table=table)) for table in tables}) == 4
    # What is there and not named does not count.
    assert digest(compiled(source, table=1, unused=1)) == digest(compiled(source, table=1, unused=2))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(**sources: str) -> ModuleType:
        (tmp_path / "fdpkg").mkdir(exist_ok=True)
        for name, source in sources.items():
            (tmp_path / "fdpkg" / f"{name}.py").write_text(textwrap.dedent(source))
        for name in [name for name in sys.modules if name.partition(".")[0] == "fdpkg"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        return importlib.import_module("fdpkg.main")

    return load


BASE = {
    "__init__": "",
    "data": "K = 1\n",
    "helper": "from . import data\ndef g(x): return x * data.K\n",
    "main": """
        from fdpkg import helper

        def f(x):
            return helper.g(x)

        def late(x):
            from .helper import g
            return g(x)
        """,
}


@pytest.mark.parametrize("name", ["f", "late"])
def test_local_modules_count_with_what_they_import(package: Callable[..., ModuleType], name: str) -> None:
    before = digest(getattr(package(**BASE), name))
    assert digest(getattr(package(**{**BASE, "helper": "# moved\n\n" + BASE["helper"]}), name)) == before
    assert digest(getattr(package(**{**BASE, "helper": BASE["helper"].replace("*", "+")}), name)) != before
    assert digest(getattr(package(**{**BASE, "data": "K = 2\n"}), name)) != before
    assert digest(getattr(package(**BASE), name)) == before


def test_an_import_inside_a_function_counts_the_same_before_it_ran(package: Callable[..., ModuleType]) -> None:
    main = package(**{**BASE, "main": "def late(x):\n    import fdpkg.helper\n    return fdpkg.helper.g(x)\n"})
    assert "fdpkg.helper" not in sys.modules
    before = digest(main.late)
    assert "fdpkg.helper" not in sys.modules
    assert main.late(3) == 3
    assert digest(main.late) == before


def test_what_is_set_in_a_local_module_at_run_time_counts(package: Callable[..., ModuleType]) -> None:
    main = package(**{**BASE, "main": "import fdpkg.data\ndef f(x): return fdpkg.data.K * x\n"})
    before = digest(main.f)
    sys.modules["fdpkg.data"].K = 7  # type: ignore[attr-defined]  # made by the test
    assert digest(main.f) != before


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (threading.Lock, "_thread.lock"),
        (lambda: open(os.devnull), "TextIOWrapper"),  # noqa: SIM115, PTH123  # closed below
        (lambda: (x for x in "a"), "generator"),
        (lambda: np.frompyfunc(plus, 2, 1), "ufunc of your own"),
        (lambda: memoryview(b"a"), "memoryview"),
    ],
)
def test_what_cannot_be_told_apart_is_said(make: Callable[[], Any], says: str) -> None:
    thing = make()
    where: dict[str, object] = {
        f"attribute 'k' of Model": Model(thing),  # noqa: F541  # reads like the next
        "global 'thing' of f": compiled("def f(x): return thing", thing=thing),
        "[1] of [0] of list": [[0, thing]],
        "defaults of f": compiled("def f(x): pass"),
    }
    where["defaults of f"].__defaults__ = (thing,)  # type: ignore[attr-defined]  # a function
    for place, obj in where.items():
        print_ = fingerprint(obj)
        assert not print_.stable
        assert place in str(print_.unstable_because)
        assert says in str(print_.unstable_because)
        assert "give `version`" in str(print_.unstable_because)
    if isinstance(thing, io.IOBase):
        thing.close()


def test_an_object_without_end_is_unstable(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        def __reduce__(self) -> Any:
            return (Endless, (Endless(),))

    monkeypatch.setattr("distfd.fingerprint.fingerprint._MOST_PARTS", 1000)
    print_ = fingerprint([Endless()])
    assert not print_.stable
    assert "list refers to more than 1000 objects" in str(print_.unstable_because)


def test_an_instance_that_answers_for_all_attributes() -> None:
    class Settings(dict[str, int]):
        def __getattr__(self, name: str) -> int:
            return self[name]

    assert digest(Settings(a=1)) == digest(Settings(a=1))
    assert digest(Settings(a=1)) != digest(Settings(a=2))


def test_an_object_that_raises_when_it_is_looked_at_is_unstable() -> None:
    class Odd:
        def __getattribute__(self, name: str) -> object:
            raise RuntimeError(f"no {name}")

    print_ = fingerprint([Odd()])
    assert not print_.stable
    assert "RuntimeError: no" in str(print_.unstable_because)


def test_a_version_stands_for_the_code_and_not_for_the_arguments() -> None:
    lock = threading.Lock()

    def f(x: object) -> object:
        return lock, x

    assert not fingerprint(f).stable
    one = fingerprint(f, version="1")
    assert one == fingerprint(f, version="1")
    assert one.stable
    assert one.unstable_because is None
    prints = [
        one,
        fingerprint(f, version="2"),
        fingerprint(plus, version="1"),
        fingerprint((f, (1,), {}), version="1"),
        fingerprint((f, (2,), {}), version="1"),
    ]
    assert len({p.digest for p in prints}) == 5
    assert fingerprint(compiled("def f(x): return 1"), version="1") == fingerprint(
        compiled("def f(x): return 2"), version="1"
    )


SCRIPT = """
    import sys
    sys.path.insert(0, sys.argv[1])
    import test_fingerprint as t
    from distfd.fingerprint.fingerprint import fingerprint
    for make in t.DISTINCT:
        print(fingerprint(make()).digest)
"""


def test_another_process_with_another_hash_seed_gets_the_same_digests() -> None:
    here = Path(__file__).parent
    outputs = []
    for seed in ("0", "1", "4242"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(here.parents[1])}
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(here)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        outputs.append(done.stdout.split())
    assert len(outputs[0]) == len(DISTINCT)
    assert outputs[0] == outputs[1] == outputs[2]


def test_a_script_and_a_module_of_the_same_text_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(
        "from distfd.fingerprint.fingerprint import fingerprint\n"
        "class A:\n    k = {'a', 'b', 'c'}\n    def evaluate(self, x): return self.k, x\n"
        "def f(x, a=A()): return a.evaluate(x)\n"
        "if __name__ == '__main__':\n    print(fingerprint(f).digest)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = functools.partial(subprocess.run, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    script = run([sys.executable, "job.py"]).stdout
    module = run([sys.executable, "-c", "import job; print(job.fingerprint(job.f).digest)"]).stdout
    assert script == module
    assert len(script) == 33


@given(st.data())
def test_a_graph_digest_does_not_depend_on_the_numbers_of_nodes(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 8))
    number = st.integers(0, n - 1)
    nodes = [
        Node(
            data.draw(st.sampled_from([b"a", b"b"])),
            [("", child) for child in data.draw(st.lists(number, max_size=3))],
            data.draw(st.lists(number, max_size=3)),
        )
        for _ in range(n)
    ]
    to = [0, *data.draw(st.permutations(range(1, n)))]
    moved = [Node(b"") for _ in nodes]
    for k, node in enumerate(nodes):
        unordered = data.draw(st.permutations(node.unordered))
        moved[to[k]] = Node(node.label, [(e, to[c]) for e, c in node.ordered], [to[c] for c in unordered])
    assert graph_digest(nodes) == graph_digest(moved)
    changed = [Node(b"c", nodes[0].ordered, nodes[0].unordered), *nodes[1:]]
    assert graph_digest(nodes) != graph_digest(changed)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, "M8[s]", [("a", "f8"), ("b", "i2")]])
def test_a_large_array_has_the_fingerprint_that_its_bytes_have(dtype: Any) -> None:
    """Of which no copy is made; stores of before know the digest of all bytes in one."""
    values = np.zeros(30_000, dtype=dtype)
    shown = values.reshape(100, 300)
    node = Node(f"array {shown.dtype.descr!r} {shown.shape}".encode() + shown.tobytes())
    assert fingerprint(shown).digest == graph_digest([node]).hex()
    values.view(np.uint8)[-1] = 1
    assert fingerprint(shown).digest != graph_digest([node]).hex()


def test_a_class_of_a_j_that_is_gone_is_gone_too() -> None:
    """What its methods hold may be large."""

    def make() -> Any:
        data = np.ones(1000)

        class J:
            def __call__(self, x: Any) -> float:
                return float(data[0] * x.sum())

        return J()

    for executor in ("serial", "serial"):
        fun = make()
        distfd.gradient(fun, [1.0, 2.0], executor=executor)
        kept = weakref.ref(type(fun))
        del fun
        gc.collect()
        assert kept() is None
