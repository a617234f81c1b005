# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A host of Flink."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://flink_jobmanager", "ansible://flink_taskmanager"]

PROCESSES = {
    "flink_jobmanager": ["flink-jobmanager", "flink-sql-gateway"],
    "flink_taskmanager": ["flink-taskmanager"],
}
REST, SQL_GATEWAY = 8081, 8083
METRICS = {"flink_jobmanager": 9249, "flink_taskmanager": 9250}
JOBS = {"customer_analytics", "fraud_patterns", "order_processing"}


@pytest.fixture
def functions(region, name: str) -> list[str]:
    """Those of Flink that the host has."""
    return [function for function in PROCESSES if function in region.functions(name)]


@pytest.fixture
def processes(functions: list[str]) -> list[str]:
    return [process for function in functions for process in PROCESSES[function]]


@pytest.fixture
def jobmanager(region) -> str:
    """Address of the JobManager."""
    return region.addresses[region.groups["flink_jobmanager"][0]]


@pytest.fixture
def ask(jobmanager: str, secrets) -> Callable[..., dict]:
    """Asks the JobManager, or the SQL Gateway beside it, with a certificate or without one.

    Raises OSError where no answer comes.
    """

    def ask(port: int, path: str, certificate: tuple[Path, Path] | None) -> dict:
        context = ssl.create_default_context(cafile=str(secrets.directory / "flink_ca" / "ca.crt"))
        if certificate:
            context.load_cert_chain(*map(str, certificate))
        url = f"https://{jobmanager}:{port}/{path}"
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:
            return json.load(answer)

    return ask


@pytest.fixture
def operator(secrets) -> tuple[Path, Path]:
    """The operator's certificate and key."""
    return (
        secrets.directory / "flink_ca" / "admin.crt",
        secrets.directory / "flink_ca" / "admin.key",
    )


def test_they_run_now_and_at_boot(host: Host, processes: list[str]) -> None:
    assert processes
    for process in processes:
        assert host.service(process).is_running, process
        assert host.service(process).is_enabled, process


def test_they_are_confined(assert_confined, processes: list[str]) -> None:
    for process in processes:
        assert_confined(process, user="flink")


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        ("/etc/flink/config.yaml", "root", "flink", 0o640),
        ("/etc/flink/shown.yaml", "root", "root", 0o644),
        ("/etc/flink/kafka.properties", "flink", "flink", 0o400),
        ("/etc/flink/tls/host.pem", "root", "flink", 0o640),
        ("/etc/flink/tls/keystore.p12", "root", "flink", 0o640),
        ("/etc/flink/tls/truststore.p12", "root", "flink", 0o640),
        ("/etc/flink/tls/password", "root", "flink", 0o640),
        ("/srv/flink", "flink", "flink", 0o700),
        ("/srv/flink/checkpoints", "flink", "flink", 0o700),
        ("/srv/flink/savepoints", "flink", "flink", 0o700),
        ("/srv/flink/ha", "flink", "flink", 0o700),
        ("/var/lib/flink", "flink", "flink", 0o700),
        ("/var/log/flink", "flink", "flink", 0o750),
    ],
)
def test_its_files_are_its_own(host: Host, path: str, owner: str, group: str, mode: int) -> None:
    found = host.file(path)
    assert (found.user, found.group, found.mode) == (owner, group, mode)


def test_what_is_shown_is_its_configuration_without_secrets(host: Host) -> None:
    lines = host.file("/etc/flink/config.yaml").content_string.splitlines()
    secrets = {line for line in lines if "-password: " in line}
    assert len(secrets) == 6
    shown = host.file("/etc/flink/shown.yaml").content_string.splitlines()
    assert shown == [line for line in lines if line not in secrets]


def test_what_jobs_have_saved_is_for_flink_only(host: Host) -> None:
    look = "find /srv/flink -name _metadata"
    assert host.check_output(look) != ""
    other = host.run(f"runuser -u nobody -- {look}")
    assert (other.stdout, "Permission denied" in other.stderr) == ("", True)


def test_the_operator_is_answered(ask, operator) -> None:
    jobs = ask(REST, "jobs/overview", operator)["jobs"]
    assert {job["name"] for job in jobs if job["state"] == "RUNNING"} == JOBS
    assert ask(SQL_GATEWAY, "v3/info", operator)["productName"]


@pytest.mark.parametrize("port", [REST, SQL_GATEWAY])
def test_nobody_else_is(ask, secrets, region, port: int) -> None:
    """Neither who has no certificate, nor who has one of the platform's other authority."""
    broker = secrets.certificate(region.groups["kafka"][0])
    for certificate in (None, broker):
        with pytest.raises(OSError, match=r"(?i)certificate|alert|closed|reset|EOF"):
            ask(port, "", certificate)


def test_its_metrics_are_for_the_host_only(host: Host, address: str, functions: list[str]) -> None:
    for function in functions:
        url = f"http://127.0.0.1:{METRICS[function]}/metrics"
        script = (
            f"import urllib.request as u; print(u.urlopen('{url}', timeout=10).read().decode())"
        )
        assert "\nflink_" in host.check_output("python3 -c %s", script)
        with pytest.raises(TimeoutError):
            socket.create_connection((address, METRICS[function]), timeout=2)


def test_its_logs_are_kept_small(host: Host) -> None:
    kilobytes = int(host.check_output("du -sk /var/log/flink").split()[0])
    assert kilobytes < 2 * 6 * 50 * 1024
