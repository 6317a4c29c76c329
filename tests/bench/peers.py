"""Four agents of others from Debian, each with its default settings on loopback, and who takes what they send.

All without TLS, as they come. Asked or pushing as in real life: node_exporter and netdata are scraped as Prometheus
does (gzip), collectd sends by its own network protocol, zabbix_agent2 asks a server for its active checks and sends.
"""

from __future__ import annotations

import gzip
import http.client
import json
import shutil
import socket
import struct
import threading
import time
import zlib
from contextlib import suppress
from pathlib import Path

import psutil
from heard import Heard
from running import Program, free_port

# What the template "Linux by Zabbix agent active" 6.0 asks for each minute, its discoveries as found here.
ZABBIX_ITEMS = """
agent.ping kernel.maxfiles kernel.maxproc proc.num proc.num[,,run] system.boottime system.cpu.intr
system.cpu.load[all,avg1] system.cpu.load[all,avg5] system.cpu.load[all,avg15] system.cpu.num system.cpu.switches
system.cpu.util[,guest] system.cpu.util[,guest_nice] system.cpu.util[,idle] system.cpu.util[,interrupt]
system.cpu.util[,iowait] system.cpu.util[,nice] system.cpu.util[,softirq] system.cpu.util[,steal]
system.cpu.util[,system] system.cpu.util[,user] system.localtime system.swap.size[,free] system.swap.size[,pfree]
system.swap.size[,total] system.uptime system.users.num vm.memory.size[available] vm.memory.size[pavailable]
vm.memory.size[total] vfs.fs.size[/,pused] vfs.fs.size[/,total] vfs.fs.size[/,used] vfs.fs.inode[/,pfree]
"""
ZABBIX_CARD = """
net.if.in[{0}] net.if.in[{0},dropped] net.if.in[{0},errors] net.if.out[{0}] net.if.out[{0},dropped]
net.if.out[{0},errors] vfs.file.contents[/sys/class/net/{0}/operstate]
"""
# Those of Debian's own collectd.conf; ``network`` in place of ``rrdtool``, which keeps everything on the machine.
COLLECTD_PLUGINS = "battery cpu df disk entropy interface irq load memory processes swap users network"


