"""What is refused because of what it means: each mistake at its place, in words for the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from distfd.config import load_config
from distfd.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = "objective: {python: m:f}\n"
HEAD = PYTHON + "x0: [1, 2]\n"
COMMAND = "x0: [1, 2]\nobjective:\n  command:\n    argv: [solver]\n    outputs: {mass: {file: a.json, json: /mass}}\n"
OUTPUT = "x0: [1, 2]\nobjective:\n  command:\n    argv: [solver]\n    outputs:\n      a: "
PARAMETERS = PYTHON + "parameters:\n"

# Text, line:column, and words of the message.
BAD: list[tuple[str, str, str]] = [
    # What is missing, unknown, or given twice over.
    ("task: gradient\n", "1:1", "objective: is missing"),
    ("task: gradient\n", "1:1", "exactly one of parameters and x0 is needed"),
    (
        HEAD + "parameters: [{name: a, value: 1}]\n",
        "3:1",
        "exactly one of parameters and x0 is allowed, and x0 is given too",
    ),
    ("x0: [1]\nobjective: {}\n", "2:1", "objective: exactly one of python, simulator, command and fmu is needed"),
    (
        "x0: [1]\nobjective: {python: m:f, simulator: m:S}\n",
        "2:26",
        "objective.simulator: exactly one of python, simul",
    ),
    (
        "x0: [1]\nobjective:\n  python: m:f\n  pyhton: m:g\n",
        "4:3",
        'unknown key ("m:g"); did you mean objective.python',
    ),
    ("x0: [1]\nobjective: {pyhton: m:f}\n", "2:1", "objective: exactly one of"),
    ("x0: [1]\nobjective: {pyhton: m:f}\n", "2:13", "unknown key"),
    ("x0: [1]\nobjective:\n", "2:1", "objective: must be a mapping {key: value} (null)"),
    ("x0: [1]\nobjective: m:f\n", "2:12", 'objective: must be a mapping {key: value} ("m:f")'),
    (HEAD + "tsak: gradient\n", "3:1", 'tsak: unknown key ("gradient"); did you mean task'),
    (HEAD + "scheme: central\n", "3:1", 'scheme: unknown key ("central"); did you mean derivative.scheme'),
    (HEAD + "timeout: 3\n", "3:1", "unknown key (3); did you mean evaluation.timeout"),
    (HEAD + "derivative:\n  stpe: 1\n", "4:3", "derivative.stpe: unknown key (1); did you mean derivative.step"),
    (HEAD + "qwertz: {a: [1, {b: yes}]}\n", "3:1", 'qwertz: unknown key ({a: [1, {b: "yes"}]})'),
    (HEAD + '"a.b\\ec": 1\n', "3:1", '"a.b\\x1bc": unknown key (1)'),
    # Warm starts, and what they start from.
    (PYTHON[:-2] + ", warm: baseline}\nx0: [1]\n", "1:32", "objective.warm: needs a state: a simulator with snapshot"),
    (COMMAND + "  warm: iterate\n", "6:9", "objective.warm: needs objective.command.restart"),
    (COMMAND + "    restart: [state]\n", "6:14", "objective.command.restart: is of use with objective.warm alone"),
    ("x0: [1]\nobjective: {simulator: m:S, warm: first}\n", "2:35", "must be one of baseline"),
    (COMMAND + "    restart: [../state]\n  warm: baseline\n", "6:15", "objective.command.restart"),
    (HEAD + "evaluation: {recycle: {evaluations: 0}}\n", "3:37", "evaluation.recycle.evaluations"),
    (HEAD + "evaluation: {recycle: {memory: lots}}\n", "3:32", "evaluation.recycle.memory: must be a number of bytes"),
    (HEAD + "resources: {nodes: 0}\n", "3:20", "resources.nodes"),
    # Types.
    (HEAD + "task: 3\n", "3:7", "task: must be one of gradient, jacobian"),
    (HEAD + "task:\n", "3:1", "task: must be one of gradient, jacobian"),
    (HEAD + "task: gradent\n", "3:7", '("gradent"); did you mean gradient'),
    (HEAD + "task: [gradient]\n", "3:7", '(["gradient"])'),
    (HEAD + "evaluation: {deterministic: on}\n", "3:29", 'must be true or false ("on"); did you mean true'),
    (HEAD + "evaluation: {deterministic: no}\n", "3:29", 'must be true or false ("no"); did you mean false'),
    (HEAD + "evaluation: {deterministic: 1}\n", "3:29", "must be true or false (1); did you mean true"),
    (HEAD + "evaluation: []\n", "3:13", "evaluation: must be a mapping {key: value} ([])"),
    (HEAD + "cluster: {max_slots: true}\n", "3:22", "cluster.max_slots: must be a whole number (true)"),
    (HEAD + "cluster: {max_slots: 2.0}\n", "3:22", "must be a whole number (2.0); did you mean 2"),
    (HEAD + "cluster: {max_slots: 2.5}\n", "3:22", "must be a whole number (2.5)"),
    (HEAD + "cluster: {max_slots: 0}\n", "3:22", "must be >= 1 (0)"),
    (HEAD + "cluster: {num_cpus: '4'}\n", "3:21", 'must be a whole number ("4")'),
    (HEAD + "output: 5\n", "3:9", 'output: must be text (5); did you mean "5", in quotes'),
    (HEAD + "output: ''\n", "3:9", 'output: must not be empty ("")'),
    # x0 and its bounds.
    (PYTHON + "x0: 1\n", "2:5", "x0: must be a list of numbers, or the name of an .npy file (1)"),
    (PYTHON + "x0: []\n", "2:5", "x0: must not be empty ([])"),
    (PYTHON + "x0: [1, true]\n", "2:9", "x0.1: must be a number (true)"),
    (PYTHON + "x0: [1, one]\n", "2:9", 'x0.1: must be a number ("one")'),
    (PYTHON + "x0:\n- 1\n- null\n", "4:3", "x0.1: must be a number (null)"),
    (PYTHON + "x0: [.nan]\n", "2:6", "x0.0: must be a finite number (.nan)"),
    (PYTHON + "x0: [1, -.inf]\n", "2:9", "x0.1: must be a finite number (-.inf)"),
    (PYTHON + "x0: [1e999]\n", "2:6", "x0.0: must be a finite number (.inf)"),
    (PYTHON + "x0: [[1]]\n", "2:6", "x0.0: must be a number ([1])"),
    (PYTHON + "x0: start.txt\n", "2:5", 'x0: text here must be the name of an .npy file ("start.txt")'),
    (PYTHON + "x0: no.npy\n", "2:5", "no.npy cannot be read as an .npy file: No such file or directory"),
    (PYTHON + "x0: text.npy\n", "2:5", "text.npy cannot be read as an .npy file"),
    (PYTHON + "x0: pickle.npy\n", "2:5", "pickle.npy cannot be read as an .npy file"),
    (PYTHON + "x0: matrix.npy\n", "2:5", "must hold a (d,) array of real numbers, and holds float64 (2, 2)"),
    (PYTHON + "x0: complex.npy\n", "2:5", "must hold a (d,) array of real numbers, and holds complex128 (2,)"),
    (PYTHON + "x0: nan.npy\n", "2:5", "nan.npy holds NaN at index 1"),
    (PYTHON + "x0: inf.npy\n", "2:5", "inf.npy holds inf at index 1"),
    (PYTHON + "x0: archive.npy\n", "2:5", "archive.npy is an archive, not an .npy file"),
    (PYTHON + "x0: short.npy\n", "2:5", "short.npy cannot be read as an .npy file"),
    (HEAD + "bounds: [0, 1]\n", "3:9", "bounds: must be a mapping {key: value} ([0, 1])"),
    (HEAD + "bounds: {lower: zero.npz}\n", "3:17", "text here must be the name of an .npy file"),
    (
        HEAD + "bounds: {lower: {}}\n",
        "3:17",
        "must be a number, a list of numbers and nulls, or the name of an .npy file",
    ),
    (HEAD + "bounds: {lower: .inf}\n", "3:17", "bounds.lower: must be a finite number (.inf)"),
    (HEAD + "bounds: {lower: [0, 0, 0]}\n", "3:17", "bounds.lower: has 3 numbers, and x0 has 2"),
    (HEAD + "bounds: {upper: three.npy}\n", "3:17", "bounds.upper: has 3 numbers, and x0 has 2"),
    (HEAD + "bounds: {lower: 1.5}\n", "3:17", "bounds.lower: is above x0, which is 1, at index 0 (1.5)"),
    (HEAD + "bounds: {upper: [null, 1]}\n", "3:24", "bounds.upper.1: is below x0, which is 2, at index 1 (1.0)"),
    (
        HEAD + "bounds:\n  lower: [0, 5]\n  upper: 3\n",
        "4:14",
        "bounds.lower.1: is above upper, which is 3, at index 1 (5.0)",
    ),
    (
        PARAMETERS + "- {name: a, value: 1}\nbounds: {lower: 0}\n",
        "4:9",
        "belongs to x0; parameters have lower and upper",
    ),
    # Parameters.
    (PARAMETERS + "  a: 1\n", "3:3", "parameters: must be a list ({a: 1})"),
    (PYTHON + "parameters: []\n", "2:13", "parameters: must not be empty ([])"),
    (PARAMETERS + "- a\n", "3:3", 'parameters.0: must be a mapping {key: value} ("a")'),
    (PARAMETERS + "- {name: a}\n", "3:3", "parameters.0.value: is missing"),
    (PARAMETERS + "- {value: 1}\n", "3:3", "parameters.0.name: is missing"),
    (PARAMETERS + "- name: a\n  value: 1\n  lwoer: 0\n", "5:3", "unknown key (0); did you mean parameters.0.lower"),
    (PARAMETERS + "- {name: 2a, value: 1}\n", "3:10", "parameters.0.name: must be a name: letters, digits and _"),
    (PARAMETERS + "- {name: a b, value: 1}\n", "3:10", "must be a name"),
    (PARAMETERS + "- {name: lambda, value: 1}\n", "3:10", "must be a name"),
    (PARAMETERS + "- {name: 1, value: 1}\n", "3:10", 'must be text (1); did you mean "1", in quotes'),
    (
        PARAMETERS + "- {name: a, value: 1}\n- {name: b, value: 1}\n- {name: a, value: 2}\n",
        "5:10",
        'parameters.2.name: is the name of parameters.0 too ("a")',
    ),
    (
        PARAMETERS + "- {name: a, value: 5, lower: 0, upper: 4}\n",
        "3:20",
        "a is outside its bounds: above its upper, 4.0 (5.0)",
    ),
    (PARAMETERS + "- {name: a, value: -5, lower: 0}\n", "3:20", "a is outside its bounds: below its lower, 0.0 (-5.0)"),
    (
        PARAMETERS + "- {name: a, value: 1, lower: 2, upper: 0}\n",
        "3:30",
        "a has its lower above its upper, which is 0.0 (2.0)",
    ),
    (PARAMETERS + "- {name: a, value: 1, step: 0}\n", "3:29", "parameters.0.step: must be > 0 (0.0)"),
    (PARAMETERS + "- {name: a, value: 1, step: -1e-6}\n", "3:29", "parameters.0.step: must be > 0 (-1e-06)"),
    (PARAMETERS + "- {name: a, value: 1, scale: 0.0}\n", "3:30", "parameters.0.scale: must be > 0 (0.0)"),
    (PARAMETERS + "- {name: a, value: 1, upper: .inf}\n", "3:30", "parameters.0.upper: must be a finite number (.inf)"),
    (PARAMETERS + "- {name: a, value: '1'}\n", "3:20", 'parameters.0.value: must be a number ("1")'),
    (PARAMETERS + "- {name: a, value: 1, fixed: yes}\n", "3:30", 'must be true or false ("yes"); did you mean true'),
    # Derivative.
    (
        HEAD + "derivative: {scheme: centrl}\n",
        "3:22",
        'must be one of forward, backward, forward2, backward2, central, central4, complex-step, richardson ("centrl")',
    ),
    (HEAD + "derivative: {step: 0}\n", "3:20", "derivative.step: must be > 0 (0)"),
    (HEAD + "derivative: {step: -1e-6}\n", "3:20", "derivative.step: must be > 0 (-1e-06)"),
    (
        HEAD + "derivative: {step: true}\n",
        "3:20",
        "must be null, a number > 0, a list of them, {absolute: number or list}, or auto (true)",
    ),
    (HEAD + "derivative: {step: '1e-6'}\n", "3:20", '{absolute: number or list}, or auto ("1e-6")'),
    (HEAD + "derivative: {step: Auto}\n", "3:20", '("Auto"); did you mean auto'),
    (HEAD + "derivative: {step: [1e-6, 0]}\n", "3:27", "derivative.step.1: must be > 0 (0)"),
    (HEAD + "derivative: {step: [1e-6]}\n", "3:20", "derivative.step: has 1 numbers for 2 parameters ([1e-06])"),
    (HEAD + "derivative: {step: {absolute: 0}}\n", "3:31", "derivative.step.absolute: must be > 0 (0)"),
    (HEAD + "derivative: {step: {absolute: [1, 2, 3]}}\n", "3:31", "step.absolute: has 3 numbers for 2 parameters"),
    (HEAD + "derivative: {step: {absolute: auto}}\n", "3:31", "must be a number > 0 or a list of them"),
    (HEAD + "derivative: {step: {abs: 1}}\n", "3:21", "derivative.step.abs: unknown key (1)"),
    (HEAD + "derivative: {step: {}}\n", "3:14", "derivative.step.absolute: is missing"),
    # Evaluation, resources, cluster.
    (HEAD + "evaluation: {timeout: 0}\n", "3:23", "evaluation.timeout: must be > 0 (0)"),
    (
        HEAD + "evaluation: {timeout: 10m}\n",
        "3:23",
        "must be a number of seconds, or text such as 30s, 10min, 1.5h, 2d",
    ),
    (HEAD + "evaluation: {timeout: '600'}\n", "3:23", "must be a number of seconds"),
    (HEAD + "evaluation: {timeout: true}\n", "3:23", "evaluation.timeout: must be a number (true)"),
    (HEAD + "evaluation: {timeout: .inf}\n", "3:23", "evaluation.timeout: must be a finite number (.inf)"),
    (HEAD + "evaluation: {retries: -1}\n", "3:23", "must be a whole number >= 0"),
    (
        HEAD + "evaluation: {retries: two}\n",
        "3:23",
        "must be a whole number >= 0, or a mapping with error, crash and timeout",
    ),
    (HEAD + "evaluation: {retries: {crahs: 1}}\n", "3:24", "did you mean evaluation.retries.crash"),
    (HEAD + "evaluation: {retries: {crash: 1.5}}\n", "3:31", "must be a whole number (1.5)"),
    (HEAD + "evaluation: {on_failure: ignore}\n", "3:26", 'must be one of raise, nan, repair ("ignore")'),
    (HEAD + "resources: {memory: 4G}\n", "3:21", "must be a number of bytes, or text such as 512MiB, 4GiB, 4GB"),
    (HEAD + "resources: {memory: 0}\n", "3:21", "resources.memory: must be > 0 (0)"),
    (HEAD + "resources: {num_cpus: -1}\n", "3:23", "resources.num_cpus: must be >= 0 (-1)"),
    (
        HEAD + "resources: {num_cpus: 0}\n",
        "3:23",
        "an evaluation must need some resource, or the number of slots has no limit",
    ),
    (HEAD + "resources: {num_gpus: 1.5}\n", "3:23", "resources.num_gpus: above 1 must be whole (1.5)"),
    (HEAD + "resources: {custom: {licence: 0}}\n", "3:31", "resources.custom.licence: must be > 0 (0)"),
    (HEAD + "resources: {custom: {GPU: 1}}\n", "3:27", "resources.custom.GPU: belongs in resources.num_gpus"),
    (
        HEAD + "cluster: {address: head}\n",
        "3:20",
        'must be local, auto, serial, host:port or ray://host:port ("head"); did you mean head:6379',
    ),
    (HEAD + "cluster: {address: 'ray://head'}\n", "3:20", "did you mean ray://head:10001"),
    (HEAD + "cluster: {address: 'head:99999'}\n", "3:20", "must be local, auto, serial, host:port"),
    # Minimize.
    (HEAD + "minimize: {method: bfgs}\n", "3:20", '("bfgs"); did you mean BFGS'),
    (HEAD + "minimize: {method: Nelder-Mead}\n", "3:20", "must be one of L-BFGS, L-BFGS-B, BFGS, CG"),
    (HEAD + "minimize: {tolerance: 0}\n", "3:23", "minimize.tolerance: must be > 0 (0)"),
    (HEAD + "minimize: {target: low}\n", "3:20", 'minimize.target: must be a number ("low")'),
    (HEAD + "minimize: {max_evaluations: 1e3}\n", "3:29", "must be a whole number (1000.0); did you mean 1000"),
    (HEAD + "minimize: {speculative: maybe}\n", "3:25", 'must be true, false or auto ("maybe")'),
    (HEAD + "minimize: {options: 3}\n", "3:21", "must be a mapping {key: value} (3)"),
    (HEAD + "task: minimize\nbounds: {lower: 0}\nminimize: {method: BFGS}\n", "5:20", "does not keep to bounds"),
    # Objective.
    ("x0: [1]\nobjective: {python: m.f}\n", "2:21", 'objective.python: must be module:name ("m.f"); did you mean m:f'),
    ("x0: [1]\nobjective: {python: ./m.py:f}\n", "2:21", "must be module:name"),
    ("x0: [1]\nobjective: {python: m:f, version: 1.10}\n", "2:35", 'must be text (1.1); did you mean "1.1", in quotes'),
    ("x0: [1]\nobjective: {python: m:f, args: 3}\n", "2:32", "objective.args: must be a list (3); did you mean [3]"),
    (COMMAND + "  args: [1]\n", "6:9", "objective.args: a command takes none; put it into argv or env ([1])"),
    # Commands.
    (
        COMMAND + "    commands: [[solver]]\n",
        "6:5",
        "exactly one of argv and commands is allowed, and argv is given too",
    ),
    ("x0: [1]\nobjective: {command: {argv: [a]}}\n", "2:13", "objective.command.outputs: is missing"),
    ("x0: [1]\nobjective: {command: {argv: [a], outputs: {}}}\n", "2:43", "outputs: must not be empty ({})"),
    (
        "x0: [1]\nobjective: {command: {argv: a b, outputs: {}}}\n",
        "2:29",
        'argv: must be a list ("a b"); did you mean ["a", "b"]',
    ),
    ("x0: [1]\nobjective: {command: {argv: [], outputs: {}}}\n", "2:29", "argv: must not be empty ([])"),
    ("x0: [1]\nobjective: {command: {argv: [''], outputs: {}}}\n", "2:30", "argv.0: must be the program's name"),
    (
        "x0: [1]\nobjective: {command: {argv: [a, 4], outputs: {}}}\n",
        "2:33",
        'must be text (4); did you mean "4", in quotes',
    ),
    (COMMAND + "    inputs: {a.inp: no.j2}\n", "6:21", 'objective.command.inputs."a.inp": no such file'),
    (
        COMMAND + "    inputs: {/etc/passwd: template.j2}\n",
        "6:14",
        "must be a file inside the evaluation's work directory",
    ),
    (
        COMMAND + "    inputs: {../a.inp: template.j2}\n",
        "6:14",
        "must be a file inside the evaluation's work directory",
    ),
    (COMMAND + "    inputs: {parameters.json: template.j2}\n", "6:31", "is written by distfd itself"),
    (COMMAND + "    copy: [no.dat]\n", "6:12", "objective.command.copy.0: no such file: "),
    (
        COMMAND + "    copy: [template.j2]\n    link: [template.j2]\n",
        "7:12",
        "another file of this name goes into the work directory",
    ),
    (
        COMMAND + "    env: {OMP_NUM_THREADS: 1}\n",
        "6:28",
        "env.OMP_NUM_THREADS: must be text; did you mean it in quotes",
    ),
    (COMMAND + "    env: {A=B: x}\n", "6:11", "must be the name of an environment variable"),
    (COMMAND + "    pass_env: [A, B, A]\n", "6:22", 'pass_env.2: given twice ("A")'),
    (
        COMMAND + "    fails_if: '(a'\n",
        "6:15",
        "fails_if: not a regular expression: missing ), unterminated subpattern",
    ),
    (COMMAND + "    value: mass +\n", "6:12", 'value: not an expression: invalid syntax ("mass +")'),
    (COMMAND + "    value: 2\n", "6:12", "must be an expression of output names, or a list of them (2)"),
    (
        COMMAND + "    value: [mass, mass]\n",
        "6:12",
        "a list makes a vector, and task gradient needs one number; use task jacobian",
    ),
    (
        OUTPUT + "{file: a, npy: 0}\n      b: {file: a, npy: 1}\n",
        "3:3",
        "value: is needed, as there are several outputs: a, b",
    ),
    (
        OUTPUT + "{file: a}\n",
        "6:7",
        "outputs.a: exactly one of json, csv, regex, columns, token, npy, mat",
    ),
    (OUTPUT + "{file: a, npy: 0, json: /a}\n", "6:28", "is allowed, and npy is given too"),
    (OUTPUT + "{npy: 0}\n", "6:7", "outputs.a.file: is missing"),
    (OUTPUT + "{file: /tmp/a, npy: 0}\n", "6:17", "must be a file inside the evaluation's work directory"),
    (OUTPUT + "{file: a, json: mass}\n", "6:26", "must be a JSON pointer (RFC 6901): /key/0/key"),
    (OUTPUT + "{file: a, json: /a~2}\n", "6:26", "must be a JSON pointer"),
    (OUTPUT + "{file: a, csv: {column: m}}\n", "6:20", "outputs.a.csv.row: is missing"),
    (OUTPUT + "{file: a, csv: {column: m, row: 0}}\n", "6:42", "outputs.a.csv.row: must be >= 1 (0)"),
    (OUTPUT + "{file: a, regex: 'x=.*'}\n", "6:27", "must have exactly one group (...), and has 0"),
    (OUTPUT + "{file: a, regex: '(x)(y)'}\n", "6:27", "must have exactly one group (...), and has 2"),
    (OUTPUT + "{file: a, columns: {line: 1, from: 5, to: 4}}\n", "6:52", "columns.to: is before from, which is 5 (4)"),
    (OUTPUT + "{file: a, columns: {line: '(', from: 5, to: 6}}\n", "6:36", "not a regular expression"),
    (
        OUTPUT + "{file: a, columns: {line: 1, form: 5, to: 6}}\n",
        "6:39",
        "did you mean objective.command.outputs.a.columns.from",
    ),
    (OUTPUT + "{file: a, npy: -1}\n", "6:25", "outputs.a.npy: must be >= 0 (-1)"),
    (OUTPUT + "{file: a, python: f}\n", "6:28", "outputs.a.python: must be module:name"),
    (OUTPUT.replace(" a: ", " a-b: ") + "{file: a, npy: 0}\n", "6:7", "objective.command.outputs.a-b: must be a name"),
    (COMMAND + "derivative: {scheme: complex-step}\n", "6:22", "derivative.scheme: gives J complex x, and a program"),
    (OUTPUT + "{file: a, json: /a, which: last}\n", "6:37", "outputs.a.which: goes with regex"),
    (OUTPUT + "{file: a, regex: (a), which: 0}\n", "6:39", "outputs.a.which: must be >= 1 (0)"),
    (OUTPUT + "{file: a, regex: (a), which: lst}\n", "6:39", "outputs.a.which: must be one of first, last, all"),
    (OUTPUT + "{file: a, csv: {column: m, row: 1, where: {a: b}}}\n", "6:52", "csv.where: row is given too"),
    (OUTPUT + "{file: a, csv: {column: m, row: all, header: false}}\n", "6:55", "csv.header: without one"),
    (OUTPUT + "{file: a, npy: {arr: p}}\n", "6:26", "did you mean objective.command.outputs.a.npy.array"),
    (
        COMMAND + "    inputs: {a.inp: {edit: template.j2, set: {/a: b}}}\n",
        "6:28",
        "must be one of .json, .yaml, .yml, .xml",
    ),
    (COMMAND + "    inputs: {a.inp: {edit: template.j2, set: {a: b}}}\n", "6:47", "must be a JSON pointer"),
    (COMMAND + "    data: {mass: {file: template.j2, npy: 0}}\n    value: mass\n", "6:18", "is the name of an output"),
    (COMMAND + "    data: {m: {file: template.j2, npy: 0}}\n", "3:3", "command.value: is needed, as there are data"),
    (COMMAND + "    data: {m: {file: no.csv, npy: 0}}\n", "6:22", "no such file"),
    (COMMAND + "    stdin: ../a\n", "6:12", "must be a file inside the evaluation's work directory"),
    (COMMAND + "    pre: [solver]\n", "6:11", "must be a list"),
    (COMMAND + "    keep: some\n", "6:11", "must be one of failed, all, none, archive"),
    (COMMAND + "    value: 2 * b\n", "6:12", "command.value: expression '2 * b': 'b' is no output; known: mass"),
    (COMMAND + "    value: [mass, mass ^ 2]\n", "6:19", "uses ^; a power is written **"),
    ("x0: [1]\nobjective: {command: ./solver 'a b'}\n", "2:22", 'did you mean {argv: ["./solver", "a b"], ...}'),
    ("x0: [1]\nobjective: {command: it's}\n", "2:22", 'did you mean {argv: ["it\'s"], ...}'),
    (HEAD + "evaluation: {retry_if: busy}\n", "3:24", "evaluation.retry_if: belongs to objective.command"),
    (
        HEAD + "task: hessian\nevaluation: {on_failure: repair}\n",
        "4:26",
        "is for gradients and Jacobians, and the task is hessian",
    ),
    (HEAD + "cluster: {stop_before: 10min, max_wall_time: 5min}\n", "3:24", "must be shorter than max_wall_time"),
    (HEAD + "cluster: {max_slots: 2, request_slots: 3}\n", "3:40", "is more than max_slots"),
    (HEAD + "cluster: {runtime_env: {pipp: [a]}}\n", "3:24", "there is no 'pipp'"),
    (HEAD + "cluster: {runtime_env: {env_vars: {A: 1}}}\n", "3:24", "env_vars: must map names to texts"),
    (HEAD + "cluster: {address: local, request_slots: 3}\n", "3:42", "a private cluster does not grow"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the configurations name."""
    here = tmp_path_factory.mktemp("configs")
    (here / "template.j2").write_text("{{ a }}\n")
    (here / "text.npy").write_text("1 2 3\n")
    np.save(here / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(here / "matrix.npy", np.eye(2))
    np.save(here / "complex.npy", np.array([1, 1j]))
    np.save(here / "nan.npy", np.array([1, np.nan]))
    np.save(here / "inf.npy", np.array([1, np.inf]))
    np.save(here / "three.npy", np.ones(3))
    with (here / "archive.npy").open("wb") as file:
        np.savez(file, x=np.ones(2))
    whole = here / "short.npy"
    np.save(whole, np.ones(1000))
    whole.write_bytes(whole.read_bytes()[:500])
    return here


@pytest.mark.parametrize(("text", "place", "fragment"), BAD, ids=[f"{k}-{bad[2][:30]}" for k, bad in enumerate(BAD)])
def test_refused_at_its_place(folder: Path, text: str, place: str, fragment: str) -> None:
    path = folder / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.exit_code == 2
    lines = str(caught.value).split("\n")
    assert [line for line in lines if line.startswith(f"{path}:{place}: ") and fragment in line], lines


def test_all_mistakes_at_once_in_the_order_of_the_file(folder: Path) -> None:
    path = folder / "c.yaml"
    path.write_text(
        "task: hesian\n"
        "output: 5\n"
        "parameters:\n"
        "- {name: a, value: 3, upper: 2}\n"
        "- {name: b, value: yes}\n"
        "objective:\n"
        "  simulator: m.S\n"
        "  python: m:f\n"
        "derivative: {scheme: centrl, step: 0}\n"
        "x0: [1]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    told = [line.removeprefix(f"{path}:").split(": ")[:2] for line in str(caught.value).split("\n")]
    assert told == [
        ["1:7", "task"],
        ["2:9", "output"],
        ["4:20", "parameters.0.value"],
        ["5:20", "parameters.1.value"],
        ["7:14", "objective.simulator"],
        ["8:3", "objective.python"],
        ["9:22", "derivative.scheme"],
        ["9:36", "derivative.step"],
        ["10:1", "x0"],
    ]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("4.7k", "4.7e3"),
        ("10u", "10e-6"),
        ("10µ", "10e-6"),
        ("1meg", "1e6"),
        ("1Meg", "1e6"),
        ("1.5e3n", "1.5e-6"),
        ("2.2 pF", "2.2e-12"),
        ("-3mV", "-3e-3"),
        ("1M", "1e6 (mega) or 1e-3 (SPICE reads M as milli)"),
        ("50Hz", "50e0, a number without a unit"),
        ("5ohm", "5e0, a number without a unit"),
    ],
)
def test_a_suffix_is_told_as_a_number(tmp_path: Path, given: str, meant: str) -> None:
    """SPICE's suffixes are not read: M is milli there and mega elsewhere."""
    (tmp_path / "c.yaml").write_text(PARAMETERS + f'- {{name: a, value: "{given}"}}\n', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "c.yaml")
    assert str(caught.value).endswith(f"; did you mean {meant}")
    number = meant.split(maxsplit=1)[0].rstrip(",")
    (tmp_path / "c.yaml").write_text(PARAMETERS + f"- {{name: a, value: {number}}}\n")
    assert load_config(tmp_path / "c.yaml").config.problem().x0[0] == float(number)


