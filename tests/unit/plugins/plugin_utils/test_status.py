# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What all hosts told, on one screen: nothing that is lost is left out, and nothing is too wide."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.plugin_utils.status import (
    WIDTH,
    aligned,
    duration,
    gather,
    rate,
    screen,
    since_s,
    size,
    watched_regions,
)

NOW = datetime(2026, 1, 31, 10, 30, tzinfo=UTC)
GROUPS = {
    "us_east": ["c1", "w1", "k1", "k2", "f1", "t1", "p1"],
    "citus_coordinator": ["c1"],
    "citus_worker": ["w1"],
    "etcd": ["c1"],
    "kafka": ["k1", "k2"],
    "flink_jobmanager": ["f1"],
    "flink_taskmanager": ["t1"],
    "prometheus": ["p1"],
}
HOSTS = GROUPS["us_east"]


def told(*units: str, **parts: Any) -> dict[str, Any]:
    """What host_status returned for a host that is well."""
    return {
        "uptime_s": 7260,
        "load": 0.35,
        "memory_percent": 41,
        "disks": [{"path": "/", "used_percent": 48, "free_bytes": 1}],
        "units": dict.fromkeys(units, "active"),
        "certificates": {"host": {"days_left": 89.4}, "authority": {"days_left": 3000}},
        **parts,
    }


def member(**parts: Any) -> dict[str, Any]:
    patroni = {
        "role": "primary",
        "state": "running",
        "timeline": 3,
        "lag_bytes": None,
        "pending_restart": False,
        "paused": False,
        "failsafe": False,
    }
    database = {
        "standby": False,
        "connections": 12,
        "max_connections": 200,
        "prepared": 0,
        "prepared_age_s": 0,
        "bytes": 31_457_280,
    }
    return told("patroni", patroni=patroni, database=database, **parts)


CITUS = {
    "version": "13.2-1",
    "tables": 6,
    "nodes": [
        {"name": "c1", "group": 0, "role": "primary", "active": True, "metadata_synced": True},
        {"name": "w1", "group": 1, "role": "primary", "active": True, "metadata_synced": True},
    ],
    "placements": {"0": 2, "1": 24},
    "rebalance": None,
}
KAFKA = {
    "brokers": [{"id": 1, "fenced": False}, {"id": 2, "fenced": False}],
    "quorum": {
        "leader": 2,
        "voters": [{"id": 1, "behind_ms": 12}, {"id": 2, "behind_ms": 0}],
    },
    "topics": {
        "orders": {
            "partitions": [
                {"leader": 1, "replicas": [1, 2], "isr": [1, 2]},
                {"leader": 2, "replicas": [1, 2], "isr": [1, 2]},
                {"leader": 1, "replicas": [1], "isr": [1]},
            ]
        }
    },
    "partitions": {"under_replicated": [], "at_min_isr": [], "under_min_isr": [], "offline": []},
    "reassignments": [],
    "groups": {"billing": {"lag": 17}, "audit": {"lag": None}, "jobs": {"lag": 1200}},
    "silent_brokers": [],
}
FLINK = {
    "version": "2.2.1",
    "slots": {"total": 6, "free": 4},
    "taskmanagers": [{"id": "t1"}],
    "jobs": [
        {
            "name": "fraud",
            "state": "RUNNING",
            "live": True,
            "running": True,
            "parallelism": 2,
            "checkpoints_failed": 0,
            "root_cause": "",
            "flow": {
                "records_in_s": 1234.5,
                "records_out_s": 0.2,
                "pending_records": 17,
                "checkpoint_age_s": 4,
                "restarts": 1,
            },
        },
        {"name": "old", "state": "FINISHED", "live": False},
    ],
}


