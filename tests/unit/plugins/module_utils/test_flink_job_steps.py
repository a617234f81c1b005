# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Plans about Flink's jobs, done where something goes wrong on the way."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils import (
    flink_job_acceptance,
    flink_job_savepoints,
    flink_job_steps,
    flink_job_submission,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_files import (
    CannotUseFiles,
    JobFiles,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_plan import plan
from ansible_collections.bss.platform.plugins.module_utils.flink_job_rules import (
    Current,
    Declaration,
    Present,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import Spec, job_id
from ansible_collections.bss.platform.plugins.module_utils.flink_job_steps import Steps
from ansible_collections.bss.platform.plugins.module_utils.flink_job_submission import Submission
from ansible_collections.bss.platform.plugins.module_utils.flink_jobs import Job
from ansible_collections.bss.platform.plugins.module_utils.flink_rest import (
    AnswerLost,
    CannotReachFlink,
    FlinkRefused,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

NAME = "totals"
OLD = Spec(sql="INSERT INTO a SELECT 1")
NEW = Spec(sql="INSERT INTO a SELECT 2")
ACCEPT_S = 30.0


def identity(generation: int, spec: Spec = OLD) -> str:
    return job_id(NAME, spec.mark, generation)


class Clock:
    """Stands for the module time: sleeping takes no time, but is counted."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class FakeFlink:
    """Stands for a JobManager and its SQL Gateway: jobs that run as soon as they are started."""

    home: Path
    url: str = "https://f1:8081"
    sent: list[str] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    sources: dict[str, str | None] = field(default_factory=dict)
    """What each job was started from."""
    completed: dict[str, int] = field(default_factory=dict)
    """Checkpoints of a job; 1 where nothing is said."""
    failures: dict[str, list[int]] = field(default_factory=dict)
    """When a job failed."""
    lost: list[Exception] = field(default_factory=list)
    """What befalls the next submissions."""
    retains: bool = False
    """Whether a job that is cancelled leaves a checkpoint."""
    undisposable: bool = False
    dies_at_stop: bool = False

    @property
    def savepoints(self) -> Path:
        return self.home / "savepoints"

    @property
    def checkpoints(self) -> Path:
        return self.home / "checkpoints"

    def run(self, of_job: str, source: str | None = None, **state: Any) -> Job:
        self.jobs[of_job] = Job(
            of_job, NAME, **{"state": "RUNNING", "tasks": 2, "running": 2, **state}
        )
        self.sources[of_job] = source
        return self.jobs[of_job]

    def save(self, of_job: str, kind: str = "savepoint-1") -> str:
        """A savepoint or checkpoint of that job; its address."""
        is_savepoint = kind.startswith("savepoint")
        directory = self.savepoints / NAME if is_savepoint else self.checkpoints
        (directory / of_job / kind).mkdir(parents=True)
        (directory / of_job / kind / "_metadata").touch()
        return f"file://{directory / of_job / kind}"

    def get(self, path: str) -> Any:
        if path == "/jobs/overview":
            return {"jobs": [_shown(each) for each in self.jobs.values()]}
        if path.startswith("/savepoint-disposal"):
            failure = {"failure-cause": {"stack-trace": "a.B: not mine"}}
            return {
                "status": {"id": "COMPLETED"},
                "operation": failure if self.undisposable else {},
            }
        of_job = path.split("/")[2]
        if of_job not in self.jobs or "/savepoints/" in path:
            raise FlinkRefused(f"GET {path}", 404, "not found")
        if path.endswith("/config"):
            return {"interval": 1000}
        if path.endswith("/checkpoints"):
            source = self.sources.get(of_job)
            return {
                "counts": {"completed": self.completed.get(of_job, 1), "failed": 0},
                "latest": {
                    "completed": {"external_path": f"s3://b/{of_job}/chk-3"},
                    "savepoint": None,
                    "restored": source and {"external_path": source},
                },
            }
        if path.endswith("/exceptions"):
            times = self.failures.get(of_job, [])
            entries = [{"timestamp": each, "stacktrace": "a.B: broken"} for each in times]
            return {"exceptionHistory": {"entries": entries}}
        return {"vertices": [{"id": "ab" * 16, "name": "Sum", "parallelism": 2}]}

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        self.sent.append(f"{method} {path}")
        if path == "/savepoint-disposal" and body and not self.undisposable:
            shutil.rmtree(body["savepoint-path"].removeprefix("file://"))
        elif method == "PATCH":
            of_job = path.split("/")[2].split("?")[0]
            self.jobs[of_job] = replace(self.jobs[of_job], state="CANCELED", running=0)
            if self.retains:
                self.save(of_job, "chk-9")
        elif path.endswith("/stop") and self.dies_at_stop:
            self.jobs.clear()
        elif path.endswith("/stop"):
            of_job = path.split("/")[2]
            self.jobs[of_job] = replace(self.jobs[of_job], state="FINISHED", running=0)
            self.save(of_job, "savepoint-stop")
        return {"request-id": "r"}

    # As the SQL Gateway

    def try_out(self, script: str, properties: Mapping[str, str]) -> None: ...

    def submit(self, script: str, properties: Mapping[str, str], of_job: str) -> None:
        self.sent.append(f"start {of_job}")
        if self.lost:
            raise self.lost.pop(0)
        self.run(of_job, properties.get("execution.state-recovery.path"))


def _shown(job: Job) -> dict[str, Any]:
    return {
        "jid": job.job_id,
        "name": job.name,
        "state": job.state,
        "tasks": {"total": job.tasks, "running": job.running, "finished": 0},
        "start-time": 1,
        "end-time": -1,
        "duration": 100_000,
        "last-modification": 100_001 - job.quiet_ms,
    }


@pytest.fixture
def flink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeFlink:
    clock = Clock()
    timed = (
        flink_job_acceptance,
        flink_job_savepoints,
        flink_job_steps,
        flink_job_submission,
    )
    for module in timed:
        monkeypatch.setattr(module, "time", clock)
    fake = FakeFlink(tmp_path)
    fake.savepoints.mkdir()
    fake.checkpoints.mkdir()
    return fake


def steps_of(flink: FakeFlink, files: JobFiles) -> Steps:
    submission = Submission(flink, files, flink, ACCEPT_S)  # type: ignore[arg-type]
    return Steps(submission, 60, ACCEPT_S)


def apply(flink: FakeFlink, declared: Declaration) -> Steps:
    """Do what is planned for a job whose live one is in ``flink``."""
    files = JobFiles(f"file://{flink.savepoints}", f"file://{flink.checkpoints}")
    live = tuple(each for each in flink.jobs.values() if each.is_live)
    for each in live:
        files.keep(NAME, each.job_id, OLD)
    snapshots = files.snapshots(NAME)
    records = {
        each.job_id: OLD for each in (*live, *snapshots) if files.record(NAME, each.job_id) == OLD
    }
    present = Present(live=live, snapshots=snapshots, records=records)
    decided = plan(Current({NAME: present}), [declared], 5, True)
    decided.raise_if_refused()
    steps = steps_of(flink, files)
    steps.apply(decided)
    return steps


def failed(flink: FakeFlink, declared: Declaration) -> str:
    with pytest.raises(PlatformError) as raised:
        apply(flink, declared)
    return str(raised.value)


def test_an_older_savepoint_is_not_taken_for_that_of_the_stop(flink: FakeFlink) -> None:
    """The JobManager dies with the stop; the checkpoint is newer than last night's savepoint."""
    live = flink.run(identity(1))
    flink.save(live.job_id)
    flink.save(live.job_id, "chk-7")
    flink.dies_at_stop = True
    assert "ended before its savepoint was made" in failed(flink, Declaration(NAME, NEW))
    assert not re.search("start ", str(flink.sent))


def test_what_cannot_be_kept_stops_no_job(
    flink: FakeFlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    flink.run(identity(1))
    keep = JobFiles.keep

    def is_full(files: JobFiles, name: str, of_job: str, spec: Spec) -> None:
        if spec == NEW:
            raise CannotUseFiles("no space left")
        keep(files, name, of_job, spec)

    monkeypatch.setattr(JobFiles, "keep", is_full)
    assert "no space left" in failed(flink, Declaration(NAME, NEW))
    assert flink.sent == []


def test_a_gateway_that_is_restarted_is_waited_for(flink: FakeFlink) -> None:
    flink.run(identity(1))
    flink.lost = [CannotReachFlink("refused")] * 20
    apply(flink, Declaration(NAME, NEW))
    (live,) = [each for each in flink.jobs.values() if each.is_live]
    assert live.job_id == identity(2, NEW)


def test_a_gateway_that_stays_away_is_told_with_the_way_on(flink: FakeFlink) -> None:
    flink.run(identity(1))
    flink.lost = [CannotReachFlink("refused")] * 1000
    message = failed(flink, Declaration(NAME, NEW))
    assert "accept_timeout" in message and "run the same again, which starts from file:" in message


def test_a_submission_that_was_heard_is_not_sent_again(
    flink: FakeFlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = FakeFlink.submit

    def deaf(fake: FakeFlink, *arguments: Any) -> None:
        start(fake, *arguments)
        raise AnswerLost("cut")

    monkeypatch.setattr(FakeFlink, "submit", deaf)
    apply(flink, Declaration(NAME, NEW))
    assert flink.sent == [f"start {identity(1, NEW)}"]


@pytest.mark.parametrize("mode", ["last_state", "stateless"])
def test_a_job_without_a_checkpoint_of_its_own_has_what_it_was_started_from(
    flink: FakeFlink, mode: str
) -> None:
    origin = flink.save(identity(1))
    flink.run(identity(2), origin)
    flink.completed = {identity(2): 0, identity(3, NEW): 0}
    message = failed(flink, Declaration(NAME, NEW, upgrade_mode=mode))
    assert "runs again" in message
    sources = {of_job: source for of_job, source in flink.sources.items() if of_job[-1] > "2"}
    assert sources == {
        identity(3, NEW): origin if mode == "last_state" else None,
        identity(4): origin,
    }


def test_what_cannot_be_disposed_of_does_not_keep_the_former_job_away(flink: FakeFlink) -> None:
    flink.run(identity(1))
    flink.completed = {identity(2, NEW): 0}
    flink.retains = flink.undisposable = True
    message = failed(flink, Declaration(NAME, NEW))
    assert "runs again" in message and "cannot dispose of" in message
    (live,) = [each for each in flink.jobs.values() if each.is_live]
    assert live.job_id == identity(3)


@pytest.mark.parametrize("was_suspended", [False, True])
def test_a_job_that_ran_the_same_before_is_left_to_flink(
    flink: FakeFlink, was_suspended: bool
) -> None:
    """Its first checkpoint takes longer than is waited for."""
    if was_suspended:
        flink.save(identity(1))
    else:
        flink.run(identity(1))
    flink.completed = {identity(2): 0}
    message = failed(flink, Declaration(NAME, OLD, restart=True))
    assert "(accept_timeout)" in message and "was left as it is" in message
    assert flink.jobs[identity(2)].is_live


def test_the_operator_is_named_of_a_job_that_was_suspended(flink: FakeFlink) -> None:
    flink.run(identity(1), state="FINISHED")
    flink.save(identity(1))
    flink.lost = [FlinkRefused("POST", 500, f"no place for operator {'ab' * 16}")]
    assert f"operator 'Sum' ({'ab' * 16})" in failed(flink, Declaration(NAME, NEW))


@pytest.mark.parametrize(
    ("failures", "quiet_ms", "runs"),
    [([], 200, True), ([5], 200, False), ([5], 20_000, True)],
)
def test_a_proven_job_that_failed_has_to_run_for_a_while(
    flink: FakeFlink, failures: list[int], quiet_ms: int, runs: bool
) -> None:
    looping = flink.run(identity(1), quiet_ms=quiet_ms)
    flink.failures = {looping.job_id: failures}
    files = JobFiles(f"file://{flink.savepoints}", f"file://{flink.checkpoints}")
    steps = steps_of(flink, files)
    if runs:
        steps.watch(NAME, looping)
        return
    with pytest.raises(PlatformError, match="not run for long since"):
        steps.watch(NAME, looping)
    assert flink.jobs[looping.job_id].is_live


def test_the_last_checkpoint_of_storage_elsewhere_is_read_after_the_cancel(
    flink: FakeFlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = flink.run(identity(1))
    ask = flink.get
    unheard = [CannotReachFlink("refused")]

    def get(path: str) -> Any:
        if path.endswith("/checkpoints") and live.job_id in path:
            assert not flink.jobs[live.job_id].is_live
            if unheard:
                raise unheard.pop()
        return ask(path)

    monkeypatch.setattr(flink, "get", get)
    present = Present(live=(live,), records={live.job_id: OLD})
    declared = Declaration(NAME, NEW, upgrade_mode="last_state")
    decided = plan(Current({NAME: present}, files_are_here=False), [declared], 5, True)
    steps_of(flink, JobFiles("s3://b/savepoints", "s3://b/checkpoints")).apply(decided)
    assert flink.sources[identity(2, NEW)] == f"s3://b/{live.job_id}/chk-3"
