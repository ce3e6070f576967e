from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from distfd.config import json_schema, load_config
from distfd.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "objective: {python: m:f}\nx0: [1, 2]\n"


def load(folder: Path, text: str, *overrides: str) -> Any:
    path = folder / "c.yaml"
    path.write_text(text)
    return load_config(path, overrides).config


# Text, the attribute it sets, and what the attribute then is.
GOOD: list[tuple[str, str, Any]] = [
    (HEAD, "task", "gradient"),
    (HEAD, "derivative.scheme", "forward"),
    (HEAD, "derivative.step", None),
    (HEAD, "evaluation.retries.crash", 2),
    (HEAD, "evaluation.retries.error", 0),
    (HEAD, "evaluation.on_failure", "raise"),
    (HEAD, "resources.num_cpus", 1.0),
    (HEAD, "cluster.address", None),
    (HEAD, "minimize.method", "L-BFGS-B"),
    (HEAD, "minimize.speculative", "auto"),
    (HEAD, "output", None),
    (HEAD, "duplicates", True),
    (HEAD + "# a comment\ntask: jacobian\n", "task", "jacobian"),
    (HEAD + "'task': \"minimize\"\n", "task", "minimize"),
    ("%YAML 1.2\n---\n" + HEAD + "...\n", "x0", (1.0, 2.0)),
    ("\ufeff" + HEAD, "x0", (1.0, 2.0)),
    (HEAD.replace("\n", "\r\n"), "x0", (1.0, 2.0)),
    (
        HEAD.replace("[1, 2]", "\n- 1e-6\n- 1e5\n- 1.5E-3\n- .5\n- -5.\n- +1\n- 0x10\n- 0o10\n- 0.10"),
        "x0",
        (1e-6, 1e5, 1.5e-3, 0.5, -5, 1, 16, 8, 0.1),
    ),
    (
        "x0: [1]\nobjective: {python: m:f, args: [on, off, yes, no, y, n, ~, null, true, False]}\n",
        "objective.args",
        ("on", "off", "yes", "no", "y", "n", None, None, True, False),
    ),
    (
        "x0: [1]\nobjective: {python: m:f, args: [1:30, 2020-01-01, 1_000, 0b11, 1.2.3, =, '1', \"010\"]}\n",
        "objective.args",
        ("1:30", "2020-01-01", "1_000", "0b11", "1.2.3", "=", "1", "010"),
    ),
    (
        "x0: [1]\nobjective: {python: m:f, kwargs: {a: {b: [.inf, -.inf]}}}\n",
        "objective.kwargs",
        {"a": {"b": [float("inf"), float("-inf")]}},
    ),
    ("x0: [1]\nobjective: {simulator: pkg.mod:Outer.Inner, version: 3}\n", "objective.version", "3"),
    (HEAD + "parameters:\n", "x0", (1.0, 2.0)),
    (HEAD + "derivative:\nevaluation: {}\ncluster: ~\n", "derivative.scheme", "forward"),
    (HEAD + "derivative: {step: 1}\n", "derivative.step", 1.0),
    (HEAD + "derivative: {step: [1, 1e-3]}\n", "derivative.step", (1.0, 1e-3)),
    (HEAD + "derivative: {step: {absolute: 1e-3}}\n", "derivative.step.absolute", 1e-3),
    (HEAD + "derivative: {step: {absolute: [1, 2]}}\n", "derivative.step.absolute", (1.0, 2.0)),
    (HEAD + "derivative: {step: null, accuracy: null}\n", "derivative.step", None),
    (HEAD + "evaluation: {timeout: 30}\n", "evaluation.timeout", 30.0),
    (HEAD + "evaluation: {timeout: 30s}\n", "evaluation.timeout", 30.0),
    (HEAD + "evaluation: {timeout: 10min}\n", "evaluation.timeout", 600.0),
    (HEAD + "evaluation: {timeout: 1.5 h}\n", "evaluation.timeout", 5400.0),
    (HEAD + "evaluation: {timeout: 2d}\n", "evaluation.timeout", 172800.0),
    (HEAD + "evaluation: {retries: 3}\n", "evaluation.retries.timeout", 3),
    (HEAD + "evaluation: {retries: {error: 1}}\n", "evaluation.retries.crash", 2),
    (HEAD + "evaluation: {retries: }\n", "evaluation.retries.crash", 2),
    (HEAD + "evaluation: {retry_delay: 0, retry_if: null}\n", "evaluation.retry_delay", 0.0),
    (HEAD + "resources: {memory: 4GiB}\n", "resources.memory", 4 * 2**30),
    (HEAD + "resources: {memory: 1.5 GB}\n", "resources.memory", 1_500_000_000),
    (HEAD + "resources: {memory: 1e9}\n", "resources.memory", 1_000_000_000),
    (HEAD + "resources: {num_cpus: 0.5, num_gpus: 0.25}\n", "resources.num_gpus", 0.25),
    (HEAD + "resources: {num_cpus: 0, num_gpus: 2}\n", "resources.num_gpus", 2.0),
    (HEAD + "resources: {custom: {licence: 1}}\n", "duplicates", False),
    (HEAD + "resources: {custom: {licence: 1}}\nevaluation: {deterministic: true}\n", "duplicates", True),
    (HEAD + "evaluation: {deterministic: false}\n", "duplicates", False),
    ("x0: [1]\nobjective: {command: {argv: [a], fails_if: '[[a]', outputs: {a: {file: a, npy: 0}}}}\n", "x0", (1.0,)),
    (HEAD + "cluster: {address: local}\n", "cluster.address", "local"),
    (HEAD + "cluster: {address: 'head-1.x:6379'}\n", "cluster.address", "head-1.x:6379"),
    (HEAD + "cluster: {address: 'ray://[::1]:10001'}\n", "cluster.address", "ray://[::1]:10001"),
    (HEAD + "minimize: {speculative: false}\n", "minimize.speculative", False),
    (HEAD + "minimize: {method: BFGS, options: {gtol: 1e-8}}\n", "minimize.options", {"gtol": 1e-8}),
]


