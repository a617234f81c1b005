# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What loki_verify makes of a host that sends, and of what answers at Loki's port."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.bss.platform.plugins.module_utils.checks import CheckFailed, run_checks
from ansible_collections.bss.platform.plugins.module_utils.tls import Answer
from ansible_collections.bss.platform.plugins.modules import loki_verify


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """State and detail of each check of a host, and what Loki was asked."""

    def run(
        host: str = "us-k1",
        arrives_after: int | None = 2,
        ready: int = 200,
        dead: str = "",
        taken: tuple[str, ...] = (),
        check_mode: bool = False,
    ) -> tuple[dict[str, tuple[str, str]], list[dict[str, list[str]]]]:
        written: list[str] = []
        asked: list[dict[str, list[str]]] = []
        now = [1000.0]

        def require_active(unit: str) -> None:
            if unit == dead:
                raise CheckFailed(f"the unit {unit} is failed")

        def get(url: str, _context: object) -> Answer:
            parts = urlsplit(url)
            assert (parts.scheme, parts.netloc) == ("https", "us-m1:3100")
            if parts.path == "/ready":
                return Answer(ready, "Ingester not ready", 90.0)
            assert parts.path == "/loki/api/v1/query_range"
            assert written, "Loki was asked before the line was written"
            asked.append(parse_qs(parts.query))
            there = arrives_after is not None and len(asked) > arrives_after
            return Answer(200, json.dumps({"data": {"result": [{}] if there else []}}), 90.0)

        def sleep(seconds: float) -> None:
            now[0] += seconds

        tls = loki_verify.tls
        monkeypatch.setattr(loki_verify, "require_active", require_active)
        monkeypatch.setattr(loki_verify, "_write", written.append)
        monkeypatch.setattr(loki_verify.time, "sleep", sleep)
        monkeypatch.setattr(loki_verify.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(tls, "client_context", lambda _options: None)
        monkeypatch.setattr(tls, "get", get)
        monkeypatch.setattr(tls, "strangers_taken", lambda *_arguments: list(taken))
        monkeypatch.setattr(tls, "require_days", lambda days, _context, _wanted: f"{days} left")
        options = {
            "host": host,
            "region": "us-east",
            "loki_host": "us-m1",
            "port": 3100,
            "unit": "loki",
            "sender": "syslog-ng",
            "arrives_within": 30,
            "certificate_days": 14,
        }
        results = run_checks(loki_verify.checks(options, check_mode))
        assert all(written[0] in each["query"][0] for each in asked)
        return {each.name: (each.state, each.detail) for each in results}, asked

    return run


def test_a_line_of_the_host_is_looked_for_by_its_labels(found) -> None:
    results, asked = found()
    assert results == {
        "log_sender_runs": ("ok", "syslog-ng is active"),
        "log_line_arrives": ("ok", "found at us-m1:3100 after 1.0 s"),
    }
    (query,) = asked[0]["query"]
    assert query.startswith('{region="us-east", host="us-k1"} |= "bss_verify ')


def test_a_line_that_does_not_come(found) -> None:
    results, _asked = found(arrives_after=None)
    state, detail = results["log_line_arrives"]
    assert state == "failed"
    assert "was not at us-m1:3100 after 30 s" in detail and "journalctl -u syslog-ng" in detail


def test_a_sender_that_does_not_run(found) -> None:
    results, _asked = found(dead="syslog-ng", arrives_after=None)
    assert results["log_sender_runs"] == ("failed", "the unit syslog-ng is failed")


def test_a_check_writes_no_line(found) -> None:
    results, asked = found(check_mode=True)
    assert list(results) == ["log_sender_runs"] and asked == []


def test_loki_is_looked_at_on_its_own_host(found) -> None:
    results, _asked = found(host="us-m1")
    assert [state for state, _detail in results.values()] == ["ok"] * 5
    assert list(results)[2:] == ["loki_serves", "loki_refuses_strangers", "loki_certificate"]


def test_a_loki_that_is_not_ready_or_takes_everybody(found) -> None:
    results, _asked = found(host="us-m1", ready=503, taken=("us-m1:3100 takes a client",))
    assert results["loki_serves"] == (
        "failed",
        "https://us-m1:3100/ready answers 503: Ingester not ready",
    )
    assert results["loki_refuses_strangers"] == ("failed", "us-m1:3100 takes a client")
    results, _asked = found(host="us-m1", dead="loki")
    assert results["loki_serves"] == ("failed", "the unit loki is failed")
