# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What prometheus_info makes of the answers of Prometheus and Alertmanager."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.bss.platform.plugins.module_utils import prometheus
from ansible_collections.bss.platform.plugins.modules import prometheus_info

TARGETS = "https://m1:9090/api/v1/targets?state=active"
ALERTS = "https://m1:9093/api/v2/alerts"


def target(instance: str, health: str) -> dict[str, Any]:
    return {"labels": {"job": "kafka", "instance": instance}, "health": health}


def alert(state: str, since: str, **labels: str) -> dict[str, Any]:
    return {
        "labels": labels,
        "annotations": {"summary": "line\n two"} if labels else {},
        "startsAt": since,
        "status": {"state": state},
    }


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What both answer, by address; a test changes it."""
    active = [target("k1", "up"), target("k2", "down"), target("k3", "unknown")]
    says: dict[str, Any] = {
        TARGETS: {"status": "success", "data": {"activeTargets": active}},
        ALERTS: [
            alert("active", "2026-01-31T10:15:30Z"),
            alert(
                "active", "2026-01-31T11:15:30Z", alertname="A", severity="warning", instance="k1"
            ),
            alert("suppressed", "2026-01-31T10:15:30Z", alertname="B"),
        ],
    }

    def open_url(url: str, **options: Any) -> io.BytesIO:
        assert (options["url_username"], options["url_password"]) == ("operator", "secret")
        if isinstance(says[url], Exception):
            raise says[url]
        return io.BytesIO(json.dumps(says[url]).encode())

    monkeypatch.setattr(prometheus, "open_url", open_url)
    return says


@pytest.fixture
def info(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """Run main(); what it returns."""
    authority = tmp_path / "ca.crt"
    authority.touch()
    options = {
        "url": "https://m1:9090",
        "alertmanager_url": "https://m1:9093",
        "ca_cert": str(authority),
        "password": "secret",
    }

    def run() -> dict[str, Any]:
        with patch_module_args(options), pytest.raises(SystemExit):
            prometheus_info.main()
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        return said

    return run


def test_what_there_is(info: Callable[[], dict[str, Any]], services: dict[str, Any]) -> None:
    said = info()
    assert said["changed"] is False
    assert said["targets"] == {"total": 3, "down": ["kafka of k2"]}
    assert said["suppressed"] == 1
    labels = {"alertname": "A", "severity": "warning", "instance": "k1"}
    assert said["alerts"] == [
        {
            "name": "A",
            "severity": "warning",
            "instance": "k1",
            "labels": labels,
            "summary": "line two",
            "since": "2026-01-31T11:15:30Z",
        },
        {
            **dict.fromkeys(("name", "severity", "instance", "summary"), ""),
            "labels": {},
            "since": "2026-01-31T10:15:30Z",
        },
    ]


@pytest.mark.parametrize("url", [TARGETS, ALERTS])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (HTTPError("https://m1", 401, "no", Message(), io.BytesIO(b"Unauthorized")), "401"),
        (URLError("refused"), "refused"),
    ],
)
def test_one_that_does_not_answer_fails_with_its_reason(
    info: Callable[[], dict[str, Any]],
    services: dict[str, Any],
    url: str,
    answer: Exception,
    words: str,
) -> None:
    services[url] = answer
    said = info()
    assert said["failed"] and words in said["msg"] and "secret" not in said["msg"]


def test_documentation_has_the_options_of_the_module() -> None:
    documented = yaml.safe_load(prometheus_info.DOCUMENTATION)["options"]
    fields = ("type", "required", "default")
    assert {
        name: {field: each[field] for field in fields if field in each}
        for name, each in documented.items()
    } == {
        name: {field: each[field] for field in fields if field in each}
        for name, each in prometheus_info.ARGUMENT_SPEC.items()
    }
