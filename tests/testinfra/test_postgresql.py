# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""PostgreSQL and its files, as the role leaves them."""

from __future__ import annotations

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://citus_coordinator", "ansible://citus_worker"]

DATA = "/var/lib/postgresql/15/platform"


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        (DATA, 0o700),
        ("/etc/patroni", 0o750),
        ("/etc/patroni/patroni.yml", 0o600),
        ("/var/log/postgresql", 0o750),
    ],
)
def test_files_are_postgres_own(host: Host, path: str, mode: int) -> None:
    found = host.file(path)
    assert (found.user, found.group, found.mode) == ("postgres", "postgres", mode)


def test_data_has_checksums(sql) -> None:
    assert sql("SHOW data_checksums") == "on"


def test_nothing_waits_for_a_restart(sql) -> None:
    assert sql("SELECT count(*) FROM pg_settings WHERE pending_restart") == "0"


def test_a_week_of_logs_is_kept(host: Host, sql) -> None:
    """A file for each weekday, begun anew when its day comes again."""
    settings = ["log_filename", "log_rotation_age", "log_rotation_size", "log_truncate_on_rotation"]
    assert [sql(f"SHOW {name}") for name in settings] == ["platform-%a.log", "1d", "0", "on"]
    current = host.file(sql("SELECT pg_current_logfile()"))
    assert current.is_file
    assert current.size > 0
    assert current.mode & 0o007 == 0
    assert len(host.file("/var/log/postgresql").listdir()) <= 7


def test_members_know_each_other_by_certificate(host: Host) -> None:
    """No machine's password anywhere."""
    assert "password" not in host.file("/etc/patroni/patroni.yml").content_string


def test_citus_is_the_real_one(sql) -> None:
    version = sql("SELECT citus_version()")
    if "stand-in" in version:
        pytest.skip(f"{version}: distribution itself is not tested here")
    assert version.startswith("Citus 13")


def test_settings_are_sized_from_the_host(sql) -> None:
    assert sql("SHOW shared_buffers") == "128MB"
    assert int(sql("SHOW max_prepared_transactions")) >= int(sql("SHOW max_connections"))
