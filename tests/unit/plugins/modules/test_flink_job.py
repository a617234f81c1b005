# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What flink_job plans and refuses, and what its main() sends."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.bss.platform.plugins.module_utils import (
    flink_job_acceptance,
    flink_job_savepoints,
    flink_job_steps,
    flink_job_submission,
    flink_rest,
    flink_sql_gateway,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_files import Snapshot
from ansible_collections.bss.platform.plugins.module_utils.flink_job_plan import (
    JobPlan,
    Start,
    plan,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_rules import (
    Current,
    Declaration,
    Present,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import Spec, job_id
from ansible_collections.bss.platform.plugins.module_utils.flink_jobs import Cluster, Job
from ansible_collections.bss.platform.plugins.modules import flink_job

OLD = Spec(sql="INSERT INTO a SELECT 1")
NEW = Spec(sql="INSERT INTO a SELECT 2")
NAME = "totals"


def identity(generation: int, spec: Spec = OLD) -> str:
    return job_id(NAME, spec.mark, generation)


def live(generation: int = 1, spec: Spec = OLD, running: int = 2, state: str = "RUNNING") -> Job:
    return Job(identity(generation, spec), NAME, state, 2, running)


def ended(generation: int, state: str = "FINISHED") -> Job:
    return Job(identity(generation), NAME, state, 2, 0)


def saved(generation: int, made: float = 1.0, savepoint: bool = True) -> Snapshot:
    of_job = identity(generation)
    kind = f"savepoint-{made:g}" if savepoint else f"chk-{made:g}"
    return Snapshot(f"file:///s/{of_job}/{kind}", of_job, made, savepoint)


def present(*jobs: Job, **others: Any) -> Present:
    records = {job.job_id: OLD for job in jobs} | {
        each.job_id: OLD for each in others.get("snapshots", ())
    }
    return Present(live=jobs, **{"records": records, "parallelism": len(jobs), **others})


def planned(
    declared: Declaration, there: Present | None = None, keep: int = 5, **current: Any
) -> JobPlan:
    decided = decide(declared, there, keep, **current)
    decided.raise_if_refused()
    return decided


def decide(
    declared: Declaration,
    there: Present | None = None,
    keep: int = 5,
    gateway: bool = True,
    **current: Any,
) -> JobPlan:
    given = {"cluster": Cluster("2.2.1", 1, 4, 3), "savepoints": "file:///s", **current}
    jobs = {NAME: there} if there is not None else {}
    return plan(Current(jobs, **given), [declared], keep, gateway)


def refused(declared: Declaration, there: Present | None = None, **current: Any) -> str:
    decided = decide(declared, there, **current)
    assert decided.refusals
    return " | ".join(map(str, decided.refusals))


def steps(decided: JobPlan) -> list[str]:
    return [action.options["step"].name for action in decided.actions]


def start_of(decided: JobPlan) -> Start:
    (start,) = [action.options["start"] for action in decided.actions if "start" in action.options]
    assert isinstance(start, Start)
    return start


def job(spec: Spec | None = OLD, **options: Any) -> Declaration:
    return Declaration(NAME, spec, **options)


# What is to be done


@pytest.mark.parametrize(
    ("declared", "there", "expected"),
    [
        # nothing
        (job(), present(live()), []),
        (job(upgrade_mode="stateless"), present(live()), []),
        (job(savepoint="file:///s/old"), present(live()), []),
        (job(state="suspended"), present(), []),
        (job(state="absent"), present(), []),
        (job(None, state="absent", drop_state=True), present(), []),
        # started
        (job(), present(), ["START_SQL"]),
        (job(take_savepoint=True), present(), ["START_SQL", "SAVEPOINT"]),
        (job(restart=True), present(), ["START_SQL"]),
        # replaced
        (job(NEW), present(live()), ["STOP", "START_SQL"]),
        (job(NEW, upgrade_mode="last_state"), present(live()), ["CANCEL", "START_SQL"]),
        (job(NEW, upgrade_mode="stateless"), present(live()), ["CANCEL", "START_SQL"]),
        (job(NEW, take_savepoint=True), present(live()), ["STOP", "START_SQL", "SAVEPOINT"]),
        (job(restart=True), present(live()), ["STOP", "START_SQL"]),
        # saved
        (job(take_savepoint=True), present(live()), ["SAVEPOINT"]),
        # ended
        (job(state="suspended"), present(live()), ["STOP"]),
        (job(None, state="suspended"), present(live()), ["STOP"]),
        (job(state="suspended", upgrade_mode="last_state"), present(live()), ["CANCEL"]),
        (job(state="suspended", upgrade_mode="stateless"), present(live()), ["STOP"]),
        (job(state="absent"), present(live()), ["STOP"]),
        (job(None, state="absent", drop_state=True), present(live()), ["CANCEL", "FORGET"]),
        (
            job(None, state="absent", drop_state=True),
            present(snapshots=(saved(1),)),
            ["DISPOSE", "FORGET"],
        ),
    ],
)
def test_steps(declared: Declaration, there: Present, expected: list[str]) -> None:
    decided = planned(declared, there)
    assert steps(decided) == expected
    assert decided.changed == bool(expected)


@pytest.mark.parametrize(
    ("there", "generation"),
    [
        (present(), 1),
        (present(ended=(ended(1), ended(4))), 5),
        (present(snapshots=(saved(3), saved(7))), 8),
        (present(ended=(ended(9),), snapshots=(saved(3),)), 10),
        (present(live(2, NEW), records={identity(2, NEW): NEW}), 3),
        (present(live(2, NEW), ended=(ended(6),), records={identity(2, NEW): NEW}), 7),
    ],
)
def test_no_id_is_used_twice(there: Present, generation: int) -> None:
    start = start_of(planned(job(), there))
    assert start.job_id == identity(generation)


@pytest.mark.parametrize(
    ("declared", "there", "source", "empty"),
    [
        (job(), present(), None, True),
        (job(), present(snapshots=(saved(1), saved(2))), saved(2).path, False),
        (job(), present(snapshots=(saved(1), saved(2, 5, False))), saved(2, 5, False).path, False),
        (job(savepoint="file:///x"), present(), "file:///x", False),
        (
            job(savepoint="file:///x", restart=True),
            present(snapshots=(saved(2),)),
            "file:///x",
            False,
        ),
        (
            job(savepoint=saved(2).path.replace("///", "/")),
            present(snapshots=(saved(1), saved(2))),
            saved(2).path.replace("///", "/"),
            False,
        ),
        (job(upgrade_mode="stateless"), present(snapshots=(saved(2),)), None, True),
        (job(NEW), present(live(), snapshots=(saved(0),)), None, False),
        (job(NEW, savepoint="file:///x"), present(live()), None, False),
        (job(restart=True, savepoint="file:///x"), present(live()), "file:///x", False),
        (job(NEW, upgrade_mode="stateless"), present(live()), None, True),
    ],
)
def test_what_a_job_starts_from(
    declared: Declaration, there: Present, source: str | None, empty: bool
) -> None:
    start = start_of(planned(declared, there))
    assert (start.source, start.empty) == (source, empty)


@pytest.mark.parametrize(
    ("declared", "there", "former"),
    [
        (job(NEW), present(live()), OLD),
        (job(NEW), present(snapshots=(saved(2),)), OLD),
        (job(restart=True), present(live()), None),  # the same would fail again
        (job(), present(snapshots=(saved(2),)), None),
        (job(NEW, savepoint="file:///x", restart=True), present(snapshots=(saved(2),)), None),
    ],
)
def test_what_is_brought_back(declared: Declaration, there: Present, former: Spec | None) -> None:
    assert start_of(planned(declared, there)).former == former


@pytest.mark.parametrize(
    ("declared", "keep", "disposed"),
    [
        (job(take_savepoint=True), 5, []),
        (job(take_savepoint=True), 3, [1]),
        (job(take_savepoint=True), 1, [1, 2, 3]),
        (job(NEW), 3, [1]),
        (job(NEW, take_savepoint=True), 3, [1, 2]),
        (job(NEW, upgrade_mode="last_state"), 1, []),  # makes none
        (job(state="suspended"), 2, [1, 2]),
    ],
)
def test_only_the_newest_savepoints_are_kept(
    declared: Declaration, keep: int, disposed: list[int]
) -> None:
    old = tuple(saved(each) for each in (1, 2, 3))
    there = present(live(4), snapshots=(*old, saved(4, 9.0, savepoint=False)))
    decided = planned(declared, there, keep)
    gone = [action.options.get("snapshot") for action in decided.actions]
    assert [each for each in gone if each] == [saved(each) for each in disposed]
    # Nothing goes before what takes its place is there.
    assert "DISPOSE" not in steps(decided)[: len(steps(decided)) - len(disposed)]


def test_the_diff_is_of_the_declared_part() -> None:
    decided = planned(job(NEW), present(live()))
    assert decided.diff == {
        "before": {NAME: {"state": "present", "sql": OLD.sql}},
        "after": {NAME: {"state": "present", "sql": NEW.sql}},
    }
    assert planned(job(restart=True), present(live())).diff == {"before": {}, "after": {}}


def test_what_does_not_run_is_watched_and_no_change() -> None:
    for unsteady in (live(running=1), replace(live(), quiet_ms=200)):
        decided = planned(job(), present(unsteady))
        assert decided.watched == ((NAME, unsteady),)
        assert not decided.changed
    assert planned(job(), present(live())).watched == ()


# What is refused


@pytest.mark.parametrize(
    ("declared", "there", "words"),
    [
        (job(), present(live(1), live(2)), "two live jobs of it"),
        (job(), present(strangers=(Job("ff" * 16, NAME, "RUNNING"),)), "did not start"),
        (
            job(None, state="absent"),
            present(strangers=(Job("ff" * 16, NAME, "RUNNING"),)),
            "did not start",
        ),
        (job(None), present(), "there is nothing to run"),
        (job(NEW), present(live(), records={}), "nothing tells what it runs"),
        (job(), present(lost=(ended(3),), snapshots=(saved(1),)), "would have lost its state"),
        (job(drop_state=True), present(), "declare state: absent as well"),
        (job(state="suspended", restart=True), present(live()), "cannot restart"),
        (job(replace(OLD, parallelism=0)), present(), "nothing would run"),
        (job(replace(OLD, parallelism=4)), present(), "4 slots"),
        (job(replace(OLD, config={"pipeline.name": "x"})), present(), "use name instead"),
        (
            job(replace(OLD, config={"execution.checkpointing.dir": "file:///x"})),
            present(),
            "would not be found again",
        ),
        (
            job(replace(OLD, config={"execution.savepoint.path": "file:///x"})),
            present(),
            "use savepoint instead",
        ),
        (
            job(NEW, upgrade_mode="last_state"),
            present(live(), keeps_checkpoints=False),
            "nothing would be left to go on from",
        ),
        (job(replace(OLD, args=("a",))), present(), "only a jar has a main()"),
        (job(Spec(sql="CREATE TABLE a")), present(), "none of its statements starts a job"),
        (job(Spec(sql="INSERT INTO a SELECT 1; INSERT INTO b SELECT 1")), present(), "EXECUTE"),
        *(
            (job(Spec(sql=f"{other}; {OLD.sql}")), present(), "leave it out")
            for other in (
                "SELECT 1",
                "create table t with ('a' = 'b') as select * from s",
                "CREATE OR REPLACE TABLE t AS SELECT 1",
                "REPLACE TABLE t AS SELECT 1",
                "CREATE MATERIALIZED TABLE t AS SELECT 1",
                "COMPILE AND EXECUTE PLAN 'p' FOR INSERT INTO a SELECT 1",
                "EXECUTE PLAN 'p'",
                "ANALYZE TABLE t COMPUTE STATISTICS",
                "DELETE FROM t",
                "RESET",
                "RESET 'parallelism.default'",
            )
        ),
        (
            job(Spec(sql=f"SET 'parallelism.default' = '2'; {OLD.sql}")),
            present(),
            "use parallelism instead",
        ),
        (job(Spec(sql=f"set pipeline.name=x; {OLD.sql}")), present(), "use name instead"),
        (job(Spec(jar_sha256="a", jar="/a.jar")), present(), "it is not a jar"),
        (
            job(
                Spec(jar_sha256="a", jar="/a.jar", entry_class="shop.Click"),
                jar_classes=["shop.Clicks"],
            ),
            present(),
            "write shop.Clicks, if that is meant",
        ),
        (job(savepoint="file:///x"), present(savepoint_is_missing=True), "no savepoint there"),
        (job(savepoint="file:///x"), present(snapshots=(saved(2),)), "would be forgotten"),
        (job(NEW, savepoint=saved(1).path), present(snapshots=(saved(1), saved(2))), "restart"),
    ],
)
def test_refusals(declared: Declaration, there: Present, words: str) -> None:
    assert words in refused(declared, there)


def test_an_upgrade_uses_the_slots_that_it_frees() -> None:
    wide = replace(NEW, parallelism=4)
    assert planned(job(wide), present(live())).changed
    assert "5 slots" in refused(job(replace(NEW, parallelism=5)), present(live()))


def test_slots_are_free_when_they_are_needed() -> None:
    """Four slots, all taken; the list has the job first that needs them."""
    cluster = Cluster("2.2.1", 1, 4, 0)
    other = Declaration("a", replace(OLD, parallelism=4))
    there = Current({NAME: present(live(), parallelism=4)}, cluster=cluster)
    decided = plan(there, [other, job(state="absent")], 5, True)
    decided.raise_if_refused()
    assert steps(decided) == ["STOP", "START_SQL"]
    assert [each["name"] for each in decided.jobs] == ["a", NAME]
    narrow = job(replace(NEW, parallelism=1))
    early = plan(there, [narrow, replace(other, spec=replace(OLD, parallelism=3))], 5, True)
    early.raise_if_refused()
    late = plan(there, [replace(other, spec=replace(OLD, parallelism=3)), narrow], 5, True)
    assert "3 slots for the jobs" in str(late.refusals[0])


def test_state_that_cannot_be_seen_is_not_dropped() -> None:
    dropped = job(None, state="absent", drop_state=True)
    assert "would stay" in refused(dropped, present(live()), files_are_here=False)


def test_without_the_directories_nothing_is_started_blindly() -> None:
    words = "whether there is state to start from cannot be known"
    assert words in refused(job(), present(), files_are_here=False)
    for declared in (job(upgrade_mode="stateless"), job(savepoint="s3://b/savepoint-1")):
        assert planned(declared, present(), files_are_here=False).changed
    assert planned(job(), present(snapshots=(saved(1),)), files_are_here=False).changed


def test_sql_needs_a_gateway() -> None:
    assert "no sql_gateway_url" in refused(job(), present(), gateway=False)
    jar = job(Spec(jar_sha256="a", jar="/a.jar"), jar_classes=["A"])
    assert "it could not be brought back" in refused(jar, present(live()), gateway=False)
    assert planned(job(state="suspended"), present(live()), gateway=False).changed


@pytest.mark.parametrize("name", ["", "a/b", "-a", "a b", "x" * 101, "../a"])
def test_illegal_names(name: str) -> None:
    assert "use up to 100 letters" in refused(replace(job(), name=name))


def test_a_job_is_declared_once() -> None:
    decided = plan(Current(), [job(), job(NEW)], 5, True)
    assert "more than once" in str(decided.refusals[0])


# What main() sends


class Clock:
    """Stands for the module time: sleeping takes no time, but is counted."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


Answer = Mapping[str, Any] | Sequence[Any] | tuple[int, str] | Exception


class ScriptedFlink:
    """Stands for Flink's REST endpoints: takes the script's requests, in order, and no other."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.script: list[tuple[str, Answer]] = []
        self._capsys = capsys

    def open_url(self, url: str, *, method: str, data: bytes | None, **_: Any) -> io.BytesIO:
        shown = f"{method} {url.removeprefix('https://f1:8081')}"
        assert self.script, f"the script has ended, but the module sends: {shown}"
        wanted, answer = self.script.pop(0)
        assert shown == wanted, f"the script has {wanted!r}, the module sends: {shown}"
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, tuple):
            raise HTTPError(url, answer[0], "reason", Message(), io.BytesIO(answer[1].encode()))
        return io.BytesIO(json.dumps(answer).encode())

    def run(self, script: Sequence[tuple[str, Answer]], **args: Any) -> dict[str, Any]:
        """Run main(); its JSON. The whole script has to be used."""
        self.script = list(script)
        given = {"url": "https://f1:8081/", "sql_gateway_url": "https://f1:8083", **args}
        with patch_module_args(given), pytest.raises(SystemExit):
            flink_job.main()
        assert not self.script, f"the module did not send: {self.script[0][0]}"
        answer: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return {"failed": False, **answer}


@pytest.fixture
def flink(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> ScriptedFlink:
    scripted = ScriptedFlink(capsys)
    monkeypatch.setattr(flink_rest, "open_url", scripted.open_url)
    clock = Clock()
    timed = (
        flink_job_acceptance,
        flink_job_savepoints,
        flink_job_steps,
        flink_job_submission,
        flink_sql_gateway,
    )
    for module in timed:
        monkeypatch.setattr(module, "time", clock)
    return scripted


def overview(*jobs: Job) -> dict[str, Any]:
    return {
        "jobs": [
            {
                "jid": each.job_id,
                "name": each.name,
                "state": each.state,
                "tasks": {"total": each.tasks, "running": each.running, "finished": 0},
                "start-time": 1,
                "end-time": -1,
                "duration": 100_000,
                "last-modification": 100_001 - each.quiet_ms,
            }
            for each in jobs
        ]
    }


def settings(directory: Path) -> list[dict[str, str]]:
    return [
        {"key": "execution.checkpointing.savepoint-dir", "value": f"file://{directory}/savepoints"},
        {"key": "execution.checkpointing.dir", "value": f"file://{directory}/checkpoints"},
    ]


def test_a_list_that_is_as_declared_costs_one_request(flink: ScriptedFlink) -> None:
    jobs = [{"name": NAME, "sql": OLD.sql}, {"name": "gone", "state": "absent"}]
    answer = flink.run([("GET /jobs/overview", overview(live()))], jobs=jobs)
    assert not answer["changed"]
    assert [each["state"] for each in answer["jobs"]] == ["RUNNING", "absent"]


def test_stops_with_a_savepoint(flink: ScriptedFlink, tmp_path: Path) -> None:
    of_job = identity(1)
    trigger = flink_job_savepoints.trigger_id(of_job, 0)
    status = f"GET /jobs/{of_job}/savepoints/{trigger}"
    answer = flink.run(
        [
            ("GET /jobs/overview", overview(live())),
            ("GET /jobmanager/config", settings(tmp_path)),
            (f"GET /jobs/{of_job}", {"vertices": [{"parallelism": 2}]}),
            (
                "GET /overview",
                {
                    "flink-version": "2.2.1",
                    "taskmanagers": 1,
                    "slots-total": 4,
                    "slots-available": 2,
                },
            ),
            (f"GET /jobs/{of_job}", {"vertices": [{"id": "a", "name": "Source"}]}),
            (status, (404, "")),
            (status, (404, "")),
            ("GET /jobs/overview", overview(live())),
            (f"POST /jobs/{of_job}/stop", ConnectionResetError("cut")),  # but it was heard
            (status, URLError("refused")),
            (status, (503, '{"errors": ["ongoing leader election"]}')),
            (status, {"status": {"id": "IN_PROGRESS"}}),
            (status, {"status": {"id": "COMPLETED"}, "operation": {"location": "file:/s/1"}}),
            ("GET /jobs/overview", overview(live())),
            ("GET /jobs/overview", overview(replace(live(), state="FINISHED"))),
        ],
        name=NAME,
        state="suspended",
    )
    assert answer["changed"] and answer["jobs"][0]["savepoint"] == "file:/s/1"


def test_a_stop_that_failed_before_is_asked_for_anew(flink: ScriptedFlink, tmp_path: Path) -> None:
    of_job = identity(1)
    first, second = (
        f"GET /jobs/{of_job}/savepoints/{flink_job_savepoints.trigger_id(of_job, each)}"
        for each in (0, 1)
    )
    failed = {
        "status": {"id": "COMPLETED"},
        "operation": {"failure-cause": {"stack-trace": "a.B: x\n\tat c\nCaused by: d.E: no room"}},
    }
    answer = flink.run(
        [
            ("GET /jobs/overview", overview(live())),
            ("GET /jobmanager/config", settings(tmp_path)),
            (f"GET /jobs/{of_job}", {"vertices": []}),
            (
                "GET /overview",
                {
                    "flink-version": "2.2.1",
                    "taskmanagers": 1,
                    "slots-total": 4,
                    "slots-available": 2,
                },
            ),
            (f"GET /jobs/{of_job}", {"vertices": []}),
            (first, failed),
            (second, (404, "")),
            (second, (404, "")),
            ("GET /jobs/overview", overview(live())),
            (f"POST /jobs/{of_job}/stop", {"request-id": "x"}),
            (second, failed),
            (f"GET /jobs/{of_job}/exceptions", {"exceptionHistory": {"entries": []}}),
        ],
        name=NAME,
        state="suspended",
    )
    assert "E: no room. The job goes on." in answer["msg"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (URLError("Connection refused"), "Check that it runs"),
        (URLError("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]"), "check ca_cert"),
        (ConnectionResetError("Connection reset by peer"), "check ca_cert"),
        ((500, '{"errors": ["Internal", "x\\nCaused by: a.b.C: odd"]}'), "C: odd (status 500)"),
        ((404, "<html>"), "(status 404)"),
    ],
)
def test_whoever_does_not_answer(flink: ScriptedFlink, error: Answer, words: str) -> None:
    answer = flink.run([("GET /jobs/overview", error)], name=NAME, sql=OLD.sql)
    assert answer["failed"] and words in answer["msg"]


def test_a_gateway_that_is_none(flink: ScriptedFlink, tmp_path: Path) -> None:
    for directory in ("savepoints", "checkpoints"):
        (tmp_path / directory).mkdir()
    cluster = {
        "flink-version": "2.2.1",
        "taskmanagers": 1,
        "slots-total": 4,
        "slots-available": 2,
    }
    answer = flink.run(
        [
            ("GET /jobs/overview", overview()),
            ("GET /jobmanager/config", settings(tmp_path)),
            ("GET /overview", cluster),
            ("POST https://f1:8083/v3/sessions", (404, '{"errors": ["Not found"]}')),
        ],
        name=NAME,
        sql=OLD.sql,
    )
    assert "There is no SQL Gateway at https://f1:8083" in answer["msg"]
