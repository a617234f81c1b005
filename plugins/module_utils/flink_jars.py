# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Jobs in jars, given to Flink by its REST endpoint: on trial, and in earnest."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import Spec
from ansible_collections.bss.platform.plugins.module_utils.flink_rest import Api


def sha256_of(jar: Path) -> str:
    with jar.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def classes_of(jar: Path) -> set[str] | None:
    """Names of the classes in the jar; None if it is not a jar."""
    try:
        with zipfile.ZipFile(jar) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return None
    return {
        name.removesuffix(".class").replace("/", ".") for name in names if name.endswith(".class")
    }


def try_out(api: Api, spec: Spec) -> None:
    """Let Flink run main() up to where it would start the job. Raises FlinkRefused."""
    api.ask("POST", f"/jars/{_uploaded(api, spec)}/plan", _request(spec))


def submit(api: Api, spec: Spec, properties: Mapping[str, str], job_id: str) -> None:
    """Start the job under that id. Raises FlinkRefused."""
    api.send(
        "POST",
        f"/jars/{_uploaded(api, spec)}/run",
        {**_request(spec), "jobId": job_id, "flinkConfiguration": dict(properties)},
    )


def _uploaded(api: Api, spec: Spec) -> str:
    """The id that the jar has in Flink; it is uploaded where it is not there."""
    name = f"{spec.jar_sha256}.jar"
    for each in api.get("/jars")["files"]:
        if each["name"] == name:
            return str(each["id"])
    return api.upload(Path(spec.jar), name)


def _request(spec: Spec) -> dict[str, Any]:
    """Without parallelism where none is declared: null is no number to Flink."""
    parts = {
        "entryClass": spec.entry_class,
        "programArgsList": list(spec.args),
        "parallelism": spec.parallelism,
    }
    return {key: value for key, value in parts.items() if value is not None}
