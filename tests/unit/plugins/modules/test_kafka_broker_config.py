# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_broker_config plans and refuses, and what its main() sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.bss.platform.plugins.module_utils import kafka_connection
from ansible_collections.bss.platform.plugins.module_utils.kafka_broker_plan import (
    BrokerPlan,
    Current,
    plan,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_broker_settings import (
    DEFAULT,
    IN_FILE,
    SET_ON_BROKER,
    SET_ON_CLUSTER,
    Setting,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_config_values import (
    BOOLEAN,
    INT,
    LIST,
    LONG,
    STRING,
    UNKNOWN,
)
from ansible_collections.bss.platform.plugins.modules import kafka_broker_config

RunKafka = Callable[..., dict[str, Any]]

PASSWORD_KIND = 9


def setting(
    name: str, kind: int = INT, read_only: bool = False, secret: bool = False, **sources: str
) -> Setting:
    """``sources`` are ``broker``, ``cluster``, ``file`` and ``default``."""
    numbers = {
        "broker": SET_ON_BROKER,
        "cluster": SET_ON_CLUSTER,
        "file": IN_FILE,
        "default": DEFAULT,
    }
    values = {numbers[source]: None if secret else value for source, value in sources.items()}
    holds = values[min(values)] if values else None
    return Setting(name, holds, kind, read_only, secret, values)


KAFKA = (
    setting("listener.security.protocol.map", STRING, file="BROKER:SASL_SSL,CONTROLLER:SSL"),
    setting("num.io.threads", default="8"),
    setting("num.network.threads", default="3"),
    setting("log.retention.ms", LONG),
    setting("log.cleanup.policy", LIST, default="delete"),
    setting("num.partitions", read_only=True, default="1"),
    setting("auto.create.topics.enable", BOOLEAN, read_only=True, default="true"),
    setting("ssl.client.auth", STRING, default="none"),
    setting("sasl.jaas.config", PASSWORD_KIND, secret=True),
    setting("min.insync.replicas", default="1"),
)


def current(*there: Setting, loaded: Mapping[str, str] | None = None) -> Current:
    return Current(1, {each.name: each for each in (*KAFKA, *there)}, loaded or {})


def planned(there: Current, *plugins: str, **declared: str) -> BrokerPlan:
    decided = plan(there, _dotted(declared), plugins)
    decided.raise_if_refused()
    return decided


def refused(there: Current, declared: Mapping[str, str | None], *plugins: str) -> list[str]:
    return [str(each) for each in plan(there, declared, plugins).refusals]


def _dotted(names: Mapping[str, str]) -> dict[str, str | None]:
    return {name.replace("_", "."): value for name, value in names.items()}


def sent(decided: BrokerPlan) -> list[tuple[int, str, str, str | None]]:
    return [
        tuple(action.options[part] for part in ("round", "resource", "name", "value"))  # type: ignore[misc]
        for action in decided.actions
    ]


def test_a_value_that_holds_is_left_however_it_is_written() -> None:
    there = current(setting("log.cleanup.policy", LIST, file="compact,delete"))
    decided = planned(there, num_io_threads=" +8", log_cleanup_policy="compact , delete")
    assert (decided.sentences, decided.restart_for) == ([], ())


def test_another_value_is_set_as_kafka_writes_it() -> None:
    decided = planned(current(), log_retention_ms=" +0500 ")
    assert decided.sentences == ["set log.retention.ms of broker 1 from nothing to 500"]
    assert sent(decided) == [(0, "1", "log.retention.ms", "500")]
    assert decided.diff == {
        "before": {"log.retention.ms": None},
        "after": {"log.retention.ms": "500"},
    }
    assert decided.restart_for == ()


@pytest.mark.parametrize(
    ("now", "wanted", "steps"),
    [
        ("8", "16", ["16"]),
        ("8", "4", ["4"]),
        ("2", "9", ["4", "8", "9"]),
        ("9", "4", ["5", "4"]),
        ("16", "1", ["8", "4", "2", "1"]),
        ("1", "3", ["2", "3"]),
        ("8", "0", ["0"]),  # for Kafka to refuse
    ],
)
def test_threads_are_changed_in_steps(now: str, wanted: str, steps: list[str]) -> None:
    there = current(setting("num.io.threads", file=now, default="8"))
    expected = [(number, "1", "num.io.threads", step) for number, step in enumerate(steps)]
    assert sent(planned(there, num_io_threads=wanted)) == expected


def test_threads_revert_in_steps_and_other_settings_do_not_wait() -> None:
    there = current(
        setting("num.io.threads", broker="16", file="2", default="8"),
        setting("log.retention.ms", LONG, broker="5"),
    )
    assert sent(planned(there)) == [
        (0, "1", "log.retention.ms", None),
        (0, "1", "num.io.threads", "8"),
        (1, "1", "num.io.threads", "4"),
        (2, "1", "num.io.threads", None),
    ]


def test_what_was_set_at_run_time_and_is_not_declared_is_taken_back() -> None:
    there = current(
        setting("log.retention.ms", LONG, broker="5", file="7"),
        setting("leader.replication.throttled.rate", LONG, broker="5"),
        setting("custom", UNKNOWN, read_only=True, secret=True, broker=""),
        loaded={"log.retention.ms": "7"},
    )
    decided = planned(there, log_retention_ms="7")
    assert decided.sentences == [
        "take the override of custom off broker 1",
        "take log.retention.ms off broker 1, from 5 to 7",
    ]
    assert "custom" not in decided.diff["before"]


def test_an_override_that_is_as_declared_stays() -> None:
    there = current(setting("log.retention.ms", LONG, broker="5", file="5"))
    assert not planned(there, log_retention_ms="5").changed


def test_a_value_of_all_brokers_is_overridden_where_another_is_declared() -> None:
    there = current(
        setting("log.retention.ms", LONG, cluster="5", file="7"), loaded={"log.retention.ms": "7"}
    )
    assert sent(planned(there, log_retention_ms="7")) == [(0, "1", "log.retention.ms", "7")]
    assert not planned(there).changed
    assert planned(there).restart_for == ()  # it would hold after a restart as well


def test_min_insync_replicas_that_only_all_brokers_have_is_set_for_all() -> None:
    there = current(setting("min.insync.replicas", cluster="1", file="2", default="1"))
    decided = planned(there, min_insync_replicas="2")
    assert decided.sentences == ["set min.insync.replicas of all brokers from 1 to 2"]
    assert sent(decided) == [(0, "", "min.insync.replicas", "2")]
    assert (planned(there).changed, planned(there).restart_for) == (False, ())


@pytest.mark.parametrize(
    ("loaded", "declared", "restart_for"),
    [
        ({}, {"num.partitions": "3"}, ["num.partitions"]),
        ({"num.partitions": "3"}, {"num.partitions": " +3"}, []),
        ({"num.partitions": "3"}, {}, ["num.partitions"]),
        ({"num.partitions": "1"}, {}, []),
        ({}, {"num.partitions": "1"}, []),
        ({"auto.create.topics.enable": "True"}, {"auto.create.topics.enable": "true"}, []),
        ({"log.retention.ms": "5"}, {}, ["log.retention.ms"]),
        ({"num.io.threads": "8"}, {}, []),
        ({}, {"num.network.threads": "4"}, ["num.network.threads"]),
        ({}, {"ssl.client.auth": "required"}, ["ssl.client.auth"]),
        ({}, {"num.io.threads": "${file:/a:b}"}, ["num.io.threads"]),
        ({"num.io.threads": "${file:/a:b}"}, {"num.io.threads": "${file:/a:b}"}, []),
        ({"sasl.jaas.config": "a"}, {"sasl.jaas.config": "b"}, ["sasl.jaas.config"]),
        ({"sasl.jaas.config": "a"}, {"sasl.jaas.config": "a"}, []),
        ({"sasl.jaas.config": "a"}, {}, ["sasl.jaas.config"]),
        ({"super.users": "User:a"}, {"super.users": "User:a;User:b"}, ["super.users"]),
        ({"gone.with.an.upgrade": "1"}, {}, ["gone.with.an.upgrade"]),
    ],
)
def test_what_is_left_for_a_restart(
    loaded: dict[str, str], declared: dict[str, str | None], restart_for: list[str]
) -> None:
    decided = plan(current(loaded=loaded), declared)
    assert (decided.refusals, decided.actions) == ((), ())
    assert list(decided.restart_for) == restart_for


def test_an_override_of_what_takes_a_restart_gives_way_to_the_file() -> None:
    name = "listener.name.broker.ssl.client.auth"
    there = current(
        setting(name, STRING, read_only=True, broker="none", file="required"),
        loaded={name: "required"},
    )
    assert sent(plan(there, {name: "required"})) == [(0, "1", name, None)]
    assert not plan(there, {name: "none"}).changed


def test_secrets_are_neither_shown_nor_compared() -> None:
    there = current(
        setting("sasl.jaas.config", PASSWORD_KIND, secret=True, broker="hunter2", file="hunter1"),
        loaded={"sasl.jaas.config": "hunter1"},
    )
    decided = plan(there, {"sasl.jaas.config": "hunter2"})
    assert decided.sentences == ["take the override of sasl.jaas.config off broker 1"]
    assert decided.restart_for == ("sasl.jaas.config",)
    assert "hunter" not in repr(decided)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"num.io.thread": "9"}, "write num.io.threads, if that is meant"),
        ({"super.user": "User:a"}, "write super.users, if that is meant"),
        ({"leader.replication.throttled.rate": "9"}, "it is none of them"),
        ({"acme": "1"}, "name it in plugin_settings"),
        ({"num.partitions": "x"}, "is a whole number of 32 bits"),
        ({"num.io.threads": ""}, "is a whole number of 32 bits"),
        ({"auto.create.topics.enable": "no"}, "is true or false"),
        ({"num.partitions": None}, "leave it out for Kafka's default"),
        ({"listener.name.brokr.ssl.client.auth": "none"}, "write listener.name.broker.ssl.client"),
        ({"listener.name.broker.ssl.client.auht": "none"}, "write listener.name.broker.ssl.client"),
        ({"listener.name.broker.num.network.threads": "x"}, "is a whole number of 32 bits"),
    ],
)
def test_what_cannot_be_is_refused(declared: dict[str, str | None], message: str) -> None:
    there = current(setting("leader.replication.throttled.rate", LONG, broker="5"))
    (said,) = refused(there, declared)
    assert message in said


