#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Documentation of the action plugin status_report, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: status_report
short_description: Shows on one screen what all hosts told of the platform
description:
  - Takes what tasks registered as C(status_host) (M(bss.platform.host_status)), C(status_kafka)
    (M(bss.platform.kafka_info)), C(status_flink) (M(bss.platform.flink_info)) and
    C(status_prometheus) (M(bss.platform.prometheus_info)), and prints tables of hosts, databases,
    brokers, jobs and alerts, at most 110 characters wide, and below them what is to be seen to.
  - A host that has told nothing is shown as not reached.
  - Never fails because of what it shows. To have the platform judged, use
    M(bss.platform.verify_report).
version_added: 0.4.0
author: the bss.platform contributors
options:
  hosts:
    description: The hosts to show. Their groups say what is to be on them.
    type: list
    elements: str
    required: true
  certificate_days:
    description: A certificate that ends in fewer days is to be seen to.
    type: int
    default: 14
attributes:
  action:
    description: Runs on the controller.
    support: full
  check_mode:
    description: Only reads, so check mode does the same.
    support: full
  diff_mode:
    description: Changes nothing, so there is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Show the platform
  bss.platform.status_report:
    hosts: "{{ ansible_play_hosts_all }}"
  run_once: true
"""

RETURN = r"""
msg:
  description: Whether all is well, or how many things are to be seen to and how many alerts fire.
  returned: always
  type: str
  sample: all is well
alerts:
  description: How many alerts fire.
  returned: always
  type: int
  sample: 0
faults:
  description: What is to be seen to, a line each. Alerts are not in it.
  returned: always
  type: list
  elements: str
  sample: ["us-w1 was not reached: Connection timed out"]
"""
