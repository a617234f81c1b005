# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A plan about a broker's settings sent to that broker: on trial, and in earnest."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from itertools import groupby
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_broker_plan import API, BrokerPlan
from ansible_collections.bss.platform.plugins.module_utils.kafka_broker_settings import (
    Setting,
    read_settings,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    Session,
    StepFailed,
    refused_parts,
    settle,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import BROKER_RESOURCE
from ansible_collections.bss.platform.plugins.module_utils.plan import Action, Refusal


def objections(session: Session, broker: Broker, decided: BrokerPlan) -> list[Refusal]:
    """What Kafka would refuse of a plan, found out by trial requests that change nothing.

    Later rounds cannot be tried: they start from what the first makes.
    """
    first = [action for action in decided.actions if action.options["round"] == 0]
    found = []
    for actions in _by_resource(first):
        words = _tried(session, broker, actions)
        if words is None:
            continue
        # Kafka names none or one of them.
        alone = {} if len(actions) == 1 else _each_tried(session, broker, actions)
        if not alone:
            alone = {" and ".join(_asked(action) for action in actions): words}
        found += [
            Refusal(
                f"setting {asked}",
                f"Kafka says: {its_words}",
                f"it refused the trial of {API}",
                "declare another value, or mend the rights of this task's user",
            )
            for asked, its_words in alone.items()
        ]
    return found


def apply(session: Session, broker: Broker, decided: BrokerPlan) -> None:
    """Send the plan, and see each round hold before the next.

    Raises StepFailed, NotSettled or ConnectionLost; the same task goes on from there.
    """
    for _round, group in groupby(decided.actions, key=lambda action: int(action.options["round"])):
        actions = list(group)
        for of_one in _by_resource(actions):
            refused = refused_parts(session.write(API, _body(of_one), broker=broker.address))
            if refused:
                raise StepFailed(
                    f"Kafka refused {', '.join(map(_asked, of_one))}: "
                    f"{'; '.join(refused.values())}. What came before is done. Mend the cause and "
                    "run the same task again, it goes on from there."
                )
        settle(", ".join(map(_asked, actions)), partial(_holds, session, broker, actions))


def _holds(session: Session, broker: Broker, actions: Collection[Action]) -> bool:
    settings = read_settings(session, broker)
    for action in actions:
        name, value = action.options["name"], action.options["value"]
        there = settings.get(name, Setting(name))
        if there.is_overridden if value is None else not there.means(value):
            return False
    return True


def _each_tried(session: Session, broker: Broker, actions: Sequence[Action]) -> dict[str, str]:
    """Which of them Kafka refuses, with its words; they are tried with what it accepts alone.

    For one setting may ask for another, as threads of the cleaner for memory.
    """
    accepted: list[Action] = []
    others: list[Action] = []
    for action in actions:
        (others if _tried(session, broker, [action]) else accepted).append(action)
    said = {_asked(action): _tried(session, broker, [*accepted, action]) for action in others}
    return {asked: words for asked, words in said.items() if words is not None}


def _tried(session: Session, broker: Broker, actions: Sequence[Action]) -> str | None:
    """What Kafka says against it; None if nothing."""
    body = {**_body(actions), "validate_only": True}
    refused = refused_parts(session.read(API, body, broker=broker.address))
    return "; ".join(refused.values()) if refused else None


def _by_resource(actions: Sequence[Action]) -> list[list[Action]]:
    """Kafka takes each resource once in a request: the broker's, and that of all brokers."""
    resources = sorted({action.options["resource"] for action in actions}, reverse=True)
    return [
        [action for action in actions if action.options["resource"] == resource]
        for resource in resources
    ]


def _body(actions: Sequence[Action]) -> dict[str, Any]:
    resource = {
        "resource_type": BROKER_RESOURCE,
        "resource_name": actions[0].options["resource"],
        "configs": [part for action in actions for part in action.parameters],
    }
    return {"resources": [resource]}


def _asked(action: Action) -> str:
    value = action.options["value"]
    return f"{action.options['name']}: {'as in the file' if value is None else value}"
