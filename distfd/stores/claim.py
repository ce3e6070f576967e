"""Whose evaluations a store file holds: another objective's, or other parameters', are never taken for one's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from distfd.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from distfd.stores.schema import Meta


def claimed(meta: Meta, path: Path, fingerprint: str | None, names: tuple[str, ...] | None) -> Meta:
    """What the file is to say of itself from now on; None is compared with nothing.

    Raises
    ------
    InputError
        If the file belongs to another objective, or to other parameters.
    """
    remedy = "start afresh with --fresh (the old run is kept beside), or choose another output"
    if None not in (fingerprint, meta.fingerprint) and fingerprint != meta.fingerprint:
        raise InputError(
            f"{path} holds evaluations of another objective (fingerprint {meta.fingerprint:.12}, now "
            f"{fingerprint:.12}): its code, arguments, files or the data it refers to differ; {remedy}"
        )
    if names is not None and meta.names is not None and names != meta.names:
        raise InputError(f"{path} holds evaluations for other parameter names ({_differ(meta.names, names)}); {remedy}")
    return replace(meta, fingerprint=fingerprint or meta.fingerprint, names=names or meta.names)


def _differ(old: tuple[str, ...], new: tuple[str, ...]) -> str:
    if len(old) != len(new):
        return f"{len(old)} there, {len(new)} now"
    at = next(k for k, (a, b) in enumerate(zip(old, new, strict=True)) if a != b)
    return f"number {at} is {old[at]!r} there and {new[at]!r} now"
