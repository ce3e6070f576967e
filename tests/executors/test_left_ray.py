"""After ``ray.shutdown()`` nothing of distfd starts a cluster anew, whatever its threads were about to ask."""

from __future__ import annotations

import subprocess
import sys

import pytest

_BEGIN = """
import itertools, sys, time
import numpy as np, ray
import distfd

x = np.arange(3.0)


def f(x):
    return float(x @ x)


begun = []


def left(seconds):
    # As if the user left Ray each time just after distfd has looked whether it is there; it looks again after errors.
    ray.shutdown()
    told, answers = ray.is_initialized, itertools.cycle([True, False])
    ours = lambda: sys._getframe(2).f_globals["__name__"].startswith("distfd.")
    ray.is_initialized = lambda: next(answers) if ours() else told()
    ray.init = lambda *args, **kwargs: begun.append(1)
    time.sleep(seconds)
    assert not begun, "something has started a cluster"
"""

_THREADS = {
    "one that counts nodes": """
from distfd.executors.ray import executor
from distfd.executors.ray.elastic_slots import ClusterCapacity
from distfd.executors.ray.options import ClusterOptions
from distfd.executors.ray.resources import Resources

ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level=50, log_to_driver=False)
cluster = executor.connection()
capacity = ClusterCapacity(Resources(), ClusterOptions(), lambda: executor._connected_to(cluster) or True)
capacity.start()
left(5.0)
assert capacity._thread.is_alive(), "it asks still"
capacity.stop()
""",
    "one that ends idle workers": """
with distfd.Evaluator(f, executor=distfd.RayExecutor(max_slots=2, keep_idle=3.0)) as evaluator:
    evaluator.gradient(x)
left(5.0)
""",
}


def run(script: str) -> None:
    argv = [sys.executable, "-c", _BEGIN + script]
    found = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("script", list(_THREADS.values()), ids=list(_THREADS))
def test_a_thread_starts_no_cluster(script: str) -> None:
    run(script)


_ASKS = """
from distfd.executors.ray.internals import starting_nothing

ray.init = lambda *args, **kwargs: begun.append(1)
asks = (
    lambda: ray.put(1),
    lambda: ray.get_runtime_context().get_node_id(),
    lambda: ray.wait([], timeout=0),
    lambda: ray.remote(f).remote(x),
    lambda: ray.get_actor("nobody"),
)
for ask in asks:
    try:
        with starting_nothing():
            ask()
    except Exception:
        pass
    assert not begun
    try:
        ask()
    except Exception:
        pass
    assert len(begun) == 1, "the user's own call starts Ray as it always did"
    begun.clear()
"""


def test_what_is_asked_inside_starts_nothing_and_what_the_user_asks_does() -> None:
    run(_ASKS)


_WHILE_IT_WAITS = """
import threading
import distfd


def slow(x):
    time.sleep(0.2)
    return float(x @ x)


executor = distfd.RayExecutor(num_cpus=2)
assert abs(distfd.gradient(f, x, executor=executor) - 2 * x).max() < 1e-6
timer = threading.Timer(0.3, distfd.shutdown)
timer.start()
try:
    distfd.gradient(slow, np.arange(30.0), executor=executor)
except distfd.ClusterError as error:
    assert "this process left the Ray cluster" in str(error), error
else:
    raise AssertionError("it has gone on without a cluster")
timer.join()
assert abs(distfd.gradient(f, x, executor=executor) - 2 * x).max() < 1e-6
# And Ray's own way of it, as it comes out of a call.
error = SystemExit(0)
error.ray_terminate_msg = "Ray has left"
from distfd.executors.ray.nodes import Nodes
for other, told in ((error, distfd.ClusterError), (SystemExit(3), SystemExit)):
    try:
        with Nodes(private=True).explained():
            raise other
    except BaseException as raised:
        assert isinstance(raised, told), raised
    else:
        sys.exit("it was swallowed")
"""


def test_who_waits_while_another_thread_ends_the_cluster_is_told() -> None:
    """Ray would end the waiting call by SystemExit(0), and the program without a word, as if all were well."""
    run(_WHILE_IT_WAITS)
