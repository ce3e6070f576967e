"""``distfd init``: a commented configuration and a small model, which run without changes."""

from __future__ import annotations

from pathlib import Path

from distfd.cli.draft import Draft, refuse_existing
from distfd.core.errors import InputError

_MODEL = '''"""J of {config}: a cup of coffee cools. Put your own simulation in its place."""

import numpy as np


def temperature(x):
    """Degrees Celsius after ten minutes; x holds start, room, loss, lid in the order of the configuration."""
    start, room, loss, lid = x
    warm = start
    step = 0.01  # minutes
    for _ in range(1000):
        radiated = 2e-10 * ((warm + 273.15) ** 4 - (room + 273.15) ** 4)
        warm -= step * (loss * (warm - room) + (1 - lid) * radiated)
    return float(warm)  # one number for a gradient; an array for task: jacobian


if __name__ == "__main__":  # python model.py: J without distfd, to try it
    print(temperature(np.array([90.0, 20.0, 0.03, 0.5])))
'''

_CONFIG = """\
# On what does J depend, and how strongly?  dJ/dx for each parameter, by finite differences.
#   distfd plan {config}          what it would evaluate
#   distfd run {config}           do it; run it again to resume
#   distfd check {config}         can the derivative be trusted?
# Any key can be changed from the command line:  distfd run {config} derivative.scheme=central

task: gradient                  # or jacobian, hessian, minimize, noise

objective:                      # the black box J
  python: {module}:temperature     # function temperature(x) in {module}.py; x is an array of the values below
  # simulator: {module}:Class      # a class with evaluate(x), made once in each worker
  # command: ...                # a program: distfd init --command "solver deck.inp" --deck deck.inp

parameters:                     # x, in this order
  - {{name: start, value: 90.0}}  # degrees Celsius
  - {{name: room, value: 20.0}}
  - {{name: loss, value: 0.03, lower: 0.0}}            # 1 / minute; never evaluated below 0
  - {{name: lid, value: 0.5, lower: 0.0, upper: 1.0}}  # how much of the cup it covers
  # - {{name: cup, value: 0.3, fixed: true}}           # known to J, and kept as it is

derivative:
  scheme: forward               # d + 1 evaluations; central: 2 d + 1, and more exact
  step: null                    # 1.5e-8 max(1, |x|); 1.0e-4: relative to |x|; {{absolute: 0.01}}; auto: by J's noise

evaluation:
  timeout: 10min                # of one evaluation; its process is killed then
  retries: {{crash: 2}}           # further tries where the process died
  on_failure: raise             # nan: go on, and leave the component out

resources: {{num_cpus: 1}}        # of one evaluation
cluster: {{}}                     # all cores of this machine; {{address: "host:port"}} is a Ray cluster's

output: runs/{stem}            # everything is kept here: result.json, log.jsonl, each evaluation
"""


def config_template(to: str | None = None, *, force: bool = False) -> Draft:
    """A first configuration, and the model that it is about.

    Parameters
    ----------
    to : path, optional
        The configuration to write; by default config.yaml. The model goes beside it.
    force : bool
        Whether the files may exist already; the caller that writes the draft renames them.

    Raises
    ------
    InputError
        If a file exists already, or its folder does not.
    """
    config = Path(to or "config.yaml")
    model = config.parent / "model.py"
    if not force:
        refuse_existing((config, model), "--to other/config.yaml")
    if not config.parent.is_dir():
        raise InputError(f"--to: there is no folder {config.parent}")
    names = {"config": config.name, "module": model.stem, "stem": config.stem}
    return Draft(config, {config: _CONFIG.format(**names), model: _MODEL.format(**names)})