@pytest.mark.parametrize(("text", "key", "value"), GOOD, ids=[f"{k}-{good[1]}" for k, good in enumerate(GOOD)])
def test_good(tmp_path: Path, text: str, key: str, value: Any) -> None:
    found: Any = load(tmp_path, text)
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value
    assert type(found) is type(value)


def test_a_whole_command(tmp_path: Path) -> None:
    for name in ("beam.inp.j2", "mesh.dat", "big.bin", "solve.sh"):
        (tmp_path / name).write_text("x")
    config = load(
        tmp_path,
        """
task: jacobian
parameters:
- {name: width, value: 1, lower: 0.5, upper: 2, scale: 1, step: 1e-4}
- {name: depth, value: 2, fixed: true}
objective:
  version: "1.10"
  command:
    commands: [[./solve.sh, beam.inp], [cp, a, b]]
    inputs: {deck/beam.inp: beam.inp.j2}
    copy: [mesh.dat]
    link: [big.bin]
    env: {OMP_NUM_THREADS: "1", LD_PRELOAD: null}
    pass_env: [LICENCE_FILE]
    hint: apt-get install calculix-ccx
    fails_if: "^\\\\*ERROR"
    value: [mass, "2 * (stress + tip)"]
    outputs:
      mass: {file: out.json, json: /mass/0}
      stress: {file: out.csv, csv: {column: s11, row: 3}}
      tip: {file: stdout, regex: "tip = (.*)$"}
      part: {file: out.txt, columns: {line: "^TOTAL", from: 11, to: 20}}
      other: {file: out.npy, npy: [0, 2]}
      last: {file: out.bin, python: "readers:last"}
""",
    )
    command = config.objective.command
    assert command.inputs == {"deck/beam.inp": str(tmp_path / "beam.inp.j2")}
    assert command.copy_ == (str(tmp_path / "mesh.dat"),)
    assert command.link == (str(tmp_path / "big.bin"),)
    assert command.programs == ((str(tmp_path / "solve.sh"), "beam.inp"), ("cp", "a", "b"))
    assert command.env == {"OMP_NUM_THREADS": "1", "LD_PRELOAD": None}
    assert command.value == ("mass", "2 * (stress + tip)")
    assert command.outputs["mass"].json_ == "/mass/0"
    assert command.outputs["part"].columns.from_ == 11
    assert command.outputs["other"].npy == (0, 2)


