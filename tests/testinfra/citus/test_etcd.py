# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A member of the quorum."""

from __future__ import annotations

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://etcd"]

CLIENT_PORT = 2379


def test_it_runs_now_and_at_boot(host: Host) -> None:
    assert host.service("etcd").is_running
    assert host.service("etcd").is_enabled


def test_it_is_confined(assert_confined) -> None:
    assert_confined("etcd", user="etcd")


def test_its_data_is_its_own(host: Host) -> None:
    data = host.file("/var/lib/etcd/platform")
    assert (data.user, data.group, data.mode) == ("etcd", "etcd", 0o700)


def test_a_certificate_opens_it(status_of) -> None:
    assert status_of(CLIENT_PORT, "health") == 200


def test_nobody_enters_without_one(status_of) -> None:
    with pytest.raises(OSError, match=r"(?i)certificate"):
        status_of(CLIENT_PORT, "health", certificate=False)


def test_plain_http_is_refused(status_of) -> None:
    with pytest.raises(OSError, match=r"(?i)closed|reset"):
        status_of(CLIENT_PORT, "health", scheme="http")
