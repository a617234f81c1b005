# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The report, run as a playbook runs it: hosts that are lost, limits, exit status, files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

CHECKOUT = Path(__file__).parents[4]

INVENTORY = """
[all:vars]
ansible_connection=local
ansible_python_interpreter={python}
[all]
us-c1 state=ok
us-w1 state=ok
"""

# A closed port of this machine, so that it is lost without a network.
LOST = "us-lost ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1\n"

PLAYBOOK = """
- hosts: all
  gather_facts: false
  ignore_unreachable: true
  tasks:
    - ansible.builtin.command: "true"
      changed_when: false
      register: verify_lost
    - ansible.builtin.set_fact:
        verify_thing:
          results:
            - name: thing
              proves: It holds
              state: "{{ state }}"
              detail: seen
              seconds: 0.1
              host: ""
      when: verify_lost is not unreachable
- hosts: all
  gather_facts: false
  tasks:
    - bss.platform.verify_report:
        suites:
          verify_thing: "{{ hosts | default(ansible_play_hosts_all) }}"
        directory: "{{ reports }}"
      run_once: true
"""


class Run:
    """A run of the playbook: its exit status, output and files."""

    def __init__(self, directory: Path, inventory: str, *arguments: str) -> None:
        (directory / "hosts").write_text(inventory)
        (directory / "play.yml").write_text(PLAYBOOK)
        self.reports = directory / "reports"
        run = subprocess.run(
            [
                *(sys.executable, "-m", "ansible", "playbook", str(directory / "play.yml")),
                *("-i", str(directory / "hosts"), "-e", f"reports={self.reports}", *arguments),
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
        self.status = run.returncode
        self.output = run.stdout + run.stderr

    def shows(self, *words: str) -> bool:
        """Whether a line of the output starts with these words."""
        return list(words) in [line.split()[: len(words)] for line in self.output.splitlines()]


GOOD = INVENTORY.format(python=sys.executable)


@pytest.mark.parametrize("limit", [[], ["--limit", "us-w1"]])
def test_all_is_well(limit: list[str], tmp_path: Path) -> None:
    run = Run(tmp_path, GOOD, *limit)
    assert run.status == 0, run.output
    hosts = 1 if limit else 2
    assert run.shows("ok", f"{hosts}/{hosts}", "thing")
    assert json.loads((run.reports / "verify.json").read_text())["counts"]["ok"] == hosts
    assert ElementTree.parse(run.reports / "verify.xml").getroot().get("failures") == "0"
    assert "changed=0" in run.output


def test_a_check_that_failed_fails_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, GOOD.replace("us-w1 state=ok", "us-w1 state=failed"))
    assert run.status != 0
    assert run.shows("FAILED", "us-w1", "thing:", "seen")
    assert "1 of 2 checks failed" in run.output
    assert json.loads((run.reports / "verify.json").read_text())["passed"] is False


def test_a_lost_host_fails_the_run_and_hides_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path, GOOD + LOST)
    assert run.status != 0
    assert run.shows("FAILED", "us-lost", "verify_thing_ran:")
    assert json.loads((run.reports / "verify.json").read_text())["counts"] == {
        "ok": 2,
        "failed": 1,
        "standin": 0,
    }


def test_all_hosts_lost(tmp_path: Path) -> None:
    run = Run(tmp_path, f"[all]\n{LOST}")
    assert run.status != 0
    assert "1 of 1 checks failed" in run.output
    assert (run.reports / "verify.xml").exists()


def test_nothing_ran(tmp_path: Path) -> None:
    run = Run(tmp_path, GOOD, "-e", '{"hosts": []}')
    assert run.status != 0
    assert "No check ran" in run.output


def test_a_standin_is_told(tmp_path: Path) -> None:
    run = Run(tmp_path, GOOD.replace("us-w1 state=ok", "us-w1 state=standin"))
    assert run.status == 0
    assert run.shows("STAND-IN", "1/2", "thing")
    assert "[WARNING]: A test stand-in is installed" in run.output


def test_check_mode_writes_no_file(tmp_path: Path) -> None:
    run = Run(tmp_path, GOOD, "--check")
    assert run.status == 0, run.output
    assert not run.reports.exists()
