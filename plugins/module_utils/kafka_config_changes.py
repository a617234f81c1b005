# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Changes of settings, as IncrementalAlterConfigs takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import (
    BROKER_RESOURCE,
    TOPIC_RESOURCE,
)

SET, DELETE = 0, 1
"""Operations of IncrementalAlterConfigs."""

Change = dict[str, Any]


def set_to(name: str, value: str) -> Change:
    return {"name": name, "config_operation": SET, "value": value}


def reset(name: str) -> Change:
    return {"name": name, "config_operation": DELETE, "value": None}


def of_topic(name: str, changes: Sequence[Change]) -> dict[str, Any]:
    return {"resource_type": TOPIC_RESOURCE, "resource_name": name, "configs": list(changes)}


def of_broker(number: int, changes: Sequence[Change]) -> dict[str, Any]:
    """To be sent to that broker itself: it takes no settings of another."""
    return {"resource_type": BROKER_RESOURCE, "resource_name": str(number), "configs": [*changes]}
