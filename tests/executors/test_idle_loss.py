"""A private cluster that is lost while nothing runs there costs nothing but the time of another start."""

from __future__ import annotations

import subprocess
import sys

import pytest

_BEGIN = """
import logging, os, signal, sys, threading, time
import distfd, ray

logging.basicConfig(format="%(message)s")


def square(x):
    return float(x @ x)


def call():
    found = distfd.gradient(square, [1.0, 2.0], executor=distfd.RayExecutor(num_cpus=2))
    assert abs(found - [2.0, 4.0]).max() < 1e-6, found


def kill(name):
    from ray._private.worker import _global_node

    (server,) = _global_node.all_processes[name]
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
"""


def run(script: str) -> str:
    argv = [sys.executable, "-c", _BEGIN + script]
    found = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stderr


@pytest.mark.parametrize("server", ["gcs_server", "raylet"])
def test_the_next_call_starts_another(server: str) -> None:
    told = run(f"""
call()
kill("{server}")
call()
with distfd.Evaluator(square, executor=distfd.RayExecutor(num_cpus=2)) as evaluator:
    for k in range(3):
        assert abs(evaluator.gradient([1.0 + k, 2.0]) - [2.0 + 2 * k, 4.0]).max() < 1e-6
        if k == 1:
            kill("{server}")
""")
    assert told.count(f"which was lost while nobody waited for an evaluation there ({server} ended)") == 2


def test_an_idle_process_leaves_it_before_ray_ends_the_process() -> None:
    told = run("""
from distfd.executors.ray import cluster_health
cluster_health._HEARD = 0.5
with distfd.Evaluator(square, executor=distfd.RayExecutor(num_cpus=2)) as evaluator:
    pending = evaluator.begin([1.0, 2.0])
    assert pending.value() == 5.0
    kill("gcs_server")
    while ray.is_initialized():
        time.sleep(0.1)
    try:
        pending.result()
    except distfd.ClusterError:
        pass
    assert abs(evaluator.gradient([1.0, 3.0]) - [2.0, 6.0]).max() < 1e-6
""")
    assert "this process has left its private Ray cluster" in told


def test_a_cluster_outlives_the_thread_that_started_it() -> None:
    told = run("""
for k in range(2):
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    first = ray.get_runtime_context().get_job_id(), ray.get_runtime_context().get_node_id()
time.sleep(1.0)  # the kernel would have ended its servers by now
call()
assert first == (ray.get_runtime_context().get_job_id(), ray.get_runtime_context().get_node_id())
distfd.shutdown()
thread = threading.Thread(target=call)
thread.start()
thread.join()
call()
""")
    assert "lost" not in told
