"""Starts the root helper: code of this package alone, whatever version of the agent runs beside it."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

from schoolpulse_agent.smart import main  # noqa: E402 - found by the line above

sys.exit(main())
