# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What prometheus_verify makes of what the APIs of Prometheus and Alertmanager say."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from ansible_collections.bss.platform.plugins.module_utils import prometheus
from ansible_collections.bss.platform.plugins.module_utils.checks import CheckFailed, run_checks
from ansible_collections.bss.platform.plugins.modules import prometheus_verify

Found = Callable[..., dict[str, tuple[str, str]]]


def target(job: str, instance: str, health: str = "up", error: str = "") -> dict[str, Any]:
    return {"labels": {"job": job, "instance": instance}, "health": health, "lastError": error}


def rule(name: str, health: str = "ok", error: str = "") -> dict[str, Any]:
    return {"name": name, "health": health, "lastError": error}


def alert(name: str, severity: str, state: str = "firing") -> dict[str, Any]:
    labels = {"alertname": name, "severity": severity, "instance": "us-c1"}
    return {"labels": labels, "state": state, "annotations": {"summary": "it is bad"}}


def hosts(*names: str) -> dict[str, Any]:
    return {"activeAlertmanagers": [{"url": f"https://{name}:9093/api/v2"} for name in names]}


WELL: dict[str, Any] = {
    "/-/ready": "Ready.",
    "/metrics": "alertmanager_config_last_reload_successful 1",
    "/api/v1/status/runtimeinfo": {"reloadConfigSuccess": True, "storageRetention": "30d or 1GiB"},
    "/api/v1/targets?state=active": {"activeTargets": [target("node", "us-c1")]},
    "/api/v1/rules": {
        "groups": [{"name": "g", "file": "/etc/prometheus/rules/hosts.yml", "rules": [rule("A")]}]
    },
    "/api/v1/alerts": {"alerts": []},
    "/api/v1/alertmanagers": hosts("us-m1"),
    "/api/v2/status": {"cluster": {"status": "disabled"}},
    "/api/v2/alerts": [
        {"labels": {"alertname": "Watchdog"}, "annotations": {}, "status": {"state": "active"}}
    ],
}


class Api(BaseHTTPRequestHandler):
    """Both of them: what they say by path, and where test alerts are delivered."""

    answers: ClassVar[dict[str, Any]]
    delivers_to: int | None
    """A port of the loopback, or nobody."""
    open_to_all: bool

    def do_GET(self) -> None:
        expected = base64.b64encode(b"operator:right").decode()
        if self.headers["Authorization"] != f"Basic {expected}" and not self.open_to_all:
            self.send_error(401)
            return
        answer = self.answers.get(self.path, "")
        if isinstance(answer, str):
            body = answer
        else:
            wrapped = {"status": "success", "data": answer}
            body = json.dumps(wrapped if "/api/v1/" in self.path else answer)
        self.answer(body)

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer("")
        assert sent[0]["startsAt"] <= sent[0]["endsAt"]
        if self.delivers_to:
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.delivers_to}/",
                data=json.dumps({"alerts": sent}).encode(),
            )
            with contextlib.suppress(OSError):  # of its end, nobody is told any more
                urllib.request.urlopen(request, timeout=5).close()

    def answer(self, body: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, free_port: int) -> Iterator[Found]:
    """State and detail of each check, of what answers differently than WELL."""
    servers: list[ThreadingHTTPServer] = []

    def require_active(unit: str) -> None:
        if unit == "dead":
            raise CheckFailed("the unit dead is failed")

    monkeypatch.setattr(prometheus_verify, "require_active", require_active)
    # It would read all the system's authorities, each time.
    without_tls = functools.partial(prometheus.open_url, validate_certs=False)
    monkeypatch.setattr(prometheus, "open_url", without_tls)
    monkeypatch.setattr(prometheus_verify.tls, "anonymous_context", lambda _ca: None)
    monkeypatch.setattr(
        prometheus_verify.tls, "server_certificate_days_left", lambda *_server: 100.0
    )
    monkeypatch.setattr(
        prometheus_verify.tls, "require_days", lambda days, _context, wanted: f"{days} of {wanted}"
    )

    def run(
        differs: dict[str, Any] | None = None,
        *,
        delivers: bool = True,
        open_to_all: bool = False,
        sends: bool = True,
        **options: Any,
    ) -> dict[str, tuple[str, str]]:
        class Handler(Api):
            answers: ClassVar = {**WELL, **(differs or {})}
            delivers_to = free_port if delivers else None

        Handler.open_to_all = open_to_all
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{servers[-1].server_port}"
        defaults = {
            name: spec.get("default") for name, spec in prometheus_verify.ARGUMENT_SPEC.items()
        }
        given = {
            **defaults,
            "url": url,
            "alertmanager_url": url,
            "password": "right",
            "targets": {"node": ["us-c1"]},
            "rules": ["hosts"],
            "alertmanagers": ["us-m1"],
            "receiver_port": free_port,
            "settle_timeout": 0,
            "delivery_timeout": 5 if delivers else 0,
            **options,
        }
        results = run_checks(prometheus_verify.Checks(given).checks(sends))
        return {each.name: (each.state, each.detail) for each in results}

    yield run
    for server in servers:
        server.shutdown()
        server.server_close()


