"""Which members of the user's modules have been changed in the driver's process, and how they travel.

Not all that differs between two processes was changed by somebody. Where the text of a module does not tell, it is
imported afresh: see `distfd.workers.fresh_imports`.
"""

from __future__ import annotations

import contextvars
import io
import sys
import types
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.executors.ray.module_state import Amendment, ContextValue, shown
from distfd.executors.ray.pickling import pickler_class
from distfd.fingerprint.callables import context_value
from distfd.fingerprint.members import digests, exact_digest, is_exact
from distfd.fingerprint.reach import Reach
from distfd.fingerprint.reads import named
from distfd.fingerprint.written_members import written_digest
from distfd.workers.fresh_imports import changed_since_import

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from distfd.executors.ray.module_state import Differing
    from distfd.fingerprint.reads import Member
    from distfd.workers.surroundings import Surroundings


class ModuleChanges:
    """The members that J reads, as they are in this process, and what a worker is told of those that differ there.

    Parameters
    ----------
    parts : iterable
        The Python objects that J is made of.
    surroundings : Surroundings or None
        Those in which fresh imports are made.
    changed : set of Member
        Members that are known to have been changed, which is added to: once one has travelled it does so again, even if
        it is by then what it was at first.

    Attributes
    ----------
    digests : mapping
        Member -> its digest here.
    """

    def __init__(self, parts: Iterable[Any], surroundings: Surroundings | None, changed: set[Member]) -> None:
        self._surroundings, self._changed = surroundings, changed
        members = Reach(parts).members
        self._values = {m: value for m, value in members.items() if not m.name.startswith("__")}
        self.digests: Mapping[Member, str] = digests(self._values)
        self._left: set[Member] = set()
        self._exact: dict[Member, str] = {}

    def amendment(self, found: Differing) -> Amendment:
        """What a worker that found these members different is to do.

        Raises
        ------
        InputError
            If J cannot be the same there: names the members, and both values.
        """
        inexact = [m for m in found.members if m not in self._exact and not is_exact(self.digests[m])]
        if inexact:
            self._exact.update((member, exact_digest(self._values[member])) for member in inexact)
            return Amendment(exact=self._exact)
        known = self._changed | self._left
        unknown = [member for member in found.members if member not in known and not self._told(member)]
        if unknown:
            self._find_out(unknown)
        if found.amended and not unknown:
            raise InputError(self._refusal(found, "the value sent there arrived as a different one"))
        return Amendment(self._packed(found), frozenset(self._left), self._exact)

    def _digest(self, member: Member) -> str:
        return self._exact.get(member, self.digests[member])

    def _told(self, member: Member) -> bool:
        """Whether it is known without an import that a member was changed."""
        if isinstance(self._values[member], types.FunctionType | staticmethod | classmethod | property):
            self._changed.add(member)
        else:
            written = written_digest(member)
            if written is not None and written != self._digest(member):
                self._changed.add(member)
        return member in self._changed

    def _find_out(self, unknown: list[Member]) -> None:
        wanted = {member: self._digest(member) for member in unknown}
        changed = changed_since_import(self._values, wanted, self._surroundings)
        self._changed |= changed
        self._left |= wanted.keys() - changed

    def _packed(self, found: Differing) -> bytes:
        # All that was changed, for workers to come: what another found may not be all that this one will.
        chosen = {member: _sendable(value) for member, value in self._values.items() if member in self._changed}
        try:
            return _pickled(list(chosen.items()))
        except Exception as error:
            for member, value in chosen.items():
                try:
                    _pickled([(member, value)])
                except Exception as own:
                    why = f"it cannot be sent there ({type(own).__name__}: {own})"
                    raise InputError(self._refusal(found, why, member)) from own
            raise InputError(self._refusal(found, f"they cannot be sent there ({error})")) from error

    def _refusal(self, found: Differing, why: str, member: Member | None = None) -> str:
        first = next(iter(found.members)) if member is None else member
        there = found.members.get(first, "another")
        others = [str(each) for each in found.members if each != first]
        more = f" (so are {', '.join(others[:3])})" if others and member is None else ""
        return (
            f"J is not the same on the workers: {first} is {shown(self._values[first])} in this process and {there} "
            f"where {first.module} is imported afresh, on {found.host}{more}, and {why}; set it inside J, pass it as "
            "an argument of J, or change the module's file and import it anew"
        )


def _sendable(value: Any) -> Any:
    found = context_value(value) if isinstance(value, contextvars.ContextVar) else ()
    return ContextValue(*found) if found else value


def _pickled(members: list[tuple[Member, Any]]) -> bytes:
    """Members together, functions of modules with their code."""
    modules = [sys.modules[name] for name in {member.module for member, _ in members}]
    roots = {id(part) for _, value in members for part in (value, getattr(value, "__func__", None))}

    class Pickler(pickler_class()):  # type: ignore[misc]  # it is made at run time
        """Has functions read their module's own names where they arrive."""

        def reducer_override(self, obj: Any) -> Any:
            own = isinstance(obj, types.FunctionType) and any(obj.__globals__ is vars(each) for each in modules)
            if own and (id(obj) in roots or named(obj) is None):
                return _reduced(obj)
            return super().reducer_override(obj)

    stream = io.BytesIO()
    Pickler(stream).dump(members)
    return stream.getvalue()


def _reduced(function: types.FunctionType) -> Any:
    cells = function.__closure__ or ()
    state = (
        function.__defaults__,
        function.__kwdefaults__,
        vars(function),
        [_cell_content(cell) for cell in cells],
        (function.__name__, function.__qualname__, function.__module__, function.__doc__),
    )
    made = (function.__globals__["__name__"], function.__code__, len(cells))
    return _function, made, state, None, None, _complete


def _cell_content(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _function(module: str, code: types.CodeType, cells: int) -> types.FunctionType:
    closure = tuple(types.CellType() for _ in range(cells)) or None
    there = sys.modules.get(module)  # where that cannot be imported, J says why
    return types.FunctionType(code, {"__name__": module} if there is None else vars(there), closure=closure)


def _complete(function: types.FunctionType, state: Any) -> None:
    defaults, keywords, attributes, contents, names = state
    function.__defaults__, function.__kwdefaults__ = defaults, keywords
    vars(function).update(attributes)
    function.__name__, function.__qualname__, function.__module__, function.__doc__ = names
    for cell, content in zip(function.__closure__ or (), contents, strict=True):
        if content:
            cell.cell_contents = content[0]
