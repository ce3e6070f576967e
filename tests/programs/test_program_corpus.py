"""Programs that distfd knows nothing of, by YAML and templates alone; each gradient is held against another.

The decks stand in folders beside this file. In CI scripts/test installs nec2c, xtb, freefem++, r-base-core, lammps and
xfoil, and one that is missing there is a failure. The others are collected only where the program is on the PATH, so
that they are no skips elsewhere: octave (61 MB to download), gmsh with getdp (70 MB), NWChem (21 MB) and sumo (95 MB).

xfoil of Debian 12 (6.99.dfsg+1-3+b1) ends in SIGFPE at every ALFA: its main program has gfortran's library trap a
division by zero that it makes each time. It goes on where a library in LD_PRELOAD has a function in place of that one.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.special import digamma

from distfd.config.load import load_config
from distfd.executors.serial import SerialExecutor
from distfd.jobs.build import make_evaluator, make_objective

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import RequireSimulator
    from numpy.typing import NDArray

    from distfd.results.derivative_result import DerivativeResult

    Floats = NDArray[np.float64]

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow


def where_there(*programs: str) -> Callable[[Any], Any]:
    """Collect a test only where its programs are on the PATH."""
    return (lambda test: test) if all(map(shutil.which, programs)) else (lambda _: None)


def derivative(name: str, work: Path, *overrides: str) -> DerivativeResult:
    """What the configuration's task finds, without Ray."""
    loaded = load_config(HERE / name / f"{name}.yaml", overrides)
    problem = loaded.config.problem()
    objective = make_objective(loaded, problem, work)
    kind: Any = loaded.config.task
    with make_evaluator(loaded.config, problem, objective, executor=SerialExecutor()) as evaluator:
        return evaluator.differentiate(problem.x0, kind=kind)


def output_of(argv: list[str], folder: Path) -> str:
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=120, check=True).stdout


# ---- nec2c: a dipole's impedance


def impedance(folder: Path, length: float, radius: float, frequency: float) -> Floats:
    """R and X, in ohms, of a deck that is written here."""
    half = length / 2
    deck = f"CM\nCE\nGW 1 21 0. 0. {-half!r} 0. 0. {half!r} {radius!r}\nGE 0\nEX 0 1 11 0 1. 0.\n"
    (folder / "own.nec").write_text(deck + f"FR 0 1 0 0 {frequency!r} 0.\nXQ\nEN\n")
    output_of(["nec2c", "-i", "own.nec", "-o", "own.out"], folder)
    lines = (folder / "own.out").read_text().splitlines()
    (at,) = (k for k, line in enumerate(lines) if "ANTENNA INPUT PARAMETERS" in line)
    return np.array([float(word) for word in lines[at + 3].split()[6:8]])


