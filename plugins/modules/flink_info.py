#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: flink_info
short_description: Read what a Flink cluster runs and how it is
version_added: 0.3.0
description:
  - Returns the version, the TaskManagers with their slots, and the jobs with their checkpoints and
    failures. Changes nothing.
  - Costs three requests, and five for each live job; more with O(flow).
options:
  jobs:
    description: Names of the jobs to read, as they were declared; all of the cluster when not set.
    type: list
    elements: str
  flow:
    description:
      - Whether to read how fast records run through live jobs, and how many wait for them.
      - Takes up to two seconds more, since Flink has to gather it first, and two requests for each
        source and sink.
    type: bool
    default: false
    version_added: 0.4.0
extends_documentation_fragment:
  - bss.platform.attributes.info
  - bss.platform.flink
seealso:
  - module: bss.platform.flink_job
author:
  - The bss.platform contributors (@bss-platform)
"""

EXAMPLES = r"""
- name: Wait until all jobs run
  bss.platform.flink_info:
    url: https://us-f1:8081
    ca_cert: /etc/flink/tls/ca.crt
    client_cert: /etc/flink/tls/host.pem
  register: flink
  until: flink.jobs | rejectattr('running') | selectattr('live') | length == 0
  retries: 60
  delay: 1
"""

RETURN = r"""
version:
  description: Version of Flink.
  returned: success
  type: str
  sample: 2.2.1
slots:
  description: Slots of the cluster.
  returned: success
  type: dict
  contains:
    total:
      description: All slots.
      type: int
      sample: 8
    free:
      description: Slots that no job takes.
      type: int
      sample: 2
taskmanagers:
  description: The TaskManagers that are registered.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Id that Flink gives it.
      type: str
      sample: us-f2:46123-3a1c5f
    slots:
      description: Its slots.
      type: int
      sample: 4
    free_slots:
      description: Those of them that no job takes.
      type: int
      sample: 1
jobs:
  description: Live jobs, and those that ended within the last hour; the newest first.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name that Flink shows.
      type: str
      sample: clicks
    job_id:
      description: Id of the job.
      type: str
      sample: 5f3c0e1a9b770b6d2f4e81c300000002
    state:
      description: State as Flink has it.
      type: str
      sample: RUNNING
    live:
      description: Whether it has not ended.
      type: bool
      sample: true
    running:
      description: Whether all of its tasks run.
      type: bool
      sample: true
    parallelism:
      description: Slots that it takes; 0 where it has ended.
      type: int
      sample: 2
    spec:
      description:
        - Digest of what it runs, equal for two that run the same; null where
          M(bss.platform.flink_job) did not start it.
      type: str
      sample: 0b6d2f4e81c3
    generation:
      description: How often a job of that name was started; null as O(ignore:spec).
      type: int
      sample: 2
    checkpoint:
      description: Address of its last checkpoint that is kept; null where there is none.
      type: str
      sample: file:/flink/checkpoints/5f3c0e1a9b770b6d2f4e81c300000002/chk-118
    checkpoint_ms:
      description: When that was completed, in milliseconds since 1970.
      type: int
      sample: 1795415981984
    checkpoints_completed:
      description: Checkpoints that were completed since the job, or the JobManager, was started.
      type: int
      sample: 118
    checkpoints_failed:
      description: Checkpoints that failed since then.
      type: int
      sample: 0
    failures:
      description: How often it failed, as far as Flink remembers.
      type: int
      sample: 0
    root_cause:
      description: Why it failed the last time; empty where it did not.
      type: str
      sample: ""
    flow:
      description: How records run through it; null where it has ended. Only with O(flow).
      type: dict
      contains:
        records_in_s:
          description:
            - Records that its sources read, a second, over the last minute; null where they do not
              tell.
          type: float
          sample: 1042.3
        records_out_s:
          description: Records that its sinks are given, a second, likewise.
          type: float
          sample: 17.5
        pending_records:
          description:
            - Records that wait in Kafka for its sources; null where they do not tell, as before the
              first record.
          type: int
          sample: 0
        restarts:
          description: How often its tasks were started again since the job, or the JobManager, was.
          type: int
          sample: 0
        checkpoint_age_s:
          description: Seconds since O(ignore:checkpoint) was completed; null where there is none.
          type: float
          sample: 4.2
"""

import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.flink_flow import read_flow, refresh
from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import owner_of
from ansible_collections.bss.platform.plugins.module_utils.flink_jobs import (
    Checkpoints,
    Job,
    read_checkpoints,
    read_cluster,
    read_failures,
    read_jobs,
    read_parallelism,
    read_taskmanagers,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_rest import (
    CONNECTION_OPTIONS,
    Api,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

REFRESHED_S = 4.0
"""What Flink tells is no older (web.refresh-interval is 3 s where it is not set)."""
POLL_S = 0.2

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "jobs": {"type": "list", "elements": "str"},
    "flow": {"type": "bool", "default": False},
    **CONNECTION_OPTIONS,
}


def run(options: Mapping[str, Any]) -> dict[str, Any]:
    """Read it all. Raises PlatformError."""
    api = Api(options)
    cluster = read_cluster(api)
    jobs = read_jobs(api)
    if options["jobs"] is not None:
        owners = {owner_of(name) for name in options["jobs"]}
        jobs = [job for job in jobs if job.mark.owner in owners or job.name in options["jobs"]]
    flow = bool(options["flow"])
    if flow and cluster.taskmanagers and any(job.is_live for job in jobs):
        refresh(api)
    return {
        "changed": False,
        "version": cluster.version,
        "slots": {"total": cluster.slots, "free": cluster.free_slots},
        "taskmanagers": read_taskmanagers(api),
        "jobs": [
            _shown(api, job, flow)
            for job in sorted(jobs, key=lambda job: job.started_ms, reverse=True)
        ],
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = run(module.params)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def _read_checkpoints(api: Api, job: Job) -> Checkpoints:
    """What the job has saved.

    Of a live one, Flink tells for a moment of a checkpoint that a newer one has replaced already.
    """
    deadline = time.monotonic() + REFRESHED_S
    while True:
        found = read_checkpoints(api, job.job_id)
        is_told = found.latest or not found.completed or not job.is_live
        if is_told or time.monotonic() > deadline:
            return found
        time.sleep(POLL_S)


def _shown(api: Api, job: Job, flow: bool) -> dict[str, Any]:
    checkpoints = _read_checkpoints(api, job)
    failures = read_failures(api, job.job_id)
    return {
        "name": job.name,
        "job_id": job.job_id,
        "state": job.state,
        "live": job.is_live,
        "running": job.runs,
        "parallelism": read_parallelism(api, job.job_id) if job.is_live else 0,
        "spec": job.mark.spec if job.is_marked else None,
        "generation": job.mark.generation if job.is_marked else None,
        "checkpoint": checkpoints.latest,
        "checkpoint_ms": checkpoints.latest_ms if checkpoints.latest else None,
        "checkpoints_completed": checkpoints.completed,
        "checkpoints_failed": checkpoints.failed,
        "failures": failures.count,
        "root_cause": failures.cause,
        **({"flow": _flow(api, job, checkpoints)} if flow else {}),
    }


def _flow(api: Api, job: Job, checkpoints: Checkpoints) -> dict[str, Any] | None:
    if not job.is_live:
        return None
    made_ms = checkpoints.latest_ms if checkpoints.latest else None
    age_s = None if made_ms is None else round(max(0.0, time.time() - made_ms / 1000), 1)
    return {**read_flow(api, job.job_id), "checkpoint_age_s": age_s}


if __name__ == "__main__":
    main()
