# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A Citus cluster of four instances in one container, fresh for every test.

Environment: ``CITUS`` (``real`` demands the package, ``standin`` forces the stand-in, unset
takes the package if there is one), ``BSS_ARTIFACTS`` (where the package lies),
``BSS_LAB_IMAGE`` (the host image that PostgreSQL is installed on).
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras
import pytest
from xdist.scheduler import LoadScopeScheduling

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
LABEL = "bss.platform=contract"
POSTGRESQL_VERSION = "15"
DATABASE = "bss"
PASSWORD = "contract"
COORDINATOR_PORT = 5432
WORKER_PORTS = (5433, 5434, 5435)
PORTS = (COORDINATOR_PORT, *WORKER_PORTS)

TEMPLATES = "/var/lib/postgresql/templates"
INSTANCES = "/instances"

# Shell functions of the instances; $1 is always the port.
INSTANCE_FUNCTIONS = rf"""
start() {{
  pg_ctl --pgdata {INSTANCES}/$1 --options "-p $1" --log {INSTANCES}/$1.log --wait --silent start \
    || {{ cat {INSTANCES}/$1.log >&2; return 1; }}
}}
stop() {{ pg_ctl --pgdata {INSTANCES}/$1 --mode fast --wait --silent stop; }}
kill_hard() {{  # as a power cut would: nobody says goodbye
  [ -f {INSTANCES}/$1/postmaster.pid ] || return 0
  local postmaster processes
  postmaster=$(head -1 {INSTANCES}/$1/postmaster.pid)
  processes="$postmaster $(pgrep --parent $postmaster)"
  kill -9 $processes
  while ps --pid "$processes" >/dev/null; do :; done
}}
fresh() {{
  rm -rf {INSTANCES}/$1 {INSTANCES}/$1.log
  cp -a {TEMPLATES}/$1 {INSTANCES}/$1
  start $1
}}
"""


@dataclass(frozen=True)
class CitusSource:
    """Which Citus the tests run against, and the files that install it."""

    name: str
    """``real`` or ``standin``."""
    files: tuple[Path, ...]

    def __str__(self) -> str:
        if self.name == "real":
            return f"real Citus ({self.files[0].name})"
        return "the stand-in of tests/standin (no distribution of data)"


def choose_citus(environ: Mapping[str, str]) -> CitusSource:
    """Real Citus where its package lies in the artifacts, else the stand-in.

    Raises pytest.UsageError when CITUS=real and there is no package.
    """
    wanted = environ.get("CITUS", "")
    if wanted not in ("", "real", "standin"):
        raise pytest.UsageError(f"CITUS is {wanted!r}: it takes 'real', 'standin' or nothing")
    artifacts = Path(environ.get("BSS_ARTIFACTS", CHECKOUT / "artifacts"))
    pattern = f"postgresql-{POSTGRESQL_VERSION}-citus-*.deb"
    packages = sorted(artifacts.glob(pattern))
    if packages and wanted != "standin":
        return CitusSource("real", (packages[-1],))
    if wanted == "real":
        raise pytest.UsageError(
            f"CITUS=real, but {artifacts} has no {pattern}: put the package there, "
            "name its directory in BSS_ARTIFACTS, or run with CITUS=standin"
        )
    return CitusSource("standin", tuple(sorted((CHECKOUT / "tests/standin/extension").iterdir())))


