"""This machine as it is, to install things on and throw away: an overlay in a mount namespace of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from running import Program, wait_until

SET_UP = """
mount --make-rprivate / 2>&- || true  # refused where / is no mount of its own, as in a chroot
set -e
mount -t tmpfs -o mode=0755 layers "$1"
mkdir "$1/upper" "$1/work" "$1/merged"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/merged"
for each in proc sys dev; do mount --rbind "/$each" "$1/merged/$each"; done
mount -t tmpfs -o mode=0755 run "$1/merged/run"
mkdir -p "$1/merged/mnt/shared"
mount --bind "$2" "$1/merged/mnt/shared"
touch "$2/ready"
exec sleep infinity
"""


class PrivateRoot:
    """``shared``: a folder that is /mnt/shared inside. Needs root, as `make test` in CI has; no systemd runs inside."""

    def __init__(self, folder: Path) -> None:
        assert os.geteuid() == 0, "packages are installed by root: run these tests as root"
        self.shared, self.layers = folder / "shared", folder / "layers"
        for each in (self.shared, self.layers):
            each.mkdir(parents=True)
        command = ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", SET_UP, "sh"]
        self._holder = subprocess.Popen([*command, str(self.layers), str(self.shared)])
        wait_until(lambda: (self.shared / "ready").exists() or self._holder.poll() is not None, 20, "mounts are made")
        assert self._holder.poll() is None, "no overlay could be mounted on /"
        self.root = self._seen(self.layers / "merged")

    def command(self, *words: str, user: str = "") -> list[str]:
        """How this is run inside; ``user``: as whom, with no rights of root's."""
        holder = ["nsenter", f"--target={self._holder.pid}", "--mount", "--root"]
        inside = [*holder, "chroot", f"{self.layers}/merged"]
        if user:
            inside += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
            inside += ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
        return [*inside, *words]

    def run(self, *words: str, code: int = 0, user: str = "", said: str = "", **environment: str) -> str:
        """What a command prints."""
        path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        ended = subprocess.run(
            self.command(*words, user=user),
            input=said,
            capture_output=True,
            text=True,
            timeout=120,
            env={**path, **environment},
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def start(self, *words: str, user: str, **environment: str) -> Program:
        """A program inside, until it is stopped."""
        return Program(self.command(*words, user=user), self.shared / "program", **environment)

    def changed(self) -> set[str]:
        """Every path that is there or other than on the machine itself."""
        upper = self._seen(self.layers / "upper")
        return {f"/{path.relative_to(upper)}" for path in upper.rglob("*")}

    def _seen(self, path: Path) -> Path:
        """A path of that namespace, from outside."""
        return Path("/proc", str(self._holder.pid), "root", *path.parts[1:])

    def close(self) -> None:
        """With the namespace, its mounts go."""
        self._holder.kill()
        self._holder.wait(10)
