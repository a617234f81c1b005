# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""flink_job against a real cluster, looked at by plain requests and by what its jobs print."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils.flink_jars import sha256_of
from ansible_collections.bss.platform.plugins.module_utils.flink_job_files import JobFiles
from ansible_collections.bss.platform.plugins.module_utils.flink_job_plan import Start
from ansible_collections.bss.platform.plugins.module_utils.flink_job_rules import Declaration
from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import Spec, mark_of
from ansible_collections.bss.platform.plugins.module_utils.flink_job_submission import Submission
from ansible_collections.bss.platform.plugins.module_utils.flink_rest import Api
from ansible_collections.bss.platform.plugins.module_utils.flink_sql_gateway import SqlGateway

STATE_MACHINE = "org.apache.flink.streaming.examples.statemachine.StateMachineExample"
WORD_COUNT = "org.apache.flink.streaming.examples.wordcount.WordCount"

# One key, counted for ever: that the count goes on proves that the state was carried over.
COUNTING = """
-- how often each id was seen
CREATE TABLE seen (id INT) WITH (
  'connector' = 'datagen', 'rows-per-second' = '50', 'fields.id.min' = '1', 'fields.id.max' = '1');
CREATE TABLE counts (id INT, n BIGINT) WITH ('connector' = 'print', 'print-identifier' = '{name}');
INSERT INTO counts SELECT id, {count} FROM seen GROUP BY id
"""

# Fails on the first row, with the same state as COUNT(*).
LOOPING = "COUNT(*) / (id - 1)"


class Operator:
    """Somebody who declares jobs."""

    def __init__(self, cluster: Any, run_module: Callable[..., dict[str, Any]]) -> None:
        self.cluster = cluster
        self._run = run_module

    def declare(self, *jobs: dict[str, Any], check: bool = False, **args: Any) -> dict[str, Any]:
        arguments = {**self.cluster.login, **({"jobs": list(jobs)} if jobs else {}), **args}
        return self._run("flink_job", arguments, check=check, diff=True)

    def done(self, *jobs: dict[str, Any], **args: Any) -> dict[str, Any]:
        answer = self.declare(*jobs, **args)
        assert not answer["failed"], answer["msg"]
        return answer

    def declared(self, *jobs: dict[str, Any], **args: Any) -> dict[str, Any]:
        """The same three times: check, run, run again; the first and the last change nothing."""
        before = self.job_ids()
        predicted = self.done(*jobs, check=True, **args)
        assert self.job_ids() == before
        done = self.done(*jobs, **args)
        for part in ("changed", "plan", "diff"):
            assert done[part] == predicted[part]
        assert [job["job_id"] for job in done["jobs"]] == [
            job["job_id"] for job in predicted["jobs"]
        ]
        again = self.done(*jobs, **args)
        assert (again["changed"], again["plan"], again["requests"]) == (False, [], [])
        return done

    def refused(self, *jobs: dict[str, Any], **args: Any) -> str:
        """What the module says when it refuses; nothing may have been changed."""
        before = self.job_ids()
        answer = self.declare(*jobs, **args)
        assert answer["failed"], answer
        assert self.job_ids() == before
        return str(answer["msg"])

    def failed(self, *jobs: dict[str, Any], **args: Any) -> str:
        answer = self.declare(*jobs, **args)
        assert answer["failed"], answer
        return str(answer["msg"])

    def job_ids(self) -> set[tuple[str, bool]]:
        return {(job["jid"], self.cluster.is_live(job["jid"])) for job in self.cluster.jobs()}

    def counting(self, name: str, count: str = "COUNT(*)", **options: Any) -> dict[str, Any]:
        return {"name": name, "sql": COUNTING.format(name=name, count=count), **options}

    def counts(self, name: str) -> list[int]:
        """What the job has printed so far."""
        log = self.cluster.run("output", name)
        return [int(number) for number in re.findall(r"> \+[IU]\[1, (\d+)\]", log)]

    def counts_above(self, name: str, least: int) -> int:
        """Wait until the job has printed more than that; the first number that is."""
        self.cluster.wait(
            f"{name} to count beyond {least}", lambda: max(self.counts(name), default=0) > least
        )
        return next(number for number in self.counts(name) if number > least)

    def goes_on(self, name: str) -> None:
        """The job counts, and from where it was: it has never begun again at 1."""
        self.counts_above(name, max(self.counts(name)))
        assert self.counts(name).count(1) == 1

    def upgraded_once(self, name: str) -> None:
        """A second job counts on where the first stopped; there was one savepoint, and no third."""
        self.only_live(name)
        assert self.counts_above(name, 1000000) > 1000020
        ids = [job["jid"] for job in self.cluster.jobs() if job["name"] == name]
        assert sorted(job_id[-1] for job_id in ids) == ["1", "2"]
        home = self.cluster.files / "savepoints" / name
        assert len(list(home.glob("*/savepoint-*"))) == 1

    def only_live(self, name: str) -> str:
        (job,) = self.cluster.live(name)
        return str(job["jid"])


