#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Named checks of the exporters of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: exporter_verify
short_description: Checks the exporters of a host
description:
  - Runs named checks and returns what each found.
  - A failed check does not fail the module. Give the results to M(bss.platform.verify_report), or
    judge RV(passed).
  - C(exporters_run), O(units) are active, and each of O(ports) tells metrics at C(/metrics) to a
    client with O(client_cert).
  - C(exporters_refuse_strangers), each of O(ports) turns away a client without certificate.
  - C(exporters_certificate), the certificates that are presented name the host, and they and their
    authority are valid for longer than O(certificate_days).
version_added: 0.4.0
author: the bss.platform contributors
options:
  host:
    description: Name of the host, as it is in its certificate.
    type: str
    required: true
  units:
    description: Units of systemd that run the exporters.
    type: list
    elements: str
    required: true
  ports:
    description: Their ports for clients with a certificate.
    type: list
    elements: int
    required: true
  certificate_days:
    description: Days for which the certificates must still be valid.
    type: int
    default: 14
extends_documentation_fragment:
  - bss.platform.attributes.info
  - bss.platform.client_certificate
seealso:
  - module: bss.platform.prometheus_verify
  - module: bss.platform.verify_report
"""

EXAMPLES = r"""
- name: Check the exporters of this host
  bss.platform.exporter_verify:
    host: us-c1
    units: [prometheus-node-exporter, prometheus-postgres-exporter]
    ports: [9100, 9187]
    ca_cert: /etc/bss/tls/ca.crt
    client_cert: /etc/bss/tls/host.pem
  register: verify_exporters
"""

RETURN = r"""
passed:
  description: Whether no check failed.
  returned: always
  type: bool
  sample: true
results:
  description: What each check found, in the order in which they ran.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the check.
      type: str
      sample: exporters_run
    proves:
      description: What holds when it passes.
      type: str
      sample: The exporters run and tell metrics over verified mutual TLS
    state:
      description: V(ok), V(failed), or V(standin) where a test stand-in proves nothing.
      type: str
      sample: ok
    detail:
      description: What was seen, or what is wrong.
      type: str
      sample: prometheus-node-exporter active, metrics at 9100
    seconds:
      description: How long it took.
      type: float
      sample: 0.053
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils import tls
from ansible_collections.bss.platform.plugins.module_utils.checks import (
    Check,
    as_returned,
    conclude,
    run_checks,
)
from ansible_collections.bss.platform.plugins.module_utils.systemd import require_active

OK = 200

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "host": {"type": "str", "required": True},
    "units": {"type": "list", "elements": "str", "required": True},
    "ports": {"type": "list", "elements": "int", "required": True},
    "ca_cert": {"type": "path", "required": True},
    "client_cert": {"type": "path", "required": True},
    "client_key": {"type": "path"},
    "certificate_days": {"type": "int", "default": 14},
}


def run(options: Mapping[str, Any]) -> str:
    for unit in options["units"]:
        require_active(unit)
    context = tls.client_context(options)
    faults = []
    for port in options["ports"]:
        url = f"https://{options['host']}:{port}/metrics"
        answer = tls.get(url, context)
        if answer.status != OK or "\n# TYPE " not in answer.body:
            faults.append(f"{url} answers {answer.status}, and tells no metrics")
    return conclude(
        faults, f"{_listed(options['units'])} active, metrics at {_listed(options['ports'])}"
    )


def refuse_strangers(options: Mapping[str, Any]) -> str:
    faults: list[str] = []
    for port in options["ports"]:
        faults += tls.strangers_taken(options["host"], port, {**options, "foreign_cert": None})
    return conclude(faults, f"turned away at {_listed(options['ports'])}")


def certificate(options: Mapping[str, Any]) -> str:
    context = tls.client_context(options)
    days = min(
        tls.server_certificate_days_left(options["host"], port, context)
        for port in options["ports"]
    )
    return tls.require_days(days, context, options["certificate_days"])


def checks(options: Mapping[str, Any]) -> list[Check]:
    """The checks of a host, in the order in which they run."""
    return [
        Check(
            "exporters_run",
            "The exporters run and tell metrics over verified mutual TLS",
            partial(run, options),
        ),
        Check(
            "exporters_refuse_strangers",
            "The exporters refuse clients without a certificate",
            partial(refuse_strangers, options),
        ),
        Check(
            "exporters_certificate",
            "The certificates that the exporters present, and their authority, stay valid",
            partial(certificate, options),
        ),
    ]


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    results = run_checks(checks(module.params))
    module.exit_json(changed=False, **as_returned(results))


def _listed(items: list[Any]) -> str:
    return ", ".join(map(str, items))


if __name__ == "__main__":
    main()
