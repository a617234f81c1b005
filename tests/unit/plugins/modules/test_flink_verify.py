# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What flink_verify makes of Flink's answers, and of what it finds on a host."""

from __future__ import annotations

import io
import json
import os
import pwd
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.bss.platform.plugins.module_utils import flink_rest
from ansible_collections.bss.platform.plugins.module_utils.checks import CheckFailed
from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import Spec, job_id
from ansible_collections.bss.platform.plugins.modules import flink_verify

Failures = dict[str, str]

SQL = "INSERT INTO a SELECT 1"
ID = job_id("totals", Spec(sql=SQL).mark, 1)
CLUSTER = {
    "taskmanagers": {"t1": 4, "t2": 4},
    "sql_gateway_url": "https://f1:8083",
    "jobs": [{"name": "totals", "sql": SQL}],
}
HOST = {
    "host": "t1",
    "units": ["flink-taskmanager"],
    "ports": [6121, 6122],
    "metrics_ports": [],
    "ca_cert": "ca.crt",
    "client_cert": "host.pem",
    "foreign_cert": "foreign.pem",
}


def taskmanagers(*hosts: str, slots: int = 4) -> dict[str, Any]:
    return {
        "taskmanagers": [
            {"id": f"{host}:6122-{each}", "slotsNumber": slots, "freeSlots": 1}
            for each, host in enumerate(hosts)
        ]
    }


def overview(of_job: str = ID, running: int = 12, state: str = "RUNNING") -> dict[str, Any]:
    job = {
        "jid": of_job,
        "name": "totals",
        "state": state,
        "tasks": {"total": 12, "running": running, "finished": 0},
        "start-time": 1,
        "end-time": -1,
        "duration": 100_000,
        "last-modification": 1,
    }
    return {"jobs": [job]}


def checkpoints(age_s: float | None = 1, failed: int = 0) -> dict[str, Any]:
    completed = None
    if age_s is not None:
        acknowledged = (time.time() - age_s) * 1000
        completed = {"external_path": "file:/s/chk-1", "latest_ack_timestamp": acknowledged}
    return {
        "counts": {"completed": int(age_s is not None), "failed": failed},
        "latest": {"completed": completed, "savepoint": None, "restored": None},
    }


def exceptions(*ages_s: float) -> dict[str, Any]:
    entries = [
        {"timestamp": (time.time() - age) * 1000, "taskName": "", "stacktrace": "x.Broken: no disk"}
        for age in ages_s
    ]
    return {"exceptionHistory": {"entries": entries}}


