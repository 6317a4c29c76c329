"""What an enrolment leaves on disk: the settings file, and beside it secret, CA, certificate and key.

The settings file names the others and is renamed into its place last. An identity with another device id comes in files
of its own names, so that this one rename is the instant at which the machine changes: a power cut finds either.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path

from schoolpulse_agent import enroll, settings

Sections = dict[str, dict[str, str]]
_HEADER = re.compile(r"\s*\[\s*([a-z]+)\s*\]\s*(#.*)?", re.ASCII).fullmatch


def prepare(config: Path) -> settings.Settings:
    """The settings as they are, once it is sure that new ones can be written. Raises SettingsError and OSError."""
    config = config.resolve()
    config.parent.mkdir(parents=True, exist_ok=True)
    found = settings.load(config) if config.exists() else settings.Settings()
    nobody = enroll.Answer("d", "s", "s", None, "", "mqtts://host", "", None)
    edited(_text(config), _sections(config, nobody, "https://host", ""), str(config))
    trial = config.with_name("trial")
    put(trial, "x" * 16_384)
    trial.unlink()
    return found


def take_over(config: Path, answer: enroll.Answer, centre: str, request: enroll.Request | None) -> list[Path]:
    """Become what the centre answered; return the files written. Other sections of an existing file stay as they are.

    Raises SettingsError and OSError; if the device id is another one, the machine is then still what it was.
    """
    config = config.resolve()
    old = settings.load(config) if config.exists() else settings.Settings()
    mark = _mark(old, answer.device)
    sections = _sections(config, answer, centre, mark)
    text = edited(_text(config), sections, str(config))
    files = {config.with_name(f"secret{mark}"): answer.secret + "\n", config.with_name("ca.pem"): answer.ca}
    if answer.certificate and request:
        files[config.with_name(f"device{mark}.key")] = request.key
        files[config.with_name(f"device{mark}.pem")] = answer.certificate
    for path, said in files.items():
        put(path, said, 0o644 if path.suffix == ".pem" else 0o600)
    put(config, text, config.stat().st_mode & 0o777 if config.exists() else 0o644)
    for name in (old.device.secret_file, old.broker.certificate_file, old.broker.key_file):
        path = Path(name)
        if path.parent == config.parent and path not in files and re.match(r"secret\b|device\b", path.name):
            with contextlib.suppress(OSError):
                path.unlink()
    return [config, *files]


def put(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file as a whole or not at all, durable when it returns; root leaves it to the folder's owner."""
    fresh = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    fd = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        with os.fdopen(fd, "w", encoding="utf-8", newline="") as file:
            if os.name == "posix":
                os.fchmod(fd, mode)
                if os.geteuid() == 0:  # the agent, which must read and renew it, may run as another user
                    folder = path.parent.stat()
                    os.fchown(fd, folder.st_uid, folder.st_gid)
            file.write(text)
            file.flush()
            os.fsync(fd)
        fresh.replace(path)
    except BaseException as why:
        with contextlib.suppress(OSError):
            fresh.unlink()
        if isinstance(why, OSError) and not why.filename:  # as of a full disk: so that it can be named
            why.filename = str(path)
        raise
    if os.name == "posix":
        folder_fd = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder_fd)
        finally:
            os.close(folder_fd)


def edited(text: str, sections: Sections, where: str) -> str:
    """A settings file's text with these sections replaced or added and the others untouched. Raises SettingsError."""
    before, after = _around(text, sections)
    blocks = ["\n".join([f"[{name}]", *map(_line, table.items())]) for name, table in sections.items()]
    made = "\n".join(part.strip("\n") + "\n" for part in (before, *blocks, after) if part.strip())
    if not _is_edit(text, made, sections):
        names = f"[{'], ['.join(sections)}]"
        raise settings.SettingsError(
            f"{where}: its sections can't be replaced by themselves: remove {names} and try again",
            f"{where}: không thay riêng từng mục được: xóa {names} rồi thử lại",
        )
    return made


def _around(text: str, sections: Sections) -> tuple[str, str]:
    """What stands before the first of these sections and what after it, without all of them."""
    kept: list[str] = []
    loose: list[str] = []  # comments at a section's end may belong to the next one
    at, inside = None, False
    for line in text.split("\n"):
        if line.lstrip().startswith("["):
            header = _HEADER(line)
            inside = header is not None and header[1] in sections
            kept += loose
            loose = []
            at = len(kept) if inside and at is None else at
        if not inside:
            kept.append(line)
        elif line.strip() and not line.lstrip().startswith("#"):
            loose = []
        else:
            loose.append(line)
    kept += loose
    return "\n".join(kept[:at]), "\n".join(kept[at:]) if at is not None else ""


def _line(setting: tuple[str, str]) -> str:
    return f"{setting[0]} = {json.dumps(setting[1], ensure_ascii=False)}"


def _is_edit(text: str, made: str, sections: Sections) -> bool:
    from schoolpulse_agent import toml

    try:
        old, new = toml.loads(text), toml.loads(made)
    except toml.TOMLDecodeError:
        return False
    return bool(new == {**old, **sections})


def _text(config: Path) -> str:
    return config.read_text(encoding="utf-8-sig") if config.exists() else ""


def _mark(old: settings.Settings, device: str) -> str:
    """What stands in the names of an identity's files: nothing for a machine's first one."""
    own = f"-{device}"
    return own if old.device.secret_file.endswith(f"secret{own}") or old.device.id not in ("", device) else ""


def _sections(config: Path, answer: enroll.Answer, centre: str, mark: str) -> Sections:
    broker = {"url": answer.broker, "ca_file": str(config.with_name("ca.pem"))}
    if answer.certificate:
        broker["certificate_file"] = str(config.with_name(f"device{mark}.pem"))
        broker["key_file"] = str(config.with_name(f"device{mark}.key"))
    secret_file = str(config.with_name(f"secret{mark}"))
    return {
        "device": {"id": answer.device, "school": answer.school, "secret_file": secret_file},
        "broker": broker,
        "centre": {"url": centre},
    }
