"""The local page over HTTP: who gets in, what is shown, what arrives while a run goes on, and what strangers can do."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from strangers import Stranger, _put, distfd, sound_run, tree, within

from distfd import differentiate
from distfd.cli import ui_command
from distfd.core.records import Batch, Failure, Status
from distfd.errors import InputError
from distfd.executors.serial import SerialExecutor
from distfd.observers.json_log import JsonLog
from distfd.reporting.write import write_report
from distfd.run_directory.directory import RunDirectory
from distfd.stores.sqlite import SQLiteStore
from distfd.ui import live
from distfd.ui import server as server_module
from distfd.ui.server import PageServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    sound_run(tmp_path / "runs" / "wing")
    sound_run(tmp_path / "runs" / "study" / "b c")
    return tmp_path / "runs"


@pytest.fixture
def server(runs: Path) -> Iterator[PageServer]:
    with PageServer(runs) as server:
        yield server


def get(server: PageServer, path: str, **headers: str) -> tuple[int, str, Message]:
    """Status, text and headers below the address with the token; a path with / in front leaves the token out."""
    address = f"http://127.0.0.1:{server.port}{path}" if path.startswith("/") else server.address + path
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


def raw(server: PageServer, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


class Stream:
    """Server-sent events as they arrive."""

    def __init__(self, server: PageServer, path: str) -> None:
        self._answer = urllib.request.urlopen(server.address + path, timeout=60)
        assert self._answer.headers["Content-Type"].startswith("text/event-stream")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()

    def next(self, *kinds: str) -> tuple[str, dict[str, Any]]:
        """The next event of one of these kinds."""
        kind = ""
        for line in self._answer:
            text = line.decode().rstrip("\n")
            if text.startswith("event: "):
                kind = text[7:]
            elif text.startswith("data: ") and kind in kinds:
                return kind, json.loads(text[6:])
        raise AssertionError(f"the stream ended without {kinds}")


# --- how many get in


def test_a_connection_too_many_is_closed_and_the_next_one_is_served_once_there_is_room(server: PageServer) -> None:
    with contextlib.ExitStack() as stack:
        held = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            for _ in range(server_module._CONNECTIONS)
        ]
        # They are taken in the order in which they came, so the next one is one too many.
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as another, contextlib.suppress(OSError):
            assert another.recv(100) == b""
        for connection in held:
            connection.close()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if get(server, "")[0] == 200:
                    return
            time.sleep(0.05)
    raise AssertionError("nobody is served any more")


def test_a_live_page_too_many_is_told_so(server: PageServer) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(server_module._STREAMS):
            stack.enter_context(Stream(server, "events")).next("runs")
        status, text, _ = get(server, "events")
    assert status == 503, text


# --- who gets in


@pytest.mark.parametrize("path", ["/", "/events", "/ui.js", "/runs/wing/", "/x/", "/x/runs/wing/", "//", "/%2e%2e/"])
def test_without_the_token_nothing_is_told(server: PageServer, path: str) -> None:
    code, text, _ = get(server, path)
    assert code == 403
    assert "wing" not in text
    token = server.address.rstrip("/").rpartition("/")[2]
    assert len(token) >= 20
    assert get(server, f"/{token[:-1]}/")[0] == 403
    assert get(server, f"/{token}x/")[0] == 403


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.2", "0.0.0.0", "[::1]", "", "localhost."],
)
def test_another_host_is_refused(server: PageServer, host: str) -> None:
    for path in ("", "events", "runs/wing/"):
        code, text, _ = get(server, path, Host=host)
        assert (code, "wing" in text) == (403, False)


def test_two_hosts_or_none_are_refused(server: PageServer) -> None:
    path = "/" + server.address.split("/", 3)[3]
    for hosts in (b"", b"Host: 127.0.0.1\r\nHost: evil.example\r\n"):
        assert b" 403 " in raw(server, b"GET " + path.encode() + b" HTTP/1.1\r\n" + hosts + b"\r\n").split(b"\r\n")[0]


def test_names_of_this_machine_are_let_in_with_any_port(server: PageServer) -> None:
    for host in ("localhost", "localhost:9000", "127.0.0.1:9000", f"127.0.0.1:{server.port}"):
        assert get(server, "", Host=host)[0] == 200


def test_it_listens_on_this_machine_alone(server: PageServer) -> None:
    assert server._server.socket.getsockname()[0] == "127.0.0.1"


def test_tokens_differ(runs: Path, server: PageServer) -> None:
    with PageServer(runs) as other:
        assert other.address.rpartition(":")[2].partition("/")[2] != server.address.rpartition(":")[2].partition("/")[2]


@pytest.mark.parametrize("path", ["", "ui.js", "runs/wing/", "runs/wing/result.json", "nowhere", "compare", "/none/"])
def test_every_answer_has_the_policy(server: PageServer, path: str) -> None:
    _, _, headers = get(server, path)
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    own = dict.fromkeys(("script-src", "style-src", "connect-src", "form-action"), "'self'")
    assert policy == {**own, **dict.fromkeys(("default-src", "frame-ancestors", "base-uri"), "'none'")}
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "Python" not in headers["Server"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "HEAD"])
def test_nothing_but_get_is_answered(server: PageServer, method: str) -> None:
    request = urllib.request.Request(server.address, method=method)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    with refused.value as error:
        assert error.code == 501
        assert "Content-Security-Policy" in error.headers


def test_words_that_are_no_request_are_refused(server: PageServer) -> None:
    for words in (
        b"\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
        bytes(range(256)) + b"\r\n\r\n",
    ):
        assert b"wing" not in raw(server, words)
    assert b" 414 " in raw(server, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n").split(b"\r\n")[0]
    assert get(server, "")[0] == 200


# --- what is shown


def test_the_list_has_a_row_for_each_run(server: PageServer) -> None:
    code, text, _ = get(server, "")
    assert code == 200
    rows = re.findall(r'<tr data-run="([^"]*)">(.*?)</tr>', text, re.DOTALL)
    assert [name for name, _ in rows] == ["study/b c", "wing"]
    for words in ("gradient", "partial", "2.69", "4 (1 failed)", "75 %"):
        assert words in rows[1][1]
    assert 'href="runs/study%2Fb%20c/"' in rows[0][1]
    assert "<script src=" in text
    assert "<script>" not in text
    assert " style=" not in text


def test_a_run_has_the_sections_of_its_report(server: PageServer, runs: Path) -> None:
    code, text, _ = get(server, "runs/study%2Fb%20c/")
    assert code == 200
    for title in (
        "Failures",
        "Result",
        "The gradient at a glance",
        "Convergence",
        "Noise and steps",
        "Worker timeline",
    ):
        assert f">{title}</h2>" in text
    assert "Efficiency" in text
    assert "Configuration and versions" in text
    assert 'href="result.json"' in text
    assert 'href="evaluations.sqlite"' not in text
    assert 'href="work' not in text
    for name in ("result.json", "config.yaml", "log.jsonl", "check.json"):
        code, content, headers = get(server, f"runs/wing/{name}")
        assert (code, content) == (200, (runs / "wing" / name).read_text())
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert get(server, "runs/wing/evaluations.sqlite")[0] == 404


def test_every_link_of_a_page_leads_somewhere(server: PageServer) -> None:
    for page in ("", "runs/wing/", "compare?run=wing&run=study%252Fb%2520c"):
        code, text, _ = get(server, page)
        assert code == 200
        base = server.address + page
        for target in {*re.findall(r'(?:href|src)="([^"#][^"]*)"', text)}:
            assert urllib.parse.urljoin(base, target).startswith(server.address), target
            with urllib.request.urlopen(urllib.parse.urljoin(base, target), timeout=60) as answer:
                assert answer.status == 200


def test_a_single_run_is_shown_at_once(runs: Path) -> None:
    with PageServer(runs / "wing") as server:
        code, text, _ = get(server, "")
        assert code == 200
        assert ">Result</h2>" in text
        assert get(server, "runs/other/")[0] == 404


def test_no_text_of_a_run_turns_the_direction_of_reading(server: PageServer, runs: Path) -> None:
    turned = "abc\u202edef"
    run = runs / turned
    sound_run(run)
    (run / "config.yaml").write_text(f'tags: ["{turned}"]\ntask: gradient\n', encoding="utf-8")
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "names": [turned, "b", "c"]}))
    address = f"runs/{urllib.parse.quote(turned)}/"
    both = f"run={urllib.parse.quote(urllib.parse.quote(turned))}&run=wing"
    for path in ("", address, address + "charts.json", address + "attempt.json?row=1", "compare?" + both):
        code, text, _ = get(server, path)
        assert code == 200
        assert "abc\ufffddef" in text
        assert "\u202e" not in text
        assert "\\u202e" not in text
    for path in ("events", address + "events"):
        with Stream(server, path) as stream:
            told = json.dumps(stream.next("runs", "page")[1], ensure_ascii=False)
            assert "abc\ufffddef" in told
            assert "\u202e" not in told


def test_a_run_or_a_folder_that_is_gone_is_told_with_a_way_back(server: PageServer, runs: Path) -> None:
    code, text, _ = get(server, "runs/nowhere/")
    assert (code, "This run is not there" in text) == (404, True)
    shutil.rmtree(runs)
    server._listed = None
    for path in ("runs/wing/", "compare?run=wing&run=nowhere", ""):
        code, text, _ = get(server, path)
        assert (code, "cannot be listed" in text) == (500, True)
        for target in re.findall(r'(?:href|src)="([^"#]+)"', text):
            where = urllib.parse.urljoin(server.address + path, target)
            assert where == server.address or where.rpartition("/")[0] + "/" == server.address, "style and way back"


def test_a_page_says_that_it_follows_a_run_and_a_report_that_it_does_not(server: PageServer, runs: Path) -> None:
    (runs / "wing" / "result.json").unlink()
    store = SQLiteStore(runs / "wing" / "evaluations.sqlite", fingerprint="f" * 64, names=("a", "b", "c"))
    try:
        assert "This page follows the run." in get(server, "runs/wing/")[1]
        report = write_report(RunDirectory(runs / "wing")).read_text()
        assert "as it was when the page was made" in report
    finally:
        store.close()


def test_runs_side_by_side(server: PageServer, runs: Path) -> None:
    path = runs / "wing" / "config.yaml"
    path.write_text(path.read_text().replace("scheme: forward", "scheme: central"))
    code, text, _ = get(server, "compare?run=wing&run=study%252Fb%2520c")
    assert code == 200
    assert "in bars" in text
    assert "derivative.<wbr>scheme" in text
    for query in (
        "",
        "run=wing",
        "run=wing&run=nowhere",
        "run=wing&run=wing",
        "run=..&run=wing",
        "run=%252e%252e&run=wing",
    ):
        assert get(server, f"compare?{query}")[0] == 400


def test_the_list_says_that_a_value_may_be_a_cost(server: PageServer) -> None:
    assert ">J or cost before<" in get(server, "")[1]


def test_charts_have_the_numbers_of_the_report(server: PageServer) -> None:
    code, text, headers = get(server, "runs/wing/charts.json")
    assert (code, headers["Content-Type"]) == (200, "application/json")
    found = json.loads(text)
    assert found["convergence"] == {
        "name": "J",
        "iteration": [1],
        "value": [2.0],
        "gradient_norm": [1.0],
        "above": None,
    }
    names, errors = ["a", "b", "c"], [0.1, None, None]
    assert found["gradient"] == {"names": names, "derivative": [1.0, -2.5, None], "error": errors}
    timeline = found["timeline"]
    assert (timeline["slots"], timeline["slot"], timeline["row"]) == ([0], [0] * 4, [0, 1, 2, 3])
    assert [timeline["kinds"][kind] for kind in timeline["kind"]] == ["value", "value", "value", "failed"]
    assert all(end >= begin >= 0 for begin, end in zip(timeline["begin"], timeline["end"], strict=True))


def test_of_many_components_and_attempts_some_are_drawn(
    server: PageServer, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = json.loads((runs / "wing" / "result.json").read_text())
    many = {name: [float(k) for k in range(41)] for name in ("x", "derivative", "error", "step")}
    more = {"names": [f"p{k}" for k in range(41)], "missing": [], "repaired": {}}
    (runs / "wing" / "result.json").write_text(json.dumps({**found, **many, **more}))
    monkeypatch.setattr("distfd.reporting.timeline._ATTEMPTS", 3)
    drawn = json.loads(get(server, "runs/wing/charts.json")[1])
    assert drawn["gradient"]["names"] == [f"p{k}" for k in range(21, 41)]
    line = drawn["timeline"]
    assert (line["binned"], set(line["row"])) == (True, {-1, 3}), "stretches, and the failed attempt"


def test_an_attempt_is_told_of_by_its_row(server: PageServer) -> None:
    code, text, _ = get(server, "runs/wing/attempt.json?row=3")
    assert code == 200
    found = json.loads(text)
    assert found["status"] == "error"
    assert found["cause"] == "ValueError: no"
    assert (found["value"], found["host"], found["pid"], found["slot"], found["attempt"]) == (None, "host", 7, 0, 1)
    assert (found["started"], found["seconds"]) == ("2027-01-15T08:00:00.000+00:00", 2.0)
    for row in ("", "4", "-1", "1e0", "x", "9" * 40, "\u0663", "0&row=1x"):
        code = get(server, f"runs/wing/attempt.json?row={urllib.parse.quote(row, safe='&=')}")[0]
        assert code == (200 if row.startswith("0") else 404)
    assert get(server, "runs/nowhere/attempt.json?row=0")[0] == 404


def program_run(path: Path) -> Path:
    """A run of which each point is known, with one that failed, and directories of programs."""
    run = RunDirectory(path)
    run.make()
    x = np.array([1.0, -2.0])

    def f(x: Any) -> float:
        if x[1] > -2.0:
            raise ValueError("no")
        return float(x @ x)

    differentiate(
        f,
        x,
        store=str(run.store),
        executor="serial",
        scheme="central",
        step=0.5,
        names=["a", "b"],
        on_failure="nan",
        check=False,
    )
    run.write_result({"task": "gradient", "names": ["a", "b"], "status": "partial"})
    run.write_config("task: gradient\n")
    run.log.write_text(
        json.dumps({"time": "2027-01-15T08:00:00+00:00", "event": "run_started", "config": "/home/it's mine/job.yaml"})
    )
    return path


def test_an_attempt_has_its_point_its_directory_and_what_repeats_it(tmp_path: Path) -> None:
    run = program_run(tmp_path / "runs" / "a b")
    points = [[1.0, -2.0], [0.5, -2.0], [1.5, -2.0], [1.0, -3.0], [1.0, -1.0]]
    work = run / "work" / "evaluation-host-1"
    work.mkdir(parents=True)
    for name, text in (
        ("parameters.json", {"a": 1.5, "b": -2.0}),
        ("distfd-outcome.json", {"status": "ok", "ended": 1}),
    ):
        (work / name).write_text(json.dumps(text))
    with PageServer(tmp_path / "runs") as server:
        found = [json.loads(get(server, f"runs/a%20b/attempt.json?row={k}")[1]) for k in range(5)]
        assert sorted(one["x"] for one in found) == sorted(points)
        assert all(one["names"] == ["a", "b"] for one in found)
        (failed,) = [one for one in found if one["status"] != "ok"]
        assert (failed["x"], failed["moved"], failed["cause"]) == ([1.0, -1.0], "b = -1.0", "ValueError: no")
        again = f"distfd run '{run}/config.yaml' --evaluate=1.0,-1.0"
        assert failed["command"] == f"cd '/home/it'\"'\"'s mine' && {again}"
        assert shlex.split(failed["command"])[:3] == ["cd", "/home/it's mine", "&&"]
        (kept,) = [one for one in found if one["directory"]]
        assert (kept["x"], kept["directory"]) == ([1.5, -2.0], str(work))
        assert "--evaluate=1.5,-2.0" in kept["command"], "there is no script in its directory"
        (work / "rerun.sh").write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
        row = found.index(kept)
        assert json.loads(get(server, f"runs/a%20b/attempt.json?row={row}")[1])["command"] == f"sh '{work}/rerun.sh'"
        assert get(server, "runs/a%20b/")[0] == 200
    assert not (tmp_path / "ran").exists(), "the command is shown and not run"


@pytest.mark.parametrize(
    "told",
    ["/elsewhere/evaluation-host-2", "/", "..", "/a/..", "/a/../..", "\0", "/a/" + "x" * 300, "/net/host/x" * 1000],
)
def test_a_directory_elsewhere_is_told_and_not_looked_at(tmp_path: Path, told: str) -> None:
    run = sound_run(tmp_path / "runs" / "a")
    message = f"solver: return code 7; work directory {told} (sh rerun.sh there runs it again)"
    with contextlib.closing(
        SQLiteStore(run / "evaluations.sqlite", fingerprint="f" * 64, names=("a", "b", "c"))
    ) as store:
        failed = replace(
            batch(0),
            status=np.array([Status.ERROR], np.uint8),
            size=np.array([0]),
            flat=np.zeros(0),
            failures={0: Failure(Status.ERROR, message, "")},
        )
        store.put(np.array([[9, 9]], np.uint64), failed)
    here = run / "work" / "evaluation-host-2"
    with PageServer(tmp_path / "runs") as server:
        found = json.loads(get(server, "runs/a/attempt.json?row=4")[1])
        assert (found["directory"], found["command"]) == (told, None)
        assert found["cause"] == "solver: return code 7"
        here.mkdir(parents=True)
        for name in ("distfd-outcome.json", "rerun.sh"):
            (here / name).write_text("{}")
        found = json.loads(get(server, "runs/a/attempt.json?row=4")[1])
        moved = told.endswith("/evaluation-host-2")
        assert (found["directory"], found["command"]) == ((str(here), f"sh {here}/rerun.sh") if moved else (told, None))


def test_a_point_that_is_not_stored_is_none(server: PageServer) -> None:
    found = json.loads(get(server, "runs/wing/attempt.json?row=0")[1])
    assert (found["x"], found["names"], found["directory"], found["command"]) == (None, None, None, None)


def test_a_part_of_a_long_timeline_has_each_attempt(
    server: PageServer, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(runs / "wing" / "evaluations.sqlite", fingerprint="f" * 64, names=("a", "b", "c"))
    for k in range(40):
        one = batch(k)
        store.put(
            np.array([[k, 2]], np.uint64),
            replace(one, slot=k % 4, started=np.array([1.8e9 + k / 10]), ended=np.array([1.8e9 + k / 10 + 0.1])),
        )
    store.close()
    monkeypatch.setattr("distfd.reporting.timeline._ATTEMPTS", 20)
    whole = json.loads(get(server, "runs/wing/charts.json")[1])["timeline"]
    assert (whole["binned"], whole["slots"]) == (True, [0, 1, 2, 3])
    asked = f"from={whole['seconds'] / 2}&to={whole['seconds']}&first=0&past=4"
    part = json.loads(get(server, f"runs/wing/timeline.json?{asked}")[1])
    assert (part["binned"], part["seconds"], part["slots"]) == (False, whole["seconds"], [0, 1, 2, 3])
    assert 4 <= len(part["row"]) <= 20
    assert min(part["row"]) > 0, "each is an attempt"
    assert all(end >= whole["seconds"] / 2 - 1e-5 for end in part["end"])
    one = json.loads(get(server, f"runs/wing/timeline.json?from=0&to={whole['seconds']}&first=2&past=3")[1])
    assert (one["binned"], set(one["slot"]), len(one["row"])) == (False, {2}, 10)
    for bad in (
        "",
        "from=1&to=0&first=0&past=1",
        "from=0&to=inf&first=0&past=1",
        "from=nan&to=1&first=0&past=1",
        "from=0&to=1&first=-1&past=1",
        "from=0&to=1&first=1&past=1",
        "from=0&to=1&first=0&past=1e3",
    ):
        assert get(server, f"runs/wing/timeline.json?{bad}")[0] == 400
    beyond = json.loads(get(server, "runs/wing/timeline.json?from=1e300&to=1e301&first=900&past=1000")[1])
    assert beyond["row"] == []


def test_the_library_of_charts_is_the_one_that_was_chosen_and_has_its_licence(server: PageServer) -> None:
    vendor = ROOT / "distfd" / "reporting" / "vendor"
    library = (vendor / "echarts-5.6.0.min.js").read_bytes()
    assert hashlib.sha256(library).hexdigest() == "bf4a223524e40b77c304bec67e1222cf551f14880cf42c69dc046558e11c07b1"
    assert get(server, "echarts.js")[1].encode() == library
    assert "Apache License" in (vendor / "echarts-LICENSE").read_text(encoding="utf-8")
    assert "Apache ECharts" in (vendor / "echarts-NOTICE").read_text(encoding="utf-8")
    assert sorted(path.name for path in vendor.iterdir()) == [
        "echarts-5.6.0.min.js",
        "echarts-LICENSE",
        "echarts-NOTICE",
    ]


def test_convergence_of_several_runs_is_in_one_chart(server: PageServer, runs: Path) -> None:
    query = "run=wing&run=study%252Fb%2520c"
    code, text, _ = get(server, f"compare?{query}")
    assert code == 200
    assert 'id="overlay-chart"' in text
    assert 'data-charts="compare.json?run=wing&amp;run=study%252Fb%2520c"' in text
    found = json.loads(get(server, f"compare.json?{query}")[1])
    one = {"name": "J", "iteration": [1], "value": [2.0], "gradient_norm": [1.0], "above": None}
    assert found == {"runs": [{"name": "wing", "convergence": one}, {"name": "study/b c", "convergence": one}]}
    for path in (runs / "wing", runs / "study" / "b c"):
        (path / "log.jsonl").unlink()
    assert 'id="overlay-chart"' not in get(server, f"compare?{query}")[1]
    assert json.loads(get(server, f"compare.json?{query}")[1])["runs"][0]["convergence"] is None
    assert get(server, "compare.json?run=wing&run=..")[0] == 400


# --- live


def batch(k: int) -> Batch:
    one = np.array([1])
    now = time.time()
    ended = np.array([now])
    return Batch(
        index=np.array([k]),
        status=np.array([Status.OK], dtype=np.uint8),
        size=one,
        flat=np.ones(1),
        started=ended - 1,
        ended=ended,
        attempt=one.astype(np.int32),
        host="here",
        pid=1,
        slot=0,
    )


def test_events_arrive_while_a_run_goes_on(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.make()
    store = SQLiteStore(directory.store, fingerprint="f", names=("a", "b"))
    try:
        with JsonLog(directory.log) as log, PageServer(directory.path) as server:
            log.write("run_started", task="gradient")
            log.write("wave_started", task="gradient", n_points=3, n_reused=0, slots=1)
            with Stream(server, "runs/run/events") as stream, within(240.0):
                _, status = stream.next("status")
                assert (status["state"], status["wave"]["total"], status["wave"]["finished"]) == ("running", 3, 0)
                assert "0 of 3" in status["text"]
                _, page = stream.next("page")
                assert {"headline", "contents", "setup"} <= set(page["order"])
                assert ">running</span>" in page["parts"]["headline"]
                for k in range(3):
                    store.put(np.array([[k, k]], dtype=np.uint64), batch(k))
                    while status["wave"]["finished"] < k + 1:
                        _, status = stream.next("status")
                log.write("wave_ended", task="gradient", n_evaluations=3, n_failed=0, wall_seconds=1, ideal_seconds=1)
                directory.write_result(
                    {
                        "task": "gradient",
                        "status": "done",
                        "names": ["a", "b"],
                        "x": [1.0, 2.0],
                        "value": 7.0,
                        "derivative": [1.0, 2.0],
                        "error": [None, None],
                        "step": [1e-8, 1e-8],
                        "missing": [],
                        "n_evaluations": 3,
                        "n_reused": 0,
                        "n_failed": 0,
                    }
                )
                store.close()
                while ">done</span>" not in page["parts"].get("headline", ""):
                    _, page = stream.next("page")
                assert "result" in page["order"]
                server.stopping.set()
                assert stream.next("end") == ("end", {})
    finally:
        store.close()


def test_the_list_is_live_too(server: PageServer, runs: Path) -> None:
    with Stream(server, "events") as stream, within(240.0):
        _, news = stream.next("runs")
        assert news["html"].count("<tr ") == 2
        sound_run(runs / "new")
        while news["html"].count("<tr ") < 3:
            _, news = stream.next("runs")
        assert 'data-run="new"' in news["html"]


def test_only_parts_that_changed_are_sent_again(runs: Path) -> None:
    stop = threading.Event()
    events = live.run_events(runs / "wing", stop, look=0.0, clock=iter(range(10**6)).__next__)

    def page() -> dict[str, Any]:
        for each in events:
            kind, _, data = each.decode().partition("\ndata: ")
            if kind == "event: page":
                found: dict[str, Any] = json.loads(data)
                return found
        raise AssertionError("no page")

    first = page()
    assert list(first["parts"]) == first["order"]
    result = json.loads((runs / "wing" / "result.json").read_text())
    (runs / "wing" / "result.json").write_text(json.dumps({**result, "warnings": ["look here"]}))
    second = page()
    assert second["order"] == first["order"]
    assert list(second["parts"]) == ["result"]
    assert "look here" in second["parts"]["result"]
    stop.set()
    assert b"event: end" in list(events)[-1]


def test_a_stream_says_that_it_is_there_while_nothing_happens(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_REST", 0)  # else the list waits as long as the clock below says that a look takes
    times = iter(range(0, 10**6, 20))
    stop = threading.Event()
    events = live.run_events(runs / "wing", stop, look=0.0, clock=lambda: float(next(times)))
    assert next(each for each in events if each.startswith(b":")) == b": nothing new\n\n"
    times = iter(range(0, 10**6, 20))
    with PageServer(runs) as server:
        list_ = live.list_events(server.runs, stop, look=0.0, clock=lambda: float(next(times)))
        assert b"event: runs" in next(list_)
        assert next(list_) == b": nothing new\n\n"
        stop.set()
        assert list(list_)[-1].startswith(b"event: end")


def test_too_many_pages_are_refused_and_let_go_of(server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "streams", threading.BoundedSemaphore(1))
    with Stream(server, "events") as stream:
        stream.next("runs")
        assert get(server, "events")[0] == 503
        assert get(server, "")[0] == 200


# --- strangers


@pytest.mark.parametrize(
    "path",
    [
        "runs/../",
        "runs/%2e%2e/",
        "runs/%2e%2e%2f%2e%2e%2fhome/",
        "runs/wing/../../thesis.tex",
        "runs/wing/%2e%2e%2fthesis.tex",
        "runs/wing/..%2f..%2fhome%2fthesis.tex",
        "runs/wing%2f..%2f..%2fhome/",
        "runs/wing/work/evaluation-host-abcdefgh/distfd-outcome.json",
        "runs//etc/passwd",
        "runs/%2fetc/passwd",
        "runs/wing/%00",
        "runs/wing%00/result.json",
        "runs/wing/result.json%00",
        "runs/wing/result.json/",
        "runs/wing/RESULT.JSON",
        "runs/.hidden/result.json",
        "runs/link/result.json",
        "../runs/wing/",
        "ui.py",
        "%2e%2e/ui.js",
        "runs/wing",
        "ui/ui.js",
    ],
)
def test_no_address_leads_out(runs: Path, server: PageServer, path: str) -> None:
    home = runs.parent / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("the only copy")
    (home / "result.json").write_text('{"secret": "the only copy"}')
    (runs / "link").symlink_to(home)
    sound_run(runs / ".hidden")
    target = "/" + server.address.split("/", 3)[3] + path
    answer = raw(server, f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert answer.split(b"\r\n")[0].split()[1] in (b"404", b"403")
    assert b"the only copy" not in answer


@pytest.mark.parametrize("what", ["link", "pipe", "device", "folder"])
@pytest.mark.parametrize("name", ["result.json", "log.jsonl", "config.yaml", "output.log"])
def test_files_that_are_not_plain_are_not_served(runs: Path, server: PageServer, name: str, what: str) -> None:
    path = runs / "wing" / name
    path.unlink(missing_ok=True)
    (runs.parent / "thesis.tex").write_text("the only copy")
    match what:
        case "link":
            path.symlink_to(runs.parent / "thesis.tex")
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case _:
            path.mkdir()
    with within(120.0):
        assert get(server, f"runs/wing/{name}")[0] == 404
        code, text, _ = get(server, "runs/wing/")
        assert (code, "the only copy" in text) == (200, False)
        assert get(server, "")[0] == 200


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


def test_what_a_stranger_writes_is_text_on_every_page(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run = sound_run(runs / "x<img src=x onerror=1>")
    sound_run(runs / "good")
    found = json.loads((run / "result.json").read_text())
    odd: dict[str, Any] = {
        "message": HOSTILE,
        "task": HOSTILE,
        "status": HOSTILE,
        "scheme": HOSTILE,
        "warnings": [HOSTILE],
    }
    odd |= {"names": [HOSTILE, "b", "c"], "missing": [HOSTILE], "repaired": {"b": HOSTILE}}
    (run / "result.json").write_text(json.dumps({**found, **odd}))
    (run / "config.yaml").write_text(f"tags: [{json.dumps(HOSTILE)}]\nx0: [1]\nnote: {json.dumps(HOSTILE)}\n")
    with PageServer(runs) as server:
        name = "x%3Cimg%20src%3Dx%20onerror%3D1%3E"
        for path in ("", f"runs/{name}/", f"compare?run=good&run={name.replace('%', '%25')}"):
            code, text, _ = get(server, path)
            assert code == 200
            assert "<img" not in text
            assert text.count("<script") == len(
                re.findall(r'<script src="[./]*(?:ui|charts|echarts)[.]js" defer>', text)
            )
        for path in ("events", f"runs/{name}/events"):
            with Stream(server, path) as stream:
                _, news = stream.next("page", "runs")
                assert "<img" not in json.dumps(news)
                assert "<script" not in json.dumps(news)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    sound_run(tmp_path / "runs" / "a\nb\x1b[2J \u202e")
    sound_run(tmp_path / "runs" / os.fsdecode(b"\xff\xfe"))
    with PageServer(tmp_path / "runs") as server:
        code, text, _ = get(server, "")
        assert code == 200
        links = re.findall(r'<a href="(runs/[^"]+)"', text)
        assert sorted(links) == ["runs/%FF%FE/", "runs/a%0Ab%1B%5B2J%20%E2%80%AE/"]
        for link in links:
            code, text, _ = get(server, link)
            assert (code, ">Result</h2>" in text) == (200, True)
        values = re.findall(r'name="run" value="([^"]+)"', get(server, "")[1])
        boxes = "&".join(f"run={value.replace('%', '%25')}" for value in values)
        assert get(server, f"compare?{boxes}")[0] == 200


def test_odd_runs_do_no_harm(tmp_path: Path) -> None:
    """Anything under the names of a run's files: nothing is changed, nothing hangs, and the others are still shown."""
    import random

    stranger = Stranger(tmp_path, sound_run(tmp_path / "sound"), seed=20261128)
    runs = tmp_path / "runs"
    sound_run(runs / "good")
    rng = random.Random(20261128)
    names = (
        "result.json",
        "log.jsonl",
        "config.yaml",
        "check.json",
        "evaluations.sqlite",
        "work",
        "evaluations.sqlite-wal",
    )
    for k in range(12):
        run = sound_run(runs / f"odd-{k}")
        for name in rng.sample(names, 2):
            _put(rng, run / name, stranger.canary)
    before = _without_sqlites_own(tree(runs))
    with PageServer(runs) as server, within(400.0):
        code, text, _ = get(server, "")
        assert code == 200
        assert 'data-run="good"' in text
        for k in range(12):
            code, text, _ = get(server, f"runs/odd-{k}/")
            assert code in (200, 404)
            assert "bug in distfd" not in text
            assert "the only copy" not in text
            for part in ("charts.json", "attempt.json?row=0", "timeline.json?from=0&to=9&first=0&past=2"):
                assert get(server, f"runs/odd-{k}/{part}")[0] in (200, 404, 500)
        assert get(server, "runs/good/")[0] == 200
    assert tree(stranger.canary) == stranger.before
    assert _without_sqlites_own(tree(runs)) == before


