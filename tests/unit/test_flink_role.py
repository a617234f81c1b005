# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The role flink: when it lets another version come, each case a host of one play; what it
refuses, installs and waits for."""

from __future__ import annotations

import json
import tarfile
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROLE = Path(__file__).parents[2] / "roles/flink"
FLINK = "bss.platform.flink"

CLICKS = {"name": "clicks", "state": "RUNNING", "tasks": {"total": 2, "running": 2}}
ENDED = {"name": "hourly", "state": "CANCELED", "tasks": {"total": 2, "running": 0}}


class Case(NamedTuple):
    to: str
    """The declared version."""
    starts: str = ""
    """The version that the host starts; nothing where it has none."""
    runs: str = ""
    """The version that the JobManager says it runs; nothing where it does not answer."""
    jobs: tuple[dict[str, Any], ...] = ()
    connector: str = "5.0.0-2.2"
    """That of the JobManager, which is the host itself; declared is 5.0.0-2.2."""

    @property
    def variables(self) -> dict[str, Any]:
        starter = f"export FLINK_LIB_DIR=/opt/flink/{self.starts}/lib FLINK_OPT_DIR=...\n"
        starter += f"jars=(... /opt/flink/flink-sql-connector-kafka-{self.connector}.jar ...)"
        return {
            "declared": self.to,
            "starter": {"content": b64encode(starter.encode()).decode()} if self.starts else {},
        }


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, Case]], str]]:
    """Let a JobManager answer for each case, at ``<address>/<case>``; its address."""
    servers = []

    def serve(cases: dict[str, Case]) -> str:
        class JobManager(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name, _, path = self.path[1:].partition("/")
                body = {
                    "config": {"flink-version": cases[name].runs},
                    "jobs/overview": {"jobs": cases[name].jobs},
                }[path]
                self.send_response(200 if cases[name].runs else 503)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                if cases[name].runs:
                    self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_args: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), JobManager))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def outcomes(run_play, serve, tmp_path: Path) -> Callable[..., dict[str, dict[str, Any]]]:
    """What became of each case after some entry points: the facts, and the refusal or ''."""

    def outcomes(cases: dict[str, Case], *entry_points: str) -> dict[str, dict[str, Any]]:
        steps = [
            {
                "ansible.builtin.include_role": {
                    "name": FLINK,
                    "tasks_from": entry_point,
                },
                "when": "flink_changes_version | default(true)",
            }
            for entry_point in entry_points
        ]
        said = "{{ (ansible_failed_result | default({})).msg | default('') }}"
        tell = {
            "ansible.builtin.copy": {
                "content": "{{ {'ran': flink_ran_version, 'changes': flink_changes_version, "
                "'refusal': refusal | default('')} | to_json }}",
                "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}.json",
            }
        }
        note = {"ansible.builtin.set_fact": {"refusal": said}}
        inventory = tmp_path / "hosts.json"
        hosts = {name: case.variables for name, case in cases.items()}
        inventory.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
        shown = run_play(
            {"tasks": [{"block": steps, "rescue": [note], "always": [tell]}]},
            inventory=inventory,
            variables={
                "region": "us-east",
                "flink_version": "{{ declared }}",
                "flink_jobmanagers": ["{{ inventory_hostname }}"],
                "flink_kafka_connector_version": "5.0.0-2.2",
                "flink_rest_url": serve(cases) + "/{{ inventory_hostname }}",
                "flink_authority": None,
                "flink_host_pem": None,
                "flink_starter": "{{ starter }}",
            },
        )
        assert "failed=0" in shown, shown
        return {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in cases}

    return outcomes


def test_a_version_comes_while_no_job_runs(outcomes) -> None:
    cases = {
        "bare": Case("2.2.1"),
        "as_declared": Case("2.2.1", "2.2.1", "2.2.1", (CLICKS,)),
        "no_jobs": Case("2.2.1", "2.2.0", "2.2.0"),
        "ended_jobs": Case("2.2.1", "2.2.0", "2.2.0", (ENDED,)),
        # An upgrade stopped before its restart; in it; and a host that was away during one.
        "not_restarted": Case("2.2.1", "2.2.1", "2.2.0"),
        "down": Case("2.2.1", "2.2.1"),
        "left_behind": Case("2.2.1", "2.2.0", "2.2.1", (CLICKS,)),
    }
    assert outcomes(cases, "version", "other_version") == {
        "bare": {"ran": "", "changes": False, "refusal": ""},
        "as_declared": {"ran": "2.2.1", "changes": False, "refusal": ""},
        "no_jobs": {"ran": "2.2.0", "changes": True, "refusal": ""},
        "ended_jobs": {"ran": "2.2.0", "changes": True, "refusal": ""},
        "not_restarted": {"ran": "2.2.0", "changes": True, "refusal": ""},
        "down": {"ran": "2.2.1", "changes": False, "refusal": ""},
        "left_behind": {"ran": "2.2.1", "changes": False, "refusal": ""},
    }


def test_no_version_comes_while_a_job_runs_or_may_run(outcomes) -> None:
    cases = {
        "running": Case("2.2.1", "2.2.0", "2.2.0", (CLICKS, ENDED)),
        "unknown": Case("2.2.1", "2.2.0"),
        "connector": Case("2.2.1", "2.2.1", "2.2.1", (CLICKS,), "4.0.1-2.2"),
    }
    found = outcomes(cases, "version", "other_version")
    assert "its jobs, clicks, would not be found again" in found["running"]["refusal"]
    assert "run flink_upgrade" in found["running"]["refusal"]
    assert "the JobManager on unknown does not answer" in found["unknown"]["refusal"]
    assert "or set flink_version: 2.2.0" in found["unknown"]["refusal"]
    assert "_version: 5.0.0-2.2 is not 4.0.1-2.2, which" in found["connector"]["refusal"]


def test_jobs_are_not_suspended_for_a_line_that_could_not_read_them(outcomes) -> None:
    cases = {
        "within_line": Case("2.2.0", "2.2.1", "2.2.1", (CLICKS,)),
        "newer": Case("2.10.0", "2.2.1", "2.2.1", (CLICKS,)),
        "no_job": Case("1.20.5", "2.2.1", "2.2.1", (ENDED,)),
        "older": Case("2.1.3", "2.2.1", "2.2.1", (CLICKS,)),
    }
    found = outcomes(cases, "version", "older")
    refused = {name: said["refusal"] for name, said in found.items() if said["refusal"]}
    assert list(refused) == ["older"]
    assert "Flink 2.1 is not made to read what 2.2 saves of jobs (clicks)" in refused["older"]


STAMP = {"exists": True, "inode": 12, "mtime": 1.5}


@pytest.mark.parametrize(
    ("marks", "refused"),
    [
        ([STAMP, STAMP], ""),
        # A JobManager whose own mount was lost has written another.
        ([{**STAMP, "inode": 13}, STAMP], "inode 13 of 1.5 on us-f1, inode 12 of 1.5 on us-t1"),
        ([{**STAMP, "mtime": 2.5}, STAMP], "inode 12 of 2.5 on us-f1, inode 12 of 1.5 on us-t1"),
        ([STAMP, {"exists": False}], "inode 12 of 1.5 on us-f1, missing on us-t1"),
        ([{"exists": False}, {"exists": False}], "missing on us-f1, missing on us-t1"),
    ],
)
def test_a_storage_that_is_not_shared_is_refused(marks, refused, run_play, tmp_path) -> None:
    said = refuse_storage(run_play, tmp_path, dict(zip(("us-f1", "us-t1"), marks, strict=True)))
    assert "failed=1" in said if refused else "failed=0" in said, said
    assert refused in said


@pytest.mark.parametrize(
    "marks",
    [
        {"us-f1": {"exists": False}, "us-t1": {"exists": False}},  # of another storage
        {"us-f1": STAMP, "us-t1": None},  # a host that is new
    ],
)
def test_a_check_does_not_miss_marks_that_a_run_writes(marks, run_play, tmp_path) -> None:
    said = refuse_storage(run_play, tmp_path, marks, "--check")
    assert "failed=0" in said and "failed=1" not in said, said


def refuse_storage(run_play, tmp_path: Path, marks: dict[str, Any], *options: str) -> str:
    """What Ansible says of the refusal, by hosts that have found these marks."""
    refusal = yaml.safe_load((ROLE / "tasks/storage.yml").read_text())[-1]
    assert "ansible.builtin.assert" in refusal
    inventory = tmp_path / "hosts.json"
    hosts = {host: {"flink_mark": {"stat": mark}} if mark else {} for host, mark in marks.items()}
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    variables = {
        "region": "us-east",
        "flink_storage_dir": "/srv/flink",
        "flink_jobmanagers": ["us-f1"],
        "flink_taskmanagers": ["us-t1"],
    }
    return run_play({"tasks": [refusal]}, *options, inventory=inventory, variables=variables)


def test_half_of_a_flink_does_not_count(run_play, tmp_path: Path) -> None:
    source = tmp_path / "flink-2.2.1/lib"
    source.mkdir(parents=True)
    (source / "flink-dist.jar").write_text("whole")
    archive, home = tmp_path / "flink.tgz", tmp_path / "2.2.1"
    with tarfile.open(archive, "w:gz") as content:
        content.add(source.parent, "flink-2.2.1")
    half = tmp_path / "2.2.1.new/lib"
    half.mkdir(parents=True)
    (half / "of_another.jar").write_text("")
    unpack = {"ansible.builtin.import_role": {"name": FLINK, "tasks_from": "unpack"}}
    paths = {"flink_home": str(home), "flink_archive": str(archive)}

    said = run_play({"tasks": [unpack]}, "--check", variables=paths)
    assert "failed=0" in said and not home.exists(), said
    said = run_play({"tasks": [unpack]}, variables=paths)
    assert "failed=0" in said, said
    assert [path.name for path in (home / "lib").iterdir()] == ["flink-dist.jar"]
    assert not half.exists()


def test_jobs_that_run_have_all_tasks_at_work_or_done(run_play) -> None:
    jobs = [
        {"jid": "all", "state": "RUNNING", "tasks": {"total": 2, "running": 2, "finished": 0}},
        {"jid": "bounded", "state": "RUNNING", "tasks": {"total": 2, "running": 1, "finished": 1}},
        {"jid": "half", "state": "RUNNING", "tasks": {"total": 2, "running": 1, "finished": 0}},
        {"jid": "ended", "state": "FINISHED", "tasks": {"total": 2, "running": 0, "finished": 2}},
    ]
    computed = yaml.safe_load((ROLE / "vars/main.yml").read_text())["flink_jobs_that_run"]
    require = {"ansible.builtin.assert": {"that": "flink_jobs_that_run == ['all', 'bounded']"}}
    said = run_play(
        {"vars": {"flink_jobs_that_run": computed}, "tasks": [require]},
        variables={"flink_jobs": {"json": {"jobs": jobs}}},
    )
    assert "failed=0" in said, said


def test_a_plugin_has_a_directory_of_its_own(run_play, tmp_path: Path) -> None:
    plugin = "org.apache.flink:flink-s3-fs-presto"
    archive = tmp_path / "artifacts/flink-s3-fs-presto-2.2.1.jar"
    archive.parent.mkdir()
    archive.write_text("jar")
    home = tmp_path / "2.2.1"
    steps = [
        {"ansible.builtin.include_role": {"name": FLINK, "tasks_from": "fetch_plugins"}},
        {
            "ansible.builtin.include_role": {"name": FLINK, "tasks_from": "install_plugin"},
            "vars": {"flink_plugin": plugin},
        },
    ]
    said = run_play(
        {"tasks": steps},
        variables={
            "platform_artifacts_dir": str(archive.parent),
            "flink_home": str(home),
            "flink_version": "2.2.1",
            "flink_plugins": [plugin],
        },
    )
    assert "failed=0" in said, said
    assert (home / "plugins/flink-s3-fs-presto" / archive.name).read_text() == "jar"


@pytest.mark.parametrize(("beside_a_jobmanager", "memory_mb"), [(False, 12288), (True, 6144)])
def test_a_taskmanager_leaves_others_their_memory(beside_a_jobmanager, memory_mb, run_play) -> None:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    sizes = {name: value for name, value in defaults.items() if name.endswith("_mb")}
    require = {"ansible.builtin.assert": {"that": f"flink_taskmanager_memory_mb == {memory_mb}"}}
    said = run_play(
        {"vars": sizes, "tasks": [require]},
        variables={
            "ansible_facts": {"memtotal_mb": 16384},
            "flink_is_jobmanager": beside_a_jobmanager,
        },
    )
    assert "failed=0" in said, said
