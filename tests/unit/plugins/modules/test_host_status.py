# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What host_status makes of what it finds: each part by itself; nothing that is lost fails it."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.bss.platform.plugins.module_utils import tls
from ansible_collections.bss.platform.plugins.modules import host_status
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

Answer = subprocess.CompletedProcess[str] | Exception


def answer(said: str = "", wrong: str = "", status: int = 0) -> Answer:
    return subprocess.CompletedProcess([], status, said, wrong)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Answer]:
    """What each program of the host answers, by name; a test fills it in."""
    says: dict[str, Answer] = {}

    def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        said = says[os.path.basename(command[0])]
        if isinstance(said, Exception):
            raise said
        assert options["timeout"] and options["stdin"] == subprocess.DEVNULL
        return said

    monkeypatch.setattr(host_status.subprocess, "run", run)
    return says


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Patroni and etcd answer, by address: JSON, or why they do not."""
    says: dict[str, Any] = {
        "https://w1:8008/patroni": {"role": "primary", "state": "running", "timeline": 3},
    }

    def get(url: str, _context: None) -> tls.Answer:
        said = says[url]
        if isinstance(said, Exception):
            raise said
        return tls.Answer(503, json.dumps(said), 1.0)

    monkeypatch.setattr(tls, "client_context", lambda options: options["client_key"])
    monkeypatch.setattr(tls, "get", get)
    return says


@pytest.fixture
def status(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run main(); what it returns."""

    def run(**options: Any) -> dict[str, Any]:
        with patch_module_args({"name": "w1", **options}), pytest.raises(SystemExit):
            host_status.main()
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert not said.get("failed") and said["changed"] is False, said
        return said

    return run


def test_a_host_without_anything_tells_of_itself(status: Callable[..., dict[str, Any]]) -> None:
    said = status()
    assert said["uptime_s"] > 0 and said["load"] >= 0 and 0 < said["memory_percent"] <= 100
    assert (said["units"], said["certificates"]) == ({}, {})
    assert not {"patroni", "etcd", "database", "citus", "alertmanager"} & said.keys()


def test_memory_is_what_is_not_available() -> None:
    said = "MemTotal:       1000 kB\nMemFree:          10 kB\nMemAvailable:    600 kB\n"
    assert host_status.memory_percent(said) == 40


def test_disks_are_told_once_and_those_of_the_network_never_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaced = tmp_path / "with space"
    spaced.mkdir()
    file = tmp_path / "resolv.conf"
    file.touch()
    asked = []

    def statvfs(path: str) -> os.statvfs_result:
        asked.append(path)
        return os.statvfs_result((4096, 4096, 100, 50, 40, 0, 0, 0, 0, 255))

    monkeypatch.setattr(host_status.os, "statvfs", statvfs)
    mounts = [
        f"/dev/sda1 {str(spaced).replace(' ', chr(92) + '040')} ext4 rw 0 0",
        f"/dev/sda1 {tmp_path} ext4 rw 0 0",
        f"/dev/sda1 {file} ext4 rw 0 0",
        f"server:/srv {tmp_path} nfs4 rw 0 0",
        "proc /proc proc rw 0 0",
    ]
    assert host_status.disks("\n".join(mounts)) == [
        {"path": str(spaced), "used_percent": 56, "free_bytes": 40 * 4096}
    ]
    assert asked == [str(spaced), str(tmp_path)]


@pytest.mark.parametrize(
    ("said", "states"),
    [
        (answer("active\nfailed\n", status=3), {"etcd": "active", "patroni": "failed"}),
        (answer(wrong="no bus", status=1), {"etcd": "unknown", "patroni": "unknown"}),
        (FileNotFoundError("systemctl"), {"etcd": "unknown", "patroni": "unknown"}),
    ],
)
def test_units(programs: dict[str, Answer], said: Answer, states: dict[str, str]) -> None:
    programs["systemctl"] = said
    assert host_status.units(["etcd", "patroni"]) == states


