"""Names that go into scripts and manifests: each reaches the job as it is, or is refused."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from distfd.config.load import load_config
from distfd.errors import ConfigError, InputError
from distfd.launch.kuberay import KubeRayLauncher
from distfd.launch.ray_jobs import RayLauncher
from distfd.launch.slurm import SlurmLauncher
from distfd.launch.submission import Submission

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = "objective: {python: 'model:square'}\nx0: [1.0]\noutput: runs/one\n"

NAMES = [
    "plain",
    "a b",
    "a #b",
    " #b",
    "a: b",
    "a:",
    "100%j",
    "%%x%j",
    "it's",
    'say "hi"',
    "back\\slash",
    "$HOME",
    "`id`",
    "$(id)",
    "a;b",
    "a&&b",
    "{a}",
    "[a]",
    "*",
    "?",
    "- a",
    "~a",
    "!tag",
    "&a",
    "@a",
    "a|b",
    ">a",
    "null",
    "1e5",
    "été",
    "日本",
    "a,b",
    "--option",
    "a=b",
    "-n",
    "'",
    '"',
    "\\",
    "#",
    "a\tb",
]
CONTROL = ["\n", "\r", "\x0b", "\x0c", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u2029", "\x00", "\x1e", "\udcff"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "job.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def submission(output: str, *overrides: str) -> Submission:
    import json

    return Submission(load_config("job.yaml", [f"output={json.dumps(output)}", *overrides]), overrides)


def output_of(command: list[str]) -> str:
    """Where the job would write, as distfd reads its command line."""
    start = command.index("run")
    arguments = [word for word in command[start + 2 :] if not word.startswith("cluster.num_cpus")]
    return str(load_config("job.yaml", arguments).config.output)


@pytest.mark.parametrize("name", NAMES)
def test_the_output_reaches_slurms_job(folder: Path, name: str) -> None:
    text = SlurmLauncher(submission(f"runs/{name}")).describe()
    (line,) = re.findall(r'^run=\(bash -c "\$inner" "\$job" (.*) "cluster\.num_cpus', text, re.MULTILINE)
    assert output_of(shlex.split(line)) == str(folder / "runs" / name)
    ours = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert len(ours) == 8
    (log,) = [line for line in ours if line.startswith("#SBATCH --output=")]
    (written,) = shlex.split(log.removeprefix("#SBATCH --output="))
    # Slurm's own numbers are those with one percent sign.
    assert written.removesuffix("/%j.log").replace("%%", "\0").count("%") == 0
    assert written.removesuffix("/%j.log").replace("%%", "%") == str(folder / "runs" / f"{name}.slurm")


@pytest.mark.parametrize("name", NAMES)
def test_the_output_reaches_the_jobs_of_ray_and_kubernetes(name: str) -> None:
    order = submission("runs/one", f"launch.directory={quoted('/shared/' + name)}")
    ray = shlex.split(RayLauncher(order, "http://head:8265").entrypoint.removeprefix("exec "))
    assert output_of(ray) == f"/shared/{name}/{order.name}"
    text = KubeRayLauncher(order).describe()
    job: dict[str, Any] = list(yaml.safe_load_all(text))[-1]
    assert output_of(shlex.split(job["spec"]["entrypoint"])) == f"/shared/{name}/{order.name}"


def quoted(text: str) -> str:
    import json

    return json.dumps(text)


@pytest.mark.parametrize("bad", CONTROL, ids=ascii)
def test_control_characters_are_refused(bad: str) -> None:
    name = f"runs/one{bad}#SBATCH --uid=root"
    with pytest.raises((InputError, ConfigError, ValueError)):
        SlurmLauncher(submission(name)).describe()


@pytest.mark.parametrize("bad", ["\\n", "\\r", "\\x1b", "\\x85", "\\u2028", "\\0"])
@pytest.mark.parametrize(
    "key", ["launch.directory", "launch.slurm.options", "launch.slurm.setup", "launch.kuberay.image", "output"]
)
def test_a_line_cannot_be_forged_by_any_key(key: str, bad: str) -> None:
    value = f'"/a{bad}#SBATCH --uid=root"' if "slurm" not in key else f'["--a=b{bad}#SBATCH --uid=root"]'
    with pytest.raises(InputError):
        Submission(load_config("job.yaml", [f"{key}={value}"]))


def test_a_file_that_no_manifest_can_name_is_refused(folder: Path) -> None:
    (folder / "deck\n- evil: true").write_text("1")
    with pytest.raises(InputError, match="cannot be in a script or manifest"):
        KubeRayLauncher(submission("runs/one")).describe()


@pytest.mark.parametrize(
    "content", ["a: b\n", "\x1b[2J\r\n", "---\n- x\n", "  lead\n\ttab\n", "\u2028\x85\n", "{{ x }}", "trail \n"]
)
def test_files_arrive_as_they_are(folder: Path, content: str) -> None:
    (folder / "deck.txt").write_bytes(content.encode())
    files = next(iter(yaml.safe_load_all(KubeRayLauncher(submission("runs/one")).describe())))
    assert content in files["data"].values()
