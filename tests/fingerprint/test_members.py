"""Members of modules: digests that are equal in every process, and what a module's text tells of them."""

from __future__ import annotations

import enum
import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from distfd.fingerprint.hidden_changes import hidden_changes
from distfd.fingerprint.members import digests, digests_here, exact_digest, is_exact
from distfd.fingerprint.reach import Reach
from distfd.fingerprint.reads import Member
from distfd.fingerprint.written_members import defaults_digest, written_code, written_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

TEXT = """
import math, threading, functools, collections, enum
import numpy as np
K: float = 2.0
NAMES = {"a", "b", "c", "d", "e"}
TABLE = {"k": [1.0, (2, "x")], "n": None}
ARRAY = np.arange(10.0)
OBJECTS = [collections.OrderedDict(a=k) for k in range(5)]
LOCK = threading.Lock()
HOOK = lambda x: x * K
TWICE = 1
TWICE = 2
class Colour(enum.Enum):
    RED = 1
class Kind:
    scale = 1.0
    def call(self, x): return self.scale * x * K
    @staticmethod
    def fixed(x): return x
    @classmethod
    def made(cls, x): return x
    @property
    def half(self): return 0.5
DEFAULT = Kind()
@functools.lru_cache
def cached(x): return x
def f(x, k=1.0):
    LOCK, HOOK, OBJECTS, ARRAY, NAMES, TABLE, DEFAULT, Colour, TWICE, cached(x)
    return K * x + Kind().call(x)
def set_k(k):
    global K
    K = k
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(text: str, name: str = "compared") -> Any:
        made.append(name)
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield make
    for name in made:
        del sys.modules[name]


def test_they_are_equal_in_every_process(module: Callable[[str], Any], tmp_path: Path) -> None:
    members = digests(Reach((module(TEXT).f,)).members)
    assert len(members) >= 14
    program = (
        "import compared; from distfd.fingerprint.members import digests, is_exact\n"
        "from distfd.fingerprint.reach import Reach\n"
        "print(sorted((str(m), d) for m, d in digests(Reach((compared.f,)).members).items() if is_exact(d)))"
    )
    for seed in ("1", "2"):
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "PYTHONHASHSEED": seed}
        ran = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == str(sorted((str(m), d) for m, d in members.items() if is_exact(d)))


def test_a_mark_that_a_library_sets_on_a_function_of_the_standard_library_is_none_of_the_users(
    module: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has imported PyTorch marks Enum.__new__, which is in every class of this kind; others do not."""
    made = module("import enum\nclass Colour(enum.Enum):\n    RED = 1\ndef f(x): return Colour.RED.value * x\n")
    before = digests(Reach((made.f,)).members)
    assert "compared.Colour.__new__" in map(str, before)
    monkeypatch.setitem(vars(enum.Enum.__new__), "_marked_by_a_library", "ignored")
    assert digests(Reach((made.f,)).members) == before
    monkeypatch.setattr(made.Colour, "__new__", lambda cls, value: object.__new__(cls))
    assert digests(Reach((made.f,)).members) != before


CHANGES: list[tuple[str, Callable[[Any], object]]] = [
    ("K", lambda m: setattr(m, "K", 5.0)),
    ("NAMES", lambda m: m.NAMES.add("f")),
    ("TABLE", lambda m: m.TABLE["k"].append(1)),
    ("ARRAY", lambda m: m.ARRAY.__setitem__(0, 1.0)),
    ("OBJECTS", lambda m: m.OBJECTS[3].update(a=9)),
    ("DEFAULT", lambda m: setattr(m.DEFAULT, "scale", 2.0)),
    ("Kind.scale", lambda m: setattr(m.Kind, "scale", 2.0)),
    ("Kind.call", lambda m: setattr(m.Kind, "call", lambda self, x: x)),
    ("Kind.fixed", lambda m: setattr(m.Kind, "fixed", staticmethod(lambda x: x + 1))),
    ("Kind.half", lambda m: setattr(m.Kind, "half", property(lambda self: 0.25))),
    ("f", lambda m: setattr(m.f, "__defaults__", (3.0,))),
    ("HOOK", lambda m: setattr(m, "HOOK", lambda x: x)),
    ("LOCK", lambda m: setattr(m, "LOCK", None)),
]


