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
    # name, its type in FMI 2 and 3, causality, variability, initial, and its other attributes
    ("area", "Real", "Float64", "parameter", "fixed", "exact", 'start="2.0" min="0.1" unit="m2"'),
    ("k", "Real", "Float64", "parameter", "tunable", "exact", 'start="0.5" min="0"'),
    ("tank.h0", "Real", "Float64", "parameter", "fixed", "exact", 'start="4.0" min="0" max="10" unit="m"'),
    ("q", "Real", "Float64", "input", "continuous", None, 'start="0.0"'),
    ("h", "Real", "Float64", "output", "continuous", "calculated", 'unit="m"'),
    ("pipes", "Integer", "Int32", "parameter", "fixed", "exact", 'start="1"'),
    ("open", "Boolean", "Boolean", "parameter", "fixed", "exact", 'start="true"'),
    ("liquid", "String", "String", "parameter", "fixed", "exact", 'start="water"'),
)
WORDS = {"area": "the tank's cross-section", "k": "how wide the outlet is", "tank.h0": "level at the beginning"}
WORDS |= {"q": "inflow", "h": "level"}


def description(version: int) -> str:
    """The modelDescription.xml of FMI 2 or 3."""
    rows = []
    for k, (name, second, third, causality, variability, initial, own) in enumerate(VARIABLES, start=1):
        head = f'name="{name}" valueReference="{k}" causality="{causality}" variability="{variability}"'
        head += f' initial="{initial}"' if initial else ""
        head += f' description="{WORDS[name]}"' if name in WORDS else ""
        if version == 2:
            rows.append(f"<ScalarVariable {head}><{second} {own}/></ScalarVariable>")
        elif third == "String":
            rows.append(f'<String {head}><Start value="water"/></String>')
        else:
            rows.append(f"<{third} {head} {own}/>")
    if version == 2:
        token = 'fmiVersion="2.0" modelName="tank" guid="{tank}"'
        structure = '<Outputs><Unknown index="5"/></Outputs><InitialUnknowns><Unknown index="5"/></InitialUnknowns>'
    else:
        token = 'fmiVersion="3.0" modelName="tank" instantiationToken="{tank}"'
        rows.append('<Float64 name="time" valueReference="0" causality="independent" variability="continuous"/>')
        structure = '<Output valueReference="5"/><InitialUnknown valueReference="5"/>'
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<fmiModelDescription {token} generationTool="tank_fmu/build.py">',
            '<CoSimulation modelIdentifier="tank" canHandleVariableCommunicationStepSize="true"/>',
            "<UnitDefinitions><Unit name='m'/><Unit name='m2'/></UnitDefinitions>",
            '<LogCategories><Category name="logStatusError"/></LogCategories>',
            '<DefaultExperiment startTime="0" stopTime="4" stepSize="0.1"/>',
            "<ModelVariables>",
            *rows,
            "</ModelVariables>",
            f"<ModelStructure>{structure}</ModelStructure>",
            "</fmiModelDescription>",
        ]
    )


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