@pytest.fixture
def operator(flink: Any, run_module: Any) -> Operator:
    return Operator(flink, run_module)


def test_starts_replaces_with_state_and_ends(operator: Operator) -> None:
    name = operator.cluster.name()
    started = operator.declared(operator.counting(name))
    assert started["plan"] == [f"start {name} as job {started['jobs'][0]['job_id']} without state"]
    assert started["diff"]["before"] == {}
    seen = operator.counts_above(name, 20)

    same = operator.counting(name)
    same["sql"] = (
        same["sql"].replace("how often each id", "how many").replace(", COUNT", "  ,COUNT")
    )
    assert not operator.done(same)["changed"]

    changed = operator.declared(operator.counting(name, "COUNT(*) + 1000000"))
    job = changed["jobs"][0]
    assert job["job_id"] == operator.only_live(name)
    assert job["downtime_ms"] > 0
    assert Path(job["savepoint"].removeprefix("file:"), "_metadata").exists()
    assert operator.counts_above(name, 1000000) > 1000000 + seen

    ended = operator.declared({"name": name, "state": "absent"})
    assert ended["plan"] == [f"stop {name} (job {job['job_id']}) with a savepoint"]
    assert operator.cluster.live(name) == []


def test_a_single_job_takes_the_options_of_the_list(operator: Operator) -> None:
    name = operator.cluster.name()
    assert operator.done(**operator.counting(name))["changed"]
    assert not operator.done(**operator.counting(name))["changed"]


def test_suspended_jobs_go_on_from_where_they_were(operator: Operator) -> None:
    name = operator.cluster.name()
    operator.done(operator.counting(name))
    seen = operator.counts_above(name, 20)
    operator.declared({"name": name, "state": "suspended"})
    printed = max(operator.counts(name))
    operator.declared(operator.counting(name))
    assert seen < printed < operator.counts_above(name, printed) < printed + 100


def test_a_savepoint_that_was_left_in_the_declaration_takes_no_job_back(
    operator: Operator,
) -> None:
    name = operator.cluster.name()
    operator.done(operator.counting(name))
    operator.counts_above(name, 20)
    early = operator.done({"name": name, "state": "suspended"})["jobs"][0]["savepoint"]
    left = operator.counting(name, savepoint=early)
    operator.done(left)
    operator.counts_above(name, max(operator.counts(name)) + 50)
    operator.done({"name": name, "state": "suspended"})
    printed = max(operator.counts(name))
    assert "would be forgotten" in operator.refused(left)
    operator.done(operator.counting(name))
    assert operator.counts_above(name, printed) < printed + 100