class SharedOnOneWorker(LoadScopeScheduling):
    """Tests are spread one by one, but for those of Kafka and of Flink: they share a cluster."""

    def _split_scope(self, nodeid: str) -> str:
        shared = (name for name in ("kafka", "flink") if f"contract/{name}/" in nodeid)
        return next(shared, nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """In place of --dist loadgroup: pytest-xdist 3.8 does not see its marks under pytest 9.2."""
    return SharedOnOneWorker(config, log)


def pytest_report_header() -> str:
    return f"citus: {choose_citus(os.environ)}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it at the end as well, since a quiet run has no header."""
    try:
        citus = choose_citus(os.environ)
    except pytest.UsageError:
        return
    terminalreporter.write_line(f"The modules met {citus}.")


@dataclass(frozen=True)
class CitusCluster:
    """A coordinator and three workers, one PostgreSQL instance a port of ``host``."""

    container: str
    host: str
    is_standin: bool
    coordinator_port: int = COORDINATOR_PORT
    worker_ports: tuple[int, ...] = WORKER_PORTS

    @property
    def login(self) -> dict[str, Any]:
        """The connection options of the modules, for the coordinator."""
        return {
            "login_host": self.host,
            "login_port": self.coordinator_port,
            "login_user": "postgres",
            "login_password": PASSWORD,
            "login_db": DATABASE,
            "ssl_mode": "prefer",
        }

    def sql(
        self, port: int, statement: str, parameters: Sequence[Any] = ()
    ) -> list[dict[str, Any]]:
        """Run a statement on the instance of that port; its rows, if it has any."""
        connection = psycopg2.connect(
            host=self.host,
            port=port,
            user="postgres",
            password=PASSWORD,
            dbname=DATABASE,
            connect_timeout=10,
        )
        connection.autocommit = True
        try:
            with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                cursor.execute(statement, parameters or None)
                return [dict(row) for row in cursor.fetchall()] if cursor.description else []
        finally:
            connection.close()

    def register_workers(self) -> None:
        """Make the four instances one cluster, as an operator would by hand."""
        coordinator = self.coordinator_port
        self.sql(coordinator, "SELECT citus_set_coordinator_host(%s, %s)", (self.host, coordinator))
        for port in self.worker_ports:
            self.sql(coordinator, "SELECT citus_add_node(%s, %s)", (self.host, port))

    def start(self, port: int) -> None:
        """Start a stopped or killed instance; returns when it answers."""
        self._run(f"start {port}")

    def stop(self, port: int) -> None:
        """Shut an instance down in order; its sessions are told."""
        self._run(f"stop {port}")

    def kill(self, port: int) -> None:
        """End an instance and its sessions at once, as a power cut does."""
        self._run(f"kill_hard {port}")

    def renew(self) -> None:
        """Replace all instances by fresh copies of the template, side by side."""
        kills = "".join(f"kill_hard {port} 2>/dev/null; " for port in PORTS)
        # What a killed server leaves there, only its own next start would remove.
        clean = "rm -f /dev/shm/PostgreSQL.*; "
        starts = "".join(f"fresh {port} & started+=($!); " for port in PORTS)
        self._run(
            kills + clean + starts + 'for pid in "${started[@]}"; do wait $pid || exit 1; done'
        )

    def _run(self, script: str) -> None:
        docker("exec", self.container, "bash", "-c", INSTANCE_FUNCTIONS + script)


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
def citus_source() -> CitusSource:
    return choose_citus(os.environ)


@pytest.fixture(scope="session")
def citus_image(citus_source: CitusSource, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image with PostgreSQL and Citus; docker's layer cache makes the second run fast."""
    context = tmp_path_factory.mktemp("image")
    (context / "citus").mkdir()
    for file in citus_source.files:
        shutil.copy(file, context / "citus")  # without times: the cache goes by content
    shutil.copy(HERE / "Dockerfile", context)
    base = os.environ.get("BSS_LAB_IMAGE", "bss-lab-host:bookworm")
    if not docker("images", "--quiet", base):
        pytest.fail(
            f"there is no image {base}: run lab/make-host-image {base}, or name another host "
            "image where apt works in BSS_LAB_IMAGE",
            pytrace=False,
        )
    with (tmp_path_factory.getbasetemp().parent / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests side by side need it built once
        return docker(
            *("build", "--quiet", "--tag", f"bss-lab-contract:{citus_source.name}"),
            *("--build-arg", f"BASE={base}"),
            *("--build-arg", f"POSTGRESQL_VERSION={POSTGRESQL_VERSION}"),
            *("--build-arg", f"PASSWORD={PASSWORD}"),
            *("--build-arg", f"PORTS={' '.join(map(str, PORTS))}"),
            str(context),
        )


@pytest.fixture(scope="session")
def citus_container(citus_image: str) -> Iterator[str]:
    """The running container's id.

    Its first process reads our pipe: when this process ends, however it ends, the pipe
    closes, the container stops and docker removes it.
    """
    process = subprocess.Popen(
        [
            *("docker", "run", "--rm", "--interactive", "--label", LABEL),
            *("--user", "postgres", "--shm-size", "256m", "--tmpfs", f"{INSTANCES}:mode=1777"),
            *(citus_image, "sh", "-c", "hostname; cat; wait"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    container = process.stdout.readline().strip()
    if not container:
        pytest.fail("the container with the instances did not start", pytrace=False)
    yield container
    docker("kill", container)
    process.stdin.close()
    process.wait()


@pytest.fixture
def citus(citus_container: str, citus_source: CitusSource) -> CitusCluster:
    """A fresh cluster: Citus is installed in database bss, no node is registered."""
    network = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    host = docker("inspect", "--format", network, citus_container)
    cluster = CitusCluster(citus_container, host, is_standin=citus_source.name == "standin")
    cluster.renew()
    return cluster


RunModule = Callable[..., dict[str, Any]]


@pytest.fixture
def run_module() -> RunModule:
    """Run a module's main() as Ansible does: its own process, JSON on stdin, JSON on stdout."""

    def run(
        name: str,
        args: Mapping[str, Any],
        check: bool = False,
        diff: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        arguments = {**args, "_ansible_check_mode": check, "_ansible_diff": diff}
        search_path = [str(CHECKOUT / ".collections"), os.environ.get("PYTHONPATH", "")]
        result = subprocess.run(
            [sys.executable, "-m", f"ansible_collections.bss.platform.plugins.modules.{name}"],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, search_path)),
                **(environ or {}),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        output = result.stdout + result.stderr
        if "Traceback (most recent call last)" in output:
            pytest.fail(f"{name} ended with a traceback:\n{output}", pytrace=False)
        try:
            answer: dict[str, Any] = json.loads(result.stdout)
        except ValueError:
            pytest.fail(f"{name} did not answer with JSON:\n{output}", pytrace=False)
        # ansible-core 2.19 wraps the texts, earlier ones do not
        warnings = [
            warning if isinstance(warning, str) else warning["event"]["msg"]
            for warning in answer.get("warnings", [])
        ]
        return {"failed": False, **answer, "warnings": warnings}

    return run
