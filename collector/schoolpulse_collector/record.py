"""One accepted report with the tags of the moment it arrived: what the spool keeps and a store writes."""

from __future__ import annotations

import msgspec
import orjson


class Record(msgspec.Struct, frozen=True, gc=False):
    """Everything that is stored of a report; writing it again writes the same."""

    device: str
    epoch: int
    seq: int
    t: int  # UTC milliseconds
    lag: int  # milliseconds from t to arrival
    school: str
    room: str
    kind: str
    m: dict[str, dict[str, float]]  # empty: a report that was refused; it counts as received and is stored nowhere
    low: int = 1  # the lowest seq its sender still held

    @property
    def arrived(self) -> int:
        """UTC milliseconds."""
        return self.t + self.lag


_decoder = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """A record as one line of JSON."""
    return orjson.dumps(msgspec.structs.asdict(record))


def decode(line: bytes) -> Record:
    """The record that ``encode`` wrote. Raises msgspec.DecodeError."""
    try:
        return _decoder.decode(line)
    except UnicodeDecodeError as why:
        raise msgspec.DecodeError(str(why)) from why
