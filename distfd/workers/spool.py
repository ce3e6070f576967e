"""What a worker leaves of a long evaluation, in case nobody is there to take its report: a JSON file with a checksum.

The driver alone writes the store. Where it has died, Ray ends its workers within seconds, and what they finished by
then would be lost with them. So a worker writes each evaluation of a second and more into a folder that the driver has
made and that it sees, before it reports; the driver removes the file once it has committed the report. A folder that is
not there, on another host or with a driver that has ended in good order, is not made: then nothing is left.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from distfd.core.files import owner_only
from distfd.core.records import Batch, Failure, Status

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
    }
    path = file_of(spool.place, key)
    part = path.with_suffix(f".part-{batch.pid}")
    with contextlib.suppress(OSError):
        try:
            with open(part, "x", encoding="ascii", opener=owner_only) as file:
                json.dump({**record, "checksum": _checksum(record)}, file)
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise


def read(path: Path) -> tuple[NDArray[np.uint64], Batch]:
    """The key, (1, 2), and the evaluation as a batch of one row; its attempt is to be counted by the reader.

    Raises
    ------
    DamagedSpoolError
        If it does not match its checksum.
    """
    try:
        record = json.loads(path.read_bytes())
        if record.pop("checksum") != _checksum(record):
            raise DamagedSpoolError("it does not match its checksum")
        key = np.frombuffer(bytes.fromhex(record["key"]), "<u8").astype(np.uint64).reshape(1, 2)
        flat = np.frombuffer(bytes.fromhex(record["value"]), "<f8").astype(np.float64)
        status = Status(record["status"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedSpoolError(f"it is not what a worker writes: {error}") from error
    point = record["point"]
    failures = {} if record["cause"] is None else {point: Failure(status, record["cause"], record["detail"])}
    return key, Batch(
        index=np.array([point]),
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
    )


def file_of(place: str | os.PathLike[str], key: str) -> Path:
    """The file of an evaluation, by its key in hexadecimal."""
    return Path(place) / f"{key}{SUFFIX}"


def _checksum(record: dict[str, object]) -> int:
    return crc32(json.dumps(record, sort_keys=True).encode())
