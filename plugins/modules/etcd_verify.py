#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Named checks of the etcd member that runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_verify
short_description: Checks the etcd member of a host
description:
  - Runs named checks against the member on this host and returns what each found.
  - A failed check does not fail the module. Give the results to M(bss.platform.verify_report), or
    judge RV(passed).
  - Runs as a user that can read O(client_cert).
  - C(etcd_healthy), the unit is active, and the member, asked over verified TLS, says that it is
    healthy. etcd says so only when it sees a leader.
  - C(etcd_refuses_anonymous), a client without a certificate gets no answer.
  - C(etcd_certificate), the certificate that is presented, and its authority, are valid for longer
    than O(certificate_days).
version_added: 0.1.0
author: the bss.platform contributors
options:
  url:
    description: Where clients reach the member, by a name that its certificate has.
    type: str
    required: true
  unit:
    description: Unit of systemd that runs the member.
    type: str
    default: etcd
  certificate_days:
    description: Days for which the certificate that the member presents must still be valid.
    type: int
    default: 14
extends_documentation_fragment:
  - bss.platform.client_certificate
  - bss.platform.attributes.info
"""

EXAMPLES = r"""
- name: Check etcd
  bss.platform.etcd_verify:
    url: https://us-c1:2379
    ca_cert: /etc/bss/tls/ca.crt
    client_cert: /etc/bss/tls/host.pem
  register: verify_etcd
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
      sample: etcd_healthy
    proves:
      description: What holds when it passes.
      type: str
      sample: etcd runs and answers over TLS
    state:
      description: V(ok), V(failed), or V(standin) where a test stand-in proves nothing.
      type: str
      sample: ok
    detail:
      description: What was seen, or what is wrong.
      type: str
      sample: etcd is active, https://us-c1:2379 is healthy
    seconds:
      description: How long it took.
      type: float
      sample: 0.021
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils import tls
from ansible_collections.bss.platform.plugins.module_utils.checks import (
    Check,
    CheckFailed,
    as_returned,
    run_checks,
)
from ansible_collections.bss.platform.plugins.module_utils.systemd import require_active


def healthy(options: Mapping[str, Any]) -> str:
    require_active(options["unit"])
    health = tls.get_json(f"{options['url']}/health", tls.client_context(options))
    if str(health.get("health")).lower() != "true":
        raise CheckFailed(f"{options['url']}/health says {health}: does the member see a leader?")
    return f"{options['unit']} is active, {options['url']} is healthy"


def refuses_anonymous(options: Mapping[str, Any]) -> str:
    url = f"{options['url']}/health"
    if not tls.refuses_anonymous(url, options["ca_cert"]):
        raise CheckFailed(f"{url} answers a client without certificate: set client-cert-auth")
    return f"{url} answers nobody without a certificate"


def checks(options: Mapping[str, Any]) -> list[Check]:
    """The checks of a member, in the order in which they run."""
    return [
        Check(
            "etcd_healthy",
            "etcd runs, answers over verified TLS and sees a leader",
            partial(healthy, options),
        ),
        Check(
            "etcd_refuses_anonymous",
            "etcd refuses a client without certificate",
            partial(refuses_anonymous, options),
        ),
        Check(
            "etcd_certificate",
            "The certificate that etcd presents, and its authority, stay valid",
            partial(tls.certificate_stays_valid, f"{options['url']}/health", options),
        ),
    ]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "unit": {"type": "str", "default": "etcd"},
            "ca_cert": {"type": "path", "required": True},
            "client_cert": {"type": "path", "required": True},
            "client_key": {"type": "path"},
            "certificate_days": {"type": "int", "default": 14},
        },
        supports_check_mode=True,
    )
    results = run_checks(checks(module.params))
    module.exit_json(changed=False, **as_returned(results))


if __name__ == "__main__":
    main()
