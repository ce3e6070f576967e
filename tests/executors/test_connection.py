"""What is told where Ray cannot be joined or started: the line that matters, whose wish it was, and where to look."""

from __future__ import annotations

import os
import resource
import socket
from typing import TYPE_CHECKING, Any

import pytest

from distfd.errors import ClusterError, InputError
from distfd.executors.ray import connection
from distfd.executors.ray.cluster_health import ServerProbe

if TYPE_CHECKING:
    from pathlib import Path

MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.50.0
    Python: 3.12.1
This process on node 192.0.2.7 was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ray.init that fails as Ray's does, of a process that is not connected."""
    import ray

    def init(**_: Any) -> None:
        raise RuntimeError(MISMATCH)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(connection, "probe", lambda at, _: dict.fromkeys(at, ServerProbe.ANSWERS))


@pytest.mark.parametrize("by", ["cluster.address '{0}'", "RAY_ADDRESS={0}, in the environment"])
@pytest.mark.usefixtures("failing")
def test_all_lines_of_an_error_are_told_and_who_asked(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        target = f"127.0.0.1:{head.getsockname()[1]}"
        if by.startswith("RAY"):
            monkeypatch.setenv("RAY_ADDRESS", target)
        with pytest.raises(ClusterError) as caught:
            connection.join(None if by.startswith("RAY") else target, None)
    told = str(caught.value)
    assert told.startswith(by.format(target))
    for version in ("2.50.0", "3.12.1", "2.60.0", "3.11.7"):
        assert version in told
    assert "\n" not in told


@pytest.mark.usefixtures("failing")
def test_a_wrong_address_of_the_environment_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    with pytest.raises(InputError, match=r"RAY_ADDRESS=somewhere, in the environment: must be local, auto, host:port"):
        connection.join(None, None)


@pytest.mark.usefixtures("failing")
def test_a_private_cluster_that_does_not_start_names_its_logs_and_the_limits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = resource.getrlimit
    limits = {resource.RLIMIT_AS: (2_000_000 * 1024, -1), resource.RLIMIT_NPROC: (100, -1)}
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits.get(which) or real(which))
    monkeypatch.setattr(connection, "private_folder", lambda: str(tmp_path))
    with pytest.raises(ClusterError) as caught:
        connection.join("local", 1)
    told = str(caught.value)
    assert "ulimit -v is 2000000 and ulimit -u is 100" in told
    assert told.endswith(f"its logs are in {tmp_path}/session_latest/logs")


@pytest.mark.usefixtures("failing")
def test_a_working_directory_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        with pytest.raises(InputError, match="the working directory has been removed"):
            connection.join("local", 1)
    finally:
        os.chdir(tmp_path)