def test_lost_with_the_jobmanager_and_resumed(operator: Operator) -> None:
    """Without high availability, Flink forgets all: only its directories tell."""
    suspended, running = operator.cluster.name(), operator.cluster.name()
    operator.done(operator.counting(suspended), operator.counting(running))
    operator.counts_above(suspended, 20)
    operator.counts_above(running, 20)
    operator.done({"name": suspended, "state": "suspended"})
    operator.cluster.kill("jobmanager")
    message = operator.failed(operator.counting(running))
    assert "did not answer" in message and "Check that it runs" in message
    operator.cluster.start("jobmanager")
    assert operator.cluster.jobs() == []
    printed = {name: max(operator.counts(name)) for name in (suspended, running)}
    done = operator.declared(operator.counting(suspended), operator.counting(running))
    assert f"/{suspended}/" in done["plan"][0] and "/savepoint-" in done["plan"][0]
    assert "/chk-" in done["plan"][1]
    assert operator.counts_above(suspended, printed[suspended]) > 20
    assert operator.counts_above(running, printed[running]) > 20
    # A restart from nothing would count from 1 again.
    for name in (suspended, running):
        assert operator.counts(name).count(1) == 1


def test_cancelled_by_hand_it_goes_on_from_its_last_checkpoint(operator: Operator) -> None:
    name = operator.cluster.name()
    job_id = operator.done(operator.counting(name))["jobs"][0]["job_id"]
    operator.counts_above(name, 20)
    operator.cluster.cancel(job_id)
    done = operator.declared(operator.counting(name))
    assert f"/{job_id}/chk-" in done["plan"][0]
    operator.goes_on(name)


def test_takes_savepoints_restarts_and_prunes(operator: Operator) -> None:
    name = operator.cluster.name()
    first = operator.done(operator.counting(name))["jobs"][0]["job_id"]
    taken = [
        operator.done(operator.counting(name, take_savepoint=True), keep_savepoints=2)
        for _ in range(3)
    ]
    paths = [Path(each["jobs"][0]["savepoint"].removeprefix("file:")) for each in taken]
    assert [path.exists() for path in paths] == [False, True, True]
    assert taken[2]["plan"] == [
        f"take a savepoint of {name}",
        f"dispose of savepoint file://{paths[0]} of {name}",
    ]
    assert operator.only_live(name) == first

    seen = max(operator.counts(name))
    again = operator.done(operator.counting(name, restart=True))
    assert again["changed"] and again["jobs"][0]["job_id"] != first
    assert operator.counts_above(name, seen) > seen

    early = operator.done(operator.counting(name, restart=True, savepoint=f"file://{paths[1]}"))
    assert f"from file://{paths[1]}" in early["plan"][1]


def test_drops_state_only_when_told(operator: Operator) -> None:
    name = operator.cluster.name()
    operator.done(operator.counting(name))
    operator.counts_above(name, 5)
    operator.done({"name": name, "state": "absent"})
    home = operator.cluster.files / "savepoints" / name
    assert list(home.glob("*/savepoint-*/_metadata"))
    assert oct(next(home.glob("*.json")).stat().st_mode)[-3:] == "600"
    operator.declared({"name": name, "state": "absent", "drop_state": True})
    assert not home.exists()
    operator.declared(operator.counting(name))
    operator.cluster.wait("it to count from 1", lambda: operator.counts(name).count(1) == 2)


def test_last_state_and_stateless(operator: Operator) -> None:
    name = operator.cluster.name()
    operator.done(operator.counting(name))
    operator.counts_above(name, 20)
    kept = operator.declared(operator.counting(name, "COUNT(*) + 1000", upgrade_mode="last_state"))
    assert "keeping its last checkpoint" in kept["plan"][0]
    assert operator.counts_above(name, 1000) > 1010
    operator.declared(operator.counting(name, "COUNT(*) + 500000", upgrade_mode="stateless"))
    assert operator.counts_above(name, 500000) == 500001


def test_brings_back_what_ran_where_state_does_not_fit(operator: Operator) -> None:
    name = operator.cluster.name()
    former = operator.done(operator.counting(name))["jobs"][0]["job_id"]
    operator.counts_above(name, 20)
    other = operator.counting(name)
    other["sql"] = other["sql"].replace("COUNT(*)", "CAST(7 AS BIGINT)").replace("GROUP BY id", "")
    message = operator.failed(other)
    assert re.search(r"operator 'GroupAggregate\[\d+\].*' \([0-9a-f]{32}\)", message), message
    assert "What ran before runs again as job" in message
    back = operator.only_live(name)
    assert back != former and back in message
    operator.goes_on(name)
    assert not operator.done(operator.counting(name))["changed"]

    dropped = operator.done({**other, "allow_non_restored_state": True})
    assert dropped["changed"]


