"""Names that the user's functions and classes read, whose values may differ between processes."""

from __future__ import annotations

import importlib.util
import sys
import types
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.fingerprint.bytecode import global_names, import_statements, text_constants, used_names
from distfd.fingerprint.callables import closure_of
from distfd.fingerprint.module_origins import is_installed_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True, order=True)
class Member:
    """A member of a module, or of a class in it: ``name`` is K, or Class.k."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    def value(self) -> Any:
        """The member's value in this process.

        Raises
        ------
        LookupError
            If the module is not loaded here, or has no such member.
        """
        found: Any = sys.modules.get(self.module)
        if found is None:
            raise LookupError(f"no module {self.module}")
        *classes, last = self.name.split(".")
        for name in classes:
            found = vars(found)[name]
        return vars(found)[last]


def is_local(name: Any) -> bool:
    """Whether this is the name of a loaded module of the user, which other processes can import."""
    if not isinstance(name, str) or name in ("__main__", "__mp_main__") or name.partition(".")[0] == "distfd":
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return isinstance(file, str) and not _installed(name.partition(".")[0], file)


@lru_cache(maxsize=20_000)
def _installed(top: str, file: str) -> bool:
    return is_installed_file(top, file)


def named(obj: Any) -> Member | None:
    """The member under which a function or class of a local module is found; None if there is none."""
    module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
    if not isinstance(name, str) or not is_local(module):
        return None
    member = Member(str(module), name)
    try:
        found = member.value()
    except (LookupError, TypeError):
        return None
    if isinstance(found, (staticmethod, classmethod)):
        found = found.__func__
    return member if found is obj else None


def function_reads(
    function: types.FunctionType, *, imports: bool = True
) -> Iterator[tuple[types.ModuleType | None, dict[str, Any], list[str]]]:
    """Names that a function may read: (module or None for its globals, the names' dictionary, names).

    The names include more than the function reads, as attribute names are among them.

    Parameters
    ----------
    imports : bool
        Whether those of modules that it imports when it runs are among them, and those that it looks for by a text;
        without, they are those of a fingerprint.
    """
    names = names_and_texts(function) if imports else used_names(function.__code__)
    here = function.__globals__
    globals_ = names if imports else global_names(function.__code__)
    yield None, here, [name for name in globals_ if name in here]
    seen: set[int] = set()
    cells = list(closure_of(function).values())
    first = [here.get(name) for name in globals_] + cells + (list(_imported(function)) if imports else [])
    waiting = [value for value in first if isinstance(value, types.ModuleType)]
    while waiting:
        module = waiting.pop()
        if id(module) in seen or not is_local(module.__name__):
            continue
        seen.add(id(module))
        there = vars(module)
        used = names_in(module, names) if imports else _present(there, names)
        yield module, there, used
        waiting += [there[name] for name in used if isinstance(there[name], types.ModuleType)]


def names_and_texts(function: types.FunctionType) -> frozenset[str]:
    """All names in the function, and all that it may look for by a text, as ``getattr(module, "K")`` does."""
    code = function.__code__
    return used_names(code).union(*(text.split(".") for text in text_constants(code)))


def names_in(module: types.ModuleType, names: Iterable[str]) -> list[str]:
    """Which of these names a module has; its ``__getattr__`` too, where that is asked for one."""
    there = vars(module)
    found = _present(there, names)
    makes = "__getattr__" in there and not there.keys() >= {name for name in names if not name.startswith("__")}
    return [*found, "__getattr__"] if makes else found


def _present(there: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    return [name for name in names if name in there and not name.startswith("__")]


def sees_less(function: types.FunctionType) -> bool:
    """Whether a fingerprint may miss what a function reads: of modules that it imports, or looks for by a text."""
    code = function.__code__
    return not used_names(code).isdisjoint(_BY_TEXT) or any(is_local(module.__name__) for module in _imported(function))


_BY_TEXT = frozenset({"getattr", "vars", "globals", "attrgetter", "__dict__", "modules", "import_module", "__import__"})
"""Names of what reads a module by a text."""
_MODULES_BY_TEXT = frozenset({"modules", "import_module", "__import__"})


def _imported(function: types.FunctionType) -> Iterator[types.ModuleType]:
    """Loaded modules that the function imports when it runs."""
    if not used_names(function.__code__).isdisjoint(_MODULES_BY_TEXT):
        for text in text_constants(function.__code__):
            if isinstance(module := sys.modules.get(text), types.ModuleType):
                yield module
    statements = import_statements(function.__code__)
    if not statements:
        return
    package = function.__globals__.get("__package__") or ""
    for name, level, names in statements:
        try:
            full = importlib.util.resolve_name("." * level + name, package)
        except ImportError:
            continue
        # `import a.b` binds a only; attributes that are read of it appear among the names as well.
        parts = full.split(".")
        whole = [".".join(parts[: k + 1]) for k in range(len(parts))]
        for each in (*whole, *(f"{full}.{part}" for part in names)):
            module = sys.modules.get(each)
            if isinstance(module, types.ModuleType):
                yield module


def file_of(module: str) -> Path | None:
    """The source file of a loaded module."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file) if isinstance(file, str) and file.endswith(".py") else None
