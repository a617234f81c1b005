# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What a host of a watched region shows, and to whom."""

from __future__ import annotations

import ssl
import time
import urllib.request
from collections.abc import Callable

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://us_east"]

NODE, POSTGRES, PROXY, BLACKBOX = 9100, 9187, 9998, 9115
UNITS = {
    NODE: "prometheus-node-exporter",
    POSTGRES: "prometheus-postgres-exporter",
    PROXY: "prometheus-exporter-exporter",
    BLACKBOX: "prometheus-blackbox-exporter",
}
OF_GROUPS = {
    "citus_coordinator": {POSTGRES, PROXY},
    "citus_worker": {POSTGRES, PROXY},
    "kafka": {PROXY},
    "kafka_controller": {PROXY},
    "flink_jobmanager": {PROXY},
    "flink_taskmanager": {PROXY},
    "zookeeper": {PROXY},
    "prometheus": {BLACKBOX},
}
# What the proxy is asked for, and a metric that the answer has.
BEHIND_PROXY = {
    "citus_coordinator": ("postgres_log", "citus_distributed_deadlocks_total"),
    "citus_worker": ("postgres_log", "citus_distributed_deadlocks_total"),
    "kafka": ("kafka", "kafka_server_replicamanager_underreplicatedpartitions"),
    "flink_jobmanager": ("flink_jobmanager", "flink_jobmanager_taskSlotsTotal"),
    "flink_taskmanager": ("flink_taskmanager", "flink_taskmanager_Status_JVM_CPU_Load"),
    "zookeeper": ("zookeeper", "zookeeper_nodecount"),
}
UNITS_OF_GROUPS = {
    "citus_coordinator": "patroni",
    "citus_worker": "patroni",
    "etcd": "etcd",
    "kafka": "kafka",
    "flink_jobmanager": "flink-jobmanager",
    "flink_taskmanager": "flink-taskmanager",
    "zookeeper": "zookeeper",
}


@pytest.fixture
def functions(region, name: str) -> set[str]:
    return set(region.functions(name))


@pytest.fixture
def ports(functions: set[str]) -> set[int]:
    """Those of the exporters that the host is to have."""
    return {NODE}.union(*(OF_GROUPS[group] for group in functions & OF_GROUPS.keys()))


@pytest.fixture
def shown(name: str, address: str, secrets) -> Callable[[int, str], str]:
    """What an exporter shows to who has a certificate."""

    def shown(port: int, path: str = "metrics") -> str:
        context = ssl.create_default_context(cafile=str(secrets.authority))
        context.load_cert_chain(*map(str, secrets.certificate(name)))
        url = f"https://{address}:{port}/{path}"
        with urllib.request.urlopen(url, context=context, timeout=15) as answer:
            return str(answer.read().decode())

    return shown


def value(text: str, series: str) -> float:
    """The one sample that begins so."""
    (line,) = [line for line in text.splitlines() if line.startswith(series)]
    return float(line.rsplit(" ", 1)[1])


def test_they_run_now_and_at_boot(host: Host, ports: set[int]) -> None:
    for port in ports:
        assert host.service(UNITS[port]).is_running
        assert host.service(UNITS[port]).is_enabled


def test_they_are_confined(ports: set[int], assert_confined) -> None:
    for port in ports - {NODE}:
        user = "postgres-exporter" if port == POSTGRES else "prometheus"
        assert_confined(UNITS[port], user=user)
    if POSTGRES in ports:
        assert_confined("mtail", user="postgres")


def test_who_reads_postgresql_s_log_does_not_reach_its_socket(host: Host, ports: set[int]) -> None:
    if POSTGRES in ports:
        found = host.service("mtail").systemd_properties
        assert found["RestrictAddressFamilies"] == "AF_INET AF_INET6"


def test_nothing_hides_disks_from_node_exporter(host: Host) -> None:
    found = host.service(UNITS[NODE]).systemd_properties
    assert (found["ProtectSystem"], found["PrivateTmp"]) == ("no", "no")
    assert (found["User"], found["NoNewPrivileges"], found["Restart"]) == (
        "prometheus",
        "yes",
        "always",
    )