def test_brings_back_what_ran_where_the_new_one_fails_in_a_loop(operator: Operator) -> None:
    name = operator.cluster.name()
    operator.done(operator.counting(name))
    operator.counts_above(name, 20)
    message = operator.failed(operator.counting(name, LOOPING))
    assert re.search(r"it failed \d+ times within .*ArithmeticException: / by zero", message)
    assert "runs again" in message
    operator.goes_on(name)


def test_a_first_job_that_fails_in_a_loop_is_cancelled(operator: Operator) -> None:
    name = operator.cluster.name()
    message = operator.failed(operator.counting(name, LOOPING))
    assert re.search(r"it failed \d+ times within .*ArithmeticException: / by zero", message)
    assert operator.cluster.live(name) == []
    operator.declared(operator.counting(name))


def test_a_job_that_completes_no_checkpoint_is_not_accepted(operator: Operator) -> None:
    name = operator.cluster.name()
    operator.done(operator.counting(name))
    seen = operator.counts_above(name, 5)
    config = {"execution.checkpointing.interval": "10 min"}
    never = {"execution.checkpointing.checkpoints-after-tasks-finish": "false", **config}
    ending = operator.counting(name, config=never, allow_non_restored_state=True)
    # Its values are at their end at once, and with them a task.
    ending["sql"] = ending["sql"].replace(
        "FROM seen",
        "FROM (SELECT id FROM seen UNION ALL SELECT id FROM (VALUES (1)) AS ended (id))",
    )
    message = operator.failed(ending, accept_timeout=15)
    assert "no checkpoint is completed" in message and "runs again" in message
    assert operator.counts_above(name, max(operator.counts(name))) > seen
    # One is asked for where the interval is long.
    operator.declared(operator.counting(name, config=config))


def test_jars(operator: Operator, tmp_path: Path) -> None:
    name = operator.cluster.name()
    jar = {"jar": str(operator.cluster.examples), "entry_class": STATE_MACHINE}
    job = {"name": name, **jar, "args": ["--sleep", "20"], "savepoint_format": "native"}
    first = operator.declare(job)
    assert not first["failed"], first["msg"]
    assert not operator.done(job)["changed"]
    changed = operator.done({**job, "args": ["--sleep", "10"]})
    assert changed["plan"][0].startswith("stop") and "from that savepoint" in changed["plan"][1]
    (replaced,) = changed["jobs"]
    checkpoints = operator.cluster.get(f"/jobs/{replaced['job_id']}/checkpoints")
    restored = Path(checkpoints["latest"]["restored"]["external_path"])
    assert restored.name == Path(replaced["savepoint"]).name

    # Byte by byte: another file of the same classes is another job.
    copy = tmp_path / "copy.jar"
    copy.write_bytes(operator.cluster.examples.read_bytes())
    same = {**job, "args": ["--sleep", "10"], "jar": str(copy)}
    assert not operator.done(same)["changed"]
    with copy.open("ab") as file:
        file.write(b" ")
    assert operator.done(same, check=True)["changed"]

    message = operator.failed({**job, "entry_class": WORD_COUNT, "args": []})
    assert "What ran before runs again" in message
    assert not operator.done({**job, "args": ["--sleep", "10"]})["changed"]
    operator.done({"name": name, "state": "absent", "drop_state": True})


