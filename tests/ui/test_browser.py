"""The local page in a real browser: what arrives, what is sorted and found, and that nothing is asked of elsewhere.

Needs Playwright for Python and a Chromium of the system; where one is missing these tests are left out.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from strangers import sound_run
from test_server import batch

from distfd.observers.json_log import JsonLog
from distfd.reporting.write import write_report
from distfd.run_directory.directory import RunDirectory
from distfd.stores.sqlite import SQLiteStore
from distfd.ui.server import PageServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright for Python is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
LONG = 120_000
"""Milliseconds that a busy machine may take."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page, and what it asked for and complained of."""

    def __init__(self, browser: Any, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(LONG)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))


@pytest.fixture
def watched(browser: Any) -> Iterator[Watched]:
    watched = Watched(browser)
    yield watched
    watched.context.close()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("wing/run-2", "wing/run-10", "beam"):
        sound_run(tmp_path / "runs" / name)
    return tmp_path / "runs"


def names(page: Any) -> list[str]:
    found: list[str] = page.locator("#runs tbody tr:visible a").all_inner_texts()
    return found


def test_the_list_is_sorted_searched_and_live_and_runs_are_compared(watched: Watched, runs: Path) -> None:
    page = watched.page
    with PageServer(runs) as server:
        page.goto(server.address)
        page.locator("#link", has_text="live").wait_for()
        assert names(page) == ["beam", "wing/run-2", "wing/run-10"]
        page.get_by_role("button", name="run", exact=True).click()
        page.get_by_role("button", name="run", exact=True).click()
        assert names(page) == ["wing/run-10", "wing/run-2", "beam"]
        assert page.locator("th[aria-sort=descending]").inner_text().startswith("run")
        page.get_by_label("Find").fill("WING run-2")
        assert names(page) == ["wing/run-2"]
        page.get_by_label("Find").fill("")
        page.get_by_label("Compare wing/run-2").check()
        sound_run(runs / "new")
        page.locator("tr[data-run=new]").wait_for()
        assert names(page) == ["wing/run-10", "wing/run-2", "new", "beam"], "still sorted"
        assert page.get_by_label("Compare wing/run-2").is_checked()
        page.get_by_label("Compare beam").focus()
        page.keyboard.press("Space")
        page.keyboard.press("Enter")  # of a form: the keyboard reaches all
        page.get_by_role("heading", name="Side by side").wait_for()
        assert "run=wing%252Frun-2" in page.url
        overlay = page.locator("figure.zoom")
        overlay.locator("canvas").wait_for()
        overlay.locator(".canvas").focus()
        page.keyboard.press("ArrowRight")
        assert overlay.locator(".told").inner_text() == "iteration 1: wing/run-2 2, beam 2"
        page.get_by_role("link", name="Runs").click()
        page.get_by_role("heading", name="Runs").wait_for()
        assert all(url.startswith(server.address) for url in watched.asked), watched.asked
        assert watched.complaints == []


