"""Runs that version 0.1.0 wrote go on in this one: nothing that they hold is evaluated again, and no bit differs.

The configuration, the objective and the run's directory stand in ``runs/``, as `make_runs` left them. J writes each of
its calls into a file whose place it is told by its environment, which no identity contains. Nor do identities contain
where a job is: these were made in another folder. They do contain

- of a Python J without ``version``, its bytecode, and the versions of Python and of the packages that it names: the
  case ``bytecode`` is for Python 3.11 alone, and is skipped elsewhere,
- of an optimisation's journal, the options of its derivative, by the name and version of distfd's own class.

The bits of an iterate rest on sums of products over three coordinates. BLAS rounds these in another way on a processor
without AVX-512 than on that of the recorded runs. There a replay comes to another iterate, by a last bit, and goes on
from the best recorded one.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from old_runs import FINISHED, KILLED, RUNS, Cluster, lay_out, left, n_held

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BITS = ("task", "x", "names", "value", "derivative", "error", "step", "scheme", "missing", "repaired")
_PROCESSOR: Any = np.show_config(mode="dicts")
SAME_ROUNDING = not {"X86_V4", "AVX512_SKX"}.isdisjoint(_PROCESSOR["SIMD Extensions"]["found"])
"""Whether the processor has AVX-512, as NumPy names it since 2.4 and before."""
OPTIMISED = ("x0", "value0", "iterations", "converged", "message")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("calls"), 2)
    yield made
    made.close()


@pytest.fixture
def calls(cluster: Cluster) -> Cluster:
    cluster.forget_calls()
    return cluster


def job(case: str, tmp_path: Path, *, at_home: bool = False) -> Path:
    """The case in another folder; or, with ``at_home``, as if this were the one in which it was made."""
    if case == "bytecode" and sys.version_info[:2] != (3, 11):
        pytest.skip("NOT TESTED: that J is known by its bytecode in Python 3.11")
    folder = tmp_path / "elsewhere"
    lay_out(case, folder, with_run=True)
    if at_home:
        # What a configuration says is kept with its paths in full.
        said = folder / "run" / "config.yaml"
        said.write_text(said.read_text().replace(f"/tmp/job/{case}", str(folder)))
    return folder


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run" / "result.json").read_text())
    return found


def bits(found: dict[str, Any]) -> dict[str, Any]:
    """What must be the same; JSON keeps every bit of a number."""
    names = BITS + (OPTIMISED if found["task"] == "minimize" else ())
    return {name: found[name] for name in names if name in found}


def journal(folder: Path) -> str:
    path = folder / "run" / "iterates.jsonl"
    return path.read_text() if path.exists() else ""


def goes_on_from_the_best(after: dict[str, Any], before: dict[str, Any], journal: str, recorded: str) -> bool:
    """Whether a run whose replay differs by a last bit keeps its records, and ends no higher than it would have."""
    lines = [json.loads(line) for line in recorded.splitlines()]
    best = min(line["value"] for line in lines if "iterate" in line)
    kept = journal.startswith(recorded)
    return kept and after["status"] == "done" and after["value"] <= min(best, before["value"]) * (1 + 1e-6)


@pytest.mark.parametrize("case", FINISHED)
def test_a_finished_run_is_finished(case: str, tmp_path: Path, calls: Cluster) -> None:
    folder = job(case, tmp_path, at_home=True)
    before = (folder / "run" / "result.json").read_bytes()
    code, told = calls.run(folder, "run", "job.yaml")
    assert code == 0, told
    assert "this run is finished; nothing is evaluated" in told
    assert (folder / "run" / "result.json").read_bytes() == before
    assert calls.calls() == []


@pytest.mark.parametrize("case", FINISHED)
def test_a_finished_run_is_made_again_of_what_its_store_holds(case: str, tmp_path: Path, calls: Cluster) -> None:
    folder = job(case, tmp_path)
    before, recorded, held = result(folder), journal(folder), n_held(folder / "run")
    (folder / "run" / "result.json").unlink()
    (folder / "run" / "derivative.npz").unlink()
    code, told = calls.run(folder, "run", "job.yaml")
    assert code == 0, told
    after = result(folder)
    if case == "minimized" and not SAME_ROUNDING:
        assert goes_on_from_the_best(after, before, journal(folder), recorded)
        return
    assert calls.calls() == [], "what the store holds was evaluated again"
    assert bits(after) == bits(before)
    assert (after["status"], after["n_reused"]) == ("done", held)
    assert journal(folder) == recorded, "the journal was not replayed, but begun anew"


@pytest.mark.parametrize("case", KILLED)
def test_a_run_that_was_killed_goes_on(case: str, tmp_path: Path, calls: Cluster) -> None:
    folder = job(case, tmp_path)
    recorded, held = journal(folder), n_held(folder / "run")
    expected = json.loads((RUNS / case / "expected.json").read_text())
    code, told = calls.run(folder, "run", "job.yaml")
    assert code == 0, told
    if case == "minimize-killed" and not SAME_ROUNDING:
        assert goes_on_from_the_best(result(folder), expected["result"], journal(folder), recorded)
        return
    assert bits(result(folder)) == bits(expected["result"])
    made = calls.calls()
    assert len(set(made)) == len(made) == expected["n_points"] - held
    assert held == expected["n_held"]
    after = journal(folder)
    assert after.startswith(recorded)
    assert after.count('"start"') == recorded.count('"start"'), "the journal was not replayed, but begun anew"
    assert not left(folder / "run"), "what workers had left is in the store"
    code, told = calls.run(folder, "run", "job.yaml")
    assert code == 0, told
    assert "this run is finished" in told


def test_workers_had_left_some_and_the_journal_has_some() -> None:
    assert len(left(RUNS / "left-by-workers" / "run")) == 2
    assert journal(RUNS / "minimize-killed").count('"iterate"') == 3
    assert journal(RUNS / "minimized").count('"iterate"') == 6


@pytest.mark.parametrize("case", [*FINISHED, *KILLED])
def test_they_are_shown(case: str, tmp_path: Path, calls: Cluster) -> None:
    folder = job(case, tmp_path)
    code, told = calls.run(folder, "status", "run")
    assert code == 0, told
    if case in KILLED:
        assert f" {n_held(folder / 'run') - len(left(folder / 'run'))} evaluations" in told
    code, told = calls.run(folder, "report", "run", "--csv")
    assert code == 0, told
    assert (folder / "run" / "report.html").stat().st_size
    assert len((folder / "run" / "evaluations.csv").read_text().splitlines()) > 2
    assert calls.calls() == []


def test_another_objective_is_told_apart(tmp_path: Path, calls: Cluster) -> None:
    folder = job("gradient", tmp_path)
    code, told = calls.run(folder, "run", "job.yaml", "objective.version=2")
    assert code == 2, told
    assert calls.calls() == []
