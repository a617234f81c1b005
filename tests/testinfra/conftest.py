# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A region as its hosts and its clients see it, after everything that was done to it.

The inventory is given by ``--ansible-inventory``; the environment variable
BSS_STATE_DIR names the directory with the region's secrets.
"""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner


@dataclass(frozen=True)
class Region:
    """What the inventory says, as far as it can be said without a template."""

    groups: dict[str, list[str]]
    addresses: dict[str, str]

    def functions(self, host: str) -> set[str]:
        return {group for group, hosts in self.groups.items() if host in hosts}


class Passwords:
    """All that there are or were. Never shown: pytest prints what a failed test was given."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._passwords = [file.read_bytes().strip() for file in files]

    def __repr__(self) -> str:
        return f"{len(self)} passwords"

    def __len__(self) -> int:
        return len(set(self._passwords))

    def shortest(self) -> int:
        return min(map(len, self._passwords))

    def are_in(self, text: bytes) -> bool:
        return any(password in text for password in self._passwords)


@dataclass(frozen=True)
class Secrets:
    """What the controller keeps of the region."""

    directory: Path

    @property
    def authority(self) -> Path:
        return self.directory / "ca" / "ca.crt"

    def certificate(self, host: str) -> tuple[Path, Path]:
        """A host's certificate and key."""
        return self.directory / "ca" / f"{host}.crt", self.directory / "ca" / f"{host}.key"

    @property
    def application_password(self) -> str:
        return (self.directory / "bss_password").read_text(encoding="utf-8").strip()

    @property
    def passwords(self) -> Passwords:
        return Passwords(self.directory.glob("*_password*"))


@pytest.fixture(scope="session")
def region(pytestconfig: pytest.Config) -> Region:
    runner = AnsibleRunner.get_runner(pytestconfig.getoption("ansible_inventory"))
    groups = {name: runner.get_hosts(name) for name in runner.inventory if name != "_meta"}
    addresses = {
        host: runner.get_variables(host)["ansible_host"] for host in runner.get_hosts("all")
    }
    return Region(groups, addresses)


@pytest.fixture(scope="session")
def secrets() -> Secrets:
    return Secrets(Path(os.environ["BSS_STATE_DIR"]) / "secrets")


@pytest.fixture
def name(host: Host) -> str:
    """The host's name in the inventory."""
    return str(host.backend.host)


@pytest.fixture
def address(region: Region, name: str) -> str:
    return region.addresses[name]


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


@pytest.fixture
def assert_confined(host: Host, name: str) -> Callable[[str, str], None]:
    """A service can reach what it needs, restarts for ever, and runs as its own user."""

    def assert_confined(service: str, user: str) -> None:
        found = host.service(service).systemd_properties
        assert {option: found[option] for option in CONFINEMENT} == CONFINEMENT
        assert (found["User"], found["Restart"]) == (user, "always")
        assert found["StartLimitIntervalUSec"] == "0"
        assert int(found["LimitNOFILE"]) >= 65536
        score = host.check_output("systemd-analyze security --no-pager %s | tail -1", service)
        print(f"{name}: {score}")

    return assert_confined


@pytest.fixture
def status_of(name: str, address: str, secrets: Secrets) -> Callable[..., int]:
    """Asks a REST API of the host, with the host's own certificate or without one.

    Raises OSError where no connection comes about.
    """

    def status_of(port: int, path: str, scheme: str = "https", certificate: bool = True) -> int:
        context = ssl.create_default_context(cafile=str(secrets.authority))
        if certificate:
            context.load_cert_chain(*map(str, secrets.certificate(name)))
        url = f"{scheme}://{address}:{port}/{path}"
        try:
            with urllib.request.urlopen(url, context=context, timeout=5) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code

    return status_of


@pytest.fixture
def connect(name: str, address: str, secrets: Secrets) -> Iterator[Callable[..., Any]]:
    """Connects to PostgreSQL of the host as the application does, but for the options given.

    Raises psycopg2.OperationalError.
    """
    as_application = {
        "host": name,
        "hostaddr": address,
        "dbname": "bss",
        "user": "bss",
        "password": secrets.application_password,
        "sslmode": "verify-full",
        "sslrootcert": str(secrets.authority),
        "connect_timeout": 5,
    }
    opened = []

    def connect(**options: Any) -> Any:
        opened.append(psycopg2.connect(**{**as_application, **options}))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def sql(host: Host) -> Callable[[str], str]:
    """Asks PostgreSQL of the host, as its superuser; a row a line, columns separated by ``|``."""

    def sql(query: str) -> str:
        with host.sudo("postgres"):
            return str(host.check_output("psql -XAtq -d bss -c %s", query))

    return sql
