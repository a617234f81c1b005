# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Each service runs, comes back at boot, and is confined to what it needs."""

from __future__ import annotations

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://citus_coordinator", "ansible://citus_worker", "ansible://etcd"]

CONFINEMENT = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectControlGroups": "yes",
    "RestrictSUIDSGID": "yes",
}
USERS = {"patroni": "postgres", "etcd": "etcd"}
ENOUGH_FILES = 65536


@pytest.fixture(params=["patroni", "etcd"])
def service(request: pytest.FixtureRequest, host: Host, region, name: str) -> str:
    service = str(request.param)
    if service == "etcd" and "etcd" not in region.functions(name):
        pytest.skip("no member of the quorum")
    if service == "patroni" and not region.functions(name) & {"citus_coordinator", "citus_worker"}:
        pytest.skip("no database")
    return service


def test_service_runs_and_is_enabled(host: Host, service: str) -> None:
    assert host.service(service).is_running
    assert host.service(service).is_enabled


def test_service_is_confined(host: Host, name: str, service: str) -> None:
    found = host.service(service).systemd_properties
    assert {option: found[option] for option in CONFINEMENT} == CONFINEMENT
    assert found["User"] == USERS[service]
    assert int(found["LimitNOFILE"]) >= ENOUGH_FILES
    print(
        host.check_output("systemd-analyze security %s --no-pager | tail -1", f"{service}.service")
    )


def test_service_restarts_by_itself_for_ever(host: Host, service: str) -> None:
    found = host.service(service).systemd_properties
    assert found["Restart"] == "always"
    assert found["StartLimitIntervalUSec"] == "0"


def test_nothing_failed(host: Host) -> None:
    assert host.check_output("systemctl --failed --no-legend --plain") == ""


def test_the_distribution_runs_no_postgresql_of_its_own(host: Host) -> None:
    assert host.service("postgresql").is_masked
    assert host.check_output("pg_lsclusters --no-header") == ""
