"""Tells whether a path is on a network file system, where a database must not use shared memory."""

from __future__ import annotations

import re
from pathlib import Path

# File systems that several hosts see, or that another kernel serves: shared memory and locks across hosts cannot be
# relied on there. A name of the form fuse.x counts by its prefix (sshfs, glusterfs, ...).
_NETWORK = frozenset(
    {"9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fhgfs", "fuse", "gfs", "gfs2", "glusterfs"}
    | {"gpfs", "lustre", "mfs", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb3"}
    | {"smbfs", "vboxsf", "virtiofs", "vmhgfs", "wekafs"}
)


def network_filesystem(path: Path, mountinfo: str | None = None) -> str | None:
    """The type of the network file system that ``path`` is on, or None where it is local.

    ``mountinfo`` is the text of /proc/self/mountinfo, see proc_pid_mountinfo(5); it is read if not given. Where the
    file does not exist (macOS), the file system counts as local.
    """
    if mountinfo is None:
        try:
            mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    kind, depth = "", -1
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(" - ")
        fields = head.split()
        if len(fields) < 5 or not tail:
            continue
        mount = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        # Later mounts hide earlier ones at the same place.
        if path.is_relative_to(mount) and len(mount.parts) >= depth:
            kind, depth = tail.split()[0], len(mount.parts)
    return kind if kind in _NETWORK or kind.startswith("fuse.") else None
