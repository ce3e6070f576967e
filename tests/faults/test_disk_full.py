"""A disk that is full at each of the writes of a run: the cause is named, what was committed is kept, room resumes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from storing import wrong_values

from distfd.config.load import load_config
from distfd.core import files
from distfd.errors import StoreError
from distfd.executors.serial import SerialExecutor
from distfd.jobs.run import Job
from distfd.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

D = 30
MODEL = """
def fun(x, log):
    with open(log, "a") as file:
        file.write("call\\n")
    return float((x - 1) @ (x - 1))
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of D + 1 evaluations in this process; it counts its calls."""
    monkeypatch.setattr("distfd.jobs.run.make_executor", lambda *_, **__: SerialExecutor())
    (tmp_path / "full_disk_model.py").write_text(MODEL)
    document = {
        "objective": {"python": "full_disk_model:fun", "kwargs": {"log": str(tmp_path / "calls")}},
        "x0": [0.5 + k for k in range(D)],
        "output": str(tmp_path / "disk" / "run"),
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "disk").mkdir()
    return tmp_path / "job.yaml"


def run(config: Path) -> dict[str, Any]:
    return Job(load_config(str(config), ()), lambda event: None, lambda text: None).run()


def n_calls(config: Path) -> int:
    log = config.with_name("calls")
    return len(log.read_text().splitlines()) if log.exists() else 0


def fill_up(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """From now on what is written to the file of this name finds no space."""

    def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
        def full(file: IO[bytes]) -> None:
            with Path("/dev/full").open("wb") as disk:
                write(disk)

        files.replace_file(path, full if path.name == name else write)

    monkeypatch.setattr("distfd.run_directory.directory.replace_file", replace_file)
    if name == "log.jsonl":
        monkeypatch.setattr("distfd.observers.json_log.open_to_add", lambda path: os.open("/dev/full", os.O_WRONLY))


@pytest.mark.parametrize("name", ["config.yaml", "log.jsonl", "derivative.npz", "result.json"])
def test_a_file_that_cannot_be_written_is_named_and_nothing_is_lost(config: Path, name: str) -> None:
    directory = config.parent / "disk" / "run"
    with pytest.MonkeyPatch.context() as patched:
        fill_up(patched, name)
        with pytest.raises(StoreError, match=rf"{name} cannot be written: No space left") as caught:
            run(config)
    assert caught.value.exit_code == 5
    before = n_calls(config)
    result = run(config)
    assert result["status"] == "done"
    assert n_calls(config) == D + 1
    assert (result["n_evaluations"], result["n_reused"]) == (D + 1, before)
    assert not [path for path in directory.iterdir() if path.name.endswith(".part")]


def test_a_result_that_was_there_stays_until_there_is_another(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(config)
    fill_up(monkeypatch, "log.jsonl")
    # A finished run writes nothing, so it needs no room.
    assert run(config)["status"] == "done"


@contextmanager
def small_disk(directory: Path, kilobytes: int) -> Iterator[Path]:
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED, needs root: a file system of its own ({done.stderr.strip()})")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.mark.parametrize(
    "kilobytes", [4, 48, 80, 100, 112, *(pytest.param(k, marks=pytest.mark.slow) for k in range(8, 140, 4))]
)
def test_a_small_disk(config: Path, kilobytes: int) -> None:
    """From one on which nothing fits to one on which all does: an error that names the disk, or the whole result."""
    with small_disk(config.parent / "disk", kilobytes) as disk:
        said = ""
        try:
            run(config)
        except StoreError as error:
            said = str(error)
        if said:
            assert "space" in said or "full" in said
        else:
            assert json.loads((disk / "run" / "result.json").read_text())["status"] == "done"
        before = n_calls(config)
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        result = run(config)
        assert result["status"] == "done"
        assert n_calls(config) - before <= D + 1
        if result["n_reused"]:
            assert n_calls(config) - before == D + 1 - result["n_reused"]
        x = 0.5 + np.arange(D)
        np.testing.assert_allclose(result["derivative"], 2 * (x - 1), atol=1e-5)


WRITER = """
    import resource, sys
    sys.path.insert(0, sys.argv[2])
    from storing import keys, vectors
    from distfd.errors import StoreError
    from distfd.stores.sqlite import SQLiteStore
    store = SQLiteStore(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    n = 0
    try:
        while n < 100_000:
            store.put(keys(list(range(n, n + 50))), vectors(list(range(n, n + 50))))
            n += 50
    except StoreError as error:
        print(n, error)
    store.close()
"""


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """As a quota: needs no root. (Python ignores SIGXFSZ, so the write fails.)"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    path = tmp_path / "s.sqlite"
    here = Path(__file__).parents[1]
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(here)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=here.parent)
    committed = int(ran.stdout.split()[0])
    assert committed >= 50
    assert "s.sqlite" in ran.stdout
    store = SQLiteStore(path)
    assert wrong_values(store, list(range(committed))) == (committed, 0)
    assert (store.quarantined, store.bad_rows) == (None, 0)
    store.close()
