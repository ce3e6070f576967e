"""A J that ends its process: the attempt is recorded, the coordinate named, and the slot comes back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty import CONTAINED, CRASHES, NAMES, POSITIONS, faulty, slopes, start

import distfd
from distfd.core.records import Status

DEATHS = [fault for fault in CRASHES if fault not in CONTAINED]


@pytest.mark.slow
def test_every_death_is_an_error_and_the_session_goes_on(private_ray: None) -> None:
    executor = distfd.RayExecutor(max_slots=2)
    with distfd.Evaluator(faulty, executor=executor, names=NAMES, retries=0) as evaluator:
        for fault in DEATHS:
            for position in POSITIONS:
                with pytest.raises(distfd.EvaluationError, match=CRASHES[fault][1]) as caught:
                    evaluator.gradient(start(fault, position))
                assert str(caught.value).startswith(f"J failed at {POSITIONS[position]}"), (fault, position)
                record = caught.value.evaluation
                assert record is not None
                assert record.status in (Status.CRASH, Status.ERROR)
                assert record.attempt == 1
            # What another coordinate's death took with it is made again.
            assert evaluator.value(start("nan", "last")) == start("nan", "last")[0] + 4 + 9


@pytest.mark.slow
def test_a_death_costs_one_component(private_ray: None) -> None:
    x = start("os._exit", "last")
    options: dict[str, Any] = {"executor": distfd.RayExecutor(max_slots=2), "retries": 0, "step": 1e-6}
    result = distfd.differentiate(faulty, x, on_failure="nan", names=NAMES, **options)
    assert result.missing.tolist() == [2]
    np.testing.assert_allclose(result.derivative[:2], slopes(x)[:2], rtol=1e-3)
    assert (result.n_failed, result.n_retried) == (1, 0)


@pytest.mark.parametrize("death", ["os._exit", "SIGSEGV"])
def test_serial_cannot_contain_a_crash_and_says_so(death: str) -> None:
    """The program ends, as it would without distfd; the documentation of the executor says where to go."""
    code = f"""
from faulty import faulty, start
import distfd
distfd.gradient(faulty, start({death!r}, "last"), executor="serial")
print("not reached")
"""
    here = Path(__file__).parent
    env = {"PYTHONPATH": f"{here.parent.parent}:{here}"}
    ran = subprocess.run([sys.executable, "-c", code], cwd=here, env=env, capture_output=True, check=False)
    assert ran.returncode in (3, -11)
    assert b"not reached" not in ran.stdout
    said = sys.modules[distfd.SerialExecutor.__module__].__doc__ or ""
    assert "A crash of J is a crash of the program here" in said
    assert "Use the Ray executor" in " ".join(said.split())


def test_an_interrupt_in_the_callers_process_is_the_callers() -> None:
    """Nobody can tell it from Ctrl-C there, so it is not made a failed evaluation."""
    with pytest.raises(KeyboardInterrupt):
        distfd.gradient(faulty, start("KeyboardInterrupt", "last"), executor="serial", on_failure="nan")
