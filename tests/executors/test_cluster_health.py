"""Servers that answer, refuse, or say nothing; and what follows from it, by a clock of our own."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from distfd.errors import ClusterError, ClusterLostError
from distfd.executors.ray import connection as ray_join
from distfd.executors.ray.cluster_health import ClusterWatch, ServerProbe, Streaks, as_address, head, probe, raylet

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from distfd.executors.ray.cluster_health import Address

HEAD, OWN, OTHER = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.3", 3)


@contextlib.contextmanager
def listening(reply: bytes | None) -> Iterator[Address]:
    """A server that takes connections, reads, and says this; nothing at all for None; hangs up for no bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        if reply is not None:
            threading.Thread(target=answer, args=(server, reply), daemon=True).start()
        yield server.getsockname()


def answer(server: socket.socket, reply: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(100).startswith(b"PRI * HTTP/2.0")
                connection.sendall(reply)


def test_servers_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody: Address = server.getsockname()
    with (
        listening(b"\0\0\0\4\0\0\0\0\0") as alive,
        listening(None) as silent,
        listening(b"") as hangs_up,
        listening(b"\x15\3\1\0\2\2\x50") as tls,
        listening(b"HTTP/1.0 400 Bad Request") as dashboard,
        listening(b"<!DOCTYPE HTML>") as page,
        listening(b"SSH-2.0-OpenSSH_9.2\r\n") as ssh,
        listening(b"\x4a\0\0\0\x0a8.0.30\0") as mysql,
        listening(b"220") as mail,
    ):
        others = [dashboard, page, ssh, mysql, mail]
        found = probe([alive, silent, hangs_up, tls, *others, nobody, ("no.such.host.invalid", 1)], 0.5)
    assert found == {
        alive: ServerProbe.ANSWERS,
        silent: ServerProbe.SILENT,
        hangs_up: ServerProbe.ANSWERS,
        tls: ServerProbe.ANSWERS,
        **dict.fromkeys(others, ServerProbe.REFUSED),
        nobody: ServerProbe.REFUSED,
        ("no.such.host.invalid", 1): ServerProbe.SILENT,
    }
    assert probe([], 1.0) == {}


def test_addresses_as_ray_writes_them() -> None:
    assert as_address("10.0.0.1:6379") == ("10.0.0.1", 6379)
    assert as_address("[fd00::1]:6379") == ("fd00::1", 6379)


def test_a_server_of_ray_answers(private_ray: None) -> None:
    import ray

    at = as_address(ray.get_runtime_context().gcs_address)
    assert probe([at], 30.0) == {at: ServerProbe.ANSWERS}


class World:
    """Servers with the pulse that a test gives them."""

    def __init__(self) -> None:
        self.pulse: dict[Address, ServerProbe] = {}

    def look(self, addresses: Collection[Address], _: float) -> dict[Address, ServerProbe]:
        return {address: self.pulse.get(address, ServerProbe.ANSWERS) for address in addresses}


def seconds_until_lost(watch: ClusterWatch) -> float:
    watch.tick(0.0)
    for second in range(1, 200):
        if watch.lost is not None:
            return second - 1
        watch.tick(1.0)
    raise AssertionError("never")


@pytest.mark.parametrize(
    ("server", "pulse", "private", "most"),
    [
        (HEAD, ServerProbe.REFUSED, True, 2),
        (HEAD, ServerProbe.REFUSED, False, 30),
        (HEAD, ServerProbe.SILENT, True, 40),
        (HEAD, ServerProbe.SILENT, False, 40),
        (OWN, ServerProbe.REFUSED, False, 2),
        (OWN, ServerProbe.SILENT, False, 40),
    ],
)
def test_a_cluster_is_lost_in_time(server: Address, pulse: ServerProbe, private: bool, most: float) -> None:
    """Ray ends this process after 60 s without its head, and when it talks to a raylet that is gone."""
    world = World()
    watch = ClusterWatch([head(HEAD, private=private), raylet(OWN)], world.look)
    watch.tick(2.0)
    watch.check()
    world.pulse[server] = pulse
    assert 0 < seconds_until_lost(watch) <= most
    with pytest.raises(ClusterLostError, match=f"{server[0]}:{server[1]} (is gone|has not answered for)"):
        watch.check()


def test_a_head_that_is_started_again_is_not_lost() -> None:
    world = World()
    watch = ClusterWatch([head(HEAD, private=False)], world.look)
    for _ in range(5):
        for pulse in (ServerProbe.REFUSED, ServerProbe.ANSWERS):
            world.pulse[HEAD] = pulse
            for _ in range(15):
                watch.tick(1.0)
    watch.check()


def test_only_nodes_that_are_silent_for_long_hang() -> None:
    world = World()
    watch = ClusterWatch([head(HEAD, private=False)], world.look)
    watch.add(OTHER)
    watch.tick(1.0)
    assert not watch.gone(OTHER)
    world.pulse[OTHER] = ServerProbe.SILENT
    assert watch.gone(OTHER)
    watch.tick(1.0)
    assert not watch.hung
    for _ in range(30):
        watch.tick(1.0)
    assert watch.hung == {OTHER}
    assert watch.lost is None
    world.pulse[OTHER] = ServerProbe.ANSWERS
    watch.tick(1.0)
    assert not watch.hung


def test_streaks_begin_anew_with_another_kind_of_silence() -> None:
    streaks = Streaks()
    for pulse, seconds in (
        (ServerProbe.SILENT, 5.0),
        (ServerProbe.SILENT, 5.0),
        (ServerProbe.REFUSED, 5.0),
        (ServerProbe.REFUSED, 1.0),
    ):
        streaks.note({HEAD: pulse}, seconds)
    assert streaks.of(HEAD, ServerProbe.REFUSED) == 1.0
    assert streaks.of(HEAD, ServerProbe.SILENT) < 0


def test_the_thread_ends_when_it_is_told_to() -> None:
    before = threading.active_count()
    watch = ClusterWatch([head(HEAD, private=True)], World().look).start()
    thread = next(t for t in threading.enumerate() if t.name == "distfd watches Ray" and t.is_alive())
    assert threading.active_count() > before
    watch.stop()
    thread.join(60)
    assert not thread.is_alive()


def test_a_head_that_says_nothing_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is named: to join it would take for ever."""
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray_join, "_SILENT_SECONDS", 0.2)
    with listening(None) as (host, port):
        monkeypatch.setenv("RAY_ADDRESS", f"{host}:{port}")
        for address in (None, "auto", f"{host}:{port}", f"ray://{host}:{port}"):
            with pytest.raises(ClusterError, match=rf"{port}\b.*has not answered for 0\.2 s"):
                ray_join.join(address, None)
