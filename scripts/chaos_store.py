"""Chaos for the driver and its store: kills, damage, two drivers on one directory, a long run."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from chaos_frame import Row, section

import distfd
from distfd.core.records import Batch, Status
from distfd.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Iterator

POINTS = 200


def traced(x: Any, folder: str, seconds: float) -> float:
    """J that tells which point it begins and ends, and in which process."""
    moved = np.flatnonzero(x != np.round(x))
    # J(x), a coordinate's point, or one where many have moved: the directional check.
    point = 0 if not len(moved) else int(moved[0]) + 1 if len(moved) == 1 else len(x) + 1
    note(folder, f"begun {point}")
    time.sleep(seconds)
    value = float(np.sin(x) @ np.cos(x[::-1]))
    note(folder, f"ended {point}")
    return value


def note(folder: str, text: str) -> None:
    """One line, whole, from however many processes."""
    log = os.open(f"{folder}/calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(log, f"{text} {os.getpid()}\n".encode())
    os.close(log)


def drive(folder: str, executor: str, seconds: float, points: int) -> None:
    """A driver to be killed: one gradient, its bits in a file."""
    made: Any = distfd.RayExecutor(max_slots=4) if executor == "ray" else executor
    arguments = {"args": (folder, seconds), "store": f"{folder}/s.sqlite", "executor": made, "version": "1"}
    note(folder, "start 0")
    with distfd.Evaluator(traced, **arguments) as evaluator:
        gradient = evaluator.gradient(np.arange(1.0, points))
    (Path(folder) / "gradient").write_bytes(gradient.tobytes())


def start(folder: Path, executor: str, seconds: float, points: int, **environment: str) -> subprocess.Popen[bytes]:
    """A driver in a process of its own."""
    argv = [sys.executable, __file__, str(folder), executor, str(seconds), str(points)]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **environment})


def calls(folder: Path) -> list[tuple[str, int, int]]:
    """(begun or ended, point, process) so far."""
    with contextlib.suppress(FileNotFoundError):
        lines = (folder / "calls").read_text().splitlines()
        return [(word, int(point), int(pid)) for word, point, pid in map(str.split, lines)]
    return []


def committed(folder: Path) -> set[int]:
    """Points with a value in the store, of which a copy is read: after a kill SQLite has to write to read."""
    if not (folder / "s.sqlite").exists():
        return set()
    with tempfile.TemporaryDirectory() as aside:
        for end in ("", "-wal", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(f"{folder}/s.sqlite{end}", aside)
        connection = sqlite3.connect(f"{aside}/s.sqlite")
        rows = connection.execute("SELECT point FROM evaluations WHERE status = 'ok'").fetchall()
        connection.close()
        return {point for (point,) in rows}


def kills(times: int, executor: str, seconds: float, longest: float, points: int, **environment: str) -> Iterator[Row]:
    """Kill drivers at random moments, run them again, and compare with one that nobody killed."""
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as quiet:
        whole = start(Path(quiet), executor, seconds, points, **environment)
        errors = whole.communicate()[1].decode()
        if whole.returncode:
            raise RuntimeError(errors)
        right = (Path(quiet) / "gradient").read_bytes()
    done = lost = repeated = wrong = runs = made_twice = kept = 0
    while done < times:
        runs += 1
        folder = Path(tempfile.mkdtemp())
        before: set[int] = set()
        while not (folder / "gradient").exists():
            seen = calls(folder)
            old = {pid for _, _, pid in seen}
            ended = {point for word, point, _ in seen if word == "ended"}
            driver = start(folder, executor, seconds, points, **environment)
            finished = False
            if done < times:
                # Mostly while it evaluates, and sometimes while it is still starting.
                word = "begun" if rng.random() < 0.8 else "start"
                while all(call[0] != word for call in calls(folder)[len(seen) :]) and driver.poll() is None:
                    time.sleep(0.005)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    driver.wait(rng.uniform(0, longest))
                    finished = True
                driver.kill()
            errors = driver.communicate()[1].decode()
            if not finished and driver.returncode == -9:
                done += 1
            elif driver.returncode:
                raise RuntimeError(errors)
            again = {point for word, point, pid in calls(folder)[len(seen) :] if word == "begun" and pid not in old}
            repeated += len(again & before)
            made_twice += len(again & ended)
            now = committed(folder)
            lost += len(before - now)
            before = now
        wrong += (folder / "gradient").read_bytes() != right
        kept += len(before)
        shutil.rmtree(folder)
    what = f"kill -9 of the driver, {points} evaluations of {1000 * seconds:g} ms, {executor}, then run again"
    seen_too = f"{runs} runs; {made_twice} evaluations that had ended, but were not committed, were made again"
    yield Row(f"{what}: committed lost", done, lost, seen_too)
    yield Row(f"{what}: committed repeated", done, repeated)
    yield Row(f"{what}: gradients of other bits", runs, wrong)


@section("driver-serial", 100)
def driver_serial(times: int) -> Iterator[Row]:
    yield from kills(times, "serial", 0.003, 1.0, POINTS)


@contextlib.contextmanager
def cluster(cpus: int) -> Iterator[str]:
    """A Ray cluster for drivers to join."""
    import ray

    ray.shutdown()  # a section before may have had a cluster
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()


@section("driver-ray", 100)
def driver_ray(times: int) -> Iterator[Row]:
    # Workers of a killed driver keep their CPUs for some seconds.
    with cluster(24) as address:
        yield from kills(times, "ray", 0.03, 2.0, POINTS, RAY_ADDRESS=address)


@section("driver-long", 20)
def driver_long(times: int) -> Iterator[Row]:
    with cluster(24) as address:
        yield from kills(times, "ray", 1.1, 4.0, 13, RAY_ADDRESS=address)


def batch(numbers: list[int]) -> Batch:
    """Values that tell which key they belong to."""
    n = len(numbers)
    return Batch(
        index=np.array(numbers),
        status=np.full(n, Status.OK, np.uint8),
        size=np.full(n, 2),
        flat=np.repeat(np.array(numbers, np.float64) * 1.1, 2),
        started=np.full(n, 1.7e9),
        ended=np.full(n, 1.7e9 + 2),
        attempt=np.ones(n, np.int32),
        host="node",
        pid=1,
        slot=0,
    )


def keys(numbers: list[int]) -> Any:
    """Identities."""
    return np.array([(n, n * 7919 + 1) for n in numbers], np.uint64).reshape(-1, 2)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Bits flipped, pages zeroed, exchanged or overwritten, or the end cut off."""
    changed = bytearray(data)
    at, length = rng.randrange(len(data)), rng.randrange(1, 4096)
    page, other = (4096 * rng.randrange(max(1, len(data) // 4096)) for _ in range(2))
    kind = rng.randrange(6)
    if kind == 0:
        del changed[at:]
    elif kind == 1:
        changed[at : at + length] = rng.randbytes(len(changed[at : at + length]))
    elif kind == 2:
        changed[page : page + 4096] = bytes(len(changed[page : page + 4096]))
    elif kind == 3:
        changed[other : other + 4096] = data[page : page + 4096]
    else:
        for _ in range(1 if kind == 4 else 8):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


@section("damage", 1000)
def damage(times: int) -> Iterator[Row]:
    rng = random.Random(2)
    numbers = list(range(60))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        whole = Path(folder) / "whole.sqlite"
        store = SQLiteStore(whole)
        for part in np.split(np.array(numbers), 6):
            store.put(keys(part.tolist()), batch(part.tolist()))
        live = {end: Path(f"{whole}{end}").read_bytes() for end in ("", "-wal")}
        store.close()
        closed = {"": whole.read_bytes()}
        for name, files in (("the file", closed), ("the file and its -wal", live)):
            yield damaged(Path(folder), name, files, numbers, times // 2, rng)


def damaged(  # noqa: PLR0917  # called once, above
    folder: Path, name: str, files: dict[str, bytes], numbers: list[int], times: int, rng: random.Random
) -> Row:
    """Mutate, open, and compare every value that is still given out."""
    wrong = aside = marked = untold = 0
    for case in range(times):
        path = folder / f"{name[-4:]}-{case}.sqlite"
        victim = rng.choice(list(files))
        for end, data in files.items():
            Path(f"{path}{end}").write_bytes(mutated(data, rng) if end == victim else data)
        store = SQLiteStore(path)
        rows, sizes, flat = store.get(keys(numbers))
        right = batch([numbers[row] for row in rows.tolist()])
        wrong += flat.tobytes() != right.flat.tobytes() or sizes.tolist() != right.size.tolist()
        aside += store.quarantined is not None
        marked += store.bad_rows > 0
        # A log whose end is torn off is what any kill leaves: SQLite reads it up to there.
        untold += len(rows) < len(numbers) and store.quarantined is None and not store.bad_rows and victim != "-wal"
        store.close()
        for path_ in folder.glob(f"{path.name}*"):
            path_.unlink()
    return Row(
        f"random mutations of {name}: silently wrong",
        times,
        wrong + untold,
        f"{aside} files put aside, {marked} with rows marked as damaged",
    )


@section("pairs", 50)
def pairs(times: int) -> Iterator[Row]:
    double = neither = refused = 0
    for _ in range(times):
        folder = Path(tempfile.mkdtemp())
        both = [start(folder, "serial", 0.003, POINTS) for _ in range(2)]
        said = [driver.communicate()[1].decode() for driver in both]
        refused += sum("is in use by process" in text for text in said)
        begun = [point for word, point, _ in calls(folder) if word == "begun"]
        double += len(begun) - len(set(begun))
        neither += len(set(begun)) != POINTS
        shutil.rmtree(folder)
    yield Row("two drivers on one store: evaluations made twice", times, double, f"{refused} drivers refused")
    yield Row("two drivers on one store: no complete gradient", times, neither)


@section("soak", 10_000)
def soak(times: int) -> Iterator[Row]:
    import psutil

    me, rounds = psutil.Process(), 50
    samples = []
    with tempfile.TemporaryDirectory() as folder, cluster(4):
        d = max(1, times // rounds - 1)
        store = Path(folder) / "s.sqlite"
        with distfd.Evaluator(rosenbrock, store=store, executor=distfd.RayExecutor(max_slots=4)) as evaluator:
            for k in range(rounds):
                evaluator.gradient(np.full(d, 1.0 + k))
                family = me.children(recursive=True)
                samples.append((me.num_fds(), me.memory_info().rss / 2**20, zombies(family), worker_memory(family)))
    half = np.array(samples[rounds // 2 :])
    first, last = half[: len(half) // 5].mean(axis=0), half[-(len(half) // 5) :].mean(axis=0)
    n = rounds * (d + 1)
    yield Row("file descriptors of the driver grow", n, int(last[0] > first[0] + 2), f"{first[0]:.0f} to {last[0]:.0f}")
    yield Row(
        "memory of the driver grows by a tenth", n, int(last[1] > 1.1 * first[1]), f"{first[1]:.0f} to {last[1]:.0f} MB"
    )
    yield Row("zombies", n, int(last[2]))
    yield Row(
        "memory of workers grows by a tenth", n, int(last[3] > 1.1 * first[3]), f"{first[3]:.0f} to {last[3]:.0f} MB"
    )


def rosenbrock(x: Any) -> float:
    """Some 20 us."""
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def zombies(family: list[Any]) -> int:
    """Ended processes that nobody has waited for."""
    import psutil

    found = 0
    for process in family:
        with contextlib.suppress(psutil.Error):
            found += process.status() == psutil.STATUS_ZOMBIE
    return found


def worker_memory(family: list[Any]) -> float:
    """MB of the largest worker of ours."""
    import psutil

    sizes = [0.0]
    for process in family:
        with contextlib.suppress(psutil.Error):
            if any("RayWorker" in part for part in process.cmdline()):
                sizes.append(process.memory_info().rss / 2**20)
    return max(sizes)


if __name__ == "__main__":
    drive(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
