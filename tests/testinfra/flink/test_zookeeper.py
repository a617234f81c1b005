# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The ZooKeeper in which Flink's JobManager finds its jobs."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://zookeeper"]

PORT = 2181


@pytest.fixture
def said(name: str, address: str, secrets):
    """What it says of itself, to a client with a certificate or without one.

    Raises OSError where it ends the connection.
    """

    def said(certificate: tuple[Path, Path] | None) -> bytes:
        context = ssl.create_default_context(cafile=str(secrets.directory / "flink_ca" / "ca.crt"))
        if certificate:
            context.load_cert_chain(*map(str, certificate))
        with (
            socket.create_connection((address, PORT), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=name) as connection,
        ):
            connection.sendall(b"srvr")
            answer = connection.recv(4096)
            if not answer:
                raise ConnectionResetError("closed")
            return answer

    return said


def test_it_runs_now_and_at_boot(host: Host) -> None:
    assert host.service("zookeeper").is_running
    assert host.service("zookeeper").is_enabled


def test_it_is_confined(assert_confined) -> None:
    assert_confined("zookeeper", user="zookeeper")


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        ("/var/lib/zookeeper", "zookeeper", "zookeeper", 0o700),
        ("/etc/zookeeper/tls/host.pem", "root", "zookeeper", 0o640),
    ],
)
def test_its_files_are_its_own(host: Host, path: str, owner: str, group: str, mode: int) -> None:
    found = host.file(path)
    assert (found.user, found.group, found.mode) == (owner, group, mode)


def test_it_answers_who_is_of_flink_and_nobody_else(said, secrets, name: str) -> None:
    flink = secrets.directory / "flink_ca"
    assert b"Mode: " in said((flink / f"{name}.crt", flink / f"{name}.key"))
    for certificate in (None, secrets.certificate(name)):
        with pytest.raises(OSError, match=r"(?i)certificate|alert|closed|reset|EOF"):
            said(certificate)
