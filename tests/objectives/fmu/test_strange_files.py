"""FMUs of strangers: each is refused in words, or fails in words, and nothing is written but in a folder of its own."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fmus import described, exchange_description, load_builder, packed
from strangers import distfd as distfd_command

import distfd
from distfd.core.failures import EvaluationFailure
from distfd.errors import InputError, MissingSimulatorError
from distfd.objectives.fmu import archive
from distfd.objectives.fmu.description import read_description

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import RequireSimulator

X = np.array([2.0, 0.5, 4.0])
NAMES = ("area", "k", "tank.h0")


@pytest.fixture(autouse=True)
def _fmpy(require_simulator: RequireSimulator) -> None:
    require_simulator("fmpy")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, a test's own."""
    found = tmp_path / "temporary"
    found.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(found))
    return found


def objective(path: Path) -> distfd.FMUObjective:
    return distfd.FMUObjective(path, outputs={"h": "h"}, names=NAMES)


def evaluated(path: Path) -> Any:
    model = objective(path).make()
    try:
        return model.evaluate(X, timeout=None)
    finally:
        model.close()


def link(path: Path) -> Path:
    member = zipfile.ZipInfo("resources/data")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return packed(path, described(), {member: b"/etc/passwd"})


def device(path: Path) -> Path:
    member = zipfile.ZipInfo("resources/data")
    member.external_attr = (stat.S_IFCHR | 0o666) << 16
    return packed(path, described(), {member: b""})


def named(name: str) -> Callable[[Path], Path]:
    return lambda path: packed(path, described(), {name: b"1"})


def twice(path: Path) -> Path:
    packed(path, described())
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as there:
        there.writestr("binaries/linux64/tank.so", "another")
    return path


def bomb(path: Path) -> Path:
    return packed(path, described(), {"resources/zeros": bytes(80 * 2**20)})


def claims(size: int) -> Callable[[Path], Path]:
    """A file whose directory claims a size that it has not."""

    def made(path: Path) -> Path:
        packed(path, described(), {"resources/data": b"1" * 100})
        data = bytearray(path.read_bytes())
        entry = data.rindex(b"resources/data") - 46  # of the central directory; sizes are at its bytes 20 to 28
        data[entry + 24 : entry + 28] = struct.pack("<I", size)
        path.write_bytes(data)
        return path

    return made


def encrypted(path: Path) -> Path:
    packed(path, described())
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    return path


def cut(path: Path) -> Path:
    packed(path, described())
    path.write_bytes(path.read_bytes()[:-30])
    return path


def broken_data(path: Path) -> Path:
    """Its description does not inflate."""
    packed(path, described())
    data = bytearray(path.read_bytes())
    data[60:90] = b"\xff" * 30
    path.write_bytes(data)
    return path


def xml(text: str | bytes) -> Callable[[Path], Path]:
    return lambda path: packed(path, text)


