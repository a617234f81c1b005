# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""kafka_broker_config against a real broker, looked at with kafka-python's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils.kafka_properties import read_properties
from kafka.admin import ConfigResource, ConfigResourceType

NODE = 2


class Operator:
    """Somebody who declares the settings of one broker."""

    def __init__(self, cluster: Any, run_module: Callable[..., dict[str, Any]], loaded: Path):
        self.cluster = cluster
        self._run = run_module
        self.loaded = loaded
        self.copy_file()
        self.file = read_properties(loaded.read_text())

    def copy_file(self) -> None:
        """As the broker's unit does when it starts it."""
        self.loaded.write_text(self.cluster.run("properties", str(NODE)))

    def declare(
        self, changes: Mapping[str, Any], check: bool = False, **args: Any
    ) -> dict[str, Any]:
        """The broker's file with some settings changed or, with None, taken out."""
        settings = {**self.file, **changes}
        arguments = {
            **self.cluster.login,
            "broker": NODE,
            "settings": {name: value for name, value in settings.items() if value is not None},
            "loaded": str(self.loaded),
            **args,
        }
        return self._run("kafka_broker_config", arguments, check=check, diff=True)

    def declared(self, changes: Mapping[str, Any], **args: Any) -> dict[str, Any]:
        """The same three times: check, run, run again; the first and the last change nothing."""
        before = self.overrides()
        predicted = self.declare(changes, check=True, **args)
        assert not predicted["failed"], predicted
        assert predicted["requests"] == [] and self.overrides() == before
        done = self.declare(changes, **args)
        assert not done["failed"], done
        for part in ("changed", "plan", "diff", "restart_for"):
            assert done[part] == predicted[part]
        again = self.declare(changes, **args)
        assert not again["failed"], again
        assert (again["changed"], again["plan"], again["requests"]) == (False, [], [])
        assert again["restart_for"] == done["restart_for"]
        return done

    def refused(self, changes: Mapping[str, Any]) -> str:
        """What the module says when it refuses; nothing may have been changed."""
        before = self.overrides()
        answer = self.declare(changes)
        assert answer["failed"], answer
        assert self.overrides() == before
        return str(answer["msg"])

    def settings(self) -> dict[str, dict[str, Any]]:
        with self.cluster.admin() as admin:
            said = admin.describe_configs(
                [ConfigResource("BROKER", str(NODE))], config_filter="all"
            )
        found: dict[str, dict[str, Any]] = said["broker"][str(NODE)]
        return found

    def value(self, name: str) -> str:
        return str(self.settings()[name]["value"])

    def overrides(self) -> dict[str, str]:
        return {
            name: each["value"]
            for name, each in self.settings().items()
            if each["config_source"] == "DYNAMIC_BROKER_CONFIG"
        }

    def set_by_hand(self, values: Mapping[str, str | tuple[str, None]]) -> None:
        """As kafka-configs does, that is somebody else's tool."""
        resource = ConfigResource(ConfigResourceType.BROKER, str(NODE), values)
        with self.cluster.admin() as admin:
            # It does not know those of reassignments, and asks any broker.
            admin.alter_configs([resource], raise_on_unknown=False)


@pytest.fixture
def operator(kafka: Any, run_module: Any, tmp_path: Path) -> Iterator[Operator]:
    """The broker is as its file says before and after."""
    someone = Operator(kafka, run_module, tmp_path / "loaded")
    yield someone
    reverted = someone.declare({})
    assert not reverted["failed"] and reverted["restart_for"] == [], reverted
    assert someone.overrides() == {}


