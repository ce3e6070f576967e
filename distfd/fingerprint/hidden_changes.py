"""Finds changes that a fingerprint does not see: assignments in modules that J imports only when it runs.

A fingerprint includes the text of such modules, as of all others, but not the present values of their names. If these
are as in the text, there is nothing to add, and the keys of stored values stay the same.
"""

from __future__ import annotations

import enum
import types
from typing import TYPE_CHECKING, Any

from distfd.fingerprint.bytecode import used_names
from distfd.fingerprint.members import exact_digest
from distfd.fingerprint.reach import Reach
from distfd.fingerprint.reads import Member
from distfd.fingerprint.written_members import written_code, written_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def hidden_changes(roots: Iterable[Any]) -> Mapping[str, str]:
    """Members (module.name) whose values differ from the text of their module, with the digests of the values.

    Parameters
    ----------
    roots : iterable
        The objects that J consists of.
    """
    roots = tuple(roots)
    everything = Reach(roots)
    if not everything.sees_more:
        return {}
    seen = Reach(roots, imports=False).members
    found = {}
    for member in sorted(everything.members.keys() - seen.keys()):
        value = everything.members[member]
        now = exact_digest(value)
        if isinstance(value, types.FunctionType):
            written = written_code(member)
            changed = written is not None and written != exact_digest(value.__code__)
        else:
            written = written_digest(member)
            changed = _added_to_enum(member) if written is None else written != now
        if changed:
            found[str(member)] = now
    return found


def _added_to_enum(member: Member) -> bool:
    """Whether somebody has set that on a member of an enumeration, and not the enumeration itself."""
    *path, name = member.name.split(".")
    owner = Member(member.module, ".".join(path)).value() if path else None
    if not isinstance(owner, enum.Enum):
        return False
    makers = (vars(type(owner)).get(maker) for maker in ("__init__", "__new_member__"))
    return not any(isinstance(maker, types.FunctionType) and name in used_names(maker.__code__) for maker in makers)
