"""What distfd uses of Ray without its promise: all in one file, told where it lacks, and done without."""

from __future__ import annotations

import importlib
import logging
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distfd
from distfd.executors.ray import agent_stand_in, internals
from distfd.executors.ray.executor import _warm

ROOT = Path(__file__).parents[2]
PRIVATE = re.compile(
    r"ray\._private|ray\._raylet|_internal_kv|autoscaler\.v2|_DYNAMIC_CLASS|_global_node|import _private|node has died"
)


def test_nothing_else_names_them() -> None:
    found = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "distfd").rglob("*.py")
        if PRIVATE.search(file.read_text(encoding="utf-8"))
    }
    # warm_workers imports the SDK early, as to import it late may be in the way of a driver that leaves.
    assert found - {"distfd/executors/ray/warm_workers.py"} == {"distfd/executors/ray/internals.py"}


def test_the_ray_that_is_installed_has_them_all() -> None:
    assert internals.lacking() == {}


@pytest.mark.parametrize(("module", "name"), sorted(internals._NAMES))
def test_what_lacks_is_named(module: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(importlib.import_module(module), name)
    assert internals.lacking() == {f"{module}.{name}": internals._NAMES[module, name]}


def test_it_is_told_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delattr(importlib.import_module("ray._private.worker"), "_global_node")
    internals.warn_of_what_lacks.cache_clear()
    with caplog.at_level(logging.WARNING, logger="distfd"):
        internals.warn_of_what_lacks()
        internals.warn_of_what_lacks()
    internals.warn_of_what_lacks.cache_clear()
    assert caplog.text.count("lacks ray._private.worker._global_node") == 1


def test_the_doctor_says_what_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    from distfd.doctor.software import software_findings

    monkeypatch.delattr(importlib.import_module("ray.experimental.internal_kv"), "_internal_kv_list")
    (told,) = [each for each in software_findings() if each.topic == "ray's parts"]
    assert told.level == "warning"
    assert "drivers on one cluster do not share it fairly" in told.text


def test_a_gradient_without_any_of_them(private_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where their modules are gone: all of them have something that is done instead."""
    _warm.end()
    real = importlib.import_module

    def gone(name: str, package: str | None = None) -> Any:
        if name in {module for module, _ in internals._NAMES}:
            raise ImportError(name)
        return real(name, package)

    with monkeypatch.context() as patch:
        patch.setattr(importlib, "import_module", gone)
        internals.keeps_classes_apart.cache_clear()
        result = distfd.differentiate(lambda x: float(x @ x), [1.0, 2.0], executor=distfd.RayExecutor(max_slots=2))
        np.testing.assert_allclose(result.derivative, [2.0, 4.0], rtol=1e-6)
        assert len(_warm) == 0  # classes of an earlier J would be found by the next
    internals.keeps_classes_apart.cache_clear()


TELLS_PORTS = hasattr(importlib.import_module("ray._raylet"), "get_port_filename")
"""Whether agents tell their ports in files: the oldest Ray that is promised has none, and keeps its own agents."""

STARTS = """
import sys
import psutil
import distfd

print(distfd.gradient(lambda x: float(x @ x), [1.0], executor=distfd.RayExecutor(max_slots=1, show_output=False)))
names = [" ".join(each.cmdline()) for each in psutil.Process().children(recursive=True)]
for server in ("dashboard.py", "monitor.py", "log_monitor.py", "gcs_server"):
    print(server, any(f"/{server}" in name for name in names))
print("agents", any(name.startswith(("ray::DashboardAgent", "ray::RuntimeEnvAgent")) for name in names))
"""


@pytest.mark.parametrize("plain", [False, True])
def test_a_cluster_of_its_own_has_no_servers_that_nobody_asks(plain: bool) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    environ = environ | ({internals.PLAIN: "1"} if plain else {})
    done = subprocess.run(
        [sys.executable, "-c", STARTS], env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    told = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines()[1:])
    assert told["gcs_server"] == "True"
    assert told["dashboard.py"] == told["monitor.py"] == told["log_monitor.py"] == str(plain)
    assert told["agents"] == str(plain or not TELLS_PORTS)


ENVIRONMENTS = """
import os, sys, time
import psutil, ray
import distfd

slots = distfd.RayExecutor(num_cpus=2, show_output=False)
print(distfd.gradient(lambda x: float(x @ x), [1.0], executor=slots))

@ray.remote(runtime_env={"env_vars": {"DISTFD_TEST_A": "7"}})
def asked():
    return os.environ["DISTFD_TEST_A"]

print("asked", ray.get(asked.remote()))
children = psutil.Process().children(recursive=True)
print("became", any(each.cmdline()[:1] == ["ray::RuntimeEnvAgent"] for each in children))
agents = [each for each in children if "agent_stand_in.py" in str(each.cmdline()) or "Agent" in each.cmdline()[0]]
(raylet,) = [each for each in children if "raylet/raylet" in " ".join(each.cmdline())]
raylet.kill()
gone, alive = psutil.wait_procs(agents, timeout=30)
print("left", len(alive), len(gone) >= 2)
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not TELLS_PORTS, reason="this Ray keeps its own agents")
def test_an_agent_that_is_asked_for_becomes_rays_own_and_none_outlives_its_node() -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", ENVIRONMENTS], env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith(("asked", "became", "left"))]
    assert told == ["asked 7", "became True", "left 0 True"]  # the rest is what Ray says of the node's end


def appears(path: Path) -> bool:
    """Whether the file is there within a minute."""
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return path.exists()


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.77"])
def test_a_stand_in_tells_a_port_at_which_it_listens_and_becomes_what_it_stands_for(
    address: str, tmp_path: Path
) -> None:
    """At any address of the machine where the node's is none of them, as behind a router."""
    became = tmp_path / "became"
    told = f"import sys, pathlib; pathlib.Path({str(became)!r}).write_text(sys.argv[-1])"
    options = ["--node-id=n1", f"--node-ip-address={address}", f"--session-dir={tmp_path}"]
    command = [sys.executable, "-c", told, *options, "--runtime-env-agent-port=0"]
    stand_in = [sys.executable, "-I", "-S", str(agent_stand_in.__file__)]
    with subprocess.Popen([*stand_in, "lazy", *command]) as process:
        file = tmp_path / "runtime_env_agent_port_n1"
        assert appears(file)
        port = int(file.read_text())
        with socket.create_connection(("127.0.0.1", port), timeout=60):
            assert process.wait(60) == 0
    assert became.read_text() == f"--runtime-env-agent-port={port}"
    with subprocess.Popen([*stand_in, "none", *command]) as process:
        for name in agent_stand_in.NO_PORTS:
            assert appears(tmp_path / f"{name}_n1")
            assert (tmp_path / f"{name}_n1").read_text() == "-1"
        assert process.poll() is None
        process.kill()


@pytest.mark.skipif(not TELLS_PORTS, reason="this Ray keeps its own agents")
def test_where_the_agents_tell_their_ports_in_another_way_they_are_rays_own(monkeypatch: pytest.MonkeyPatch) -> None:
    services = importlib.import_module("ray._private.services")
    kept = services._build_python_executable_command_memory_profileable
    with internals.quick_start(log_monitor=False):
        assert services._build_python_executable_command_memory_profileable is not kept
    monkeypatch.setattr(importlib.import_module("ray._raylet"), "get_port_filename", lambda node, name: f"{name}.port")
    with internals.quick_start(log_monitor=False):
        assert services._build_python_executable_command_memory_profileable is kept
        assert services.get_node.__module__ != services.__name__


@pytest.mark.parametrize("name", ["start_api_server", "start_monitor"])
def test_where_ray_has_other_parts_they_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    node = importlib.import_module("ray._private.node").Node
    monkeypatch.setattr(node, name, lambda self, more: None)
    kept = {each: getattr(node, each) for each in ("start_api_server", "start_monitor", "start_log_monitor")}
    with internals.quick_start(log_monitor=False):
        assert {each: getattr(node, each) for each in kept} == kept


def test_what_was_replaced_for_the_start_is_as_it_was() -> None:
    node = importlib.import_module("ray._private.node").Node
    services = importlib.import_module("ray._private.services")
    kept = node.start_api_server, node.start_monitor, node.start_log_monitor, services.get_node
    with internals.quick_start(log_monitor=False):
        assert node.start_monitor is not kept[1]
        assert services.get_node is not kept[3]
    assert (node.start_api_server, node.start_monitor, node.start_log_monitor, services.get_node) == kept


def test_notes_of_one_process_where_the_cluster_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(importlib.import_module("ray.experimental.internal_kv"), "_internal_kv_list")
    notes = internals.ClusterNotes(b"test")
    notes.put("driver:1", "a")
    notes.put("other:1", "b")
    assert list(notes.names("driver:")) == ["driver:1"]
    assert (notes.get("driver:1"), notes.get("driver:2")) == (b"a", None)
    notes.remove("driver:1")
    notes.remove("driver:1")
    assert list(notes.names("driver:")) == []


@pytest.mark.nightly  # tests/packaging/test_lowest_versions.py has a gradient on it
def test_the_oldest_ray_that_is_promised(tmp_path: Path) -> None:
    """The executor's contract, workers that stay and programs, with the lowest version in pyproject.toml.

    Ray is put before the one that is installed; what else it needs is the same.
    """
    old = f"{internals.OLDEST}.0"
    assert f'"ray>={internals.OLDEST}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    place = tmp_path / "site-packages"  # by which its modules are known not to be the user's own
    got = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(place), f"ray=={old}"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if got.returncode and "No matching distribution" in got.stderr and sys.version_info >= (3, 14):
        pytest.skip(f"NOT TESTED: there is no Ray {old} for this Python")
    assert got.returncode == 0, got.stderr
    chosen = [
        "tests/executors/test_internals.py",
        "tests/contract/test_executor.py",
        "tests/executors/test_warm_workers.py",
        "-k",
        "not oldest and (ray or lack or redefined or second_call or second_by or the_ray_that or another_j)",
    ]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), str(ROOT)]), "PYTEST_ADDOPTS": ""}
    told = subprocess.run(
        [sys.executable, "-c", "import ray, ray._version; print(ray.__version__)"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert told.stdout.strip() == old
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-W", "default", *chosen],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
    print(done.stdout.strip().splitlines()[-1])
