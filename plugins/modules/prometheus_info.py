#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What Prometheus watches, and which alerts fire."""

from __future__ import annotations

DOCUMENTATION = r"""
module: prometheus_info
short_description: Read what Prometheus watches and which alerts fire
version_added: 0.4.0
description:
  - Returns how many targets Prometheus scrapes and which do not answer, and the alerts that
    Alertmanager has been told of. Changes nothing.
  - Costs one request to each.
options:
  url:
    description: Address of Prometheus, by a name that its certificate has.
    type: str
    required: true
  alertmanager_url:
    description: Address of Alertmanager, by a name that its certificate has.
    type: str
    required: true
  ca_cert:
    description: File with the certificate authority that signed the certificates of both.
    type: path
    required: true
  username:
    description: User who may look.
    type: str
    default: operator
  password:
    description: That user's password.
    type: str
    required: true
  request_timeout:
    description: Seconds that an answer may take.
    type: int
    default: 10
extends_documentation_fragment:
  - bss.platform.attributes.info
seealso:
  - module: bss.platform.prometheus_verify
author:
  - The bss.platform contributors (@bss-platform)
"""

EXAMPLES = r"""
- name: Read which alerts fire
  bss.platform.prometheus_info:
    url: https://us-m1:9090
    alertmanager_url: https://us-m1:9093
    ca_cert: /etc/bss/tls/ca.crt
    password: "{{ prometheus_password }}"
  register: prometheus

- name: Show their names
  ansible.builtin.debug:
    msg: "{{ prometheus.alerts | map(attribute='name') }}"
"""

RETURN = r"""
targets:
  description: What Prometheus scrapes.
  returned: success
  type: dict
  contains:
    total:
      description: How many there are.
      type: int
      sample: 43
    down:
      description: Those that did not answer the last time.
      type: list
      elements: str
      sample: [kafka of us-k1]
alerts:
  description: Alerts that fire now, neither silenced nor inhibited; the newest first.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the alert.
      type: str
      sample: KafkaUnderReplicatedPartitions
    severity:
      description: Its severity; empty where it has none.
      type: str
      sample: critical
    instance:
      description: The host that it is about; empty where it is about more than one.
      type: str
      sample: us-k1
    labels:
      description: All of its labels.
      type: dict
      sample: {alertname: KafkaUnderReplicatedPartitions, severity: critical, instance: us-k1}
    summary:
      description: What it says.
      type: str
      sample: us-k1 leads 12 partitions that have fewer replicas in sync than declared
    since:
      description: When it began to fire.
      type: str
      sample: "2026-01-31T10:15:30.123Z"
suppressed:
  description: How many more are silenced or inhibited.
  returned: success
  type: int
  sample: 0
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.checks import one_line
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError
from ansible_collections.bss.platform.plugins.module_utils.prometheus import Api, read_targets

FIRING = "active"

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "url": {"type": "str", "required": True},
    "alertmanager_url": {"type": "str", "required": True},
    "ca_cert": {"type": "path", "required": True},
    "username": {"type": "str", "default": "operator"},
    "password": {"type": "str", "required": True, "no_log": True},
    "request_timeout": {"type": "int", "default": 10},
}


def run(options: Mapping[str, Any]) -> dict[str, Any]:
    """Read it all. Raises PlatformError."""
    targets = read_targets(Api(options["url"], options))
    alerts = Api(options["alertmanager_url"], options).get("/api/v2/alerts")
    firing = [each for each in alerts if each["status"]["state"] == FIRING]
    return {
        "changed": False,
        "targets": {
            "total": len(targets),
            "down": sorted(str(target) for target in targets if target.health == "down"),
        },
        "alerts": [
            {
                "name": each["labels"].get("alertname", ""),
                "severity": each["labels"].get("severity", ""),
                "instance": each["labels"].get("instance", ""),
                "labels": each["labels"],
                "summary": one_line(each["annotations"].get("summary", "")),
                "since": each["startsAt"],
            }
            for each in sorted(firing, key=lambda alert: str(alert["startsAt"]), reverse=True)
        ],
        "suppressed": len(alerts) - len(firing),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = run(module.params)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