@pytest.fixture
def variables() -> dict[str, Any]:
    """Those of a region that is well; a test changes them."""
    said: dict[str, Any] = {
        "c1": {"status_host": member(etcd={"healthy": True}, citus=CITUS)},
        "w1": {"status_host": member(), "citus_group": 1},
        "k1": {"status_host": told("kafka"), "kafka_node_id": 1, "status_kafka": KAFKA},
        "k2": {
            "status_host": told("kafka"),
            "kafka_node_id": 2,
            "status_kafka": {"skipped": True, "changed": False},
        },
        "f1": {"status_host": told("flink-jobmanager"), "status_flink": FLINK},
        "t1": {"status_host": told("flink-taskmanager")},
        "p1": {
            "status_host": told("prometheus"),
            "status_prometheus": {
                "targets": {"total": 43, "down": []},
                "alerts": [],
                "suppressed": 0,
            },
        },
    }
    return deepcopy({name: {"region": "us-east", **each} for name, each in said.items()})


def show(
    variables: dict[str, Any], groups: dict[str, list[str]] = GROUPS, *limit: str
) -> tuple[str, list[str]]:
    hosts = gather(limit or list(variables), variables, groups)
    shown = screen(hosts, watched_regions(variables, groups), 14, NOW)
    assert max(map(len, shown.text.splitlines())) <= WIDTH
    return shown.text, shown.faults


def row(text: str, name: str, head: str) -> dict[str, str]:
    """A row of the table whose head begins so, by column; columns are two spaces apart."""
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(head))
    columns = lines[first].split("  ")
    names = [each.strip() for each in columns if each.strip()]
    found = next(line for line in lines[first:] if line.startswith(name))
    cells = [each.strip() for each in found.split("  ") if each.strip()]
    return dict(zip(names, cells, strict=True))