@pytest.mark.parametrize(
    ("line", "program"),
    [
        ("argv: [./run]", "{folder}/run"),
        ("argv: [bin/../run]", "{folder}/run"),
        ("argv: [run]", "run"),
        ("argv: [./other]", "./other"),
        ("argv: [/bin/sh]", "/bin/sh"),
        ("{argv: [./run], copy: [run]}", "./run"),
    ],
)
def test_a_program_beside_the_config_is_found_from_any_folder(tmp_path: Path, line: str, program: str) -> None:
    (tmp_path / "run").write_text("#!/bin/sh\n")
    inside = line.strip("{}")
    text = f"x0: [1]\nobjective: {{command: {{{inside}, outputs: {{a: {{file: a, npy: 0}}}}}}}}\n"
    assert load(tmp_path, text).objective.command.programs[0][0] == program.format(folder=tmp_path)


def test_paths_are_relative_to_the_config_and_output_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weird = tmp_path / "it's a\n folder: é"
    weird.mkdir()
    np.save(weird / "x.npy", np.arange(3.0))
    (weird / "c.yaml").write_text("objective: {python: m:f}\nx0: x.npy\nbounds: {lower: x.npy}\noutput: runs/a\n")
    monkeypatch.chdir(tmp_path)
    loaded = load_config(os.path.relpath(weird / "c.yaml"))
    assert loaded.path == weird / "c.yaml"
    assert loaded.folder == weird
    assert loaded.config.x0 == loaded.config.bounds.lower == str(weird / "x.npy")
    assert loaded.config.output == str(tmp_path / "runs" / "a")


def test_frozen(tmp_path: Path) -> None:
    config = load(tmp_path, HEAD)
    with pytest.raises(ValueError, match="frozen"):
        config.derivative.scheme = "central"


OVERRIDES: list[tuple[tuple[str, ...], str, Any]] = [
    (("x0=[3, 4, 5]",), "x0", (3.0, 4.0, 5.0)),
    (("x0.1=7",), "x0", (1.0, 7.0)),
    (("derivative.step=1e-4",), "derivative.step", 1e-4),
    (("derivative.step={absolute: 1e-4}",), "derivative.step.absolute", 1e-4),
    (("derivative={step: 1e-4, scheme: central}", "derivative.step=null"), "derivative.step", None),
    (("task=minimize", "task=jacobian"), "task", "jacobian"),
    (("evaluation.retries.crash=5",), "evaluation.retries.crash", 5),
    (("evaluation.timeout=",), "evaluation.timeout", None),
    (("objective.kwargs.a=b=c",), "objective.kwargs", {"a": "b=c"}),
    (("objective.kwargs.a.b.c=[1]",), "objective.kwargs", {"a": {"b": {"c": [1]}}}),
    (("objective.python=null", "objective.simulator=m:S"), "objective.simulator", "m:S"),
    (("x0=null", "parameters=[{name: a, value: 1}]", "parameters.a.value=2"), "parameters", None),
]


@pytest.mark.parametrize(("overrides", "key", "value"), OVERRIDES)
def test_overrides(tmp_path: Path, overrides: tuple[str, ...], key: str, value: Any) -> None:
    found: Any = load(tmp_path, HEAD, *overrides)
    if key == "parameters":
        assert found.parameters[0].value == 2.0
        return
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


PARAMETERS = "objective: {python: m:f}\nparameters:\n- {name: log_a, value: 1}\n- {name: b, value: 2}\n"


def test_parameters_are_overridden_by_name_or_number(tmp_path: Path) -> None:
    config = load(tmp_path, PARAMETERS, "parameters.log_a.value=0.3", "parameters.1.value=4", "parameters.b.upper=5")
    assert [p.value for p in config.parameters] == [0.3, 4.0]
    assert config.parameters[1].upper == 5.0


def test_a_key_with_dots_is_overridden(tmp_path: Path) -> None:
    (tmp_path / "a.j2").write_text("")
    (tmp_path / "b.j2").write_text("")
    text = "x0: [1]\nobjective: {command: {argv: [a], outputs: {a: {file: a, npy: 0}}, inputs: {m.inp: a.j2}}}\n"
    config = load(tmp_path, text, "objective.command.inputs.m.inp=b.j2")
    assert config.objective.command.inputs == {"m.inp": str(tmp_path / "b.j2")}


