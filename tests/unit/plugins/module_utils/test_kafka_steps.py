# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import StepFailed
from ansible_collections.bss.platform.plugins.module_utils.kafka_steps import send
from ansible_collections.bss.platform.plugins.module_utils.plan import Action

NO_REASSIGNMENT_IN_PROGRESS, INVALID_REPLICA_ASSIGNMENT = 85, 39


class Answering:
    """A session that answers each part of a reassignment with this error."""

    timeout_ms = 1000

    def __init__(self, error: int) -> None:
        self.error = error

    def write(self, _api: str, request: dict[str, Any], broker: Any = None) -> dict[str, Any]:
        return {
            "responses": [
                {
                    "name": topic["name"],
                    "partitions": [
                        {"partition_index": part["partition_index"], "error_code": self.error}
                        for part in topic["partitions"]
                    ],
                }
                for topic in request["topics"]
            ]
        }


def take_back() -> Action:
    body = {"name": "t", "partitions": [{"partition_index": 0, "replicas": None}]}
    return Action(
        "take back", "AlterPartitionReassignments", parameters=(body,), options={"step": 1}
    )


def test_a_reassignment_that_has_just_ended_needs_no_taking_back() -> None:
    send(Answering(NO_REASSIGNMENT_IN_PROGRESS), [take_back()])


def test_what_is_refused_otherwise_is_told() -> None:
    with pytest.raises(StepFailed, match="t-0: InvalidReplic"):
        send(Answering(INVALID_REPLICA_ASSIGNMENT), [take_back()])
