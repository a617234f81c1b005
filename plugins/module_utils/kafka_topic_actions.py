# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A plan about topics sent to Kafka: on trial, and in earnest; each step is one request."""

from __future__ import annotations

import time
from collections.abc import Collection

from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    Session,
    refused_parts,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_steps import (
    by_request,
    request_of,
    send,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topic_plan import Step
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import read_reassignments
from ansible_collections.bss.platform.plugins.module_utils.plan import (
    Plan,
    PlatformError,
    Refusal,
)

REASSIGNMENT_POLL_S = 0.5
TRIABLE = (Step.CREATE_TOPICS, Step.CONFIGURE, Step.CONFIGURE_GROWN, Step.CREATE_PARTITIONS)
"""Steps whose requests Kafka can judge without doing them."""


class ReassignmentUnderWay(PlatformError):
    """Not done in the time given; it goes on in the cluster."""


def objections(session: Session, decided: Plan) -> list[Refusal]:
    """What Kafka would refuse of a plan, found out by trial requests that change nothing."""
    found = []
    for actions in by_request(decided.actions):
        if actions[0].options["step"] not in TRIABLE:
            continue
        api = actions[0].statement
        said = session.read(api, {**request_of(session, actions), "validate_only": True})
        found += [
            Refusal(
                f"topic {name} as declared",
                f"Kafka says: {words}",
                f"it refused the trial of {api}",
                "change what it speaks of, or the rights of this task's user",
            )
            for name, words in refused_parts(said).items()
        ]
    return found


def apply(session: Session, decided: Plan, reassignment_timeout: int) -> None:
    """Send the plan, a request a step, and wait for reassignments.

    Raises StepFailed, ReassignmentUnderWay or ConnectionLost; the same task goes on from there.
    """
    for actions in by_request(decided.actions):
        send(session, actions)
        if actions[0].options["step"] == Step.REASSIGN:
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