@pytest.fixture
def flink(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a cluster that is well answers, by path; a test changes it."""
    says: dict[str, Any] = {
        "/overview": {
            "flink-version": "2.2.1",
            "taskmanagers": 2,
            "slots-total": 8,
            "slots-available": 2,
        },
        "https://f1:8083/v3/info": {"productName": "Apache Flink", "version": "2.2.1"},
        "/taskmanagers": taskmanagers("t1", "t2"),
        "/jobs/overview": overview(),
        f"/jobs/{ID}": {"vertices": [{"parallelism": 2}]},
        f"/jobs/{ID}/checkpoints": checkpoints(),
        f"/jobs/{ID}/checkpoints/config": {"interval": 10_000},
        f"/jobs/{ID}/exceptions": exceptions(),
        "/jobmanager/config": [
            {"key": "execution.checkpointing.savepoint-dir", "value": "s3://b/savepoints"},
            {"key": "execution.checkpointing.dir", "value": "s3://b/checkpoints"},
        ],
    }

    def open_url(url: str, *, method: str, **_: Any) -> io.BytesIO:
        assert method == "GET"
        answer = says[url.removeprefix("https://f1:8081")]
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(json.dumps(answer).encode())

    monkeypatch.setattr(flink_rest, "open_url", open_url)
    monkeypatch.setattr(flink_rest.Api, "_require_readable_certificates", lambda _api: None)
    return says


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, dict[str, Any]]]:
    """Run main(); each check's result by name."""

    def run(**options: Any) -> dict[str, dict[str, Any]]:
        with (
            patch_module_args({"url": "https://f1:8081", **options}),
            pytest.raises(SystemExit),
        ):
            flink_verify.main()
        said = json.loads(capsys.readouterr().out)
        assert not said.get("failed") and said["changed"] is False, said
        results = {result["name"]: result for result in said["results"]}
        assert said["passed"] == all(each["state"] == "ok" for each in results.values())
        return results

    return run


def failures(results: dict[str, dict[str, Any]]) -> Failures:
    return {name: each["detail"] for name, each in results.items() if each["state"] == "failed"}


# The cluster


def test_a_cluster_that_is_well(verify: Any, flink: dict[str, Any]) -> None:
    assert {name: each["detail"] for name, each in verify(**CLUSTER).items()} == {
        "flink_sql_gateway": "Apache Flink at https://f1:8083",
        "flink_taskmanagers": "2 TaskManagers, 8 slots",
        "flink_jobs_as_declared": "totals",
        "flink_jobs_run": "totals runs 12 tasks",
        "flink_jobs_checkpoint": "the last checkpoint of totals is 1 s old",
        "flink_jobs_steady": "at most 0 failures of a job within 300 s",
    }


def refused(status: int) -> HTTPError:
    return HTTPError("https://f1", status, "reason", Message(), io.BytesIO(b"no"))


@pytest.mark.parametrize(
    ("path", "answer", "name", "detail"),
    [
        ("https://f1:8083/v3/info", URLError("refused"), "flink_sql_gateway", "(refused)"),
        ("https://f1:8083/v3/info", {}, "flink_sql_gateway", "productName"),
        (
            "/taskmanagers",
            taskmanagers("t1"),
            "flink_taskmanagers",
            "the TaskManager of t2 has not registered",
        ),
        (
            "/taskmanagers",
            taskmanagers("t1", "t2", slots=2),
            "flink_taskmanagers",
            "t1 has 2 slots, declared are 4; t2 has 2 slots",
        ),
        (
            "/taskmanagers",
            taskmanagers("t1", "t1", "t2"),
            "flink_taskmanagers",
            "t1 has 8 slots, declared are 4",
        ),
        (
            "/taskmanagers",
            taskmanagers("t1", "t2", "t3"),
            "flink_taskmanagers",
            "registered and not declared: t3",
        ),
        ("/jobs/overview", overview(running=11), "flink_jobs_run", "11 of 12 tasks run"),
        ("/jobs/overview", overview(state="RESTARTING"), "flink_jobs_run", "RESTARTING"),
        (
            "/jobs/overview",
            overview(job_id("totals", Spec(sql="INSERT INTO a SELECT 2").mark, 1)),
            "flink_jobs_as_declared",
            "totals",
        ),
        (
            f"/jobs/{ID}/checkpoints",
            lambda: checkpoints(31, failed=7),  # as seen when the test runs
            "flink_jobs_checkpoint",
            "the last checkpoint of totals is 31 s old, 3 intervals are 30 s, 7 have failed",
        ),
        (
            f"/jobs/{ID}/checkpoints",
            checkpoints(None, failed=2),
            "flink_jobs_checkpoint",
            "totals has completed no checkpoint, 2 have failed",
        ),
        (
            f"/jobs/{ID}/exceptions",
            lambda: exceptions(1, 20, 40, 60, 80),
            "flink_jobs_steady",
            "totals failed 5 times within 300 s: Broken: no disk",
        ),
    ],
)
def test_one_fault_of_a_cluster(
    verify: Any, flink: dict[str, Any], path: str, answer: Any, name: str, detail: str
) -> None:
    if path == "/jobs/overview":  # whatever its id, the job is well otherwise
        other = answer["jobs"][0]["jid"]
        flink |= {key.replace(ID, other): value for key, value in flink.items()}
    flink[path] = answer() if callable(answer) else answer
    found = failures(verify(**CLUSTER))
    assert list(found) == [name] and detail in found[name]


def test_a_job_that_does_not_run_fails_whatever_is_said_of_it(
    verify: Any, flink: dict[str, Any], tmp_path: Path
) -> None:
    flink["/jobs/overview"] = {"jobs": []}
    for each in flink["/jobmanager/config"]:
        each["value"] = f"file://{tmp_path}"
    found = failures(verify(**CLUSTER))
    assert found.pop("flink_jobs_as_declared").startswith("flink_job would start totals")
    named = ("flink_jobs_run", "flink_jobs_checkpoint", "flink_jobs_steady")
    assert found == dict.fromkeys(named, "totals does not run")


@pytest.mark.parametrize("declared", [{"restart": True}, {"take_savepoint": True}])
def test_what_each_run_does_anew_is_no_fault(
    verify: Any, flink: dict[str, Any], declared: dict[str, Any]
) -> None:
    jobs = [{"name": "totals", "sql": SQL, **declared}]
    assert not failures(verify(**{**CLUSTER, "jobs": jobs}))


def test_a_job_that_is_to_be_away_is_not_looked_for(verify: Any, flink: dict[str, Any]) -> None:
    jobs = [{"name": "gone", "state": "absent"}]
    assert not failures(verify(**{**CLUSTER, "jobs": jobs}))


@pytest.mark.parametrize("path", ["", "/config"])
def test_a_job_without_checkpoints_of_its_own_passes_by_name(
    verify: Any, flink: dict[str, Any], path: str
) -> None:
    flink[f"/jobs/{ID}/checkpoints"] = checkpoints(None)
    flink[f"/jobs/{ID}/checkpoints{path}"] = (
        {"interval": 2**63 - 1} if path else refused(flink_rest.NOT_FOUND)
    )
    results = verify(**CLUSTER)
    assert not failures(results)
    assert results["flink_jobs_checkpoint"]["detail"] == "totals makes none by itself"


def test_a_job_that_has_just_started_has_time_for_its_first_checkpoint(
    verify: Any, flink: dict[str, Any]
) -> None:
    flink[f"/jobs/{ID}/checkpoints"] = checkpoints(None)
    flink["/jobs/overview"]["jobs"][0]["start-time"] = (time.time() - 5) * 1000
    results = verify(**CLUSTER)
    assert not failures(results)
    assert results["flink_jobs_checkpoint"]["detail"] == "totals started 5 s ago"


def test_failures_of_long_ago_are_forgiven(verify: Any, flink: dict[str, Any]) -> None:
    flink[f"/jobs/{ID}/exceptions"] = exceptions(1, 20, 40, 301, 302, 303)
    results = verify(**CLUSTER)
    assert results["flink_jobs_steady"]["detail"].startswith("at most 3 failures")


def test_without_a_jobmanager_each_check_says_why(verify: Any, flink: dict[str, Any]) -> None:
    flink |= dict.fromkeys(flink, URLError("refused"))
    found = failures(verify(**CLUSTER))
    assert len(found) == 6 and all("(refused)" in detail for detail in found.values())


# A host


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, flink: dict[str, Any]) -> dict[str, Any]:
    """A host that is well but for what a test changes in here."""
    says: dict[str, Any] = {"unit": None, "days": {6121: 100.0, 6122: 90.0}, "taken": None}

    def require_active(unit: str) -> None:
        if says["unit"]:
            raise CheckFailed(f"the unit {unit} is {says['unit']}")

    class Authority:
        def get_ca_certs(self) -> list[dict[str, str]]:
            return [{"notAfter": "Jan  1 00:00:00 2099 GMT"}]

    tls = flink_verify.tls
    monkeypatch.setattr(flink_verify, "require_active", require_active)
    monkeypatch.setattr(tls, "client_context", lambda _options: Authority())
    monkeypatch.setattr(
        tls, "server_certificate_days_left", lambda _host, port, _context: says["days"][port]
    )
    monkeypatch.setattr(
        tls,
        "strangers_taken",
        lambda host, port, _options: [f"{host}:{port} takes"] if port == says["taken"] else [],
    )
    return says


