# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A secured Kafka cluster of three nodes in one container, one for the session.

Tests share it: each names its topics and users by ``kafka.name()``, and starts what it stopped.
Environment: ``BSS_ARTIFACTS`` (where Kafka's archive lies, or is put), ``BSS_LAB_IMAGE`` (the
host image that Kafka is installed on).
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]
LABEL = "bss.platform=contract"
PASSWORD = "contract-admin"
NODES = (1, 2, 3)
START_TIMEOUT_S = 180


@dataclass
class KafkaCluster:
    """Three nodes, each broker and controller, seen from outside."""

    container: str
    host: str
    ca_cert: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def servers(self) -> list[str]:
        return [f"{self.host}:{9091 + node}" for node in NODES]

    @property
    def login(self) -> dict[str, Any]:
        """The connection options of the modules."""
        return self.login_as("admin", PASSWORD)

    def login_as(self, username: str, password: str) -> dict[str, Any]:
        return {
            "bootstrap_servers": self.servers,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": username,
            "sasl_password": password,
            "ca_cert": self.ca_cert,
        }

    @property
    def client_options(self) -> dict[str, Any]:
        """What kafka-python's own clients take, to look with other eyes than the modules'."""
        return {
            "bootstrap_servers": self.servers,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": "admin",
            "sasl_plain_password": PASSWORD,
            "ssl_cafile": self.ca_cert,
        }

    @contextmanager
    def admin(self, **options: Any) -> Iterator[KafkaAdminClient]:
        client = KafkaAdminClient(**{**self.client_options, **options})
        try:
            yield client
        finally:
            client.close()

    def name(self, what: str = "t") -> str:
        """A name that no other test uses."""
        return f"{what}-{next(self._numbers)}"

    def start(self, node: int) -> None:
        """Start a killed node; returns when the cluster has it back, with all replicas in sync."""
        self.run("start", str(node))
        self.wait("all brokers to serve", lambda: len(self.serving()) == len(NODES))
        self.wait("all replicas to be in sync", lambda: not self.out_of_sync())

    def add(self, node: int, roles: str = "broker") -> None:
        """Start a further node, with an empty directory; returns when it serves, and votes."""
        self.run("add", str(node), roles)
        self.wait(f"broker {node} to serve", lambda: node in self.serving())
        if "controller" in roles:
            self.wait(f"controller {node} to vote", lambda: node in self.voters())

    def kill(self, node: int) -> None:
        """End a node as a power cut would; returns when the cluster has noticed."""
        self.run("kill_hard", str(node))
        self.wait(f"node {node} to be fenced", lambda: node not in self.serving())

    def serving(self) -> set[int]:
        with self.admin() as admin:
            brokers = admin.describe_cluster()["brokers"]
        return {each["broker_id"] for each in brokers if not each["is_fenced"]}

    def voters(self) -> set[int]:
        with self.admin() as admin:
            quorum = admin.describe_metadata_quorum()
        return {
            each["replica_id"] for each in quorum["topics"][0]["partitions"][0]["current_voters"]
        }

    def out_of_sync(self) -> list[str]:
        with self.admin() as admin:
            return [
                f"{topic['name']}-{partition['partition_index']}"
                for topic in admin.describe_topics()
                for partition in topic["partitions"]
                if len(partition["isr_nodes"]) < len(partition["replica_nodes"])
            ]

    @staticmethod
    def wait(what: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            # kafka-python may pick the very broker that is down
            with suppress(KafkaError):
                if done():
                    return
            if time.monotonic() > deadline:
                pytest.fail(f"waited {START_TIMEOUT_S} s in vain for {what}", pytrace=False)
            time.sleep(0.2)  # Kafka has no call that waits for this

    def run(self, *command: str) -> str:
        return docker(
            *("exec", "--env", f"PASSWORD={PASSWORD}", self.container, "/opt/kafka/nodes.sh"),
            *command,
        )


def docker(*arguments: str) -> str:
    """Run a docker command; its output, or a failed test that shows what it said."""
    result = subprocess.run(
        ["docker", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if result.returncode != 0:
        pytest.fail(f"docker {arguments[0]} failed:\n{result.stdout}{result.stderr}", pytrace=False)
    return result.stdout.strip()


@pytest.fixture(scope="session")
def kafka_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image with Kafka's jars; docker's layer cache makes the second run fast."""
    artifacts = os.environ.get("BSS_ARTIFACTS", CHECKOUT / "artifacts")
    made = subprocess.run(
        [CHECKOUT / "roles/kafka/files/make_kafka_archive", artifacts],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.fail(f"there is no archive of Kafka:\n{made.stderr}", pytrace=False)
    context = tmp_path_factory.mktemp("image")
    shutil.copyfile(made.stdout.split()[-1], context / "kafka.tgz")
    for name in ("Dockerfile", "nodes.sh", "log4j2.yaml"):
        shutil.copy(HERE / name, context)
    base = os.environ.get("BSS_LAB_IMAGE", "bss-lab-host:bookworm")
    if not docker("images", "--quiet", base):
        pytest.fail(f"there is no image {base}: run lab/make-host-image {base}", pytrace=False)
    return docker(
        *("build", "--quiet", "--tag", "bss-lab-contract:kafka", "--build-arg", f"BASE={base}"),
        str(context),
    )


@pytest.fixture(scope="session")
def kafka(kafka_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """The running cluster; as that of Citus, it ends when this process does, however it ends."""
    process = subprocess.Popen(
        [
            *("docker", "run", "--rm", "--interactive", "--label", LABEL),
            *("--name", f"kafka-contract-{os.getpid()}", kafka_image),
            *("sh", "-c", "hostname; cat"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    container = process.stdout.readline().strip()
    if not container:
        pytest.fail("the container with the nodes did not start", pytrace=False)
    network = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    ca_cert = tmp_path_factory.mktemp("tls") / "ca.pem"
    cluster = KafkaCluster(
        container, docker("inspect", "--format", network, container), str(ca_cert)
    )
    cluster.run("make_cluster")
    ca_cert.write_text(docker("exec", container, "cat", "ca.pem"))
    with cluster.admin(bootstrap_timeout_ms=START_TIMEOUT_S * 1000):
        pass  # it returns when a broker answers
    cluster.wait("all brokers to serve", lambda: len(cluster.serving()) == len(NODES))
    yield cluster
    docker("kill", container)
    process.stdin.close()
    process.wait()