def test_a_region_that_is_well(variables: dict[str, Any]) -> None:
    text, faults = show(variables)
    assert faults == []
    assert text.splitlines()[0] == "us-east at 2026-01-31 10:30:00 UTC: all is well"
    assert row(text, "c1", "HOST") == {
        "HOST": "c1",
        "UP": "2 h",
        "LOAD": "0.35",
        "MEMORY": "41 %",
        "DISK": "48 % of /",
        "CERTIFICATE": "89 days (host)",
        "UNITS": "patroni",
    }
    assert row(text, "w1", "DATABASE") == {
        "DATABASE": "w1",
        "GROUP": "1",
        "ROLE": "primary",
        "STATE": "running",
        "TIMELINE": "3",
        "BEHIND": "-",
        "CLIENTS": "12 of 200",
        "SHARDS": "24",
        "SIZE": "30 MB",
    }
    assert row(text, "k1", "BROKER") == {
        "BROKER": "k1",
        "ID": "1",
        "STATE": "serves",
        "LEADS": "2",
        "REPLICAS": "3",
        "IN SYNC": "3",
        "CONTROLLER": "follows",
    }
    assert row(text, "fraud", "JOB") == {
        "JOB": "fraud",
        "STATE": "RUNNING",
        "SLOTS": "2",
        "IN/S": "1,234",
        "OUT/S": "0.2",
        "LAG": "17",
        "CHECKPOINT": "4 s ago",
        "FAILED": "0",
        "RESTARTS": "1",
    }
    for line in (
        "Citus 13.2-1: 2 of 2 nodes active, 6 tables, no rebalance",
        "etcd: 1 of 1 member healthy",
        "Kafka of us-east: 1 topic, 3 partitions: all replicas in sync",
        "lag of groups: audit ?, jobs 1,200, billing 17",
        "Flink 2.2.1 of us-east: 1 of 1 TaskManager, 4 of 6 slots free",
        "alerts of us-east: none fires; 43 of 43 targets up",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_that_is_lost_is_shown_and_told(variables: dict[str, Any], name: str) -> None:
    variables[name] = {
        "region": "us-east",
        "status_host": {
            "unreachable": True,
            "msg": "Task failed: EOF\nssh: connect to x port 22: timed out\n",
        },
        **{key: each for key, each in variables[name].items() if key.endswith(("group", "id"))},
    }
    text, faults = show(variables)
    assert f"{name} was not reached: connect to x port 22: timed out" in faults
    shown = [name, "NOT", "REACHED:", "connect"]
    assert shown in [line.split()[:4] for line in text.splitlines()]


def test_all_hosts_are_lost(variables: dict[str, Any]) -> None:
    for each in variables.values():
        each["status_host"] = {"unreachable": True, "msg": "no route"}
        for cluster in ("kafka", "flink", "prometheus"):
            each.pop(f"status_{cluster}", None)
    text, faults = show(variables)
    assert "alerts of us-east are not known" in text.splitlines()
    assert "etcd: 0 of 1 member healthy, 1 not reached" in text.splitlines()
    assert len([fault for fault in faults if ": no route" in fault]) == len(HOSTS)
    assert {
        "group 0 has no primary that was reached",
        "group 1 has no primary that was reached",
        "Kafka of us-east does not answer: none of its brokers runs",
        "Flink of us-east does not answer: its host was not reached",
        "Prometheus of us-east does not answer: its host was not reached",
    } <= set(faults)


def test_a_module_that_broke_is_a_host_that_is_lost(variables: dict[str, Any]) -> None:
    variables["t1"]["status_host"] = {"failed": False, "msg": "MODULE FAILURE"}
    assert show(variables)[1] == ["t1 was not reached: MODULE FAILURE"]


def test_faults_of_a_host(variables: dict[str, Any]) -> None:
    said = variables["c1"]["status_host"]
    said["units"]["patroni"] = "failed"
    said["disks"][0]["used_percent"] = 91
    said["certificates"] = {"host": {"days_left": 6.6}, "flink": {"trouble": "it is missing"}}
    said["etcd"] = {"healthy": False}
    text, faults = show(variables)
    assert faults == [
        "c1: the unit patroni is failed",
        "c1: / is 91 % full",
        "c1: certificate host ends in 7 days",
        "c1: certificate flink: it is missing",
        "c1: etcd is not healthy: it sees no leader",
    ]
    assert text.splitlines()[0].endswith(": 5 things to see to")
    assert row(text, "c1", "HOST")["UNITS"] == "patroni FAILED"
    assert "etcd: 0 of 1 member healthy" in text.splitlines()


def test_a_standby_that_is_behind(variables: dict[str, Any]) -> None:
    patroni = variables["w1"]["status_host"]["patroni"]
    patroni |= {"role": "replica", "state": "streaming", "lag_bytes": 5_242_880}
    text, faults = show(variables)
    assert row(text, "w1", "DATABASE")["BEHIND"] == "5 MB"
    assert row(text, "w1", "DATABASE")["SHARDS"] == "-"
    assert faults == ["group 1 has no primary that was reached"]


@pytest.mark.parametrize(
    ("part", "change", "fault"),
    [
        ("patroni", {"state": "start failed"}, "w1: PostgreSQL is start failed"),
        (
            "patroni",
            {"pending_restart": True},
            "w1: settings wait for a restart (citus_restart)",
        ),
        ("patroni", {"paused": True}, "w1: failover is paused (patronictl resume)"),
        ("patroni", {"failsafe": True}, "w1: the quorum is lost, the group goes on without it"),
        (
            "database",
            {"prepared": 2, "prepared_age_s": 700},
            "w1: 2 prepared transactions, the oldest for 12 min",
        ),
        ("database", {"connections": 181}, "w1: 181 of 200 connections are taken"),
    ],
)
def test_faults_of_a_database(
    variables: dict[str, Any], part: str, change: dict[str, Any], fault: str
) -> None:
    variables["w1"]["status_host"][part] |= change
    assert show(variables)[1] == [fault]


def test_transactions_that_were_just_prepared_are_none(variables: dict[str, Any]) -> None:
    variables["w1"]["status_host"]["database"] |= {"prepared": 4, "prepared_age_s": 1}
    assert show(variables)[1] == []


def test_a_database_that_does_not_answer(variables: dict[str, Any]) -> None:
    said = variables["c1"]["status_host"]
    said["patroni"] = {"trouble": "Connection refused"}
    said["database"] = {"trouble": "psql: no socket"}
    del said["citus"]
    text, faults = show(variables)
    assert faults == [
        "c1: Patroni does not answer: Connection refused",
        "c1: PostgreSQL does not answer: psql: no socket",
        "group 0 has no primary that was reached",
    ]
    assert "Citus: no primary of group 0 that tells of it" in text


def test_two_primaries(variables: dict[str, Any]) -> None:
    variables["w1"]["citus_group"] = 0
    assert show(variables)[1] == ["group 0 has more than one primary: c1, w1"]


def test_nodes_of_citus_and_a_rebalance(variables: dict[str, Any]) -> None:
    citus = variables["c1"]["status_host"]["citus"]
    citus["nodes"][0]["metadata_synced"] = False
    citus["nodes"][1]["active"] = False
    citus["rebalance"] = {"state": "running", "tasks": 6, "tasks_done": 2}
    text, faults = show(variables)
    assert faults == [
        "Citus: the node c1 has no current metadata",
        "Citus: the node w1 is not active",
    ]
    assert "1 of 2 nodes active, 6 tables, a rebalance is running, 2 of 6 steps done" in text


def test_brokers_that_do_not_serve(variables: dict[str, Any]) -> None:
    kafka = variables["k1"]["status_kafka"]
    kafka["brokers"] = [{"id": 1, "fenced": True}]
    kafka["partitions"] |= {"under_replicated": ["orders-0", "orders-1"], "offline": ["orders-2"]}
    kafka["quorum"]["leader"] = -1
    kafka["quorum"]["voters"][0]["behind_ms"] = 61_000
    kafka["reassignments"] = [{}]
    kafka |= {"groups": {}, "silent_brokers": [2]}
    text, faults = show(variables)
    assert faults == [
        "k1: broker 1 is fenced",
        "k2: broker 2 is not registered",
        "Kafka of us-east: 2 partitions under replicated: orders-0, orders-1",
        "Kafka of us-east: 1 partition offline: orders-2",
        "Kafka of us-east: the controllers have no leader",
    ]
    assert row(text, "k1", "BROKER")["CONTROLLER"] == "follows, 61 s behind"
    assert "2 under replicated, 1 offline, 1 on the move" in text
    assert "lag of groups: those of broker 2 ?" in text.splitlines()


def test_kafka_that_does_not_answer(variables: dict[str, Any]) -> None:
    variables["k1"]["status_kafka"] = {"failed": False, "msg": "No connection\nto Kafka"}
    assert show(variables)[1] == ["Kafka of us-east does not answer: No connection to Kafka"]


def test_jobs_that_do_not_run(variables: dict[str, Any]) -> None:
    flink = variables["f1"]["status_flink"]
    flink["taskmanagers"] = []
    flink["jobs"][0] |= {
        "state": "RESTARTING",
        "running": False,
        "root_cause": "no disk",
        "flow": None,
    }
    text, faults = show(variables)
    assert faults == [
        "Flink of us-east: fraud is RESTARTING: no disk",
        "Flink of us-east: 0 of 1 TaskManagers are registered",
    ]
    assert row(text, "fraud", "JOB")["CHECKPOINT"] == "-"


def test_a_job_whose_tasks_are_not_all_there_is_starting(variables: dict[str, Any]) -> None:
    variables["f1"]["status_flink"]["jobs"][0]["running"] = False
    text, faults = show(variables)
    assert faults == ["Flink of us-east: fraud is STARTING"]
    assert row(text, "fraud", "JOB")["STATE"] == "STARTING"


def test_flink_without_jobs_is_no_fault(variables: dict[str, Any]) -> None:
    variables["f1"]["status_flink"]["jobs"] = []
    text, faults = show(variables)
    assert faults == []
    assert "no job runs" in text


def alert(name: str, severity: str, **others: str) -> dict[str, str]:
    said = {"instance": "k1", "since": "2026-01-31T10:15:30.123456789Z", "summary": "it is so"}
    return {"name": name, "severity": severity, **said, **others}


def test_alerts_that_fire_the_worst_first(variables: dict[str, Any]) -> None:
    said = variables["p1"]["status_prometheus"]
    said["alerts"] = [
        alert("Watchdog", "none", instance=""),
        alert("Warns", "warning"),
        alert("Burns", "critical", summary="x" * 200),
    ]
    said["suppressed"] = 3
    said["targets"]["down"] = ["kafka of k1"]
    text, faults = show(variables)
    assert faults == []
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("ALERT"))
    assert [line.split()[0] for line in lines[first + 1 : first + 3]] == ["Burns", "Warns"]
    assert lines[first + 3] == (
        "alerts of us-east: 2 fire, 3 silenced or inhibited; 42 of 43 targets up, down: kafka of k1"
    )
    assert lines[0].endswith(" UTC: 2 alerts firing")
    assert row(text, "Warns", "ALERT")["SINCE"] == "14 min ago"


