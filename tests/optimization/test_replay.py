"""Long runs: killed and run again, the same iterates; limits, interrupts and divergence give the best point."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import rosen

import distfd
from distfd.optimization.journal import Diverged, Journal

X0 = [-1.2, 1.0, 0.5]


def run(folder: Path, fun: Any = rosen, **options: Any) -> tuple[Any, list[bytes]]:
    seen: list[bytes] = []
    result = distfd.minimize(
        fun,
        X0,
        executor="serial",
        version="1",
        store=folder / "run.sqlite",
        journal=folder / "iterates.jsonl",
        callback=lambda x: seen.append(x.tobytes()),
        **options,
    )
    return result, seen


def test_what_was_stopped_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    other = tmp_path / "b"
    for folder in (tmp_path / "a", other):
        folder.mkdir()
    whole, through = run(tmp_path / "a")
    part, first = run(other, limits=distfd.Limits(max_iterations=7))
    assert first == through[:7]
    rest, again = run(other, speculative=True)
    assert again == through
    assert rest.x.tobytes() == whole.x.tobytes()
    assert part.n_evaluations + rest.n_evaluations >= whole.n_evaluations
    third, _ = run(other)
    assert third.n_evaluations == 0
    assert third.x.tobytes() == whole.x.tobytes()


CALLS: list[int] = []


def mortal(x: Any) -> float:
    """Rosenbrock's function, in a process that dies where DIES is set, at that evaluation."""
    CALLS.append(1)
    if len(CALLS) == int(os.environ.get("DIES", "-1")):
        os.kill(os.getpid(), signal.SIGKILL)
    return float(rosen(x))


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_replay
test_replay.run(Path(sys.argv[1]), test_replay.mortal)
"""


@pytest.mark.slow
@pytest.mark.parametrize("after", [6, 41])
def test_a_killed_run_is_replayed(tmp_path: Path, after: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, through = run(tmp_path / "a", mortal)
    here, root = Path(__file__).parent, Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "b"), str(here)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "DIES": str(after)},
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    rest, again = run(tmp_path / "b", mortal)
    assert again == through
    assert rest.x.tobytes() == whole.x.tobytes()
    assert rest.n_reused >= after - 2, "what was stored is not computed again"


def test_a_replay_that_diverges_says_so_and_goes_on_from_the_best(tmp_path: Path) -> None:
    run(tmp_path, limits=distfd.Limits(max_iterations=9))
    (tmp_path / "run.sqlite").unlink()
    with pytest.warns(distfd.DerivativeWarning, match="iterate 1 differs .* goes on from the best"):
        result, seen = run(tmp_path, lambda x: float(rosen(x)) + 0.1 * x[0])
    lines = [json.loads(line) for line in (tmp_path / "iterates.jsonl").read_text().splitlines()]
    starts = [k for k, line in enumerate(lines) if "start" in line]
    best = min(lines[: starts[1]], key=lambda line: line.get("value", np.inf))
    assert lines[starts[1]]["start"] == best["x"]
    assert result.fun < 1
    once_more, again = run(tmp_path, lambda x: float(rosen(x)) + 0.1 * x[0])
    assert again == seen, "the later leg is what is replayed"
    assert once_more.n_evaluations == 0


def test_ctrl_c_gives_the_best_point() -> None:
    n = 0

    def fun(x: Any) -> float:
        nonlocal n
        n += 1
        if n == 30:
            raise KeyboardInterrupt
        return float(rosen(x))

    with distfd.Evaluator(fun, executor="serial") as ev:
        result = distfd.minimize(ev, X0)
        assert result.status == 130
        assert not result.success
        assert "interrupted" in result.message
        assert result.fun == rosen(result.x) < rosen(X0)
        assert ev.value([1.0, 1.0, 1.0]) == 0.0, "the Evaluator lives on"
    n = 28
    with pytest.raises(KeyboardInterrupt):
        distfd.minimize(fun, X0, executor="serial")


def test_time_is_a_limit() -> None:
    result = distfd.minimize(rosen, X0, executor="serial", limits=distfd.Limits(max_wall_time=1e-9))
    assert "max_wall_time" in result.message
    assert result.njev == 1
    with pytest.raises(distfd.InputError, match="max_wall_time: must be > 0"):
        distfd.Limits(max_wall_time=0)


def test_the_journal_keeps_decisions_and_forgives_a_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "j"
    x = np.array([0.1, 1 / 3])
    journal = Journal(path, "this")
    assert journal.start(x).tobytes() == x.tobytes()
    assert journal.decide("a", 3) == 3
    journal.iterate(x + 1, 2.0)
    with path.open("ab") as file:
        file.write(b'{"iterate": 2, "va')
    again = Journal(path, "this")
    assert again.start(np.zeros(2)).tobytes() == x.tobytes()
    assert again.decide("a", 5) == 3
    again.iterate(x + 1, 2.0)
    again.iterate(x + 2, 1.0)
    assert path.read_bytes().count(b'"iterate"') == 2, "the first was compared, the second is new"
    third = Journal(path, "this")
    third.start(x)
    with pytest.raises(Diverged) as caught:
        third.iterate(x, 2.0)
    assert caught.value.x.tobytes() == (x + 2).tobytes()
    other = Journal(path, "that")
    assert other.start(np.zeros(2)).tolist() == [0, 0]
    assert other.decide("a", 5) == 5
    path.write_text("nonsense\n")
    with pytest.raises(distfd.StoreError, match="damaged"):
        Journal(path, "this")