@pytest.mark.parametrize("given", ["fast", "4.7q", "1.2.3k", "k", "10uu", "12 apples"])
def test_what_is_no_suffix_is_not_guessed(tmp_path: Path, given: str) -> None:
    (tmp_path / "c.yaml").write_text(PARAMETERS + f'- {{name: a, value: "{given}"}}\n')
    with pytest.raises(ConfigError, match="must be a number") as caught:
        load_config(tmp_path / "c.yaml")
    assert "did you mean" not in str(caught.value)


def test_a_step_with_a_suffix(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(HEAD + "derivative: {step: 1m}\n")
    with pytest.raises(ConfigError, match="did you mean 1e-3"):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    "text",
    [
        *("executor: serial", "workers: 0", "workers: 1", "slots: 1", "ray: false", "local: true", "parallel: false"),
        *("n_jobs: 1", "cluster: {executor: serial}", "cluster: {workers: 0}", "cluster: {slots: 1}"),
    ],
)
def test_who_wants_no_ray_is_told_the_key(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(HEAD + text + "\n")
    with pytest.raises(ConfigError, match=r"unknown key .*did you mean cluster\.address: serial"):
        load_config(tmp_path / "c.yaml")


def test_who_wants_more_slots_is_told_the_key(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(HEAD + "workers: 4\n")
    with pytest.raises(ConfigError, match=r"unknown key \(4\); did you mean cluster\.max_slots"):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize("key", ["num_cpus: 2", "request_slots: 3", "max_wall_time: 1h", "runtime_env: {pip: [numpy]}"])
def test_serial_has_none_of_rays_keys(tmp_path: Path, key: str) -> None:
    (tmp_path / "c.yaml").write_text(HEAD + f"cluster: {{address: serial, {key}}}\n")
    with pytest.raises(
        ConfigError, match=f"cluster.{key.split(':', maxsplit=1)[0]}: is Ray's, and address: serial runs without Ray"
    ):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize("need", ["nodes: 2", "num_gpus: 1", "custom: {licence: 1}", "labels: {zone: a}"])
def test_serial_has_nothing_that_ray_alone_hands_out(tmp_path: Path, need: str) -> None:
    (tmp_path / "c.yaml").write_text(HEAD + f"cluster: {{address: serial}}\nresources: {{{need}}}\n")
    with pytest.raises(
        ConfigError,
        match=rf"serial runs without Ray, and only Ray can assign resources\.{need.split(':', maxsplit=1)[0]}",
    ):
        load_config(tmp_path / "c.yaml")
