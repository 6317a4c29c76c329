r"""InfluxDB 1.8, 2.x or 3 over HTTP: written through ``/api/v2/write``, asked in InfluxQL through ``/query``.

A point written twice overwrites itself. Two reports of one device in the same millisecond are one point. A tag's value
can't end in a backslash there: ``C:\`` becomes ``C:``, as Telegraf has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from schoolpulse_agent.wire import group_key
from schoolpulse_collector.influxql import frame, to_influxql
from schoolpulse_collector.lineprotocol import LineWriter
from schoolpulse_collector.linestore import LineStore
from schoolpulse_collector.series import PLACE, Frame, Series
from schoolpulse_collector.store import Last, StoreDown
from schoolpulse_collector.storeserver import Server, address

EXAMPLE = "influxdb://host:8086/schoolpulse?org=hcm&token_file=/etc/schoolpulse/influxdb-token"
RECENT = "35d"  # how far back a start looks for last values


def open_url(url: str, folder: Path) -> InfluxDB:
    """Open ``influxdb://host:8086/bucket?org=name&token_file=path`` or ``influxdb+https://...``.

    The token of an InfluxDB 1.8 is ``user:password``. Raises StoreDown, ValueError for a bad URL.
    """
    parts, asked = urlsplit(url), parse_qs(urlsplit(url).query)
    bucket = parts.path.strip("/")
    server = address(url, EXAMPLE)
    if not bucket or set(asked) - {"org", "token_file"}:
        raise ValueError(f"store {url!r}: write {EXAMPLE}")
    token = ""
    if "token_file" in asked:
        try:
            token = Path(asked["token_file"][0]).read_text(encoding="utf-8").strip()
        except OSError as why:
            raise ValueError(f"store: token_file {asked['token_file'][0]!r}: {why.strerror}") from None
    org = asked.get("org", ["-"])[0]
    return InfluxDB(server, bucket, org, token, folder)


def _backslashes(value: str) -> str:
    """A backslash stands for itself, but at the end it would escape what follows."""
    return value.rstrip("\\")


class InfluxDB(LineStore):
    """A store on a server that syncs its log before it answers."""

    settling = 0.0

    def __init__(self, url: str, bucket: str, org: str, token: str, folder: Path) -> None:
        self._bucket = bucket
        super().__init__(LineWriter(url, bucket, org, token or "-"), folder, _backslashes)
        self._server = Server(url, token)

    def run_id(self) -> str:
        """See ``store.Store``."""
        return ""

    def query(self, series: Series) -> Frame:
        """See ``store.Store``."""
        keys = self._ask(f'SHOW TAG KEYS FROM "{series.measurement}"')
        tags = [row[0] for found in keys["results"][0].get("series", ()) for row in found["values"]]
        if not tags:
            return Frame(series.group_by, [])
        return frame(series, self._ask(to_influxql(series, [tag for tag in tags if tag not in PLACE])))

    def latest(self) -> Iterator[Last]:
        """See ``store.Store``."""
        newest: dict[tuple[str, str], Last] = {}
        rows = self._ask(
            f"SELECT * FROM /.*/ WHERE time > now() - {RECENT} GROUP BY * ORDER BY time DESC LIMIT 1", "ms"
        )
        for found in rows["results"][0].get("series", ()):
            tags = {name: value for name, value in found.get("tags", {}).items() if value}
            if "device" not in tags:  # somebody else's
                continue
            own = {name: value for name, value in tags.items() if name not in ("device", *PLACE)}
            t, *values = found["values"][0]
            fields = {
                name: float(value)
                for name, value in zip(found["columns"][1:], values, strict=True)
                if value is not None
            }
            key = tags["device"], group_key(found["name"], own)
            if key not in newest or newest[key].t < t:  # a device that moved has a series for each room
                newest[key] = Last(*key, t, fields)
        yield from newest.values()

    def _ask(self, statement: str, epoch: str = "s") -> Any:
        found = self._server.ask("/query", {"db": self._bucket, "epoch": epoch, "q": statement})
        error = found.get("error") or next((one["error"] for one in found.get("results", ()) if "error" in one), "")
        if error:
            raise StoreDown(f"{self._server.url}/query answers: {error}")
        return found