@pytest.mark.parametrize(
    "name",
    [
        "super.users",
        "config.providers.file.class",
        "rsm.config.bucket",
        "listener.name.broker.ssl.client.auth",
        "listener.name.broker.scram-sha-512.sasl.jaas.config",
        "listener.name.new.ssl.client.auth",
        "acme.url",
        "quota",
    ],
)
def test_settings_that_kafka_does_not_list_are_known(name: str) -> None:
    declared: dict[str, str | None] = {
        name: "x",
        "listener.security.protocol.map": "BROKER:SSL, NEW:SSL",
    }
    assert refused(current(), declared, "acme.", "quota") == []


def test_what_is_refused_does_not_hide_what_is_to_be_tried() -> None:
    decided = plan(current(), {"num.partitions": "x", "num.io.threads": "9"})
    assert len(decided.refusals) == 1
    assert sent(decided) == [(0, "1", "num.io.threads", "9")]


# main()

CLUSTER: dict[str, Any] = {
    "cluster_id": "c",
    "brokers": [{"broker_id": 1, "host": "k1", "port": 9092, "rack": None}],
}
ACCEPTED: dict[str, Any] = {"responses": [{"error_code": 0, "resource_name": "1"}]}
REFUSED: dict[str, Any] = {
    "responses": [{"error_code": 42, "error_message": "too little", "resource_name": "1"}]
}


