# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What exporter_verify makes of what answers at the exporters' ports."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils.checks import CheckFailed, run_checks
from ansible_collections.bss.platform.plugins.module_utils.tls import Answer
from ansible_collections.bss.platform.plugins.modules import exporter_verify

METRICS = "# HELP up\n# TYPE up gauge\nup 1\n"


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """State and detail of each check, of ports that answer so."""

    def require_active(unit: str) -> None:
        if unit == "dead":
            raise CheckFailed("the unit dead is failed")

    tls = exporter_verify.tls
    monkeypatch.setattr(exporter_verify, "require_active", require_active)
    monkeypatch.setattr(tls, "client_context", lambda _options: None)
    monkeypatch.setattr(tls, "require_days", lambda days, _context, _wanted: f"{days} left")

    def run(
        answers: dict[int, Answer | Exception],
        unit: str = "node",
        takes: tuple[int, ...] = (),
    ) -> dict[str, tuple[str, str]]:
        def get(url: str, _context: object) -> Answer:
            answer = answers[int(url.removesuffix("/metrics").rpartition(":")[2])]
            if isinstance(answer, Exception):
                raise answer
            return answer

        def strangers_taken(host: str, port: int, _options: object) -> list[str]:
            return [f"{host}:{port} takes a client without certificate"] if port in takes else []

        monkeypatch.setattr(tls, "get", get)
        monkeypatch.setattr(tls, "strangers_taken", strangers_taken)
        monkeypatch.setattr(
            tls, "server_certificate_days_left", lambda _host, port, _context: port / 100
        )
        options = {
            "host": "us-c1",
            "units": [unit],
            "ports": [*answers],
            "certificate_days": 14,
        }
        results = run_checks(exporter_verify.checks(options))
        return {each.name.removeprefix("exporters_"): (each.state, each.detail) for each in results}

    return run


def test_all_is_well(found: Any) -> None:
    assert found({9100: Answer(200, METRICS, 90), 9187: Answer(200, METRICS, 90)}) == {
        "run": ("ok", "node active, metrics at 9100, 9187"),
        "refuse_strangers": ("ok", "turned away at 9100, 9187"),
        "certificate": ("ok", "91.0 left"),
    }


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(404, "not found", 90), "answers 404"),
        (Answer(200, "<html>", 90), "tells no metrics"),
        (ConnectionRefusedError("refused"), "refused"),
    ],
)
def test_a_port_that_tells_nothing(found: Any, answer: Answer | Exception, said: str) -> None:
    state, detail = found({9100: answer})["run"]
    assert state == "failed" and said in detail


def test_a_dead_unit_and_an_open_door(found: Any) -> None:
    results = found({9100: Answer(200, METRICS, 90)}, unit="dead", takes=(9100,))
    assert results["run"] == ("failed", "the unit dead is failed")
    assert results["refuse_strangers"] == (
        "failed",
        "us-c1:9100 takes a client without certificate",
    )
