"""The agent as a Windows service: ``schoolpulse-service.exe --config FILE``, started and stopped by Windows alone.

pywin32's service class and not WinSW: the agent hears of the end in its own loop and puts its reports on disk, there is
one process and no wrapper beside it, and no program of others has to be downloaded into the package.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import servicemanager
import win32service
import win32serviceutil

from schoolpulse_agent import agent, settings


class NotEnrolled(Exception):
    """There is no identity to report under yet."""


def report(config: Path, stop: agent.Stop) -> None:
    """Report until stopped, also as another device if the centre says so.

    Raises SettingsError, NotEnrolled and OSError.
    """
    loaded, new = settings.load(config), False
    if not (loaded.device.id and loaded.secret()):
        raise NotEnrolled(f"{config}: this machine is not enrolled: run install.ps1 with a token")
    while not stop.is_set:
        agent.run([agent.build(loaded, new=new)], stop)
        loaded, new = settings.load(config), True


class EventLog(logging.Handler):
    """What the agent logs, in the Event Viewer; so nothing is written to a disk that a school may have frozen."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line, one event."""
        say = servicemanager.LogErrorMsg if record.levelno >= logging.ERROR else servicemanager.LogWarningMsg
        say(self.format(record))


class Service(win32serviceutil.ServiceFramework):
    """What Windows calls; each method's name is Windows' own."""

    _svc_name_ = "SchoolPulseAgent"
    _svc_display_name_ = "SchoolPulse agent"
    config = Path()

    def __init__(self, args: Any) -> None:
        super().__init__(args)
        self._stop = agent.Stop()

    def SvcStop(self) -> None:  # noqa: N802
        """Stop, or shut down with the machine; the loop ends within two seconds."""
        self.ReportServiceStatus(win32service.SERVICE_STOP_PENDING)
        self._stop.set()

    SvcShutdown = SvcStop

    def SvcDoRun(self) -> None:  # noqa: N802
        """Report until stopped. What can't go on is told in the Event Viewer; then Windows starts it again."""
        try:
            report(self.config, self._stop)
        except (settings.SettingsError, NotEnrolled, OSError) as why:
            logging.getLogger("schoolpulse_agent").error("%s", why)
            self.ReportServiceStatus(win32service.SERVICE_STOPPED, win32ExitCode=1066, svcExitCode=2)


def main() -> None:
    """Only Windows starts this."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    Service.config = parser.parse_args().config
    logging.basicConfig(level=logging.WARNING, handlers=[EventLog()])
    servicemanager.Initialize()
    servicemanager.PrepareToHostSingle(Service)
    servicemanager.StartServiceCtrlDispatcher()


if __name__ == "__main__":
    main()