@pytest.mark.parametrize(("count", "where"), [(3, ["k1", "k1", "k1"]), (12, ["k1 and 11 more"])])
def test_many_alerts_of_one_name_have_one_line(
    variables: dict[str, Any], count: int, where: list[str]
) -> None:
    variables["p1"]["status_prometheus"]["alerts"] = [alert("Warns", "warning")] * count
    variables["w1"]["status_host"]["patroni"]["paused"] = True
    text, _faults = show(variables)
    assert text.splitlines()[0].endswith(f": 1 thing to see to, {count} alerts firing")
    lines = [line.split("  ") for line in text.splitlines() if line.startswith("Warns")]
    assert [line[2].strip() for line in lines] == where
    assert f"alerts of us-east: {count} fire; 43 of 43 targets up" in text.splitlines()


def test_alerts_that_nobody_tells(variables: dict[str, Any]) -> None:
    variables["p1"]["status_prometheus"] = {"failed": True, "msg": "refused"}
    text, faults = show(variables)
    assert faults == ["Prometheus of us-east does not answer: refused"]
    assert "alerts of us-east are not known" in text.splitlines()


def test_a_region_without_prometheus(variables: dict[str, Any]) -> None:
    del variables["p1"]
    groups = {name: hosts for name, hosts in GROUPS.items() if name != "prometheus"}
    text, faults = show(variables, groups)
    assert faults == []
    assert "alerts: no Prometheus in us-east" in text.splitlines()


