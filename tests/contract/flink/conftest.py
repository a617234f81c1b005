# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A secured Flink cluster in one container, one for the session.

Tests share it: each names its jobs by ``flink.name()``, starts what it stopped, and its jobs are
removed when it ends. Flink's savepoints and checkpoints are in a directory that the host and the
container have under the same path, as hosts of a platform have by a shared volume.
Environment: ``BSS_ARTIFACTS`` (where Flink's archive lies, or is put), ``BSS_LAB_IMAGE`` (the host
image that Flink is installed on).
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]
LABEL = "bss.platform=contract"
PASSWORD = "contract-keystore"
EXAMPLES = "org.apache.flink:flink-examples-streaming:2.3.0"
START_TIMEOUT_S = 120
KILLED = 137


@dataclass
class FlinkCluster:
    """A JobManager, a TaskManager with four slots and a SQL Gateway, seen from outside."""

    container: str
    host: str
    files: Path
    """With ca.pem and client.pem, and Flink's savepoints/ and checkpoints/."""
    examples: Path
    """A jar with jobs."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def login(self) -> dict[str, Any]:
        """The connection options of the modules."""
        return {
            "url": f"https://{self.host}:8081",
            "sql_gateway_url": f"https://{self.host}:8083",
            "ca_cert": str(self.files / "ca.pem"),
            "client_cert": str(self.files / "client.pem"),
        }

    def name(self, what: str = "job") -> str:
        """A name that no other test uses."""
        return f"{what}-{next(self._numbers)}"

    def get(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """What Flink answers, asked with other eyes than the modules'."""
        context = ssl.create_default_context(cafile=str(self.files / "ca.pem"))
        context.load_cert_chain(self.files / "client.pem")
        request = urllib.request.Request(
            f"https://{self.host}:8081{path}" if path.startswith("/") else path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return json.loads(answer.read())

    def jobs(self) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = self.get("/jobs/overview")["jobs"]
        return jobs

    def live(self, name: str) -> list[dict[str, Any]]:
        return [
            job
            for job in self.jobs()
            if job["name"] == name and job["state"] not in ("FINISHED", "CANCELED", "FAILED")
        ]

    def cancel(self, job_id: str) -> None:
        """As a person would in Flink's web interface; returns when the job has ended."""
        self.get(f"/jobs/{job_id}?mode=cancel", "PATCH")
        self.wait(f"job {job_id} to end", lambda: not self.is_live(job_id))

    def is_live(self, job_id: str) -> bool:
        return any(
            job["jid"] == job_id and job["state"] not in ("FINISHED", "CANCELED", "FAILED")
            for job in self.jobs()
        )

    def submit(self, script: str, name: str, job_id: str | None) -> None:
        """Start a job as another client of the SQL Gateway would."""
        properties = {"pipeline.name": name, "$internal.pipeline.job-id": job_id}
        given = {key: value for key, value in properties.items() if value}
        sessions = f"https://{self.host}:8083/v3/sessions"
        session = self.get(sessions, "POST", {"properties": given})["sessionHandle"]
        for statement in filter(str.strip, script.split(";")):
            path = f"{sessions}/{session}"
            answer = self.get(f"{path}/statements", "POST", {"statement": statement})
            status = f"{path}/operations/{answer['operationHandle']}/status"
            self.wait(statement, lambda status=status: self.get(status)["status"] == "FINISHED")

    def cancel_all(self) -> None:
        for job in self.jobs():
            if self.is_live(job["jid"]):
                self.cancel(job["jid"])

    def start(self, process: str) -> None:
        """Start jobmanager, taskmanager or gateway; returns when the cluster is whole."""
        self.run("start", process)
        self.wait("the cluster to be whole", self.is_whole)

    def kill(self, process: str) -> None:
        """End a process as a power cut would."""
        self.run("kill_hard", process)

    def is_whole(self) -> bool:
        self.get(f"https://{self.host}:8083/v3/info")
        return bool(self.get("/overview")["slots-total"] == 4)

    @staticmethod
    def wait(what: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with suppress(OSError):  # nobody answers yet
                if done():
                    return
            if time.monotonic() > deadline:
                pytest.fail(f"waited {START_TIMEOUT_S} s in vain for {what}", pytrace=False)
            time.sleep(0.2)  # Flink has no call that waits for this

    def run(self, *command: str) -> str:
        return docker("exec", self.container, "/opt/flink/cluster.sh", *command)


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
def flink_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image with Flink; docker's layer cache makes the second run fast."""
    artifacts = os.environ.get("BSS_ARTIFACTS", CHECKOUT / "artifacts")
    made = subprocess.run(
        [CHECKOUT / "roles/flink/files/make_flink_archive", artifacts],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.fail(f"there is no archive of Flink:\n{made.stderr}", pytrace=False)
    context = tmp_path_factory.mktemp("image")
    shutil.copyfile(made.stdout.split()[-1], context / "flink.tgz")
    for name in ("Dockerfile", "cluster.sh", "log4j2.properties"):
        shutil.copy(HERE / name, context)
    base = os.environ.get("BSS_LAB_IMAGE", "bss-lab-host:bookworm")
    if not docker("images", "--quiet", base):
        pytest.fail(f"there is no image {base}: run lab/make-host-image {base}", pytrace=False)
    return docker(
        *("build", "--quiet", "--tag", "bss-lab-contract:flink", "--build-arg", f"BASE={base}"),
        str(context),
    )


@pytest.fixture(scope="session")
def flink_examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flink's own examples of streaming jobs, in a jar."""
    directory = tmp_path_factory.mktemp("examples")
    copied = subprocess.run(
        [
            *("mvn", "--batch-mode", "--quiet", "dependency:copy", f"-Dartifact={EXAMPLES}"),
            *(f"-DoutputDirectory={directory}", "-Dmdep.stripVersion=true"),
        ],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if copied.returncode != 0:
        pytest.fail(f"Maven has no {EXAMPLES}:\n{copied.stdout}{copied.stderr}", pytrace=False)
    return directory / "flink-examples-streaming.jar"


@pytest.fixture(scope="session")
def flink_cluster(
    flink_image: str, flink_examples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FlinkCluster]:
    """The running cluster; as that of Citus, it ends when this process does, however it ends."""
    files = tmp_path_factory.mktemp("flink")
    for directory in (tmp_path_factory.getbasetemp(), *tmp_path_factory.getbasetemp().parents):
        if directory.stat().st_uid == os.getuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o011)  # Flink's user passes through
    files.chmod(0o777)
    process = subprocess.Popen(
        [
            *("docker", "run", "--rm", "--interactive", "--label", LABEL),
            *("--volume", f"{files}:{files}"),
            *("--name", f"flink-contract-{os.getpid()}", flink_image),
            *("sh", "-c", "hostname; cat"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    container = process.stdout.readline().strip()
    if not container:
        pytest.fail("the container with the cluster did not start", pytrace=False)
    network = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    cluster = FlinkCluster(
        container, docker("inspect", "--format", network, container), files, flink_examples
    )
    cluster.run("make_cluster", str(files), PASSWORD)
    for name in ("ca.pem", "client.pem"):
        (files / name).write_text(docker("exec", container, "cat", name))
    cluster.wait("the cluster to be whole", cluster.is_whole)
    yield cluster
    # What Flink's user wrote, only that user (or root) may remove.
    docker("exec", container, "sh", "-c", f"rm -rf {files}/savepoints {files}/checkpoints")
    docker("kill", container)
    process.stdin.close()
    process.wait()


@pytest.fixture
def flink(flink_cluster: FlinkCluster) -> Iterator[FlinkCluster]:
    yield flink_cluster
    flink_cluster.cancel_all()


@pytest.fixture
def interrupt_module() -> Callable[[str, str, dict[str, Any]], dict[str, Any] | None]:
    """Run flink_job with one request cut off (see interrupted.py); None where it died of that."""

    def run(moment: str, words: str, args: dict[str, Any]) -> dict[str, Any] | None:
        result = subprocess.run(
            [sys.executable, HERE / "interrupted.py", moment, words],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": args}),
            env={**os.environ, "PYTHONPATH": str(CHECKOUT / ".collections")},
            capture_output=True,
            text=True,
            check=False,
        )
        if moment == "lost":
            answer: dict[str, Any] = json.loads(result.stdout)
            return answer
        assert result.returncode == KILLED, f"it was not cut off: {result.stdout}{result.stderr}"
        return None

    return run
