# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""PostgreSQL as applications and administrators find it."""

from __future__ import annotations

import os

import psycopg2
import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://citus_coordinator", "ansible://citus_worker"]


def test_the_application_connects_with_tls_and_scram(region, name: str, connect, sql) -> None:
    if os.environ["CITUS"] == "standin" and "citus_worker" in region.functions(name):
        pytest.skip("the stand-in brings no roles to workers")
    with connect() as connection, connection.cursor() as cursor:
        assert connection.info.ssl_in_use
        cursor.execute("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert cursor.fetchone()[0] in ("TLSv1.2", "TLSv1.3")
    stored = sql("SELECT left(rolpassword, 14) FROM pg_authid WHERE rolname = 'bss'")
    assert stored == "SCRAM-SHA-256$"


def test_a_plain_connection_is_refused(connect) -> None:
    with pytest.raises(psycopg2.OperationalError, match="no encryption"):
        connect(sslmode="disable")


def test_a_wrong_password_is_refused(connect) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        connect(password="not-the-password")


def test_no_password_opens_the_superuser(connect) -> None:
    with pytest.raises(psycopg2.OperationalError, match=r"no pg_hba\.conf entry"):
        connect(user="postgres")


def test_its_certificate_is_of_its_name(connect) -> None:
    with pytest.raises(psycopg2.OperationalError, match="does not match host name"):
        connect(host="another-host")


def test_nobody_is_trusted(sql) -> None:
    """Over the network with TLS, by password or certificate; else as one's own OS user."""
    rules = sql("SELECT DISTINCT type, auth_method FROM pg_hba_file_rules").splitlines()
    assert set(rules) == {"hostssl|cert", "hostssl|scram-sha-256", "local|peer"}
    assert sql("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL") == "0"


def test_nothing_waits_for_a_restart(sql) -> None:
    assert sql("SELECT count(*) FROM pg_settings WHERE pending_restart") == "0"


def test_its_size_follows_from_the_inventory(sql) -> None:
    """A quarter of postgresql_memory_mb."""
    assert sql("SHOW shared_buffers") == "128MB"


def test_damaged_pages_are_noticed(sql) -> None:
    assert sql("SHOW data_checksums") == "on"


def test_a_week_of_logs_is_kept(host: Host, sql) -> None:
    """A file for each weekday, begun anew when its day comes again."""
    rotation = sql(
        "SELECT name, setting FROM pg_settings WHERE name IN ('log_filename', 'log_rotation_age',"
        " 'log_rotation_size', 'log_truncate_on_rotation') ORDER BY name"
    )
    assert rotation.splitlines() == [
        "log_filename|platform-%a.log",
        "log_rotation_age|1440",
        "log_rotation_size|0",
        "log_truncate_on_rotation|on",
    ]
    current = host.file(sql("SELECT pg_current_logfile()"))
    assert current.size > 0
    assert current.mode & 0o007 == 0


def test_citus_is_the_one_asked_for(sql) -> None:
    """molecule/run says which. playbooks/verify.yml proves what the real one does."""
    assert ("stand-in" in sql("SELECT citus_version()")) == (os.environ["CITUS"] == "standin")
