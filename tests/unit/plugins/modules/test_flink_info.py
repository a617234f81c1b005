# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What flink_info makes of Flink's answers, above all of how records flow."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.bss.platform.plugins.module_utils import flink_flow, flink_rest
from ansible_collections.bss.platform.plugins.modules import flink_info

ID, OLD = "a" * 32, "b" * 32
CLOCK = "/taskmanagers/metrics?get=Status.JVM.CPU.Time&agg=min,max"
SOURCE = {"id": "s", "name": "Source: orders[1] -> Calc[2]", "parallelism": 2}
MIDDLE = {"id": "m", "name": "Match[3] -> Calc[4]", "parallelism": 2}
SINK = {"id": "w", "name": "alerts[5]: Writer -> alerts[5]: Committer", "parallelism": 1}


def job(job_id: str, state: str) -> dict[str, Any]:
    return {
        "jid": job_id,
        "name": "fraud",
        "state": state,
        "tasks": {"total": 5, "running": 5, "finished": 0},
        "start-time": 1,
        "duration": 100_000,
        "last-modification": 1,
    }


def names(*metrics: str) -> list[dict[str, str]]:
    return [{"id": each} for each in metrics]


@pytest.fixture
def flink(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Flink answers, by path, a list of answers one after the other; a test changes it."""
    made_ms = (time.time() - 4) * 1000
    saved = {
        "counts": {"completed": 3, "failed": 1},
        "latest": {
            "completed": {"external_path": "file:/s/chk-3", "latest_ack_timestamp": made_ms},
            "savepoint": None,
            "restored": None,
        },
    }
    metrics = f"/jobs/{ID}/vertices/{{}}/subtasks/metrics"
    sums = f"{metrics}?agg=sum&get="
    read, waiting = "Source__orders[1].numRecordsInPerSecond", "Source__orders[1].pendingRecords"
    given = "alerts[5]__Writer.numRecordsInPerSecond"
    says: dict[str, Any] = {
        "/overview": {
            "flink-version": "2.2.1",
            "taskmanagers": 2,
            "slots-total": 8,
            "slots-available": 2,
        },
        "/taskmanagers": {"taskmanagers": []},
        "/jobs/overview": {"jobs": [job(ID, "RUNNING"), job(OLD, "FINISHED")]},
        CLOCK: iter(
            [
                [{"id": "Status.JVM.CPU.Time", "min": 1.0, "max": 5.0}],
                [{"id": "Status.JVM.CPU.Time", "min": 2.0, "max": 5.0}],
                [{"id": "Status.JVM.CPU.Time", "min": 2.0, "max": 6.0}],
            ]
        ),
        f"/jobs/{ID}": {"vertices": [SOURCE, MIDDLE, SINK]},
        f"/jobs/{ID}/metrics?get=numRestarts": [{"id": "numRestarts", "value": "7"}],
        metrics.format("s"): names(read, waiting, "numRecordsInPerSecond", "Calc[2].numRecordsIn"),
        sums.format("s") + f"{read},{waiting}": [
            {"id": read, "sum": 1042.5},
            {"id": waiting, "sum": 17.0},
        ],
        metrics.format("w"): names(given, "alerts[5]__Committer.numRecordsInPerSecond"),
        sums.format("w") + given: [{"id": given, "sum": 3.5}],
    }
    for each in (ID, OLD):
        says[f"/jobs/{each}/checkpoints/config"] = {"interval": 10_000}
        says[f"/jobs/{each}/checkpoints"] = saved
        says[f"/jobs/{each}/exceptions"] = {"exceptionHistory": {"entries": []}}

    def open_url(url: str, *, method: str, **_: Any) -> io.BytesIO:
        assert method == "GET"
        said = says[unquote(url.removeprefix("https://f1:8081"))]
        answer = said if isinstance(said, dict | list) else next(said)
        return io.BytesIO(json.dumps(answer).encode())

    monkeypatch.setattr(flink_rest, "open_url", open_url)
    monkeypatch.setattr(flink_flow, "POLL_S", 0.0)
    return says


@pytest.fixture
def info(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, dict[str, Any]]]:
    """Run main(); the jobs by id."""

    def run(**options: Any) -> dict[str, dict[str, Any]]:
        with (
            patch_module_args({"url": "https://f1:8081", **options}),
            pytest.raises(SystemExit),
        ):
            flink_info.main()
        said = json.loads(capsys.readouterr().out)
        assert not said.get("failed") and said["changed"] is False, said
        return {each["job_id"]: each for each in said["jobs"]}

    return run


def test_without_flow_no_metric_is_asked_for(
    info: Callable[..., dict[str, dict[str, Any]]], flink: dict[str, Any]
) -> None:
    for path in [path for path in flink if "metrics" in path]:
        del flink[path]
    jobs = info()
    assert jobs[ID]["running"] and jobs[ID]["parallelism"] == 2
    assert all("flow" not in job for job in jobs.values())


def test_flow(info: Callable[..., dict[str, dict[str, Any]]], flink: dict[str, Any]) -> None:
    jobs = info(flow=True)
    assert list(flink[CLOCK]) == []  # until both TaskManagers had told anew
    flow = jobs[ID]["flow"]
    assert flow.pop("checkpoint_age_s") == pytest.approx(4, abs=2)
    assert flow == {
        "records_in_s": 1042.5,
        "records_out_s": 3.5,
        "pending_records": 17,
        "restarts": 7,
    }
    assert jobs[OLD]["flow"] is None


def test_what_tasks_do_not_tell_is_not_made_up(
    info: Callable[..., dict[str, dict[str, Any]]], flink: dict[str, Any]
) -> None:
    flink[f"/jobs/{ID}/vertices/s/subtasks/metrics"] = []
    flink[f"/jobs/{ID}/vertices/w/subtasks/metrics"] = []
    flink[f"/jobs/{ID}/metrics?get=numRestarts"] = []
    flink[f"/jobs/{ID}/checkpoints"]["latest"]["completed"] = None
    flink[f"/jobs/{ID}/checkpoints"]["counts"]["completed"] = 0
    assert set(info(flow=True)[ID]["flow"].values()) == {None}


def test_metrics_that_stand_still_are_waited_for_no_longer(
    info: Callable[..., dict[str, dict[str, Any]]],
    flink: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flink_flow, "REFRESH_S", 0.05)
    flink[CLOCK] = [{"id": "Status.JVM.CPU.Time", "min": 1.0, "max": 5.0}]
    assert info(flow=True)[ID]["flow"]["records_in_s"] == 1042.5


def test_a_cluster_without_live_jobs_is_not_waited_for(
    info: Callable[..., dict[str, dict[str, Any]]], flink: dict[str, Any]
) -> None:
    flink["/jobs/overview"] = {"jobs": [job(OLD, "FINISHED")]}
    del flink[CLOCK]
    assert info(flow=True)[OLD]["flow"] is None


def test_documentation_has_the_options_of_the_module() -> None:
    documented = yaml.safe_load(flink_info.DOCUMENTATION)["options"]
    fields = ("type", "elements", "required", "default")
    assert {
        name: {field: each[field] for field in fields if field in each}
        for name, each in documented.items()
    } == {name: flink_info.ARGUMENT_SPEC[name] for name in documented}
