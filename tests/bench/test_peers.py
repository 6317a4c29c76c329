"""What other agents say is counted as they mean it, and one that is not there is said to be missing."""

from __future__ import annotations

import socket
import struct
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent))
import peers


def test_a_packet_of_collectd_has_the_values_of_all_its_value_parts() -> None:
    host = struct.pack(">HH", 0, 9) + b"peer\0"
    three = struct.pack(">HHH", 6, 6 + 3 * 9, 3) + bytes(3 * 9)
    one = struct.pack(">HHH", 6, 6 + 9, 1) + bytes(9)
    assert peers.collectd_values(host + three + host + one) == 4


@given(st.binary(max_size=200))
def test_any_packet_is_read_to_its_end(packet: bytes) -> None:
    assert peers.collectd_values(packet) >= 0


@pytest.mark.parametrize(("flags", "pack"), [(1, bytes), (3, zlib.compress)])
def test_a_message_of_zabbix_is_read_packed_or_not(flags: int, pack: type[bytes]) -> None:
    sent = pack(b'{"request":"agent data"}')
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"ZBXD" + struct.pack("<BII", flags, len(sent), 0) + sent)
        assert peers.zabbix_frame(ours) == (b'{"request":"agent data"}', 13 + len(sent))


def test_one_that_is_not_installed_says_how_to_install_it(tmp_path: Path) -> None:
    class Absent(peers.Peer):
        package, program = "absent-agent", "schoolpulse-no-such-program"

    with pytest.raises(LookupError, match="apt-get install --no-install-recommends absent-agent"):
        Absent(tmp_path / "own", tmp_path / "memory", 1.0)
