#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Named checks of ZooKeeper on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: zookeeper_verify
short_description: Checks ZooKeeper on a host
description:
  - Runs named checks and returns what each found.
  - A failed check does not fail the module. Give the results to M(bss.platform.verify_report), or
    judge RV(passed).
  - C(zookeeper_serves), the unit is active, and the command C(srvr) is answered over verified TLS.
    It has to be among C(4lw.commands.whitelist).
  - C(zookeeper_refuses_plaintext), a client that does not speak TLS gets no answer.
  - C(zookeeper_refuses_strangers), a client without certificate, and one with O(foreign_cert), are
    turned away.
  - C(zookeeper_certificate), the certificate that is presented names the host, and it and its
    authority are valid for longer than O(certificate_days).
version_added: 0.3.0
author: the bss.platform contributors
options:
  host:
    description: Name of the host, as it is in its certificate.
    type: str
    required: true
  port:
    description: Port for clients with TLS (C(secureClientPort)).
    type: int
    default: 2181
  unit:
    description: Unit of systemd that runs ZooKeeper.
    type: str
    default: zookeeper
  foreign_cert:
    description:
      - File with a certificate and its key, of an authority that ZooKeeper does not trust.
      - Without it, only a client without certificate is tried.
    type: path
  certificate_days:
    description: Days for which the certificate must still be valid.
    type: int
    default: 14
extends_documentation_fragment:
  - bss.platform.attributes.info
  - bss.platform.client_certificate
seealso:
  - module: bss.platform.flink_verify
  - module: bss.platform.verify_report
"""

EXAMPLES = r"""
- name: Check the ZooKeeper of this host
  bss.platform.zookeeper_verify:
    host: us-f1
    ca_cert: /etc/zookeeper/tls/ca.crt
    client_cert: /etc/zookeeper/tls/host.pem
    foreign_cert: /etc/bss/tls/host.pem
  register: verify_zookeeper
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
      sample: zookeeper_serves
    proves:
      description: What holds when it passes.
      type: str
      sample: ZooKeeper runs and answers over verified TLS
    state:
      description: V(ok), V(failed), or V(standin) where a test stand-in proves nothing.
      type: str
      sample: ok
    detail:
      description: What was seen, or what is wrong.
      type: str
      sample: zookeeper is active, us-f1:2181 serves (standalone)
    seconds:
      description: How long it took.
      type: float
      sample: 0.021
"""

import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

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

# ZooKeeper reads four letters. The fifth makes whoever expects TLS see that this is none.
QUESTION = b"srvr\n"
TLS_ALERT = b"\x15"

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 2181},
    "unit": {"type": "str", "default": "zookeeper"},
    "ca_cert": {"type": "path", "required": True},
    "client_cert": {"type": "path", "required": True},
    "client_key": {"type": "path"},
    "foreign_cert": {"type": "path"},
    "certificate_days": {"type": "int", "default": 14},
}


def serves(options: Mapping[str, Any]) -> str:
    require_active(options["unit"])
    host, port = options["host"], options["port"]
    with (
        socket.create_connection((host, port), tls.TIMEOUT_S) as plain,
        tls.client_context(options).wrap_socket(plain, server_hostname=host) as secured,
    ):
        said = _answer(secured).decode(errors="replace")
    mode = re.search(r"^Mode: (\w+)", said, re.MULTILINE)
    if mode is None:
        raise CheckFailed(
            f"{host}:{port} answers srvr with {said[:200]!r}: see journalctl -u {options['unit']} "
            "and 4lw.commands.whitelist"
        )
    return f"{options['unit']} is active, {host}:{port} serves ({mode[1]})"


def refuses_plaintext(options: Mapping[str, Any]) -> str:
    host, port = options["host"], options["port"]
    with socket.create_connection((host, port), tls.TIMEOUT_S) as plain:
        said = _answer(plain)
    if said and not said.startswith(TLS_ALERT):
        raise CheckFailed(f"{host}:{port} answers a client that does not speak TLS: see zoo.cfg")
    return f"{host}:{port} gives no answer without TLS"


def refuses_strangers(options: Mapping[str, Any]) -> str:
    host, port = options["host"], options["port"]
    return conclude(tls.strangers_taken(host, port, options), f"{host}:{port} turns strangers away")


def certificate(options: Mapping[str, Any]) -> str:
    context = tls.client_context(options)
    days = tls.server_certificate_days_left(options["host"], options["port"], context)
    return tls.require_days(days, context, options["certificate_days"])


def checks(options: Mapping[str, Any]) -> list[Check]:
    """The checks of a host, in the order in which they run."""
    return [
        Check(
            "zookeeper_serves",
            "ZooKeeper runs and answers over verified TLS",
            partial(serves, options),
        ),
        Check(
            "zookeeper_refuses_plaintext",
            "ZooKeeper refuses a client without TLS",
            partial(refuses_plaintext, options),
        ),
        Check(
            "zookeeper_refuses_strangers",
            "ZooKeeper refuses clients without a certificate of Flink's authority",
            partial(refuses_strangers, options),
        ),
        Check(
            "zookeeper_certificate",
            "The certificate that ZooKeeper presents, and its authority, stay valid",
            partial(certificate, options),
        ),
    ]


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    results = run_checks(checks(module.params))
    module.exit_json(changed=False, **as_returned(results))


def _answer(connection: socket.socket) -> bytes:
    """What is said to the question, until the connection ends or is cut, or no more comes."""
    said = b""
    with suppress(ConnectionError, TimeoutError):
        connection.sendall(QUESTION)
        while part := connection.recv(4096):
            said += part
    return said


if __name__ == "__main__":
    main()
