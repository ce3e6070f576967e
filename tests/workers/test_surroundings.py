"""What J sees of the driver's process beside its own code."""

from __future__ import annotations

import decimal
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from distfd.core.errors import InputError
from distfd.workers.surroundings import Surroundings, SurroundingsSetter, changed_environ, follows_driver


def test_what_was_set_changed_or_removed_since_the_process_began_follows() -> None:
    program = (
        "import os; os.environ['NEW'] = '1'; os.environ['OTHER'] = '2'; del os.environ['GONE']\n"
        "os.environ.update(OMP_NUM_THREADS='3', RAY_ADDRESS='x', CUDA_VISIBLE_DEVICES='0')\n"
        "from distfd.workers.surroundings import changed_environ; print(changed_environ())"
    )
    environ = {**os.environ, "OTHER": "1", "GONE": "1", "SAME": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str({"GONE": None, "NEW": "1", "OTHER": "2"})


@pytest.mark.parametrize(
    "name", ["RAY_worker_niceness", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "DISTFD_HOSTS"]
)
def test_what_belongs_to_a_process_stays(name: str) -> None:
    assert not follows_driver(name)


def test_in_a_process_that_nobody_changed_nothing_enters_the_key() -> None:
    program = (
        "import numpy, scipy.optimize, distfd, jax\n"
        "from distfd.workers.surroundings import Surroundings; print(Surroundings.here().in_key)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for argv in (["-c", program, "a", "b"], ["-c", program]):
        ran = subprocess.run([sys.executable, *argv], env=environ, capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == "{}"


def test_they_are_set_and_those_that_were_there_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "own")
    monkeypatch.setenv("GONE", "own")
    monkeypatch.chdir(tmp_path)
    before = Surroundings.here()
    setter = SurroundingsSetter()
    try:
        settings = {
            **before.settings,
            "numpy.seterr": {**np.geterr(), "over": "raise"},
            "sys.argv": ["a", "b"],
            "decimal.getcontext()": (5, *before.settings["decimal.getcontext()"][1:]),
        }
        (tmp_path / "below").mkdir()
        setter.set(
            Surroundings({"HERE": "driver's", "GONE": None, "NEW": "1"}, str(tmp_path / "below"), True, settings)
        )
        assert (os.environ["HERE"], os.environ.get("GONE"), os.environ["NEW"]) == ("driver's", None, "1")
        assert Path.cwd() == tmp_path / "below"
        assert np.geterr()["over"] == "raise"
        assert sys.argv == ["a", "b"]
        assert decimal.getcontext().prec == 5
    finally:
        setter.set(before)
    assert (os.environ["HERE"], os.environ["GONE"], os.environ.get("NEW")) == ("own", "own", None)
    assert Surroundings.here() == before
    assert changed_environ({**os.environ, "HERE": "x"}) == {"HERE": "own"}


def test_a_host_without_the_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"working directory .*nowhere is not on "):
        SurroundingsSetter().set(Surroundings(directory=str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    "setting",
    [
        "decimal.DefaultContext.prec = 5; decimal.getcontext()",
        "decimal.getcontext().traps[decimal.Inexact] = True",
        "import jax; jax.config.update('jax_enable_x64', True)",
        "import jax; jax.config.update('jax_default_matmul_precision', 'highest')",
    ],
)
def test_a_precision_that_was_set_is_part_of_the_key(setting: str) -> None:
    program = (
        f"import decimal; {setting}\n"
        "from distfd.workers.surroundings import Surroundings; print(len(Surroundings.here().in_key))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "1"


def test_settings_that_nobody_changed_import_nothing_elsewhere() -> None:
    """Workers of a driver that has imported JAX, or OpenMDAO, which imports it and has filters of its own."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def python(program: str, given: bytes = b"") -> bytes:
        command = [sys.executable, "-c", f"import pickle, sys\n{program}"]
        return subprocess.run(command, env=environ, input=given, capture_output=True, check=True).stdout

    driver = (
        "import jax, openmdao.api; jax.config.update('jax_enable_x64', False)\n"
        "from distfd.workers.surroundings import Surroundings\n"
        "sys.stdout.buffer.write(pickle.dumps(Surroundings.here()))"
    )
    worker = (
        "from distfd.workers.surroundings import SurroundingsSetter\n"
        "SurroundingsSetter().set(pickle.load(sys.stdin.buffer))\n"
        "print(sorted({'jax', 'openmdao', 'scipy'} & sys.modules.keys()))"
    )
    assert python(worker, python(driver)).strip() == b"[]"


@pytest.mark.parametrize("library", ["netCDF4", "mlflow", "wandb", "tensorboardX", "h5py", "jax"])
def test_variables_that_an_import_sets_are_in_no_key(library: str) -> None:
    """MLflow's is another one in each process: values stored by one would not be found by the next."""
    if find_spec(library) is None:
        pytest.skip(f"NOT tested: {library} is missing")
    asked = f"import {library}; from distfd.workers.surroundings import changed_environ; print(changed_environ())"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "{}"