def failures(results: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {name: detail for name, (state, detail) in results.items() if state != "ok"}


def test_all_is_well_but_for_tls(found: Found) -> None:
    results = found()
    failed = failures(results)
    # What answers here speaks no TLS, and has to be found out.
    assert [*failed] == ["prometheus_refuses_strangers"]
    assert "answers a client without TLS with status 200" in failed["prometheus_refuses_strangers"]
    assert "without password" not in failed["prometheus_refuses_strangers"]
    assert results["test_alert_arrives"][1].startswith("sent, routed and received within")
    assert "test_alert_arrives" not in found(sends=False)


def test_a_door_that_is_open_is_found(found: Found) -> None:
    detail = failures(found(open_to_all=True))["prometheus_refuses_strangers"]
    assert "answers a client without password with status 200" in detail
    assert "answers a client with a wrong password with status 200" in detail


@pytest.mark.parametrize(
    ("differs", "check", "said"),
    [
        (
            {"/api/v1/status/runtimeinfo": {"reloadConfigSuccess": False}},
            "prometheus_serves",
            "former configuration",
        ),
        (
            {"/api/v1/targets?state=active": {"activeTargets": [target("etcd", "us-c1")]}},
            "targets_as_declared",
            "node of us-c1 is not scraped",
        ),
        (
            {
                "/api/v1/targets?state=active": {
                    "activeTargets": [
                        target("node", "us-c1"),
                        target("node", "us-w1", "down", "no route"),
                    ]
                }
            },
            "all_targets_up",
            "node of us-w1: no route",
        ),
        ({"/api/v1/rules": {"groups": []}}, "rules_loaded", "the rules hosts are not loaded"),
        (
            {
                "/api/v1/rules": {
                    "groups": [
                        {"name": "g", "file": "/x/hosts.yml", "rules": [rule("A", "err", "odd")]}
                    ]
                }
            },
            "rules_loaded",
            "the rule A of hosts fails: odd",
        ),
        (
            {"/api/v1/alerts": {"alerts": [alert("HostDown", "critical")]}},
            "no_critical_alerts",
            "HostDown of us-c1: it is bad",
        ),
        ({"/metrics": "x_last_reload_successful 0"}, "alertmanager_serves", "former configuration"),
        ({"/api/v1/alertmanagers": hosts()}, "alertmanager_cluster", "does not tell us-m1"),
        ({"/api/v2/alerts": []}, "watchdog_arrives", "no alert Watchdog"),
    ],
)
def test_what_is_wrong_is_named(found: Found, differs, check: str, said: str) -> None:
    failed = failures(found(differs))
    assert said in failed[check]
    assert failed.keys() == {check, "prometheus_refuses_strangers"}


def test_what_is_no_critical_alert_fails_nothing(found: Found) -> None:
    alerts = [alert("Slow", "warning"), alert("HostDown", "critical", "pending")]
    state, detail = found({"/api/v1/alerts": {"alerts": alerts}})["no_critical_alerts"]
    assert state == "ok" and detail.endswith("1 warnings: Slow of us-c1: it is bad")


@pytest.mark.parametrize(
    ("cluster", "fault"),
    [
        ({"status": "ready", "peers": [{}, {}]}, ""),
        ({"status": "ready", "peers": [{}]}, "1 of 2 members"),
        ({"status": "settling", "peers": [{}, {}]}, "is settling with 2 of 2"),
        ({"status": "disabled"}, "is disabled with 0 of 2"),
    ],
)
def test_two_alertmanagers_are_a_cluster(found: Found, cluster, fault: str) -> None:
    differs = {
        "/api/v2/status": {"cluster": cluster},
        "/api/v1/alertmanagers": hosts("us-m1", "eu-m1"),
    }
    results = found(differs, alertmanagers=["us-m1", "eu-m1"])
    assert fault in failures(results).get("alertmanager_cluster", "")
    assert ("alertmanager_cluster" in failures(results)) == bool(fault)


def test_an_alert_that_does_not_come(found: Found) -> None:
    detail = failures(found(delivers=False))["test_alert_arrives"]
    assert "did not come to 127.0.0.1" in detail


def test_what_settles_is_waited_for(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([["not yet"], []])
    monkeypatch.setattr(prometheus_verify.time, "sleep", lambda _seconds: None)
    checks = prometheus_verify.Checks(
        {"url": "http://a", "alertmanager_url": "http://b", "settle_timeout": 60}
    )
    assert checks._settled(lambda: (next(looks), "there")) == "there"


def test_nobody_at_the_port_proves_nothing(found: Found) -> None:
    results = found(url="http://127.0.0.1:1", alertmanager_url="http://127.0.0.1:1")
    certificates = {"prometheus_certificate"}
    assert failures(results).keys() == results.keys() - certificates
    assert "did not answer" in results["all_targets_up"][1]
