# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What Kafka says about access control lists, and how it numbers what they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import Session

ANY = 1
RESOURCE_TYPES = {
    "topic": 2,
    "group": 3,
    "cluster": 4,
    "transactional_id": 5,
    "delegation_token": 6,
    "user": 7,
}
OPERATIONS = {
    "all": 2,
    "read": 3,
    "write": 4,
    "create": 5,
    "delete": 6,
    "alter": 7,
    "describe": 8,
    "cluster_action": 9,
    "describe_configs": 10,
    "alter_configs": 11,
    "idempotent_write": 12,
    "create_tokens": 13,
    "describe_tokens": 14,
    "two_phase_commit": 15,
}
PERMISSIONS = {"deny": 2, "allow": 3}
PATTERNS = {"literal": 3, "prefixed": 4}


@dataclass(frozen=True, order=True)
class Acl:
    """One access control entry; in the words of the module's options."""

    principal: str
    resource_type: str
    resource_name: str
    pattern_type: str
    operation: str
    permission: str
    host: str

    def facts(self) -> dict[str, str]:
        return {
            "principal": self.principal,
            "resource_type": self.resource_type,
            "resource_name": self.resource_name,
            "pattern_type": self.pattern_type,
            "operation": self.operation,
            "permission": self.permission,
            "host": self.host,
        }

    def __str__(self) -> str:
        prefixed = f"{self.pattern_type} " if self.pattern_type != "literal" else ""
        host = f" from {self.host}" if self.host != "*" else ""
        return (
            f"{self.principal} {self.permission} {self.operation} on {self.resource_type} "
            f"{prefixed}{self.resource_name}{host}"
        )


def read_acls(session: Session) -> frozenset[Acl]:
    """All of the cluster, by one request; those of kinds unknown here are left out."""
    said = session.read(
        "DescribeAcls",
        {
            "resource_type_filter": ANY,
            "resource_name_filter": None,
            "pattern_type_filter": ANY,
            "principal_filter": None,
            "host_filter": None,
            "operation": ANY,
            "permission_type": ANY,
        },
    )
    types, operations, permissions, patterns = (
        {number: name for name, number in names.items()}
        for names in (RESOURCE_TYPES, OPERATIONS, PERMISSIONS, PATTERNS)
    )
    return frozenset(
        Acl(
            acl["principal"],
            types[resource["resource_type"]],
            resource["resource_name"],
            patterns[resource["pattern_type"]],
            operations[acl["operation"]],
            permissions[acl["permission_type"]],
            acl["host"],
        )
        for resource in said["resources"]
        for acl in resource["acls"]
        if resource["resource_type"] in types and acl["operation"] in operations
    )


def creation(acl: Acl) -> dict[str, Any]:
    """As CreateAcls has it."""
    return {
        "resource_type": RESOURCE_TYPES[acl.resource_type],
        "resource_name": acl.resource_name,
        "resource_pattern_type": PATTERNS[acl.pattern_type],
        "principal": acl.principal,
        "host": acl.host,
        "operation": OPERATIONS[acl.operation],
        "permission_type": PERMISSIONS[acl.permission],
    }


def exact_filter(acl: Acl) -> dict[str, Any]:
    """As DeleteAcls has it: this one and no other."""
    return {
        "resource_type_filter": RESOURCE_TYPES[acl.resource_type],
        "resource_name_filter": acl.resource_name,
        "pattern_type_filter": PATTERNS[acl.pattern_type],
        "principal_filter": acl.principal,
        "host_filter": acl.host,
        "operation": OPERATIONS[acl.operation],
        "permission_type": PERMISSIONS[acl.permission],
    }
