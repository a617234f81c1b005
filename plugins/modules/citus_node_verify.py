#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Named checks of one database host: its PostgreSQL, and its way to all others."""

from __future__ import annotations

DOCUMENTATION = r"""
module: citus_node_verify
short_description: Checks the PostgreSQL of one host of a Citus cluster
description:
  - Runs named checks on a host, be it primary or standby, and returns what each found. What holds
    of the cluster as a whole is for M(bss.platform.citus_verify).
  - A failed check does not fail the module. Give the results to M(bss.platform.verify_report), or
    judge RV(passed).
  - Runs as the user that PostgreSQL runs as, since it reaches the other nodes with what Citus on
    this host is set to use, C(citus.node_conninfo) and C(pg_dist_authinfo).
  - C(postgresql_answers), PostgreSQL answers a query.
  - C(plain_connection_refused), none of O(peers) would speak to this host without TLS.
  - C(nodes_reached_by_name), this host logs in to each of O(peers) by its name over TLS with
    C(sslmode=verify-full).
  - C(postgresql_certificate), the certificate that PostgreSQL presents, and its authority, are
    valid for longer than O(certificate_days).
  - C(pg_hba_strict), no rule of C(pg_hba) trusts anybody, none admits a network connection without
    TLS, and the file has no error.
  - C(no_old_prepared_transactions), no prepared transaction is older than a minute. Such a one
    holds locks, and is a half of a transaction over two nodes.
version_added: 0.1.0
author: the bss.platform contributors
options:
  peers:
    description:
      - Names of the hosts that this one must reach, itself among them.
      - Their PostgreSQL listens on O(login_port).
    type: list
    elements: str
    required: true
  name:
    description: This host's own name, one that its certificate has.
    type: str
    required: true
  certificate_days:
    description: Days for which the certificate that PostgreSQL presents must still be valid.
    type: int
    default: 14
extends_documentation_fragment:
  - bss.platform.postgresql
  - bss.platform.attributes.info
"""

EXAMPLES = r"""
- name: Check PostgreSQL
  bss.platform.citus_node_verify:
    login_unix_socket: /var/run/postgresql
    login_db: bss
    name: us-w1
    peers: [us-c1, us-w1]
  become: true
  become_user: postgres
  register: verify_node
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
      sample: plain_connection_refused
    proves:
      description: What holds when it passes.
      type: str
      sample: No node speaks to this host without TLS
    state:
      description: V(ok), V(failed), or V(standin) where a test stand-in proves nothing.
      type: str
      sample: ok
    detail:
      description: What was seen, or what is wrong.
      type: str
      sample: refused by us-c1, us-w1
    seconds:
      description: How long it took.
      type: float
      sample: 0.012
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils import postgresql_wire, tls
from ansible_collections.bss.platform.plugins.module_utils.checks import (
    Check,
    CheckFailed,
    Result,
    as_returned,
    conclude,
    passed,
    run_checks,
)
from ansible_collections.bss.platform.plugins.module_utils.citus import Address
from ansible_collections.bss.platform.plugins.module_utils.citus_connection import (
    connect_as_node,
    node_conninfo,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError
from ansible_collections.bss.platform.plugins.module_utils.postgresql import (
    CONNECTION_OPTIONS,
    Session,
    connect,
)

PREPARED_TRANSACTION_MAX_AGE = "1 minute"
NETWORK_WITHOUT_TLS = ("host", "hostnossl")


def hba_faults(rules: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with pg_hba; ``rules`` are rows of pg_hba_file_rules."""
    faults = []
    for rule in rules:
        line = f"line {rule['line_number']}"
        if rule["error"]:
            faults.append(f"{line} is not understood: {rule['error']}")
        elif rule["auth_method"] == "trust":
            faults.append(f"{line} trusts whoever comes: {rule['type']} {rule['user_name']}")
        elif rule["type"] in NETWORK_WITHOUT_TLS and rule["auth_method"] != "reject":
            faults.append(f"{line} admits connections without TLS: write hostssl")
    return faults


