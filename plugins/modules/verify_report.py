#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Documentation of the action plugin verify_report, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verify_report
short_description: Collects the results of checks from all hosts and judges them
description:
  - Takes what tasks of checks registered, such as M(bss.platform.citus_verify), prints one table of
    it, writes it as JSON and as JUnit XML on the controller, and fails when a check failed.
  - A host that was to be checked and has no result, because it was not reached or because its
    checks broke off, is a failed check of that host. Its name is that of the suite with C(_ran),
    such as C(verify_etcd_ran).
  - Fails as well when no check ran at all.
  - Checks that a test stand-in cannot prove are counted and shown by themselves, never as passed.
version_added: 0.1.0
author: the bss.platform contributors
options:
  suites:
    description:
      - The hosts that were to be checked, by the name of the variable that the task of checks
        registered.
    type: dict
    required: true
  directory:
    description:
      - Directory on the controller for the two files.
      - It is made where it is missing. In check mode no file is written.
    type: path
    required: true
  name:
    description: Name of the files, without V(.json) and V(.xml), and of the suite in them.
    type: str
    default: verify
attributes:
  action:
    description: Runs on the controller.
    support: full
  check_mode:
    description: Judges and prints the same, and writes no file.
    support: full
  diff_mode:
    description: The files describe a moment, so a difference to the last ones says nothing.
    support: none
"""

EXAMPLES = r"""
- name: Report
  bss.platform.verify_report:
    suites:
      verify_etcd: "{{ groups['etcd'] }}"
      verify_citus: "{{ groups['citus_primary_coordinator'] }}"
    directory: "{{ inventory_dir }}/../../reports"
  run_once: true
"""

RETURN = r"""
msg:
  description: The counts in one sentence.
  returned: always
  type: str
  sample: 41 checks passed, 0 failed, 0 not proven by a stand-in
counts:
  description: Number of checks by state.
  returned: always
  type: dict
  sample: {ok: 41, failed: 0, standin: 0}
files:
  description: The files that were written, on the controller.
  returned: always
  type: list
  elements: str
  sample: [/srv/platform/reports/verify.json, /srv/platform/reports/verify.xml]
"""
