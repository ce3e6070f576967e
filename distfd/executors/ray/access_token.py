"""What keeps a private Ray cluster private: the token that it asks for, and the folder of its sockets and logs."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
import warnings
from pathlib import Path

from distfd.core.files import owner_only

_LONGEST_FOLDER = 40
"""Bytes, so that Ray's sockets below it stay within the 107 that the kernel allows."""


def has_token() -> bool:
    """Whether Ray has a token at hand."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or _token_file().exists()


def keep_token_private() -> None:
    """Have a token in ``~/.ray/auth_token`` that its owner alone can read: Ray would write it for all to read.

    Whoever holds it runs code in the clusters that ask for it, and theirs are the only ports that can ask: Ray listens
    on every interface. Does nothing where the token is given by RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH; where
    RAY_AUTH_MODE turns tokens off, that is warned of.
    """
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode is not None and mode.lower() != "token":
        text = f"RAY_AUTH_MODE={mode}: whoever can reach this machine by network can run code in the Ray cluster"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return
    if any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        return
    path = _token_file()
    with contextlib.suppress(OSError):  # Ray says more of a home that cannot be written
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            # 32 bytes, as Ray's own have.
            with open(path, "x", encoding="ascii", opener=owner_only) as file:
                file.write(secrets.token_hex(32))
        except FileExistsError:
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)


def private_folder() -> str | None:
    """A folder for Ray's session that other users cannot enter; None to leave the choice to Ray.

    Ray makes its own, /tmp/ray, for all to read and write: logs, with what J prints, and the sockets of the session.
    """
    if os.environ.get("RAY_TMPDIR"):
        return None
    own = Path(tempfile.gettempdir(), f"distfd-{os.getuid()}")
    with contextlib.suppress(OSError):
        own.mkdir(mode=0o700, exist_ok=True)
        found = own.lstat()
        # Another user may have been first to take the name.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            own = Path(tempfile.mkdtemp(prefix="distfd-"))
    return str(own / "ray") if own.is_dir() and len(os.fsencode(own)) <= _LONGEST_FOLDER else None


def _token_file() -> Path:
    return Path.home() / ".ray" / "auth_token"
