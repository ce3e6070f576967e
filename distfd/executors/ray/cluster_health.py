"""Watches, from the driver, the servers without which a Ray cluster cannot work.

Ray ends the driver's process, without an exception, 60 s after it has lost its head, or as soon as it talks to a raylet
of its own that is gone; and it takes a node that hangs for alive for over 60 s. A thread that asks the servers itself
(`ray_probe`) sees all of that sooner, and in time to leave in good order.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from distfd.core.errors import ClusterLostError
from distfd.executors.ray.thread_ending import ThreadEnding

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


Address = tuple[str, int]
"""Host and port."""

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""The client's preface and an empty frame of settings."""

_FRAMES = (b"\4", b"\7")
"""The fourth byte of what a server of HTTP/2, as gRPC is, says first: the type of its settings, or of its good-bye."""

_ALERT = b"\x15\3"
"""What a server of TLS answers to such a preface."""


class ServerProbe(Enum):
    """The result of asking a server whether it lives."""

    ANSWERS = "answers"
    REFUSED = "refused"
    """The host answers, but nothing listens on the port, or something other than a Ray server: the server is gone."""
    SILENT = "silent"


def as_address(text: str) -> Address:
    """``host:port`` in its parts."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def probe(addresses: Collection[Address], seconds: float) -> dict[Address, ServerProbe]:
    """Ask all servers at once.

    Parameters
    ----------
    addresses : collection of (host, port)
    seconds : float
        Who has said nothing by then is silent.
    """
    found: dict[Address, ServerProbe] = {}
    with selectors.DefaultSelector() as selector:
        for address in set(addresses):
            asked = _ask(address)
            if isinstance(asked, ServerProbe):
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
    return {address: found.get(address, ServerProbe.SILENT) for address in addresses}


def _ask(address: Address) -> socket.socket | ServerProbe:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        asked = socket.socket(family, kind, protocol)
    except OSError:
        return ServerProbe.SILENT
    asked.setblocking(False)
    code = asked.connect_ex(where)
    if code in (0, errno.EINPROGRESS):
        return asked
    asked.close()
    return _meaning(code)


def _go_on(selector: selectors.BaseSelector, key: selectors.SelectorKey, found: dict[Address, ServerProbe]) -> None:
    """Send the preface over a connection that has been made; any bytes that come back are an answer."""
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


def _first_words(asked: socket.socket) -> ServerProbe:
    """The state that a server's first bytes show.

    A server that closes the connection is alive (TLS servers close it, as this is not TLS). A process that dies resets
    it.
    """
    try:
        said = asked.recv(64)
    except ConnectionResetError:
        return ServerProbe.REFUSED
    except OSError:
        return ServerProbe.SILENT
    ours = not said or said[3:4] in _FRAMES or said.startswith(_ALERT)
    return ServerProbe.ANSWERS if ours else ServerProbe.REFUSED


def _meaning(code: int) -> ServerProbe:
    return ServerProbe.REFUSED if code in (errno.ECONNREFUSED, errno.ECONNRESET) else ServerProbe.SILENT


def _socket(key: selectors.SelectorKey) -> socket.socket:
    assert isinstance(key.fileobj, socket.socket), os.strerror(errno.ENOTSOCK)
    return key.fileobj


_EVERY = 2.0
"""Seconds between two checks; a tenth of that while a server does not answer."""

_ANSWER = 3.0
"""Seconds that a server has to answer."""

_RESTART = 20.0
"""Seconds that the head of a cluster that was joined may take to come back: some clusters start it again."""

_HANGS = 25.0
"""Seconds of silence after which the head or the own raylet is given up,"""

_NODE_HANGS = 15.0
"""and any other node, where only work is lost."""

_GONE = 1.0
"""Seconds for which a refused connection may be an accident."""

_HEARD = 20.0
"""Seconds after the loss of the cluster in which the main thread should notice it; later, a call of Ray holds it for
good."""


@dataclass(frozen=True)
class WatchedServer:
    """A server without which the driver cannot go on."""

    name: str
    address: Address
    refused: float = _GONE
    """Seconds of refused connections after which it is lost."""


def head(address: Address, *, private: bool) -> WatchedServer:
    """The head: nobody starts that of a private cluster again."""
    return WatchedServer("the head (GCS)", address, _GONE if private else _RESTART)


def raylet(address: Address) -> WatchedServer:
    """The raylet of the driver's own node."""
    return WatchedServer("this node's raylet", address)


