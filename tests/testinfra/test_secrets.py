# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""No secret where it does not belong: files, process lists, logs, the runs' own output."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://citus_coordinator", "ansible://citus_worker", "ansible://etcd"]

PRIVATE_KEY = "PRIVATE KEY-----"


@pytest.fixture(scope="module")
def passwords(secrets) -> list[str]:
    """The current ones, and those that were changed."""
    passwords = secrets.passwords
    assert len(set(passwords)) >= 2
    assert all(len(password) >= 32 for password in passwords)
    return passwords


def assert_hidden(passwords: list[str], text: str, must_contain: str) -> None:
    """None of the passwords is in the text, which is not an empty one."""
    assert must_contain in text
    # Not `password not in text`: the failed test would print both.
    assert [number for number, word in enumerate(passwords) if word in text] == []


def test_controller_keeps_secrets_to_itself(secrets) -> None:
    open_to_others = [
        str(path)
        for path in [secrets.directory, *secrets.directory.rglob("*")]
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) and path.suffix != ".crt"
    ]
    assert open_to_others == []


def test_runs_show_no_password(passwords: list[str]) -> None:
    log = Path(os.environ["ANSIBLE_LOG_PATH"]).read_text(encoding="utf-8")
    assert_hidden(passwords, log, "Declare the roles of applications")
    assert PRIVATE_KEY not in log


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        ("/etc/bss/tls", "root", "bss-tls", 0o750),
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


def test_processes_show_no_password(host: Host, passwords: list[str]) -> None:
    shown = host.check_output("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' ' '")
    assert_hidden(passwords, shown, "/lib/systemd/systemd")


def test_logs_show_no_password(host: Host, passwords: list[str]) -> None:
    journal = host.check_output("journalctl --no-pager --quiet --output=cat")
    assert_hidden(passwords, journal, "Started")
    if host.file("/var/log/postgresql").is_directory:
        logs = host.check_output("cat /var/log/postgresql/*")
        assert_hidden(passwords, logs, "checkpoint")


def test_files_hold_no_password(host: Host, passwords: list[str]) -> None:
    """Nor does what Ansible leaves behind."""
    files = host.check_output(
        "find /etc /root /home /tmp /var/tmp -xdev -type f -size -256k -exec cat {} + | tr -d '\\0'"
    )
    assert_hidden(passwords, files, "postgres")