def told(*there: Setting) -> dict[str, Any]:
    configs = [
        {
            "name": each.name,
            "value": each.value,
            "config_type": each.kind,
            "read_only": each.read_only,
            "is_sensitive": each.secret,
            "synonyms": [
                {"name": each.name, "source": source, "value": value}
                for source, value in each.sources.items()
            ],
        }
        for each in {each.name: each for each in (*KAFKA, *there)}.values()
    ]
    return {"results": [{"error_code": 0, "configs": configs}]}


@pytest.fixture
def loaded(tmp_path: Path) -> Path:
    path = tmp_path / "server.properties"
    path.write_text("num.partitions=1\nsuper.users=User:a\n")
    return path


def args(loaded: Path, **settings: Any) -> dict[str, Any]:
    declared = {"num.partitions": 1, "super.users": "User:a", **_dotted(settings)}
    return {"broker": 1, "loaded": str(loaded), "settings": declared}


def test_main_tries_then_sends_round_by_round(run_kafka: RunKafka, loaded: Path) -> None:
    four = told(setting("num.io.threads", broker="4", file="2", default="8"))
    script = [
        ("DescribeCluster", CLUSTER),
        ("DescribeConfigs to k1", told(setting("num.io.threads", file="2", default="8"))),
        ('IncrementalAlterConfigs to k1 {"validate_only": true}', ACCEPTED),
        ("IncrementalAlterConfigs to k1", ACCEPTED),
        ("DescribeConfigs to k1", told(setting("num.io.threads", file="2", default="8"))),
        ("DescribeConfigs to k1", four),
        ("IncrementalAlterConfigs to k1", ACCEPTED),
        (
            "DescribeConfigs to k1",
            told(setting("num.io.threads", broker="5", file="2", default="8")),
        ),
    ]
    said = run_kafka(kafka_broker_config, script, args(loaded, num_io_threads=5))
    assert not said["failed"], said
    assert said["changed"]
    assert len(said["requests"]) == 2
    assert '"value": "4"' in said["requests"][0] and '"value": "5"' in said["requests"][1]
    assert said["restart_for"] == []


