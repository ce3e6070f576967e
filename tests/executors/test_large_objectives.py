"""An objective with large arrays: one copy of them on the driver, and on workers arrays as they were here."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distfd
from distfd.executors.ray.pickling import pickled

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys
import numpy as np
import distfd

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))  # KiB

def main(store):
    executor = distfd.RayExecutor(max_slots=2)
    distfd.gradient(lambda x: float(x @ x), np.ones(2), executor=executor)
    data = np.random.default_rng(0).random(20_000_000)
    before = peak()
    g = distfd.gradient(lambda x: float(data[:2] @ x), np.ones(2), executor=executor, store=store or None)
    np.testing.assert_allclose(g, data[:2], rtol=1e-6)
    print((peak() - before) * 1024 / data.nbytes)

main(*sys.argv[1:])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="NOT TESTED: peaks of memory are read in /proc")
@pytest.mark.parametrize("stored", [False, True])
def test_the_driver_has_one_copy_of_what_j_holds(stored: bool, tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    store = str(tmp_path / "values.sqlite") if stored else ""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, store], env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.2


def test_arrays_on_workers_may_be_written_to_where_they_might_here(private_ray: None) -> None:
    own, fixed = np.ones(20_000), np.full(20_000, 2.0)
    fixed.flags.writeable = False
    column = np.asfortranarray(np.arange(40_000.0).reshape(200, 200))

    def fun(x: Any) -> float:
        assert not fixed.flags.writeable
        assert column.flags.f_contiguous
        own[0] = 3.0
        return float((own[0] + fixed[1] + column[1, 0]) * x.sum())

    for _ in range(2):
        g = distfd.gradient(fun, [1.0, 2.0], executor=distfd.RayExecutor(max_slots=2), check=False)
        np.testing.assert_allclose(g, 205.0, rtol=1e-6)
        assert own[0] == 1.0


def test_what_is_changed_after_the_first_call_is_seen_by_the_next(private_ray: None) -> None:
    data = np.ones(20_000)

    def fun(x: Any) -> float:
        return float(data[-1] * x.sum())

    executor = distfd.RayExecutor(max_slots=2)
    for k in (1.0, 5.0):
        data[-1] = k
        np.testing.assert_allclose(distfd.gradient(fun, [1.0, 2.0], executor=executor), k, rtol=1e-6)


@pytest.mark.parametrize("size", [0, 10, 10_000])
def test_pickled_objects_are_read_again(size: int) -> None:
    rng = np.random.default_rng(size)
    thing = {"a": rng.random(size), "b": rng.random((size, 2)).T, "c": b"x" * size, "same": None}
    thing["same"] = thing["a"]
    packed = pickled(thing)
    again = packed.load()
    assert (len(packed.buffers) > 0) == (size > 10)
    assert again["same"] is again["a"]
    for name in ("a", "b"):
        np.testing.assert_array_equal(again[name], thing[name])
        assert again[name].flags.writeable
    assert again["c"] == thing["c"]


def times(k: float, data: Any, x: Any) -> float:
    return float(k * data[-1] * x.sum())


@pytest.mark.parametrize("stays", [True, False])
def test_an_interrupt_on_the_way_to_another_j_leaves_no_worker_with_the_first(
    stays: bool, private_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distfd.executors.ray import worker_start

    data, real = np.ones(20_000), worker_start._shared
    with distfd.RayExecutor(max_slots=1) as executor:
        if stays:
            first = distfd.Evaluator(functools.partial(times, 1.0, data), executor=executor)
            np.testing.assert_allclose(first.gradient([1.0, 2.0]), 1.0, rtol=1e-6)
        else:
            distfd.gradient(functools.partial(times, 1.0, data), [1.0, 2.0], executor=executor)
        second = distfd.Evaluator(functools.partial(times, 2.0, data), executor=executor)

        def interrupted(thing: Any) -> Any:
            monkeypatch.setattr(worker_start, "_shared", real)
            raise KeyboardInterrupt

        monkeypatch.setattr(worker_start, "_shared", interrupted)
        with pytest.raises(KeyboardInterrupt):
            second.gradient([1.0, 2.0])
        np.testing.assert_allclose(second.gradient([1.0, 2.0]), 2.0, rtol=1e-6)
