# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What there is of the declared jobs: in Flink, and in its directories.

One request tells whether anything is to be done. The rest is read only of jobs of which it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ansible_collections.bss.platform.plugins.module_utils.flink_job_files import (
    JobFiles,
    Snapshot,
    has_snapshot,
    local_path,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_plan import is_settled
from ansible_collections.bss.platform.plugins.module_utils.flink_job_rules import (
    Current,
    Declaration,
    Present,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import owner_of
from ansible_collections.bss.platform.plugins.module_utils.flink_jobs import (
    Job,
    keeps_checkpoints,
    read_checkpoints,
    read_cluster,
    read_jobs,
    read_parallelism,
    read_settings,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_rest import Api
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

SAVEPOINTS = ("execution.checkpointing.savepoint-dir", "state.savepoints.dir")
CHECKPOINTS = ("execution.checkpointing.dir", "state.checkpoints.dir")


class NoDirectory(PlatformError):
    """Flink has no directory for what the module would have it save."""


def read_files(settings: Mapping[str, str], savepoint_dir: str | None) -> JobFiles:
    """Flink's directories, by its own configuration. Raises NoDirectory."""
    savepoints = savepoint_dir or _first(settings, SAVEPOINTS)
    checkpoints = _first(settings, CHECKPOINTS)
    missing = [
        keys[0]
        for keys, value in ((SAVEPOINTS, savepoints), (CHECKPOINTS, checkpoints))
        if not value
    ]
    if missing:
        raise NoDirectory(
            f"Flink's configuration has no {' and no '.join(missing)}: jobs could not be stopped "
            "with a savepoint, nor recovered. Set it for the JobManager and the SQL Gateway."
        )
    return JobFiles(str(savepoints), str(checkpoints))


def read_current(
    api: Api, declared: Sequence[Declaration], savepoint_dir: str | None
) -> tuple[Current, JobFiles | None]:
    """All that a plan needs; no directories where there is nothing to do."""
    jobs = read_jobs(api)
    found = {each.name: _of_name(each.name, jobs) for each in declared}
    unsettled = [each for each in declared if not is_settled(each, found[each.name])]
    if not unsettled:
        return Current(found), None
    settings = read_settings(api)
    files = read_files(settings, savepoint_dir)
    found |= {each.name: _in_detail(api, files, each, found[each.name]) for each in unsettled}
    return (
        Current(
            found,
            read_cluster(api),
            int(settings.get("parallelism.default", "1")),
            files.are_here,
            files.savepoints,
        ),
        files,
    )


def _of_name(name: str, jobs: Sequence[Job]) -> Present:
    owner = owner_of(name)
    own = sorted(
        (each for each in jobs if each.mark.owner == owner), key=lambda job: job.mark.generation
    )
    return Present(
        live=tuple(each for each in own if each.is_live),
        strangers=tuple(
            each for each in jobs if each.is_live and each.name == name and each not in own
        ),
        ended=tuple(each for each in own if not each.is_live),
    )


def _in_detail(api: Api, files: JobFiles, declared: Declaration, there: Present) -> Present:
    name = declared.name
    here = files.are_here
    snapshots = list(files.snapshots(name) if here else ())
    records = files.records(name) if here else {}
    newest = max((each.age[0] for each in snapshots), default=0)
    lost = []
    for job in there.ended:
        if here and job.mark.generation <= newest:
            continue  # superseded by what is there
        saved = read_checkpoints(api, job.job_id)
        known = [
            Snapshot(path, job.job_id, (made_ms or 0) / 1000, path == saved.savepoint)
            for path, made_ms in (
                (saved.latest, saved.latest_ms),
                (saved.savepoint, saved.savepoint_ms),
            )
            if path and _is_there(path, here)
        ]
        snapshots += known
        # What it ran is forgotten together with its state, where that is dropped on purpose.
        dropped = here and job.job_id not in records
        if saved.completed and not known and not dropped:
            lost.append(job)
    return replace(
        there,
        lost=tuple(lost),
        snapshots=tuple(sorted(snapshots, key=lambda snapshot: snapshot.age)),
        records=records,
        keeps_checkpoints=(
            declared.upgrade_mode != "last_state"
            or not there.live
            or keeps_checkpoints(api, there.live[0].job_id)
        ),
        parallelism=read_parallelism(api, there.live[0].job_id) if there.live else 0,
        savepoint_is_missing=bool(declared.savepoint and not _is_there(declared.savepoint, here)),
    )


def _is_there(address: str, here: bool) -> bool:
    """Whether that is a savepoint; where it cannot be seen, Flink or the user is believed."""
    path = local_path(address)
    return path is None or not here or has_snapshot(path)


def _first(settings: Mapping[str, str], keys: Sequence[str]) -> str | None:
    return next((settings[key] for key in keys if settings.get(key)), None)
