"""The token and the folder of a private cluster, where a user has no home and TMPDIR is long."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from distfd.executors.ray import access_token

ROOT = Path(__file__).parents[2]
NOBODY = 54_321
"""A user id without an entry in the passwd database."""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "")  # so that what is set here is taken back
        monkeypatch.delenv(name)


def test_a_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/1/nothing")
    with pytest.warns(RuntimeWarning, match="there is no home folder for it"):
        access_token.keep_token_private()
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    assert len(token.read_text()) == 64
    assert access_token.has_token()


@pytest.mark.parametrize("length", [35, 60, 200])
def test_a_long_tmpdir_leads_to_a_short_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    long = tmp_path / ("x" * length)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    folder = access_token.private_folder()
    assert folder is not None
    own = Path(folder).parent
    assert len(str(own)) <= 40
    assert stat.S_IMODE(own.stat().st_mode) == 0o700


def test_a_folder_that_the_user_names_is_left_to_ray_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert access_token.private_folder() is None
    assert (list(tmp_path.iterdir()), stat.S_IMODE(tmp_path.stat().st_mode)) == ([], 0o755)


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="NOT tested: needs root and setpriv")
def test_a_user_without_a_passwd_entry_or_a_home(tmp_path: Path) -> None:
    """Batch systems and containers start jobs so."""
    # The interpreter of a virtual environment may stand in a folder that others cannot enter.
    python = next((p for p in (sys.executable, "/usr/bin/python3") if _may_run(p)), None)
    if python is None:
        pytest.skip("NOT tested: no Python of this version that another user may run")
    (tmp_path / "job.py").write_text(
        "import distfd\nprint(distfd.gradient(lambda x: float(x @ x), [1.0, 2.0]).round(3).tolist())\n"
    )
    script = Path(f"/tmp/distfd-test-{os.getpid()}.py")
    script.write_text((tmp_path / "job.py").read_text())
    try:
        ran = _as_nobody(python, str(script))
    finally:
        script.unlink()
        shutil.rmtree(f"/tmp/distfd-{NOBODY}", ignore_errors=True)
    assert ran.stdout.strip() == "[2.0, 4.0]", ran.stderr


def _as_nobody(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))
    argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env", "-i", f"PYTHONPATH={path}"]
    argv += ["PATH=/usr/bin:/bin", python, *arguments]
    return subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False)


def _may_run(python: str) -> bool:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    ask = "import sys, numpy, distfd; print(f'{sys.version_info.major}.{sys.version_info.minor}')"
    return _as_nobody(python, "-c", ask).stdout.strip() == version
