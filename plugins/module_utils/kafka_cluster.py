# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What a Kafka cluster says of itself: brokers, the controllers' quorum, features."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import Session
from ansible_collections.bss.platform.plugins.module_utils.kafka_wire import error_name
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

METADATA_TOPIC = "__cluster_metadata"


class QuorumUnknown(PlatformError):
    """The cluster does not tell of its controllers' quorum."""


@dataclass(frozen=True)
class Broker:
    number: int
    host: str
    port: int
    rack: str | None = None
    fenced: bool = False
    """Registered, but it does not serve: stopped, starting or cut off."""

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    def facts(self) -> dict[str, Any]:
        return {
            "id": self.number,
            "host": self.host,
            "port": self.port,
            "rack": self.rack,
            "fenced": self.fenced,
        }


def read_cluster(session: Session) -> tuple[str, tuple[Broker, ...]]:
    """The cluster's id and its registered brokers, those that do not serve included."""
    said = session.read("DescribeCluster", {"include_fenced_brokers": True})
    brokers = (
        Broker(
            each["broker_id"],
            each["host"],
            each["port"],
            each["rack"],
            each.get("is_fenced", False),
        )
        for each in said["brokers"]
    )
    return said["cluster_id"], tuple(sorted(brokers, key=lambda broker: broker.number))


def read_quorum(session: Session) -> dict[str, Any]:
    """The controllers' quorum, as kafka_info returns it."""
    said = session.read(
        "DescribeQuorum",
        {"topics": [{"topic_name": METADATA_TOPIC, "partitions": [{"partition_index": 0}]}]},
    )
    partition = said["topics"][0]["partitions"][0]
    if partition["error_code"]:
        raise QuorumUnknown(
            f"{session.name} does not tell of the controllers' quorum: {error_name(partition)}."
        )
    now_ms = time.time() * 1000
    # The leader's own times are those of its answer: they tell what its clock shows.
    leader = [each for each in partition["current_voters"] if _is_leader(each, partition)]
    leader_ms = leader[0]["last_caught_up_timestamp"] if leader else now_ms
    return {
        "leader": partition["leader_id"],
        "epoch": partition["leader_epoch"],
        "high_watermark": partition["high_watermark"],
        "voters": [_replica(each, partition, leader_ms) for each in partition["current_voters"]],
        "observers": [_replica(each, partition, leader_ms) for each in partition["observers"]],
    }


def read_features(session: Session) -> dict[str, dict[str, int]]:
    """What is finalised of each feature (metadata.version, ...), and the most that is possible."""
    said = session.api_versions
    finalised = {each["name"]: each["max_version_level"] for each in said["finalized_features"]}
    return {
        each["name"]: {
            "finalized": finalised.get(each["name"], 0),
            "supported_min": each["min_version"],
            "supported_max": each["max_version"],
        }
        for each in sorted(said["supported_features"], key=lambda feature: feature["name"])
    }


def _is_leader(replica: dict[str, Any], partition: dict[str, Any]) -> bool:
    return bool(replica["replica_id"] == partition["leader_id"])


def _replica(
    replica: dict[str, Any], partition: dict[str, Any], leader_ms: float
) -> dict[str, Any]:
    caught_up = replica["last_caught_up_timestamp"]
    directory = replica.get("replica_directory_id")
    return {
        "id": replica["replica_id"],
        "directory_id": None if directory is None else str(directory),
        "log_end_offset": replica["log_end_offset"],
        "lag": max(0, partition["high_watermark"] - replica["log_end_offset"]),
        "behind_ms": max(0, int(leader_ms - caught_up)) if caught_up > 0 else None,
    }