def test_a_host_that_is_well(verify: Any, host: dict[str, Any], tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    user = pwd.getpwuid(os.getuid()).pw_name
    results = verify(**HOST, directories=[str(tmp_path)], user=user)
    assert not failures(results)
    assert {name: each["detail"].split(",")[0] for name, each in results.items()} == {
        "flink_running": "flink-taskmanager active",
        "flink_certificate": "90 days left",
        "flink_refuses_strangers": "turned away at 6121",
        "flink_metrics_private": "told at",
        "flink_state_private": f"only {user} enters {tmp_path}",
    }


@pytest.mark.parametrize(
    ("change", "name", "detail"),
    [
        ({"unit": "failed"}, "flink_running", "the unit flink-taskmanager is failed"),
        ({"days": {6121: 100.0, 6122: 13.0}}, "flink_certificate", "13 days left"),
        ({"taken": 6122}, "flink_refuses_strangers", "t1:6122 takes"),
    ],
)
def test_one_fault_of_a_host(
    verify: Any, host: dict[str, Any], change: dict[str, Any], name: str, detail: str
) -> None:
    host |= change
    found = failures(verify(**HOST))
    assert list(found) == [name] and detail in found[name]


def test_a_host_that_the_jobmanager_does_not_answer(
    verify: Any, host: dict[str, Any], flink: dict[str, Any]
) -> None:
    flink["/overview"] = URLError("certificate unknown")
    assert "certificate unknown" in failures(verify(**HOST))["flink_running"]


@pytest.mark.parametrize("mode", [0o750, 0o705])
def test_state_that_others_may_enter(
    verify: Any, host: dict[str, Any], tmp_path: Path, mode: int
) -> None:
    tmp_path.chmod(mode)
    user = pwd.getpwuid(os.getuid()).pw_name
    found = failures(verify(**HOST, directories=[str(tmp_path)], user=user))
    assert found == {"flink_state_private": f"{tmp_path} has mode {mode:04o}"}


def test_state_of_another_user(verify: Any, host: dict[str, Any], tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    found = failures(verify(**HOST, directories=[str(tmp_path)], user="nobody"))
    assert "not to nobody" in found["flink_state_private"]


def test_state_that_is_not_mounted(verify: Any, host: dict[str, Any], tmp_path: Path) -> None:
    found = failures(verify(**HOST, directories=[str(tmp_path / "none")], user="nobody"))
    assert "No such file" in found["flink_state_private"]


@pytest.fixture
def metrics() -> Iterator[Callable[[bytes], int]]:
    """Serve a page of metrics on the loopback; its port."""
    servers: list[HTTPServer] = []

    def serve(page: bytes) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_said: Any, **_named: Any) -> None:
                pass

        server = HTTPServer(("localhost", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_port

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_metrics(verify: Any, host: dict[str, Any], metrics: Callable[[bytes], int]) -> None:
    flinks = metrics(b"flink_taskmanager_numRegistered 1\n")
    with socket.create_server(("localhost", 0)) as bound:
        closed = bound.getsockname()[1]

    def private(own: int, elsewhere: int) -> str | None:
        options = {"metrics_ports": [own], "metrics_elsewhere": [f"localhost:{elsewhere}"]}
        return failures(verify(**{**HOST, **options})).get("flink_metrics_private")

    assert private(flinks, closed) is None
    assert "opens to this host" in str(private(flinks, flinks))
    assert "tells no metrics" in str(private(metrics(b"other 1\n"), closed))
    assert "refused" in str(private(closed, closed))


def test_documentation_has_the_options_of_the_module() -> None:
    documented = yaml.safe_load(flink_verify.DOCUMENTATION)["options"]
    fields = ("type", "elements", "choices", "required", "default")

    def described(options: dict[str, Any], nested: str) -> dict[str, Any]:
        return {
            name: {field: each[field] for field in fields if field in each}
            | ({"options": described(each[nested], nested)} if nested in each else {})
            for name, each in options.items()
        }

    own = {
        name: each
        for name, each in flink_verify.ARGUMENT_SPEC.items()
        if name not in flink_rest.CONNECTION_OPTIONS
    }
    assert described(documented, "suboptions") == described(own, "options")
