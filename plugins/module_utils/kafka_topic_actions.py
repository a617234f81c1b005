# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A plan about topics sent to Kafka: on trial, and in earnest; each step is one request."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    Session,
    StepFailed,
    refused_parts,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topic_plan import API, Step
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import read_reassignments
from ansible_collections.bss.platform.plugins.module_utils.plan import (
    Action,
    Plan,
    PlatformError,
    Refusal,
)

REASSIGNMENT_POLL_S = 0.5
TRIABLE = (Step.CREATE_TOPICS, Step.CONFIGURE, Step.CONFIGURE_GROWN, Step.CREATE_PARTITIONS)
"""Steps whose requests Kafka can judge without doing them."""
LISTS = {
    "CreateTopics": "topics",
    "DeleteTopics": "topics",
    "CreatePartitions": "topics",
    "AlterPartitionReassignments": "topics",
    "IncrementalAlterConfigs": "resources",
}
"""The field of a request that lists what it is about."""


class ReassignmentUnderWay(PlatformError):
    """Not done in the time given; it goes on in the cluster."""


def objections(session: Session, decided: Plan) -> list[Refusal]:
    """What Kafka would refuse of a plan, found out by trial requests that change nothing."""
    found = []
    for (step, _broker), actions in _requests(decided.actions):
        if step not in TRIABLE:
            continue
        bodies = _bodies(actions)
        said = session.read(API[step], {**_request(session, step, bodies), "validate_only": True})
        found += [
            Refusal(
                f"topic {name} as declared",
                f"Kafka says: {words}",
                f"it refused the trial of {API[step]}",
                "change what it speaks of, or the rights of this task's user",
            )
            for name, words in refused_parts(said).items()
        ]
    return found


def apply(session: Session, decided: Plan, reassignment_timeout: int) -> None:
    """Send the plan, a request a step, and wait for reassignments.

    Raises StepFailed, ReassignmentUnderWay or ConnectionLost; the same task goes on from there.
    """
    for (step, broker), actions in _requests(decided.actions):
        bodies = _bodies(actions)
        if bodies:
            said = session.write(API[step], _request(session, step, bodies), broker=broker)
            refused = refused_parts(said)
            if refused:
                raise StepFailed(
                    f"Kafka refused a part of {API[step]}: "
                    + "; ".join(f"{name}: {words}" for name, words in refused.items())
                    + ". The rest of that step and the steps before it are done. Mend the cause "
                    "and run the same task again, it goes on from there."
                )
        if step == Step.REASSIGN:
            _wait(
                session, {str(action.options["topic"]) for action in actions}, reassignment_timeout
            )


def _wait(session: Session, names: Collection[str], timeout: int) -> None:
    """Until nothing of these topics is reassigned any more; Kafka has no call that waits."""
    deadline = time.monotonic() + timeout
    while True:
        moves = read_reassignments(session)
        left = [
            f"{name}-{partition.number} (broker "
            f"{', '.join(map(str, partition.adding or partition.removing))})"
            for name in sorted(names)
            for partition in moves.get(name, {}).values()
        ]
        if not left:
            return
        if time.monotonic() > deadline:
            raise ReassignmentUnderWay(
                f"After {timeout} s, {len(left)} partitions are still reassigned: "
                f"{', '.join(left[:10])}{', ...' if len(left) > 10 else ''}. Kafka goes on with "
                "it, and nothing is lost. Run the same task again to join it, with a longer "
                "reassignment_timeout or a higher throttle; check that those brokers serve."
            )
        time.sleep(REASSIGNMENT_POLL_S)


def _requests(
    actions: Sequence[Action],
) -> Iterator[tuple[tuple[Step, tuple[str, int] | None], list[Action]]]:
    """The actions, request by request: those of one step, and for brokers those of one broker."""
    for key, group in groupby(
        actions, key=lambda action: (action.options["step"], action.options.get("broker"))
    ):
        yield key, list(group)


def _bodies(actions: Sequence[Action]) -> list[dict[str, Any]]:
    """What the actions send; Kafka takes each resource once in a request."""
    merged: dict[str, dict[str, Any]] = {}
    for action in actions:
        for body in action.parameters:
            name = body.get("resource_name", body.get("name"))
            if name in merged:
                merged[name]["configs"] += body["configs"]
            else:
                merged[name] = {
                    **body,
                    **({"configs": [*body["configs"]]} if "configs" in body else {}),
                }
    return list(merged.values())


def _request(session: Session, step: Step, bodies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    api = API[step]
    request: dict[str, Any] = {LISTS[api]: list(bodies)}
    if api != "IncrementalAlterConfigs":
        request["timeout_ms"] = session.timeout_ms
    return request
