"""The page of a run: whole, without a request, and true to the directory, whatever that holds."""

from __future__ import annotations

import json
import os
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import FOUR, GRADIENT, Attempt, Made, session
from reading import Element, drawn, read

import distfd
from distfd.core.records import Status
from distfd.reporting.chart_data import inlined
from distfd.reporting.formatting import duration, page_json, percent
from distfd.reporting.page import asset, render
from distfd.reporting.run_data import read_run
from distfd.reporting.write import is_current, refresh_report, write_report
from distfd.run_directory.directory import RunDirectory
from distfd.run_directory.listing import run_row
from distfd.run_directory.status import run_status

FOREIGN = """<script>alert('1')</script>"><img src=x onerror=alert(2)>{title}%s&lt;</style></title>"""
LOG = session(0.0, 6.0, (1.5, 5.5))


def page(made: Made, path: Path) -> Element:
    return read(render(read_run(made.write(path).path)))


def test_the_start_of_workers_is_apart_from_the_efficiency(tmp_path: Path) -> None:
    found = {**GRADIENT, "wall_seconds": 10.0, "start_seconds": 7.5, "ideal_seconds": 2.0, "efficiency": 0.2}
    root = page(Made(FOUR, LOG, found), tmp_path / "run")
    facts = {d.children[0].text: d.children[1].text for d in root.all("header")[0].all("dl")[0].children}
    assert facts["Efficiency"] == "80 %, after a start of 7.5 s"
    text = section(root, "effort").text
    assert "Once the first worker was up, the last session took 2.5 s. The ideal is 2 s" in text
    assert "The start before that took 7.5 s; with it, the efficiency is 20 %." in text
    assert section(root, "effort").all("strong")[0].text == "80 %"


def section(root: Element, key: str) -> Element:
    return next(s for s in root.all("section") if s.attributes["aria-labelledby"] == key)


def ids(element: Element) -> set[str]:
    return {each.attributes.get("id", "") for each in element.all()}


def cells(table: Element) -> list[list[str]]:
    return [[cell.text for cell in row.children] for row in table.all("tr")]


def test_the_page_tells_what_the_run_found(tmp_path: Path) -> None:
    root = page(Made(FOUR, LOG, GRADIENT), tmp_path / "fin")
    assert root.all("h1")[0].text == "fin"
    facts = {d.children[0].text: d.children[1].text for d in root.all("header")[0].all("dl")[0].children}
    assert facts["J"] == "0.25"
    assert facts["|g|"] == f"{np.hypot(1, 20):.6g}"
    assert facts["Efficiency"] == "40 %"
    assert cells(section(root, "result").all("table")[0]) == [
        ["parameter", "x", "dJ/dx", "± error", "step", "note"],
        ["a", "1", "1", "0.1", "1e−8", ""],  # noqa: RUF001  # a minus sign
        ["b", "2", "−20", "0.2", "1e−8", ""],  # noqa: RUF001  # the same
        ["c", "3", "–", "–", "0", "does not move"],  # noqa: RUF001  # dashes
    ]
    bars = {"names": ["a", "b", "c"], "derivative": [1, -20, None], "error": [0.1, 0.2, None]}
    assert drawn(root)["gradient"] == bars
    assert "missing" in section(root, "gradient").text


