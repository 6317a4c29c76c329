"""Ends a client's connection at a broker that can't be asked to: whoever connects with its client id takes its place.

MQTT 3.1.4: the server must disconnect the client that had it before. Plain MQTT, so good for any broker with mTLS.
"""

from __future__ import annotations

import ssl
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from schoolpulse_collector.authority import Authority
from schoolpulse_collector.broker import BrokerDown

SECONDS = 300  # how long the certificate of a stand-in is good
PATIENCE = 5.0  # seconds a broker has to answer
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104


def take_over(authority: Authority, host: str, port: int, devices: Sequence[str]) -> None:
    """Connect as each of these devices and leave: who was connected so is no more. 8 ms each. Raises BrokerDown."""
    for device in devices:
        try:
            _stand_in(_context(authority, device), _ANYWHERE.get(host, host), port, device)
        except OSError as why:  # ssl.SSLError is one
            raise BrokerDown(f"the broker at {host}:{port} does not let the centre end connections: {why}") from why


def _context(authority: Authority, device: str) -> ssl.SSLContext:
    made = ssl.create_default_context(cadata=authority.ca_pem)
    made.check_hostname = False  # only the centre's own servers have a server's certificate of this CA
    certificate, key = authority.client_certificate(device, SECONDS)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:  # readable by its owner only
        file.write(certificate + key)
        file.flush()
        made.load_cert_chain(Path(file.name))
    return made


def _stand_in(context: ssl.SSLContext, host: str, port: int, device: str) -> None:
    answers: list[ReasonCode] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=device, clean_session=True, protocol=mqtt.MQTTv311)
    client.connect_timeout = PATIENCE
    client.tls_set_context(context)
    client.tls_insecure_set(True)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.append(reason)
    client.connect(host, port, keepalive=int(PATIENCE))  # also how long the handshake may take
    end = time.monotonic() + PATIENCE
    while not answers and time.monotonic() < end:
        if client.loop(0.1) != mqtt.MQTT_ERR_SUCCESS:
            break
    client.disconnect()
    if not answers or answers[0].is_failure:
        raise ConnectionRefusedError(f"no place for {device}: {answers[0] if answers else 'no answer'}")
