#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: flink_job
short_description: Declare the jobs of a Flink cluster
version_added: 0.3.0
description:
  - Starts jobs, replaces them by ones that run something else without losing their state, stops
    them with a savepoint, and starts them again from it. For streaming jobs, which do not end by
    themselves.
  - Jobs are declared one at a time or as a list (O(jobs)). A list is planned as a whole, and
    nothing is done if any part of it is refused; all reasons are told at once.
  - What only Flink can judge (whether SQL parses, tables and columns are there, C(main(\)) of a jar
    runs) is found out before a job is stopped, on trial. In check mode this is done for SQL, but
    not for jars, which would have to be uploaded.
  - The cluster is the only record of what runs. A job's id holds a digest of its name, a digest of
    what it runs, and how often it was started. So a list that is as declared costs one request,
    however long it is (a few more for a job that changed within the last ten seconds), and Flink
    itself refuses to start the same job twice.
  - A new job is accepted when all of its tasks run and a checkpoint is completed. One that is not
    is cancelled, what ran before is started again from its savepoint, and the task fails with
    Flink's root cause.
options:
  name:
    description:
      - Name of the job, which identifies it; up to 100 letters, digits, dots, underscores and
        hyphens. Flink shows it, unless C(main(\)) of a jar chooses another.
      - Mutually exclusive with O(jobs), as are all the options of a job.
    type: str
  jar:
    description:
      - Path of a jar, on the host that the module runs on. Another byte in it is another job.
      - Exactly one of O(jar), O(sql) and O(sql_file) is needed where O(state=present).
    type: path
  sql:
    description:
      - A script of Flink SQL. It has one C(INSERT), or several in C(EXECUTE STATEMENT SET BEGIN ...
        END), and makes what they need by C(CREATE), C(ALTER), C(DROP), C(USE), C(SET), C(LOAD) and
        C(ADD JAR). Other statements are refused, such as C(CREATE TABLE ... AS SELECT), which runs
        a job of its own.
      - Comments and white space outside of literals do not count; hints do.
      - It is kept beside the job's savepoints, readable for Flink's user alone. Do not write
        passwords into it all the same; let the connector read them from a file.
    type: str
  sql_file:
    description: Path of a file with such a script, on the host that the module runs on.
    type: path
  entry_class:
    description: The class in O(jar) that has C(main(\)), where its manifest does not name it.
    type: str
  args:
    description: Arguments of C(main(\)) in O(jar).
    type: list
    elements: str
  parallelism:
    description:
      - Subtasks of each operator, and slots that the job takes; C(parallelism.default) of the
        cluster when not set.
      - More than there are free slots is refused.
    type: int
  config:
    description:
      - Settings of Flink for this job, by name, such as V(execution.checkpointing.interval).
      - Those that an option stands for are refused.
    type: dict
  state:
    description:
      - V(present) when not set. The job runs. Where it does not, it is started from what it saved
        last, be it a savepoint or a checkpoint that Flink kept; without state only if there never
        was any. A job with other contents replaces the one that runs (O(upgrade_mode)).
      - V(suspended) stops it with a savepoint, from which V(present) starts it again.
      - V(absent) does the same, and can drop the job's state (O(drop_state)).
    type: str
    choices: [present, suspended, absent]
  upgrade_mode:
    description:
      - How a job that runs is replaced or ended. V(savepoint) when not set, it is stopped with a
        savepoint, and the new one starts from that.
      - With V(last_state), it is cancelled, and its last checkpoint is used; for a job that cannot
        make a savepoint any more. Results since that checkpoint are made again.
      - With V(stateless), it is cancelled, and the new one starts empty. This loses its state.
    type: str
    choices: [savepoint, last_state, stateless]
  savepoint:
    description:
      - Address of a savepoint or checkpoint to start from. It counts where the job does not run,
        and with O(restart).
      - Where the job has saved something else, going back to that address needs O(restart), and is
        refused without. So an address that was left in the declaration takes no job back by
        mistake.
    type: str
  savepoint_format:
    description:
      - How savepoints are written. V(canonical) when not set, which every state backend can read.
      - V(native) is faster with large state, and the only one that some kinds of state can be saved
        with.
    type: str
    choices: [canonical, native]
  allow_non_restored_state:
    description:
      - Whether state that has no place in the new job may be dropped. Otherwise such a job is not
        accepted, and the message names the operator.
    type: bool
  take_savepoint:
    description:
      - Whether a savepoint is taken of the job, which goes on. Each run takes one, so each run
        is a change.
    type: bool
  restart:
    description:
      - Whether the job is stopped and started again, as O(upgrade_mode) says, also if it is as
        declared. Each run does, so each run is a change.
    type: bool
  drop_state:
    description:
      - Whether O(state=absent) disposes of all savepoints and checkpoints of the job, and ends it
        without making another.
    type: bool
  jobs:
    description: A list of jobs; each takes the options of a single one.
    type: list
    elements: dict
    suboptions:
      name:
        description: As O(name).
        type: str
        required: true
      jar:
        description: As O(jar).
        type: path
      sql:
        description: As O(sql).
        type: str
      sql_file:
        description: As O(sql_file).
        type: path
      entry_class:
        description: As O(entry_class).
        type: str
      args:
        description: As O(args).
        type: list
        elements: str
      parallelism:
        description: As O(parallelism).
        type: int
      config:
        description: As O(config).
        type: dict
      state:
        description: As O(state).
        type: str
        choices: [present, suspended, absent]
      upgrade_mode:
        description: As O(upgrade_mode).
        type: str
        choices: [savepoint, last_state, stateless]
      savepoint:
        description: As O(savepoint).
        type: str
      savepoint_format:
        description: As O(savepoint_format).
        type: str
        choices: [canonical, native]
      allow_non_restored_state:
        description: As O(allow_non_restored_state).
        type: bool
      take_savepoint:
        description: As O(take_savepoint).
        type: bool
      restart:
        description: As O(restart).
        type: bool
      drop_state:
        description: As O(drop_state).
        type: bool
  sql_gateway_url:
    description: Address of the SQL Gateway, such as V(https://us-f1:8083); for jobs in SQL.
    type: str
  savepoint_dir:
    description:
      - Directory of savepoints, as Flink knows it; C(execution.checkpointing.savepoint-dir) of the
        JobManager when not set. Each job has a directory of its own in it.
      - Where it is mounted on the host that the module runs on (V(file:///...\)), the module finds
        what a job saved last also after Flink has forgotten of the job, and keeps what each job
        runs in it, to bring a former one back. Where it is not, what needs these is refused.
    type: str
  keep_savepoints:
    description:
      - How many savepoints of a job stay, the newest ones, when the module makes one; kept
        checkpoints of ended jobs count as well.
    type: int
    default: 5
  savepoint_timeout:
    description: Seconds that Flink may take to make a savepoint, and to end a job.
    type: int
    default: 600
  accept_timeout:
    description:
      - Seconds within which a job that is started is to be taken by Flink or the SQL Gateway, and
        as many again within which all of its tasks are to run and a checkpoint is to be completed.
        A job that fails three times before that is not waited for.
      - A job that is started again with the spec that it had is left as it is when it does not run
        by then, and the task fails.
    type: int
    default: 120
extends_documentation_fragment:
  - bss.platform.attributes
  - bss.platform.flink
notes:
  - Run it as Flink's user, or as root, on a host where Flink's savepoints and checkpoints are
    mounted, such as the JobManager's.
  - When it is interrupted, the same task goes on from there. A stop that is under way is joined,
    and no job is started twice.
  - The jobs of a list are done one after the other, those first that are to end. Where one fails,
    those before it stay done.
  - A spec that was not accepted is tried again by each run that declares it, which stops the job
    each time. Declare what runs until the new spec is mended.
  - Set C(web.refresh-interval) of the JobManager to a second or less. Until then, Flink tells of
    checkpoints as they were, and a job is accepted that much later.
seealso:
  - module: bss.platform.flink_info
  - name: Savepoints
    description: What state can be given to a changed job.
    link: https://nightlies.apache.org/flink/flink-docs-release-2.2/docs/ops/state/savepoints/
author:
  - The bss.platform contributors (@bss-platform)
"""

EXAMPLES = r"""
- name: Declare two jobs
  bss.platform.flink_job:
    url: https://us-f1:8081
    sql_gateway_url: https://us-f1:8083
    ca_cert: /etc/flink/tls/ca.crt
    client_cert: /etc/flink/tls/host.pem
    jobs:
      - name: order-totals
        sql_file: /opt/shop/order-totals.sql
        parallelism: 2
        config:
          execution.checkpointing.interval: 10s
      - name: clicks
        jar: /opt/shop/clicks-1.4.jar
        entry_class: shop.Clicks
        args: [--window, "60"]

- name: Stop a job, to go on later from where it was
  bss.platform.flink_job:
    url: https://us-f1:8081
    ca_cert: /etc/flink/tls/ca.crt
    client_cert: /etc/flink/tls/host.pem
    name: clicks
    state: suspended

- name: Remove a job and all that it saved
  bss.platform.flink_job:
    url: https://us-f1:8081
    ca_cert: /etc/flink/tls/ca.crt
    client_cert: /etc/flink/tls/host.pem
    name: tryout
    state: absent
    drop_state: true
"""

RETURN = r"""
plan:
  description: What was done, or would be done in check mode, one sentence a step.
  returned: success
  type: list
  elements: str
  sample:
    - stop clicks (job 5f3c0e1a9b77aa41c2d90e6f00000001) with a savepoint
    - start clicks as job 5f3c0e1a9b770b6d2f4e81c300000002 from that savepoint
diff:
  description: The declared part of the jobs that differ, by name; secrets are hidden.
  returned: success
  type: dict
  contains:
    before:
      description: Jobs as they were; those that did not run are not in it.
      type: dict
      sample:
        clicks:
          state: present
          entry_class: shop.Clicks
          args: [--window, "30"]
    after:
      description: Jobs as they are now, or would be.
      type: dict
      sample:
        clicks:
          state: present
          entry_class: shop.Clicks
          args: [--window, "60"]
requests:
  description: What was sent to change something; secrets are hidden.
  returned: success
  type: list
  elements: str
  sample:
    - PATCH /jobs/5f3c0e1a9b77aa41c2d90e6f00000001?mode=cancel
jobs:
  description: The declared jobs.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Declared name.
      type: str
      sample: clicks
    job_id:
      description: Id of the job that runs, or would run; null where none does.
      type: str
      sample: 5f3c0e1a9b770b6d2f4e81c300000002
    state:
      description: State of that job as Flink has it; where none runs, the declared state.
      type: str
      sample: RUNNING
    savepoint:
      description: Address of the savepoint that this run made; null where it made none.
      type: str
      sample: file:/flink/savepoints/clicks/5f3c0e1a9b77aa41c2d90e6f00000001/savepoint-5f3c0e-1c
    downtime_ms:
      description:
        - Milliseconds from the request to stop the job until all tasks of the one in its place ran;
          null where none was replaced.
      type: int
      sample: 2140
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.flink_job_declarations import (
    JOBS_OPTION,
    ONE_OF,
    read_declarations,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_plan import plan, refused_too
from ansible_collections.bss.platform.plugins.module_utils.flink_job_rules import (
    OPTIONS as JOB_OPTIONS,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_state import (
    read_current,
    read_files,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_steps import Steps
from ansible_collections.bss.platform.plugins.module_utils.flink_job_submission import Submission
from ansible_collections.bss.platform.plugins.module_utils.flink_jobs import read_settings
from ansible_collections.bss.platform.plugins.module_utils.flink_rest import (
    CONNECTION_OPTIONS,
    Api,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_sql_gateway import SqlGateway
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **JOB_OPTIONS,
    "jobs": JOBS_OPTION,
    "sql_gateway_url": {"type": "str"},
    "savepoint_dir": {"type": "str"},
    "keep_savepoints": {"type": "int", "default": 5},
    "savepoint_timeout": {"type": "int", "default": 600},
    "accept_timeout": {"type": "int", "default": 120},
    **CONNECTION_OPTIONS,
}


def run(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Plan, apply unless in check mode, and say what was done.

    Raises PlatformError for every condition that a user can cause or mend.
    """
    entries = options["jobs"]
    if entries is None:
        entries = [{option: options[option] for option in JOB_OPTIONS}]
    declared = read_declarations(entries)
    api = Api(options)
    address = options["sql_gateway_url"]
    gateway = SqlGateway(api, address, options["accept_timeout"]) if address else None
    current, files = read_current(api, declared, options["savepoint_dir"])
    decided = plan(current, declared, options["keep_savepoints"], gateway is not None)
    jobs = {each["name"]: dict(each) for each in decided.jobs}
    if decided.changed or decided.refusals or decided.watched:
        files = files or read_files(read_settings(api), options["savepoint_dir"])
        submission = Submission(api, files, gateway, options["accept_timeout"])
        steps = Steps(submission, options["savepoint_timeout"], options["accept_timeout"])
        decided = refused_too(decided, submission.objections(decided, check_mode))
        decided.raise_if_refused()
        if not check_mode:
            steps.apply(decided)
            for name, job in decided.watched:
                steps.watch(name, job)
                jobs[name]["state"] = "RUNNING"
        for name, outcome in steps.outcomes.items():
            jobs[name] |= {
                "job_id": outcome.job_id or jobs[name]["job_id"],
                "savepoint": outcome.savepoint,
                "downtime_ms": outcome.downtime_ms,
            }
    return {
        "changed": decided.changed,
        "plan": decided.sentences,
        "diff": decided.diff,
        "requests": api.sent,
        "jobs": list(jobs.values()),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        mutually_exclusive=[*(("jobs", option) for option in JOB_OPTIONS), ONE_OF],
        required_one_of=[("name", "jobs")],
        supports_check_mode=True,
    )
    try:
        result = run(module.params, module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