BAD_OVERRIDES = [
    ("derivative.stpe=1", "derivative.stpe: unknown key (1); did you mean derivative.step"),
    ("derivative.step=0", "derivative.step: must be > 0 (0)"),
    ("derivative.step=[1,2", "derivative.step: value:1:5: not valid YAML"),
    ("derivative.step=&a 1", "derivative.step: value:1:1: anchors are not read"),
    ("derivative.step=010", "derivative.step: value:1:1: a number that begins with 0"),
    ("output=#1", "output: value:1:1: there is nothing in it"),
    ("derivative", "must be key.path=value"),
    ("", "must be key.path=value"),
    ("=1", "must be key.path=value"),
    ("a..b=1", "must be key.path=value"),
    ("--fresh=1", "--fresh: unknown key (1)"),
    ("parameters.a.value=1", "parameters.a: no item of parameters has this name"),
    ("parameters.log_b.value=1", "no item of parameters has this name; did you mean parameters.log_a"),
    ("parameters.2.value=1", "parameters.2: parameters has 2 items, counted from 0"),
    ("parameters.0.value.x=1", "parameters.0.value.x: parameters.0.value is no mapping here, so it has no key x (1)"),
    ("parameters.log_a=3", "parameters.0: must be a mapping {key: value} (3)"),
    ("parameters.log_a.upper=0", "parameters.0.value: log_a is outside its bounds: above its upper, 0.0"),
    (
        "objective.command={argv: [a]}",
        "allowed, and python is given too; to replace it add objective.python=null",
    ),
    (
        "x0=[1]",
        "allowed, and parameters is given too; to replace it add parameters=null",
    ),
    ("objective.python=3", "objective.python: must be text (3)"),
    (".".join("a" * 200) + "=1", "nested more than 50 deep"),
    ("\udce9=1", "must be key.path=value"),
    ("output=\udce9", "a character that YAML does not allow"),
]


@pytest.mark.parametrize(("override", "message"), BAD_OVERRIDES, ids=[bad[1][:40] for bad in BAD_OVERRIDES])
def test_bad_overrides(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, PARAMETERS, override)
    if "is outside" in message:
        # The value is the file's own, so that is where it stands.
        assert f"{tmp_path}/c.yaml:3:24: {message}" in str(caught.value)
    else:
        label = override.replace("\udce9", "?")
        start = f"override {label if len(label) <= 80 else label[:77] + '...'}: "
        assert [line for line in str(caught.value).split("\n") if line.startswith(start) and message in line], str(
            caught.value
        )


def test_mistakes_of_the_file_and_of_overrides_come_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, HEAD + "taks: 1\n", "cluster.max_slots=none", "x0")
    assert str(caught.value).split("\n") == [
        "override x0: must be key.path=value",
        'override cluster.max_slots=none: cluster.max_slots: must be a whole number ("none")',
        f"{tmp_path}/c.yaml:3:1: taks: unknown key (1); did you mean task",
    ]


def test_pydantic_is_imported_only_when_a_config_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(HEAD)
    code = (
        "import sys, distfd.config as c\nassert not {'pydantic', 'yaml'} & set(sys.modules)\n"
        "c.load_config(sys.argv[1])\nassert 'pydantic' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "c.yaml")], check=True, timeout=60)


def test_the_schema_knows_the_keys_as_yaml_has_them() -> None:
    schema = json_schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert set(schema["properties"]) >= {"task", "objective", "parameters", "x0", "bounds", "output"}
    assert {"json", "csv"} <= set(schema["$defs"]["Output"]["properties"])
    choice = schema["$defs"]["Objective"]["oneOf"]
    assert [one["required"] for one in choice] == [["python"], ["simulator"], ["command"], ["fmu"]]
    assert schema["$defs"]["Derivative"]["properties"]["scheme"]["description"] == "The finite-difference scheme."


def test_warm_starts_recycling_and_nodes(tmp_path: Path) -> None:
    text = """\
x0: [1]
objective:
  warm: baseline
  command: {argv: [p], outputs: {a: {file: f, json: /a}}, restart: [state, out/mesh]}
evaluation: {recycle: {evaluations: 100, memory: 2GiB}}
resources: {nodes: 3}
"""
    (tmp_path / "c.yaml").write_text(text)
    config = load_config(tmp_path / "c.yaml").config
    assert config.objective.warm == "baseline"
    assert config.objective.command is not None
    assert config.objective.command.restart == ("state", "out/mesh")
    assert config.evaluation.recycle.model_dump() == {"evaluations": 100, "memory": 2 * 2**30}
    assert config.resources.nodes == 3
    (tmp_path / "plain.yaml").write_text("x0: [1]\nobjective: {python: m:f}\nevaluation: {recycle: null}\n")
    plain = load_config(tmp_path / "plain.yaml").config
    assert plain.objective.warm is None
    assert plain.evaluation.recycle.model_dump() == {"evaluations": None, "memory": None}
    assert plain.resources.nodes == 1
