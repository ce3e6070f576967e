"""Finds changes that a fingerprint does not see: assignments in modules that J imports only when it runs.

A fingerprint includes the text of such modules, as of all others, but not the present values of their names. If these
are as in the text, there is nothing to add, and the keys of stored values stay the same.
"""

from __future__ import annotations

import enum
import logging
import sys
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.fingerprint.bytecode import used_names
from distfd.fingerprint.callables import attributes_of
from distfd.fingerprint.members import exact_digest
from distfd.fingerprint.reach import Reach
from distfd.fingerprint.reads import Member, is_local, named
from distfd.fingerprint.written_members import defaults_digest, written_code, written_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping


def hidden_changes(
    roots: Iterable[Any],
    changed_among: Callable[[Mapping[Member, Any], Mapping[Member, str]], Collection[Member]] = lambda *_: (),
) -> Mapping[str, str]:
    """Members (module.name) whose values differ from the text of their module, with the digests of the values.

    Parameters
    ----------
    roots : iterable
        The objects that J consists of.
    changed_among : callable
        Is given members of which the text alone does not tell, with their values and with their digests, and returns
        those that were changed.
    """
    roots = tuple(roots)
    everything = Reach(roots)
    if not everything.sees_more:
        return {}
    seen = Reach(roots, imports=False).members
    hidden = {member: everything.members[member] for member in sorted(everything.members.keys() - seen.keys())}
    digests = {member: exact_digest(value) for member, value in hidden.items()}
    verdicts = {member: _differs_from_text(member, value, digests[member]) for member, value in hidden.items()}
    unknown = {member: digests[member] for member, verdict in verdicts.items() if verdict is None}
    changed = {member for member, verdict in verdicts.items() if verdict}
    if unknown:
        changed.update(changed_among(hidden, unknown))
    return {str(member): digests[member] for member in hidden if member in changed}


def _differs_from_text(member: Member, value: Any, now: str) -> bool | None:
    """Whether a member is another than its module's text says; None where the text does not tell."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, types.FunctionType):
        return _function_differs(member, value)
    if isinstance(value, type):
        # What it consists of are members of their own.
        place = named(value)
        same = not _is_of_user(value) or (place is not None and _last(place) == _last(member))
        return False if same else None
    if isinstance(value, _OF_A_VERSION):
        return False
    written = written_digest(member)
    if written is not None:
        return written != now
    return True if _added_to_enum(member) else None


_OF_A_VERSION = (types.ModuleType, types.BuiltinFunctionType, np.ufunc, np.dtype, logging.Logger)
"""Types of what is known by its name, or of no value for J."""


def _function_differs(member: Member, function: types.FunctionType) -> bool | None:
    if not _is_of_user(function):
        return False  # an installed package's, which is known by its version
    written = written_code(named(function) or member)
    if written is None:
        return None
    if written.code != exact_digest(function.__code__):
        return True
    given = defaults_digest(function.__defaults__, function.__kwdefaults__)
    if written.defaults is not None and written.defaults != given:
        return True
    plain = not function.__closure__ and not attributes_of(function)
    return False if plain and written.defaults == given else None


def _is_of_user(value: Any) -> bool:
    """Whether a function or class is of a module of the user, or was typed in."""
    module = value.__module__
    return is_local(module) or module == "__main__" or getattr(sys.modules.get(module), "__spec__", None) is None


def _last(member: Member) -> str:
    return member.name.rpartition(".")[2]


def _added_to_enum(member: Member) -> bool:
    """Whether somebody has set that on a member of an enumeration, and not the enumeration itself."""
    *path, name = member.name.split(".")
    owner = Member(member.module, ".".join(path)).value() if path else None
    if not isinstance(owner, enum.Enum):
        return False
    makers = (vars(type(owner)).get(maker) for maker in ("__init__", "__new_member__"))
    return not any(isinstance(maker, types.FunctionType) and name in used_names(maker.__code__) for maker in makers)
