"""Inventories, the fleet and configurations by API; a device's page in words."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from api.centres import Office

from schoolpulse_agent.parts import inventory_of
from schoolpulse_agent.wire import Presence as Said
from schoolpulse_api.console import equipment as page
from schoolpulse_collector.registry import equipment
from schoolpulse_collector.registry.model import InventoryChange

PARTS = {
    "system": {"manufacturer": "Dell Inc.", "product": "OptiPlex 3080", "serial": "7XK2P13"},
    "cpu": {"model": "Intel Core i3", "cores": 4},
    "memory": {"total": 16 * 2**30},
    "memory,slot=A1": {"size": 8 * 2**30, "type": "DDR4"},
    "memory,slot=B1": {"size": 8 * 2**30, "type": "DDR4"},
    "disk,serial=X": {"model": "KINGSTON", "size": 240057409536, "rotational": 0},
    "os": {"id": "windows", "version": "10", "release": "22H2", "name": "Windows 10 Pro"},
}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("office"))
    for parts in (PARTS, {key: fields for key, fields in PARTS.items() if key != "memory,slot=B1"}):
        with made.registry.change("system") as change:
            equipment.put(change, "d1", inventory_of(parts))
    made.fleet.said("d1", Said("online", "a", 1, agent="0.1.0"))
    made.fleet._keep()
    yield made
    made.close()


def test_an_inventory_its_support_and_its_changes(office: Office) -> None:
    with office.client(office.token("viewer", school="s1")) as client:
        found = client.get("/api/v1/devices/d1/inventory").json()
        assert found["parts"]["cpu"] == PARTS["cpu"] and found["support"]["ended"] is True
        assert found["support"]["ends"] == "2025-10-14"
        changes = client.get("/api/v1/devices/d1/inventory/changes").json()
        assert [(each["what"], each["part"]) for each in changes["items"]] == [("removed", "memory,slot=B1")]
        assert changes["items"][0]["before"] == PARTS["memory,slot=B1"] and changes["next"] is None
        assert client.get("/api/v1/devices/d2/inventory").status_code == 404
        fleet = client.get("/api/v1/fleet").json()
        assert fleet["agents"] == [{"version": "0.1.0", "devices": 1}] and fleet["systems"][0]["devices"] == 1
        assert client.get("/api/v1/devices").json()["items"][0]["agent"] == "0.1.0"
    with office.client(office.token("viewer", school="s2")) as client:
        assert client.get("/api/v1/devices/d2/inventory").json()["hash"] == ""
        assert client.get("/api/v1/fleet").json() == {"agents": [], "systems": [], "refused": []}


def test_a_configuration_is_wanted_of_a_school_alone_and_a_bad_one_names_the_key(office: Office) -> None:
    with office.client(office.token("area_it", school="s1")) as client:
        bad = client.put("/api/v1/schools/s1/configuration", json={"reports": {"intervall": 1}})
        assert bad.status_code == 400 and "interval" in bad.json()["detail"]
        assert client.put("/api/v1/schools/s1/configuration?room=r2", json={}).status_code == 404
        assert client.put("/api/v1/schools/s1/configuration?room=r1", json={"reports": {"interval": 30}}).is_success
        wanted = client.get("/api/v1/devices/d1/configuration").json()
        assert (wanted["state"], wanted["settings"]) == ("waiting", {"reports": {"interval": 30}})
        assert [row["key"] for row in client.get("/api/v1/configuration").json()] == ["r1"]
        assert client.delete("/api/v1/schools/s1/configuration?room=r1").status_code == 204
        assert client.get("/api/v1/devices/d1/configuration").json()["state"] == "none"
        actions = [each["action"] for each in client.get("/api/v1/audit").json()["items"]]
        assert actions[:2] == ["configuration.clear", "configuration.put"]


def test_the_page_says_it_in_words_in_both_languages() -> None:
    shown = [(label, value) for label, value, _ in page.rows(PARTS, "vi")]
    assert ("Kiểu máy", "Dell Inc. OptiPlex 3080") in shown
    assert ("Bộ nhớ RAM", "16 GB (8 GB DDR4 + 8 GB DDR4)") in shown and ("Ổ đĩa", "KINGSTON · 240 GB · SSD") in shown
    assert [kind for label, _, kind in page.rows(PARTS, "en") if label == "Support of the system"] == ["ended"]
    assert list(page.rows({}, "vi")) == []
    gone = InventoryChange(what="removed", part="memory,slot=B1", field="", after="null")
    gone.before = json.dumps(PARTS["memory,slot=B1"])
    assert page.change_text(gone, "vi") == "Mất: RAM B1 8 GB DDR4"
    grown = InventoryChange(what="changed", part="memory", field="total", before=str(2**33), after=str(2**34))
    assert page.change_text(grown, "en") == "memory · total: 8 GB → 16 GB"