def test_a_page_follows_its_run_to_the_end(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    directory = RunDirectory(tmp_path / "run")
    directory.make()
    store = SQLiteStore(directory.store, fingerprint="f", names=("a", "b"))
    try:
        with JsonLog(directory.log) as log, PageServer(directory.path) as server:
            log.write("run_started", task="gradient")
            log.write("wave_started", task="gradient", n_points=3, n_reused=0, slots=1)
            page.goto(server.address)
            page.locator("#live-text", has_text="0 of 3").wait_for()
            assert page.locator(".status").first.inner_text() == "running"
            page.locator("#part-setup h2").evaluate("element => { element.dataset.kept = 'yes' }")
            store.put(np.array([[0, 0]], dtype=np.uint64), batch(0))
            page.locator("#live-text", has_text="1 of 3").wait_for()
            assert page.locator("#live-bar").evaluate("element => [element.value, element.max]") == [1, 3]
            page.locator("#timeline").wait_for()  # a section that was not there before
            assert page.locator("#part-setup h2").evaluate("element => element.dataset.kept") == "yes", "not drawn anew"
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
            page.locator(".status", has_text="done").wait_for()
            page.locator("#result").wait_for()
            page.locator("#live").wait_for(state="hidden")
            order = page.locator("#parts > .part").evaluate_all("parts => parts.map(part => part.id)")
            assert order.index("part-result") < order.index("part-timeline") < order.index("part-setup")
            assert watched.complaints == []
        page.locator("#link", has_text="distfd has ended").wait_for()
        assert page.locator("#result").is_visible(), "the last of it stays"
        # The numbers of a chart may be asked for when nobody is there to answer any more.
        assert [said for said in watched.complaints if "net::ERR_" not in said] == []
    finally:
        store.close()


def test_charts_are_hovered_zoomed_and_clicked(watched: Watched, runs: Path) -> None:
    page, run = watched.page, runs / "beam"
    lines = (run / "log.jsonl").read_text().splitlines()
    more = [json.loads(lines[4]) for _ in range(9)]
    for k, each in enumerate(more):
        each |= {"iteration": k + 2, "value": 1.0 / (k + 2), "gradient_norm": 0.5 / (k + 2)}
    lines[5:5] = [json.dumps(each) for each in more]
    (run / "log.jsonl").write_text("\n".join(lines) + "\n")
    with PageServer(runs) as server:
        page.goto(server.address + "runs/beam/")
        way = page.locator("figure.zoom", has=page.get_by_label("Chart: J by iteration"))
        canvas = way.locator(".canvas")
        canvas.locator("canvas").wait_for()
        page.wait_for_function("() => document.querySelectorAll('figure.zoom').length === 8")
        assert page.locator(".chart").count() == 8, "each has its drawing"
        assert page.locator("#convergence-chart").is_hidden()
        assert canvas.get_attribute("role") == "img"
        canvas.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert way.locator(".told").inner_text() == "iteration 2: J = 0.5"
        page.evaluate(
            "() => drawn.get('convergence').chart.on('updateAxisPointer', e => { window.hovered = e.dataIndex })"
        )
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        page.mouse.move(box["x"] + 100, box["y"] + 120)
        page.mouse.move(box["x"] + box["width"] - 30, box["y"] + 130)
        page.wait_for_function("() => window.hovered === 9")
        zoomed = "() => drawn.get('convergence').chart.getOption().dataZoom[0]"
        assert (page.evaluate(zoomed)["start"], page.evaluate(zoomed)["end"]) == (0, 100)
        way.get_by_role("button", name="Zoom in").focus()
        page.keyboard.press("Enter")
        assert (page.evaluate(zoomed)["start"], page.evaluate(zoomed)["end"]) == (25, 75)
        way.get_by_role("button", name="Whole").click()
        assert (page.evaluate(zoomed)["start"], page.evaluate(zoomed)["end"]) == (0, 100)
        slots = page.locator("figure.zoom", has=page.get_by_label("Worker timeline"))
        slots.locator(".canvas").focus()
        for _ in range(4):
            page.keyboard.press("ArrowRight")
        assert "failed" in slots.locator(".told").inner_text()
        page.keyboard.press("Enter")
        slots.locator(".told", has_text="ValueError: no").wait_for()
        assert "attempt 1, 2027-01-15T08:00:00.000+00:00 for 2 s, slot 0, host process 7" in slots.inner_text()
        assert watched.complaints == []
        assert all(url.startswith(server.address) for url in watched.asked), watched.asked


def test_the_report_alone_draws_its_charts_and_asks_for_nothing(watched: Watched, runs: Path) -> None:
    page, run = watched.page, runs / "beam"
    address = write_report(RunDirectory(run)).as_uri()
    page.goto(address)
    slots = page.locator("figure.zoom", has=page.get_by_label("Worker timeline"))
    slots.locator("canvas").wait_for()
    assert page.locator("figure.zoom").count() == page.locator(".chart").count() >= 4
    slots.locator(".canvas").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert slots.locator(".told").inner_text().startswith("slot 0: failed, from")
    page.keyboard.press("Enter")
    assert "attempt 1, host" in slots.locator(".told").inner_text()
    zoomed = "() => drawn.get('timeline').chart.getOption().dataZoom[0]"
    slots.get_by_role("button", name="Zoom in").click()
    assert (page.evaluate(zoomed)["start"], page.evaluate(zoomed)["end"]) == (25, 75)
    assert watched.asked == [address]
    assert watched.complaints == []
    bare = Watched(watched.context.browser, java_script_enabled=False)
    try:
        bare.page.goto(address)
        assert bare.page.locator("figure.zoom").count() == 0
        assert "drawn where JavaScript runs" in bare.page.locator("#timeline-chart").inner_text()
        table = bare.page.get_by_role("table", name="What each slot did")
        bare.page.locator("section", has=bare.page.locator("#timeline")).get_by_text("The numbers").click()
        assert table.get_by_role("rowheader").all_inner_texts() == ["slot 0"]
    finally:
        bare.context.close()


def test_a_long_timeline_is_fetched_where_one_zooms(
    watched: Watched, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(runs / "beam" / "evaluations.sqlite", fingerprint="f" * 64, names=("a", "b", "c"))
    for k in range(40):
        begin = np.array([1.8e9 + k / 10])
        store.put(np.array([[k, 2]], np.uint64), replace(batch(k), slot=k % 4, started=begin, ended=begin + 0.1))
    store.close()
    monkeypatch.setattr("distfd.reporting.timeline._ATTEMPTS", 30)
    page = watched.page
    with PageServer(runs) as server:
        page.goto(server.address + "runs/beam/")
        slots = page.locator("figure.zoom", has=page.get_by_label("Worker timeline"))
        slots.locator("canvas").wait_for()
        slots.locator(".canvas").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        slots.locator(".told", has_text="Zoom in to see each attempt").wait_for()
        slots.get_by_role("button", name="Zoom in").click()
        page.wait_for_function("() => drawn.get('timeline').chart.getOption().series[0].data.every(one => one[4] >= 0)")
        assert 1 < page.evaluate("() => drawn.get('timeline').n") <= 30
        slots.locator(".canvas").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        slots.locator(".told", has_text="attempt 1, 2027-01-15T08:00:0").wait_for()
        slots.get_by_role("button", name="Whole").click()
        page.wait_for_function("() => drawn.get('timeline').chart.getOption().series[0].data.some(one => one[4] < 0)")
        assert watched.complaints == []
        assert all(url.startswith(server.address) for url in watched.asked), watched.asked


def test_the_same_time_is_at_the_same_place_in_both_charts_of_the_timeline(watched: Watched, runs: Path) -> None:
    with PageServer(runs) as server:
        watched.page.goto(server.address + "runs/beam/")
        watched.page.wait_for_function(
            "() => typeof drawn !== 'undefined' && drawn.has('timeline') && drawn.has('busy')"
        )
        at = """key => {
            const chart = drawn.get(key).chart, edge = chart.getModel().getComponent('grid').coordinateSystem.getRect();
            return [edge.x, edge.x + edge.width];
        }"""
        assert watched.page.evaluate(at, "busy") == watched.page.evaluate(at, "timeline")
        ticks = "() => drawn.get('busy').chart.getModel().getComponent('yAxis').axis.scale.getTicks().map(t => t.value)"
        assert all(float(tick).is_integer() for tick in watched.page.evaluate(ticks)), "slots are counted"


def test_names_and_error_bars_are_within_the_chart_of_the_gradient(watched: Watched, runs: Path) -> None:
    path = runs / "beam" / "result.json"
    wide = {"names": ["x" * 90, "W" * 33, "c"], "derivative": [1.0, -20.0, 3.0], "error": [0.1, 4.5, 1.0]}
    path.write_text(json.dumps({**json.loads(path.read_text()), **wide, "missing": []}))
    with PageServer(runs) as server:
        watched.page.goto(server.address + "runs/beam/")
        watched.page.wait_for_function("() => typeof drawn !== 'undefined' && drawn.has('gradient')")
        axis = "() => drawn.get('gradient').chart.getModel().getComponent('xAxis').axis.scale.getExtent()"
        low, high = watched.page.evaluate(axis)
        assert low <= -24.5
        assert high >= 4.0
        labels = """() => drawn.get('gradient').chart.getZr().storage.getDisplayList(true)
            .filter(one => one.style && one.style.text)
            .map(one => [one.style.text, one.getBoundingRect().clone(), one.transform])
            .map(([text, box, by]) => [text, box.x + (by ? by[4] : 0)])"""
        found = watched.page.evaluate(labels)
        assert any(text.startswith("W") for text, _ in found)
        assert all(left >= 0 for _, left in found), found


@pytest.mark.parametrize("width", [400, 1400])
def test_a_fit_is_drawn_and_read_by_keyboard(browser: Any, runs: Path, width: int) -> None:
    path = runs / "beam" / "result.json"
    found = {
        "task": "least_squares",
        "names": ["a", "b", "c"],
        "missing": [],
        "x0": [0.0, 0.0, 0.0],
        **{name: [1.0, 2.0, 3.0] for name in ("x", "derivative", "step")},
        "error": None,
        "residuals": [0.25, -0.5, 0.125],
        "fit": {
            **{name: [0.1, 0.2, 0.3] for name in ("standard_error", "lower", "upper")},
            "data": [1.0, 2.0, 3.0],
            "model": [1.25, 1.5, 3.125],
            "correlation": [[1.0, -0.75, 0.5], [-0.75, 1.0, None], [0.5, None, 1.0]],
            "findings": ["3 residuals"],
        },
    }
    path.write_text(json.dumps({**json.loads(path.read_text()), **found}))
    watched = Watched(browser, viewport={"width": width, "height": 900})
    try:
        with PageServer(runs) as server:
            watched.page.goto(server.address + "runs/beam/")
            for key, words in (
                ("fit", "number of the measurement 1: model 1.5, data 2"),
                ("residuals", "number of the residual 1: residual = -0.5"),
                ("correlation", "a, b: -0.75"),
            ):
                watched.page.wait_for_function("key => typeof drawn !== 'undefined' && drawn.has(key)", arg=key)
                watched.page.evaluate("key => drawn.get(key).canvas.focus()", key)
                for _ in range(2):
                    watched.page.keyboard.press("ArrowRight")
                assert watched.page.evaluate("key => drawn.get(key).told.textContent", key) == words
            assert watched.page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert watched.complaints == []
    finally:
        watched.context.close()


def test_an_attempt_that_cannot_be_asked_for_is_told_so(watched: Watched, runs: Path) -> None:
    page = watched.page
    with PageServer(runs) as server:
        page.goto(server.address + "runs/beam/")
        slots = page.locator("figure.zoom", has=page.get_by_label("Worker timeline"))
        slots.locator("canvas").wait_for()
    slots.locator(".canvas").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    slots.locator(".told", has_text="distfd ui does not answer").wait_for()
    assert not [text for text in watched.complaints if "Uncaught" in text]


def test_no_tile_breaks_a_number(watched: Watched, runs: Path) -> None:
    path = runs / "beam" / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "value": -1.2345678e-10}))
    with PageServer(runs) as server:
        for width in (400, 1400):
            watched.page.set_viewport_size({"width": width, "height": 900})
            watched.page.goto(server.address + "runs/beam/")
            heights = "all => all.map(one => [one.textContent, one.getClientRects().length, one.offsetHeight])"
            found = watched.page.locator("header dd").evaluate_all(heights)
            assert len({height for text, _, height in found if " " not in text}) == 1, found


