"""A real autoscaler, whose nodes are processes of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ray_head import ray_head

import distfd

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
SECOND = """
import sys, time
import numpy as np
import distfd
executor = distfd.RayExecutor(address=sys.argv[1], request_slots=2, max_slots=2)
with distfd.Evaluator(lambda x: float(x @ x), executor=executor) as ev:
    assert np.allclose(ev.gradient([1.0, 2.0]), [2.0, 4.0])
    print("up", flush=True)
    sys.stdin.readline()
"""


def sleeper(x: NDArray[np.float64]) -> float:
    time.sleep(0.3)
    return float(x @ x)


@pytest.mark.nightly
@pytest.mark.usefixtures("_ray_ends")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's own
def test_room_that_was_asked_for_comes_and_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray.experimental import internal_kv

    def asked() -> Any:
        return json.loads(internal_kv._internal_kv_get(b"autoscaler_resource_request") or "[]")

    def cpus() -> float:
        return float(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]  # Ray lacks types

    def await_asked(count: int) -> None:
        end = time.monotonic() + 60
        while asked() != [{"CPU": 1.0}] * count:
            assert time.monotonic() < end, asked()
            time.sleep(0.1)

    ray.shutdown()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    grows = {"small": {"resources": {"CPU": 2}, "max_workers": 2}}
    with ray_head(tmp_path, path=str(ROOT), num_cpus=0, grows=grows) as head:
        try:
            with distfd.Evaluator(sleeper, executor=distfd.RayExecutor(address=head.gcs, request_slots=2)) as ev:
                x = np.arange(1.0, 5.0)
                np.testing.assert_allclose(ev.gradient(x), 2 * x, rtol=1e-6)
                assert (ev.slots, asked()) == (2, [{"CPU": 1.0}] * 2)
                second = subprocess.Popen(
                    [sys.executable, "-c", SECOND, head.gcs],
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_SCHEDULER_EVENTS": "0"},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                try:
                    assert second.stdout is not None
                    assert second.stdout.readline() == "up\n"
                    await_asked(4)  # the second's request is not in the place of the first
                    while cpus() < 4:
                        time.sleep(0.1)
                    second.communicate("\n", timeout=60)
                finally:
                    second.kill()
                    second.wait()
                assert second.returncode == 0
                await_asked(2)
            await_asked(0)
            end = time.monotonic() + 60
            while cpus():
                assert time.monotonic() < end, "idle nodes are there still"
                time.sleep(0.2)
        finally:
            ray.shutdown()
