# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What Kafka says about users: SCRAM credentials (never a password) and quotas."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import Session

MECHANISMS = {1: "SCRAM-SHA-256", 2: "SCRAM-SHA-512"}
SCRAM_SHA_512 = 2
USER = "user"
QUOTAS = ("producer_byte_rate", "consumer_byte_rate", "request_percentage")
ANY_NAME = 2
"""DescribeClientQuotas: every entity of that type that has a name."""


@dataclass(frozen=True)
class User:
    name: str
    iterations: Mapping[str, int] = field(default_factory=dict)
    """Of its credentials, by mechanism."""
    quotas: Mapping[str, float] = field(default_factory=dict)


def read_users(session: Session) -> dict[str, User]:
    """All users that have a credential or a quota, by name: two requests."""
    credentials = session.read("DescribeUserScramCredentials", {"users": None})
    iterations = {
        each["user"]: {
            MECHANISMS.get(info["mechanism"], str(info["mechanism"])): info["iterations"]
            for info in each["credential_infos"]
        }
        for each in credentials["results"]
    }
    said = session.read(
        "DescribeClientQuotas",
        {
            "components": [{"entity_type": USER, "match_type": ANY_NAME, "match": None}],
            "strict": True,  # not those of a user together with a client id
        },
    )
    quotas = {
        each["entity"][0]["entity_name"]: {value["key"]: value["value"] for value in each["values"]}
        for each in said["entries"] or ()
        if each["entity"][0]["entity_name"] is not None  # the default of all users
    }
    return {
        name: User(name, iterations.get(name, {}), quotas.get(name, {}))
        for name in sorted({*iterations, *quotas})
    }


def new_credential(name: str, password: str, iterations: int) -> dict[str, Any]:
    """What Kafka keeps instead of a password, with a salt of its own."""
    salt = os.urandom(32)
    return {
        "name": name,
        "mechanism": SCRAM_SHA_512,
        "iterations": iterations,
        "salt": salt,
        "salted_password": hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations),
    }
