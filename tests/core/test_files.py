"""Writing, adding to and reading files: links, pipes, devices and second names lead nowhere else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from distfd.core.files import (
    ForeignFileError,
    NotPlainError,
    check_own_folder,
    make_folders,
    open_plain,
    open_to_add,
    put_aside,
    read_plain,
    remove_unfinished,
    replace_file,
    unused_name,
    write_named,
)

PRECIOUS = b"the only copy of a thesis\n"


@pytest.fixture
def thesis(tmp_path: Path) -> Path:
    """A file of the user's, outside of the folder in which is written."""
    (tmp_path / "home").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "home" / "thesis.tex").write_bytes(PRECIOUS)
    return tmp_path / "home" / "thesis.tex"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def place(kind: str, path: Path, thesis: Path) -> None:
    """Put something of a kind at the path."""
    match kind:
        case "link":
            path.symlink_to(thesis)
        case "dangling":
            path.symlink_to(thesis.with_name("new"))
        case "hard link":
            os.link(thesis, path)
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")


WORDS = {"link": "a link", "dangling": "a link", "pipe": "a named pipe", "folder": "a directory", "device": "a link"}


@pytest.mark.parametrize("kind", list(WORDS))
def test_a_file_is_not_written_in_the_place_of_something_else(thesis: Path, kind: str) -> None:
    path = thesis.parents[1] / "run" / "result.json"
    place(kind, path, thesis)
    before = path.lstat()
    with pytest.raises(ForeignFileError, match=rf"run/result\.json is {WORDS[kind]}, and not the plain file") as caught:
        replace_file(path, lambda file: file.write(b"new"))
    assert caught.value.exit_code == 5
    assert path.lstat() == before
    assert thesis.read_bytes() == PRECIOUS
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]
    assert [p.name for p in thesis.parent.iterdir()] == ["thesis.tex"]


def test_a_file_with_a_second_name_is_replaced_and_the_other_stays(thesis: Path) -> None:
    path = thesis.parents[1] / "run" / "result.json"
    os.link(thesis, path)
    replace_file(path, lambda file: file.write(b"new"))
    assert (path.read_bytes(), thesis.read_bytes()) == (b"new", PRECIOUS)


@pytest.mark.parametrize("kind", [*WORDS, "hard link"])
def test_nothing_else_is_added_to(thesis: Path, kind: str) -> None:
    path = thesis.parents[1] / "run" / "log.jsonl"
    place(kind, path, thesis)
    with pytest.raises(ForeignFileError, match=rf"log\.jsonl is (a file that has a second|{WORDS.get(kind)})"):
        open_to_add(path)
    assert thesis.read_bytes() == PRECIOUS
    assert not thesis.with_name("new").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: root alone gives a file to another user")
def test_a_file_of_another_user_is_neither_added_to_nor_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(PRECIOUS)
    os.chown(path, 54_321, -1)
    for write in (open_to_add, lambda path: replace_file(path, lambda file: file.write(b"new"))):
        with pytest.raises(ForeignFileError, match=r"log\.jsonl is a file of another user"):
            write(path)
    assert path.read_bytes() == PRECIOUS


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "device"])
def test_nothing_but_a_plain_file_is_read(thesis: Path, kind: str) -> None:
    path = thesis.parents[1] / "run" / "log.jsonl"
    place(kind, path, thesis)
    with pytest.raises(NotPlainError, match=f"it is {WORDS[kind]}, not a plain file"):
        open_plain(path)
    if kind == "link":
        with open_plain(path, follow=True) as file:
            assert file.read() == PRECIOUS
    else:
        with pytest.raises(NotPlainError):
            open_plain(path, follow=True)


def test_what_is_too_long_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 11)
    assert read_plain(tmp_path / "f", 11) == b"x" * 11
    with pytest.raises(OSError, match="more than"):
        read_plain(tmp_path / "f", 10)


@pytest.mark.parametrize("umask", [0, 0o077])
def test_what_is_made_is_its_owners(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_folders(tmp_path / "a" / "b" / "c")
        replace_file(tmp_path / "a" / "f", lambda file: file.write(b"1"))
        os.close(open_to_add(tmp_path / "a" / "g"))
        write_named(tmp_path / "a" / "h", lambda file: file.write(b"1"))
    finally:
        os.umask(before)
    assert [mode(tmp_path / "a" / name) for name in ("b", "b/c", "f", "g", "h")] == [0o700, 0o700, *[0o600] * 3]
    assert mode(tmp_path / "a") == 0o700


def test_a_file_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    def fails(file: object) -> None:
        raise OSError(28, "No space left on device")

    replace_file(tmp_path / "f", lambda file: file.write(b"old"))
    with pytest.raises(OSError, match="No space"):
        replace_file(tmp_path / "f", fails)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("f", b"old")]


def test_a_file_that_the_user_names_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o644)
    (tmp_path / "alias").symlink_to("real")
    write_named(tmp_path / "alias", lambda file: file.write(b"new"))
    assert (tmp_path / "alias").is_symlink()
    assert ((tmp_path / "real").read_text(), mode(tmp_path / "real")) == ("new", 0o644)
    write_named("/dev/null", lambda file: file.write(b"new"))
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("folder", [True, False])
def test_a_name_for_what_is_put_aside_is_made_and_never_found(tmp_path: Path, folder: bool) -> None:
    taken = [tmp_path / "run.old", tmp_path / "run.old-2"]
    for k, other in enumerate(taken):
        other.mkdir() if k else other.write_text("mine")
    path = tmp_path / "run"
    if folder:
        path.mkdir()
        (path / "f").write_text("kept")
    else:
        path.write_text("kept")
    aside = put_aside(path, "run.old")
    assert aside == tmp_path / "run.old-3"
    assert (aside / "f" if folder else aside).read_text() == "kept"
    assert taken[0].read_text() == "mine"
    assert taken[1].is_dir()
    assert not path.exists()


def test_a_folder_that_is_emptied_is_a_real_one(thesis: Path) -> None:
    link = thesis.parents[1] / "run" / "work"
    assert not check_own_folder(link)
    link.symlink_to(thesis.parent)
    with pytest.raises(ForeignFileError, match="work is a link"):
        check_own_folder(link)


def test_what_killed_processes_left_half_written_goes_after_a_day(tmp_path: Path) -> None:
    old, new, other, stranger = (
        tmp_path / name
        for name in (
            unused_name("result.json"),
            unused_name("result.json"),
            ".result.json.part",
            unused_name("thesis.tex"),
        )
    )
    for path in (old, new, other, stranger):
        path.write_text("half")
    for path in (old, other, stranger):
        os.utime(path, (1, 1))
    remove_unfinished(tmp_path, ("result.json",))
    assert not old.exists()
    assert new.exists()
    assert other.exists()
    assert stranger.exists()


@pytest.mark.parametrize("name", ["é" * 127, "a" * 255, "🙂" * 63])
def test_names_of_any_length_can_be_written(tmp_path: Path, name: str) -> None:
    replace_file(tmp_path / name, lambda file: file.write(b"1"))
    assert [path.name for path in tmp_path.iterdir()] == [name]
