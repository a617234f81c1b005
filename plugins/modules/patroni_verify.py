#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Named checks of the Patroni that runs a host's PostgreSQL, and of its group."""

from __future__ import annotations

DOCUMENTATION = r"""
module: patroni_verify
short_description: Checks the Patroni member of a host, and its group as that member sees it
description:
  - Runs named checks over Patroni's REST API on this host and returns what each found.
  - A failed check does not fail the module. Give the results to M(bss.platform.verify_report), or
    judge RV(passed).
  - Runs as a user that can read O(client_cert).
  - C(patroni_running), the unit is active, and Patroni, asked over verified TLS, says that
    PostgreSQL runs and that the quorum can be reached.
  - C(patroni_refuses_anonymous), a client without a certificate gets no answer.
  - C(patroni_certificate), the certificate that is presented, and its authority, are valid for
    longer than O(certificate_days).
  - C(group_has_one_primary), the group has a leader that runs, all O(members) are in it, and no
    other member takes itself for a primary.
  - C(group_standbys_stream), every other member streams from the leader, at most O(max_lag_bytes)
    behind, and one of them is synchronous where the group is set to be.
version_added: 0.1.0
author: the bss.platform contributors
options:
  url:
    description: Patroni's REST API, by a name that its certificate has.
    type: str
    required: true
  unit:
    description: Unit of systemd that runs Patroni.
    type: str
    default: patroni
  group:
    description: Number of the Citus group that the host belongs to.
    type: int
    required: true
  members:
    description: Names of the members that the group is declared to have.
    type: list
    elements: str
    required: true
  max_lag_bytes:
    description: How far a standby's replay may be behind the leader, in bytes of WAL.
    type: int
    default: 16777216
  certificate_days:
    description: Days for which the certificate that Patroni presents must still be valid.
    type: int
    default: 14
extends_documentation_fragment:
  - bss.platform.client_certificate
  - bss.platform.attributes.info
"""

EXAMPLES = r"""
- name: Check Patroni
  bss.platform.patroni_verify:
    url: https://us-w1:8008
    ca_cert: /etc/bss/tls/ca.crt
    client_cert: /etc/bss/tls/host.pem
    group: 1
    members: [us-w1, us-w1b]
  register: verify_patroni
"""

RETURN = r"""
passed:
  description: Whether no check failed.
  returned: always
  type: bool
  sample: true
member:
  description: What this member says of who leads; for O(bss.platform.citus_verify#module:members).
  returned: when Patroni answers
  type: dict
  contains:
    name:
      description: Its own name.
      type: str
      sample: us-w1b
    group:
      description: Its group.
      type: int
      sample: 1
    leader:
      description: Name of the member that leads the group; empty when none does.
      type: str
      sample: us-w1
results:
  description: What each check found, in the order in which they ran.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the check.
      type: str
      sample: group_has_one_primary
    proves:
      description: What holds when it passes.
      type: str
      sample: The group has one primary and all its members
    state:
      description: V(ok), V(failed), or V(standin) where a test stand-in proves nothing.
      type: str
      sample: ok
    detail:
      description: What was seen, or what is wrong.
      type: str
      sample: us-w1 leads, 2 members
    seconds:
      description: How long it took.
      type: float
      sample: 0.017
"""

from collections.abc import Mapping, Sequence
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
from ansible_collections.bss.platform.plugins.module_utils.patroni import (
    CLIENT_OPTIONS,
    Api,
    Group,
    read_group,
)
from ansible_collections.bss.platform.plugins.module_utils.systemd import require_active

Status = Mapping[str, Any]
"""What a member says of itself: GET /patroni."""


def status_faults(status: Status) -> list[str]:
    """What is wrong with a member by what it says of itself."""
    faults = []
    if status["state"] != "running":
        faults.append(f"PostgreSQL is {status['state']}: see journalctl -u patroni")
    if status.get("failsafe_mode_is_active"):
        faults.append("the quorum is lost and the group runs in failsafe mode: see to etcd")
    if status.get("cluster_unlocked"):
        faults.append("no member holds the leader's lock")
    if status.get("pause"):
        faults.append("failover is paused: resume with patronictl resume")
    return faults


