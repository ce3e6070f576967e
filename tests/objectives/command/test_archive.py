"""``keep: archive``: the work directory of every evaluation that goes well, in one file, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from distfd.core.failures import ProgramError
from distfd.objectives.command import archive
from distfd.objectives.command.objective import CommandObjective
from distfd.objectives.command.work_folder import OUTCOME

if TYPE_CHECKING:
    from pathlib import Path

    from distfd.objectives.command.model import ProgramModel

X = np.array([1.5, -0.1])


def model(tmp_path: Path, script: str = "echo 3 | tee sub.txt; ln -s sub.txt again", **options: Any) -> ProgramModel:
    options = {"work": tmp_path / "work", "archive": tmp_path / "archive", "keep": "archive", **options}
    outputs = {"J": {"file": "stdout", "regex": "(3)"}}
    return CommandObjective(["sh", "-c", script], outputs=outputs, names=("a", "b"), base=tmp_path, **options).make()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_in_the_directory_is_in_the_archive(tmp_path: Path) -> None:
    assert model(tmp_path, "mkdir deep; echo 7 > deep/file; echo 3; ln -s stdout again").evaluate(X) == 3.0
    assert names(tmp_path / "work") == []
    assert names(tmp_path / "archive") == [archive.archive_name(X)]
    with tarfile.open(tmp_path / "archive" / archive.archive_name(X)) as packed:
        packed.extraction_filter = getattr(tarfile, "data_filter", None)
        packed.extractall(tmp_path / "out")  # our own
    assert names(tmp_path / "out") == sorted(
        ["again", "deep", OUTCOME, "parameters.json", "rerun.sh", "stderr", "stdout"]
    )
    assert (tmp_path / "out" / "deep" / "file").read_text() == "7\n"
    assert (tmp_path / "out" / "again").is_symlink()
    outcome = json.loads((tmp_path / "out" / OUTCOME).read_text())
    assert (outcome["status"], outcome["value"], outcome["left_out"]) == ("ok", 3.0, [])


def test_one_archive_a_point(tmp_path: Path) -> None:
    live = model(tmp_path)
    for x in (X, X, X + 1e-12):
        live.evaluate(x)
    assert archive.count_archives(tmp_path / "archive") == 2
    assert archive.count_archives(tmp_path / "nowhere") == 0


def test_failed_ones_are_kept_as_directories(tmp_path: Path) -> None:
    with pytest.raises(ProgramError) as caught:
        model(tmp_path, "exit 1").evaluate(X)
    (kept,) = (tmp_path / "work").iterdir()
    assert str(kept) in str(caught.value)
    assert not (tmp_path / "archive").exists()


def test_the_oldest_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live, points = model(tmp_path), [X + k for k in range(5)]
    for k, x in enumerate(points):
        live.evaluate(x)
        os.utime(tmp_path / "archive" / archive.archive_name(x), (k, k))
    monkeypatch.setattr(archive, "MOST_ARCHIVED", 3)
    live.evaluate(X + 5)
    kept = [archive.archive_name(x) for x in (*points[3:], X + 5)]
    assert names(tmp_path / "archive") == sorted(kept)
    monkeypatch.setattr(archive, "MOST_BYTES", 1)
    live.evaluate(X + 6)
    assert names(tmp_path / "archive") == [archive.archive_name(X + 6)], "the newest stays, whatever its size"


def test_huge_files_are_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_LARGEST", 1000)
    model(tmp_path, "head -c 2000 /dev/zero > field.bin; echo 3").evaluate(X)
    with tarfile.open(tmp_path / "archive" / archive.archive_name(X)) as packed:
        assert "field.bin" not in packed.getnames()
        told = packed.extractfile(OUTCOME)
        assert told is not None
        assert json.load(told)["left_out"] == ["field.bin"]


def test_a_full_disk_costs_the_archive_and_not_the_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.warns(RuntimeWarning, match="could not be packed into .*: No space left on device"):
        assert model(tmp_path).evaluate(X) == 3.0
    assert names(tmp_path / "archive") == [], "nothing half written is left"
    assert names(tmp_path / "work") == []


def test_what_a_killed_worker_left_half_written_is_removed(tmp_path: Path) -> None:
    live = model(tmp_path)
    live.evaluate(X)
    old, new = (tmp_path / "archive" / f".{archive.archive_name(X)}.{k * 16}.part" for k in "ab")
    for path in (old, new):
        path.write_text("cut")
    os.utime(old, (0, 0))
    live.evaluate(X)
    assert names(tmp_path / "archive") == sorted([archive.archive_name(X), new.name]), "another worker may be at it"


def test_what_is_not_an_archive_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    mine = ["evaluation-of-wings.csv.gz", "evaluation-1.tar.gz", "evaluation-mine.tar.gz.old.part", ".evaluation.gz"]
    mine += [f"{archive.archive_name(X)}.part", f".mine.tar.gz.{'a' * 16}.part", "thesis.gz"]
    for name in mine:
        (folder / name).write_text("the only copy")
        os.utime(folder / name, (0, 0))
    (tmp_path / "other").write_text("the only copy")
    (folder / f"evaluation-{'a' * 16}.tar.gz").symlink_to(tmp_path / "other")
    (folder / f"evaluation-{'b' * 16}.tar.gz").mkdir()
    os.utime(folder / f"evaluation-{'b' * 16}.tar.gz", (0, 0))
    before = names(folder)
    monkeypatch.setattr(archive, "MOST_ARCHIVED", 1)
    live = model(tmp_path)
    for k in range(3):
        live.evaluate(X + k)
    assert names(folder) == sorted([*before, archive.archive_name(X + 2)])
    assert {(folder / name).read_text() for name in mine} == {"the only copy"}


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_in_its_place_stays_and_costs_no_value(tmp_path: Path, kind: str) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "thesis").write_text("the only copy")
    place = tmp_path / "archive" / archive.archive_name(X)
    if kind == "link":
        place.symlink_to(tmp_path / "thesis")
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
    with pytest.warns(RuntimeWarning, match="could not be packed into .* not the plain file"):
        assert model(tmp_path).evaluate(X) == 3.0
    assert not place.is_file() or place.is_symlink()
    assert (tmp_path / "thesis").read_text() == "the only copy"
    assert names(tmp_path / "archive") == [place.name]


def test_beside_the_work_directories_where_nothing_else_is_said(tmp_path: Path) -> None:
    model(tmp_path, archive=None).evaluate(X)
    assert names(tmp_path / "work") == [archive.archive_name(X)]