class Streaks:
    """For how many seconds each server has refused or been silent, not counting time in which this process was stopped.

    A driver that was stopped for an hour (Ctrl-Z) has not waited for an answer for an hour.
    """

    def __init__(self) -> None:
        self._bad: dict[Address, tuple[ServerProbe, float]] = {}

    def note(self, found: dict[Address, ServerProbe], seconds: float) -> None:
        """Record the results of a check, which came so many seconds after the check before."""
        bad: dict[Address, tuple[ServerProbe, float]] = {}
        for address, pulse in found.items():
            if pulse is not ServerProbe.ANSWERS:
                before, since = self._bad.get(address, (pulse, -seconds))
                bad[address] = (pulse, since + seconds if before is pulse else 0.0)
        self._bad = bad

    def __bool__(self) -> bool:
        return bool(self._bad)

    def of(self, address: Address, pulse: ServerProbe) -> float:
        """Seconds for which a server has given this result, up to the last check; negative if it last gave another."""
        now, seconds = self._bad.get(address, (ServerProbe.ANSWERS, 0.0))
        return seconds if now is pulse else -1.0


class ClusterWatch:
    """A thread that checks the head, the driver's raylet, and the raylets of the nodes on which workers run.

    Parameters
    ----------
    vital : collection of Vital
    look : callable
        As `probe`.
    unheard : callable, optional
        Called in the watch's thread, with the reason, if the cluster is lost and the main thread does not notice.
    """

    def __init__(
        self,
        vital: Collection[WatchedServer],
        look: Callable[[Collection[Address], float], dict[Address, ServerProbe]] = probe,
        unheard: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._unheard = unheard
        self._vital = tuple(vital)
        self._look = look
        self._streaks = Streaks()
        self._nodes: set[Address] = set()
        self._ended = ThreadEnding()
        self.lost: str | None = None
        """Why the cluster is lost, once it is."""
        self.hung: frozenset[Address] = frozenset()
        """Nodes that have not answered for long."""

    def start(self) -> ClusterWatch:
        """Begin, in a thread of its own."""
        threading.Thread(target=self._run, name="distfd watches Ray", daemon=True).start()
        return self

    def stop(self) -> None:
        """Ask the thread to end; it ends after the check that is under way."""
        self._ended.tell()

    def add(self, node: Address) -> None:
        """Check this node's raylet too from now on."""
        self._nodes = self._nodes | {node}

    def check(self) -> None:
        """See that the cluster is there.

        Raises
        ------
        ClusterLostError
            If it is not.
        """
        if self.lost is not None:
            raise ClusterLostError(self.lost)

    def gone(self, node: Address) -> bool:
        """Ask now whether a node is gone, which tells whether it was the cause of the death of one of its processes."""
        return self._look([node], _ANSWER)[node] is not ServerProbe.ANSWERS

    def tick(self, seconds: float) -> None:
        """Check all servers once, so many seconds after the check before."""
        vital = {each.address for each in self._vital}
        self._streaks.note(self._look(vital | self._nodes, _ANSWER), seconds)
        for each in self._vital:
            refused = self._streaks.of(each.address, ServerProbe.REFUSED)
            silent = self._streaks.of(each.address, ServerProbe.SILENT)
            host, port = each.address
            if refused >= each.refused:
                self.lost = f"{each.name} at {host}:{port} is gone"
            elif silent >= _HANGS:
                self.lost = f"{each.name} at {host}:{port} has not answered for {silent:.0f} s"
        self.hung = frozenset(n for n in self._nodes - vital if self._streaks.of(n, ServerProbe.SILENT) >= _NODE_HANGS)

    @property
    def refusing(self) -> bool:
        """Whether a server without which this process cannot go on was gone at the last look."""
        return any(self._streaks.of(each.address, ServerProbe.REFUSED) >= 0 for each in self._vital)

    def settle(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Check, in the caller's thread, until all servers answer.

        Parameters
        ----------
        meanwhile : callable
            Called after each check at which a server did not answer; may raise.

        Raises
        ------
        ClusterLostError
            If one is lost.
        """
        before = time.monotonic()
        while True:
            now = time.monotonic()
            self.tick(now - before)
            before = now
            self.check()
            if not self._streaks:
                return
            meanwhile()
            time.sleep(_EVERY / 10)

    def _run(self) -> None:
        before = time.monotonic()
        while self.lost is None and not self._ended.told:
            now = time.monotonic()
            # More than a look takes, and this process was not awake.
            self.tick(min(now - before, _EVERY + 2 * _ANSWER))
            before = now
            self._ended.wait(_EVERY / 10 if self._streaks else _EVERY)
        if self.lost is not None and not self._ended.wait(_HEARD):
            self._unheard(self.lost)