def test_all_reasons_are_told_at_once_and_nothing_is_changed(
    operator: Operator, tmp_path: Path
) -> None:
    name, other = operator.cluster.name(), operator.cluster.name()
    operator.done(operator.counting(name))
    text = tmp_path / "text.jar"
    text.write_text("this is no jar")
    missing = operator.counting(other)
    missing["sql"] = missing["sql"].replace("FROM seen", "FROM nowhere")
    message = operator.refused(
        operator.counting(name, "COUNT(*) + 1"),
        missing,
        {"name": "text", "jar": str(text)},
        {"name": "class", "jar": str(operator.cluster.examples), "entry_class": f"{WORD_COUNT}er"},
        {"name": "parse", "sql": "CREATE TABEL t; INSERT INTO t SELECT 1"},
        operator.counting("wide", parallelism=5),
    )
    for words in (
        "Object 'nowhere' not found",
        "it is not a jar",
        f"write {WORD_COUNT}, if that is meant",
        'Encountered "TABEL"',
        "of 4 on 1 TaskManager",
    ):
        assert words in message, (words, message)


def test_a_file_that_is_not_there(operator: Operator) -> None:
    assert "Cannot read /nowhere.sql" in operator.refused(name="x", sql_file="/nowhere.sql")


def test_two_live_jobs_of_one_name(operator: Operator) -> None:
    name = operator.cluster.name()
    first = operator.done(operator.counting(name))["jobs"][0]["job_id"]
    operator.cluster.submit(operator.counting(name)["sql"], name, f"{first[:-1]}f")
    message = operator.refused(operator.counting(name))
    assert "two live jobs of it" in message and first in message

    stranger = operator.cluster.name()
    operator.cluster.submit(operator.counting(stranger)["sql"], stranger, None)
    assert "that flink_job did not start" in operator.refused(operator.counting(stranger))


def test_a_directory_that_is_not_writable(operator: Operator) -> None:
    name = operator.cluster.name()
    operator.done(operator.counting(name))
    message = operator.refused(
        {"name": name, "state": "suspended"}, savepoint_dir="file:///proc/nowhere"
    )
    assert "cannot save job" in message and "The job goes on" in message
    operator.declared({"name": name, "state": "suspended"})


def test_wrong_credentials(operator: Operator, tmp_path: Path) -> None:
    job = operator.counting("x")
    assert "check ca_cert, client_cert and client_key" in operator.refused(job, client_cert=None)
    plain = operator.cluster.login["url"].replace("https", "http")
    assert "whether url is https" in operator.refused(job, url=plain)
    assert "Cannot read client_cert" in operator.refused(job, client_cert=str(tmp_path / "no"))


def test_info(operator: Operator, run_module: Any) -> None:
    name = operator.cluster.name()
    started = operator.done(operator.counting(name))["jobs"][0]["job_id"]
    login = {key: value for key, value in operator.cluster.login.items() if "sql" not in key}
    answer = run_module("flink_info", {**login, "jobs": [name]})
    assert answer["version"] == "2.2.1" and answer["slots"] == {"total": 4, "free": 3}
    assert [each["slots"] for each in answer["taskmanagers"]] == [4]
    (job,) = answer["jobs"]
    assert (job["name"], job["job_id"], job["generation"]) == (name, started, 1)
    assert job["running"] and job["parallelism"] == 1 and job["failures"] == 0
    assert job["checkpoints_completed"] > 0 and "/chk-" in job["checkpoint"]
    assert "flow" not in job


def test_info_tells_how_records_run(operator: Operator, run_module: Any) -> None:
    name = operator.cluster.name()
    operator.done(operator.counting(name))
    login = {key: value for key, value in operator.cluster.login.items() if "sql" not in key}

    def flow() -> dict[str, Any]:
        (job,) = run_module("flink_info", {**login, "jobs": [name], "flow": True})["jobs"]
        return dict(job["flow"])

    # Flink tells of a job's metrics a while after somebody has asked first.
    operator.cluster.wait("its source to be told of", lambda: flow()["records_in_s"] is not None)
    found = flow()
    assert 0 <= found.pop("checkpoint_age_s") < 60
    # The source makes records up, so none come in and none wait; print is no sink with a writer.
    assert found == {
        "records_in_s": 0,
        "records_out_s": None,
        "pending_records": None,
        "restarts": 0,
    }
    operator.cluster.cancel(operator.only_live(name))
    (job,) = run_module("flink_info", {**login, "jobs": [name], "flow": True})["jobs"]
    assert job["flow"] is None


# Interrupted: the module dies at one request, and is run again.