ENTITIES = "".join(f'<!ENTITY a{k + 1} "{f"&a{k};" * 10}">' for k in range(12))
LAUGHS = f'<?xml version="1.0"?><!DOCTYPE fmiModelDescription [<!ENTITY a0 "ha">{ENTITIES}]>'
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE fmiModelDescription [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
HEAD = '<?xml version="1.0" encoding="UTF-8"?>'

REFUSED: list[tuple[Callable[[Path], Path], str]] = [
    (named("../../evil"), "not a path inside the FMU"),
    (named("resources/../../evil"), "not a path inside the FMU"),
    (named("/tmp/evil"), "not a path inside the FMU"),
    (named("resources\\..\\evil"), "not a path inside the FMU"),
    (named("resources//evil"), "not a path inside the FMU"),
    (named("resources/\x1b[2Jevil"), r"'resources/\x1b[2Jevil' in it is not a path"),
    (link, "'resources/data' in it is a symbolic link"),
    (device, "'resources/data' in it is a special file"),
    (twice, "'binaries/linux64/tank.so' is in it twice"),
    (bomb, "unpack to 80 MiB, like those of a ZIP bomb"),
    (claims(2**32 - 2), "unpack to 4096 MiB, like those of a ZIP bomb"),
    (encrypted, "is encrypted"),
    (cut, "is no FMU, which is a ZIP archive"),
    (broken_data, "is no FMU, which is a ZIP archive"),
    (
        lambda path: packed(path, described(), {f"r/{k}": b"" for k in range(6)}),
        "it has 7 files in it, and at most 5 are",
    ),
    (xml(described().replace(HEAD, LAUGHS).replace("level", "&a12;")), "declares a document type"),
    (xml(described().replace(HEAD, OUTSIDE).replace("level", "&e;")), "declares a document type"),
    (xml(described().replace(HEAD, LAUGHS).encode("utf-16")), "declares a document type"),
    (xml(b"<fmi" + described().encode()[10:]), "cannot be read: "),
    (xml(b""), "cannot be read: no element found"),
    (xml("<html/>"), "describes no FMU: its root is <html>"),
    (xml("<fmiModelDescription/>"), "describes no FMU"),
    (xml('<fmiModelDescription fmiVersion="2.0"/>'), "cannot be read: "),
    (xml(described().replace('fmiVersion="2.0"', 'fmiVersion="1.0"')), "of FMI 1.0; FMI 2 and 3 can be used"),
    (
        xml("<fmiModelDescription fmiVersion='2.0'>" + "<a>" * 10_000 + "</a>" * 10_000 + "</fmiModelDescription>"),
        "read",
    ),
    (xml(described().replace('Identifier="tank"', 'Identifier="../../../evil"')), "is no identifier of C"),
    (xml(described().replace('valueReference="5"', 'valueReference="-5"')), "h has valueReference -5"),
    (xml(described().replace('valueReference="5"', 'valueReference="4294967301"')), "h has valueReference 4294967301"),
    (xml(described().replace('start="0.5"', 'start="half"')), "is wrong: ValueError: could not convert string"),
    (xml(described().replace('stepSize="0.1"', 'stepSize="1e-12"')), "step: 1e-12 makes 4e+12 steps"),
    (xml(described().replace('stopTime="4"', 'stopTime="inf"')), "stop_time: is a finite number"),
    (xml(described().replace('stepSize="0.1"', 'stepSize="-1"')), "step: must be > 0"),
    (xml(described().replace("<CoSimulation ", "<ScheduledExecution ")), "for scheduled execution alone"),
    (xml(exchange_description(2).replace('Identifier="tank"', 'Identifier="../../../evil"')), "is no identifier of C"),
]


@pytest.mark.parametrize(("make", "text"), REFUSED, ids=[f"{k}-{case[1][:30]}" for k, case in enumerate(REFUSED)])
def test_it_is_refused_before_anything_is_written(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path], text: str
) -> None:
    if "at most 5 are" in text:
        monkeypatch.setattr(archive, "_MEMBERS", 5)
    path = make(tmp_path / "tank.fmu")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        objective(path)
    assert text in str(caught.value)
    assert "tank.fmu" in str(caught.value) or "step" in text or "stop_time" in text, "it is named"
    assert str(caught.value).isprintable()
    assert sorted(tmp_path.rglob("*")) == before
    assert not list(place.iterdir())


def test_too_large_a_description_and_too_large_an_fmu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path / "tank.fmu", described())
    monkeypatch.setattr(archive, "LARGEST_XML", 1000)
    with pytest.raises(InputError, match=r"its modelDescription\.xml has .* MiB are allowed"):
        objective(path)
    monkeypatch.setattr(archive, "LARGEST", 1000)
    with pytest.raises(InputError, match=r"it unpacks to .* are allowed"):
        objective(path)


@pytest.mark.parametrize("what", ["folder", "pipe", "missing"])
def test_what_is_no_plain_file_hangs_nothing(tmp_path: Path, what: str) -> None:
    path = tmp_path / "tank.fmu"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    said = {"folder": "is a folder", "pipe": "is no regular file", "missing": "does not exist"}[what]
    with pytest.raises(InputError, match=said):
        objective(path)


def test_scheduled_execution_alone_says_what_to_do(tmp_path: Path) -> None:
    text = described().replace("<CoSimulation ", "<ScheduledExecution ")
    with pytest.raises(
        InputError,
        match=r"have the tool that made it, tank_fmu/build\.py, export it for co-simulation or model exchange",
    ):
        read_description(packed(tmp_path / "tank.fmu", text))


def test_co_simulation_comes_before_model_exchange(tmp_path: Path) -> None:
    text = described().replace("<CoSimulation ", '<ModelExchange modelIdentifier="other"/><CoSimulation ')
    path = packed(tmp_path / "both.fmu", text)
    assert read_description(path).interface.identifier == "tank"
    assert read_description(path, "model-exchange").interface.identifier == "other"


def test_a_platform_without_a_binary(tmp_path: Path) -> None:
    path = packed(tmp_path / "win.fmu", described(), {"binaries/win64/tank.dll": b"", "sources/tank.c": b""})
    said = r"win\.fmu has no binary for this platform, .*; it has win64; it has C sources: python -m fmpy compile win"
    with pytest.raises(InputError, match=said):
        objective(path).check(X)
    with pytest.raises(EvaluationFailure, match=said):
        evaluated(path)
    other = packed(tmp_path / "other.fmu", described(), {"binaries/linux64/notank.so": b""})
    with pytest.raises(InputError, match="it has none at all"):
        objective(other).check(X)


def test_a_binary_that_is_none(tmp_path: Path) -> None:
    here = Path.cwd()
    with pytest.raises(EvaluationFailure, match="Failed to load shared library"):
        evaluated(packed(tmp_path / "tank.fmu", described()))
    assert Path.cwd() == here, "FMPy stays in the library's folder"


