# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Each check of kafka_verify: green on a cluster that is well, red when its thing is broken."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition

CHECKOUT = Path(__file__).parents[3]
SCRATCH = "bss_verify_scratch"

Verify = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def systemctl(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """A systemctl that says this of every unit: the container of the nodes has none."""

    def environ(state: str) -> dict[str, str]:
        program = tmp_path / "systemctl"
        program.write_text(f"#!/bin/sh\necho {state}\n", encoding="utf-8")
        program.chmod(0o755)
        return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    return environ


@pytest.fixture
def verify(kafka: Any, run_module: Any) -> Verify:
    """Check the cluster; each result by name."""

    def run(check: bool = False, **options: Any) -> dict[str, dict[str, Any]]:
        arguments = {**kafka.login, "brokers": [1, 2, 3], "voters": [1, 2, 3], **options}
        return by_name(run_module("kafka_verify", arguments, check=check))

    return run


@pytest.fixture
def verify_broker(
    kafka: Any, run_module: Any, systemctl: Callable[[str], dict[str, str]]
) -> Verify:
    """Check a broker; each result by name."""

    def run(number: int = 1, unit: str = "active", **options: Any) -> dict[str, dict[str, Any]]:
        servers = [kafka.servers[number - 1]]
        arguments = {**kafka.login, "broker": number, "bootstrap_servers": servers, **options}
        # The nodes' certificates are made for two days.
        arguments.setdefault("certificate_days", 1)
        return by_name(run_module("kafka_verify", arguments, environ=systemctl(unit)))

    return run


def by_name(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    assert answer["failed"] is False and answer["changed"] is False, answer
    results = {result["name"]: result for result in answer["results"]}
    assert answer["passed"] == (not failures(results))
    for each in results.values():
        print(f"{each['state']:<7} {each['name']:<29} {each['seconds']:>6.2f}  {each['detail']}")
    return results


def failures(results: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: each["detail"] for name, each in results.items() if each["state"] != "ok"}


def topics(kafka: Any) -> set[str]:
    with kafka.admin() as admin:
        return {each["name"] for each in admin.describe_topics()}


@pytest.fixture
def workload(kafka: Any, run_module: Any) -> dict[str, Any]:
    """Two topics and a user that writes to one and reads the other, as options of the module."""
    mine, other, user = kafka.name("mine"), kafka.name("other"), kafka.name("app")
    declared = [
        {"name": name, "partitions": 2, "replication_factor": 3, "config": {"retention.ms": 10**7}}
        for name in (mine, other)
    ]
    rights = [
        {"resource_type": "topic", "resource_name": mine, "operations": ["write"]},
        {"resource_type": "topic", "resource_name": other, "operations": ["read"]},
    ]
    for module, options in (
        ("kafka_topic", {"topics": declared}),
        ("kafka_user", {"name": user, "password": "app-secret"}),
        ("kafka_acl", {"acls": [{"principal": f"User:{user}", **each} for each in rights]}),
    ):
        assert run_module(module, {**kafka.login, **options})["changed"]
    users = [{"name": user, "password": "app-secret", "writes": [mine], "reads": [other]}]
    return {"topics": declared, "users": users}


def test_brokers_that_are_well(verify_broker: Verify) -> None:
    for number in (1, 2, 3):
        results = verify_broker(number)
        assert not failures(results)
        assert len(results) == 4


def test_a_unit_that_is_not_active(verify_broker: Verify) -> None:
    found = failures(verify_broker(unit="failed"))
    assert list(found) == ["kafka_running"] and "the unit kafka is failed" in found["kafka_running"]


def test_a_broker_that_is_another(verify_broker: Verify, kafka: Any) -> None:
    found = failures(verify_broker(1, broker=2))
    assert list(found) == ["kafka_running"] and kafka.servers[1] in found["kafka_running"]


def test_a_certificate_that_ends_soon(verify_broker: Verify) -> None:
    found = failures(verify_broker(certificate_days=14))
    assert list(found) == ["kafka_certificate"] and "wanted are 14" in found["kafka_certificate"]


def test_a_certificate_of_another_name(
    verify_broker: Verify, kafka: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is reached, but by a name that its certificate lacks."""
    name = f"{kafka.host.replace('.', '-')}.test"
    hosts = f"""
import socket
real = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **others: real(
    {kafka.host!r} if host == {name!r} else host, *more, **others)
"""
    directory = Path(kafka.ca_cert).parent / "resolver"
    directory.mkdir(exist_ok=True)
    (directory / "sitecustomize.py").write_text(hosts, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(directory))
    found = failures(verify_broker(bootstrap_servers=[f"{name}:9092"]))
    assert set(found) == {"kafka_running", "kafka_certificate", "kafka_refuses_wrong_password"}
    assert "Hostname mismatch" in found["kafka_certificate"]


def test_a_cluster_that_is_well(verify: Verify, workload: Any, kafka: Any) -> None:
    before = topics(kafka)
    results = verify(**workload)
    assert not failures(results)
    assert len(results) == 8
    assert topics(kafka) == before and SCRATCH not in before


def test_check_mode_writes_nothing(verify: Verify, workload: Any) -> None:
    results = verify(check=True, **workload)
    assert not failures(results) and "kafka_round_trip" not in results and len(results) == 7


def test_topics_that_differ(verify: Verify, workload: Any) -> None:
    first, second = workload["topics"]
    declared = [{**first, "partitions": 3}, {**second, "config": {"retention.ms": 5}}]
    found = failures(verify(**{**workload, "topics": declared}))
    assert list(found) == ["kafka_topics_as_declared"]
    assert f"grow {first['name']} from 2 to 3" in found["kafka_topics_as_declared"]
    assert f"retention.ms of {second['name']}" in found["kafka_topics_as_declared"]


def test_rights_that_differ(verify: Verify, workload: Any, kafka: Any) -> None:
    (user,) = workload["users"]
    (mine,), (other,) = user["writes"], user["reads"]
    swapped = [{**user, "writes": user["reads"], "reads": user["writes"]}]
    found = failures(verify(**{**workload, "users": swapped}))
    name = user["name"]
    assert found == {
        "kafka_acl_denies": f"{name} may write to {mine}; {name} may read {other}",
        "kafka_acl_allows": f"{name} may not write to {other}; {name} may not read {mine}",
    }
    with kafka.admin() as admin:  # what was allowed by mistake was not done
        ends = admin.list_partition_offsets({TopicPartition(mine, part): -1 for part in range(2)})
    assert {each.offset for each in ends.values()} == {0}


def test_a_user_that_cannot_log_in(verify: Verify, workload: Any) -> None:
    users = [{**workload["users"][0], "password": "wrong-secret"}]
    found = failures(verify(**{**workload, "users": users}))
    assert set(found) == {"kafka_acl_denies", "kafka_acl_allows"}
    assert "refuses the login" in found["kafka_acl_denies"]
    assert "wrong-secret" not in str(found)


def test_a_user_without_rights_may_not_look(verify: Verify, workload: Any) -> None:
    (user,) = workload["users"]
    found = failures(verify(sasl_username=user["name"], sasl_password=user["password"], **workload))
    assert {"kafka_quorum", "kafka_round_trip"} <= set(found)
    assert "kafka_brokers_serve" not in found  # which needs no right


def test_a_topic_that_a_killed_verification_left(
    verify: Verify, kafka: Any, run_module: Any
) -> None:
    run_module("kafka_topic", {**kafka.login, "name": SCRATCH, "partitions": 4})
    assert SCRATCH in topics(kafka)
    assert not failures(verify())
    assert SCRATCH not in topics(kafka)


def test_termination_removes_the_scratch_topic(kafka: Any) -> None:
    """Stopped at a moment at which the topic is there."""
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT / ".collections")}
    slow = (
        "from ansible_collections.bss.platform.plugins.module_utils import kafka_records as r\n"
        "import time\n"
        "r.write = lambda *a: time.sleep(60)\n"
        "from ansible_collections.bss.platform.plugins.modules.kafka_verify import main\n"
        "main()\n"
    )
    arguments = {**kafka.login, "brokers": [1, 2, 3], "voters": [1, 2, 3]}
    with subprocess.Popen(
        [sys.executable, "-c", slow],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environ,
        text=True,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
        process.stdin.close()
        kafka.wait("the scratch topic", lambda: SCRATCH in topics(kafka))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) != 0
    assert SCRATCH not in topics(kafka)


def test_a_lost_broker(verify: Verify, verify_broker: Verify, workload: Any, kafka: Any) -> None:
    kafka.kill(3)
    try:
        time.sleep(4)  # so long may a controller be behind
        found = failures(verify(**workload))
        assert set(found) == {"kafka_brokers_serve", "kafka_quorum", "kafka_replicas_in_sync"}
        assert found["kafka_brokers_serve"] == "broker 3 does not serve"
        assert "controller 3 is" in found["kafka_quorum"]
        # After what it says of other tests' topics that have one replica, where that is on it.
        assert "replicas are not in sync of " in found["kafka_replicas_in_sync"]
        gone = failures(verify_broker(3))
        assert len(gone) == 4 and "Connection refused" in gone["kafka_refuses_plaintext"]
        assert not failures(verify_broker(1))
    finally:
        kafka.start(3)
    assert not failures(verify(**workload))


def test_a_broker_that_speaks_without_tls(verify_broker: Verify, kafka: Any) -> None:
    """Its place is taken by one that answers Kafka's protocol in plain text."""
    context = ssl.create_default_context(cafile=kafka.ca_cert)

    def relay(listener: socket.socket) -> None:
        with suppress(OSError):  # until the test is over
            while True:
                client, _address = listener.accept()
                with (
                    client,
                    socket.create_connection((kafka.host, 9092)) as plain,
                    context.wrap_socket(plain, server_hostname=kafka.host) as broker,
                ):
                    broker.sendall(client.recv(65536))
                    client.sendall(broker.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=relay, args=[listener], daemon=True).start()
        server = f"127.0.0.1:{listener.getsockname()[1]}"
        found = failures(verify_broker(bootstrap_servers=[server]))
    assert found["kafka_refuses_plaintext"].startswith(f"{server} answers a client")
