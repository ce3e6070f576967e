"""Lists of runs: what a row says, and that whatever lies in a folder is a row, or none, and never a crash or a hang."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from strangers import sound_run, within

from distfd.errors import InputError
from distfd.run_directory.directory import RunDirectory
from distfd.run_directory.listing import RunRow, config_tags, find_runs, list_runs
from distfd.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path


def rows(folder: Path) -> dict[str, RunRow]:
    with within(60.0):
        return {row.name: row for row in list_runs(folder).rows}


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return sound_run(tmp_path / "runs" / "study" / "run-2")


def rewritten(run: Path, **fields: Any) -> None:
    found = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**found, **fields}))


def test_a_row_says_what_the_result_says(sound: Path) -> None:
    (sound / "config.yaml").write_text("task: gradient\ntags:\n- wing\n- 'a: b'\nx0:\n- 1.0\n")
    row = rows(sound.parents[1])["study/run-2"]
    assert row.fields == {
        "path": str(sound),
        "name": "study/run-2",
        "state": "partial",
        "task": "gradient",
        "tags": ["wing", "a: b"],
        "value_before": None,
        "value": 1.0,
        "gradient_norm": 7.25**0.5,
        "iterations": None,
        "n_parameters": 3,
        "n_evaluations": 4,
        "n_failed": 1,
        "slots": 2,
        "wall_seconds": 2.0,
        "efficiency": 0.75,
        "started": "2027-01-15T08:00:00+00:00",
        "finished": "2027-01-15T08:00:07+00:00",
        "start_seconds": None,
        "trouble": "",
    }


def test_the_efficiency_is_told_without_the_start(sound: Path) -> None:
    rewritten(sound, wall_seconds=10.0, start_seconds=5.0, efficiency=0.4)
    row = rows(sound)["run-2"]
    assert (row.efficiency, row.start_seconds, row.efficiency_once_up) == (0.4, 5.0, 0.8)


def test_a_minimisation_has_j_before_and_after(sound: Path) -> None:
    rewritten(sound, task="minimize", status="done", value0=9.5, x0=[0, 0, 0], iterations=7, converged=True)
    row = rows(sound)["run-2"]  # the folder that is listed may be a run itself
    assert (row.task, row.state, row.value_before, row.value, row.iterations) == ("minimize", "done", 9.5, 1.0, 7)


def test_a_vector_and_a_matrix_have_no_single_number(sound: Path) -> None:
    rewritten(sound, task="jacobian", value=[1.0, 2.0], derivative=[[1.0, 2.0, 3.0]] * 2)
    row = rows(sound)["run-2"]
    assert (row.value, row.gradient_norm, row.state) == (None, None, "partial")


def test_a_run_that_goes_on_is_seen_by_its_lock_and_its_log(sound: Path) -> None:
    (sound / "result.json").unlink()
    lines = (sound / "log.jsonl").read_text().splitlines()[:-1]
    (sound / "log.jsonl").write_text("\n".join(lines) + "\n")
    store = SQLiteStore(sound / "evaluations.sqlite")
    try:
        row = rows(sound)["run-2"]
    finally:
        store.close()
    assert (row.state, row.value, row.gradient_norm, row.iterations) == ("running", 2.0, 1.0, 1)
    assert (row.n_evaluations, row.started) == (4, "2027-01-15T08:00:00+00:00")
    assert rows(sound)["run-2"].state == "cut off"


def test_runs_are_in_the_order_of_their_numbers_and_found_at_four_levels(tmp_path: Path, sound: Path) -> None:
    root = sound.parents[1]
    for name in ("study/run-10", "study/run-9", "a/b/c/d", "a/b/c/e/too-deep", ".hidden/run", "study/run-2/inside"):
        shutil.copytree(sound, root / name)
    (root / "link").symlink_to(sound)
    (root / "loop").symlink_to(root)
    assert list(rows(root)) == ["a/b/c/d", "study/run-2", "study/run-9", "study/run-10"]


@pytest.mark.parametrize(
    ("name", "what", "said"),
    [
        ("result.json", "pipe", "plain file"),
        ("result.json", "link", "plain file"),
        ("result.json", "folder", "plain file"),
        ("result.json", "device", "plain file"),
        ("result.json", b"{", "result.json cannot be read"),
        ("result.json", b"[" * 100_000, "result.json cannot be read"),
        ("result.json", b"[1]", "it is no JSON object"),
        ("result.json", b'{"status": 7}', "result.json is not what distfd writes: status is not text"),
        ("result.json", b'{"n_evaluations": 1e400}', "n_evaluations is not a whole number"),
        ("result.json", None, "it has more than 67.1089 MB"),
    ],
)
def test_what_is_no_result_is_a_row_that_says_so(
    tmp_path: Path, sound: Path, name: str, what: bytes | str | None, said: str
) -> None:
    path = sound / name
    path.unlink()
    put(path, what, tmp_path)
    good = sound_run(sound.parent / "good")
    found = rows(sound.parent)
    assert (found["run-2"].state, found["good"].state) == ("unreadable", "partial")
    assert said in found["run-2"].trouble
    assert good.exists()


@pytest.mark.parametrize("what", ["pipe", "link", "folder", "device", b"", b"SQLite format 3\0" + bytes(4080)])
def test_what_is_no_store_is_a_row_that_says_so(tmp_path: Path, sound: Path, what: bytes | str) -> None:
    (sound / "result.json").unlink()
    (sound / "evaluations.sqlite").unlink()
    put(sound / "evaluations.sqlite", what, tmp_path)
    row = rows(sound.parent)["run-2"]
    assert row.state == "unreadable"
    assert any(name in row.trouble for name in ("evaluations.sqlite", "elsewhere", "/dev/zero"))


@pytest.mark.parametrize("what", ["pipe", "link", "folder", "device", b"tags: [" + b"[" * 5000, b"\xff\0tags: [a]"])
def test_a_configuration_that_is_none_has_no_tags(tmp_path: Path, sound: Path, what: bytes | str) -> None:
    (sound / "config.yaml").unlink()
    put(sound / "config.yaml", what, tmp_path)
    row = rows(sound.parent)["run-2"]
    assert (row.state, row.tags) == ("partial", ())


def put(path: Path, what: bytes | str | None, home: Path) -> None:
    if what == "pipe":
        os.mkfifo(path)
    elif what == "link":
        (home / "elsewhere").write_text("{}")
        path.symlink_to(home / "elsewhere")
    elif what == "folder":
        path.mkdir()
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif isinstance(what, bytes):
        path.write_bytes(what)
    else:
        with path.open("wb") as file:
            file.truncate(2**26 + 1)


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("tags:\n- a\n- b c\nx0: [1]\n", ("a", "b c")),
        ("tags: [a, 1]\n", ("a", "1")),
        ("task: noise\ntags: []\n", ()),
        ("x0: [1]\n", ()),
        ("tags: {a: 1}\n", ()),
        ("tags:\n- &x [*x]\n", ()),
        ("notes: |\n  tags: [no]\n", ()),
        ("tags: [" + ", ".join(f"t{k}" for k in range(100)) + "]\n", tuple(f"t{k}" for k in range(20))),
    ],
)
def test_tags(text: str, tags: tuple[str, ...]) -> None:
    assert config_tags(text) == tags


def test_tags_of_a_configuration_are_those_that_run_writes(tmp_path: Path) -> None:
    from distfd.config.dump import dump_yaml
    from distfd.config.load import load_config

    (tmp_path / "job.yaml").write_text("objective: {python: 'math:fsum'}\nx0: [1, 2]\ntags: [wing, 'yes', 'a #1']\n")
    loaded = load_config(tmp_path / "job.yaml")
    assert config_tags(dump_yaml(loaded.config)) == ("wing", "yes", "a #1")
    (tmp_path / "job.yaml").write_text("objective: {python: 'math:fsum'}\nx0: [1, 2]\n")
    assert "tags" not in dump_yaml(load_config(tmp_path / "job.yaml").config), "as earlier versions wrote it"


def test_stores_that_take_all_the_time_leave_rows_that_say_so(sound: Path) -> None:
    (sound / "result.json").unlink()
    for k in range(3, 6):
        shutil.copytree(sound, sound.parent / f"run-{k}")
    times = iter(range(0, 1000, 6))
    found = list_runs(sound.parent, clock=lambda: float(next(times))).rows
    assert [row.trouble[:15] for row in found] == ["", "", "not looked into", "not looked into"]
    assert {row.state for row in found} == {"cut off"}


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("nowhere", "file"):
        with pytest.raises(InputError, match=f"{name} cannot be listed"):
            list_runs(tmp_path / name)
    assert list_runs(tmp_path).rows == ()


def test_a_look_at_very_many_folders_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distfd.run_directory.listing._MOST_FOLDERS", 5)
    for k in range(8):
        (tmp_path / f"d{k}").mkdir()
    found, complete = find_runs(tmp_path)
    assert (found, complete) == ([], False)
    assert not list_runs(tmp_path).complete


def test_a_run_without_a_store_is_listed_by_its_result(sound: Path) -> None:
    (sound / "evaluations.sqlite").unlink()
    assert rows(sound)["run-2"].state == "partial"
    assert RunDirectory(sound).result() is not None
