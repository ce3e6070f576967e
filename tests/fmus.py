"""FMUs for tests: the tank of configs/tank_fmu, and archives that are like it but for what a test changes."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from module_files import load_module

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distfd.objectives.fmu.objective import FMUObjective

BUILD = Path(__file__).parents[1] / "configs" / "tank_fmu" / "build.py"


def load_builder() -> Any:
    """configs/tank_fmu/build.py as a module."""
    return load_module(BUILD, "tank_build")


def level(t: Any, area: float = 2.0, k: float = 0.5, h0: float = 4.0) -> Any:
    """The tank's level at t: sqrt(h) falls linearly while nothing flows in."""
    return (np.sqrt(h0) - k * np.asarray(t) / (2 * area)) ** 2


def slopes(t: float) -> np.ndarray[Any, Any]:
    """The derivatives of the level at t by area, k and h0."""
    r = 2.0 - 0.5 * t / 4.0
    return np.array([2 * r * 0.5 * t / 8.0, -2 * r * t / 4.0, r / 2.0])


def value(objective: FMUObjective, x: Any = (2.0, 0.5, 4.0)) -> Any:
    """J at x."""
    model = objective.make()
    try:
        return model.evaluate(np.array(x), timeout=None)
    finally:
        model.close()


def described(version: int = 2, **changed: str) -> str:
    """The tank's modelDescription.xml, with texts replaced by others."""
    text: str = load_builder().description(version)
    for old, new in changed.items():
        text = text.replace(old, new)
    return text


def packed(path: Path, xml: str | bytes, files: Mapping[str | zipfile.ZipInfo, bytes] | None = None) -> Path:
    """An FMU of a description and other files; by default something that stands in for its library."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("modelDescription.xml", xml)
        for name, data in ({"binaries/linux64/tank.so": b"no library"} if files is None else files).items():
            archive.writestr(name, data)
    return path


EXCHANGE = (
    # name, causality, variability, initial, and its other attributes, in the order of exchange_tank.c's numbers, from 1
    ("area", "parameter", "fixed", "exact", 'start="2.0" min="0.1" unit="m2"'),
    ("k", "parameter", "fixed", "exact", 'start="0.5" min="0"'),
    ("tank.h0", "parameter", "fixed", "exact", 'start="4.0" min="0" max="10" unit="m"'),
    ("q", "input", "continuous", None, 'start="0.0"'),
    ("h", "output", "continuous", "calculated", 'unit="m"'),
    ("der(h)", "local", "continuous", "calculated", 'derivative="5"'),
    ("shut", "parameter", "fixed", "exact", 'start="-1.0"'),
    ("tick", "parameter", "fixed", "exact", 'start="-1.0"'),
    ("strange", "parameter", "fixed", "exact", 'start="-1.0"'),
    ("flow", "output", "continuous", "calculated", ""),
    ("factor", "local", "discrete", "calculated", ""),
    ("closed", "local", "discrete", "calculated", ""),
    ("indicator", "local", "continuous", "calculated", ""),
)


def exchange_description(version: int, *, both: bool = False, tolerance: str = "") -> str:
    """The modelDescription.xml of exchange_tank.c."""
    rows = []
    for k, (name, causality, variability, initial, own) in enumerate(EXCHANGE, start=1):
        head = f'name="{name}" valueReference="{k}" causality="{causality}" variability="{variability}"'
        head += f' initial="{initial}"' if initial else ""
        rows.append(
            f"<ScalarVariable {head}><Real {own}/></ScalarVariable>" if version == 2 else f"<Float64 {head} {own}/>"
        )
    if version == 2:
        token = 'fmiVersion="2.0" guid="{tank}" numberOfEventIndicators="1"'
        structure = '<Outputs><Unknown index="5"/><Unknown index="10"/></Outputs><Derivatives><Unknown index="6"/>'
        structure += "</Derivatives>"
    else:
        token = 'fmiVersion="3.0" instantiationToken="{tank}"'
        rows.append('<Float64 name="time" valueReference="0" causality="independent" variability="continuous"/>')
        structure = '<Output valueReference="5"/><Output valueReference="10"/>'
        structure += '<ContinuousStateDerivative valueReference="6"/><EventIndicator valueReference="13"/>'
    co = '<CoSimulation modelIdentifier="tank" canHandleVariableCommunicationStepSize="true"/>' if both else ""
    kinds = f'<ModelExchange modelIdentifier="tank"/>{co}'
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<fmiModelDescription {token} modelName="tank">{kinds}'
        "<UnitDefinitions><Unit name='m'/><Unit name='m2'/></UnitDefinitions>"
        '<LogCategories><Category name="logStatusError"/></LogCategories>'
        f'<DefaultExperiment startTime="0" stopTime="4" stepSize="0.1" {tolerance}/>'
        f"<ModelVariables>{''.join(rows)}</ModelVariables><ModelStructure>{structure}</ModelStructure>"
        "</fmiModelDescription>"
    )


def build_exchange(out: Path, version: int = 2, *flags: str, both: bool = False, tolerance: str = "") -> Path:
    """Compile exchange_tank.c and pack it; the FMU's path."""
    import fmpy
    from fmpy.fmi2 import FMU2Model, FMU2Slave
    from fmpy.fmi3 import FMU3Model, FMU3Slave

    # FMI wants every function to be there, and the tank needs few of them: the others answer with an error.
    kinds = (FMU2Model, FMU2Slave) if version == 2 else (FMU3Model, FMU3Slave)
    names = sorted({name for one in kinds for name in dir(one) if name.startswith(f"fmi{version}")})
    others = out.with_suffix(".c")
    others.write_text("\n".join(f"__attribute__((weak)) int {name}(void) {{ return 3; }}" for name in names))
    made = out.with_suffix(".so")
    headers = Path(fmpy.__file__).parent / "c-code"
    options = ["-shared", "-fPIC", "-O1", "-w", f"-DFMI={version}", f"-I{headers}", *flags]
    source = Path(__file__).with_name("exchange_tank.c")
    subprocess.run(["gcc", *options, str(source), str(others), "-o", str(made), "-lm"], check=True)
    platform = fmpy.platform if version == 2 else fmpy.platform_tuple
    xml = exchange_description(version, both=both, tolerance=tolerance)
    packed(out, xml, {f"binaries/{platform}/tank.so": made.read_bytes()})
    made.unlink()
    others.unlink()
    return out
