"""``distfd init --fmu``: from an FMU to a configuration that is valid and runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fmus import build_exchange, described, exchange_description, load_builder, packed

from distfd.cli.fmu_draft import fmu_draft
from distfd.config.load import load_config
from distfd.errors import InputError
from distfd.jobs.single_evaluation import evaluate_once

if TYPE_CHECKING:
    from conftest import RequireSimulator


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require_simulator: RequireSimulator) -> Path:
    require_simulator("fmpy")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def drafted(file: str, to: str | None = None) -> tuple[Path, str]:
    made = fmu_draft(file, to)
    (text,) = made.files.values()
    made.config.write_text(text)
    return made.config, text


@pytest.mark.parametrize("version", [2, 3])
def test_what_is_drafted_is_valid_and_runs(folder: Path, version: int, require_simulator: RequireSimulator) -> None:
    require_simulator("gcc")
    load_builder().build(folder / "tank.fmu", version)
    config, text = drafted("tank.fmu")
    assert str(config) == "tank.yaml"
    rows = text.splitlines()
    assert rows[1].startswith(f"# The model tank, FMI {version}.0, exported by tank_fmu/build.py.")
    assert [row for row in rows if "{name:" in row] == [
        "  - {name: area, value: 2.0, lower: 0.1}        # [m2] the tank's cross-section",
        "  - {name: k, value: 0.5, lower: 0.0}           # how wide the outlet is",
        "  - {name: tank.h0, value: 4.0, lower: 0.0, upper: 10.0}  # [m] level at the beginning",
    ]
    assert "      h: {variable: h, at: last}                # [m] level" in rows
    assert "    #   q: 0.0                                  # inflow" in rows
    assert "    #   pipes: 1" in rows
    assert "    #   open: true" in rows
    loaded = load_config(config)
    fmu = loaded.config.objective.fmu
    assert fmu is not None
    assert (fmu.stop_time, fmu.step) == (4.0, 0.1)
    problem = loaded.config.problem()
    assert problem.names == ("area", "k", "tank.h0")
    assert problem.lower.tolist() == [0.1, 0.0, 0.0]
    said: list[str] = []
    evaluate_once(loaded, "x0", said.append)
    found = re.search(r"^J = (\S+)$", said[-1], re.MULTILINE)
    assert found is not None
    assert float(found[1]) == pytest.approx(2.25, rel=1e-10), "sqrt(h) falls by k t / (2 area), from 2 to 1.5"


def test_what_is_a_comment_can_be_used(folder: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("gcc")
    load_builder().build(folder / "tank.fmu")
    config, text = drafted("tank.fmu")
    for key in ("inputs:", "start:", "  q:", "  pipes:", "  open:"):
        text = text.replace(f"    # {key}", f"    {key}")
    config.write_text(text)
    fmu = load_config(config).config.objective.fmu
    assert fmu is not None
    assert fmu.inputs == {"q": 0.0}
    assert fmu.start == {"pipes": 1, "open": True}


def test_elsewhere_and_nothing_is_overwritten(folder: Path) -> None:
    (folder / "cases").mkdir()
    packed(folder / "tank.fmu", described())
    config, text = drafted("tank.fmu", "cases/one.yaml")
    assert "    file: ../tank.fmu " in text
    assert text.rstrip().endswith("output: runs/one")
    fmu = load_config(config).config.objective.fmu
    assert fmu is not None
    assert Path(fmu.file).resolve() == folder / "tank.fmu"
    with pytest.raises(InputError, match=r"cases/one\.yaml is there already"):
        fmu_draft("tank.fmu", "cases/one.yaml")
    with pytest.raises(InputError, match="there is no folder none"):
        fmu_draft("tank.fmu", "none/one.yaml")
    with pytest.raises(InputError, match=r"tnk\.fmu does not exist; did you mean 'tank\.fmu'"):
        fmu_draft("tnk.fmu")


def row(k: int, name: str, own: str, kind: str = "parameter fixed") -> str:
    """A real variable; ``kind`` is its causality, its variability and, maybe, its initial."""
    causality, variability, *initial = kind.split()
    start = f' initial="{initial[0]}"' if initial else ""
    head = f'name="{name}" valueReference="{k}" causality="{causality}" variability="{variability}"{start}'
    return f"<ScalarVariable {head}><Real {own}/></ScalarVariable>"


def model(folder: Path, *rows: str, experiment: str = '<DefaultExperiment startTime="0" stopTime="4"/>') -> Path:
    text = re.sub(r"(?s)(?<=<ModelVariables>\n).*(?=\n</ModelVariables>)", lambda _: "\n".join(rows), described())
    text = re.sub(r"<ModelStructure>.*</ModelStructure>", "<ModelStructure/>", text)
    return packed(folder / "m.fmu", re.sub(r"<DefaultExperiment.*?/>", experiment, text))


OUTPUT = row(1, "y", "", "output continuous calculated")


def test_zero_bounds_and_values_that_contradict_each_other(folder: Path) -> None:
    rows = [
        row(2, "zero", 'start="0"'),
        row(3, "small", 'start="0" nominal="1e-6" unit="m"'),
        row(4, "outside", 'start="5" max="3"'),
        row(5, "both", 'start="2" min="1" max="3"'),
    ]
    _, text = drafted(str(model(folder, OUTPUT, *rows)), "m.yaml")
    assert "  - {name: zero, value: 0.0, scale: 1.0}        # CHANGE scale: its typical size.\n" in text
    assert "  - {name: small, value: 0.0, scale: 1e-06}     # CHANGE scale: its typical size. [m]\n" in text
    assert "  # - {name: outside, value: 5.0, upper: 3.0}   # its value is outside of its min and max.\n" in text
    assert "  - {name: both, value: 2.0, lower: 1.0, upper: 3.0}\n" in text
    assert load_config(Path("m.yaml")).config.problem().names == ("zero", "small", "both")


NAMES = ("tank[1].h", "der(x)", "on", "null", "1.5", "class", "a b", "x: {y", "'q'", "a_b", "é", "1e5", "# c", "~", "-")


def test_odd_names_stay_what_they_are(folder: Path) -> None:
    moved = [row(k, name, 'start="1"') for k, name in enumerate(NAMES, start=2)]
    shown = [row(k, f"{name}!", "", "output continuous calculated") for k, name in enumerate(NAMES, start=50)]
    _, text = drafted(str(model(folder, *moved, *shown)), "m.yaml")
    loaded = load_config(Path("m.yaml"))
    assert loaded.config.problem().names == NAMES
    fmu = loaded.config.objective.fmu
    assert fmu is not None
    assert [output.variable for output in fmu.outputs.values()] == [f"{name}!" for name in NAMES]
    assert list(fmu.outputs)[:3] == ["tank_1_h", "der_x", "on"]
    assert fmu.value == "tank_1_h"
    assert "    value: tank_1_h                             # CHANGE THIS: J, an expression of outputs" in text


def test_texts_of_the_fmu_stay_in_their_comment(folder: Path) -> None:
    words = 'start="1" unit="m&#10;output: evil"'
    evil = row(2, "a", words).replace('name="a"', 'name="a" description="d&#10;task: hessian&#133;x &#8232;y &#8238;z"')
    path = model(folder, OUTPUT, evil)
    text = described().split("<ModelVariables>")[0].replace('modelName="tank"', 'modelName="t&#10;task: noise"')
    whole = text + "<ModelVariables>" + OUTPUT + evil + "</ModelVariables><ModelStructure/></fmiModelDescription>"
    _, made = drafted(str(packed(path, whole)), "m.yaml")
    assert all(character.isprintable() for line in made.splitlines() for character in line)
    loaded = load_config(Path("m.yaml"))
    assert (loaded.config.task, loaded.config.output) == ("gradient", str(folder / "runs" / "m"))


def test_many_parameters_and_outputs(folder: Path) -> None:
    moved = [row(k, f"p{k}", 'start="1"') for k in range(200)]
    shown = [row(k, f"y{k}", "", "output continuous calculated") for k in range(200, 240)]
    _, text = drafted(str(model(folder, *moved, *shown)), "m.yaml")
    loaded = load_config(Path("m.yaml"))
    assert loaded.config.problem().names == tuple(f"p{k}" for k in range(25))
    assert "  # The FMU has 200 parameters; the first 25 are used. Each costs two simulations.\n" in text
    assert "  # - {name: p25, value: 1.0}\n" in text
    fmu = loaded.config.objective.fmu
    assert fmu is not None
    assert list(fmu.outputs) == [f"y{k}" for k in range(200, 225)]


def test_an_fmu_without_parameters_outputs_or_times(folder: Path) -> None:
    state = row(2, "h", 'start="3"', "local continuous exact")
    drive = row(3, "u", 'start="1"', "input continuous")
    _, text = drafted(str(model(folder, state, drive, experiment="")), "m.yaml")
    assert "    stop_time: 1.0                              # CHANGE THIS: the FMU does not say where it ends\n" in text
    loaded = load_config(Path("m.yaml"))
    assert loaded.config.problem().names == ("h",), "a start value"
    fmu = loaded.config.objective.fmu
    assert fmu is not None
    assert list(fmu.outputs) == ["h"], "what it calculates"
    drafted(str(model(folder, OUTPUT, drive)), "u.yaml")
    assert load_config(Path("u.yaml")).config.problem().names == ("u",), "an input that is constant in time"
    with pytest.raises(InputError, match=r"m\.fmu has no real parameter, start value or input that can be set"):
        fmu_draft(str(model(folder, OUTPUT)), "none.yaml")
    with pytest.raises(InputError, match=r"m\.fmu has no output that is a number, so there is nothing"):
        fmu_draft(str(model(folder, drive)), "none.yaml")


def test_on_the_command_line(folder: Path) -> None:
    packed(folder / "tank.fmu", described())
    command = [sys.executable, "-m", "distfd", "init"]
    ran = subprocess.run([*command, "--fmu", "tank.fmu"], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        "wrote tank.yaml",
        "next: keep the parameters and outputs that matter, then   distfd run tank.yaml --evaluate x0",
    ]
    both = subprocess.run(
        [*command, "--fmu", "tank.fmu", "--command", "a"], capture_output=True, text=True, check=False
    )
    assert both.returncode == 2
    assert "give --command or --fmu, not both" in both.stderr


@pytest.mark.parametrize("version", [2, 3])
def test_model_exchange_says_its_solver(folder: Path, version: int, require_simulator: RequireSimulator) -> None:
    require_simulator("gcc")
    build_exchange(folder / "tank.fmu", version)
    config, text = drafted("tank.fmu")
    assert (
        "    tolerance: 1e-08                            # of CVode, which solves it: it is for model exchange" in text
    )
    loaded = load_config(config)
    found: list[str] = []
    evaluate_once(loaded, "x0", found.append)
    assert any(line.startswith("J = 2.25") for line in "\n".join(found).splitlines())


def test_both_kinds_are_told(folder: Path) -> None:
    packed(folder / "tank.fmu", exchange_description(2, both=True))
    _, text = drafted("tank.fmu")
    assert "    # kind: model-exchange" in text
    assert "tolerance" not in text