INSERT = '"statement": "INSERT'
MILLION = "COUNT(*) + 1000000"


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("before", "/stop"),
        ("after", "/stop"),
        ("after", "'location'"),
        ("before", INSERT),
        ("after", INSERT),
    ],
)
def test_interrupted_upgrade(
    operator: Operator, interrupt_module: Callable[..., Any], moment: str, words: str
) -> None:
    name = operator.cluster.name()
    operator.done(operator.counting(name))
    operator.counts_above(name, 20)
    job = operator.counting(name, MILLION)
    interrupt_module(moment, words, {**operator.cluster.login, "jobs": [job]})
    operator.done(job)
    operator.upgraded_once(name)
    assert not operator.done(job)["changed"]


@pytest.mark.parametrize("words", ["/stop", INSERT])
def test_a_lost_answer_is_no_second_request(
    operator: Operator, interrupt_module: Callable[..., Any], words: str
) -> None:
    name = operator.cluster.name()
    operator.done(operator.counting(name))
    operator.counts_above(name, 20)
    job = operator.counting(name, MILLION)
    answer = interrupt_module("lost", words, {**operator.cluster.login, "jobs": [job]})
    assert answer["changed"], answer
    operator.upgraded_once(name)


@pytest.mark.parametrize("kind", ["sql", "jar"])
def test_an_id_that_flink_has_is_no_second_job(operator: Operator, kind: str) -> None:
    """What was heard and cannot be seen yet is sent again, and the answer to that is a refusal."""
    cluster, login = operator.cluster, operator.cluster.login
    name = cluster.name()
    sql = COUNTING.format(name=name, count="COUNT(*)")
    jar = {"jar": str(cluster.examples), "entry_class": STATE_MACHINE}
    (job,) = operator.done({"name": name, **({"sql": sql} if kind == "sql" else jar)})["jobs"]
    job_id = job["job_id"]
    spec = Spec(sql=sql) if kind == "sql" else Spec(jar_sha256=sha256_of(cluster.examples), **jar)
    start = Start(Declaration(name), spec, mark_of(job_id).generation, empty=True)
    assert start.job_id == job_id

    api = Api({**login, "client_key": None, "request_timeout": 30})
    gateway = SqlGateway(api, login["sql_gateway_url"], timeout_s=30)
    submission = Submission(api, JobFiles("/nowhere", "/nowhere"), gateway, accept_timeout_s=30)
    before = operator.job_ids()
    assert submission.submit(start, None) == job_id
    assert operator.job_ids() == before


def test_interrupted_before_what_ran_is_brought_back(
    operator: Operator, interrupt_module: Callable[..., Any]
) -> None:
    name = operator.cluster.name()
    operator.done(operator.counting(name))
    operator.counts_above(name, 20)
    looping = operator.counting(name, LOOPING)
    interrupt_module("after", "mode=cancel", {**operator.cluster.login, "jobs": [looping]})
    assert operator.cluster.live(name) == []
    assert "runs again" in operator.failed(looping)
    operator.only_live(name)
    operator.goes_on(name)


def test_left_looping_by_an_interrupted_run(
    operator: Operator, interrupt_module: Callable[..., Any]
) -> None:
    name = operator.cluster.name()
    operator.done(operator.counting(name))
    operator.counts_above(name, 20)
    looping = operator.counting(name, LOOPING)
    interrupt_module("after", INSERT, {**operator.cluster.login, "jobs": [looping]})
    operator.cluster.wait("the new job to live", lambda: bool(operator.cluster.live(name)))
    message = operator.failed(looping)
    assert "/ by zero" in message and "runs again" in message
    operator.only_live(name)
    operator.goes_on(name)
    assert not operator.done(operator.counting(name))["changed"]


def test_a_jobmanager_that_is_away_is_told_at_once(operator: Operator) -> None:
    started = time.monotonic()
    operator.cluster.kill("jobmanager")
    assert "did not answer" in operator.failed(operator.counting("x"))
    assert time.monotonic() - started < 20
    operator.cluster.start("jobmanager")
