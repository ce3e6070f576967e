"""Arrays of MATLAB's files, HDF5, NetCDF and VTK; without its library a kind says what to install."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.io

from distfd.errors import InputError
from distfd.objectives.command.outputs import parse_output
from distfd.objectives.command.user_function import UserFunction
from distfd.objectives.command.values import OutputError, as_value

if TYPE_CHECKING:
    from pathlib import Path

P = np.arange(6.0).reshape(2, 3) + 0.5


def read(path: Path, kind: str, **spec: Any) -> Any:
    output = parse_output("J", {"file": path.name, kind: spec}, str(path.parent))
    assert not isinstance(output.extractor, UserFunction)
    return as_value(output.extractor.read(path))


def written(folder: Path, kind: str) -> Path:
    """A file of this kind that holds P as p and 2.5 as q."""
    path = folder / f"out.{kind}"
    if kind == "mat":
        scipy.io.savemat(folder / "out.mat", {"p": P, "q": 2.5})
    elif kind == "hdf5":
        h5py = pytest.importorskip("h5py", reason="NOT TESTED: h5py is missing, so no HDF5 file was read")
        with h5py.File(path, "w") as file:
            file["p"], file["group/q"] = P, 2.5
    elif kind == "netcdf":
        with scipy.io.netcdf_file(path, "w") as file:
            for name, size in (("rows", 2), ("columns", 3)):
                file.createDimension(name, size)
            file.createVariable("p", "d", ("rows", "columns"))[:] = P
            file.createVariable("q", "d", ()).data[...] = 2.5
    return path


@pytest.mark.parametrize(("kind", "q"), [("mat", "q"), ("hdf5", "/group/q"), ("netcdf", "q")])
def test_arrays_and_their_elements(tmp_path: Path, kind: str, q: str) -> None:
    path = written(tmp_path, kind)
    np.testing.assert_array_equal(read(path, kind, array="p"), P)
    assert read(path, kind, array="p", index=[1, 2]) == 5.5
    assert read(path, kind, array="p", index=[-1, 0]) == 3.5
    np.testing.assert_array_equal(read(path, kind, array="p", index=1), P[1])
    assert read(path, kind, array=q) == 2.5
    with pytest.raises(OutputError, match=r"it has no '/?pp'"):
        read(path, kind, array="pp")
    with pytest.raises(OutputError, match=r"p has the shape \(2, 3\)"):
        read(path, kind, array="p", index=[5, 0])
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(OutputError, match="it is no"):
        read(path, kind, array="p")


def test_netcdf_of_version_4(tmp_path: Path) -> None:
    library = pytest.importorskip("netCDF4", reason="NOT TESTED: netCDF4 is missing, so no NetCDF 4 file was read")
    with library.Dataset(tmp_path / "out.nc", "w") as file:
        file.createDimension("n", 3)
        file.createVariable("p", "f8", ("n",))[:] = P[0]
    np.testing.assert_array_equal(read(tmp_path / "out.nc", "netcdf", array="p"), P[0])


def test_vtk(tmp_path: Path) -> None:
    meshio = pytest.importorskip("meshio", reason="NOT TESTED: meshio is missing, so no VTK file was read")
    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    cells = [("triangle", np.array([[0, 1, 2], [1, 3, 2]]))]
    meshio.Mesh(points, cells, {"u": np.arange(4.0)}, {"s": [np.array([0.5, 1.5])]}).write(tmp_path / "out.vtk")
    np.testing.assert_array_equal(read(tmp_path / "out.vtk", "vtk", array="u"), np.arange(4.0))
    assert read(tmp_path / "out.vtk", "vtk", array="s", index=-1) == 1.5
    assert read(tmp_path / "out.vtk", "vtk", array="points", index=[3, 1]) == 1.0
    with pytest.raises(OutputError, match="it has no 'v'"):
        read(tmp_path / "out.vtk", "vtk", array="v")


@pytest.mark.parametrize(("kind", "package"), [("hdf5", "h5py"), ("netcdf", "netCDF4"), ("vtk", "meshio")])
def test_a_library_that_is_missing_is_named(
    tmp_path: Path, kind: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "out").write_bytes(b"\x89HDF")
    with pytest.raises(InputError, match=rf'{package} is not installed.*pip install "distfd\[files\]"'):
        read(tmp_path / "out", kind, array="p")


@pytest.mark.parametrize(
    "spec", [{}, {"array": ""}, {"array": "p", "index": 0.5}, {"array": "p", "index": True}, {"a": 1}]
)
def test_what_is_no_array_is_refused(tmp_path: Path, spec: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        read(tmp_path / "out", "mat", **spec)
