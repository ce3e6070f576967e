"""Build tank.fmu from tank.c, with gcc and the FMI headers that FMPy brings.

python configs/tank_fmu/build.py [OUT.fmu] [2 or 3]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent

VARIABLES = (
    # name, causality, variability, initial, start, min, unit
    ("area", "parameter", "fixed", "exact", "2.0", "0.1", "m2"),
    ("k", "parameter", "tunable", "exact", "0.5", "0", ""),
    ("tank.h0", "parameter", "fixed", "exact", "4.0", "0", "m"),
    ("q", "input", "continuous", None, "0.0", None, ""),
    ("h", "output", "continuous", "calculated", None, None, "m"),
)


def description(version: int) -> str:
    """The modelDescription.xml of FMI 2 or 3."""
    begin = '<?xml version="1.0" encoding="UTF-8"?>\n<fmiModelDescription '
    ability = 'modelIdentifier="tank" canHandleVariableCommunicationStepSize="true"'
    middle = (
        f'<CoSimulation {ability}/><LogCategories><Category name="logStatusError"/></LogCategories>'
        '<DefaultExperiment startTime="0" stopTime="4" stepSize="0.1"/><ModelVariables>\n'
    )
    units = "<UnitDefinitions><Unit name='m'/><Unit name='m2'/></UnitDefinitions>"
    middle = middle.replace("<LogCategories>", f"{units}<LogCategories>")
    rows = []
    for k, (name, causality, variability, initial, start, low, unit) in enumerate(VARIABLES, start=1):
        head = f'name="{name}" valueReference="{k}" causality="{causality}" variability="{variability}"'
        head += f' initial="{initial}"' if initial else ""
        own = "".join(f' {a}="{v}"' for a, v in (("start", start), ("min", low), ("unit", unit)) if v)
        real = f"<ScalarVariable {head}><Real{own}/></ScalarVariable>"
        rows.append(real if version == 2 else f"<Float64 {head}{own}/>")
    if version == 2:
        head = 'fmiVersion="2.0" modelName="tank" guid="{tank}">'
        structure = '<Outputs><Unknown index="5"/></Outputs><InitialUnknowns><Unknown index="5"/></InitialUnknowns>'
    else:
        head = 'fmiVersion="3.0" modelName="tank" instantiationToken="{tank}">'
        rows.append('<Float64 name="time" valueReference="0" causality="independent" variability="continuous"/>')
        structure = '<Output valueReference="5"/><InitialUnknown valueReference="5"/>'
    end = f"\n</ModelVariables><ModelStructure>{structure}</ModelStructure></fmiModelDescription>\n"
    return begin + head + middle + "\n".join(rows) + end


def build(out: Path, version: int = 2, *flags: str) -> Path:
    """Compile and pack it; the FMU's path."""
    import fmpy
    from fmpy.fmi2 import FMU2Slave
    from fmpy.fmi3 import FMU3Slave

    headers = Path(fmpy.__file__).parent / "c-code"
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / f"tank{fmpy.sharedLibraryExtension}"
        # FMI wants every function to be there, and the tank needs few of them: the others answer with an error.
        names = [name for name in dir(FMU2Slave if version == 2 else FMU3Slave) if name.startswith(f"fmi{version}")]
        others = Path(folder) / "others.c"
        others.write_text("\n".join(f"__attribute__((weak)) int {name}(void) {{ return 3; }}" for name in names))
        options = ["-shared", "-fPIC", "-O2", "-w", f"-DFMI={version}", f"-I{headers}", *flags]
        subprocess.run(["gcc", *options, str(HERE / "tank.c"), str(others), "-o", str(made), "-lm"], check=True)
        platform = fmpy.platform if version == 2 else fmpy.platform_tuple
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("modelDescription.xml", description(version))
            archive.write(made, f"binaries/{platform}/{made.name}")
    return out


if __name__ == "__main__":
    given = sys.argv[1:]
    print(build(Path(given[0]) if given else HERE / "tank.fmu", int(given[1]) if len(given) > 1 else 2))