def test_data_that_do_not_unpack_leave_nothing(tmp_path: Path, place: Path) -> None:
    path = packed(tmp_path / "tank.fmu", described(), {"binaries/linux64/tank.so": b"x" * 999, "z": b"y" * 999})
    data = bytearray(path.read_bytes())
    entry = data.index(b"binaries/linux64/tank.so") + len("binaries/linux64/tank.so")
    data[entry : entry + 4] = b"\xff" * 4
    path.write_bytes(data)
    with pytest.raises(EvaluationFailure, match=r"tank\.fmu cannot be unpacked: "):
        evaluated(path)
    (folder,) = place.iterdir()
    assert [each.name for each in folder.iterdir() if each.suffix != ".lock"] == []


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    path = packed(tmp_path / "tank.fmu", described(), {"binaries": b"", "binaries/linux64/tank.so": b""})
    with pytest.raises(EvaluationFailure, match=r"tank\.fmu cannot be unpacked: (Not a directory|File exists)"):
        evaluated(path)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(EvaluationFailure, match=r"has 9\.54e-06 MiB free; TMPDIR names another place"):
        evaluated(packed(tmp_path / "tank.fmu", described()))


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path, place: Path) -> None:
    path = packed(tmp_path / "tank.fmu", described())
    own = place / f"distfd-fmu-{os.getuid()}"
    own.mkdir()
    own.chmod(0o777)
    with pytest.raises(EvaluationFailure, match="is not a folder that you alone can write to"):
        evaluated(path)
    own.rmdir()
    own.symlink_to(tmp_path)
    with pytest.raises(EvaluationFailure, match="is not a folder that you alone can write to"):
        evaluated(path)


def test_reading_runs_none_of_its_code(tmp_path: Path, place: Path, require_simulator: RequireSimulator) -> None:
    """A library that leaves a mark as soon as it is loaded: an evaluation alone loads it."""
    require_simulator("gcc")
    mark, source, made = tmp_path / "mark", tmp_path / "mark.c", tmp_path / "tank.so"
    source.write_text(
        f'#include <stdio.h>\n__attribute__((constructor)) void run(void) {{ fclose(fopen("{mark}", "w")); }}\n'
    )
    subprocess.run(["gcc", "-shared", "-fPIC", str(source), "-o", str(made)], check=True)
    platform = load_builder().build(tmp_path / "tank.fmu") and read_description(tmp_path / "tank.fmu").binaries[0]
    path = packed(tmp_path / "evil.fmu", described(), {f"binaries/{platform}/tank.so": made.read_bytes()})
    found = objective(path)
    found.check(X)
    found.fingerprint()
    job = str(tmp_path / "job.yaml")
    for args in (("init", "--fmu", str(path), "--to", job), ("validate", job), ("plan", job)):
        assert distfd_command(*args)[0] == 0, args
    assert not mark.exists()
    assert not list(place.iterdir()), "nothing is unpacked"
    with pytest.raises(EvaluationFailure, match=r"evil\.fmu: "):
        evaluated(path)
    assert mark.exists(), "an FMU is a program"


def test_it_is_unpacked_for_its_owner_and_again_where_it_was_cleared(
    tmp_path: Path, place: Path, require_simulator: RequireSimulator
) -> None:
    require_simulator("gcc")
    path = load_builder().build(tmp_path / "tank.fmu")
    with zipfile.ZipFile(path, "a") as there:
        program = zipfile.ZipInfo("resources/program")
        program.external_attr = 0o100755 << 16
        there.writestr(program, "#!/bin/sh\n")
    first = evaluated(path)
    (own,) = place.iterdir()
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    (folder,) = [each for each in own.iterdir() if each.is_dir()]
    assert os.access(folder / "resources" / "program", os.X_OK), "a program that the model starts"
    made = (folder / "modelDescription.xml").stat().st_ino
    assert evaluated(path) == first
    assert (folder / "modelDescription.xml").stat().st_ino == made, "unpacked once"
    next(folder.glob("binaries/*/tank.so")).unlink()  # as systems do that clear old files
    (own / f"{folder.name}.left").mkdir()  # of a process that was killed
    assert evaluated(path) == first
    assert not (own / f"{folder.name}.left").exists()
    path.write_bytes(path.read_bytes() + b"\0")
    changed = objective(path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(EvaluationFailure, match="has changed since the job began"):
        changed.make()


def test_without_fmpy_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "fmpy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fmpy", None)
    with pytest.raises(MissingSimulatorError, match=r'is not installed .*: pip install "distfd\[fmu\]"'):
        objective(packed(tmp_path / "tank.fmu", described()))
    assert issubclass(MissingSimulatorError, InputError)


def test_distfd_alone_does_not_import_fmpy() -> None:
    code = "import sys, distfd; distfd.FMUObjective; import distfd.jobs.build; print('fmpy' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
