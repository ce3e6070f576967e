"""Write the run directories of ``runs/`` anew. They are kept as they were written by an early version, 0.1.0.

To make them again means to give up what those before them held: do so only where a break is meant, and say so in the
changelog. It needs /tmp/job, which keeps other paths out of what is written; and so that the machine's name is not in
it either, run it as root with

    unshare --uts sh -c 'hostname node; exec python tests/compatibility/make_runs.py'

All is kept as it was left, but for report.html, ray.log and output.log. The runs that were killed have beside them what
this version makes of them: ``expected.json``, with the result, and how many points were evaluated in all.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

from old_runs import FINISHED, KILLED, RUNS, Cluster, lay_out, left, n_held

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

JOB = Path("/tmp/job")
DROPPED = shutil.ignore_patterns("report.html", "ray.log", "output.log", "*.lock")


def await_that(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    while not condition():
        time.sleep(0.01)


def keep(case: str) -> None:
    """Take the run's directory for the one that is kept."""
    shutil.rmtree(RUNS / case / "run", ignore_errors=True)
    shutil.copytree(JOB / case / "run", RUNS / case / "run", ignore=DROPPED)


def kill(process: subprocess.Popen[str]) -> None:
    """End the driver at once."""
    process.kill()
    process.communicate()


def interrupt_minimisation(cluster: Cluster, folder: Path) -> None:
    """Kill it in the round after its third iterate."""
    process = cluster.start(folder, "run", "job.yaml")
    journal = folder / "run" / "iterates.jsonl"
    await_that(lambda: journal.exists() and journal.read_text().count('"iterate"') >= 3)
    kill(process)


def leave_some(cluster: Cluster, folder: Path) -> None:
    """Kill it while two evaluations are at work, which their workers end."""
    process = cluster.start(folder, "run", "job.yaml")
    await_that(lambda: len(cluster.calls()) >= 4)
    cluster.hold(True)
    begun = -1
    while len(cluster.calls()) > begun:  # until all that may begin has begun, and what is done is committed
        begun = len(cluster.calls())
        time.sleep(2)
    process.send_signal(19)  # SIGSTOP: it takes no report any more
    cluster.hold(False)
    await_that(lambda: len(left(folder / "run")) >= 2)
    kill(process)


def main() -> None:
    """Make all of them."""
    shutil.rmtree(JOB, ignore_errors=True)
    (JOB / "calls").mkdir(parents=True)
    cluster = Cluster(JOB / "calls", 8, seconds=0.1)
    for case in (*FINISHED, *KILLED):
        folder = JOB / case
        lay_out(case, folder, with_run=False)
        cluster.forget_calls()
        if case in FINISHED:
            code, told = cluster.run(folder, "run", "job.yaml")
            assert code == 0, told
            keep(case)
            print(f"{case}: {len(cluster.calls())} calls")
            continue
        (interrupt_minimisation if case == "minimize-killed" else leave_some)(cluster, folder)
        time.sleep(10)  # Ray's workers have ended by then
        keep(case)
        held = n_held(folder / "run")
        code, told = cluster.run(folder, "run", "job.yaml")
        assert code == 0, told
        expected: dict[str, Any] = {
            "n_points": len(set(cluster.calls())),
            "n_held": held,
            "result": json.loads((folder / "run" / "result.json").read_text()),
        }
        (RUNS / case / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
        print(f"{case}: {held} of {expected['n_points']} points held")
    cluster.close()


if __name__ == "__main__":
    main()
