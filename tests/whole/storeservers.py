"""The stores that faults are run on: how each is started, killed, meddled with, and read without the product's help."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path

import duckdb
import httpx
from running import InfluxDB, Program, VictoriaMetrics, free_port
from storeproxy import StoreProxy

Report = tuple[str, int, int, int]  # device, epoch, seq, t
Samples = list[tuple[str, int, float]]  # device, t, cpu usage_active; as often as they are stored


class DuckDBFile:
    """The embedded store: it lives and dies with the centre."""

    program: Program | None = None
    proxy: StoreProxy | None = None
    poison = ("mem,used_percent=x", "y")  # a tag that has a known field's name can't be stored

    def __init__(self, folder: Path) -> None:
        self._path = folder / "home" / "samples.duckdb"
        self.url = f"duckdb://{self._path}"

    def read(self) -> tuple[list[Report], Samples]:
        with duckdb.connect(str(self._path), read_only=True) as store:
            files = store.execute("select measurement, file from closed").fetchall()

            def rows(measurement: str, columns: str) -> list[tuple]:
                found = store.execute(f"select {columns} from m.{measurement}").fetchall()
                for name, file in files:
                    if name == measurement:
                        path = self._path.with_suffix(".days") / file
                        found += store.execute(f"select {columns} from '{path}'").fetchall()
                return found

            reports = rows("report", "device, epoch::bigint, seq::bigint, t")
            return reports, rows("cpu", "device, t, usage_active")


class VictoriaMetricsServer:
    """A real VictoriaMetrics behind a proxy."""

    poison = ("odd", "y")

    def __init__(self, folder: Path) -> None:
        self.program = VictoriaMetrics(folder / "victoriametrics")
        self.proxy = StoreProxy(free_port(), self.program.port)
        self.proxy.poison = b"odd,"
        self.url = f"victoriametrics://127.0.0.1:{self.proxy.port}"

    def read(self) -> tuple[list[Report], Samples]:
        """As the server counts: with its own deduplication of equal times."""
        address = f"http://127.0.0.1:{self.program.port}"
        httpx.get(f"{address}/internal/force_flush", timeout=30).raise_for_status()
        wanted = '{__name__=~"report_(epoch|seq)|cpu_usage_active"}'
        found: dict[str, Samples] = defaultdict(list)
        answer = httpx.get(f"{address}/api/v1/export", params={"match[]": wanted, "start": 0}, timeout=120)
        for line in answer.raise_for_status().text.splitlines():
            series = json.loads(line)
            name, device = series["metric"]["__name__"], series["metric"]["device"]
            found[name] += [(device, t, v) for t, v in zip(series["timestamps"], series["values"], strict=True)]
        epochs = {(device, t): int(epoch) for device, t, epoch in found["report_epoch"]}
        reports = [(device, epochs[device, t], int(seq), t) for device, t, seq in found["report_seq"]]
        return reports, found["cpu_usage_active"]


class InfluxDBServer:
    """A real InfluxDB behind a proxy that gives it the newer write path."""

    poison = ("odd", "y")

    def __init__(self, folder: Path) -> None:
        self.program = InfluxDB(folder / "influxdb")
        self.proxy = StoreProxy(free_port(), self.program.port)
        self.url = f"influxdb://127.0.0.1:{self.proxy.port}/schoolpulse"
        text = f'odd y="text" {int(time.time() * 1000)}'
        first = httpx.post(f"{self.proxy.url}/api/v2/write?bucket=schoolpulse&precision=ms", content=text)
        first.raise_for_status()  # from now on a number there is refused, by the server itself

    def read(self) -> tuple[list[Report], Samples]:
        statement = "select epoch, seq from report group by device; select usage_active from cpu group by device"
        query = {"db": "schoolpulse", "epoch": "ms", "q": statement}
        answer = httpx.get(f"http://127.0.0.1:{self.program.port}/query", params=query, timeout=120).raise_for_status()
        reports, cpu = (result.get("series", []) for result in answer.json()["results"])
        found = [
            (series["tags"]["device"], int(epoch), int(seq), t)
            for series in reports
            for t, epoch, seq in series["values"]
        ]
        return found, [(series["tags"]["device"], t, value) for series in cpu for t, value in series["values"]]


STORES = {"duckdb": DuckDBFile, "victoriametrics": VictoriaMetricsServer, "influxdb": InfluxDBServer}