def test_settings_are_changed_at_run_time_and_revert(operator: Operator) -> None:
    done = operator.declared(
        {
            "num.io.threads": 9,
            "log.cleaner.threads": 2,
            "log.cleaner.dedupe.buffer.size": 4194304,
            "message.max.bytes": 2000000,
            "log.retention.ms": 86400000,
        }
    )
    assert done["restart_for"] == []
    assert operator.overrides() == {
        "num.io.threads": "9",
        "log.cleaner.threads": "2",
        "log.cleaner.dedupe.buffer.size": "4194304",
        "message.max.bytes": "2000000",
        "log.retention.ms": "86400000",
    }
    assert [each for each in done["plan"] if "num.io.threads" in each] == [
        "set num.io.threads of broker 2 from 2 to 4, on the way to 9",
        "set num.io.threads of broker 2 from 4 to 8, on the way to 9",
        "set num.io.threads of broker 2 from 8 to 9",
    ]
    back = operator.declared({})
    assert "take message.max.bytes off broker 2, from 2000000 to 1048588" in back["plan"]
    assert "take log.retention.ms off broker 2, from 86400000 to nothing" in back["plan"]
    assert operator.overrides() == {}
    assert operator.value("num.io.threads") == "2"


def test_no_way_of_writing_a_value_is_a_plan_for_ever(operator: Operator) -> None:
    """Every setting that Kafka takes at run time; some brokers choke on spaces before numbers."""
    changes = {
        "background.threads": "+3 ",
        "compression.gzip.level": "09",
        "compression.type": " lz4",
        "follower.fetch.last.tiered.offset.enable": True,
        "group.consumer.assignment.interval.ms": " 1001",
        "log.cleaner.backoff.ms": 15001,
        "log.cleaner.io.buffer.load.factor": ".70",
        "log.cleaner.io.max.bytes.per.second": "1e6",
        "log.cleaner.min.cleanable.ratio": 0.7,
        "log.cleanup.policy": ["compact", " delete "],
        "log.flush.interval.messages": "9223372036854775806",
        "log.message.timestamp.type": "LogAppendTime",
        "log.preallocate": "TRUE",
        "log.retention.bytes": "+5000000",
        "log.segment.bytes": "0001073741825",
        "max.connections.per.ip.overrides": "10.0.0.1:5, 10.0.0.2:7",
        "metric.reporters": "",
        "producer.id.expiration.ms": " 86400001",
        "remote.log.reader.threads": 40,
        "transaction.partition.verification.enable": "False",
        "unclean.leader.election.enable": "true",
    }
    operator.declared(changes)
    assert {*operator.overrides()} == {*changes}
    assert operator.value("log.cleaner.io.max.bytes.per.second") == "1000000.0"
    operator.declared({})


def test_what_only_a_restart_changes_is_told(operator: Operator) -> None:
    changes = {
        "num.partitions": 3,
        "num.network.threads": 4,
        "auto.create.topics.enable": None,
        "default.replication.factor": None,  # the same as Kafka's default
        "offsets.retention.minutes": 10080,  # Kafka's default
        "super.users": "User:node;User:broker;User:admin;User:other",
        "listener.name.broker.ssl.client.auth": "requested",
        "message.max.bytes": 2000000,
    }
    done = operator.declared(changes)
    assert done["restart_for"] == [
        "auto.create.topics.enable",
        "listener.name.broker.ssl.client.auth",
        "num.network.threads",
        "num.partitions",
        "super.users",
    ]
    assert operator.overrides() == {"message.max.bytes": "2000000"}


def test_a_restart_settles_what_was_left(operator: Operator) -> None:
    changes = {"num.partitions": "3", "message.max.bytes": "2000000"}
    assert operator.declare(changes)["restart_for"] == ["num.partitions"]
    lines = "".join(f"{name}={value}\n" for name, value in changes.items())
    operator.cluster.kill(NODE)
    try:
        operator.cluster.run("add_properties", str(NODE), lines)
        operator.copy_file()
        unreachable = operator.declare(changes, bootstrap_servers=operator.cluster.servers)
        assert unreachable["failed"] and "No connection to the broker" in unreachable["msg"]
        operator.cluster.start(NODE)
        assert operator.value("num.partitions") == "3"
        again = operator.declared(changes)
        assert (again["changed"], again["restart_for"]) == (False, [])
        # The override is left from before: it goes with the declaration.
        reverted = operator.declare({})
        assert reverted["restart_for"] == ["message.max.bytes", "num.partitions"]
    finally:
        operator.cluster.run("write_properties", str(NODE), "broker,controller")
        operator.copy_file()
        if NODE in operator.cluster.serving():
            operator.cluster.kill(NODE)
        operator.cluster.start(NODE)


