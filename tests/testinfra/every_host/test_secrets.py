# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""No secret where it does not belong: files, process lists, logs, the runs' own output."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from testinfra.host import Host

testinfra_hosts = [
    "ansible://citus_coordinator",
    "ansible://citus_worker",
    "ansible://kafka",
    "ansible://flink_jobmanager",
    "ansible://flink_taskmanager",
]

PRIVATE_KEY = "PRIVATE KEY-----"


@pytest.fixture(scope="module")
def passwords(secrets):
    """The current ones, and those that were changed."""
    passwords = secrets.passwords
    assert len(passwords) >= 2
    assert passwords.shortest() >= 32
    return passwords


def read(host: Host, command: str) -> bytes:
    answer = host.run(command)
    assert answer.rc == 0
    return answer.stdout_bytes


def test_controller_keeps_secrets_to_itself(secrets) -> None:
    open_to_others = [
        str(path)
        for path in [secrets.directory, *secrets.directory.rglob("*")]
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) and path.suffix != ".crt"
    ]
    assert open_to_others == []


def test_runs_show_no_password(passwords) -> None:
    log = Path(os.environ["ANSIBLE_LOG_PATH"]).read_bytes()
    assert b"Declare the roles of applications" in log
    assert not passwords.are_in(log)
    assert PRIVATE_KEY.encode() not in log


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        ("/etc/bss/tls", "root", "bss-tls", 0o755),  # the authority is for everyone
        ("/etc/bss/tls/ca.crt", "root", "root", 0o644),
        ("/etc/bss/tls/host.pem", "root", "bss-tls", 0o640),
    ],
)
def test_certificates_belong_to_those_who_need_them(
    host: Host, path: str, owner: str, group: str, mode: int
) -> None:
    found = host.file(path)
    assert (found.user, found.group, found.mode) == (owner, group, mode)


def test_no_key_can_be_read_by_everyone(host: Host) -> None:
    found = host.run(
        "find /etc /opt /root /home /srv /tmp /var -xdev -type f -perm -o=r -size -1M"
        " -exec grep -lI -e '%s' {} +",
        PRIVATE_KEY,
    )
    assert found.stdout == ""


def test_processes_show_no_password(host: Host, passwords) -> None:
    # A process that ends meanwhile is no error.
    shown = read(host, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ || true")
    assert b"patroni" in shown or b"kafka.Kafka" in shown or b"org.apache.flink" in shown
    assert not passwords.are_in(shown)


def test_logs_show_no_password(host: Host, passwords) -> None:
    logs = read(
        host,
        "journalctl --no-pager --quiet;"
        " find /var/log/postgresql /var/log/kafka /var/log/flink -name '*.log*' -exec cat {} +;"
        " true",
    )
    assert b"Started" in logs
    assert b"checkpoint" in logs or b"KafkaServer" in logs
    assert not passwords.are_in(logs)


def test_files_hold_no_password(host: Host, passwords) -> None:
    """Nor does what Ansible leaves behind. Who logs in with one has it: a broker, a job of Flink;
    and Flink has that of its keystores."""
    files = read(
        host,
        "find /etc /root /home /tmp /var/tmp -xdev -type f -size -256k"
        " -not -path /etc/kafka/secrets.properties -not -path /etc/flink/kafka.properties"
        " -not -path /etc/flink/config.yaml -not -path /etc/flink/tls/password -exec cat {} +",
    )
    assert b"postgres" in files or b"kafka" in files or b"flink" in files
    assert not passwords.are_in(files)
