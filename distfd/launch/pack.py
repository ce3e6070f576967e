"""A run's directory as lines of text: all that a job on a Ray cluster can send back is what it prints.

``python -m distfd.launch.pack DIRECTORY`` runs on the cluster.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO

from distfd.core.errors import ClusterError

_BEGIN, _END = "distfd-pack-begin", "distfd-pack-end"
_LINE = 3 * 2**14
"""Bytes a line."""
_LEFT_OUT = ("work", "spool")
"""Directories of programs, and what has not reached the store: of no use elsewhere, and large."""
_MOST = 2**29


def write_tar(directory: Path, file: IO[bytes]) -> None:
    """Pack a run's directory, without the work directories of its programs."""

    def kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        plain = member.isreg() or member.isdir()  # links and pipes are none of distfd's, and are not taken at home
        return member if plain and member.name.split("/")[0] not in _LEFT_OUT else None

    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as tar:
        for path in sorted(directory.iterdir()):
            tar.add(path, arcname=path.name, filter=kept)


def main(directory: str) -> int:
    """Print a run's directory; 0, or 1 where there is none."""
    path = Path(directory).expanduser()
    if not path.is_dir():
        return 1
    with tempfile.TemporaryFile() as file:
        write_tar(path, file)
        size = file.tell()
        if size > _MOST:
            print(f"{path} has {size / 2**20:.0f} MiB; copy it by hand", flush=True)
            return 1
        file.seek(0)
        digest = hashlib.sha256()
        print(_BEGIN, flush=True)
        while data := file.read(_LINE):
            digest.update(data)
            print(base64.b64encode(data).decode())
        print(_END, digest.hexdigest(), flush=True)
    return 0


def read_printed(text: str, file: IO[bytes]) -> None:
    """Take in what `main` printed, whatever else stands before and behind it.

    Raises
    ------
    ClusterError
        If something is missing.
    """
    lines = iter(text.splitlines())
    digest = hashlib.sha256()
    if not any(line == _BEGIN for line in lines):
        raise ClusterError("the run's directory could not be brought back: the cluster sent nothing")
    for line in lines:
        if line.startswith(_END):
            if line.split()[-1] == digest.hexdigest():
                return
            break
        try:
            data = base64.b64decode(line, validate=True)
        except ValueError:  # somebody else's line
            break
        digest.update(data)
        file.write(data)
    raise ClusterError("the run's directory came back damaged; submit again to have it sent once more")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
