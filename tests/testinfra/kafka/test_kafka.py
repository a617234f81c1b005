# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A node of Kafka."""

from __future__ import annotations

import socket
import ssl

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://kafka"]

CLIENTS, CONTROLLERS = 9092, 9093
METRICS = "http://127.0.0.1:9404/metrics"


@pytest.fixture
def handshake(name: str, address: str, secrets):
    """Connects by TLS, with a host's own certificate or without one, and waits for a byte.

    Raises OSError where the node ends it.
    """

    def handshake(port: int, certificate: bool) -> None:
        context = ssl.create_default_context(cafile=str(secrets.authority))
        if certificate:
            context.load_cert_chain(*map(str, secrets.certificate(name)))
        with (
            socket.create_connection((address, port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=name) as connection,
        ):
            connection.settimeout(2)
            try:
                if connection.recv(1) == b"":
                    raise ConnectionResetError("closed")
            except TimeoutError:
                return  # it waits for a request

    return handshake


def test_it_runs_now_and_at_boot(host: Host) -> None:
    assert host.service("kafka").is_running
    assert host.service("kafka").is_enabled


def test_it_is_confined(assert_confined) -> None:
    assert_confined("kafka", user="kafka")


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        ("/var/lib/kafka/data", "kafka", "kafka", 0o700),
        ("/var/log/kafka", "kafka", "kafka", 0o750),
        ("/etc/kafka", "root", "kafka", 0o750),
        ("/etc/kafka/secrets.properties", "root", "kafka", 0o640),
    ],
)
def test_its_files_are_its_own(host: Host, path: str, owner: str, group: str, mode: int) -> None:
    found = host.file(path)
    assert (found.user, found.group, found.mode) == (owner, group, mode)


def test_how_it_was_formatted_is_forgotten(host: Host) -> None:
    assert not host.file("/etc/kafka/format").exists


def test_a_client_needs_no_certificate(handshake) -> None:
    handshake(CLIENTS, certificate=False)


def test_no_controller_listens_to_who_has_none(handshake) -> None:
    handshake(CONTROLLERS, certificate=True)
    with pytest.raises(OSError, match=r"(?i)certificate|closed|reset"):
        handshake(CONTROLLERS, certificate=False)


def test_its_metrics_are_for_the_host_only(host: Host) -> None:
    ask = f"import urllib.request as u; print(u.urlopen('{METRICS}', timeout=10).read().decode())"
    metrics = host.check_output("python3 -c %s", ask)
    assert "\nkafka_server_replicamanager_underreplicatedpartitions 0.0\n" in metrics
    assert len(metrics) < 200_000
    assert host.socket("tcp://127.0.0.1:9404").is_listening


def test_its_log_is_kept_small(host: Host) -> None:
    kilobytes = int(host.check_output("du -sk /var/log/kafka").split()[0])
    assert kilobytes < 6 * 50 * 1024
