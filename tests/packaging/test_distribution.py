"""What is uploaded: a source distribution that is whole, a wheel that is made from it, and both as PyPI wants them."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*argv: str, cwd: Path, **environ: str) -> str:
    done = subprocess.run(
        argv, cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_what_is_built_is_whole_and_runs_outside_the_checkout(tmp_path: Path) -> None:
    dist, place, elsewhere = tmp_path / "dist", tmp_path / "site-packages", tmp_path / "elsewhere"
    elsewhere.mkdir()
    # The wheel is made from the source distribution, so that nothing comes from the checkout alone.
    run(sys.executable, "-m", "build", "--outdir", str(dist), str(ROOT), cwd=tmp_path)
    (sdist,), (wheel,) = list(dist.glob("*.tar.gz")), list(dist.glob("*.whl"))
    run(sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel), cwd=tmp_path)

    tracked = run("git", "ls-files", "distfd", cwd=ROOT).split()
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    assert set(tracked) <= in_wheel, sorted(set(tracked) - in_wheel)
    with tarfile.open(sdist) as archive:
        in_sdist = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {*tracked, "LICENSE", "README.md", "pyproject.toml"} <= in_sdist
    assert not [name for name in in_wheel if name.startswith("tests")]

    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(place), str(wheel), cwd=tmp_path)
    at = {"PYTHONPATH": str(place)}
    program = (
        "import distfd, numpy as np; print(distfd.__file__); "
        "print(distfd.gradient(lambda x: float(x @ x), [1.0, 2.0], executor='serial').round(5).tolist())"
    )
    file, gradient = run(sys.executable, "-c", program, cwd=elsewhere, **at).splitlines()
    assert Path(file).is_relative_to(place)
    assert gradient == "[2.0, 4.0]"
    run(sys.executable, "-m", "distfd", "init", cwd=elsewhere, **at)
    run(sys.executable, "-m", "distfd", "run", "config.yaml", cwd=elsewhere, **at)
    (result,) = elsewhere.rglob("result.json")
    run(sys.executable, "-m", "distfd", "report", str(result.parent), cwd=elsewhere, **at)
