"""The same work at the same instant, in threads or in processes."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from typing import Any

from schoolpulse_collector.registry import Registry

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["atonce"])


def at_once(count: int, work: Callable[[int], object]) -> list[object]:
    """Results, or errors, of so many threads that start at the same instant."""
    start, results = threading.Barrier(count), list[object]()

    def run(number: int) -> None:
        start.wait()
        try:
            results.append(work(number))
        except Exception as why:
            results.append(why)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def in_processes(count: int, work: Callable[[str, int], object], url: str) -> list[object]:
    """Results, or texts of errors, of so many processes; ``work`` is a function of this module."""
    start, results = _context.Barrier(count), _context.Queue()
    processes = [_context.Process(target=_run, args=(start, results, work, url, n)) for n in range(count)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(10)
    return found


def _run(start: Any, results: Any, work: Callable[[str, int], object], url: str, number: int) -> None:
    start.wait()
    try:
        results.put(work(url, number))
    except Exception as why:
        results.put(repr(why))


def open_registry(url: str, _number: int) -> int:
    """Open a registry; return how many schools it has."""
    registry = Registry(url)
    count = len(registry.schools())
    registry.close()
    return count


def enrol_ten(url: str, number: int) -> int:
    """Enrol ten devices in school s1; return how many."""
    registry = Registry(url)
    for turn in range(10):
        registry.enrol(f"d{number}-{turn}", "s1", "r1", "M", "lab_pc")
    registry.close()
    return 10
