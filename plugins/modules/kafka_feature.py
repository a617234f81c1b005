#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_feature
short_description: Finalise the features of a Kafka cluster
version_added: 0.2.0
description:
  - Raises the levels of features that a cluster uses, such as C(metadata.version). Do so once all
    nodes were upgraded, and nobody wants to go back to the old version.
  - A level is never lowered, since metadata that only the new one can write could be lost.
  - What all serving brokers support is asked of each of them. What controllers and brokers that do
    not serve support, and whether features need others, is found out by a trial request
    (C(validate_only)) before anything is changed, also in check mode.
options:
  features:
    description:
      - Level of each feature, by name. V(latest) is the highest that all brokers support, so that
        it is that of the oldest while brokers of several versions run.
      - Features that are not named are left alone. With V({}), the levels are only told.
      - C(StorageTool version-mapping) of Kafka tells the levels of a release, and what it is called
        as a C(metadata.version) (such as C(4.3-IV0) for V(30)).
    type: dict
    required: true
extends_documentation_fragment:
  - bss.platform.attributes
  - bss.platform.kafka
seealso:
  - module: bss.platform.kafka_info
  - module: bss.platform.kafka_gate
author:
  - The bss.platform contributors (@bss-platform)
"""

EXAMPLES = r"""
- name: Finalise what all nodes of the upgraded cluster can do
  bss.platform.kafka_feature:
    features:
      metadata.version: latest
      transaction.version: latest
      group.version: latest
    bootstrap_servers: [us-k1:9092, us-k2:9092, us-k3:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
"""

RETURN = r"""
plan:
  description: What was done, or would be done in check mode, one sentence a feature.
  returned: success
  type: list
  elements: str
  sample: [raise metadata.version from 25 to 30]
diff:
  description: Levels of the features that are raised.
  returned: success
  type: dict
  contains:
    before:
      description: As they were.
      type: dict
      sample: {metadata.version: 25}
    after:
      description: As they are now, or would be.
      type: dict
      sample: {metadata.version: 30}
requests:
  description: What was sent to change something.
  returned: success
  type: list
  elements: str
  sample:
    - >-
      UpdateFeatures {"timeout_ms": 27000, "feature_updates": [{"feature": "metadata.version",
      "max_version_level": 30, "upgrade_type": 1}], "validate_only": false}
features:
  description: All features that the brokers have, by name.
  returned: success
  type: dict
  contains:
    finalized_before:
      description: Level before; 0 where the feature was not used.
      type: int
      sample: 25
    finalized:
      description: Level now, or after a run in check mode.
      type: int
      sample: 30
    supported_min:
      description: Least level that all serving brokers support.
      type: int
      sample: 7
    supported_max:
      description: Highest level that all serving brokers support.
      type: int
      sample: 30
  sample:
    metadata.version:
      {finalized_before: 25, finalized: 30, supported_min: 7, supported_max: 30}
"""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import read_cluster
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    CONNECTION_OPTIONS,
    RequestRefused,
    Session,
    StepFailed,
    connect,
    refused_parts,
    settle,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_feature_plan import (
    API,
    Current,
    FeaturePlan,
    plan,
    refused_too,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_wire import CLIENT
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError, Refusal

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "features": {"type": "dict", "required": True},
    **CONNECTION_OPTIONS,
}


class NobodyServes(PlatformError):
    """No broker tells what it supports."""


def read(session: Session) -> Current:
    """A request for the cluster, and one to each serving broker. Raises NobodyServes."""
    _cluster_id, brokers = read_cluster(session)
    told = {
        broker.number: session.read("ApiVersions", CLIENT, broker=broker.address)
        for broker in brokers
        if not broker.fenced
    }
    if not told:
        raise NobodyServes(
            f"No broker of the cluster that {session.name} is of serves, so that none tells what "
            "it supports. Start them, and run the same task again."
        )
    newest = max(told.values(), key=lambda said: int(said["finalized_features_epoch"]))
    return Current(
        {each["name"]: each["max_version_level"] for each in newest["finalized_features"]},
        {
            broker: {
                each["name"]: (each["min_version"], each["max_version"])
                for each in said["supported_features"]
            }
            for broker, said in told.items()
        },
    )


def request(session: Session, decided: FeaturePlan, validate_only: bool) -> dict[str, Any]:
    return {
        "timeout_ms": session.timeout_ms,
        "feature_updates": [body for action in decided.actions for body in action.parameters],
        "validate_only": validate_only,
    }


def objections(session: Session, decided: FeaturePlan) -> list[Refusal]:
    """What Kafka would refuse, found out by a trial request that changes nothing."""
    if not decided.changed:
        return []
    try:
        said = session.read(API, request(session, decided, validate_only=True))
        words = "; ".join(refused_parts(said).values())
    except RequestRefused as error:
        words = error.words
    if not words:
        return []
    return [
        Refusal(
            f"to {' and to '.join(decided.sentences)}",
            f"Kafka says: {words}",
            f"it refused the trial of {API}",
            "upgrade the nodes that it speaks of, raise the features that others need as well, or "
            "mend the rights of this task's user",
        )
    ]


def apply(session: Session, decided: FeaturePlan) -> None:
    """Raises RequestRefused or StepFailed; the same task goes on from there."""
    refused = refused_parts(session.write(API, request(session, decided, validate_only=False)))
    if refused:
        raise StepFailed(
            f"Kafka refused a part of {API}: "
            + "; ".join(f"{name}: {words}" for name, words in refused.items())
            + ". Mend the cause and run the same task again, it goes on from there."
        )


def run(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Plan, apply unless in check mode, and say what was done.

    Raises PlatformError for every condition that a user can cause or mend.
    """
    declared = options["features"]
    with closing(connect(options)) as session:
        decided = plan(read(session), declared)
        decided = refused_too(decided, objections(session, decided))
        decided.raise_if_refused()
        if decided.changed and not check_mode:
            apply(session, decided)
            settle(
                "What was declared of the features",
                lambda: not plan(read(session), declared).changed,
            )
    return {
        "changed": decided.changed,
        "plan": decided.sentences,
        "diff": decided.diff,
        "requests": session.sent,
        "features": dict(decided.features),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = run(module.params, module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