class NodeChecks:
    """The checks of one host; all but the first use the session that it opened."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._peers = options["peers"]
        self._port = options["login_port"]
        self._session: Session

    def answers(self) -> str:
        self._session = connect(self._options)
        (row,) = self._session.rows(
            "SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS standby"
        )
        return f"PostgreSQL {row['version']}, {'a standby' if row['standby'] else 'a primary'}"

    def plain_refused(self) -> str:
        user, database = self._options["login_user"], self._options["login_db"]
        faults = []
        for peer in self._peers:
            try:
                sqlstate = postgresql_wire.refusal_of_plain_connection(
                    peer, self._port, user, database
                )
            except (OSError, PlatformError) as error:
                faults.append(f"{peer}: {error}")
                continue
            if sqlstate is None:
                faults.append(f"{peer} would authenticate without TLS: see its pg_hba")
            elif sqlstate != postgresql_wire.NO_MATCHING_RULE:
                faults.append(f"{peer} refuses, but not for want of TLS: {sqlstate}")
        return conclude(faults, f"refused by {', '.join(self._peers)}")

    def reached_by_name(self) -> str:
        sslmode = node_conninfo(self._session).get("sslmode")
        if sslmode != "verify-full":
            raise CheckFailed(
                f"citus.node_conninfo has sslmode={sslmode}: the nodes do not verify each other"
            )
        faults = []
        password = self._options["login_password"]
        for peer in self._peers:
            try:
                session = connect_as_node(self._session, Address(peer, self._port), password)
            except PlatformError as error:
                faults.append(str(error))
                continue
            try:
                if not session.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"):
                    faults.append(f"{peer} was reached without TLS")
            finally:
                session.close()
        return conclude(faults, f"logged in to {', '.join(self._peers)}")

    def certificate(self) -> str:
        authority = node_conninfo(self._session).get("sslrootcert")
        if not authority:
            raise CheckFailed("citus.node_conninfo names no sslrootcert to verify it with")
        context = tls.anonymous_context(authority)
        days = postgresql_wire.server_certificate_days_left(
            self._options["name"], self._port, context
        )
        return tls.require_days(days, context, self._options["certificate_days"])

    def hba_strict(self) -> str:
        rules = self._session.rows(
            "SELECT line_number, type, user_name, auth_method, error FROM pg_hba_file_rules"
        )
        return conclude(hba_faults(rules), f"{len(rules)} rules")

    def no_old_prepared_transactions(self) -> str:
        rows = self._session.rows(
            "SELECT gid, prepared::timestamp(0)::text AS prepared FROM pg_prepared_xacts "
            "WHERE prepared < now() - %s::interval",
            (PREPARED_TRANSACTION_MAX_AGE,),
        )
        faults = [f"{row['gid']} has been prepared since {row['prepared']}" for row in rows]
        if faults:
            faults.append(
                "a coordinator that is well settles them within minutes; if it does not, "
                "call recover_prepared_transactions() on it"
            )
        return conclude(faults, f"none older than {PREPARED_TRANSACTION_MAX_AGE}")

    def run(self) -> list[Result]:
        """All results; only the first when PostgreSQL does not answer."""
        first = run_checks(
            [Check("postgresql_answers", "PostgreSQL answers a query", self.answers)]
        )
        if not passed(first):
            return first
        try:
            return first + run_checks(
                [
                    Check(
                        "plain_connection_refused",
                        "No node speaks to this host without TLS",
                        self.plain_refused,
                    ),
                    Check(
                        "nodes_reached_by_name",
                        "Every node is reached by its name over TLS with verify-full",
                        self.reached_by_name,
                    ),
                    Check(
                        "postgresql_certificate",
                        "The certificate that PostgreSQL presents, and its authority, stay valid",
                        self.certificate,
                    ),
                    Check(
                        "pg_hba_strict",
                        "No rule trusts anybody or admits a network connection without TLS",
                        self.hba_strict,
                    ),
                    Check(
                        "no_old_prepared_transactions",
                        "No transaction over two nodes is left half done",
                        self.no_old_prepared_transactions,
                    ),
                ]
            )
        finally:
            self._session.close()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "name": {"type": "str", "required": True},
            "peers": {"type": "list", "elements": "str", "required": True},
            "certificate_days": {"type": "int", "default": 14},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **as_returned(NodeChecks(module.params).run()))


if __name__ == "__main__":
    main()
