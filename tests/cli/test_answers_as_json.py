"""``ls``, and the answers of ``--json``: their fields are a promise, listed here as docs/command-line.md has them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from strangers import distfd, sound_run

from distfd.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

ROW = (
    "path name state task tags value_before value gradient_norm iterations n_parameters n_evaluations n_failed slots "
    "wall_seconds efficiency started finished start_seconds trouble"
)
STATUS = (
    "path state task writer exit_code n_evaluations n_failed_attempts started running_seconds wave iterate "
    "last_failure kept result"
)
PLAN = (
    "config task n_parameters n_moving scheme scheme_text steps evaluations check_evaluations check_text slots "
    "slots_text rounds rounds_text resources output n_known n_reused simulation"
)
SIMULATION = (
    "slots duration spread evaluations simulated wall_seconds ideal_seconds efficiency tail_seconds backups "
    "slots_killed slot_hours driver_busy store_bytes driver_bytes worker_bytes"
)
REPORT = (
    "path state task writer names result sessions evaluations time_spent causes failures work_directories check "
    "trouble files"
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return sound_run(tmp_path / "runs" / "wing")


def answer(*args: str) -> dict[str, Any]:
    code, said = distfd(*args, "--json")
    assert code == 0, said
    found: dict[str, Any] = json.loads(said)
    return found


def test_ls_as_text(run: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(run, tmp_path / "runs" / "x\ny   done  0.1\x1b[2J")
    (broken / "result.json").write_text("{")
    code, said = distfd("ls", str(tmp_path / "runs"))
    lines = said.splitlines()
    assert code == 0
    head = ["run", "task", "state", "J", "|g|", "evaluations", "wall", "efficiency", "note"]
    assert lines[0].split() == head
    assert lines[1].split()[:9] == ["wing", "gradient", "partial", "1", "2.69", "4", "(1", "failed)", "2"]
    assert "75 %" in lines[1]
    assert len(lines) == 3, "a name with an end of line forges no row"
    assert lines[2].startswith("x y done 0.1\ufffd[2J  -         unreadable")
    assert "result.json cannot be read" in lines[2]


def test_ls_calls_what_is_minimised_by_its_name(tmp_path: Path) -> None:
    for name, task, heads in (
        ("a", "least_squares", ("cost before", "cost  ")),
        ("b", "minimize", ("J or cost before", "J or cost  ")),
    ):
        run = sound_run(tmp_path / name)
        found = json.loads((run / "result.json").read_text())
        (run / "result.json").write_text(json.dumps({**found, "task": task, "value0": 2.0}))
        head = distfd("ls", str(tmp_path))[1].splitlines()[0]
        assert all(f"  {title}" in head for title in heads)


def test_ls_of_nothing_and_of_nowhere(tmp_path: Path) -> None:
    assert distfd("ls", str(tmp_path)) == (0, f"no run is in {tmp_path}\n")
    assert answer("ls", str(tmp_path)) == {"folder": str(tmp_path), "complete": True, "runs": []}
    code, said = distfd("ls", str(tmp_path / "none"))
    assert (code, "cannot be listed: No such file" in said) == (2, True)


def test_ls_as_json(run: Path) -> None:
    found = answer("ls", str(run.parent))
    assert list(found) == ["folder", "complete", "runs"]
    (row,) = found["runs"]
    assert list(row) == ROW.split()
    assert (row["name"], row["state"], row["value"], row["efficiency"]) == ("wing", "partial", 1.0, 0.75)


def test_status_of_a_run_that_ended(run: Path) -> None:
    found = answer("status", str(run))
    assert list(found) == STATUS.split()
    assert (found["state"], found["task"], found["exit_code"], found["wave"]) == ("partial", "gradient", 3, None)
    assert (found["n_evaluations"], found["n_failed_attempts"], found["writer"]) == (4, 1, None)
    assert found["kept"] == {"work_directories": 1, "archives": 0}
    assert found["result"] == json.loads((run / "result.json").read_text())
    assert found["last_failure"] == {"point": "c", "cause": "ValueError: no", "time": "2027-01-15T08:00:03.000+00:00"}
    code, said = distfd("status", str(run), "--follow", "--json")
    assert code == 3, "the run's own"
    assert json.loads(said.splitlines()[-1]) == found


def test_status_of_a_run_that_goes_on(run: Path) -> None:
    log = (run / "log.jsonl").read_text().splitlines()
    (run / "log.jsonl").write_text("\n".join(log[:6]) + "\n")
    store = SQLiteStore(run / "evaluations.sqlite")
    try:
        found = answer("status", str(run))
    finally:
        store.close()
    assert (found["state"], found["exit_code"], found["result"]) == ("running", None, None)
    assert set(found["wave"]) == {"finished", "total", "slots", "rate", "seconds_left"}
    assert (found["wave"]["total"], found["wave"]["slots"]) == (4, 2)
    assert found["iterate"] == {"iteration": 1, "value": 2.0, "gradient_norm": 1.0, "measure": "J"}
    assert found["started"] == "2027-01-15T08:00:00+00:00"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    text = (
        "objective: {python: 'math:fsum'}\nparameters:\n- {name: a, value: 2.0}\n- {name: b, value: 3.0, fixed: true}\n"
    )
    (tmp_path / "job.yaml").write_text(f"{text}cluster: {{address: local, num_cpus: 2}}\noutput: run\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "job.yaml"


def test_plan(job: Path) -> None:
    found = answer("plan", str(job))
    assert list(found) == PLAN.split()
    assert (found["config"], found["task"], found["scheme"]) == (str(job), "gradient", "forward")
    assert (found["n_parameters"], found["n_moving"], found["slots"], found["rounds"]) == (2, 1, 2, 1)
    assert found["evaluations"] == {"usual": 2, "most": 2, "of": "of the job"}
    (step,) = found["steps"]
    assert (step["name"], step["x"]) == ("a", 2.0)
    assert step["step"] == step["step_as_written"] == pytest.approx(3e-8, rel=0.01)
    assert (found["n_known"], found["simulation"], found["resources"]["num_cpus"]) == (None, None, 1.0)


def test_plan_of_methods_that_find_their_points(job: Path) -> None:
    found = answer("plan", str(job), "derivative.step=auto")
    assert (found["evaluations"]["most"], found["steps"]) == (42, [])
    text = distfd("plan", str(job), "derivative.step=auto")[1]
    assert f"about {found['evaluations']['usual']}, at most 42" in text
    assert answer("plan", str(job), "derivative.accuracy=0.01")["evaluations"]["most"] is None
    assert answer("plan", str(job), "task=noise")["evaluations"]["usual"] == 13
    assert answer("plan", str(job), "cluster.address=10.0.0.1:6379")["rounds"] is None


@pytest.mark.parametrize(
    ("scheme", "told"), [("forward", "no slot is idle"), ("central", "fewer than 2 slots are idle")]
)
def test_plan_says_why_no_check_rides_along(job: Path, scheme: str, told: str) -> None:
    """Forward fills 2 slots with 2 points; central leaves one slot idle, and needs two for a check."""
    found = answer("plan", str(job), f"derivative.scheme={scheme}")
    assert (found["check_evaluations"], found["slots"]) == (0, 2)
    assert found["check_text"] == f"none, as {told} in the last round (derivative.check: true adds one)"


def test_plan_says_what_a_check_takes(job: Path) -> None:
    def line(*settings: str) -> str:
        rows = distfd("plan", str(job), "derivative.check=true", *settings)[1].splitlines()
        return next(row.partition(":")[2].strip() for row in rows if row.startswith("check:"))

    assert line() == "1 evaluation more; 3 more where there is a doubt"
    assert line("task=hessian") == "5 evaluations more"


def test_plan_of_a_large_cluster(job: Path) -> None:
    found = answer("plan", str(job), "--slots", "10", "--duration", "3")["simulation"]
    assert list(found) == SIMULATION.split()
    assert (found["slots"], found["duration"], found["evaluations"]) == (10, 3.0, 3)
    assert found["wall_seconds"] >= found["ideal_seconds"] > 0


@pytest.mark.parametrize("given", [["--spread", "0.3"], ["--slots", "3"], ["--duration", "5min", "--spread", "0.3"]])
def test_plan_of_half_a_cluster(job: Path, given: list[str]) -> None:
    code, said = distfd("plan", str(job), *given)
    assert code == 2
    assert "plan: a simulated wave needs both --slots and --duration" in said


def test_plan_shows_all_steps_of_many_parameters(job: Path) -> None:
    job.write_text(f"objective: {{python: 'math:fsum'}}\nx0: {[1.0] * 30}\n")
    assert len(answer("plan", str(job))["steps"]) == 30
    assert "... and 10 more" in distfd("plan", str(job))[1]


def test_report(run: Path) -> None:
    found = answer("report", str(run))
    assert list(found) == REPORT.split()
    assert (found["state"], found["names"]) == ("partial", ["a", "b", "c"])
    assert found["files"] == [str(run / "report.html")]
    assert (run / "report.html").exists()
    (session,) = found["sessions"]
    assert session["iterations"] == [{"iteration": 1, "value": 2.0, "gradient_norm": 1.0}]
    assert (session["waves"][0]["n_points"], session["waves"][0]["ideal_seconds"]) == (4, 1.5)
    assert found["causes"] == [{"status": "error", "cause": "ValueError: no", "attempts": 1, "points": 1}]
    assert [one["message"] for one in found["failures"]] == ["ValueError: no"]
    assert found["evaluations"]["attempts"] == {"ok": 3, "error": 1}
    assert found["evaluations"]["seconds"]["median"] == 2.0
    assert found["check"]["verdict"] == "good"
    assert found["work_directories"][0]["failure"] == "return code 1"
    parts = {"useful", "lost", "start", "restarts", "tail", "between", "handing"}
    assert {one["part"] for one in found["time_spent"]} <= parts


def test_a_result_without_a_wall_time_is_shown(run: Path) -> None:
    found = json.loads((run / "result.json").read_text())
    del found["wall_seconds"]
    (run / "result.json").write_text(json.dumps({**found, "start_seconds": 0.5}))
    code, said = distfd("status", str(run))
    assert code == 0
    assert "efficiency 0.75" in said
    assert "first worker" not in said