def test_a_limit_leaves_out_what_is_not_asked_for(variables: dict[str, Any]) -> None:
    text, faults = show(variables, GROUPS, "w1", "t1")
    assert faults == []
    assert "alerts of us-east were not asked for" in text.splitlines()
    assert not {"BROKER", "JOB", "ALERT"} & {line.split(" ")[0] for line in text.splitlines()}


def test_two_regions_each_have_their_kafka(variables: dict[str, Any]) -> None:
    variables["k2"] |= {"region": "eu-west", "status_kafka": deepcopy(KAFKA)}
    text, faults = show(variables)
    assert faults == []
    assert text.startswith("eu-west, us-east at ")
    assert "Kafka of eu-west: 1 topic" in text and "Kafka of us-east: 1 topic" in text
    assert "alerts: no Prometheus in eu-west" in text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 days")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, "-"), (0, "0 B"), (2047, "2047 B"), (2048, "2 KB"), (3 * 1024**3, "3 GB")],
)
def test_sizes(count: int | None, shown: str) -> None:
    assert size(count) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(None, "-"), (0, "0"), (0.04, "<0.1"), (9.94, "9.9"), (1e6, "1,000,000")]
)
def test_rates(count: float | None, shown: str) -> None:
    assert rate(count) == shown


@pytest.mark.parametrize("started", ["2026-01-31T10:15:30Z", "2026-01-31T10:15:30.123456789Z"])
def test_times_of_alertmanager(started: str) -> None:
    assert since_s(started, NOW) == 870


def test_numbers_stand_to_the_right() -> None:
    rows = [("A", "B", "C"), ("a", "7", "x 1"), ("b", "1,200 MB", "2 of 3")]
    assert list(aligned(rows)) == [
        "A         B  C",
        "a         7  x 1",
        "b  1,200 MB  2 of 3",
    ]
