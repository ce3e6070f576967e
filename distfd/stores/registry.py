"""Opens a store by the name, path or object that the user gives."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from distfd.core.errors import InputError
from distfd.core.files import file_path
from distfd.core.warning import warn
from distfd.stores.base import adapted
from distfd.stores.memory import MemoryStore

if TYPE_CHECKING:
    from distfd.stores.base import Store


class HasFingerprint(Protocol):
    """The part of an objective that a store needs."""

    def fingerprint(self) -> str | None:
        """A digest of all that J's value depends on besides x; None where that cannot be known across processes."""

    @property
    def unrecognised_because(self) -> str | None:
        """Why the digest is None, and what to do; None where nobody knows."""


def salt_of(objective: HasFingerprint) -> int | None:
    """The salt of an objective's keys in a store on disk; None if it cannot be identified across processes."""
    digest = objective.fingerprint()
    return None if digest is None else int(digest[:32], 16)


def changed_salt(store: Store, objective: HasFingerprint) -> int:
    """The salt of an objective's keys after the objective has changed since its store was opened."""
    salt = None if isinstance(store, MemoryStore) else salt_of(objective)
    # In a store of this process only, any unique salt will do.
    return int.from_bytes(os.urandom(16)) if salt is None else salt


def open_store(store: str | os.PathLike[str] | Store | None, objective: HasFingerprint) -> tuple[Store, int, bool]:
    """The store, the salt of this objective's keys, and whether the caller must close the store."""
    if store is None:
        return MemoryStore(), 0, True
    if isinstance(store, str) and store in ("", ":memory:"):
        raise InputError(f"store: must be a path (was {store!r}); leave store out to keep values in memory")
    found_salt = salt_of(objective)
    if found_salt is None:
        # A random salt: values of other processes must not be taken for values of this J, nor vice versa.
        salt = int.from_bytes(os.urandom(16))
        why = objective.unrecognised_because or "give version=... and change it whenever J changes"
        warn(f"J cannot be recognised in another process, so its stored values will not be used again: {why}")
    else:
        salt = found_salt
    if isinstance(store, (str, os.PathLike)):
        from distfd.stores.sqlite import SQLiteStore

        return SQLiteStore(file_path("store", store)), salt, True
    if (found := adapted(store)) is None:
        raise InputError(f"store: must be a path, a store object or None (was {store!r})")
    return found, salt, False
