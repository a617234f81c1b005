#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Named checks of a host's way to Loki, and of Loki itself."""

from __future__ import annotations

DOCUMENTATION = r"""
module: loki_verify
short_description: Checks that a host's logs come to Loki, and Loki on its own host
description:
  - Runs named checks and returns what each found.
  - A failed check does not fail the module. Give the results to M(bss.platform.verify_report), or
    judge RV(passed).
  - C(log_sender_runs), the unit O(sender) is active.
  - C(log_line_arrives), a line that is written to the host's journal is found in Loki with the
    labels of the host. The line stays in both. Left out in check mode.
  - The others run where O(host) is O(loki_host).
  - C(loki_serves), the unit is active, and Loki says over verified TLS that it is ready.
  - C(loki_refuses_strangers), a client without certificate is turned away.
  - C(loki_certificate), the certificate that is presented names the host, and it and its authority
    are valid for longer than O(certificate_days).
version_added: 0.3.0
author: the bss.platform contributors
options:
  host:
    description: Name of the host on which the module runs, as it is in the label C(host).
    type: str
    required: true
  region:
    description: Region of the host, as it is in the label C(region).
    type: str
    required: true
  loki_host:
    description: Name of the host of Loki, as it is in its certificate.
    type: str
    required: true
  port:
    description: Port of Loki.
    type: int
    default: 3100
  unit:
    description: Unit of systemd that runs Loki.
    type: str
    default: loki
  sender:
    description: Unit of systemd that sends the logs.
    type: str
    default: syslog-ng
  arrives_within:
    description: How long a line may take, in seconds.
    type: int
    default: 30
  certificate_days:
    description: Days for which the certificate must still be valid.
    type: int
    default: 14
extends_documentation_fragment:
  - bss.platform.attributes.info
  - bss.platform.client_certificate
seealso:
  - module: bss.platform.verify_report
"""

EXAMPLES = r"""
- name: Check that the logs of this host are kept
  bss.platform.loki_verify:
    host: us-k1
    region: us-east
    loki_host: us-m1
    ca_cert: /etc/bss/tls/ca.crt
    client_cert: /etc/bss/tls/host.pem
  register: verify_logs
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
      sample: log_line_arrives
    proves:
      description: What holds when it passes.
      type: str
      sample: A line that the host writes is found in Loki
    state:
      description: V(ok), V(failed), or V(standin) where a test stand-in proves nothing.
      type: str
      sample: ok
    detail:
      description: What was seen, or what is wrong.
      type: str
      sample: found at us-m1:3100 after 1.2 s
    seconds:
      description: How long it took.
      type: float
      sample: 1.214
"""

import secrets
import subprocess
import time
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils import tls
from ansible_collections.bss.platform.plugins.module_utils.checks import (
    Check,
    CheckFailed,
    as_returned,
    conclude,
    run_checks,
)
from ansible_collections.bss.platform.plugins.module_utils.systemd import require_active

OK = 200
PAUSE_S = 0.5
# By which a host's clock may be off that of others.
CLOCK_S = 600

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "host": {"type": "str", "required": True},
    "region": {"type": "str", "required": True},
    "loki_host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 3100},
    "unit": {"type": "str", "default": "loki"},
    "sender": {"type": "str", "default": "syslog-ng"},
    "arrives_within": {"type": "int", "default": 30},
    "ca_cert": {"type": "path", "required": True},
    "client_cert": {"type": "path", "required": True},
    "client_key": {"type": "path"},
    "certificate_days": {"type": "int", "default": 14},
}


def sender_runs(options: Mapping[str, Any]) -> str:
    require_active(options["sender"])
    return f"{options['sender']} is active"


def line_arrives(options: Mapping[str, Any]) -> str:
    line = f"bss_verify {secrets.token_hex(8)}"
    labels = f'{{region="{options["region"]}", host="{options["host"]}"}}'
    asked = {
        "query": f'{labels} |= "{line}"',
        "start": f"{time.time() - CLOCK_S:.0f}",
        "end": f"{time.time() + CLOCK_S:.0f}",
        "limit": 1,
    }
    url = f"{_url(options)}/loki/api/v1/query_range?{urlencode(asked)}"
    context = tls.client_context(options)
    began = time.monotonic()
    _write(line)
    while True:
        found = tls.get_json(url, context)["data"]["result"]
        took = time.monotonic() - began
        if found:
            return f"found at {options['loki_host']}:{options['port']} after {took:.1f} s"
        if took > options["arrives_within"]:
            raise CheckFailed(
                f"a line of {options['host']} was not at {options['loki_host']}:{options['port']} "
                f"after {options['arrives_within']} s: see journalctl -u {options['sender']}"
            )
        time.sleep(PAUSE_S)


def serves(options: Mapping[str, Any]) -> str:
    require_active(options["unit"])
    url = f"{_url(options)}/ready"
    answer = tls.get(url, tls.client_context(options))
    if answer.status != OK:
        raise CheckFailed(f"{url} answers {answer.status}: {answer.body[:200]}")
    return f"{options['unit']} is active, and ready at {options['port']}"


def refuses_strangers(options: Mapping[str, Any]) -> str:
    host, port = options["loki_host"], options["port"]
    taken = tls.strangers_taken(host, port, {**options, "foreign_cert": None})
    return conclude(taken, f"{host}:{port} turns strangers away")


def certificate(options: Mapping[str, Any]) -> str:
    return tls.certificate_stays_valid(f"{_url(options)}/ready", options)


def checks(options: Mapping[str, Any], check_mode: bool = False) -> list[Check]:
    """The checks of a host, in the order in which they run."""
    of_host = [
        Check(
            "log_sender_runs",
            "What sends the host's logs to Loki runs",
            partial(sender_runs, options),
        ),
        Check(
            "log_line_arrives",
            "A line that the host writes is found in Loki",
            partial(line_arrives, options),
        ),
    ]
    of_loki = [
        Check(
            "loki_serves",
            "Loki runs, and is ready over verified mutual TLS",
            partial(serves, options),
        ),
        Check(
            "loki_refuses_strangers",
            "Loki refuses clients without a certificate",
            partial(refuses_strangers, options),
        ),
        Check(
            "loki_certificate",
            "The certificate that Loki presents, and its authority, stay valid",
            partial(certificate, options),
        ),
    ]
    return [
        *(of_host[:1] if check_mode else of_host),
        *(of_loki if options["host"] == options["loki_host"] else []),
    ]


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    results = run_checks(checks(module.params, module.check_mode))
    module.exit_json(changed=False, **as_returned(results))


def _url(options: Mapping[str, Any]) -> str:
    return f"https://{options['loki_host']}:{options['port']}"


def _write(line: str) -> None:
    """To the host's journal, as any of its programs may."""
    subprocess.run(["logger", "--tag", "bss_verify", line], check=True, capture_output=True)


if __name__ == "__main__":
    main()
