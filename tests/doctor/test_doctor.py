"""The doctor: what it sees, what it says to do, and with which code it ends."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from distfd.doctor import examine as examining
from distfd.doctor.cluster import cluster_findings, stay_finding
from distfd.doctor.examine import examine
from distfd.doctor.finding import Finding, exit_code, findings_fields, findings_text
from distfd.doctor.machine import machine_findings
from distfd.doctor.software import software_findings
from distfd.doctor.storage import storage_findings
from distfd.executors.ray.access_token import private_folder

if TYPE_CHECKING:
    import pytest


def about(topic: str, findings: list[Finding]) -> Finding:
    return next(finding for finding in findings if finding.topic == topic)


def test_this_machine_can_run_distfd() -> None:
    found = examine()
    assert not [finding for finding in found if finding.level == "error"], findings_text(found)
    topics = {finding.topic for finding in found}
    assert topics >= {
        "python",
        "blas",
        "cores",
        "threads",
        "memory",
        "left running",
        "clock",
        "cluster",
        "token",
        "ports",
        "store",
        "disk",
    }
    assert json.loads(json.dumps(findings_fields(found)))["exit_code"] == 0


def test_what_stays_between_calls_is_told(tmp_path: Path) -> None:
    assert "keep_idle: 0" in about("workers", list(cluster_findings(None, {}, tmp_path, 0.0))).text
    found = stay_finding([100 * 2**20, 50 * 2**20], 90.0)
    assert found.level == "ok"
    assert found.text.startswith("2 of yours on this machine now, which hold 150 MiB, at work or idle; ")
    assert "stay 90 s for the next call" in found.text
    assert "distfd.shutdown()" in found.text
    assert stay_finding([], 30.0).text.startswith("0 of yours on this machine now, at work or idle; ")


def test_the_first_error_gives_the_code() -> None:
    fine, odd = Finding("a", "well"), Finding("b", "odd", "warning", "look")
    lost, full = Finding("c", "lost", "error", "find it", 4), Finding("d", "full", "error", "make room", 5)
    assert exit_code([fine, odd]) == 0
    assert exit_code([fine, full, lost]) == 5
    text = findings_text([fine, odd, lost])
    assert "-> find it" in text
    assert text.endswith("1 error, 1 warning")
    assert findings_text([fine]).endswith("all well")


def clusters(tmp_path: Path, address: str | None, **environ: str) -> list[Finding]:
    return list(cluster_findings(address, environ, tmp_path))


def test_a_cluster_that_answers_and_one_that_does_not(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = about("cluster", clusters(tmp_path, None, RAY_ADDRESS=f"127.0.0.1:{port}"))
        assert found.level == "ok"
        assert "RAY_ADDRESS" in found.text
    found = about("cluster", clusters(tmp_path, f"ray://127.0.0.1:{port}"))
    assert (found.level, found.exit_code) == ("error", 4)
    assert "cluster.address" in found.text
    assert "private" in about("cluster", clusters(tmp_path, None)).text
    assert about("cluster", clusters(tmp_path, None, RAY_ADDRESS="here")).exit_code == 4
    assert about("cluster", clusters(tmp_path, "127.0.0.1:99999")).exit_code == 4


def test_a_token_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    assert "none yet" in about("token", clusters(tmp_path, None)).text
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)
    found = about("token", clusters(tmp_path, None))
    assert found.level == "warning"
    assert found.remedy == f"chmod 600 {token}"
    assert "secret" not in found.text
    token.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert about("token", clusters(tmp_path, None)).level == "ok"
    assert about("token", clusters(tmp_path, None, RAY_AUTH_MODE="disabled")).level == "warning"


def test_a_folder_too_long_for_sockets(tmp_path: Path) -> None:
    found = about("ray folder", clusters(tmp_path, None, RAY_TMPDIR="/tmp/" + "deep/" * 20))
    assert (found.level, found.exit_code) == ("error", 4)
    assert "RAY_TMPDIR" in found.remedy


def test_a_long_tmpdir_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private cluster takes a folder of its own, and that is the one that is named."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    found = about("ray folder", clusters(tmp_path, None))
    assert (found.level, found.exit_code) == ("ok", 0)
    assert found.text.startswith(f"{private_folder()}, ")


def test_more_slots_than_cores_are_warned_of() -> None:
    found = list(machine_findings(10_000, {"OMP_NUM_THREADS": "7"}))
    assert about("cores", found).level == "warning"
    assert "num_cpus" in about("cores", found).remedy
    assert "OMP_NUM_THREADS=7" in about("threads", found).text


def test_a_folder_for_runs(tmp_path: Path) -> None:
    found = list(storage_findings(tmp_path / "not" / "there" / "yet"))
    assert {finding.topic for finding in found} >= {"store", "disk"}
    assert not [finding for finding in found if finding.level == "error"]
    assert not list(tmp_path.iterdir()), "nothing is left behind"
    refused = list(storage_findings(Path("/proc/self")))
    assert [(f.topic, f.level, f.exit_code) for f in refused] == [("store", "error", 5)]


def test_a_program_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "solver"
    there.write_text("#!/bin/sh\n")
    there.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = [f for f in software_findings(["solver", "no-such-simulator"]) if f.topic == "program"]
    assert [(f.level, f.exit_code) for f in found] == [("ok", 0), ("error", 2)]


def test_one_look_that_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> object:
        raise RuntimeError("odd machine")

    monkeypatch.setattr(examining, "machine_findings", fail)
    found = examine()
    assert about("doctor", found).level == "warning"
    assert "odd machine" in about("doctor", found).text
    assert about("store", found)
