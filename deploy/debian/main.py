"""Starts the agent of the package: ``python3 -I -S main.py run``, with a search path of three folders and no other.

-I and -S keep out what environment, user and site packages would bring; they save memory and a part of the start, too.
"""

import sys
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)
SYSTEM = "/usr/lib/python3/dist-packages"  # Debian's psutil, and cryptography where it is installed


def choose() -> str:
    """The folder of the installed ``schoolpulse_agent``, which starts itself or a newer version."""
    return HERE


def search(code: str) -> None:
    """Find modules in this code, in what the package brings along, and in the system's packages: in this order."""
    own = [code, f"{HERE}/vendor", SYSTEM]
    sys.path[:0] = own[:2]
    sys.path.append(own[2])


if __name__ == "__main__":
    search(choose())
    from schoolpulse_agent import launch

    sys.exit(launch.main())  # in the installed version, or in a newer one that is signed and was fetched
