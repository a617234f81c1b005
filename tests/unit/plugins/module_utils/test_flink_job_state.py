# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What there is of a job, as Flink and its directories tell it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils import flink_job_files
from ansible_collections.bss.platform.plugins.module_utils.flink_job_declarations import (
    read_declarations,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_files import (
    CannotUseFiles,
    JobFiles,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_plan import plan
from ansible_collections.bss.platform.plugins.module_utils.flink_job_rules import (
    OPTIONS,
    Declaration,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import Spec, job_id
from ansible_collections.bss.platform.plugins.module_utils.flink_job_state import read_current
from ansible_collections.bss.platform.plugins.module_utils.flink_rest import FlinkRefused

NAME = "totals"
SPEC = Spec(sql="INSERT INTO a SELECT 1")
ID = job_id(NAME, SPEC.mark, 1)
JOB = Declaration(NAME, SPEC)


class FakeApi:
    """Stands for a JobManager that remembers one job, which was cancelled."""

    url = "https://f1:8081"

    def __init__(self, home: str) -> None:
        self.says: dict[str, Any] = {
            "/jobs/overview": {"jobs": []},
            "/overview": {
                "flink-version": "2.2.1",
                "taskmanagers": 1,
                "slots-total": 4,
                "slots-available": 4,
            },
            "/jobmanager/config": [
                {"key": "execution.checkpointing.savepoint-dir", "value": f"{home}/savepoints"},
                {"key": "execution.checkpointing.dir", "value": f"{home}/checkpoints"},
            ],
        }

    def get(self, path: str) -> Any:
        answer = self.says[path]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def has_ended(self, **latest: Any) -> None:
        self.says["/jobs/overview"] = {
            "jobs": [
                {
                    "jid": ID,
                    "name": NAME,
                    "state": "CANCELED",
                    "tasks": {"total": 1, "running": 0, "finished": 0},
                    "start-time": 1,
                    "end-time": 2,
                    "duration": 1,
                    "last-modification": 2,
                }
            ]
        }
        self.says[f"/jobs/{ID}/checkpoints/config"] = {"interval": 1000}
        self.says[f"/jobs/{ID}/checkpoints"] = {
            "counts": {"completed": 9, "failed": 0},
            "latest": {"completed": None, "savepoint": None, "restored": None, **latest},
        }


@pytest.fixture
def files(tmp_path: Path) -> JobFiles:
    for directory in ("savepoints", "checkpoints"):
        (tmp_path / directory).mkdir()
    return JobFiles(f"file://{tmp_path}/savepoints", f"file://{tmp_path}/checkpoints")


def save(tmp_path: Path, kind: str = "chk-1") -> Path:
    metadata = tmp_path / "checkpoints" / ID / kind / "_metadata"
    metadata.parent.mkdir(parents=True)
    metadata.touch()
    return metadata


def test_what_was_saved_last_is_the_newest(tmp_path: Path) -> None:
    """A savepoint of Monday, checkpoints up to Friday; the storage is elsewhere."""
    api = FakeApi("s3://b")
    api.has_ended(
        savepoint={"external_path": "s3://b/savepoint-1", "latest_ack_timestamp": 1_000},
        completed={"external_path": "s3://b/chk-9", "latest_ack_timestamp": 5_000},
    )
    current, _ = read_current(api, [JOB], None)  # type: ignore[arg-type]
    newest = current.jobs[NAME].newest
    assert newest is not None and newest.path == "s3://b/chk-9"


@pytest.mark.parametrize("directory", ["savepoints", "checkpoints"])
def test_storage_that_is_not_mounted_is_not_empty(
    files: JobFiles, tmp_path: Path, directory: str
) -> None:
    api = FakeApi(f"file://{tmp_path}")
    api.has_ended()
    files.keep(NAME, ID, SPEC)
    shutil.rmtree(tmp_path / directory)
    current, _ = read_current(api, [JOB], None)  # type: ignore[arg-type]
    assert not current.files_are_here
    assert current.jobs[NAME].lost


def test_an_empty_savepoint_is_none() -> None:
    entry = {**dict.fromkeys(OPTIONS), "name": NAME, "sql": SPEC.sql, "savepoint": ""}
    assert read_declarations([entry])[0].savepoint is None


def test_directories_that_only_flinks_user_may_enter(
    files: JobFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(CannotUseFiles, match="become: true"):
        assert files.are_here


def test_a_checkpoint_that_vanishes_while_it_is_looked_at(
    files: JobFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vanishing = save(tmp_path)
    save(tmp_path, "chk-2")
    glob = Path.glob

    def found_and_gone(home: Path, pattern: str) -> list[Path]:
        found = list(glob(home, pattern))
        if vanishing in found:
            shutil.rmtree(vanishing.parent)
        return found

    monkeypatch.setattr(Path, "glob", found_and_gone)
    (left,) = files.snapshots(NAME)
    assert left.path.endswith("chk-2")


def test_what_was_kept_of_a_job_that_was_never_accepted_is_dropped_too(
    files: JobFiles, tmp_path: Path
) -> None:
    api = FakeApi(f"file://{tmp_path}")
    drop = [Declaration(NAME, state="absent", drop_state=True)]
    files.keep(NAME, ID, SPEC)
    current, _ = read_current(api, drop, None)  # type: ignore[arg-type]
    assert plan(current, drop, 5, True).sentences == [f"forget what {NAME} ran, and its last state"]
    files.forget_all_but(NAME, ())
    current, _ = read_current(api, drop, None)  # type: ignore[arg-type]
    assert not plan(current, drop, 5, True).changed


@pytest.mark.parametrize(
    ("kept", "is_refused"),
    [
        ({"enabled": True, "delete_on_cancellation": False}, False),
        ({"enabled": True, "delete_on_cancellation": True}, True),
        ({"enabled": False, "delete_on_cancellation": True}, True),
        (None, True),
    ],
)
def test_last_state_needs_checkpoints_that_stay(
    files: JobFiles, tmp_path: Path, kept: dict[str, bool] | None, is_refused: bool
) -> None:
    api = FakeApi(f"file://{tmp_path}")
    api.has_ended()
    api.says["/jobs/overview"]["jobs"][0]["state"] = "RUNNING"
    api.says[f"/jobs/{ID}"] = {"vertices": []}
    api.says[f"/jobs/{ID}/checkpoints/config"] = (
        FlinkRefused("GET", 404, "") if kept is None else {"interval": 1, "externalization": kept}
    )
    new = replace(JOB, spec=replace(SPEC, parallelism=2), upgrade_mode="last_state")
    files.keep(NAME, ID, SPEC)
    current, _ = read_current(api, [new], None)  # type: ignore[arg-type]
    assert bool(plan(current, [new], 5, True).refusals) == is_refused


def test_what_is_kept_already_is_not_written_again(
    files: JobFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.keep(NAME, ID, SPEC)

    def is_full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(flink_job_files, "_replace", is_full)
    files.keep(NAME, ID, SPEC)
    with pytest.raises(CannotUseFiles, match="No space left"):
        files.keep(NAME, job_id(NAME, SPEC.mark, 2), SPEC)
