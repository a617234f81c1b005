# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What a broker says of its own settings. Nothing here decides or writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import (
    Broker,
    read_cluster,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_config_values import (
    UNKNOWN,
    is_same,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import Session
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import BROKER_RESOURCE
from ansible_collections.bss.platform.plugins.module_utils.kafka_wire import error_name
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

# DescribeConfigs: where a value comes from.
SET_ON_BROKER, SET_ON_CLUSTER, IN_FILE, DEFAULT = 2, 3, 4, 5


class BrokerUnknown(PlatformError):
    """The cluster has no broker of that number."""


class SettingsUnreadable(PlatformError):
    """The broker does not tell of its settings."""


@dataclass(frozen=True)
class Setting:
    """One setting as it is on a broker."""

    name: str
    value: str | None = None
    """The one that holds. None where there is none, or it is secret."""
    kind: int = UNKNOWN
    """As in kafka_config_values."""
    read_only: bool = True
    """Kafka takes it from its file only, when it starts."""
    secret: bool = False
    """Kafka does not tell its value, of whatever source."""
    sources: Mapping[int, str | None] = field(default_factory=dict)
    """Its value of each source that has one; that of the lowest number holds."""

    @property
    def is_overridden(self) -> bool:
        """It is set at run time, on this broker."""
        return SET_ON_BROKER in self.sources

    @property
    def is_set_on_cluster(self) -> bool:
        """It is set at run time, for all brokers that have no value of their own."""
        return SET_ON_CLUSTER in self.sources

    @property
    def default(self) -> str | None:
        return self.sources.get(DEFAULT)

    @property
    def beneath(self) -> str | None:
        """What holds once it is not overridden any more."""
        left = [source for source in self.sources if source != SET_ON_BROKER]
        return self.sources[min(left)] if left else None

    def means(self, declared: str) -> bool:
        """Whether Kafka would take the declared value for the one that holds, if it tells that."""
        return is_same(self.kind, self.value, declared)


def find_broker(session: Session, number: int) -> Broker:
    """Where the broker is reached: it alone tells of its settings and takes changes of them."""
    brokers = {each.number: each for each in read_cluster(session)[1]}
    if number not in brokers:
        raise BrokerUnknown(
            f"The cluster that {session.name} is of has no broker {number}, but "
            f"{', '.join(map(str, brokers)) or 'none'}. Name one of those, and ask only once the "
            "broker has started; a node that is only a controller cannot be asked."
        )
    return brokers[number]


def read_settings(session: Session, broker: Broker) -> dict[str, Setting]:
    """All settings that Kafka has or was given, by name: one request.

    Raises SettingsUnreadable.
    """
    asked = {
        "resource_type": BROKER_RESOURCE,
        "resource_name": str(broker.number),
        "configuration_keys": None,
    }
    said = session.read(
        "DescribeConfigs", {"resources": [asked], "include_synonyms": True}, broker=broker.address
    )["results"][0]
    if said["error_code"]:
        raise SettingsUnreadable(
            f"Broker {broker.number} does not tell of its settings: {error_name(said)}. Check that "
            "the user of this task is a super user or may DESCRIBE_CONFIGS the cluster."
        )
    return {each["name"]: _setting(each) for each in said["configs"]}


def _setting(said: Mapping[str, Any]) -> Setting:
    return Setting(
        said["name"],
        said["value"],
        said["config_type"],
        said["read_only"],
        said["is_sensitive"],
        {
            each["source"]: each["value"]
            for each in said["synonyms"]
            if each["name"] == said["name"]  # not of ssl.x in that of a listener
        },
    )