def test_a_run_is_found_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Made(FOUR, LOG, GRADIENT).write(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert len(read_run(Path("run")).attempts.rows) == 4


def test_a_session_that_waited_in_vain_takes_no_room_in_the_timeline(tmp_path: Path) -> None:
    made = Made(FOUR, [*session(-900.0, -100.0), *LOG], GRADIENT)
    waited, whole = page(made, tmp_path / "a"), page(Made(FOUR, LOG, GRADIENT), tmp_path / "b")
    assert drawn(waited)["timeline"]["begin"] == drawn(whole)["timeline"]["begin"]
    assert "The charts leave out the 13 min" in section(waited, "timeline").text


def test_every_evaluation_has_a_bar_of_its_kind(tmp_path: Path) -> None:
    attempts = [
        *FOUR,
        Attempt(4, 0, 4.0, 9.0),
        Attempt(5, 1, 5.0, 6.0, Status.TIMEOUT, message="timeout"),
        Attempt(5, 1, 6.0, 7.0, attempt=2),
        Attempt(6, 1, 7.0, 8.0, Status.CANCELLED),
    ]
    root = page(Made(attempts, session(0.0, 10.0, (1.0, 9.5), points=7), GRADIENT), tmp_path / "run")
    chart = section(root, "timeline")
    line = drawn(root)["timeline"]
    kinds = [line["kinds"][kind] for kind in line["kind"]]
    assert kinds == ["value"] * 4 + ["straggler", "failed", "retry", "duplicate"]
    assert line["attempt"][6] == 2
    assert [line["hosts"][host] for host in line["host"]] == ["node"] * 8
    assert [line["slots"][slot] for slot in line["slot"]] == [0, 1, 0, 1, 0, 1, 1, 1]
    assert cells(chart.all("table")[0])[1:] == [
        ["slot 0", "3", "0", "7 s", "86 %"],
        ["slot 1", "5", "1", "5 s", "61 %"],
    ]
    legend = [item.text for item in chart.all("li")]
    assert any(text.startswith("failed") and "(1)" in text for text in legend)


def test_what_is_foreign_stays_text(tmp_path: Path) -> None:
    result = {
        **GRADIENT,
        "status": "failed",
        "message": FOREIGN,
        "task": FOREIGN,
        "scheme": FOREIGN,
        "started": FOREIGN,
        "versions": {FOREIGN: FOREIGN},
        "warnings": [FOREIGN],
        "missing": [FOREIGN],
        "repaired": {FOREIGN: FOREIGN},
        "noise": {"level": 1.0, "status": FOREIGN},
    }
    attempts = [*FOUR, Attempt(1, 0, 5.0, 6.0, Status.ERROR, host=FOREIGN, message=FOREIGN, detail=FOREIGN)]
    made = Made(attempts, [*LOG, (6.0, "run_started", {"task": FOREIGN})], result, FOREIGN, (FOREIGN, "b", "c"))
    run = made.write(tmp_path / FOREIGN.replace("/", ""))
    folder = run.work / "evaluation-x"
    folder.mkdir(parents=True)
    (folder / "distfd-outcome.json").write_text(json.dumps({"status": FOREIGN, "failure": FOREIGN}))
    run.write_check(
        {
            "message": FOREIGN,
            "advice": FOREIGN,
            "noise": {"level": 1.0, "status": FOREIGN},
            "components": [{"name": FOREIGN, "configured": 1.0, "known": 1.0, "bar": 1.0, "verdict": FOREIGN}],
            "sweep": [{"name": FOREIGN, "derivative": 1.0, "error": 0.1, **{key: [1.0, 2.0] for key in SWEPT}}],
        }
    )
    html = render(read_run(run.path))
    root = read(html)  # which refuses images, handlers, and scripts but ours
    assert html.count("<script") == html.count("</script") == 3
    assert root.text.count("<script>alert('1')</script>") > 15
    assert drawn(root)["sweeps"][0]["name"].startswith("<script>alert('1')</script>")
    assert drawn(root)["timeline"]["hosts"][0].startswith("<script>alert('1')</script>")


SWEPT = ("step", "forward", "forward_noise", "central", "central_noise")


@pytest.mark.parametrize("lack", ["log.jsonl", "result.json", "config.yaml", "evaluations.sqlite"])
def test_what_is_not_there_is_done_without(tmp_path: Path, lack: str) -> None:
    run = Made(FOUR, LOG, GRADIENT).write(tmp_path / "run")
    (run.path / lack).unlink()
    root = read(render(read_run(run.path)))
    assert section(root, "timeline")
    if lack == "result.json":
        assert "cut off" in root.all("header")[0].text


def test_what_is_damaged_is_told(tmp_path: Path) -> None:
    run = Made(FOUR, LOG, GRADIENT, "task: [gradient").write(tmp_path / "run")
    run.store.write_bytes(b"no store")
    with run.log.open("a") as log:
        log.write('{"time": "2027-01-15T08:00:00+00:00", "event": "wave_start')
    root = read(render(read_run(run.path)))
    assert "cannot be read" in section(root, "timeline").text
    assert "task: [gradient" in section(root, "setup").text


def test_devices_are_not_read(tmp_path: Path) -> None:
    run = Made(FOUR, LOG, GRADIENT).write(tmp_path / "run")
    for name in ("log.jsonl", "config.yaml", "result.json", "check.json"):
        (run.path / name).unlink(missing_ok=True)
        (run.path / name).symlink_to("/dev/zero")  # which has no end
    assert "unreadable" in read(render(read_run(run.path))).all("header")[0].text


def test_a_result_that_cannot_be_read_is_told_so(tmp_path: Path) -> None:
    run = Made(FOUR, LOG, GRADIENT).write(tmp_path / "run")
    (run.path / "result.json").write_text("{broken")
    said = read(render(read_run(run.path))).all("header")[0].text
    assert "unreadable" in said
    assert "result.json cannot be read" in said
    assert "Run the same command again" in said
    (run.path / "result.json").unlink()
    assert "cut off" in read(render(read_run(run.path))).all("header")[0].text


def test_where_there_is_no_run_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(distfd.InputError, match="no run is there"):
        write_report(RunDirectory(tmp_path))


def test_a_page_is_current_until_what_it_shows_is_written_again(tmp_path: Path) -> None:
    run = Made(FOUR, LOG, GRADIENT).write(tmp_path / "run")
    assert not is_current(run)
    write_report(run)
    made = run.report.stat().st_mtime_ns
    for name in ("result.json", "log.jsonl"):
        os.utime(run.path / name, ns=(made, made))
    assert is_current(run)
    os.utime(run.path / "log.jsonl", ns=(made + 10**9, made + 10**9))
    assert not is_current(run)


def test_a_run_is_no_worse_for_lacking_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    refresh_report(RunDirectory(tmp_path), said.append)
    run = Made(FOUR, LOG, GRADIENT).write(tmp_path / "run")
    run.report.mkdir()
    refresh_report(run, said.append)
    monkeypatch.setattr("distfd.reporting.write.render", lambda data: data.nothing)
    refresh_report(run, said.append)
    assert ["no run is there" in said[0], "nothing was written" in said[1], "bug" in said[2]] == [True] * 3


def test_failures_are_grouped_by_cause_and_named(tmp_path: Path) -> None:
    program = "solver: return code 7; work directory /run/work/evaluation-{} (sh rerun.sh there runs it again)"
    attempts = [Attempt(1, 0, k, k + 1, Status.ERROR, k + 1, message=program.format(k)) for k in range(3)]
    attempts.append(Attempt(2, 0, 3, 4, Status.TIMEOUT, message="timeout after 1 s"))
    root = page(Made(attempts, LOG, {**GRADIENT, "status": "partial", "missing": ["a"]}), tmp_path / "run")
    failures = section(root, "failures")
    assert root.all("section")[0].attributes["aria-labelledby"] == "failures"
    assert cells(failures.all("table")[0])[1:] == [
        ["solver: return code 7", "error", "3", "1"],
        ["timeout after 1 s", "timeout", "1", "1"],
    ]
    # The scheme is forward and all waves have its layout, so that point 1 is the first parameter's.
    assert any("a : solver" in s.text or "a: solver" in s.text for s in failures.all("summary"))
    assert "/run/work/evaluation-2" in failures.text


def test_failures_stand_by_point_and_central_points_are_explained(tmp_path: Path) -> None:
    failed = [
        Attempt(p, 0, k, k + 1, Status.ERROR, n, message="no") for k, (p, n) in enumerate([(4, 1), (2, 2), (2, 1)])
    ]
    made = Made(failed, session(0.0, 6.0, (1.5, 5.5), points=7), {**GRADIENT, "status": "partial"})
    made.config = "task: gradient\nderivative: {scheme: central}\n"
    failures = section(page(made, tmp_path / "run"), "failures")
    labels = [name for s in failures.all("summary") for name in ("a (2 of 2)", "b (2 of 2)") if name in s.text]
    assert labels == ["a (2 of 2)", "a (2 of 2)", "b (2 of 2)"]
    assert [", attempt 2" in s.text for s in failures.all("summary")] == [False, True, False]
    places = [one.all("p")[0].text.partition(",")[0] for one in failures.all("details")]
    assert places == ["attempt 1", "attempt 2", "attempt 1"]
    assert "the second of the 2 points of its derivative" in failures.text


def test_a_parameter_at_its_bound_is_told_so(tmp_path: Path) -> None:
    made = Made(FOUR, LOG, {**GRADIENT, "task": "minimize", "x0": [0.0, 0.0, 0.0], "x": [1.0, 2.0, 3.0]})
    made.config = (
        "task: minimize\nparameters:\n- {name: a, value: 0, lower: 1.0}\n- {name: b, value: 0, upper: 2}\n"
        "- {name: c, value: 0, lower: 2.9}\n"
    )
    notes = {row[0]: row[-1] for row in cells(section(page(made, tmp_path / "run"), "result").all("table")[0])}
    assert (notes["a"], notes["b"], notes["c"]) == ("at its lower bound", "at its upper bound", "does not move")
    made.config = "task: minimize\nbounds: {lower: [1, null, 0], upper: 2}\n"
    notes = {row[0]: row[-1] for row in cells(section(page(made, tmp_path / "again"), "result").all("table")[0])}
    assert (notes["a"], notes["b"]) == ("at its lower bound", "at its upper bound")


def test_where_only_a_check_has_run_that_is_told(tmp_path: Path) -> None:
    began, ended = (0.0, "check_started", {"task": "check"}), (6.0, "check_ended", {"verdict": "trust"})
    for log, told in (([began, ended], "checked"), ([*LOG[:1], began, ended], "cut off")):
        run = Made(FOUR, log, GRADIENT).write(tmp_path / told)
        (run.path / "result.json").unlink()
        (run.path / "check.json").write_text("{}")
        assert read_run(run.path).status == told
        assert run_status(run.path).state == told
        assert run_row(run.path, tmp_path).state == told


def test_the_size_of_a_gradient_says_what_it_lacks_and_a_run_says_how_it_converged(tmp_path: Path) -> None:
    found = {**GRADIENT, "status": "partial", "missing": ["b"], "derivative": [3.0, None, None]}
    root = page(Made(FOUR, LOG, found), tmp_path / "run")
    facts = {d.children[0].text: d.children[1].text for d in root.all("header")[0].all("dl")[0].children}
    assert facts["|g|"] == "3 without 1 missing"
    root = page(Made(FOUR, LOG, {**found, "derivative": [None] * 3}), tmp_path / "none")
    assert "|g|" not in root.all("header")[0].text
    ended = {"message": "max_iterations of 3 reached", "converged": False, "iterations": 3}
    root = page(Made(FOUR, LOG, {**GRADIENT, "task": "minimize", **ended}), tmp_path / "way")
    assert "Not converged: max_iterations of 3 reached." in root.all("header")[0].text


def test_the_level_of_the_noise_is_among_the_first_numbers(tmp_path: Path) -> None:
    found = {"task": "noise", "status": "done", "noise": {"level": 2.5e-7, "status": "found"}, "names": ["a", "b"]}
    root = page(Made(FOUR, LOG, found), tmp_path / "run")
    facts = {d.children[0].text: d.children[1].text for d in root.all("header")[0].all("dl")[0].children}
    assert facts["Noise of J"] == "2.5e−7"  # noqa: RUF001  # a minus sign
    assert "Noise of J, 2 parameters" in root.all("header")[0].text


def test_an_optimizers_way_is_drawn(tmp_path: Path) -> None:
    way = [(2.0 + k, "iterated", {"iteration": k, "value": 10.0**-k, "gradient_norm": 2.0**-k}) for k in range(1, 5)]
    result = {**GRADIENT, "task": "minimize", "x0": [0.0, 0.0, 0.0], "value0": 8.0, "iterations": 4, "converged": True}
    root = page(Made(FOUR, [*LOG[:1], *way], result), tmp_path / "run")
    convergence = section(root, "convergence")
    assert [key for key in ("convergence", "above", "norms") if f"{key}-chart" in ids(convergence)] == [
        "convergence",
        "norms",
    ]
    assert drawn(root)["convergence"] == {
        "name": "J",
        "iteration": [0, 1, 2, 3, 4],
        "value": [8.0, 0.1, 0.01, 0.001, 0.0001],
        "gradient_norm": [None, 0.5, 0.25, 0.125, 0.0625],
        "above": None,
    }
    assert cells(convergence.all("table")[0])[:3] == [
        ["iteration", "J", "|g|"],
        ["0", "8", "–"],  # noqa: RUF001  # a dash
        ["1", "0.1", "0.5"],
    ]
    assert "x before" in section(root, "result").text
    root = page(Made(FOUR, [*LOG[:1], *way], {**result, "task": "least_squares"}), tmp_path / "fit")
    assert "Cost by iteration" in section(root, "convergence").text
    assert cells(section(root, "convergence").all("table")[0])[0] == ["iteration", "cost", "|g|"]
    assert drawn(root)["convergence"]["name"] == "cost"
    assert "Cost before" in root.text
    below = [(at, event, {**fields, "value": fields["value"] - 5}) for at, event, fields in way]
    root = page(Made(FOUR, [*LOG[:1], *below], result), tmp_path / "below")
    assert "above-chart" in ids(section(root, "convergence"))  # the way to the lowest value as well
    assert drawn(root)["convergence"]["above"] == pytest.approx([13 - 1e-4, 0.0999, 0.0099, 0.0009, None])


def test_a_matrix_is_a_map(tmp_path: Path) -> None:
    rows = np.diag([1.0, 10.0, 1000.0]).tolist()
    rows[0][2] = None
    result = {**GRADIENT, "task": "jacobian", "derivative": rows, "error": None, "value": [1.0, 2.0, 3.0]}
    root = page(Made(FOUR, LOG, result), tmp_path / "run")
    assert drawn(root)["matrix"] == {
        "rows": ["J0", "J1", "J2"],
        "columns": ["a", "b", "c"],
        "cells": [[1.0, 0.0, None], [0.0, 10.0, 0.0], [0.0, 0.0, 1000.0]],
    }
    largest = cells(section(root, "matrix").all("table")[0])
    assert largest == [["row", "column", "size"], ["J2", "c", "1000"], ["J1", "b", "10"], ["J0", "a", "1"]]


FIT = {
    **GRADIENT,
    "task": "least_squares",
    "x0": [0.0, 0.0, 0.0],
    "value0": 9.0,
    "outputs": ["level(t=0)", "level(t=1)", "level(t=2)", "prior of a"],
    "residuals": [0.1, -0.3, 0.2, 0.05],
    "fit": {
        **{name: [0.1, 0.2, None] for name in ("standard_error", "lower", "upper")},
        "data": [1.0, 2.0, 3.0],
        "model": [1.1, 1.7, 3.2],
        "correlation": [[1.0, -0.9, None], [-0.9, 1.0, None], [None, None, None]],
        "findings": [],
    },
}


def test_a_fit_shows_data_residuals_and_correlations(tmp_path: Path) -> None:
    root = page(Made(FOUR, LOG, FIT), tmp_path / "run")
    assert drawn(root)["fit"] == {
        "number": [0, 1, 2, 3],
        "residual": [0.1, -0.3, 0.2, 0.05],
        "data": [1.0, 2.0, 3.0],  # the last residual is a prior's
        "model": [1.1, 1.7, 3.2],
    }
    assert drawn(root)["correlation"]["cells"] == FIT["fit"]["correlation"]
    found = section(root, "fit")
    assert {"fit-chart", "residuals-chart", "correlation-chart"} <= ids(found)
    largest, pairs = (cells(table) for table in found.all("table"))
    assert largest[:2] == [["output", "residual", "data", "model"], ["level(t=1)", "−0.3", "2", "1.7"]]  # noqa: RUF001
    assert largest[-1] == ["prior of a", "0.05", "", ""]
    assert pairs[1] == ["a", "b", "−0.9"]  # noqa: RUF001


def test_a_fit_without_data_shows_its_residuals(tmp_path: Path) -> None:
    root = page(Made(FOUR, LOG, {**FIT, "fit": {**FIT["fit"], "data": None, "model": None}}), tmp_path / "run")
    assert drawn(root)["fit"]["data"] is None
    assert ids(section(root, "fit")) >= {"residuals-chart"}
    assert "fit-chart" not in ids(section(root, "fit"))
    many = {**FIT, "residuals": np.sin(np.arange(40_001)).tolist(), "outputs": None, "fit": None}
    found = drawn(page(Made(FOUR, LOG, many), tmp_path / "many"))["fit"]
    assert len(found["number"]) == len(found["residual"]) <= 5000
    assert found["residual"][-1] == pytest.approx(np.sin(found["number"][-1]))
    assert all(
        "fit" not in each.attributes["aria-labelledby"]
        for each in page(Made(FOUR, LOG, GRADIENT), tmp_path / "g").all("section")
    )


@pytest.mark.parametrize(
    "damage",
    [
        {"data": "text"},
        {"data": [1.0]},
        {"data": [[1.0, 2.0, 3.0]] * 3},
        {"data": [1.0] * 9, "model": [1.0] * 9},
        {"model": {"a": 1}},
        {"correlation": [[1.0, 2.0]]},
        {"correlation": [1.0, 2.0, 3.0]},
        {"correlation": [["x", 2.0, 3.0]] * 3},
    ],
)
def test_a_damaged_fit_is_drawn_as_far_as_it_goes(tmp_path: Path, damage: dict[str, Any]) -> None:
    root = page(Made(FOUR, LOG, {**FIT, "fit": {**FIT["fit"], **damage}}), tmp_path / "run")
    found = drawn(root)
    assert found["fit"]["residual"] == FIT["residuals"]
    assert (found["fit"]["data"] is None) == bool({"data", "model"} & damage.keys())
    assert (found["correlation"] is None) == ("correlation" in damage)


def test_many_of_everything_stay_readable(tmp_path: Path) -> None:
    d, n = 10_000, 100_000
    names = tuple(f"p{k}" for k in range(d))
    result = {**GRADIENT, **{name: np.linspace(-1, 1, d) for name in ("x", "derivative", "error", "step")}}
    result |= {"missing": list(names[:5000]), "warnings": ["doubt"] * 5000}
    run = Made(FOUR, session(0.0, 5000.0, (1.0, 4990.0), points=n), result, names=names).write(tmp_path / "run")
    data = read_run(run.path)
    rows = np.zeros(n, data.attempts.rows.dtype)
    rows["status"], rows["slot"], rows["attempt"] = Status.OK, np.arange(n) % 200, 1
    rows["started"] = data.log.sessions[0].started + 2 + np.arange(n) // 200 * 9
    rows["ended"] = rows["started"] + 8
    rows["status"][::7] = Status.ERROR
    object.__setattr__(data.attempts, "rows", rows)
    html = render(data)
    root = read(html)
    assert len(html) < 3_000_000
    line = drawn(root)["timeline"]
    assert line["binned"]
    assert len(line["kind"]) < 60_000
    assert {line["kinds"][kind] for kind in line["kind"]} >= {"failed", "shade4"}
    assert 100 < len(section(root, "result").all("tr")) < 500
    assert len(section(root, "timeline").all()) < 2000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_they_stand_on(scheme: str) -> None:
    css = (Path(distfd.__file__).parent / "reporting" / "page.css").read_text(encoding="utf-8")
    light, dark, _ = (  # and paper is white
        dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    )
    colours: dict[str, Any] = {**light, **(dark if scheme == "dark" else {})}
    pairs = [*product(("ink", "soft", "link"), ("paper", "panel")), ("ink", "plain-paper"), ("bad", "paper")]
    pairs += [("good", "good-paper"), ("poor", "poor-paper"), ("bad", "bad-paper"), ("ink", "poor-paper")]
    low = {f"{a} on {b}": contrast(colours[a], colours[b]) for a, b in pairs}
    # Numbers on the parts of a bar are of one colour in both schemes.
    on = "#101418"
    assert f'color: "{on}"' in asset("charts.js")
    parts = ("useful", "lost", "start", "restarts", "tail", "between", "handing")
    low |= {part: contrast(on, colours[part]) for part in parts}
    assert min(low.values()) >= 4.5, low
    marks = ("value", "up", "down", "retry", "straggler", "duplicate", "failed")
    shapes = {part: contrast(colours["paper"], colours[part]) for part in marks}
    assert min(shapes.values()) >= 3, shapes


def contrast(a: str, b: str) -> float:
    """WCAG 2.2: (L1 + 0.05) / (L2 + 0.05) of relative luminances."""

    def luminance(colour: str) -> float:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_names_of_parameters_cannot_leave_the_numbers_of_a_chart(tmp_path: Path) -> None:
    names = ("</script><script>alert(1)</script>", "<!--<script>", "]]>&amp;\u2028")
    html = render(read_run(Made(FOUR, LOG, GRADIENT, names=names).write(tmp_path / "run").path))
    assert drawn(read(html))["gradient"]["names"] == [*names[:2], "]]>&amp;\ufffd"], (
        "a line's end of its own is replaced"
    )
    assert html.count("<script") == html.count("</script") == 3
    assert "<!--" not in html


def test_numbers_that_do_not_fit_into_one_page_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = read_run(Made(FOUR, LOG, GRADIENT).write(tmp_path / "run").path)
    whole = len(inlined(data))
    monkeypatch.setattr("distfd.reporting.chart_data._MOST_BYTES", whole)
    assert json.loads(inlined(data))["timeline"] is not None
    monkeypatch.setattr("distfd.reporting.chart_data._MOST_BYTES", whole - 1)
    found = json.loads(inlined(data))
    assert (found["timeline"], found["gradient"]["names"]) == (None, ["a", "b", "c"])


def test_a_notebook_is_not_given_the_library() -> None:
    found = distfd.differentiate(lambda x: float(x @ x), np.ones(3), executor="serial", check=False)
    assert len(found._repr_html_()) < 20_000


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        *((0.0, "0 µs"), (2.5e-5, "25 µs"), (999.4e-6, "999 µs"), (999.6e-6, "1 ms"), (0.9994, "999 ms")),
        *((0.99996, "1 s"), (1.0, "1 s"), (119.4, "119 s"), (119.6, "2 min"), (3599.7, "1 h"), (90061.0, "1 d 1 h")),
        *((-0.2, "\N{MINUS SIGN}200 ms"), (1e300, "1e+300 s"), (float("inf"), "\N{EN DASH}"), (None, "\N{EN DASH}")),
    ],
)
def test_durations_have_the_unit_that_suits_them(seconds: float | None, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("part", "told"),
    [(0.0, "0.0 %"), (0.0994, "9.9 %"), (0.09998, "10 %"), (0.614, "61 %"), (float("nan"), "\N{EN DASH}")],
)
def test_shares_have_two_digits(part: float, told: str) -> None:
    assert percent(part) == told


