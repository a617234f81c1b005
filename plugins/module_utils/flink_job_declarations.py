# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The jobs of a task as they were declared, with the SQL and the jars that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.flink_jars import classes_of, sha256_of
from ansible_collections.bss.platform.plugins.module_utils.flink_job_rules import (
    OPTIONS_IN_LIST,
    Declaration,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import Spec
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

ONE_OF = ("jar", "sql", "sql_file")

JOBS_OPTION: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "options": OPTIONS_IN_LIST,
    "mutually_exclusive": [ONE_OF],
}


class CannotReadProgram(PlatformError):
    """A jar or a file with SQL is not there, or not the user's to read."""


def read_declarations(entries: Sequence[Mapping[str, Any]]) -> list[Declaration]:
    """The jobs of a list, each with all of the options. Raises CannotReadProgram."""
    found = []
    unreadable = []
    for entry in entries:
        try:
            found.append(_declaration(entry))
        except (OSError, UnicodeDecodeError) as error:
            path = entry["jar"] or entry["sql_file"]
            unreadable.append(f"{path} of job {entry['name']} ({error})")
    if unreadable:
        raise CannotReadProgram(
            f"Nothing was changed. Cannot read {'; '.join(unreadable)}. Correct the path; it is "
            "one on the host that the module runs on."
        )
    return found


def _declaration(entry: Mapping[str, Any]) -> Declaration:
    spec = None
    classes = None
    sql = entry["sql"]
    if entry["sql_file"] is not None:
        sql = Path(entry["sql_file"]).read_text(encoding="utf-8")
    parts: dict[str, Any] = {
        "entry_class": entry["entry_class"],
        "args": tuple(entry["args"] or ()),
        "parallelism": entry["parallelism"],
        "config": {
            str(key): _written(value)
            for key, value in (entry["config"] or {}).items()
            if value is not None
        },
    }
    if entry["jar"] is not None:
        jar = Path(entry["jar"])
        spec = Spec(jar_sha256=sha256_of(jar), jar=entry["jar"], **parts)
        classes = classes_of(jar)
    elif sql is not None:
        spec = Spec(sql=sql, **parts)
    return Declaration(
        name=entry["name"],
        spec=spec,
        jar_classes=classes,
        state=entry["state"] or "present",
        upgrade_mode=entry["upgrade_mode"] or "savepoint",
        savepoint=entry["savepoint"] or None,
        savepoint_format=entry["savepoint_format"] or "canonical",
        allow_non_restored_state=bool(entry["allow_non_restored_state"]),
        take_savepoint=bool(entry["take_savepoint"]),
        restart=bool(entry["restart"]),
        drop_state=bool(entry["drop_state"]),
    )


def _written(value: Any) -> str:
    """As Flink's configuration has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
