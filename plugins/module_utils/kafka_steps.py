# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The actions of a plan as requests to Kafka: those of one step are one request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    Session,
    StepFailed,
    refused_parts,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import Action

LISTS = {
    "CreateTopics": "topics",
    "DeleteTopics": "topics",
    "CreatePartitions": "topics",
    "AlterPartitionReassignments": "topics",
    "ElectLeaders": "topic_partitions",
    "IncrementalAlterConfigs": "resources",
}
"""The field of a request that lists what it is about."""
NAMES = ("resource_name", "name", "topic")
"""How the things in those lists are called."""
NONE_TO_TAKE_BACK = "NoReassignmentInProgress"
"""What Kafka says to who takes back a reassignment that has just come to its end."""


def by_request(actions: Sequence[Action]) -> Iterator[list[Action]]:
    """The actions, request by request: those of one step, and for brokers those of one broker."""
    for _key, group in groupby(
        actions, key=lambda action: (action.options["step"], action.options.get("broker"))
    ):
        yield list(group)


def request_of(session: Session, actions: Sequence[Action]) -> dict[str, Any]:
    """The request of actions that are of one step; its list is empty where they send nothing."""
    api = actions[0].statement
    request: dict[str, Any] = {
        LISTS[api]: _bodies(actions),
        **actions[0].options.get("request", {}),
    }
    if api != "IncrementalAlterConfigs":
        request["timeout_ms"] = session.timeout_ms
    return request


def send(session: Session, actions: Sequence[Action]) -> None:
    """Send the request of actions that are of one step, if there is any.

    Raises StepFailed when Kafka refuses a part of it.
    """
    api = actions[0].statement
    if not any(action.parameters for action in actions):
        return
    said = session.write(api, request_of(session, actions), broker=actions[0].options.get("broker"))
    refused = {
        name: words
        for name, words in refused_parts(said).items()
        if not words.startswith(NONE_TO_TAKE_BACK)
    }
    if refused:
        raise StepFailed(
            f"Kafka refused a part of {api}: "
            + "; ".join(f"{name}: {words}" for name, words in refused.items())
            + ". The rest of that step and the steps before it are done. Mend the cause and run "
            "the same task again, it goes on from there."
        )


def _bodies(actions: Sequence[Action]) -> list[dict[str, Any]]:
    """What the actions send; Kafka takes each thing once in a request."""
    merged: dict[str, dict[str, Any]] = {}
    for action in actions:
        for body in action.parameters:
            name = next(body[key] for key in NAMES if key in body)
            if name not in merged:
                merged[name] = dict(body)
                continue
            for part, value in body.items():
                if isinstance(value, list):
                    merged[name][part] = merged[name][part] + value
    return list(merged.values())