def test_a_gradient_of_any_size_has_a_norm(tmp_path: Path) -> None:
    root = page(Made(FOUR, LOG, {**GRADIENT, "derivative": [3e300, -4e300, None]}), tmp_path / "run")
    facts = {d.children[0].text: d.children[1].text for d in root.all("header")[0].all("dl")[0].children}
    assert facts["|g|"] == "5e300"


def test_what_is_long_has_a_tile_of_double_width(tmp_path: Path) -> None:
    root = page(Made(FOUR, LOG, {**GRADIENT, "value": -1.2345678e-10}), tmp_path / "run")
    wide = {d.children[0].text for d in root.all("header")[0].all("dl")[0].children if "class" in d.attributes}
    assert wide == {"J"}


TURNED = "abc\u202edef\u2066"


def test_no_text_of_a_run_turns_the_direction_of_reading(tmp_path: Path) -> None:
    attempts = [*FOUR[:3], Attempt(3, 1, 4.0, 5.0, Status.ERROR, message=TURNED, detail=TURNED)]
    found = {**GRADIENT, "status": "failed", "message": TURNED, "warnings": [TURNED]}
    run = Made(attempts, LOG, found, config=f"task: gradient  # {TURNED}\n", names=(TURNED, "b", "c"))
    for text in (render(read_run(run.write(tmp_path / TURNED).path)), page_json({"names": [TURNED]})):
        assert "abc\ufffddef\ufffd" in text
        assert not {*"\u202e\u2066"} & {*text}
        assert "202e" not in text, "nor as an escape, which a script would turn back"


def test_a_report_has_the_names_of_variables_and_not_their_values(tmp_path: Path) -> None:
    command = {"argv": ["solver"], "env": {"KEY": 's3cr3t "of" one', "OMP": "spread", "GONE": None}}
    config = json.dumps({"objective": {"command": command}})
    text = section(page(Made(FOUR, LOG, GRADIENT, config=config), tmp_path / "run"), "setup").text
    assert "s3cr3t" not in text
    assert '"KEY": "$KEY"' in text
    assert "spread" in text
    long = json.dumps({"objective": {"command": {"env": {f"K{k}": "s3cr3t" * 100 for k in range(100)}}}})
    text = section(page(Made(FOUR, LOG, GRADIENT, config=long), tmp_path / "long"), "setup").text
    assert "s3cr3t" not in text
    assert "config.yaml has it" in text
