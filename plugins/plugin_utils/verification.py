# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The results of checks from all hosts: gathered, judged, and shown three ways."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

# Ansible's own writer of JUnit files: it is where Ansible is, which a package from PyPI is not.
from ansible.utils._junit_xml import TestCase, TestFailure, TestSuite, TestSuites
from ansible_collections.bss.platform.plugins.module_utils.checks import (
    FAILED,
    OK,
    STANDIN,
    Result,
    one_line,
)

SHOWN = {OK: "ok", FAILED: "FAILED", STANDIN: "STAND-IN"}


@dataclass(frozen=True)
class Verification:
    """All results of one run."""

    name: str
    results: tuple[Result, ...]

    @property
    def counts(self) -> dict[str, int]:
        return {
            state: sum(result.state == state for result in self.results)
            for state in (OK, FAILED, STANDIN)
        }

    @property
    def failures(self) -> list[Result]:
        return [result for result in self.results if result.state == FAILED]

    @property
    def fault(self) -> str | None:
        """Why the run as a whole failed; None when it did not."""
        counts = self.counts
        if counts[FAILED]:
            return f"{counts[FAILED]} of {len(self.results)} checks failed"
        if not counts[OK]:
            return "No check ran, so nothing is proven"
        return None

    @property
    def sentence(self) -> str:
        counts = self.counts
        return (
            f"{counts[OK]} checks passed, {counts[FAILED]} failed, "
            f"{counts[STANDIN]} not proven by a stand-in"
        )


def gather(
    name: str, suites: Mapping[str, Sequence[str]], registered: Mapping[str, Mapping[str, Any]]
) -> Verification:
    """Put together what the hosts of each suite registered.

    ``suites``: hosts by name of the registered variable. ``registered``: variables
    by host. A host without results is a failed check of that host.
    """
    results: list[Result] = []
    for suite, hosts in suites.items():
        for host in hosts:
            answer = registered[host].get(suite, {})
            found = answer.get("results", [])
            results += [Result(**{**result, "host": host}) for result in found]
            if not found:
                results.append(_absent(suite, host, answer))
    return Verification(name, tuple(results))


def _absent(suite: str, host: str, answer: Mapping[str, Any]) -> Result:
    message = answer.get("msg") or "its checks did not run"
    reached = "the host was not reached: " if answer.get("unreachable") else ""
    detail = one_line(f"{reached}{message}")
    return Result(f"{suite}_ran", "The host's checks ran", FAILED, detail, 0.0, host)


def as_table(verification: Verification) -> str:
    """One line a check, then each failure with what was wrong."""
    by_name: dict[str, list[Result]] = {}
    for result in verification.results:
        by_name.setdefault(result.name, []).append(result)
    rows = [("RESULT", "HOSTS", "CHECK", "SECONDS", "WHAT IT PROVES")]
    for name, results in by_name.items():
        states = [result.state for result in results]
        worst = next(state for state in (FAILED, STANDIN, OK) if state in states)
        good = f"{states.count(OK)}/{len(states)}"
        slowest = max(result.seconds for result in results)
        rows.append((SHOWN[worst], good, name, f"{slowest:.2f}", results[0].proves))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:<{widths[2]}}  "
        f"{row[3]:>{widths[3]}}  {row[4]}"
        for row in rows
    ]
    lines += [""] if verification.failures else []
    lines += [
        f"FAILED  {result.host}  {result.name}: {result.detail}" for result in verification.failures
    ]
    return "\n".join(lines)


def standin_warning(verification: Verification) -> str | None:
    """What must be said when checks were left out for a stand-in; else None."""
    names = sorted({result.name for result in verification.results if result.state == STANDIN})
    if not names:
        return None
    return (
        "A test stand-in is installed in place of a service, so these checks were not run and "
        f"prove nothing: {', '.join(names)}. It must not hold data that matters."
    )


def as_json(verification: Verification, finished: datetime) -> str:
    document = {
        "name": verification.name,
        "finished": finished.isoformat(timespec="seconds"),
        "passed": verification.fault is None,
        "fault": verification.fault,
        "warning": standin_warning(verification),
        "counts": verification.counts,
        "results": [asdict(result) for result in verification.results],
    }
    return json.dumps(document, indent=2) + "\n"


def as_junit(verification: Verification, finished: datetime) -> str:
    """JUnit XML: a suite a host. What a stand-in does not prove is skipped.

    A run without any check is one failed case, since an empty file reads as green.
    """
    hosts: dict[str, list[TestCase]] = {}
    for result in verification.results:
        hosts.setdefault(result.host, []).append(_case(verification.name, result))
    suites = [
        TestSuite(
            name=f"{verification.name}.{host}",
            hostname=host,
            timestamp=finished,
            cases=cases,
        )
        for host, cases in (hosts or {"": [_nothing_ran()]}).items()
    ]
    return str(TestSuites(name=verification.name, suites=suites).to_pretty_xml())


def _case(name: str, result: Result) -> TestCase:
    case = TestCase(
        name=result.name,
        classname=f"{name}.{result.host}",
        time=Decimal(str(result.seconds)),
        system_out=f"{result.proves}: {result.detail}",
    )
    if result.state == FAILED:
        case.failures.append(TestFailure(message=result.detail, output=result.proves))
    if result.state == STANDIN:
        case.skipped = result.detail
    return case


def _nothing_ran() -> TestCase:
    return TestCase(name="any_check_ran", failures=[TestFailure(message="No check ran")])
