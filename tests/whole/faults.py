"""Breaks the running product in every way we know and counts what is lost and what is stored twice.

Forty senders of the agent's own Outbox and Link make 400 reports a second through a proxy and a real mosquitto into
``schoolpulse up`` with a real store. Each row of the table is one fault on one store, struck at seeded random instants;
afterwards the senders are let come to rest, and a ledger that the product knows nothing of is compared with the store,
report by report and by value. ``make faults`` prints the table; ``faults.py --strikes 2 --row "network cut"`` a part.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
from city import City, Row
from faultlist import FAULTS, MONKEY
from storeservers import STORES

COLUMNS = (("sent", 8), ("stored", 8), ("lost", 6), ("twice", 7), ("wrong", 7), ("dead", 6), ("counted", 9), ("s", 6))


def strike(name: str, store: str, strikes: int, seed: int) -> Row:
    """Run one row; its files are kept only if it failed."""
    fault = FAULTS.get(name, MONKEY)
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    row = Row(name, store)
    city = None
    try:
        city = City(folder, store, f"{seed} {name} {store}", **fault.city)
        fault.strike(city, strikes)
        row.seconds = city.rest()
        city.compare(row)
        row.faults += fault.check(city, row)
        print("".join(f"    {note}\n" for note in city.notes), end="")
    except Exception as why:
        traceback.print_exc()
        row.faults.append(f"{type(why).__name__}: {str(why)[:300]}")
    finally:
        if city:
            city.close()
    if row.sent < 300:
        row.faults.append("too few reports to tell")
    if row.lost or row.twice or row.wrong or row.faults:
        print(f"the files are in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return row


def wanted(rows: list[str], stores: list[str]) -> list[tuple[str, str]]:
    """Which faults on which stores."""
    table = [(name, store) for name, fault in FAULTS.items() for store in fault.stores]
    return [(name, store) for name, store in table if (not rows or name in rows) and (not stores or store in stores)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(FAULTS)
    parser.add_argument("--row", action="append", default=[], metavar="FAULT", help=f"only this one of: {names}")
    parser.add_argument("--store", action="append", default=[], choices=STORES, help="only on this store")
    parser.add_argument("--strikes", type=int, default=10, help="how often each fault strikes (default 10)")
    parser.add_argument("--seed", type=int, default=1, help="decides the instants")
    parser.add_argument("--monkey", type=float, metavar="MINUTES", help="any fault at any time, for so long, no table")
    args = parser.parse_args()
    if unknown := [name for name in args.row if name not in FAULTS]:
        parser.error(f"no such row: {', '.join(unknown)}")
    table = wanted(args.row, args.store)
    strikes = args.strikes
    if args.monkey:
        table, strikes = [("monkey", store) for store in args.store or STORES], int(args.monkey * 60)
    print(f"{'fault':38}{'store':16}" + "".join(f"{name:>{width}}" for name, width in COLUMNS), flush=True)
    lost = twice = bad = 0
    for name, store in table:
        row = strike(name, store, strikes, args.seed)
        values = (row.sent, row.stored, row.lost, row.twice, row.wrong, row.dead, row.counted, round(row.seconds, 1))
        cells = "".join(f"{value:>{width}}" for value, (_, width) in zip(values, COLUMNS, strict=True))
        print(f"{name:38}{store:16}{cells}", flush=True)
        for said in row.faults:
            print(f"    not as it should be: {said}", flush=True)
        lost, twice, bad = lost + row.lost, twice + row.twice, bad + row.wrong + len(row.faults)
    print(f"faults: {len(table)} rows, {lost} lost, {twice} twice" + (f", {bad} otherwise wrong" if bad else ""))
    return 1 if lost or twice or bad or not table else 0


if __name__ == "__main__":
    sys.exit(main())