def test_nec2c(tmp_path: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("nec2c")
    found = derivative("nec2c", tmp_path)
    assert found.outputs == ("R", "X")
    x = np.array([0.48, 0.001, 299.8])
    own = np.empty((2, 3))
    for k in range(3):
        h = np.zeros(3)
        h[k] = 0.03 * x[k]  # the configuration has 0.02
        own[:, k] = (impedance(tmp_path, *(x + h).tolist()) - impedance(tmp_path, *(x - h).tolist())) / (2 * h[k])
    # R and X are printed in units of 1e-3 and 1e-2 ohm at most: a central difference over 2 % is off by 0.25 ohm, and
    # one over 3 % by 0.17, in x dZ/dx; their truncation, of order h^2, is 5 in a thousand for one that is resonant.
    scaled, wanted = found.derivative * x, own * x
    np.testing.assert_allclose(scaled, wanted, atol=0.5, rtol=1e-2)
    # Maxwell's equations have no scale: twice as long, twice as thick and at half the frequency is the same antenna.
    np.testing.assert_allclose(scaled[:, 0] + scaled[:, 1], scaled[:, 2], atol=0.5, rtol=5e-3)


# ---- xfoil: the lift of Joukowski's airfoil


def lift(folder: Path, library: Path, alpha: float, thick: float) -> float:
    """The lift coefficient, from the pressure at the nodes, of decks that are written here."""
    x, y = joukowski()
    rows = "".join(f"{a:.9f} {thick * b:.9f}\n" for a, b in zip(x, y, strict=True))
    (folder / "own.dat").write_text(f"own\n{rows}")
    subprocess.run(
        ["env", f"LD_PRELOAD={library}", "xfoil"],
        input=f"PLOP\nG F\n\nLOAD own.dat\nPANE\nOPER\nALFA {alpha!r}\nCPWR own.cp\n\nQUIT\n",
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    at, pressure = np.loadtxt(folder / "own.cp", skiprows=1).T
    return float(trapezoid(pressure, at) / np.cos(np.radians(alpha)))


EPSILON = 0.1
"""How far the centre of Joukowski's circle is from that of the unit circle, on which it would be a flat plate."""


def joukowski() -> tuple[Floats, Floats]:
    """The airfoil, of chord 1, from its trailing edge over the top and back."""
    circle = (1 + EPSILON) * np.exp(1j * np.linspace(0, 2 * np.pi, 121)) - EPSILON
    mapped = circle + 1 / circle
    x, y = (mapped.real - mapped.real.min()) / np.ptp(mapped.real), mapped.imag / np.ptp(mapped.real)
    y[[0, 60, -1]] = 0.0
    return x, y


def test_xfoil(tmp_path: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("xfoil")
    require_simulator("gcc")
    source, library = tmp_path / "fpe.c", tmp_path / "fpe.so"
    source.write_text("void _gfortran_set_fpe(int mask) {}\n")
    output_of(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], tmp_path)
    alpha, thick = 4.0, 1.0
    found = derivative("xfoil", tmp_path / "work", f"objective.command.env={{LD_PRELOAD: {library}}}")
    # Conformal mapping has lift = 8 pi R / chord sin(alpha), R being the circle's radius; 160 panels are off by 1e-3.
    chord = 3 + 2 * EPSILON + 1 / (1 + 2 * EPSILON)
    exact = 8 * np.pi * (1 + EPSILON) / chord
    assert found.value == pytest.approx(exact * np.sin(np.radians(alpha)), rel=2e-3)
    assert found.derivative[0] == pytest.approx(exact * np.cos(np.radians(alpha)) * np.pi / 180, rel=2e-3)
    # Pressures have five decimals, so that a lift is off by some 1e-6; the deck's airfoil has half of these nodes.
    h, k = 0.3, 0.04
    own = [
        (lift(tmp_path, library, alpha + h, thick) - lift(tmp_path, library, alpha - h, thick)) / (2 * h),
        (lift(tmp_path, library, alpha, thick + k) - lift(tmp_path, library, alpha, thick - k)) / (2 * k),
    ]
    np.testing.assert_allclose(found.derivative, own, rtol=2e-3)


# ---- R: a likelihood


def test_r(tmp_path: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("Rscript")
    shape, rate = 2.0, 1.2
    t = np.array([0.7, 1.9, 2.2, 0.4, 3.1, 1.5, 0.9, 2.7])
    wanted = [-np.sum(np.log(rate) + np.log(t) - digamma(shape)), -np.sum(shape / rate - t)]
    np.testing.assert_allclose(derivative("r", tmp_path).derivative, wanted, rtol=1e-8)


# ---- FreeFem++: heat in a plate


def test_freefem(tmp_path: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("FreeFem++")
    found = derivative("freefem", tmp_path)
    value = float(found.value)
    # The temperature is q / k times that of q = k = 1, on any mesh; whose integral over the square is 0.0351442.
    assert value == pytest.approx(3.0 / 0.7 * 0.0351442, rel=1e-4)
    np.testing.assert_allclose(found.derivative, [-value / 0.7, value / 3.0], rtol=1e-8)


# ---- LAMMPS: two atoms


def test_lammps(tmp_path: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("lmp")
    r, epsilon, sigma = 1.3, 0.9, 1.1
    six = (sigma / r) ** 6
    energy, slope = 4 * epsilon * (six**2 - six), 4 * epsilon * (12 * six**2 - 6 * six)
    found = derivative("lammps", tmp_path)
    assert found.value == pytest.approx(energy, rel=1e-12)
    np.testing.assert_allclose(found.derivative, [-slope / r, energy / epsilon, slope / sigma], rtol=1e-8)


# ---- xtb: water, against the program's own gradient


def test_xtb(tmp_path: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("xtb")
    (tmp_path / "water.xyz").write_text("3\nwater\nO 0.0 0.0 0.0\nH 0.97 0.05 0.0\nH -0.24 0.93 0.0\n")
    output_of(["xtb", "water.xyz", "--gfn", "2", "--acc", "0.01", "--grad", "--norestart"], tmp_path)
    second_atom = (tmp_path / "gradient").read_text().splitlines()[6].split()  # header, three places, three slopes
    own = np.array([float(word) for word in second_atom[:2]])
    # xtb has atomic units, and the deck Angstrom. Energies have 12 decimals; a central difference over 1e-3 Angstrom is
    # off by h^2 J''' / 6, some 1e-6 where the bond's J''' is 6 Eh / A^3.
    np.testing.assert_allclose(derivative("xtb", tmp_path).derivative, own / 0.529177210903, atol=3e-6)


# ---- Where the program is there


@where_there("octave-cli")
def test_octave(tmp_path: Path) -> None:
    r, k, time = 1.3, 4.0, 2.0
    left = (k / 0.5 - 1) * np.exp(-r * time)
    found = derivative("octave", tmp_path)
    assert found.value == pytest.approx(k / (1 + left), rel=1e-9)
    wanted = [k * time * left / (1 + left) ** 2, 1 / (1 + left) - k * np.exp(-r * time) / 0.5 / (1 + left) ** 2]
    # The steps are 1e-3 of the parameters: a central difference is off by some 1e-6 of itself.
    np.testing.assert_allclose(found.derivative, wanted, rtol=1e-5)


@where_there("gmsh", "getdp")
def test_gmsh_and_getdp(tmp_path: Path) -> None:
    width, gap, permittivity = 3.0, 0.5, 2.2
    capacity = permittivity * width / gap  # a straight field, which triangles have exactly
    found = derivative("gmsh_getdp", tmp_path)
    assert found.value == pytest.approx(capacity, rel=1e-9)
    wanted = [capacity / width, -capacity / gap, capacity / permittivity]
    # 1 / gap over 1e-3 of it: a central difference is off by 1e-6 of itself.
    np.testing.assert_allclose(found.derivative, wanted, rtol=2e-6)


@where_there("nwchem")
def test_nwchem(tmp_path: Path) -> None:
    deck = (HERE / "nwchem" / "h2.nw.j2").read_text().replace("{{ r }}", "1.6").replace("scf energy", "scf gradient")
    (tmp_path / "own.nw").write_text(deck)
    log = output_of(["nwchem", "own.nw"], tmp_path)
    second_atom = re.findall(r"^ +2 H +(?:\S+ +){5}(\S+)$", log, re.MULTILINE)
    # NWChem prints its gradient with six decimals, and energies with twelve.
    np.testing.assert_allclose(derivative("nwchem", tmp_path).derivative, [float(second_atom[-1])], atol=2e-6)


@where_there("sumo", "netconvert")
def test_sumo(tmp_path: Path) -> None:
    length, speed, h = 1000.0, 20.0, 2.0
    found = derivative("sumo", tmp_path)
    # A car alone on a road, simulated in steps of 0.01 s: each duration is late by up to one of them.
    assert found.value == pytest.approx(length / speed, abs=0.011)
    wanted = [1 / speed, -length / (speed**2 - h**2)]  # the central difference itself, as its step is a tenth of x
    np.testing.assert_allclose(found.derivative, wanted, atol=0.011 / (2 * h))
