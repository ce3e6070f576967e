"""Whether servers of Ray answer, told without Ray: its own calls to a server that hangs never return.

All of Ray's servers speak gRPC, which is HTTP/2 (RFC 9113, section 3.4): whoever connects and sends the preface is
sent the server's settings, before anything about tokens is asked. A process that is stopped, or a host that is cut off,
sends nothing, though its kernel may take the connection.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

Address = tuple[str, int]
"""Host and port."""

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""The client's preface and an empty frame of settings."""


class Pulse(Enum):
    """What came of asking a server."""

    ANSWERS = "answers"
    REFUSED = "refused"
    """Its host answers and says that nobody listens, or somebody who is none of Ray's servers: the process is gone."""
    SILENT = "silent"


def as_address(text: str) -> Address:
    """``host:port`` in its parts."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def probe(addresses: Collection[Address], seconds: float) -> dict[Address, Pulse]:
    """Ask all servers at once.

    Parameters
    ----------
    addresses : collection of (host, port)
    seconds : float
        Who has said nothing by then is silent.
    """
    found: dict[Address, Pulse] = {}
    with selectors.DefaultSelector() as selector:
        for address in set(addresses):
            asked = _ask(address)
            if isinstance(asked, Pulse):
                found[address] = asked
            else:
                selector.register(asked, selectors.EVENT_WRITE, address)
        give_up = time.monotonic() + seconds
        try:
            while selector.get_map() and (left := give_up - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    _go_on(selector, key, found)
        finally:
            for key in list(selector.get_map().values()):
                _socket(key).close()
    return {address: found.get(address, Pulse.SILENT) for address in addresses}


def _ask(address: Address) -> socket.socket | Pulse:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        asked = socket.socket(family, kind, protocol)
    except OSError:
        return Pulse.SILENT
    asked.setblocking(False)
    code = asked.connect_ex(where)
    if code in (0, errno.EINPROGRESS):
        return asked
    asked.close()
    return _meaning(code)


def _go_on(selector: selectors.BaseSelector, key: selectors.SelectorKey, found: dict[Address, Pulse]) -> None:
    """A connection that is made is sent the preface; whatever comes then is an answer."""
    asked = _socket(key)
    if key.events == selectors.EVENT_WRITE:
        code = asked.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not code:
            try:
                asked.send(_PREFACE)
            except OSError as error:
                code = error.errno or errno.EIO
        if not code:
            selector.modify(asked, selectors.EVENT_READ, key.data)
            return
        found[key.data] = _meaning(code)
    else:
        found[key.data] = _first_words(asked)
    selector.unregister(asked)
    asked.close()


def _first_words(asked: socket.socket) -> Pulse:
    """Even one who hangs up (TLS does, as this is none) is alive; but a process that dies resets what it had taken."""
    try:
        said = asked.recv(64)
    except ConnectionResetError:
        return Pulse.REFUSED
    except OSError:
        return Pulse.SILENT
    return Pulse.REFUSED if said.startswith(b"HTTP/1") else Pulse.ANSWERS


def _meaning(code: int) -> Pulse:
    return Pulse.REFUSED if code in (errno.ECONNREFUSED, errno.ECONNRESET) else Pulse.SILENT


def _socket(key: selectors.SelectorKey) -> socket.socket:
    assert isinstance(key.fileobj, socket.socket), os.strerror(errno.ENOTSOCK)
    return key.fileobj
