# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What is kept of a job in Flink's own directories of savepoints and checkpoints.

    <savepoints>/<name>/<job id>/savepoint-*    written by Flink
    <savepoints>/<name>/<job id>.json           what that job runs
    <savepoints>/<name>/<sha256>.jar            the jar of such a job
    <checkpoints>/<job id>/chk-*                written by Flink

What a job runs is kept beside its state, since the one is worth nothing without the other: Flink
tells the SQL or the arguments of a job nobody. It is read to bring a former job back, and believed
only if it has the mark that is in that job's id. Only the owner may read it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import (
    Spec,
    mark_of,
    owner_of,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

METADATA = "_metadata"


class CannotUseFiles(PlatformError):
    """A directory of savepoints or checkpoints cannot be read or written here."""


@dataclass(frozen=True)
class Snapshot:
    """A savepoint, or a checkpoint that Flink kept."""

    path: str
    job_id: str
    made: float = 0.0
    """Seconds since 1970."""
    is_savepoint: bool = True

    def is_at(self, address: str | None) -> bool:
        """Whether that address is of it; Flink writes ``file:/a``, people ``file:///a``."""
        path = local_path(self.path)
        return address == self.path or (
            path is not None and address is not None and path == local_path(address)
        )

    @property
    def age(self) -> tuple[int, float]:
        """Orders those of one job, the newest last."""
        return mark_of(self.job_id).generation, self.made


class JobFiles:
    """The directories as this host sees them."""

    def __init__(self, savepoints: str, checkpoints: str) -> None:
        self.savepoints = savepoints.rstrip("/")
        self.checkpoints = checkpoints.rstrip("/")

    @property
    def are_here(self) -> bool:
        """Whether both directories are on this host, and their storage is mounted.

        That the directory above is there does not tell: it is the one to mount into.
        """
        return all(
            path is not None and _seen(path, Path.is_dir)
            for path in (local_path(self.savepoints), local_path(self.checkpoints))
        )

    def directory_of(self, name: str, job_id: str) -> str:
        """Where Flink is to put savepoints of that job."""
        return f"{self.savepoints}/{name}/{job_id}"

    def snapshots(self, name: str) -> tuple[Snapshot, ...]:
        """All of that name, the newest last."""
        found = [*self._find_savepoints(name), *self._find_checkpoints(name)]
        return tuple(sorted(found, key=lambda snapshot: snapshot.age))

    def record(self, name: str, job_id: str) -> Spec | None:
        """What that job runs, where it was kept and fits the job's id."""
        home = self._home(name)
        try:
            record = json.loads((home / f"{job_id}.json").read_text(encoding="utf-8"))
            jar = str(home / f"{record['jar_sha256']}.jar") if record["jar_sha256"] else ""
            spec = Spec.from_record(record, jar)
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return spec if spec.mark == mark_of(job_id).spec else None

    def records(self, name: str) -> dict[str, Spec]:
        """What jobs of that name run or ran, or were to run, by their ids."""
        found = {
            each.stem: self.record(name, each.stem) for each in self._home(name).glob("*.json")
        }
        return {job_id: spec for job_id, spec in found.items() if spec is not None}

    def keep(self, name: str, job_id: str, spec: Spec) -> None:
        """Keep what a job runs, before it is started."""
        home = self._home(name)

        def write() -> None:
            if not home.is_dir():
                home.mkdir(mode=0o755)
                _give_to_owner_above(home)
            kept = home / f"{spec.jar_sha256}.jar"
            if spec.jar and not kept.exists():
                _replace(kept, lambda part: shutil.copyfile(spec.jar, part))
            if self.record(name, job_id) is None:
                record = json.dumps(spec.to_record(), indent=1)
                _replace(home / f"{job_id}.json", lambda part: part.write_text(record, "utf-8"))

        _tried(write, home)

    def forget_all_but(self, name: str, job_ids: Collection[str]) -> None:
        """Remove what other jobs of that name ran, and directories that Flink has emptied."""
        home = self._home(name)

        def remove() -> None:
            jars = set()
            for path in home.glob("*.json"):
                if path.stem not in job_ids:
                    path.unlink()
                elif (spec := self.record(name, path.stem)) is not None:
                    jars.add(spec.jar_sha256)
            for path in home.glob("*.jar"):
                if path.stem not in jars:
                    path.unlink()
            for path in home.glob("*/"):
                if not any(path.iterdir()):
                    path.rmdir()
            if home.is_dir() and not any(home.iterdir()):
                home.rmdir()

        _tried(remove, home)

    def _home(self, name: str) -> Path:
        return _here(self.savepoints) / name

    def _find_savepoints(self, name: str) -> Iterator[Snapshot]:
        for path, made in _found(self._home(name), f"*/savepoint-*/{METADATA}"):
            address = f"{self.directory_of(name, path.parent.name)}/{path.name}"
            yield Snapshot(address, path.parent.name, made)

    def _find_checkpoints(self, name: str) -> Iterator[Snapshot]:
        for path, made in _found(_here(self.checkpoints), f"{owner_of(name)}*/chk-*/{METADATA}"):
            address = f"{self.checkpoints}/{path.parent.name}/{path.name}"
            yield Snapshot(address, path.parent.name, made, is_savepoint=False)


def local_path(address: str) -> Path | None:
    """The path on this host of a directory that Flink knows by that address."""
    parts = urlsplit(address)
    if parts.scheme not in ("", "file") or not parts.path:
        return None
    return Path(parts.path)


def has_snapshot(path: Path) -> bool:
    """Whether a savepoint or checkpoint is there. Raises CannotUseFiles."""
    return _seen(path / METADATA, Path.exists)


def _here(address: str) -> Path:
    path = local_path(address)
    if path is None:
        raise CannotUseFiles(f"{address} is not a directory of this host.")
    return path


def _found(home: Path, pattern: str) -> list[tuple[Path, float]]:
    """The directories of such files, and when these were made."""
    found = []
    try:
        if home.is_dir():
            os.listdir(home)  # glob is silent about what it may not read
        for path in home.glob(pattern):
            with suppress(FileNotFoundError):  # a live job replaces its checkpoints
                found.append((path.parent, path.stat().st_mtime))
        return found
    except OSError as error:
        raise _unreadable(home, error) from error


def _seen(path: Path, look: Callable[[Path], bool]) -> bool:
    try:
        return look(path)
    except OSError as error:  # nobody but Flink's user may look into the directory above
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> CannotUseFiles:
    return CannotUseFiles(
        f"Cannot read {path} ({error.strerror}). Run as Flink's user or as root (become: true), "
        "on a host where it is mounted."
    )


def _tried(work: Callable[[], None], home: Path) -> None:
    try:
        work()
    except OSError as error:
        raise CannotUseFiles(
            f"Cannot write to {error.filename or home} ({error.strerror}). Run as Flink's user or "
            "as root (become: true), on a host where it is mounted; see that it is not full."
        ) from error


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Whole or not at all, and for its owner alone."""
    part = path.with_name(f"{path.name}.part")
    part.touch(mode=0o600)
    part.chmod(0o600)
    write(part)
    _give_to_owner_above(part)
    part.rename(path)


def _give_to_owner_above(path: Path) -> None:
    """Flink writes beside it: what root makes is given to the user that owns the directory."""
    if os.geteuid() == 0:
        above = path.parent.stat()
        os.chown(path, above.st_uid, above.st_gid)