def test_they_answer_to_who_has_a_certificate_only(ports: set[int], status_of) -> None:
    for port in ports - {BLACKBOX}:
        assert status_of(port, "metrics") == 200
        with pytest.raises(OSError, match=r"(?i)certificate|closed|reset"):
            status_of(port, "metrics", certificate=False)


def test_the_blackbox_exporter_is_for_its_host_only(host: Host, ports: set[int]) -> None:
    if BLACKBOX in ports:
        assert host.socket(f"tcp://127.0.0.1:{BLACKBOX}").is_listening
        assert not host.socket(f"tcp://0.0.0.0:{BLACKBOX}").is_listening


def test_the_units_of_the_platform_are_shown(functions: set[str], shown) -> None:
    text = shown(NODE)
    for group in functions & UNITS_OF_GROUPS.keys():
        unit = f'node_systemd_unit_state{{name="{UNITS_OF_GROUPS[group]}.service",state="active"'
        assert value(text, unit) == 1
    assert 'name="ssh.service"' not in text
    assert value(text, 'node_scrape_collector_success{collector="systemd"}') == 1


def test_a_scrape_of_a_host_is_small(shown) -> None:
    assert len(shown(NODE)) < 100_000


def test_the_disk_is_shown(shown) -> None:
    sizes = [line for line in shown(NODE).splitlines() if 'mountpoint="/"}' in line]
    assert any(line.startswith("node_filesystem_avail_bytes{") for line in sizes)


def test_it_is_shown_when_certificates_end(functions: set[str], shown) -> None:
    paths = ["/etc/bss/tls/host.pem", "/etc/bss/tls/ca.crt"]
    if functions & {"flink_jobmanager", "flink_taskmanager"}:
        paths += ["/etc/flink/tls/host.pem", "/etc/flink/tls/ca.crt"]
    if "zookeeper" in functions:
        paths += ["/etc/zookeeper/tls/host.pem", "/etc/zookeeper/tls/ca.crt"]
    text = shown(NODE)
    assert text.count("\nbss_certificate_not_after_seconds{") == len(paths)
    for path in paths:
        series = f'bss_certificate_not_after_seconds{{path="{path}"}}'
        assert value(text, series) > time.time()


def test_the_proxy_shows_what_is_on_the_loopback(functions: set[str], shown) -> None:
    for group in functions & BEHIND_PROXY.keys():
        module, metric = BEHIND_PROXY[group]
        assert f"\n{metric}" in shown(PROXY, f"proxy?module={module}"), module


def test_postgresql_answers_its_exporter(ports: set[int], shown) -> None:
    if POSTGRES in ports:
        text = shown(POSTGRES)
        assert value(text, "pg_up") == 1
        assert value(text, "pg_exporter_last_scrape_error") == 0


def test_nobody_else_on_the_host_is_the_exporter(host: Host, ports: set[int]) -> None:
    if POSTGRES not in ports:
        return
    ask = "psql -XAtq -d bss -U monitor -c 'SELECT current_user'"
    with host.sudo("postgres-exporter"):
        assert host.check_output(ask) == "monitor"
        superuser = host.run("psql -XAtq -d bss -U postgres -c 'SELECT 1'")
    with host.sudo("prometheus"):
        other = host.run(ask)
    assert "Peer authentication failed" in superuser.stderr
    assert "Peer authentication failed" in other.stderr


def test_the_exporter_reads_what_is_counted_and_no_rows(host: Host, ports: set[int]) -> None:
    if POSTGRES not in ports:
        return
    with host.sudo("postgres-exporter"):
        counted = host.check_output(
            "psql -XAtq -d bss -U monitor -c 'SELECT count(*) > 0 FROM pg_stat_statements'"
        )
        rows = host.run("psql -XAtq -d bss -U monitor -c 'SELECT count(*) FROM pg_authid'")
    assert counted == "t"
    assert "permission denied" in rows.stderr


def test_the_journal_is_limited(host: Host) -> None:
    settings = host.file("/etc/systemd/journald.conf.d/platform.conf").content_string
    assert "\nSystemMaxUse=" in settings and "\nMaxRetentionSec=" in settings
    assert host.service("systemd-journald").is_running
    assert host.file("/run/systemd-journald.loaded").mtime >= host.file(
        "/etc/systemd/journald.conf.d/platform.conf"
    ).mtime.replace(microsecond=0)