@pytest.mark.parametrize(("name", "change"), CHANGES, ids=[name for name, _ in CHANGES])
def test_a_change_is_one_of_its_own_member(name: str, change: Callable[[Any], object], module: Any) -> None:
    made = module(TEXT)
    before = digests(Reach((made.f, made.Kind)).members)
    assert digests_here(before) == before
    change(made)
    after = digests_here(before)
    assert [str(member) for member in before if before[member] != after[member]] == [f"compared.{name}"]


def test_what_is_not_there_has_no_digest(module: Callable[[str], Any]) -> None:
    module(TEXT)
    absent = [Member("compared", "nothing"), Member("compared", "Kind.nothing"), Member("no_such_module", "K")]
    assert digests_here(dict.fromkeys(absent, "")) == dict.fromkeys(absent)


def test_what_a_text_tells(module: Callable[[str], Any]) -> None:
    made = module(TEXT)
    known = {name: written_digest(Member("compared", name)) for name in ("NAMES", "TABLE", "Kind.scale")}
    assert known == {
        "NAMES": exact_digest(made.NAMES),
        "TABLE": exact_digest(made.TABLE),
        "Kind.scale": exact_digest(1.0),
    }
    for name in ("K", "ARRAY", "TWICE", "nothing"):  # set by a function, computed, given twice, not there
        assert written_digest(Member("compared", name)) is None
    call, f = (written_code(Member("compared", name)) for name in ("Kind.call", "f"))
    assert call is not None
    assert f is not None
    assert call.code == exact_digest(made.Kind.call.__code__)
    assert (call.defaults, f.defaults) == (defaults_digest(None, None), defaults_digest((1.0,), {}))
    assert written_code(Member("compared", "K")) is None


def test_what_a_fingerprint_does_not_see_is_found_where_it_was_changed(module: Callable[..., Any]) -> None:
    made = module("K = 2.0\ndef f(x): return K * x\n")
    fun = module("def J(x):\n    import compared\n    return compared.f(x)\n", "reader").J
    assert hidden_changes((fun,)) == {}
    made.K = 5.0
    assert list(hidden_changes((fun,))) == ["compared.K"]
    made.K = 2.0
    assert hidden_changes((fun,)) == {}
    f, made.f = made.f, lambda x: x
    assert list(hidden_changes((fun,))) == ["compared.f"]
    made.f = f
    assert hidden_changes((fun,)) == {}


def test_what_a_text_does_not_tell_is_asked_for(module: Callable[..., Any]) -> None:
    made = module(TEXT + "def of_default(x, k=K): return k * x\n")
    text = (
        "def J(x):\n    import compared as c\n"
        "    return c.f(x), c.of_default(x), c.math.sin(x), c.np.exp(x), c.Kind.made(x), c.HOOK, c.LOCK, c.cached(x)\n"
    )
    fun = module(text, "reader").J
    asked: list[str] = []

    def changed_among(values: Mapping[Member, Any], digests: Mapping[Member, str]) -> list[Member]:
        asked[:] = [member.name for member in digests]
        assert all(exact_digest(values[member]) == digest for member, digest in digests.items())
        return [member for member in digests if member.name == "ARRAY"]

    before = hidden_changes((fun,)).keys()
    assert hidden_changes((fun,), changed_among).keys() - before == {"compared.ARRAY"}
    unsure = {"K", "ARRAY", "OBJECTS", "LOCK", "HOOK", "TWICE", "DEFAULT", "cached", "of_default"}
    # What makes an enumeration and a property is not looked at further.
    assert {name for name in asked if "." not in name} == unsure
    made.f.__defaults__ = (3.0,)
    assert hidden_changes((fun,), changed_among).keys() - before == {"compared.ARRAY", "compared.f"}


def test_what_a_fingerprint_sees_is_not_told_twice(module: Callable[..., Any]) -> None:
    made = module("K = 2.0\ndef f(x): return K * x\n")
    fun = module("import compared\ndef J(x):\n    return compared.f(x)\n", "reader").J
    made.K = 5.0
    assert hidden_changes((fun,)) == {}
