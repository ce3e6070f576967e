"""Stores as users name them."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Protocol

from distfd.core.errors import InputError
from distfd.stores.base import adapted
from distfd.stores.memory import MemoryStore

if TYPE_CHECKING:
    from distfd.stores.base import Store


class HasFingerprint(Protocol):
    """What a store needs to know of an objective."""

    def fingerprint(self) -> str | None:
        """A digest of all that J's value depends on beside x; None where that cannot be told across processes."""


def salt_of(objective: HasFingerprint) -> int | None:
    """The salt of an objective's keys in a store that outlives the process; None where it cannot be recognised."""
    digest = objective.fingerprint()
    return None if digest is None else int(digest[:32], 16)


def changed_salt(store: Store, objective: HasFingerprint) -> int:
    """The salt of an objective's keys, once it is another than its store was opened with."""
    salt = None if isinstance(store, MemoryStore) else salt_of(objective)
    # What only this process has needs a name of its own, and no more.
    return int.from_bytes(os.urandom(16)) if salt is None else salt


def open_store(store: str | os.PathLike[str] | Store | None, objective: HasFingerprint) -> tuple[Store, int, bool]:
    """The store, the salt of this objective's keys, and whether the store is ours to close."""
    if store is None:
        return MemoryStore(), 0, True
    found_salt = salt_of(objective)
    if found_salt is None:
        # Nothing from another process may be taken for a value of this J, nor the other way round.
        salt = int.from_bytes(os.urandom(16))
        warnings.warn(
            "J cannot be recognised in another process, so its stored values will not be used again; give version=... "
            "to say that they may",
            stacklevel=4,
        )
    else:
        salt = found_salt
    if isinstance(store, (str, os.PathLike)):
        from distfd.stores.sqlite import SQLiteStore

        return SQLiteStore(os.fspath(store)), salt, True
    if (found := adapted(store)) is None:
        raise InputError(f"store: must be a path, a store object or None (was {store!r})")
    return found, salt, False