def _without_sqlites_own(found: dict[str, bytes | str]) -> dict[str, bytes | str]:
    """What a killed writer left half done is taken back by SQLite for whoever reads next, as for `distfd status`."""
    return {name: content for name, content in found.items() if "evaluations.sqlite-" not in name}


def test_looking_changes_nothing(runs: Path) -> None:
    before = tree(runs)
    with PageServer(runs) as server:
        for path in ("", "runs/wing/", "runs/wing/result.json", "compare?run=wing&run=study%252Fb%2520c"):
            assert get(server, path)[0] == 200
        for path in ("events", "runs/wing/events"):
            with Stream(server, path) as stream:
                stream.next("runs", "page")
    assert tree(runs) == before


# --- the commands


def test_a_port_that_is_taken(runs: Path, server: PageServer) -> None:
    for port in (server.port, 70_000, -1):
        with pytest.raises(InputError, match="--port"):
            PageServer(runs, port=port)


def test_the_command_prints_the_address_and_ends_with_ctrl_c(runs: Path) -> None:
    command = [sys.executable, "-m", "distfd", "ui", str(runs), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", address)
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert "wing" in answer.read().decode()
            process.send_signal(signal.SIGINT)
            assert process.wait(120) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def test_a_browser_is_opened_where_there_is_a_window_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    for name in ui_command._DISPLAYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("threading.Thread.start", lambda thread: thread.run())
    ui_command._open("http://a/")
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    ui_command._open("http://b/")
    assert opened == ["http://b/"]


MODEL = """
import urllib.request
opened, seen = [], []
def f(x):
    if opened and not seen:
        with urllib.request.urlopen(opened[0], timeout=60) as answer:
            seen.append(answer.read().decode())
    return float(x @ x)
"""


def test_a_run_shows_its_page_while_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distfd.jobs.run.make_executor", lambda *_, **__: SerialExecutor())
    (tmp_path / "page_model.py").write_text(MODEL)
    (tmp_path / "job.yaml").write_text(
        "objective: {python: 'page_model:f', version: '1'}\nx0: [1, 2]\noutput: run\ntags: [mine]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    model = importlib.import_module("page_model")
    monkeypatch.setattr(ui_command, "_open", model.opened.append)
    try:
        code, said = distfd("run", "job.yaml", "--ui")
        assert code == 0, said
        (address,) = model.opened
        assert f"page: {address}" in said
        assert ">running</span>" in model.seen[0]
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(address, timeout=60)
        model.opened.clear()
        code, said = distfd("run", "job.yaml", "--fresh", "--ui", "--no-open")
        assert (code, "page: http://127.0.0.1:" in said, model.opened) == (0, True, [])
    finally:
        sys.modules.pop("page_model", None)


def test_a_page_that_cannot_be_had_keeps_no_run_from_going_on(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise InputError("--port: none")

    monkeypatch.setattr("distfd.ui.server.PageServer", none)
    told: list[str] = []
    with ui_command.page_beside(runs / "wing", told.append, browser=True):
        assert told == ["no page: --port: none"]


def test_a_folder_that_is_none() -> None:
    assert distfd("ui", "nowhere", "--no-open")[0] == 2
