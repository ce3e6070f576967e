"""Chaos among processes: workers killed, nodes removed, programs that hang, will not listen, or hide."""

from __future__ import annotations

import logging
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from chaos_frame import Row, section

import distfd
from distfd import events

if TYPE_CHECKING:
    from collections.abc import Iterator

X = np.arange(1.0, 17.0)
TIMEOUT = 2.0
"""Seconds that a program may take."""
GRACE = 5.0
"""Seconds after that by which nothing of it may be left."""


def fun(x: Any) -> float:
    time.sleep(0.2)
    return float(x @ x)


class Watcher:
    """The slots' processes, and what was charged."""

    def __init__(self) -> None:
        self.pids: dict[int, int] = {}
        self.charged = 0

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.SlotStarted):
            self.pids[event.slot] = event.pid
        elif isinstance(event, events.AttemptFailed):
            self.charged += 1


def local(cpus: int) -> None:
    import ray

    ray.shutdown()
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)


@section("worker-kills", 200)
def worker_kills(times: int) -> Iterator[Row]:
    """Workers are killed at random moments, at work or idle, while one gradient after the other is computed."""
    local(4)
    watcher, rng, over, killed = Watcher(), random.Random(1), threading.Event(), Counter[str]()

    def kill() -> None:
        while killed["all"] < times and not over.wait(rng.uniform(0.2, 0.8)):
            for pid in rng.sample(list(watcher.pids.values()), min(1, len(watcher.pids))):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed["all"] += 1
        over.set()

    thread = threading.Thread(target=kill)
    wrong, gradients, failed, x = 0, 0, 0, X
    wanted = distfd.gradient(lambda x: float(x @ x), X, executor="serial")
    with distfd.Evaluator(fun, retries={"crash": 10_000}, observers=[watcher], deterministic=False) as ev:
        thread.start()
        while not over.is_set():
            ev._session.store = type(ev._session.store)()  # noqa: SLF001  # the same points, and all of them anew
            result = ev.differentiate(x)
            wrong += result.derivative.tobytes() != wanted.tobytes()
            failed += result.n_failed
            gradients += 1
        thread.join()
    yield Row(
        "a gradient other than undisturbed, or a failure", killed["all"], wrong + failed, f"{gradients} gradients"
    )
    too_many = max(0, watcher.charged - killed["all"])
    yield Row("charged without a kill", killed["all"], too_many, f"{watcher.charged} attempts charged")


@section("node-removals", 20)
def node_removals(times: int) -> Iterator[Row]:
    """A node joins, gets work, and goes in the middle of it: removed, or its raylet killed."""
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    cluster.connect()
    wrong = charged = waited = 0
    try:
        for k in range(times):
            node = cluster.add_node(num_cpus=2)
            while ray.cluster_resources().get("CPU", 0) != 4:
                time.sleep(0.1)
            begun, watcher = threading.Event(), Watcher()

            def observe(event: events.Event, begun: threading.Event = begun, watcher: Watcher = watcher) -> None:
                watcher(event)
                if isinstance(event, events.BatchFinished):
                    begun.set()

            def act(node: Any = node, k: int = k, begun: threading.Event = begun) -> None:
                begun.wait()
                if k % 2:
                    psutil.Process(node.all_processes["raylet"][0].process.pid).kill()
                else:
                    cluster.remove_node(node, allow_graceful=False)

            thread = threading.Thread(target=act)
            thread.start()
            with distfd.Evaluator(fun, retries=0, observers=[observe], deterministic=False) as ev:
                ev.start(wait=True)
                begin = time.monotonic()
                result = ev.differentiate(X, kind="gradient")
                waited = max(waited, time.monotonic() - begin)
            thread.join()
            wrong += not np.allclose(result.derivative, 2 * X, rtol=1e-6) or result.n_failed > 0
            charged += watcher.charged
            while ray.cluster_resources().get("CPU", 0) != 2:
                time.sleep(0.1)
    finally:
        ray.shutdown()
        cluster.shutdown()
    yield Row("a wrong gradient or a failure", times, wrong, f"slowest wave {waited:.1f} s")
    yield Row("an attempt charged to a point", times, charged)


