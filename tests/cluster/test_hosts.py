"""Several hosts that share no disk: the same results, and the loss of two of them on the way."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hosts import PATIENCE, ROOT, Hosts, three_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import RequireSimulator

pytestmark = pytest.mark.slow

MODEL = """
import pathlib, time
import helper                                   # a module of the user's own, beside this one

def fun(x):
    import late                                 # and one that nobody has imported before
    time.sleep(0.7)
    return helper.square(x) + late.ZERO
"""
CONFIG = """
objective: {python: "model:fun"}
x0: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23]
output: out
"""
PROGRAM = """
objective:
  command:
    argv: [./tool.sh]
    copy: [data]
    link: [big.txt]
    outputs: {J: {file: stdout, regex: '(.+)'}}
x0: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23]
derivative: {step: 0.5}
output: tool-out
"""
TOOL = """#!/bin/sh
sleep 1
test "$(wc -c < big.txt)" = 300000 || exit 3
cat data/deep/offset.txt
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "configs", folder, dirs_exist_ok=True)
    (folder / "model.py").write_text(MODEL)
    (folder / "helper.py").write_text("def square(x):\n    return float(x @ x)\n")
    (folder / "late.py").write_text("ZERO = 0.0\n")
    (folder / "job.yaml").write_text(CONFIG)
    (folder / "tool.yaml").write_text(PROGRAM)
    (folder / "tool.sh").write_text(TOOL)
    (folder / "tool.sh").chmod(0o755)
    (folder / "data" / "deep").mkdir(parents=True)
    (folder / "data" / "deep" / "offset.txt").write_text("7.25\n")
    (folder / "big.txt").write_text("3" * 300_000)
    return folder


@pytest.fixture(scope="module")
def hosts(project: Path) -> Iterator[Hosts]:
    with three_hosts(project, cpus=2) as made:
        yield made


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "distfd", "run", *arguments]


def across(hosts: Hosts, project: Path, config: str, output: str, *overrides: str) -> dict[str, Any]:
    """A run from host a on all three."""
    ran = hosts.run(
        command(config, f"output={output}", f"cluster.address={hosts.address}", *overrides), cwd=project, env={}
    )
    assert ran.returncode == 0, ran.stderr
    return result_of(project / output)


def result_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def hosts_of(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "evaluations.sqlite")) as base:
        return {row[0] for row in base.execute("SELECT DISTINCT host FROM evaluations")}


@pytest.mark.nightly
@pytest.mark.parametrize("config", ["quickstart", "ladder"])
def test_the_examples_give_the_same_bits(
    hosts: Hosts, project: Path, config: str, require_simulator: RequireSimulator
) -> None:
    if config == "ladder":
        require_simulator("ngspice")
    few = ("minimize.max_iterations=3",) if config == "quickstart" else ()
    spread = across(hosts, project, f"{config}.yaml", f"spread-{config}", *few)
    here = subprocess.run(
        command(f"{config}.yaml", f"output=here-{config}", "cluster.address=local", "cluster.num_cpus=4", *few),
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert here.returncode == 0, here.stderr
    local = result_of(project / f"here-{config}")
    for key in ("x", "value", "derivative", "iterations"):
        assert spread[key] == local[key], key
    # Short evaluations may all be done before the others have workers; the tests below see that those work.
    assert hosts_of(project / f"spread-{config}") <= {"host-a", "host-b", "host-c"}


def test_a_programs_files_reach_every_host(hosts: Hosts, project: Path) -> None:
    result = across(hosts, project, "tool.yaml", "tool-out")
    assert result["value"] == 7.25
    assert result["derivative"] == [0.0] * 23
    assert hosts_of(project / "tool-out") == {"host-a", "host-b", "host-c"}
    # One copy for each host, however many workers it has.
    for host in "bc":
        copies = list((hosts.scratch / host).glob("distfd-shipped-*/*/big.txt"))
        assert len(copies) == 1
    assert not list((hosts.scratch / "a").glob("distfd-shipped-*/*/big.txt")), "a sees the file itself"


def test_a_host_is_cut_off_and_another_killed(hosts: Hosts, project: Path) -> None:
    """The last of this module: two of the three do not come back."""
    argv = command("job.yaml", f"cluster.address={hosts.address}", "evaluation.retries=0")
    begun = hosts.on("a", argv, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + PATIENCE
    while not (project / "out" / "evaluations.sqlite").exists() or len(hosts_of_partial(project / "out")) < 3:
        assert time.monotonic() < end
        assert begun.poll() is None, begun.communicate()
        time.sleep(0.05)
    hosts.cut_off("c")
    hosts.kill("b")
    _, told = begun.communicate(timeout=2 * PATIENCE)
    assert begun.returncode == 0, told
    result = result_of(project / "out")
    assert result["derivative"] == pytest.approx([2.0 * k for k in range(1, 24)], rel=1e-6)
    assert (result["n_evaluations"], result["n_failed"], result["missing"]) == (24, 0, [])


def hosts_of_partial(folder: Path) -> set[str]:
    try:
        return hosts_of(folder)
    except sqlite3.Error:  # the file is being made
        return set()