def test_main_in_check_mode_only_tries(run_kafka: RunKafka, loaded: Path) -> None:
    script = [
        ("DescribeCluster", CLUSTER),
        ("DescribeConfigs to k1", told()),
        ("IncrementalAlterConfigs to k1", ACCEPTED),
    ]
    arguments = args(loaded, num_io_threads=9)
    arguments["settings"] |= {"auto.create.topics.enable": False}
    said = run_kafka(kafka_broker_config, script, arguments, check=True)
    assert (said["changed"], said["requests"]) == (True, [])
    assert said["restart_for"] == ["auto.create.topics.enable"]


def test_main_changes_nothing_in_two_requests(run_kafka: RunKafka, loaded: Path) -> None:
    script = [("DescribeCluster", CLUSTER), ("DescribeConfigs to k1", told())]
    said = run_kafka(kafka_broker_config, script, args(loaded))
    assert (said["changed"], said["plan"], said["restart_for"]) == (False, [], [])


def test_main_names_the_setting_that_kafka_refuses(run_kafka: RunKafka, loaded: Path) -> None:
    script = [
        ("DescribeCluster", CLUSTER),
        ("DescribeConfigs to k1", told()),
        ("IncrementalAlterConfigs to k1", REFUSED),
        ('IncrementalAlterConfigs to k1 {"log.cleanup.policy"}', REFUSED),
        ('IncrementalAlterConfigs to k1 {"log.retention.ms"}', REFUSED),
        ('IncrementalAlterConfigs to k1 {"num.io.threads"}', ACCEPTED),
        ('IncrementalAlterConfigs to k1 {"log.cleanup.policy"}', ACCEPTED),
        ('IncrementalAlterConfigs to k1 {"log.retention.ms"}', REFUSED),
    ]
    arguments = args(loaded, log_retention_ms=0, num_io_threads=9, num_io_thread=9)
    arguments["settings"] |= {"log.cleanup.policy": "compact"}  # accepted with those threads
    said = run_kafka(kafka_broker_config, script, arguments)
    assert said["failed"]
    assert "setting log.retention.ms: 0: it refused the trial" in said["msg"]
    assert "Kafka says: too little" in said["msg"]
    assert "setting num.io.thread:" in said["msg"]
    assert "log.cleanup.policy" not in said["msg"]


def test_main_tells_what_was_refused_in_a_later_round(run_kafka: RunKafka, loaded: Path) -> None:
    script = [
        ("DescribeCluster", CLUSTER),
        ("DescribeConfigs to k1", told()),
        ("IncrementalAlterConfigs to k1", ACCEPTED),
        ("IncrementalAlterConfigs to k1", ACCEPTED),
        ("DescribeConfigs to k1", told(setting("num.io.threads", broker="16", default="8"))),
        ("IncrementalAlterConfigs to k1", REFUSED),
    ]
    said = run_kafka(kafka_broker_config, script, args(loaded, num_io_threads=20))
    assert said["failed"]
    assert "Kafka refused num.io.threads: 20: too little. What came before is done" in said["msg"]


def test_main_tells_that_the_broker_does_not_take_it(
    run_kafka: RunKafka, loaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_connection.settle, "__defaults__", (0,))
    script = [
        ("DescribeCluster", CLUSTER),
        ("DescribeConfigs to k1", told()),
        ("IncrementalAlterConfigs to k1", ACCEPTED),
        ("IncrementalAlterConfigs to k1", ACCEPTED),
        ("DescribeConfigs to k1", told()),
    ]
    said = run_kafka(kafka_broker_config, script, args(loaded, num_io_threads=9))
    assert said["failed"] and "num.io.threads: 9 was accepted by Kafka, but" in said["msg"]


@pytest.mark.parametrize(
    ("script", "broker", "message"),
    [
        ([("DescribeCluster", CLUSTER)], 7, "has no broker 7, but 1"),
        (
            [
                ("DescribeCluster", CLUSTER),
                ("DescribeConfigs to k1", {"results": [{"error_code": 31, "configs": []}]}),
            ],
            1,
            "may DESCRIBE_CONFIGS the cluster",
        ),
    ],
)
def test_main_tells_why_it_cannot_ask(
    run_kafka: RunKafka, loaded: Path, script: list[Any], broker: int, message: str
) -> None:
    said = run_kafka(kafka_broker_config, script, {**args(loaded), "broker": broker})
    assert said["failed"] and message in said["msg"]


def test_values_are_read_as_in_the_file() -> None:
    options = {"settings": {"a": True, "b": [1, 2], "c": r"us\-k1", "d": None, "e": 0.5}}
    assert kafka_broker_config.declared_settings(options) == {
        "a": "true",
        "b": "1,2",
        "c": "us-k1",
        "d": None,
        "e": "0.5",
    }


def test_documentation_is_of_the_arguments() -> None:
    documented = yaml.safe_load(kafka_broker_config.DOCUMENTATION)["options"]
    own = {*kafka_broker_config.ARGUMENT_SPEC} - {*kafka_connection.CONNECTION_OPTIONS}
    assert {*documented} == own
