# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The screen, as a playbook shows it: hosts that are lost, limits, and an exit status of 0."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[4]

INVENTORY = """
[all:vars]
ansible_connection=local
ansible_python_interpreter={python}
region=us-east
[us_east]
us-m1
us-m2
{lost}
"""

# A closed port of this machine, so that it is lost without a network.
LOST = "us-lost ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1"

PLAYBOOK = """
- hosts: all
  gather_facts: false
  ignore_unreachable: true
  tasks:
    - bss.platform.host_status:
        name: "{{ inventory_hostname }}"
      register: status_host
- hosts: all
  gather_facts: false
  tasks:
    - bss.platform.status_report:
        hosts: "{{ ansible_play_hosts_all }}"
      run_once: true
      register: report
    - ansible.builtin.debug:
        msg: "faults: {{ report.faults }}, failed: {{ report.failed }}"
      run_once: true
"""


def show(directory: Path, lost: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (directory / "hosts").write_text(INVENTORY.format(python=sys.executable, lost=lost))
    (directory / "play.yml").write_text(PLAYBOOK)
    return subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "playbook", str(directory / "play.yml")),
            *("-i", str(directory / "hosts"), *arguments),
        ],
        cwd=CHECKOUT,
        env={
            **{name: value for name, value in os.environ.items() if "ANSIBLE" not in name},
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=no",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def first_words(said: str) -> list[str]:
    return [line.split()[0] for line in said.splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("arguments", "hosts"), [([], 2), (["--limit", "us-m2"], 1), (["--check"], 2)]
)
def test_hosts_are_shown(arguments: list[str], hosts: int, tmp_path: Path) -> None:
    said = show(tmp_path, "", *arguments)
    assert said.returncode == 0, said.stdout
    lines = said.stdout.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("HOST"))
    shown = first_words("\n".join(lines[head + 1 : head + 1 + hosts]))
    assert shown == (["us-m1", "us-m2"] if hosts == 2 else ["us-m2"])
    assert "alerts: no Prometheus in us-east" in lines


def test_a_lost_host_is_shown_and_fails_nothing(tmp_path: Path) -> None:
    said = show(tmp_path, LOST)
    assert said.returncode == 0, said.stdout
    lines = [line.split() for line in said.stdout.splitlines()]
    assert ["us-lost", "NOT", "REACHED:"] in [words[:3] for words in lines]
    assert ["us-lost", "was", "not", "reached:"] in [words[:4] for words in lines]
    assert "failed: False" in said.stdout
