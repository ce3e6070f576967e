"""A launcher of MPI as plain argv: two ranks that share the work; skipped without MPICH, but never in CI."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
from waiting import await_that, running

import distfd
from distfd.core.failures import ProgramTimeout
from distfd.objectives.command.objective import CommandObjective

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RequireSimulator

# Debian's names: mpicc and mpiexec are those of whichever MPI was installed last.
MPICC, MPIEXEC = (f"{name}.mpich" if shutil.which(f"{name}.mpich") else name for name in ("mpicc", "mpiexec"))

# Midpoint rule for the integral of a sin(b t) over [0, 1]: rank r takes every second of 1000 panels. Each rank leaves
# its process id, and the even ones hang if they are asked to.
SOURCE = r"""
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int rank, ranks, panels = 1000;
    double a, b, part = 0, whole = 0;
    char name[32];
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    FILE *deck = fopen(argv[1], "r");
    if (!deck || fscanf(deck, "%lf %lf", &a, &b) != 2) MPI_Abort(MPI_COMM_WORLD, 3);
    fclose(deck);
    snprintf(name, sizeof name, "rank%d", rank);
    FILE *mine = fopen(name, "w");
    fprintf(mine, "%d", (int)getpid());
    fclose(mine);
    MPI_Barrier(MPI_COMM_WORLD);
    if (argc > 2 && !strcmp(argv[2], "hang")) for (;;) sleep(60);
    for (int k = rank; k < panels; k += ranks) part += a * sin(b * (k + 0.5) / panels) / panels;
    MPI_Reduce(&part, &whole, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0) printf("ranks = %d\nJ = %.17g\n", ranks, whole);
    MPI_Finalize();
    return 0;
}
"""


@pytest.fixture
def solver(tmp_path: Path, require_simulator: RequireSimulator) -> Path:
    require_simulator(MPICC)
    require_simulator(MPIEXEC)
    (tmp_path / "solver.c").write_text(SOURCE)
    (tmp_path / "deck.j2").write_text("{{ a }} {{ b }}\n")
    done = subprocess.run(
        [MPICC, "-O1", "-o", "solver", "solver.c", "-lm"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    if "mpi.h" in done.stderr:
        require_simulator("the mpi.h of mpicc")  # a compiler without headers
    assert done.returncode == 0, done.stderr
    return tmp_path / "solver"


def objective(solver: Path, *arguments: str) -> CommandObjective:
    return CommandObjective(
        [MPIEXEC, "-n", "2", str(solver), "deck", *arguments],
        inputs={"deck": "deck.j2"},
        outputs={
            "J": {"file": "stdout", "regex": r"^J = (\S+)$"},
            "ranks": {"file": "stdout", "regex": r"^ranks = (\d+)$"},
        },
        value="J * ranks / 2",  # wrong unless there are two
        # As in a job of a batch system, whose variables would have the launcher take the whole allocation.
        env={"SLURM_*": None, "PMI_*": None},
        names=("a", "b"),
        base=solver.parent,
        work=solver.parent / "work",
    )


def command_line(process: psutil.Process) -> list[str]:
    """Of the launcher and its proxies too; empty for a zombie."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_two_ranks_make_one_gradient(solver: Path) -> None:
    """J = a (1 - cos b) / b, and dJ/db = a (sin b / b - (1 - cos b) / b^2)."""
    a, b = 2.0, 1.5
    found = distfd.differentiate(objective(solver), np.array([a, b]), scheme="central", step=1e-4, executor="serial")
    exact = [(1 - np.cos(b)) / b, a * (np.sin(b) / b - (1 - np.cos(b)) / b**2)]
    np.testing.assert_allclose(found.derivative, exact, rtol=2e-6)
    assert found.n_evaluations == 5


@pytest.mark.slow
def test_no_rank_outlives_the_timeout(solver: Path) -> None:
    """Whatever the launcher does with sessions and proxies of its own."""
    model = objective(solver, "hang").make()
    for timeout in (2.0, 10.0, 50.0):  # as long as it takes until both ranks run
        with pytest.raises(ProgramTimeout, match="was killed"):
            model.evaluate(np.array([1.0, 1.0]), timeout=timeout)
        ranks = [path for path in (solver.parent / "work").glob("*/rank?") if path.stat().st_size]
        if len(ranks) >= 2:
            break
    assert {path.name for path in ranks} == {"rank0", "rank1"}
    # What is killed takes its time to go on a busy machine.
    await_that("no rank is left", lambda: not left(solver, ranks), 20)


def left(solver: Path, ranks: list[Path]) -> bool:
    """Whether a rank, the launcher or a proxy of it runs."""
    return any(running(int(path.read_text())) for path in ranks) or any(
        str(solver) in command_line(process) for process in psutil.process_iter()
    )
