# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A region as its hosts and its clients see it, after everything that was done to it.

The inventory is given by ``--ansible-inventory``; the environment variable
BSS_STATE_DIR names the directory with the region's secrets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
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
    def passwords(self) -> list[str]:
        """All passwords that there are or were."""
        return [
            file.read_text(encoding="utf-8").strip()
            for file in sorted(self.directory.glob("*_password*"))
        ]


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
    return str(host.check_output("hostname"))


@pytest.fixture
def address(region: Region, name: str) -> str:
    return region.addresses[name]


Connect = Callable[..., Any]


@pytest.fixture
def connect(name: str, address: str, secrets: Secrets) -> Iterator[Connect]:
    """Connects to PostgreSQL of the host as the application does, but for the options given.

    Raises psycopg2.OperationalError.
    """
    opened = []

    def connect(**options: Any) -> Any:
        connection = psycopg2.connect(
            **{
                "host": name,
                "hostaddr": address,
                "dbname": "bss",
                "user": "bss",
                "password": secrets.application_password,
                "sslmode": "verify-full",
                "sslrootcert": str(secrets.authority),
                "connect_timeout": 5,
                **options,
            }
        )
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def sql(host: Host) -> Callable[[str], str]:
    """Asks PostgreSQL of the host, as its superuser; one row, columns separated by ``|``."""

    def sql(query: str) -> str:
        with host.sudo("postgres"):
            return str(host.check_output("psql -XAtq -d bss -c %s", query))

    return sql