def test_a_server_that_is_gone_is_told_of(watched: Watched, runs: Path) -> None:
    server = PageServer(runs)
    try:
        watched.page.goto(server.address)
        watched.page.locator("#link", has_text="live").wait_for()
        watched.page.evaluate("() => window.stop()")
    finally:
        begin = time.monotonic()
        server.close()
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_pages_fit_their_window(browser: Any, runs: Path, scheme: str, width: int) -> None:
    found = runs / "beam" / "result.json"
    names = ["x" * 90, "b" * 45, "c"]  # names of parameters stand in tables and in sentences
    found.write_text(json.dumps({**json.loads(found.read_text()), "names": names, "missing": [], "repaired": {}}))
    watched = Watched(browser, viewport={"width": width, "height": 900}, color_scheme=scheme)
    try:
        with PageServer(runs) as server:
            for path in ("", "runs/beam/", "compare?run=beam&run=wing%252Frun-2"):
                watched.page.goto(server.address + path)
                wide = watched.page.evaluate("() => document.documentElement.scrollWidth")
                assert wide <= width, f"{path}: the page is to be scrolled sideways"
                paper = watched.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
                level = int(paper.removeprefix("rgb(").split(",")[0])
                assert (level > 200) == (scheme == "light")
            assert watched.complaints == []
    finally:
        watched.context.close()


