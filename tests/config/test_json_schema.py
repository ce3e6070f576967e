"""The JSON schema for editors: committed, complete, and of one mind with the loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from distfd.cli.config_template import config_template
from distfd.config import json_schema, load_config
from distfd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
BASE = """
objective: {python: "math:fsum"}
x0: [1.0, 2.0]
"""


def complaints(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(text))]


def test_the_committed_schema_is_the_current_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    committed = (CONFIGS / "distfd.schema.json").read_text(encoding="utf-8")
    assert json.loads(committed) == SCHEMA, "write it anew: distfd schema > configs/distfd.schema.json"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_configuration_names_the_schema_and_keeps_to_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == "# yaml-language-server: $schema=distfd.schema.json"
    assert complaints(text) == []


def test_the_starter_keeps_to_it(tmp_path: Path) -> None:
    made = config_template(str(tmp_path / "config.yaml"))
    assert complaints(made.files[made.config]) == []


def properties(schema: dict[str, Any], where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for key, found in schema.get("properties", {}).items():
        yield f"{where}.{key}", found


def test_every_key_is_described() -> None:
    everything = [*properties(SCHEMA)]
    for name, part in SCHEMA["$defs"].items():
        everything += properties(part, name)
    assert len(everything) > 80
    assert [where for where, found in everything if not found.get("description")] == []


GOOD = [
    "",
    "evaluation: {timeout: 10min, retries: 3}",
    "evaluation: {timeout: 1.5, retries: {crash: 1}, recycle: }",
    "evaluation:",
    "derivative:\ncluster:\nresources:\nbounds:\nminimize:",
    "derivative: {step: auto}",
    "derivative: {step: [1.0e-3, 1.0e-4]}",
    "derivative: {step: {absolute: 0.1}, scheme: central}",
    "parameters: null",
    "resources: {memory: 2GiB, custom: {licence: 1}}",
    "cluster: {address: local, num_cpus: 2}",
    "bounds: {lower: 0, upper: [null, 3.0]}",
]
BAD = [
    "task: gradiant",
    "output: 3",
    "derivative: {shceme: forward}",
    "derivative: {step: 0}",
    "derivative: {step: often}",
    "evaluation: {timeout: soon}",
    "evaluation: {retries: -1}",
    "evaluation: {on_failure: ignore}",
    "resources: {num_cpus: -1}",
    "cluster: {num_cpus: 0}",
    "parameters: [{name: a, value: 1.0}]",
    "objective: {python: 'a:b', simulator: 'c:d'}\nx0: [1.0]",
    "objective: {command: {argv: []}}",
]


@pytest.mark.parametrize("more", GOOD)
def test_what_the_loader_takes_the_schema_takes(more: str, tmp_path: Path) -> None:
    text = BASE + more
    (tmp_path / "job.yaml").write_text(text)
    load_config(tmp_path / "job.yaml")
    assert complaints(text) == []


@pytest.mark.parametrize("more", BAD)
def test_what_the_schema_refuses_the_loader_refuses(more: str, tmp_path: Path) -> None:
    text = more if more.startswith("objective") else BASE + more
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(ConfigError):
        load_config(tmp_path / "job.yaml")
    assert complaints(text)
