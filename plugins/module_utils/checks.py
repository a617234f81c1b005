# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The form that every check of a running service shares.

A check has a name, says what it proves, and looks by itself: one that fails does
not stop the next. A module of checks returns their results as data and succeeds;
only the report (``verify_report``), which sees all hosts, judges.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

OK = "ok"
FAILED = "failed"
STANDIN = "standin"


class CheckFailed(PlatformError):
    """What a check proves is not so; the text says what was found, and what to do."""


@dataclass(frozen=True)
class Check:
    """One thing that must hold, and how to find out."""

    name: str
    """In snake case, unique among all checks; reports are compared by it."""
    proves: str
    """What holds when it passes, as a sentence."""
    probe: Callable[[], str]
    """Looks, and returns what it saw. Raises CheckFailed, or whatever broke on the way."""
    needs_real_service: bool = False
    """Whether a test stand-in for the service could pass without anything being proven."""


@dataclass(frozen=True)
class Result:
    """What one check found on one host."""

    name: str
    proves: str
    state: str
    """``ok``, ``failed``, or ``standin``: not run, because a stand-in proves nothing."""
    detail: str
    """What was seen when it passed, what was wrong when it did not."""
    seconds: float
    host: str = ""
    """Inventory name of the host that looked; the report fills it in."""


def conclude(faults: Sequence[str], seen: str) -> str:
    """End a probe: raise CheckFailed with every fault, or return what was seen."""
    if faults:
        raise CheckFailed("; ".join(faults))
    return seen


@contextmanager
def termination_raises() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the stack, so that what a probe made is removed."""

    def stop(number: int, _frame: object) -> NoReturn:
        raise SystemExit(f"stopped by signal {number}")

    signals = (signal.SIGTERM, signal.SIGHUP)
    former = [signal.signal(number, stop) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, former, strict=True):
            signal.signal(number, handler)


def run_checks(checks: Iterable[Check], standin: bool = False) -> list[Result]:
    """Run all checks in order; none stops another, whatever it raises.

    ``standin``: the service is a test stand-in, so checks that need the real one
    are reported as such instead of being run.
    """
    return [_run(check, standin) for check in checks]


def passed(results: Iterable[Result]) -> bool:
    """Whether no result is a failure."""
    return all(result.state != FAILED for result in results)


def as_returned(results: Sequence[Result]) -> dict[str, Any]:
    """What a module of checks returns: ``passed`` and ``results``."""
    return {
        "passed": passed(results),
        "results": [asdict(result) for result in results],
    }


def one_line(text: str) -> str:
    """A text as tables and XML take it: no line ends, no control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _run(check: Check, standin: bool) -> Result:
    if standin and check.needs_real_service:
        detail = "not proven: a test stand-in is installed in place of the service"
        return Result(check.name, check.proves, STANDIN, detail, 0.0)
    started = time.monotonic()
    try:
        state, detail = OK, check.probe()
    except PlatformError as error:
        state, detail = FAILED, str(error)
    except Exception as error:  # a probe that breaks has not proven anything
        state, detail = FAILED, f"{type(error).__name__}: {error}"
    seconds = round(time.monotonic() - started, 3)
    return Result(check.name, check.proves, state, one_line(detail), seconds)