class Peer:
    """One of them, running; ``heard``: what it has sent. Raises LookupError if it is not installed."""

    package = program = ""

    def __init__(self, folder: Path, memory: Path, interval: float) -> None:
        """``folder``: its own, on a disk. ``memory``: one that is on none, for what it prints."""
        path = shutil.which(self.program, path="/usr/sbin:/usr/bin:/sbin:/bin")
        if path is None:
            raise LookupError(
                f"{self.package} is not installed: apt-get install --no-install-recommends {self.package}"
            )
        self.folder, self.interval, self.heard = folder, interval, Heard()
        self._ended = threading.Event()
        folder.mkdir()
        self.running = Program([path, *self._prepare()], memory, DO_NOT_TRACK="1")
        self._thread = threading.Thread(target=self._until_ended, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, and who listens to it."""
        self._ended.set()
        children = psutil.Process(self.running.process.pid).children(recursive=True)
        try:
            self.running.stop()
        finally:
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        self._thread.join(10)

    def _prepare(self) -> list[str]:
        """Write its settings; return its arguments."""
        raise NotImplementedError

    def _take(self) -> None:
        """Wait for something that it sends and count it, for a second at most if nothing comes."""
        raise NotImplementedError

    def _until_ended(self) -> None:
        while not self._ended.is_set():
            with suppress(OSError, http.client.HTTPException):  # it is starting, or ending
                self._take()


class _Scraped(Peer):
    path = ""

    def __init__(self, folder: Path, memory: Path, interval: float) -> None:
        self._port = free_port()
        self._due = time.monotonic()
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        super().__init__(folder, memory, interval)

    def _take(self) -> None:
        self._due += self.interval
        if self._ended.wait(max(0.0, self._due - time.monotonic())):
            return
        try:
            self._connection.request("GET", self.path, headers={"Accept-Encoding": "gzip"})
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        page = gzip.decompress(body) if answer.getheader("Content-Encoding") == "gzip" else body
        values = sum(1 for line in page.splitlines() if line and not line.startswith(b"#"))
        self.heard.add(1, len(body), values)


class NodeExporter(_Scraped):
    package, program, path = "prometheus-node-exporter", "prometheus-node-exporter", "/metrics"

    def _prepare(self) -> list[str]:
        return [f"--web.listen-address=127.0.0.1:{self._port}"]


class Netdata(_Scraped):
    package, program, path = "netdata-core", "netdata", "/api/v1/allmetrics?format=prometheus"

    def _prepare(self) -> list[str]:
        for name in ("cache", "lib", "log", "config"):
            (self.folder / name).mkdir()
        (self.folder / "config" / ".opt-out-from-anonymous-statistics").touch()
        path = self.folder / "netdata.conf"
        path.write_text(
            f"[global]\nrun as user = root\n[db]\nupdate every = {max(1, round(self.interval))}\n"
            f"[web]\nbind to = 127.0.0.1:{self._port}\n"
            f"[directories]\ncache = {self.folder}/cache\nlib = {self.folder}/lib\nlog = {self.folder}/log\n"
            f"config = {self.folder}/config\n"
        )
        return ["-D", "-c", str(path)]


class Collectd(Peer):
    package, program = "collectd-core", "collectd"

    def _prepare(self) -> list[str]:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(1)
        path = self.folder / "collectd.conf"
        load = "".join(f"LoadPlugin {name}\n" for name in COLLECTD_PLUGINS.split())
        path.write_text(
            f'Hostname "peer"\nFQDNLookup false\nBaseDir "{self.folder}"\nPIDFile "{self.folder}/pid"\n'
            f'TypesDB "/usr/share/collectd/types.db"\nInterval {self.interval}\n{load}'
            f'<Plugin network>\nServer "127.0.0.1" "{self._socket.getsockname()[1]}"\n</Plugin>\n'
        )
        return ["-f", "-C", str(path)]

    def _take(self) -> None:
        packet = self._socket.recv(65536)
        self.heard.add(1, len(packet), collectd_values(packet))


class ZabbixAgent2(Peer):
    package, program = "zabbix-agent2", "zabbix_agent2"

    def _prepare(self) -> list[str]:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(1)
        path = self.folder / "agent.conf"
        path.write_text(
            f"LogType=console\nServer=127.0.0.1\nServerActive=127.0.0.1:{self._server.getsockname()[1]}\n"
            f"Hostname=peer\nListenIP=127.0.0.1\nListenPort={free_port()}\nControlSocket={self.folder}/socket\n"
            f"PidFile={self.folder}/pid\n"
        )
        return ["-c", str(path)]

    def _take(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            connection.settimeout(5)
            body, size = zabbix_frame(connection)
            asked = json.loads(body)
            if asked["request"] == "active checks":
                answer = {"response": "success", "data": self._items()}
            else:
                count = len(asked.get("data", []))
                if count:
                    self.heard.add(1, size, count)
                answer = {"response": "success", "info": f"processed: {count}; failed: 0; total: {count}"}
            said = json.dumps(answer).encode()
            connection.sendall(b"ZBXD\x01" + struct.pack("<II", len(said), 0) + said)

    def _items(self) -> list[dict[str, object]]:
        cards = [name for name in psutil.net_io_counters(pernic=True) if name != "lo"]
        keys = [*ZABBIX_ITEMS.split(), *(key for card in cards for key in ZABBIX_CARD.format(card).split())]
        more = {"delay": f"{max(1, round(self.interval))}", "lastlogsize": 0, "mtime": 0}
        return [{"key": key, "key_orig": key, "itemid": number, **more} for number, key in enumerate(keys, 1)]


def collectd_values(packet: bytes) -> int:
    """How many values it carries. Parts: type, length with this head; type 6 begins with the number of its values."""
    values, at = 0, 0
    while at + 6 <= len(packet):
        kind, length, count = struct.unpack_from(">HHH", packet, at)
        values += count if kind == 6 else 0
        at += max(4, length)
    return values


def zabbix_frame(connection: socket.socket) -> tuple[bytes, int]:
    """What one message says, and its size on the wire. Head: ZBXD, flags of which 2 is zlib, size, reserved."""
    head = _exactly(connection, 13)
    assert head[:4] == b"ZBXD", head
    body = _exactly(connection, struct.unpack_from("<I", head, 5)[0])
    return (zlib.decompress(body) if head[4] & 2 else body), len(head) + len(body)


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise ConnectionResetError("cut short")
        parts += part
    return parts


PEERS: dict[str, type[Peer]] = {
    "node_exporter": NodeExporter,
    "collectd": Collectd,
    "zabbix_agent2": ZabbixAgent2,
    "netdata": Netdata,
}
