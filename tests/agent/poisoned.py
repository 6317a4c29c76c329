"""``schoolpulse-agent`` on a machine where a person's name, the first argument, stands wherever one may."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import sys
from collections import namedtuple
from typing import Any

import psutil

NAME = sys.argv[1]
real_uname, real_partitions = os.uname, psutil.disk_partitions


def uname() -> Any:
    said = real_uname()
    return os.uname_result((said.sysname, NAME, said.release, said.version, said.machine))


def partitions(all: bool = False) -> list[Any]:
    found = real_partitions(all=all)
    kind = namedtuple("kind", "device mountpoint fstype opts maxfile maxpath")
    return [*found, kind(f"/dev/{NAME}", f"/media/{NAME}/USB", "vfat", "rw", 255, 4096)]


os.uname, platform.node, getpass.getuser = uname, lambda: NAME, lambda: NAME
socket.gethostname, socket.getfqdn = lambda: NAME, lambda *_: f"{NAME}.local"
psutil.disk_partitions = partitions
psutil.users = lambda: [psutil._common.suser(NAME, "tty1", f"{NAME}.local", 1.0, os.getpid())]

if __name__ == "__main__":
    from schoolpulse_agent.__main__ import main

    sys.exit(main(sys.argv[2:]))
