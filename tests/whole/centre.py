"""``schoolpulse`` with small spool segments and a store that settles soon, so that a short run lets go of many."""

from __future__ import annotations

import sys

from schoolpulse_api.__main__ import main
from schoolpulse_collector import spool
from schoolpulse_collector.stores import victoriametrics

spool.SEGMENT_BYTES = 32 * 1024
victoriametrics.VictoriaMetrics.settling = 15.0  # 12 were enough for VictoriaMetrics 1.79.5 in every trial

if __name__ == "__main__":
    sys.exit(main())
