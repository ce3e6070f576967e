"""The access token of a private Ray cluster, and the folder of its sockets and logs, which keep other users out."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

from distfd.core.files import owner_only
from distfd.core.warning import warn

_LONGEST_FOLDER = 40
"""Bytes in the path of Ray's folder: the kernel allows 107 for a socket, and Ray appends long names to the path."""
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  # a folder of our own is made in one of them
"""Where that folder goes if TMPDIR is too long, or cannot be written."""


def has_token() -> bool:
    """Whether Ray has a token at hand."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    try:
        return named or home_token_file().exists()
    except (OSError, RuntimeError):
        return False


def keep_token_private() -> None:
    """Write a token to ``~/.ray/auth_token`` that only its owner can read: Ray would let everybody read it.

    Whoever knows the token can run code in the clusters that ask for it. Only the token protects them, since Ray
    listens on every network interface. Does nothing if RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH gives the token. Warns if
    RAY_AUTH_MODE turns tokens off.
    """
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode is not None and mode.lower() != "token":
        text = f"RAY_AUTH_MODE={mode}: whoever can reach this machine by network can run code in the Ray cluster"
        warn(text, RuntimeWarning)
        return
    if any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        return
    try:
        _keep_token(home_token_file())
    except (OSError, RuntimeError) as error:
        # No home: a user without an entry in the passwd database, or a home that cannot be written.
        own = _own_folder()
        if own is None:
            return  # Ray says more
        _keep_token(own / "auth_token")
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(own / "auth_token")
        text = f"the token of private Ray clusters is kept in {own}, as there is no home folder for it ({error})"
        warn(text, RuntimeWarning)


def _keep_token(path: Path) -> None:
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
    own = _own_folder()
    return None if own is None else str(own / "ray")


def _own_folder() -> Path | None:
    """A short path to a folder of this user's alone, made if need be; None where there can be none.

    TMPDIR may be too long for the names of sockets, as batch systems and test runners make it.
    """
    for base in dict.fromkeys((tempfile.gettempdir(), *_SHORT)):
        own = Path(base, f"distfd-{os.getuid()}")
        if len(os.fsencode(own)) > _LONGEST_FOLDER:
            continue
        with contextlib.suppress(OSError):
            own.mkdir(mode=0o700, exist_ok=True)
            found = own.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
                return own
            # Another user may have been first to take the name.
            return Path(tempfile.mkdtemp(prefix="distfd-", dir=base))
    return None


def home_token_file() -> Path:
    """Where Ray keeps its token.

    Raises
    ------
    RuntimeError
        If this user has no home.
    """
    return Path.home() / ".ray" / "auth_token"