def signed(ends: datetime) -> bytes:
    """A certificate with its key, as files of hosts have them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "w1")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=400))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM) + key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


# From 2050 on, certificates write their times otherwise.
@pytest.mark.parametrize("days", [30, -2, 365 * 40])
def test_certificates(status: Callable[..., dict[str, Any]], tmp_path: Path, days: int) -> None:
    path = tmp_path / "host.pem"
    path.write_bytes(signed(datetime.now(UTC) + timedelta(days=days)))
    said = status(certificates={"host": str(path)})["certificates"]["host"]
    assert said["days_left"] == pytest.approx(days, abs=0.11)


def test_certificates_that_cannot_be_read(
    status: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    (tmp_path / "cut.pem").write_text(
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    )
    paths = {name: str(tmp_path / f"{name}.pem") for name in ("gone", "empty", "cut")}
    said = status(certificates=paths)["certificates"]
    assert said["gone"] == {"trouble": f"{paths['gone']} is missing"}
    assert said["empty"] == {"trouble": f"{paths['empty']} has no certificate"}
    assert said["cut"]["trouble"]


PATRONI = {"patroni_url": "https://w1:8008", "ca_cert": "/ca.crt", "client_cert": "/host.pem"}


def test_a_primary(status: Callable[..., dict[str, Any]], service: dict[str, Any]) -> None:
    service["https://w1:8008/patroni"] |= {"pending_restart": True, "pause": True}
    assert status(**PATRONI)["patroni"] == {
        "role": "primary",
        "state": "running",
        "timeline": 3,
        "lag_bytes": None,
        "pending_restart": True,
        "paused": True,
        "failsafe": False,
    }


STANDBY = {"role": "replica", "state": "running", "replication_state": "streaming", "timeline": 3}


@pytest.mark.parametrize(
    ("cluster", "role", "lag"),
    [
        ({"members": [{"name": "w1", "role": "sync_standby", "lag": 9}]}, "sync_standby", 9),
        ({"members": [{"name": "w1", "role": "replica", "lag": 9, "replay_lag": 7}]}, "replica", 7),
        ({"members": [{"name": "w1", "role": "replica", "lag": "unknown"}]}, "replica", None),
        ({"members": [{"name": "w2", "role": "leader"}]}, "replica", None),
        (OSError("etcd is lost"), "replica", None),
    ],
)
def test_a_standby(
    status: Callable[..., dict[str, Any]],
    service: dict[str, Any],
    cluster: Any,
    role: str,
    lag: int | None,
) -> None:
    service |= {"https://w1:8008/patroni": STANDBY, "https://w1:8008/cluster": cluster}
    said = status(**PATRONI)["patroni"]
    assert (said["role"], said["state"], said["lag_bytes"]) == (role, "streaming", lag)


def test_what_does_not_answer_says_why(
    status: Callable[..., dict[str, Any]],
    programs: dict[str, Answer],
    service: dict[str, Any],
) -> None:
    service |= {
        "https://w1:8008/patroni": ConnectionRefusedError("refused"),
        "https://w1:2379/health": ssl.SSLError("expired"),
    }
    programs["psql"] = answer(wrong="psql: error: no\nsocket\n", status=2)
    said = status(**PATRONI, etcd_url="https://w1:2379", database="bss")
    assert said["patroni"] == {"trouble": "refused"}
    assert "expired" in said["etcd"]["trouble"]
    assert said["database"] == {"trouble": "psql: psql: error: no socket"}
    assert "citus" not in said


def test_without_its_certificate_it_says_so(status: Callable[..., dict[str, Any]]) -> None:
    assert "No such file" in status(**PATRONI)["patroni"]["trouble"]


@pytest.mark.parametrize("error", [KeyError("postgres"), subprocess.TimeoutExpired("psql", 10)])
def test_a_host_that_has_no_postgresql_yet(
    status: Callable[..., dict[str, Any]], programs: dict[str, Answer], error: Exception
) -> None:
    programs["psql"] = error
    assert status(database="bss")["database"]["trouble"]


@pytest.mark.parametrize(("lines", "parts"), [(1, {"database"}), (2, {"database", "citus"})])
def test_a_database_tells_of_citus_where_it_leads_group_0(
    status: Callable[..., dict[str, Any]], programs: dict[str, Answer], lines: int, parts: set[str]
) -> None:
    programs["psql"] = answer('{"a": 1}\n{"b": 2}\n'[: 9 * lines], "no extension", 2 - lines)
    said = status(database="bss")
    assert {"database", "citus"} & said.keys() == parts
    assert said["database"] == {"a": 1}


def test_no_statement_reaches_another_node() -> None:
    for sql in (host_status.DATABASE_SQL, host_status.CITUS_SQL):
        assert not {"run_command", "citus_shard", "master_", "citus_total"} & set(sql.split("("))
        assert sql.split()[0] == "SELECT" and ";" not in sql


@pytest.mark.parametrize(
    ("said", "healthy"), [({"health": "true"}, True), ({"health": "false"}, False), ({}, False)]
)
def test_etcd_tells_also_when_it_is_not_well(
    status: Callable[..., dict[str, Any]],
    service: dict[str, Any],
    said: dict[str, str],
    healthy: bool,
) -> None:
    service["https://w1:2379/health"] = said
    found = status(etcd_url="https://w1:2379", ca_cert="/ca.crt", client_cert="/host.pem")
    assert found["etcd"] == {"healthy": healthy}


def test_documentation_has_the_options_of_the_module() -> None:
    documented = yaml.safe_load(host_status.DOCUMENTATION)["options"]
    fields = ("type", "elements", "required", "default")
    assert {
        name: {field: each[field] for field in fields if field in each}
        for name, each in documented.items()
    } == {
        name: {field: each[field] for field in fields if field in each}
        for name, each in host_status.ARGUMENT_SPEC.items()
    }
