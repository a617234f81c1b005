# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Patroni, which runs PostgreSQL, and its files."""

from __future__ import annotations

import pytest
import yaml
from testinfra.host import Host

testinfra_hosts = ["ansible://citus_coordinator", "ansible://citus_worker"]

API_PORT = 8008


def test_it_runs_now_and_at_boot(host: Host) -> None:
    assert host.service("patroni").is_running
    assert host.service("patroni").is_enabled


def test_it_is_confined(assert_confined) -> None:
    assert_confined("patroni", user="postgres")


def test_nobody_else_runs_postgresql(host: Host) -> None:
    assert host.service("postgresql").is_masked
    assert host.check_output("pg_lsclusters --no-header") == ""


def test_its_server_connects_to_no_server_in_recovery(host: Host) -> None:
    """Or Citus would forget commits, see docs/architecture.md."""
    data = host.file("/var/lib/postgresql/15/platform/postmaster.pid").content_string
    environment = host.file(f"/proc/{data.split()[0]}/environ").content_string
    assert "PGTARGETSESSIONATTRS=read-write" in environment.split("\0")


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/var/lib/postgresql/15/platform", 0o700),
        ("/etc/patroni", 0o750),
        ("/etc/patroni/patroni.yml", 0o600),
        ("/var/log/postgresql", 0o750),
    ],
)
def test_its_files_are_its_own(host: Host, path: str, mode: int) -> None:
    found = host.file(path)
    assert (found.user, found.group, found.mode) == ("postgres", "postgres", mode)


def test_members_know_each_other_by_certificate(host: Host) -> None:
    """There is no machine's password to leak."""
    settings = yaml.safe_load(host.file("/etc/patroni/patroni.yml").content_string)
    for proof in settings["postgresql"]["authentication"].values():
        assert proof["sslmode"] == "verify-full"
        assert "sslcert" in proof
        assert "password" not in proof


def test_a_certificate_opens_its_api(status_of) -> None:
    assert status_of(API_PORT, "patroni") == 200


def test_nobody_enters_without_one(status_of) -> None:
    with pytest.raises(OSError, match=r"(?i)certificate|EOF"):
        status_of(API_PORT, "patroni", certificate=False)


def test_plain_http_is_refused(status_of) -> None:
    with pytest.raises(OSError, match=r"(?i)closed|reset|aborted"):
        status_of(API_PORT, "patroni", scheme="http")