HANGS = "echo $$ >> $PIDS; exec sleep 600"
DEAF = "trap '' TERM INT HUP; echo $$ >> $PIDS; while :; do sleep 60; done"
HIDES = """
trap '' TERM INT HUP
echo $$ >> $PIDS
setsid sh -c 'trap "" TERM; echo $$ >> $PIDS; sh -c "echo \\$\\$ >> $PIDS; exec sleep 600" & wait' &
(setsid sh -c 'trap "" TERM; echo $$ >> $PIDS; exec sleep 600' &)
while :; do sleep 60; done
"""
PROGRAMS = {"hangs": HANGS, "ignores SIGTERM": DEAF, "hides grandchildren by setsid": HIDES}


class Spawns:
    """A Python objective that runs a program by itself and waits for it."""

    def __init__(self, script: str, folder: Path) -> None:
        self.script, self.folder = script, folder

    def reset(self) -> None:
        """Keep nothing."""

    def evaluate(self, x: Any) -> float:
        import subprocess

        pids = self.folder / f"{x[0]:g}"
        subprocess.run(["sh", "-c", self.script], check=False, env={**os.environ, "PIDS": str(pids)})
        return 1.0


def command(script: str, folder: Path) -> Any:
    """The same as an external program."""
    return distfd.CommandObjective(
        ["sh", "-c", f"PIDS={folder}/$(grep -o '[0-9.]*' parameters.json | tail -1); export PIDS; {script}"],
        outputs={"J": {"file": "stdout", "regex": "(.+)"}},
        names=["x0"],
        keep="none",
    )


class Processes:
    """What the programs started, by the numbers that they wrote down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[int, psutil.Process | None] = {}
        self.begun: dict[str, float] = {}
        self.longest: dict[int, float] = {}

    def watch(self, over: threading.Event) -> None:
        """Note, for each process, how long after its evaluation began it was last seen."""
        while not over.wait(0.1):
            self.alive()

    def alive(self) -> int:
        """How many are alive now."""
        now, count = time.monotonic(), 0
        for file in list(self.folder.iterdir()):
            since = self.begun.setdefault(file.name, now)
            for pid in map(int, file.read_text().split()):
                if pid not in self.known:
                    self.known[pid] = process_of(pid)
                if lives(self.known[pid]):
                    self.longest[pid] = now - since
                    count += 1
        return count


def process_of(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def lives(process: psutil.Process | None) -> bool:
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it went between the two questions
        return False


@section("programs", 50)
def programs(times: int) -> Iterator[Row]:
    """Programs that do not end, by themselves and from a Python objective: dead by timeout + 5 s, with all of it."""
    local(4)
    for kind in ("program", "Python objective"):
        for what, script in PROGRAMS.items():
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                objective: Any = command(script, folder) if kind == "program" else Spawns
                more = {} if kind == "program" else {"args": (script, folder)}
                over, processes = threading.Event(), Processes(folder)
                thread = threading.Thread(target=processes.watch, args=(over,))
                thread.start()
                with distfd.Evaluator(objective, timeout=TIMEOUT, on_failure="nan", deterministic=False, **more) as ev:
                    ev.start(wait=True)
                    values = ev.map([[float(k)] for k in range(1, times + 1)])
                    time.sleep(GRACE)
                    over.set()
                    thread.join()
                left, longest = processes.alive(), max(processes.longest.values(), default=0.0)
                slow = sum(seconds > TIMEOUT + GRACE for seconds in processes.longest.values())
                missing = times - len(processes.begun) + int(np.isfinite(values).sum())
                seen = (
                    f"{len(processes.known)} processes, the last {longest - TIMEOUT:+.1f} s after its time, {left} left"
                )
                yield Row(f"{kind} {what}: late, left over or not run", times, slow + left + missing, seen)
