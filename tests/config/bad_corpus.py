"""Good configurations, one key a line, and what can be done to any of their keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """\
task: gradient
objective:
  command:
    copy: [mesh.dat]
    link: [table.csv]
    pre: [[sh, prepare]]
    argv: [sh, solve]
    post: [[sh, clean]]
    stdin: deck.inp
    inputs:
      deck.inp: deck.j2
      case.json:
        edit: case.json
        set:
          /width: width
    env:
      LEVEL: "3"
    pass_env: [HOME]
    hint: apt install solver
    fails_if: '^ERROR'
    log: [solve.log]
    restart: [state.bin]
    outputs:
      mass:
        file: out.csv
        csv:
          column: mass
          row: -1
          delimiter: ","
          skip: 0
          header: true
      tip:
        file: out.dat
        columns:
          line: 1
          from: 1
          to: 8
      drag:
        file: stdout
        regex: 'drag = (\\S+)'
        which: last
      lift:
        file: out.npz
        npy:
          array: lift
          index: 0
      own:
        file: out.json
        json: /a/0
      mine:
        python: post:read
    data:
      measured:
        file: table.csv
        csv:
          column: v
          where:
            name: b
    value: mass + tip
    sigma:
      tip: 0.5
    keep: failed
    names: [mass]
    wait_for:
      file: out.txt
      timeout: 1min
    work: scratch
  version: "1"
  warm: baseline
parameters:
- name: width
  value: 1.5
  lower: 0
  upper: 2
  scale: 1
  step: 1e-3
  fixed: false
derivative:
  scheme: central
  step:
    absolute: 1e-3
  accuracy: 1e-4
  check: true
evaluation:
  timeout: 10min
  setup_timeout: 10min
  retries:
    error: 0
    crash: 2
    timeout: 0
  on_failure: raise
  deterministic: true
  retry_if: licence
  retry_delay: 1s
  recycle:
    evaluations: 10
    memory: 2GiB
resources:
  num_cpus: 1
  num_gpus: 0
  memory: 1GiB
  custom:
    licence: 1
  nodes: 1
cluster:
  address: local
  num_cpus: 2
  max_slots: 2
  keep_idle: 1min
output: run
tags: [draft, wing]
"""

SEARCH = """\
task: minimize
objective:
  python: model:cost
  args: [1]
  kwargs:
    a: 1
x0: [1, 2]
bounds:
  lower: 0
  upper: [3, null]
derivative:
  step: auto
minimize:
  method: L-BFGS-B
  max_iterations: 3
  max_evaluations: 10
  max_wall_time: 8h
  target: 0.1
  tolerance: 1e-3
  speculative: auto
  slots: 4
  options:
    ftol: 1e-3
output: run
"""

FMU = """\
task: jacobian
objective:
  fmu:
    file: tank.fmu
    kind: co-simulation
    start_time: 0
    stop_time: 4
    step: 0.1
    tolerance: 1e-6
    inputs:
      q:
        file: table.csv
        time: t
        column: q
      p:
        times: [0, 1]
        values: [0, 2]
      r: 1.5
    start:
      area: 2.0
    outputs:
      level:
        variable: h
        at: last
      course:
        variable: h
        times: [1, 2]
      residuals:
        data:
          file: table.csv
          time: t
          column: h
    value: [level, course, residuals]
    reset: true
    logging: false
  version: "1"
parameters:
- name: tank.h0
  value: 4.0
  lower: 0
output: run
"""

FIT = """\
task: least_squares
objective:
  python: model:residuals
parameters:
- name: rate
  value: 1
minimize:
  method: model
  sigma: [0.1, 0.2]
  absolute_sigma: false
  prior:
    rate:
      value: 1.5
      sigma: 0.1
output: run
"""

GOOD = {"program": PROGRAM, "search": SEARCH, "fmu": FMU, "fit": FIT}

ANY = ("args", "kwargs.a", "options.ftol")
"""Whatever stands there is the user's own."""

_KEY = re.compile(r"( *)(- )?([\w./]+):(?: (.*))?$")


@dataclass(frozen=True)
class Line:
    """A key of a good configuration."""

    number: int
    column: int
    path: str
    value: str | None


def lines(text: str) -> Iterator[Line]:
    """The keys, each with its whole path."""
    above: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        found = _KEY.match(line)
        assert found is not None, line
        indent = len(found[1]) + len(found[2] or "")
        while above and above[-1][0] >= indent:
            above.pop()
        item = "0." if found[2] or (above and above[-1][1] == "parameters") else ""
        key = found[3] if re.fullmatch(r"[\w-]+", found[3]) else f'"{found[3]}"'
        path = ".".join([part for _, part in above] + [item + key])
        above.append((indent, key))
        yield Line(number, indent + 1, path, found[4])


def replaced(text: str, line: Line, new: str, *, block: bool = False) -> str:
    """The text with another value at this key, or (``block``) with another line in its place."""
    rows = text.splitlines()
    end = line.number
    while end < len(rows) and (len(rows[end]) - len(rows[end].lstrip(" -"))) >= line.column:
        end += 1
    head = rows[line.number - 1]
    rows[line.number - 1 : end] = [new if block else head[: head.index(":", line.column - 1) + 1] + " " + new]
    return "\n".join(rows) + "\n"