@pytest.mark.skipif(find_spec("axe_playwright_python") is None, reason="NOT tested: axe-playwright-python is missing")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_axe_finds_no_fault(browser: Any, runs: Path, scheme: str, width: int) -> None:
    """Names, roles, contrasts and the order of headings, by https://github.com/dequelabs/axe-core."""
    axe = import_module("axe_playwright_python.sync_playwright").Axe()
    report = write_report(RunDirectory(runs / "beam")).as_uri()
    watched = Watched(browser, viewport={"width": width, "height": 900}, color_scheme=scheme)
    try:
        with PageServer(runs) as server:
            for path in ("", "runs/beam/", "runs/nowhere/", "compare?run=beam&run=wing%252Frun-2", report):
                watched.page.goto(path if path == report else server.address + path)
                watched.page.evaluate("() => document.querySelectorAll('details').forEach(one => { one.open = true })")
                found = axe.run(watched.page).response["violations"]
                assert [(path, one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    finally:
        watched.context.close()


def test_a_logarithmic_axis_of_many_decades_has_many_marks(watched: Watched, runs: Path) -> None:
    steps = [10.0**k for k in range(-12, 0)]
    columns = {key: [1e-3 * step for step in steps] for key in ("forward", "central")}
    noise = {f"{key}_noise": [1e-16 / step for step in steps] for key in ("forward", "central")}
    sweep = {"name": "a", "derivative": 0.0, "error": 1e-9, "step": steps, **columns, **noise}
    (runs / "beam" / "check.json").write_text(json.dumps({"message": "trust", "sweep": [sweep]}))
    with PageServer(runs) as server:
        watched.page.goto(server.address + "runs/beam/")
        watched.page.wait_for_function("() => typeof drawn !== 'undefined' && drawn.has('sweep0')")
        ticks = """name => drawn.get('sweep0').chart.getModel().getComponent(name).axis.getViewLabels()
            .map(one => one.formattedLabel)"""
        along, up = (watched.page.evaluate(ticks, name) for name in ("xAxis", "yAxis"))
        assert {"1e-10", "1e-8", "1e-6", "1e-4", "0.01"} <= set(along)
        assert len(up) >= 6
        watched.page.evaluate("() => drawn.get('sweep0').canvas.focus()")
        watched.page.keyboard.press("ArrowRight")
        words = watched.page.evaluate("() => drawn.get('sweep0').told.textContent")
        assert words.startswith("step 1e-12: forward 1e-15, ")
        assert watched.complaints == []
