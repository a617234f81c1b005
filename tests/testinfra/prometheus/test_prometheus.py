# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Prometheus and Alertmanager as their host and their clients see them."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://prometheus"]

PORTS = {"prometheus": 9090, "prometheus-alertmanager": 9093}


@pytest.fixture
def ask(address: str, secrets: Any) -> Callable[..., tuple[int, Any]]:
    """Status and body of a page, with a password or without one."""
    password = (secrets.directory / "prometheus_password").read_text(encoding="utf-8").strip()

    def ask(port: int, path: str, user: str | None = "operator") -> tuple[int, Any]:
        context = ssl.create_default_context(cafile=str(secrets.authority))
        request = urllib.request.Request(f"https://{address}:{port}{path}")
        if user:
            proof = base64.b64encode(f"{user}:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {proof}")
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""

    return ask


@pytest.mark.parametrize("service", PORTS)
def test_it_runs_now_and_at_boot(host: Host, service: str) -> None:
    assert host.service(service).is_running
    assert host.service(service).is_enabled


@pytest.mark.parametrize("service", PORTS)
def test_it_is_confined(assert_confined: Any, service: str) -> None:
    assert_confined(service, user="prometheus")


@pytest.mark.parametrize("port", PORTS.values())
def test_it_answers_who_has_the_password(ask: Any, port: int) -> None:
    assert ask(port, "/-/ready")[0] == 200
    assert ask(port, "/-/ready", user=None)[0] == 401
    assert ask(port, "/-/ready", user="somebody")[0] == 401


@pytest.mark.parametrize("port", PORTS.values())
def test_nothing_is_told_without_tls(address: str, port: int) -> None:
    with socket.create_connection((address, port), timeout=5) as plain:
        plain.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert plain.recv(64).startswith(b"HTTP/1.0 400")


def test_it_watches_every_host(ask: Any, region: Any) -> None:
    status, body = ask(PORTS["prometheus"], "/api/v1/targets?state=active")
    targets = json.loads(body)["data"]["activeTargets"]
    watched = {each["labels"]["instance"] for each in targets if each["labels"]["job"] == "node"}
    assert status == 200
    assert watched == {*region.groups["us_east"]}


@pytest.mark.parametrize(
    ("path", "owner", "mode"),
    [
        ("/etc/prometheus/secrets", "root", 0o750),
        ("/etc/prometheus/secrets/prometheus_password", "root", 0o640),
        ("/etc/prometheus/secrets/users", "root", 0o600),
        ("/etc/prometheus/web.yml", "root", 0o640),
        ("/etc/prometheus/alertmanager.yml", "root", 0o640),
        ("/var/lib/prometheus/metrics2", "prometheus", 0o700),
        ("/var/lib/prometheus/alertmanager", "prometheus", 0o700),
    ],
)
def test_its_secrets_are_its_own(host: Host, path: str, owner: str, mode: int) -> None:
    found = host.file(path)
    assert (found.user, found.mode) == (owner, mode)


def test_what_is_on_disk_is_right(host: Host) -> None:
    for check in (
        "promtool check config /etc/prometheus/prometheus.yml",
        "promtool check web-config /etc/prometheus/web.yml",
        "amtool check-config /etc/prometheus/alertmanager.yml",
    ):
        assert host.run(check).rc == 0, check


def test_the_metrics_of_others_stay_on_the_loopback(host: Host) -> None:
    listening = host.check_output("ss --tcp --listening --numeric --no-header")
    assert "127.0.0.1:9115" in listening
    assert "*:9115" not in listening and "0.0.0.0:9115" not in listening
    assert ":9096" not in listening