def primary_faults(group: Group, declared: Sequence[str], status: Status) -> list[str]:
    """What is wrong with who leads a group, and with who is in it.

    ``status`` is that of the member that was asked.
    """
    faults = []
    primary = group.primary
    if primary is None:
        faults.append(f"none of {', '.join(member.name for member in group.members)} leads")
    elif not primary.serves:
        faults.append(f"the leader {primary.name} is {primary.state}")
    elif status["role"] == "primary" and status["patroni"]["name"] != primary.name:
        faults.append(f"this member takes writes although {primary.name} leads")
    faults += [f"{name} is declared but no member" for name in declared if not group.member(name)]
    return faults


def standby_faults(
    group: Group, replay_lags: Mapping[str, Any], synchronous: bool, max_lag_bytes: int
) -> list[str]:
    """What is wrong with the standbys of a group.

    ``replay_lags``: bytes by name; Patroni says ``unknown`` where it does not know.
    """
    faults = []
    for standby in group.standbys:
        lag = replay_lags[standby.name]
        if standby.state != "streaming":
            faults.append(f"{standby.name} does not stream, it is {standby.state}")
        elif not isinstance(lag, int):
            faults.append(f"how far {standby.name} is behind is {lag}")
        elif lag > max_lag_bytes:
            faults.append(f"{standby.name} is {lag} bytes behind, allowed are {max_lag_bytes}")
    if synchronous and group.standbys and not any(member.is_sync for member in group.standbys):
        faults.append("the group is set to be synchronous but none of its standbys is")
    return faults


class PatroniChecks:
    """The checks of one member, over its REST API."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._url = options["url"]
        self._api = Api(options)
        self.member: dict[str, Any] | None = None
        """Set by one_primary(): who leads, by this member's word."""

    def running(self) -> str:
        require_active(self._options["unit"])
        status = self._api.get(f"{self._url}/patroni")
        return conclude(status_faults(status), f"PostgreSQL runs as {status['role']}")

    def refuses_anonymous(self) -> str:
        if not tls.refuses_anonymous(f"{self._url}/patroni", self._options["ca_cert"]):
            raise CheckFailed(
                f"{self._url} answers a client without certificate: set verify_client to required"
            )
        return f"{self._url} answers nobody without a certificate"

    def certificate(self) -> str:
        return tls.certificate_stays_valid(f"{self._url}/patroni", self._options)

    def one_primary(self) -> str:
        group = self._group()
        status = self._api.get(f"{self._url}/patroni")
        leader = group.primary.name if group.primary else ""
        self.member = {
            "name": status["patroni"]["name"],
            "group": group.number,
            "leader": leader,
        }
        faults = primary_faults(group, self._options["members"], status)
        return conclude(faults, f"{leader} leads, members: {len(group.members)}")

    def standbys_stream(self) -> str:
        group = self._group()
        # Not the lag that Group has: what was received may not have been replayed yet.
        members = self._api.get(f"{self._url}/cluster")["members"]
        lags = {member["name"]: member.get("replay_lag", "unknown") for member in members}
        synchronous = bool(self._api.get(f"{self._url}/config").get("synchronous_mode"))
        faults = standby_faults(group, lags, synchronous, self._options["max_lag_bytes"])
        return conclude(faults, f"standbys: {len(group.standbys)}")

    def _group(self) -> Group:
        return read_group(self._api, self._options["group"], [self._url])

    def all(self) -> list[Check]:
        """In the order in which they run."""
        return [
            Check(
                "patroni_running",
                "Patroni answers over verified TLS, PostgreSQL runs and the quorum is there",
                self.running,
            ),
            Check(
                "patroni_refuses_anonymous",
                "Patroni's REST API refuses a client without certificate",
                self.refuses_anonymous,
            ),
            Check(
                "patroni_certificate",
                "The certificate that Patroni presents, and its authority, stay valid",
                self.certificate,
            ),
            Check(
                "group_has_one_primary",
                "The group has one primary and all its declared members",
                self.one_primary,
            ),
            Check(
                "group_standbys_stream",
                "The group's standbys stream and are not far behind",
                self.standbys_stream,
            ),
        ]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CLIENT_OPTIONS,
            "url": {"type": "str", "required": True},
            "unit": {"type": "str", "default": "patroni"},
            "group": {"type": "int", "required": True},
            "members": {"type": "list", "elements": "str", "required": True},
            "max_lag_bytes": {"type": "int", "default": 16 * 1024 * 1024},
            "certificate_days": {"type": "int", "default": 14},
        },
        supports_check_mode=True,
    )
    checks = PatroniChecks(module.params)
    results = run_checks(checks.all())
    said = {"member": checks.member} if checks.member else {}
    module.exit_json(changed=False, **said, **as_returned(results))


if __name__ == "__main__":
    main()
