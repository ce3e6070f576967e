"""What of the user's modules is another in the driver's process than where a worker has imported them.

A function of a module travels by its name, and what it reads there (a number that was set since, a function that was
replaced, an attribute of a class) does not travel with it. So the driver says what each of these members is, by
digests; a worker that finds another asks for it.

This is the worker's side; `distfd.executors.ray.module_changes` is the driver's.
"""

from __future__ import annotations

import contextvars
import pickle
import sys
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distfd.fingerprint.members import digests_here, state_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from distfd.fingerprint.reads import Member


@dataclass(frozen=True)
class Differing:
    """A worker's answer that members are not here as they are on the driver.

    Attributes
    ----------
    members : mapping
        Member -> what it is here, for messages.
    host : str
    amended : bool
        Whether the driver's own were put in their place before.
    """

    members: Mapping[Member, str]
    host: str
    amended: bool = False


@dataclass(frozen=True)
class Amendment:
    """What the driver answers.

    Attributes
    ----------
    patch : bytes
        Members of the driver's, pickled together.
    left : frozenset of Member
        Members that belong to each process, and stay as they are.
    """

    patch: bytes = b""
    left: frozenset[Member] = frozenset()
    exact: Mapping[Member, str] = field(default_factory=dict)
    """Exact digests of members whose quick ones differed."""


def differing(expected: Mapping[Member, str], known: Amendment) -> dict[Member, str]:
    """Members that are not here as the driver says, and what they are here.

    Parameters
    ----------
    expected : mapping
        Member -> its digest on the driver.
    known : Amendment
        What the driver has said to earlier differences.
    """
    digests = {**expected, **known.exact}
    looked_at = {m: digest for m, digest in digests.items() if m not in known.left and m.module in sys.modules}
    here = digests_here(looked_at)
    return {member: _shown(member) for member, digest in looked_at.items() if here[member] != digest}


class MembersBefore:
    """What members are in this process before J is called, to tell afterwards whether it has changed any.

    Parameters
    ----------
    expected : mapping
        Member -> its digest on the driver.
    known : Amendment
        What the driver has said to differences.
    """

    def __init__(self, expected: Mapping[Member, str], known: Amendment) -> None:
        found = digests_here({m: d for m, d in {**expected, **known.exact}.items() if m.module in sys.modules})
        # Of what belongs to each process, some have another digest each time.
        again = digests_here({m: d for m, d in found.items() if m in known.left and d is not None})
        self._then = {member: digest for member, digest in found.items() if again.get(member, digest) == digest}

    @property
    def changed(self) -> bool:
        """Whether one of them is another now."""
        now = digests_here({member: digest or "" for member, digest in self._then.items()})
        return now != self._then


class OthersBefore:
    """What data are in modules of the user's that nobody compares, before J is called.

    J may reach them in ways that cannot be seen in its code, such as by ``importlib``.

    Parameters
    ----------
    modules : sequence of str
        Those that are imported here.
    compared : collection of str
        Those whose members are compared with the driver's.
    """

    def __init__(self, modules: Sequence[str], compared: Collection[str]) -> None:
        self._known = frozenset(modules)
        self._others = sorted(self._known - frozenset(compared))
        self._then = self._now()

    def changed(self, modules: Sequence[str]) -> bool:
        """Whether one of these was imported since, or holds other data."""
        return not self._known.issuperset(modules) or self._now() != self._then

    def _now(self) -> dict[tuple[str, str], str]:
        found = {}
        for module in self._others:
            for name, value in list(vars(sys.modules[module]).items()) if module in sys.modules else ():
                if not name.startswith("__") and not isinstance(value, _NO_DATA):
                    try:
                        found[module, name] = state_digest(value)
                    except Exception:  # of a value of the user's that will not be looked at
                        found[module, name] = str(id(value))
        return found


_NO_DATA = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)


def amend(patch: bytes) -> None:
    """Put the driver's members in the place of those here."""
    for member, value in pickle.loads(patch) if patch else ():  # noqa: S301  # from the driver, by Ray
        _set(member, value)


@dataclass(frozen=True)
class ContextValue:
    """What a variable of contexts is to be: there is no other way to send one that belongs to a module."""

    value: Any


def _set(member: Member, value: Any) -> None:
    owner: Any = sys.modules.get(member.module)
    *classes, last = member.name.split(".")
    for name in classes:
        owner = getattr(owner, name, None)
    if owner is None:
        return
    before, after = vars(owner).get(last), value
    if isinstance(before, contextvars.ContextVar) and isinstance(value, ContextValue):
        before.set(value.value)
        return
    if type(before) is type(after) and isinstance(before, (staticmethod, classmethod)):
        before, after = before.__func__, after.__func__
    # In place, for those who have imported it by its name.
    if not _become(before, after):
        setattr(owner, last, value)


def _become(before: Any, after: Any) -> bool:
    if not isinstance(before, types.FunctionType) or not isinstance(after, types.FunctionType):
        return False
    if before.__globals__ is not after.__globals__ or len(before.__closure__ or ()) != len(after.__closure__ or ()):
        return False
    before.__code__, before.__defaults__, before.__kwdefaults__ = (
        after.__code__,
        after.__defaults__,
        after.__kwdefaults__,
    )
    vars(before).clear()
    vars(before).update(vars(after))
    for cell, other in zip(before.__closure__ or (), after.__closure__ or (), strict=True):
        content = other.cell_contents
        cell.cell_contents = before if content is after else content  # it calls itself
    return True


def _shown(member: Member) -> str:
    try:
        return shown(member.value())
    except (LookupError, TypeError):
        return "not there"


def shown(value: Any) -> str:
    """A value for a message."""
    if isinstance(value, (types.FunctionType, type)):
        return f"{type(value).__name__} {value.__qualname__}"
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = f"a {type(value).__qualname__}"
    return text if len(text) <= 60 else text[:57] + "..."
