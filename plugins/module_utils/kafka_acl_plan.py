# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_acl would do: the declared access control lists against those that there are.

Pure: ``plan`` reads and writes nothing. It is the only place that decides. What allows comes
before what takes away, so that an application that stays allowed is so all the time; what denies
comes first of all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_acls import (
    Acl,
    creation,
    exact_filter,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import Action, Plan, Refusal

CREATE, DELETE = "CreateAcls", "DeleteAcls"
CLUSTER_NAME = "kafka-cluster"
PRINCIPAL = re.compile(r"[^:\s]+:.+")

# What each type of resource has an operation for, beside "all"; Kafka keeps others as well, and
# they allow nothing.
POSSIBLE = {
    "topic": {"read", "write", "create", "delete", "alter", "describe", "describe_configs",
              "alter_configs"},
    "group": {"read", "delete", "describe", "describe_configs", "alter_configs"},
    "cluster": {"create", "alter", "describe", "cluster_action", "describe_configs",
                "alter_configs", "idempotent_write"},
    "transactional_id": {"write", "describe", "two_phase_commit"},
    "delegation_token": {"describe"},
    "user": {"create_tokens", "describe_tokens"},
}  # fmt: skip


@dataclass(frozen=True)
class Declaration:
    """Some operations of one principal on one resource, as they were declared."""

    principal: str
    resource_type: str
    resource_name: str | None
    operations: tuple[str, ...]
    pattern_type: str = "literal"
    permission: str = "allow"
    host: str = "*"
    state: str = "present"

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Declaration:
        return cls(
            principal=options["principal"],
            resource_type=options["resource_type"],
            resource_name=options["resource_name"],
            operations=tuple(options["operations"] or ()),
            pattern_type=options["pattern_type"] or "literal",
            permission=options["permission"] or "allow",
            host=options["host"] or "*",
            state=options["state"] or "present",
        )

    @property
    def name(self) -> str:
        if self.resource_name is None and self.resource_type == "cluster":
            return CLUSTER_NAME
        return self.resource_name or ""

    @property
    def acls(self) -> Iterator[Acl]:
        for operation in self.operations:
            yield Acl(
                self.principal,
                self.resource_type,
                self.name,
                self.pattern_type,
                operation,
                self.permission,
                self.host,
            )

    def __str__(self) -> str:
        return f"ACL of {self.principal} on {self.resource_type} {self.name}"


@dataclass(frozen=True)
class AclPlan(Plan):
    """A plan that also tells which entries the declared principals have once it is done."""

    acls: tuple[Acl, ...] = ()


def plan(current: Iterable[Acl], declared: Sequence[Declaration], purge: bool) -> AclPlan:
    """What to create and what to delete; ``purge`` deletes what declared principals have else."""
    there = frozenset(current)
    refusals = tuple(_refusals(declared))
    if refusals:
        return AclPlan(refusals=refusals)
    wanted = {acl for each in declared if each.state == "present" for acl in each.acls}
    gone = {acl for each in declared if each.state == "absent" for acl in each.acls}
    principals = {each.principal for each in declared}
    if purge:
        gone |= {acl for acl in there if acl.principal in principals} - wanted
    created = sorted(wanted - there, key=lambda acl: (acl.permission == "allow", acl))
    deleted = sorted(gone & there)
    after = (there | wanted) - gone
    of_plan = {*created, *deleted}
    return AclPlan(
        actions=(
            *(Action(f"create {acl}", CREATE, (creation(acl),)) for acl in created),
            *(Action(f"delete {acl}", DELETE, (exact_filter(acl),)) for acl in deleted),
        ),
        before=_by_principal(there & of_plan),
        after=_by_principal(after & of_plan),
        acls=tuple(sorted(acl for acl in after if acl.principal in principals)),
    )


def _by_principal(acls: Iterable[Acl]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for acl in sorted(acls):
        found.setdefault(acl.principal, []).append(str(acl).removeprefix(f"{acl.principal} "))
    return found


def _refusals(declared: Sequence[Declaration]) -> Iterator[Refusal]:
    for each in declared:
        yield from _refusals_of(each)
    wanted = {acl for each in declared if each.state == "present" for acl in each.acls}
    gone = {acl for each in declared if each.state == "absent" for acl in each.acls}
    for acl in sorted(wanted & gone):
        yield Refusal(
            f"ACL {acl}",
            "it is in the list as present and as absent",
            "it cannot be both",
            "leave one of them",
        )


def _refusals_of(each: Declaration) -> Iterator[Refusal]:
    if not PRINCIPAL.fullmatch(each.principal):
        yield Refusal(
            str(each),
            f"principal {each.principal!r}",
            "Kafka knows principals by type and name",
            f"write User:{each.principal or 'name'}",
        )
    if not each.name:
        yield Refusal(
            str(each), "it has no name", "an ACL is about a resource", "set resource_name, or *"
        )
    if each.resource_type == "cluster" and each.name not in (CLUSTER_NAME, ""):
        yield Refusal(
            f"{each}: resource_name {each.name}",
            f"the cluster is called {CLUSTER_NAME}",
            "there is no other",
            "leave resource_name out",
        )
    if not each.operations:
        yield Refusal(
            str(each), "no operations", "nothing would be allowed or denied", "set operations"
        )
    possible = POSSIBLE[each.resource_type]
    useless = [name for name in each.operations if name != "all" and name not in possible]
    if useless:
        yield Refusal(
            f"{each}: operations {', '.join(useless)}",
            f"a {each.resource_type} has {', '.join(sorted(possible))}",
            "they would allow nothing",
            "name those that are meant, or all",
        )