def test_what_cannot_be_is_refused_at_once_and_nothing_is_changed(operator: Operator) -> None:
    message = operator.refused(
        {
            "message.max.bytes": 2000000,
            "nun.io.threads": 8,
            "listener.name.brokr.ssl.client.auth": "required",
            "num.partitions": "many",
            "log.cleanup.policy": "compress",
            "compression.gzip.level": 77,
            "log.cleaner.threads": 2,  # is right with the next one, and not without
            "log.cleaner.dedupe.buffer.size": 4194304,
        }
    )
    assert "write num.io.threads, if that is meant" in message
    assert "write listener.name.broker.ssl.client.auth, if that is meant" in message
    assert "num.partitions: many: the broker would not start with it" in message
    assert "log.cleanup.policy: compress" in message
    assert "String must be one of: compact, delete" in message
    assert "compression.gzip.level: 77" in message and "between 1 and 9" in message
    assert message.count("To go on:") == 5


def test_settings_that_do_not_go_together_are_refused_together(operator: Operator) -> None:
    message = operator.refused({"log.local.retention.ms": 5000, "log.retention.ms": 1000})
    assert "log.local.retention.ms: 5000 and log.retention.ms: 1000" in message
    assert "must not be more than log.retention.ms" in message


def test_settings_of_plugins_are_known_by_declaration(operator: Operator) -> None:
    changes = {"acme.reporter.url": "http://localhost", "acme.level": 3}
    assert "acme.level" in operator.refused(changes)
    done = operator.declared(changes, plugin_settings=["acme.reporter.", "acme.level"])
    assert done["restart_for"] == ["acme.level", "acme.reporter.url"]


def test_what_somebody_else_set_is_taken_back(operator: Operator) -> None:
    limit = "leader.replication.throttled.rate"
    by_hand = {"num.io.threads": "4", "message.max.bytes": "3000000", limit: "1000000"}
    operator.set_by_hand(by_hand)
    operator.cluster.wait("them to hold", lambda: operator.overrides() == by_hand)
    done = operator.declared({"message.max.bytes": 2000000})
    assert done["plan"] == [
        "set message.max.bytes of broker 2 from 3000000 to 2000000",
        "take num.io.threads off broker 2, from 4 to 2",
    ]
    assert operator.overrides() == {"message.max.bytes": "2000000", limit: "1000000"}
    operator.set_by_hand({limit: ("DELETE", None)})
    operator.cluster.wait("the limit to go", lambda: limit not in operator.overrides())


def test_the_least_of_replicas_in_sync_is_that_of_all_brokers(operator: Operator) -> None:
    """With eligible leader replicas, Kafka takes it for no single broker."""
    try:
        done = operator.declared({"min.insync.replicas": 2})
        assert done["plan"] == ["set min.insync.replicas of all brokers from 1 to 2"]
        assert operator.value("min.insync.replicas") == "2"
        assert not operator.declared({})["changed"]
    finally:
        assert operator.declare({"min.insync.replicas": 1})["changed"]


def test_another_broker_and_a_missing_copy_are_told(operator: Operator, tmp_path: Path) -> None:
    assert "has no broker 9, but 1, 2, 3" in operator.declare({}, broker=9)["msg"]
    missing = operator.declare({}, loaded=str(tmp_path / "none"))
    assert missing["failed"] and "ExecStartPre" in missing["msg"]
