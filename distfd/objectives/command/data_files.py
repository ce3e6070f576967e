"""Reads arrays from data files by libraries: MATLAB's, HDF5, NetCDF and VTK."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.suggestions import did_you_mean
from distfd.objectives.command.values import OutputError, short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


def _absent(package: str) -> InputError:
    return InputError(f'{package} is not installed, which reads such files: pip install "distfd[files]"')


def _missing(name: str, names: Iterable[str]) -> OutputError:
    known = sorted(names)
    return OutputError(f"it has no {name!r}{did_you_mean(name, known)}; it has: {short(', '.join(known))}")


def _mat(path: Path, name: str) -> Any:
    """A variable of a .mat file; files by MATLAB's -v7.3 are HDF5."""
    import scipy.io

    try:
        found = scipy.io.loadmat(path, squeeze_me=True)
    except NotImplementedError:
        return np.squeeze(np.transpose(_hdf5(path, name)))
    except Exception as error:  # scipy raises exceptions of its own classes
        raise OutputError(f"it is no .mat file, or was cut: {error}") from error
    if name not in found:
        raise _missing(name, (key for key in found if not key.startswith("__")))
    return found[name]


def _hdf5(path: Path, name: str) -> Any:
    """A dataset of an HDF5 file, named like /group/name."""
    try:
        import h5py
    except ImportError as error:
        raise _absent("h5py") from error
    try:
        with h5py.File(path, "r") as file:
            known: list[str] = []
            file.visititems(lambda key, item: known.append(f"/{key}") if isinstance(item, h5py.Dataset) else None)
            wanted = f"/{name.strip('/')}"
            if wanted not in known:
                raise _missing(wanted, known)
            return np.asarray(file[wanted][()])
    except OSError as error:
        raise OutputError(f"it is no HDF5 file, or was cut: {error}") from error


def _netcdf(path: Path, name: str) -> Any:
    """A variable of a NetCDF file; the classic format needs no further library."""
    import scipy.io

    with path.open("rb") as file:
        head = file.read(4)
    classic = head[:3] == b"CDF"
    if not classic and head != b"\x89HDF":
        raise OutputError("it is no NetCDF file")
    try:
        if classic:
            with scipy.io.netcdf_file(path, "r", mmap=False) as found:
                if name not in found.variables:
                    raise _missing(name, found.variables)
                return np.array(found.variables[name][...])
        try:
            import netCDF4  # the library's own spelling
        except ImportError as error:
            raise _absent("netCDF4") from error
        with contextlib.closing(netCDF4.Dataset(path)) as found:
            if name not in found.variables:
                raise _missing(name, found.variables)
            return np.ma.filled(np.ma.asarray(found.variables[name][...], dtype=np.float64), np.nan)
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, (OutputError, InputError)):
            raise
        raise OutputError(f"it is no NetCDF file, or was cut: {error}") from error


def _vtk(path: Path, name: str) -> Any:
    """An array of points or cells of a VTK file, or of any other mesh that meshio reads; points are the coordinates."""
    try:
        import meshio
    except ImportError as error:
        raise _absent("meshio") from error
    try:
        mesh = meshio.read(path)
    except (meshio.ReadError, OSError, ValueError, KeyError, IndexError, SystemExit) as error:
        raise OutputError(f"it is no mesh that meshio reads, or was cut: {error}") from error
    known: dict[str, Any] = {"points": mesh.points, **mesh.point_data}
    known |= {key: np.concatenate([np.asarray(part) for part in parts]) for key, parts in mesh.cell_data.items()}
    if name not in known:
        raise _missing(name, known)
    return np.asarray(known[name])


LIBRARIES: dict[str, Callable[[Path, str], Any]] = {"mat": _mat, "hdf5": _hdf5, "netcdf": _netcdf, "vtk": _vtk}
"""Readers by the key that asks for them."""


@dataclass(frozen=True)
class LibraryArray:
    """``mat: {array: p, index: 3}``, and likewise ``hdf5``, ``netcdf``, ``vtk``: an array, or an element of it from 0.

    Parameters
    ----------
    kind : str
        A key of `LIBRARIES`.
    array : str
        The array's name in the file.
    index : int, list of int, or "all"
        Which element; negative numbers count from the end.
    """

    kind: str
    array: str
    index: Any = "all"

    def __post_init__(self) -> None:
        if not isinstance(self.array, str) or not self.array:
            raise InputError(f"{self.kind}: array is a name in the file (given {self.array!r})")
        index = () if self.index == "all" else self.index
        index = tuple(index) if isinstance(index, (list, tuple)) else (index,)
        if not all(isinstance(k, int) and not isinstance(k, bool) for k in index):
            raise InputError(f"{self.kind}: an index is a whole number, or a list of them, or all ({self.index!r})")
        object.__setattr__(self, "index", index)

    def read(self, path: Path) -> Any:
        """The array, or the element of it."""
        found = np.asarray(LIBRARIES[self.kind](path, self.array))
        try:
            return np.array(found[self.index])
        except IndexError as error:
            raise OutputError(f"{self.array} has the shape {found.shape}: {error}") from error
