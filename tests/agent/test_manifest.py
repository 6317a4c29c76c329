"""The manifest names all that leaves a machine: held to the tables, the messages, and what an agent really sends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fakecentre import FakeCentre
from receipts import Receipts
from running import Mosquitto, Program, wait_until

from schoolpulse_agent import identity, inventory, manifest, paper, probe, remote, settings, wire
from schoolpulse_agent.cycle import Cycle
from schoolpulse_agent.probe import Reading

NAME = "nguyenvana-9q7x"  # of a person; must never be sent
HEADERS = {"Host", "Accept-Encoding", "Content-Length", "Content-Type"}


def names(kind: str) -> set[str]:
    """All fields, or all tags, of the sections on measurements and inventory."""
    return {name for section in manifest.compose(settings.Settings()) for name in getattr(section, kind)}


# The tables


def test_every_probe_and_every_table_of_the_sending_code_has_a_section() -> None:
    sections = {section.id: section for section in manifest.compose(settings.parse({}, "test"))}
    for name in probe.names():
        module = probe.module(name)
        assert set(sections[name].fields) == {".".join(key) for key in module.METRICS}
        assert set(sections[name].tags) == {".".join(key) for key in module.TAGS}
        assert sections[name].why == module.WHY
    assert set(sections["inventory"].fields) == {".".join(key) for key in inventory.FIELDS}
    assert set(sections["agent"].fields) == {".".join(key) for key in probe.OWN_METRICS}


def test_every_field_of_the_messages_is_named() -> None:
    assert set(manifest.PRESENCE) == set(wire.Presence._fields)
    record = wire.encode_report(wire.Report(1, 2, 3.0, {"cpu": {"usage_active": 1.0}}))
    said = wire.load(wire.encode(1, 1, [record]))
    assert set(manifest.FRAME) == {*said, *said["reports"][0]}
    hardware = {f"hardware.{field.name}" for field in fields(identity.Hardware)}
    assert hardware == {name for name in manifest.ENROLMENT if name.startswith("hardware.")}


def test_every_entry_says_in_both_languages_what_it_is_with_an_example() -> None:
    for section in manifest.compose(settings.parse({}, "test")):
        assert all(section.why) and section.why.en != section.why.vi
        for name, entry in (*section.fields.items(), *section.tags.items()):
            assert entry.en and entry.vi and entry.en != entry.vi, name
            assert entry.example or name in ("reports", "m", "parts", "hardware"), name


@pytest.mark.parametrize("name", probe.names())
def test_a_probe_that_yields_what_is_not_listed_sends_nothing_of_it(name: str) -> None:
    (measurement, field), *_ = probe.module(name).METRICS

    class Odd:
        every = 0.0

        def read(self) -> Iterator[Reading]:
            yield Reading(measurement, {}, {field: 1.0, "window_title": 2.0})
            yield Reading(measurement, {"user": NAME}, {field: 1.0})
            yield Reading("browser", {}, {"tabs": 3.0})

    assert set(Cycle({name: Odd()}).read()) == {f"probe,probe={name}"}


def test_an_agent_that_runs_carries_none_of_the_code_for_people() -> None:
    script = "import sys; from schoolpulse_agent import __main__, agent; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60).stdout.split()
    assert "schoolpulse_agent.link" in loaded
    assert not {f"schoolpulse_agent.{name}" for name in ("manifest", "paper", "check", "checks")} & set(loaded)


# The document


@pytest.mark.parametrize("language", ["vi", "en", "both"])
@pytest.mark.parametrize("form", ["text", "html"])
def test_the_document_holds_every_name_what_is_never_sent_and_a_place_to_sign(language: str, form: str) -> None:
    own = settings.parse({"device": {"id": "d01", "school": "thcs-lac-hong"}}, "test")
    said = paper.printed(own, language, form)
    plain = said.replace("<wbr>", "")
    assert all(name in plain for name in names("fields") | names("tags"))
    assert "d01" in said and "thcs-lac-hong" in said and re.search(r"\d\d/\d\d/20\d\d", said)
    for en, vi in (*manifest.NEVER, *paper.SIGNED, paper.TITLE):
        title = str.upper if form == "text" and (en, vi) == paper.TITLE else str
        escaped = title(en).replace("'", "&#x27;") if form == "html" else title(en)
        assert (escaped in said) == (language != "vi") and (title(vi) in said) == (language != "en")


def test_the_html_is_whole_and_asks_for_nothing_from_elsewhere() -> None:
    opened: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "link", "img", "iframe") and not {"src", "href"} & {name for name, _ in attrs}
            if tag not in ("meta", "wbr", "br"):
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    said = paper.printed(settings.parse({}, "test"), "both", "html")
    Reader().feed(said)
    assert opened == [] and "url(" not in said and "@page { size: A4" in said


# What an agent really sends


class Sent:
    """All that a machine in poisoned surroundings sent: to the centre over HTTPS, and to the broker."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder / NAME, folder / NAME / "agent.toml"
        self.environment = dict.fromkeys(("HOSTNAME", "USER", "LOGNAME", "USERNAME", "COMPUTERNAME", "SECRET"), NAME)
        self.environment |= {"HOME": f"/home/{NAME}", "RUNTIME_DIRECTORY": str(folder / NAME / "run")}
        (self.folder / "run").mkdir(parents=True)
        on = "".join(f"[probe.{name}]\nenabled = true\n" for name in probe.names())
        self.config.write_text(f'[reports]\ninterval = 1\nfolder = "{self.folder}/outbox"\n{on}')
        self.document = self.command("data", "--format", "json")
        self.enrol()
        self.report()

    def command(self, *arguments: str) -> str:
        runner = [sys.executable, str(Path(__file__).with_name("poisoned.py")), NAME, "--config", str(self.config)]
        ended = subprocess.run(
            [*runner, *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            cwd=self.folder,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    def enrol(self) -> None:
        centre = FakeCentre()
        centre.broker = "mqtt://127.0.0.1:1"
        self.command("enroll", centre.url, centre.token, "--name", "PC-07", "--certificate")
        centre.tokens.add(centre.token)
        self.command("enroll", centre.url, centre.token, "--force")  # with proof of who it was
        self.asked, self.https = list(centre.asked), centre.received
        centre.close()

    def report(self) -> None:
        own = settings.load(self.config)
        broker = Mosquitto(self.folder / "broker", {own.device.id: own.secret(), "collector": "c"})
        text = self.config.read_text().replace("mqtt://127.0.0.1:1", f"mqtt://127.0.0.1:{broker.port}")
        self.config.write_text(re.sub(r"\[centre\]\nurl = .*\n|ca_file = .*\n", "", text))
        collector = Receipts(broker.port, "c")
        secret = [sys.executable, "-c", "import time; time.sleep(100)", f"--password={NAME}"]
        runner = [sys.executable, str(Path(__file__).with_name("poisoned.py")), NAME, "--config", str(self.config)]
        with subprocess.Popen(secret) as beside:
            service = Program([*runner, "run"], self.folder / "log", **self.environment)
            try:
                wanted = {name for name in own.probes if not getattr(own.probes[name], "elected", False)}
                wait_until(lambda: wanted <= self.spoken(collector.heard), 30, f"a word of {wanted}")
                wait_until(lambda: "inventory" in collector.kinds(), 30, "the inventory")
                refused = remote.Config("0123456789abcdef", {"reports": {"folder": NAME}})
                collector.tell(own.device.id, "config", remote.encode(refused))
                wait_until(lambda: self.presences(collector.heard)[-1].refused, 20, "a configuration is refused")
            finally:
                code = service.stop()
                beside.terminate()
        assert code == 0, service.printed()
        wait_until(lambda: self.presences(collector.heard)[-1].state == "bye", 5, "its goodbye")
        self.mqtt = list(collector.heard)
        collector.close()
        broker.stop()

    @staticmethod
    def presences(heard: list[tuple[str, bytes]]) -> list[wire.Presence]:
        return [wire.decode_presence(body) for topic, body in heard if topic.endswith("/presence")]

    @staticmethod
    def spoken(heard: list[tuple[str, bytes]]) -> set[str]:
        """Probes that have said whether they work."""
        groups = {key for topic, body in heard if topic.endswith("/report") for report in wire.decode(body).reports
                  for key in report.m}  # fmt: skip
        return {key.partition("probe=")[2] for key in groups if key.startswith("probe,")}


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    return Sent(tmp_path_factory.mktemp("sent"))


def said(sent: Sent, kind: str) -> list[Any]:
    return [wire.load(body) for topic, body in sent.mqtt if wire.parse_up(topic)[2] == kind]


def test_an_agent_sends_nothing_that_its_manifest_does_not_name(sent: Sent) -> None:
    sections = {section["id"]: section for section in json.loads(sent.document)["sections"]}
    listed = {kind: {name for each in sections.values() for name in each[kind]} for kind in ("fields", "tags")}
    assert {wire.parse_up(topic)[2] for topic, _ in sent.mqtt} == {"report", "presence", "inventory"}
    for message in said(sent, "report"):
        assert {*message, *(key for each in message["reports"] for key in each)} <= set(sections["report"]["fields"])
    reports = [each["m"] for message in said(sent, "report") for each in message["reports"]]
    inventories = said(sent, "inventory")
    assert all(set(message) <= set(sections["inventory_frame"]["fields"]) for message in inventories)
    assert reports and inventories
    for key, values in (
        pair for groups in [*reports, *(each["parts"] for each in inventories)] for pair in groups.items()
    ):
        measurement, tags = wire.split_group(key)
        assert {f"{measurement}.{field}" for field in values} <= listed["fields"]
        assert {f"{measurement}.{tag}" for tag, _ in tags} <= listed["tags"]
    assert all(set(message) <= set(sections["presence"]["fields"]) for message in said(sent, "presence"))


def test_enrolment_sends_nothing_that_the_manifest_does_not_name(sent: Sent) -> None:
    listed = set(manifest.ENROLMENT)
    assert {path for path, _ in sent.asked} >= {"/api/v1/enrol"}
    for _, message in (pair for pair in sent.asked if pair[1]):
        flat = {*message, *(f"hardware.{name}" for name in message["hardware"])}
        assert flat <= listed
    assert {"previous", "proof"} <= set(sent.asked[-1][1])
    assert {name.decode() for name in re.findall(rb"^([A-Za-z-]+): ", sent.https, re.MULTILINE)} <= HEADERS


def test_no_name_of_a_person_or_machine_leaves_it_in_any_message(sent: Sent) -> None:
    for topic, body in sent.mqtt:
        assert NAME not in topic and NAME not in json.dumps(wire.load(body)), (topic, body)
    assert NAME.encode() not in sent.https
    assert NAME not in sent.document
