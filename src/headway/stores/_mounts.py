"""On what kind of file system a folder lies, and whether SQLite may keep a database there.

In: a path and the machine's table of mounts. Out: the kind, and the reason for a refusal. SQLite in WAL mode needs
memory shared between processes and locks that hold, which file systems over a network do not give.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

Mount = tuple[str, str]
"""Where it is mounted, and its kind (`ext4`, `nfs4`, `fuse.sshfs`)."""

_NETWORK = re.compile(
    r"""(fuse\.)?(nfs\d?|cifs|smb\d?|smbfs|smbnetfs|afs|afpfs|auristorfs|ncpfs|coda|9p|davfs2?|webdav|lustre|ceph|cephfs
    |ceph-fuse|gpfs|beegfs|orangefs|pvfs2|ocfs2|gfs2?|glusterfs|moosefs|mfs|lizardfs|xtreemfs|panfs
    |sshfs|curlftpfs|s3fs|s3ql|s3backer|goofys|mount-s3|mountpoint-s3|gcsfuse|gcsfs|blobfuse2?|rclone|juicefs|seaweedfs
    |weed|hdfs|hadoop-fuse|alluxio\S*|objectivefs|onedriver|google-drive\S*|keybase)""",
    re.VERBOSE | re.IGNORECASE,
)


def network_kind(path: str, mounts: Iterable[Mount] | None = None) -> str | None:
    """The kind of network file system that a path lies on, None for a local one (and where it cannot be told).

    Args:
        path: a file or folder, which need not exist.
        mounts: the table of mounts in the order in which they were made; None asks the machine.
    """
    real = os.path.realpath(path)
    kind, longest = "", -1
    for point, its_kind in machine_mounts() if mounts is None else mounts:
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest and its_kind != "autofs":  # a later mount hides an earlier one
            kind, longest = its_kind, len(point)
    return kind if _NETWORK.fullmatch(kind) else None


def machine_mounts() -> list[Mount]:
    """This machine's table of mounts."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
            return parse(file.read())
    except FileNotFoundError:
        import psutil

        return [(partition.mountpoint, partition.fstype) for partition in psutil.disk_partitions(all=True)]


def parse(table: str) -> list[Mount]:
    """The mounts in the text of `/proc/mounts` (blanks in names are written as octal escapes)."""
    lines = (line.split(" ") for line in table.splitlines())
    return [(re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), line[1]), line[2]) for line in lines if len(line) > 2]
