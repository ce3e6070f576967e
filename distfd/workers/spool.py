"""What a worker leaves of a long evaluation, in case nobody is there to take its report: a JSON file with a checksum.

The driver alone writes the store. Where it has died, Ray ends its workers within seconds, and what they finished by
then would be lost with them. So a worker writes each evaluation of a second and more into a folder that the driver has
made and that it sees, before it reports; the driver removes the file once it has committed the report. A folder that is
not there, on another host or with a driver that has ended in good order, is not made: then nothing is left.
"""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from distfd.core.errors import StoreError
from distfd.core.files import parse_json, read_plain, replace_file
from distfd.core.records import DOUBLE, Batch, Failure, Status

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

SECONDS = 1.0
"""Evaluations that take so long are worth a file."""

SUFFIX = ".json"


class DamagedSpoolError(Exception):
    """A file that does not hold what a worker wrote."""


@dataclass(frozen=True, eq=False)
class Spool:
    """Where the evaluations of a chunk are left, and what they are called.

    Attributes
    ----------
    place : str
        A folder.
    keys : (n, 2) ndarray of uint64
        Identities of the chunk's points.
    """

    place: str
    keys: NDArray[np.uint64]


def leave(spool: Spool, k: int, batch: Batch) -> None:
    """Write the evaluation of the chunk's point ``k``, a batch of one row; a disk that does not take it is no error."""
    key = spool.keys[k].astype("<u8").tobytes().hex()
    failure = batch.failures.get(int(batch.index[0]))
    record = {
        "key": key,
        "point": int(batch.index[0]),
        "status": int(batch.status[0]),
        "value": batch.flat.astype("<f8").tobytes().hex(),
        "started": float(batch.started[0]),
        "ended": float(batch.ended[0]),
        "host": batch.host,
        "pid": batch.pid,
        "slot": batch.slot,
        "cause": failure.text if failure else None,
        "detail": failure.detail if failure else None,
        **({} if batch.bits is None else {"bits": int(batch.bits[0])}),
    }
    path = file_of(spool.place, key)
    text = json.dumps({**record, "checksum": _checksum(record)})
    with contextlib.suppress(OSError, StoreError):
        replace_file(path, lambda file: file.write(text.encode("ascii")), sync=False)


def read(path: Path) -> tuple[NDArray[np.uint64], Batch]:
    """The key, (1, 2), and the evaluation as a batch of one row; its attempt is to be counted by the reader.

    Raises
    ------
    DamagedSpoolError
        If it does not match its checksum.
    """
    try:
        record = parse_json(read_plain(path, _LARGEST))
        if record.pop("checksum") != _checksum(record):
            raise DamagedSpoolError("it does not match its checksum")
        key = np.frombuffer(bytes.fromhex(record["key"]), "<u8").astype(np.uint64).reshape(1, 2)
        flat = np.frombuffer(bytes.fromhex(record["value"]), "<f8").astype(np.float64)
        status = Status(record["status"])
        _check_types(record)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedSpoolError(f"it is not what a worker writes: {error}") from error
    point = record["point"]
    failures = {} if record["cause"] is None else {point: Failure(status, record["cause"], record["detail"])}
    return key, Batch(
        index=np.array([point], np.int64),
        status=np.array([status], np.uint8),
        size=np.array([len(flat)]),
        flat=flat,
        started=np.array([record["started"]]),
        ended=np.array([record["ended"]]),
        attempt=np.ones(1, np.int32),
        host=record["host"],
        pid=record["pid"],
        slot=record["slot"],
        failures=failures,
        bits=np.array([record["bits"]], np.uint8) if record.get("bits", DOUBLE) != DOUBLE else None,
    )


def file_of(place: str | os.PathLike[str], key: str) -> Path:
    """The file of an evaluation, by its key in hexadecimal."""
    return Path(place) / f"{key}{SUFFIX}"


_LARGEST = 2**30
"""Bytes of a file beyond which no worker has written it."""
_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("point", "pid", "slot"), int),
    **dict.fromkeys(("started", "ended"), float),
    "host": str,
    **dict.fromkeys(("cause", "detail"), (str, type(None))),
}


def _check_types(record: dict[str, Any]) -> None:
    for name, wanted in _TYPES.items():
        value = record[name]
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r:.40}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} is {value!r}")
        if isinstance(value, int) and not -(2**31) <= value < 2**31:
            raise ValueError(f"{name} is {value!r:.40}")
    bits = record.get("bits", DOUBLE)
    if type(bits) is not int or not 0 <= bits <= DOUBLE:
        raise TypeError(f"bits is {bits!r:.40}")
    if record["cause"] is not None and record["detail"] is None:
        raise TypeError("it has a cause and no detail")


def _checksum(record: dict[str, object]) -> int:
    return crc32(json.dumps(record, sort_keys=True).encode())
