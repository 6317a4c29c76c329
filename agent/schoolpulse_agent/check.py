"""``schoolpulse-agent check``: every step from the settings to the collector's receipt, as one readable list.

A step returns what it found or raises what is wrong and what to do. One that fails skips those that need it.
"""

from __future__ import annotations

import contextlib
from typing import Callable

from schoolpulse_agent import language
from schoolpulse_agent.checks import Look, here, way
from schoolpulse_agent.language import Told
from schoolpulse_agent.settings import Settings, SettingsError


def run(settings: Settings, spoken: str, say: Callable[[str], None]) -> int:
    """Go through all steps and print a line for each. 0: all fine; 1: one failed; 2: the settings are what is wrong."""
    look, failed, code = Look(settings), dict[str, str](), 0
    english = spoken == "en"
    address = f"{settings.broker.host}:{settings.broker.port}"
    with contextlib.ExitStack() as parts:
        for step in (*here.STEPS, *here.of_probes(settings), *way.steps(parts, address)):
            name = step.name if english else step.vi
            missing = [failed[need] for need in step.needs if need in failed]
            if missing:
                failed[step.name] = missing[0]
                say(f"– {name}: {'not tried, because of' if english else 'chưa thử, vì'} ✗ {missing[0]}")
                continue
            try:
                found = step.do(look)
                say(f"✓ {name}: {found[0] if english else found[1]}")
            except Exception as why:  # of whatever kind: the other steps are to be tried
                failed[step.name] = name
                code = max(code, 2 if isinstance(why, SettingsError) else 1)
                say(f"✗ {name}: {_told(why).said(spoken)}")
    return code


def _told(why: Exception) -> Told:
    if isinstance(why, Told):
        return why
    if isinstance(why, OSError):
        return language.of_file(why)
    return Told(f"{type(why).__name__}: {why}", f"{type(why).__name__}: {why}")
