"""Measurements that outputs are compared with: read once, on the driver, by the extractors of outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.files import at_home
from distfd.objectives.command.outputs import parse_output
from distfd.objectives.command.user_function import UserFunction
from distfd.objectives.command.values import OutputError, as_value

if TYPE_CHECKING:
    from distfd.objectives.command.values import Value


def read_measured(name: str, spec: Any, base: Path) -> Value:
    """Numbers from a file beside the configuration.

    Parameters
    ----------
    name : str
        As expressions spell it.
    spec : mapping
        ``file``, and one of json, csv, regex, columns, npy.
    base : Path
        The folder of relative paths.

    Raises
    ------
    InputError
        If the description is wrong, the file is missing, or what is in it is not finite.
    """
    if not isinstance(spec, Mapping) or not isinstance(spec.get("file"), (str, Path)):
        raise InputError(f"data: {name}: needs file, and one of json, csv, regex, columns, npy (given {spec!r})")
    path = base / at_home(spec["file"])
    # The name stands for the file: where it is does not matter to the extractor.
    output = parse_output(name, {**spec, "file": path.name}, str(base))
    if isinstance(output.extractor, UserFunction):
        raise InputError(f"data: {name}: python reads work directories; write the data to a file")
    try:
        value = as_value(output.extractor.read(path))
    except OutputError as error:
        raise InputError(f"data: {name}: {path}: {error}") from error
    except OSError as error:
        raise InputError(f"data: {name}: {path}: {error.strerror or error}") from error
    if not np.isfinite(value).all():
        raise InputError(f"data: {name}: {path}: not all of it is finite")
    return value
