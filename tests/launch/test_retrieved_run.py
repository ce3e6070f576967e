"""A run that is brought back: what stood in its place, and in the places beside it, is kept."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import tarfile
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from distfd.errors import ClusterError, InputError, StoreError
from distfd.launch.pack import read_printed, write_tar
from distfd.launch.retrieved_run import check_place, unpack

if TYPE_CHECKING:
    from pathlib import Path


def packed(*members: tuple[Any, ...]) -> io.BytesIO:
    """A tar of (name, type, content or target of a link)."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = content
                tar.addfile(info)
            else:
                info.size = len(content)
                info.mode = 0o777
                tar.addfile(info, io.BytesIO(content))
    made.seek(0)
    return made


def run(text: bytes = b"{}") -> io.BytesIO:
    return packed(("result.json", tarfile.REGTYPE, text))


def test_folders_of_the_users_are_kept_whatever_they_are_called(tmp_path: Path) -> None:
    output = tmp_path / "run"
    for name in ("run.old", "run.part", ".run.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("precious")
    assert unpack(run(b"1"), output, "job") is None
    (output / "notes.txt").write_text("mine")
    aside = unpack(run(b"2"), output, "job")
    assert aside is not None
    assert (aside / "notes.txt").read_text() == "mine"
    assert (aside / "result.json").read_text() == "1"
    assert (output / "result.json").read_text() == "2"
    for name in ("run.old", "run.part", ".run.part"):
        assert (tmp_path / name / "thesis.tex").read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 5, "nothing is left half done"


def test_an_empty_directory_is_no_loss(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    check_place(tmp_path / "run", "job")
    assert unpack(run(), tmp_path / "run", "job") is None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("precious")
    (tmp_path / "run").symlink_to("home")
    with pytest.raises(InputError, match="is there already, and did not come from"):
        check_place(tmp_path / "run", "job")
    (tmp_path / "home" / "submitted.json").write_text(json.dumps({"job": "job"}))
    with pytest.raises(StoreError, match="is a link"):
        unpack(run(), tmp_path / "run", "job")
    assert (tmp_path / "home" / "thesis.tex").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "run"]


def test_what_is_brought_back_is_its_owners(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        unpack(packed(("a", tarfile.DIRTYPE, b""), ("a/f", tarfile.REGTYPE, b"1")), tmp_path / "x" / "run", "job")
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "x").rglob("*")}
    assert modes == {"run": 0o700, "a": 0o700, "f": 0o600, "submitted.json": 0o600}
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o700


BAD: dict[str, list[tuple[Any, ...]]] = {
    "absolute": [("/tmp/evil", tarfile.REGTYPE, b"")],
    "above": [("a/../../evil", tarfile.REGTYPE, b"")],
    "link": [("a", tarfile.SYMTYPE, "/etc"), ("a/evil", tarfile.REGTYPE, b"")],
    "hard link": [("a", tarfile.LNKTYPE, "/etc/passwd")],
    "pipe": [("a", tarfile.FIFOTYPE, b"")],
    "device": [("a", tarfile.CHRTYPE, b"")],
    "twice": [("a", tarfile.REGTYPE, b"1"), ("./a", tarfile.REGTYPE, b"2")],
    "steering": [("a\x1b[31m", tarfile.REGTYPE, b"")],
    "deep": [("/".join("d" * 40), tarfile.REGTYPE, b"")],
}


@pytest.mark.parametrize("kind", list(BAD))
def test_nothing_but_plain_files_below_it_is_brought_back(tmp_path: Path, kind: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes").write_text("mine")
    with pytest.raises(StoreError) as caught:
        unpack(packed(*BAD[kind]), tmp_path / "run", "job")
    assert "\x1b" not in str(caught.value)
    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*"))] == ["run", "run/notes"]


def test_a_tar_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("huge")
    info.size = 2**50
    with pytest.raises(StoreError, match="more than 100,000 files, or 16 GiB"):
        unpack(io.BytesIO(gzip.compress(info.tobuf() + bytes(10_240))), tmp_path / "run", "job")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_the_head_of_a_file_is_not_read_beyond_a_mebibyte(tmp_path: Path, kind: bytes) -> None:
    name = tarfile.TarInfo("name")
    name.type, name.size = kind, 200 * 2**20
    plain = tarfile.TarInfo("result.json").tobuf()
    archive = gzip.compress(name.tobuf(tarfile.GNU_FORMAT) + bytes(name.size) + plain + bytes(10_240), 1)
    tracemalloc.start()
    try:
        with pytest.raises(StoreError, match="more than 1 MiB"):
            unpack(io.BytesIO(archive), tmp_path / "run", "job")
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["w", "w:xz", "w:bz2"])
def test_what_is_not_packed_as_a_run_is_packed_is_refused(tmp_path: Path, mode: Any) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as tar:
        info = tarfile.TarInfo("result.json")
        info.size = 300_000
        tar.addfile(info, io.BytesIO(os.urandom(info.size)))
    raw = made.getvalue()
    for damaged in (raw, raw[: len(raw) // 2] + bytes(100) + raw[len(raw) // 2 :]):
        with pytest.raises(StoreError, match="cannot be written"):
            unpack(io.BytesIO(damaged), tmp_path / "run", "job")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", ["abc", "Zm9v!", "not\u00e9", "warning: no base64", "Zg=", "====", "\x1b[2J"])
def test_what_others_print_between_the_lines_is_told_of(line: str) -> None:
    with pytest.raises(ClusterError, match="came back damaged"):
        read_printed(f"hello\ndistfd-pack-begin\n{line}\ndistfd-pack-end 00\n", io.BytesIO())


def test_what_is_cut_short_is_refused(tmp_path: Path) -> None:
    whole = run(os.urandom(100_000)).getvalue()
    for size in (0, 5, 100, 50_000, 99_000):
        with pytest.raises(StoreError):
            unpack(io.BytesIO(whole[:size]), tmp_path / "run", "job")
    assert list(tmp_path.iterdir()) == []


def test_links_and_pipes_in_a_run_do_not_keep_it_from_coming_home(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "result.json").write_text("{}")
    (tmp_path / "there" / "passwords").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "there" / "pipe")
    made = io.BytesIO()
    write_tar(tmp_path / "there", made)
    made.seek(0)
    unpack(made, tmp_path / "run", "job")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["result.json", "submitted.json"]
