"""How nats-server is to run as SchoolPulse's broker: its configuration, and the keys by which it knows us.

nats-server 2.10 or newer, for its auth callout; tested with 2.15.1. No secret stands in the configuration: our own
users are public keys there, and everybody else, the collector too, is decided by ``brokers/nats.py``.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

import nkeys  # type: ignore[import-untyped]

from schoolpulse_agent.wire import MAX_BYTES
from schoolpulse_collector import files

PORTS = "listeners.json"
_CONFIG = """# Made by SchoolPulse; made anew at each start of the centre.
server_name: {name}
listen: "127.0.0.1:{port}"  # the collector's own way in; devices have MQTT only
max_payload: {max_payload}
max_connections: 200000
mqtt {{
  listen: "{mqtt}"
  tls {{ cert_file: {certificate}, key_file: {key}, min_version: "1.2", timeout: 20 }}
  ack_wait: "10s"  # so long a restarted collector waits for what it had not acknowledged
  max_ack_pending: 200  # messages of the largest size that still fit into max_pending (64 MB); past it a reader is cut
  reject_qos2_publish: true
}}
jetstream {{ store_dir: {store}, max_file_store: 1GB, max_memory_store: 64MB }}
system_account: SYS
accounts {{
  DEV: {{ jetstream: enabled, users: [ {{ nkey: {streams}, allowed_connection_types: ["STANDARD"], permissions: {{
    publish: ["$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*"], subscribe: ["_INBOX.>"] }} }} ] }}
  SYS: {{ users: [ {{ nkey: {callout}, allowed_connection_types: ["STANDARD"], permissions: {{
    publish: ["$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.*.KICK"],
    subscribe: ["$SYS.REQ.USER.AUTH", "_INBOX.>"], allow_responses: true }} }} ] }}
}}
authorization {{
  timeout: 5  # seconds; so long a device waits that comes in while no collector answers
  auth_callout {{ issuer: {issuer}, account: SYS, auth_users: [{callout}, {streams}] }}
}}
"""


def server_config(
    folder: Path, certificate: Path, key: Path, mqtt: str = "0.0.0.0:8883", port: int = 4222, name: str = "schoolpulse"
) -> Path:
    """Write nats-server's configuration, ``nats.conf``, and the keys that it names; return its path.

    ``certificate``, ``key``: PEM files of the MQTT listener. ``mqtt``: where devices come in. ``port``: NATS's own, on
    127.0.0.1 only. Keys and the collector's password are kept when they are there. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {
        "issuer": nkeys.PREFIX_BYTE_ACCOUNT,
        "callout": nkeys.PREFIX_BYTE_USER,
        "streams": nkeys.PREFIX_BYTE_USER,
    }
    public = {}
    for who, prefix in kinds.items():
        seed = _keep(folder / f"{who}.nk", nkeys.encode_seed(secrets.token_bytes(32), prefix))
        public[who] = nkeys.from_seed(bytearray(seed)).public_key.decode()
    files.write(folder / PORTS, json.dumps({"mqtt": int(mqtt.rpartition(":")[2]), "nats": port}))
    _keep(folder / "collector.password", secrets.token_urlsafe(32).encode())
    named = {"certificate": certificate, "key": key, "store": folder / "jetstream"}
    quoted = {what: json.dumps(str(path.resolve())) for what, path in named.items()}
    text = _CONFIG.format(name=name, port=port, mqtt=mqtt, max_payload=2 * MAX_BYTES, **quoted, **public)
    written = folder / "nats.conf"
    if not written.exists() or written.read_text() != text:
        draft = written.with_suffix(".new")
        draft.write_text(text)
        draft.replace(written)
    return written


def _keep(path: Path, new: bytes) -> bytes:
    """The secret in this file, which only its owner can read; this new one if there is none yet."""
    if not path.exists():
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(new)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    return path.read_bytes()
