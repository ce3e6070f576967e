"""The manifest for KubeRay, and what is asked of kubectl; no cluster, and never the machine's own kubectl."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from distfd.config.load import load_config
from distfd.errors import InputError
from distfd.launch.kuberay import KubeRayLauncher
from distfd.launch.submission import Submission
from distfd.launch.submit import submit

SHAPE = json.loads((Path(__file__).parent / "rayjob_shape.json").read_text(encoding="utf-8"))
CONFIG = "objective: {python: 'model:square'}\nx0: [1.0]\noutput: run\n"
KUBECTL = """#!{python}
import io, json, sys, tarfile
from pathlib import Path
here = Path(__file__).parent
words = sys.argv[3:]
state = here / "state"
with (here / "asked").open("a") as file:
    print(*words, file=file)
if words[0] == "apply":
    (here / "applied.yaml").write_text(sys.stdin.read())
    state.write_text("0")
elif words[:2] == ["get", "rayjob"] and "jobDeploymentStatus" in words[-1] and state.exists():
    seen = int(state.read_text())
    state.write_text(str(seen + 1))
    print(["Initializing/", "Running/RUNNING", "Complete/SUCCEEDED"][min(seen, 2)])
elif words[:2] == ["get", "rayjob"] and "rayClusterName" in words[-1]:
    print("cluster-1")
elif words[:2] == ["get", "pod"]:
    print("head-1")
elif words[0] == "logs":
    print("2026-01-01T00:00:01Z a line of the job")
elif words[0] == "exec":
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|gz") as tar:
        data = json.dumps(dict(status="done", task="gradient")).encode()
        member = tarfile.TarInfo("./result.json")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
"""


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submission:
    (tmp_path / "job.yaml").write_text(CONFIG)
    (tmp_path / "deck").mkdir()
    (tmp_path / "deck" / "case.j2").write_text("{{ x[0] }}\n")
    (tmp_path / "mesh.bin").write_bytes(b"\xff\x00")
    monkeypatch.chdir(tmp_path)
    return Submission(load_config("job.yaml"), ("derivative.step=1e-4", "output=run"))


def described(order: Submission) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(KubeRayLauncher(order).describe()))


def test_the_manifest_is_as_kuberay_wants_it(order: Submission) -> None:
    files, job = described(order)
    jsonschema.validate(job, SHAPE)
    assert job["spec"]["entrypoint"] == (
        f"python -m distfd run /etc/distfd/job.yaml derivative.step=1e-4 output=/distfd/runs/{order.name} "
        "cluster.address=auto"
    )
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    shown = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["volumes"][1]["configMap"]
    sent = {item["path"]: {**files["data"], **files["binaryData"]}[item["key"]] for item in shown["items"]}
    assert sent == {"deck/case.j2": "{{ x[0] }}\n", "job.yaml": CONFIG, "mesh.bin": "/wA="}


def test_the_shape_refuses_what_kuberay_would_drop(order: Submission) -> None:
    job = described(order)[-1]
    job["spec"]["backofLimit"] = 3
    with pytest.raises(jsonschema.ValidationError, match="backofLimit"):
        jsonschema.validate(job, SHAPE)


def test_a_folder_that_is_too_large_is_refused_unless_it_is_there_already(order: Submission, tmp_path: Path) -> None:
    (tmp_path / "mesh.bin").write_bytes(bytes(1_000_000))
    with pytest.raises(InputError, match=r"launch\.kuberay\.folder"):
        described(order)
    (only,) = described(Submission(load_config("job.yaml", ["launch.kuberay.folder=/opt/job"])))
    jsonschema.validate(only, SHAPE)
    assert "/opt/job/job.yaml" in only["spec"]["entrypoint"]


def test_a_job_is_applied_followed_and_brought_back(
    order: Submission, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / ".bin"
    programs.mkdir()
    (programs / "kubectl").write_text(KUBECTL.replace("{python}", sys.executable))
    (programs / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("distfd.launch.kuberay._LOOK", 0.0)
    told: list[str] = []
    code, result = submit(order.loaded, (), "kuberay", follow=True, say=told.append, ask=lambda _: False)
    assert code == 0
    assert result == {"status": "done", "task": "gradient"}
    assert told.count("a line of the job") == 1
    assert "KubeRay: Running/RUNNING" in told
    assert json.loads((tmp_path / "run" / "submitted.json").read_text()) == {"job": order.name}


def test_a_run_of_another_making_is_not_overwritten(order: Submission, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text("{}")
    with pytest.raises(InputError, match="is there already, and did not come from"):
        submit(order.loaded, (), "kuberay", follow=True, say=print, ask=lambda _: False)
