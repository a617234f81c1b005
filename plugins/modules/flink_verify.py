#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Named checks of a host of Flink, or of its cluster and the jobs that are declared in it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: flink_verify
short_description: Checks a host of Flink, or its cluster and the jobs that are declared in it
description:
  - Runs named checks and returns what each found. With O(host) they are those of one host, on it;
    with O(taskmanagers) those of the cluster, on the JobManager's host.
  - A failed check does not fail the module. Give the results to M(bss.platform.verify_report), or
    judge RV(passed).
  - C(flink_running), O(units) are active, and the JobManager answers this host over verified mutual
    TLS.
  - C(flink_certificate), the certificates that are presented at O(ports) name the host, and they
    and their authority are valid for longer than O(certificate_days).
  - C(flink_refuses_strangers), each of O(ports) takes O(client_cert), and turns away a client
    without certificate and one with O(foreign_cert).
  - C(flink_metrics_private), each of O(metrics_ports) tells metrics on the loopback, and none of
    O(metrics_elsewhere) takes a connection from this host.
  - C(flink_state_private), O(directories) belong to O(user), and nobody else may enter them. Left
    out where there are none.
  - C(flink_sql_gateway), the gateway at O(sql_gateway_url) answers over verified mutual TLS. Left
    out where there is none.
  - C(flink_taskmanagers), all of O(taskmanagers) are registered with their slots, and no other is.
  - C(flink_jobs_as_declared), M(bss.platform.flink_job) would change none of O(jobs). That each run
    restarts a job or saves it (O(jobs[].restart), O(jobs[].take_savepoint)) does not count.
  - C(flink_jobs_run), each of O(jobs) that is to run does, with all of its tasks.
  - C(flink_jobs_checkpoint), the last completed checkpoint of each is no older than three of its
    intervals. A job that makes none by itself is named, and passes.
  - C(flink_jobs_steady), none of them failed five times within the last five minutes. Restarts of
    hosts one at a time are fewer.
version_added: 0.3.0
author: the bss.platform contributors
options:
  host:
    description:
      - Name of this host, as it is in its certificate.
      - Mutually exclusive with O(taskmanagers). Needs O(units), O(ports), O(metrics_ports),
        O(ca_cert) and O(client_cert).
    type: str
  units:
    description: Units of systemd that run Flink's processes on O(host).
    type: list
    elements: str
  ports:
    description: Ports of O(host) at which Flink's processes take clients with a certificate.
    type: list
    elements: int
  foreign_cert:
    description:
      - File with a certificate and its key, of an authority that Flink does not trust.
      - Without it, only a client without certificate is tried.
    type: path
  certificate_days:
    description: Days for which the certificates must still be valid.
    type: int
    default: 14
  metrics_ports:
    description: Ports of O(host) at which its processes tell their metrics.
    type: list
    elements: int
  metrics_elsewhere:
    description: Such ports of other hosts, as V(host:port).
    type: list
    elements: str
    default: []
  directories:
    description: Directories with checkpoints and savepoints that are mounted on O(host).
    type: list
    elements: path
    default: []
  user:
    description: User whose processes Flink's are.
    type: str
    default: flink
  taskmanagers:
    description: Hosts that have to have a TaskManager, each with the number of its slots.
    type: dict
  sql_gateway_url:
    description: Address of the SQL Gateway, such as V(https://us-f1:8083).
    type: str
  jobs:
    description: Jobs that are declared, as the option C(jobs) of M(bss.platform.flink_job).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: As O(bss.platform.flink_job#module:name).
        type: str
        required: true
      jar:
        description: As O(bss.platform.flink_job#module:jar).
        type: path
      sql:
        description: As O(bss.platform.flink_job#module:sql).
        type: str
      sql_file:
        description: As O(bss.platform.flink_job#module:sql_file).
        type: path
      entry_class:
        description: As O(bss.platform.flink_job#module:entry_class).
        type: str
      args:
        description: As O(bss.platform.flink_job#module:args).
        type: list
        elements: str
      parallelism:
        description: As O(bss.platform.flink_job#module:parallelism).
        type: int
      config:
        description: As O(bss.platform.flink_job#module:config).
        type: dict
      state:
        description: As O(bss.platform.flink_job#module:state).
        type: str
        choices: [present, suspended, absent]
      upgrade_mode:
        description: As O(bss.platform.flink_job#module:upgrade_mode).
        type: str
        choices: [savepoint, last_state, stateless]
      savepoint:
        description: As O(bss.platform.flink_job#module:savepoint).
        type: str
      savepoint_format:
        description: As O(bss.platform.flink_job#module:savepoint_format).
        type: str
        choices: [canonical, native]
      allow_non_restored_state:
        description: As O(bss.platform.flink_job#module:allow_non_restored_state).
        type: bool
      take_savepoint:
        description: Taken so that the same list serves both modules.
        type: bool
      restart:
        description: Taken so that the same list serves both modules.
        type: bool
      drop_state:
        description: As O(bss.platform.flink_job#module:drop_state).
        type: bool
extends_documentation_fragment:
  - bss.platform.attributes.info
  - bss.platform.flink
seealso:
  - module: bss.platform.flink_info
  - module: bss.platform.zookeeper_verify
  - module: bss.platform.verify_report
"""

EXAMPLES = r"""
- name: Check the TaskManager of this host
  bss.platform.flink_verify:
    host: us-t1
    units: [flink-taskmanager]
    ports: [6121, 6122]
    metrics_ports: [9250]
    metrics_elsewhere: ["us-f1:9249"]
    url: https://us-f1:8081
    ca_cert: /etc/flink/tls/ca.crt
    client_cert: /etc/flink/tls/host.pem
    foreign_cert: /etc/bss/tls/host.pem
  register: verify_flink

- name: Check the cluster
  bss.platform.flink_verify:
    taskmanagers: {us-t1: 4, us-t2: 4}
    jobs:
      - name: order-totals
        sql_file: /opt/shop/order-totals.sql
    sql_gateway_url: https://us-f1:8083
    url: https://us-f1:8081
    ca_cert: /etc/flink/tls/ca.crt
    client_cert: /etc/flink/tls/host.pem
  register: verify_flink_cluster
"""

RETURN = r"""
passed:
  description: Whether no check failed.
  returned: always
  type: bool
  sample: true
results:
  description: What each check found, in the order in which they ran.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the check.
      type: str
      sample: flink_jobs_run
    proves:
      description: What holds when it passes.
      type: str
      sample: Declared jobs run with all of their tasks
    state:
      description: V(ok), V(failed), or V(standin) where a test stand-in proves nothing.
      type: str
      sample: ok
    detail:
      description: What was seen, or what is wrong.
      type: str
      sample: order-totals runs 12 tasks
    seconds:
      description: How long it took.
      type: float
      sample: 0.012
"""

import pwd
import socket
import stat
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils import tls
from ansible_collections.bss.platform.plugins.module_utils.checks import (
    Check,
    CheckFailed,
    as_returned,
    conclude,
    run_checks,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_declarations import (
    JOBS_OPTION,
    read_declarations,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_plan import plan
from ansible_collections.bss.platform.plugins.module_utils.flink_job_rules import Current
from ansible_collections.bss.platform.plugins.module_utils.flink_job_state import read_current
from ansible_collections.bss.platform.plugins.module_utils.flink_jobs import (
    Job,
    read_checkpoints,
    read_cluster,
    read_failures,
    read_taskmanagers,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_rest import (
    CONNECTION_OPTIONS,
    Api,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError
from ansible_collections.bss.platform.plugins.module_utils.systemd import require_active

INTERVALS = 3
"""Of checkpoints, within which one has to be completed."""

NEVER_MS = 2**62
"""Flink's interval of a job that makes checkpoints only when asked is longer than that."""

STORM = 5
"""Failures of a job within the time below that a restart of hosts does not explain."""

LATELY_S = 300

SILENCE_S = 2
"""Without an answer, after which a port counts as closed to us."""

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "host": {"type": "str"},
    "units": {"type": "list", "elements": "str"},
    "ports": {"type": "list", "elements": "int"},
    "foreign_cert": {"type": "path"},
    "certificate_days": {"type": "int", "default": 14},
    "metrics_ports": {"type": "list", "elements": "int"},
    "metrics_elsewhere": {"type": "list", "elements": "str", "default": []},
    "directories": {"type": "list", "elements": "path", "default": []},
    "user": {"type": "str", "default": "flink"},
    "taskmanagers": {"type": "dict"},
    "sql_gateway_url": {"type": "str"},
    "jobs": {**JOBS_OPTION, "default": []},
    **CONNECTION_OPTIONS,
}


class HostChecks:
    """The checks of the processes of one host."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._host = options["host"]

    def running(self) -> str:
        for unit in self._options["units"]:
            require_active(unit)
        version = read_cluster(Api(self._options)).version
        return f"{_listed(self._options['units'])} active, Flink {version} answers"

    def certificate(self) -> str:
        context = tls.client_context(self._options)
        days = min(
            tls.server_certificate_days_left(self._host, port, context)
            for port in self._options["ports"]
        )
        return tls.require_days(days, context, self._options["certificate_days"])

    def refuses_strangers(self) -> str:
        faults: list[str] = []
        for port in self._options["ports"]:
            faults += tls.strangers_taken(self._host, port, self._options)
        return conclude(faults, f"turned away at {_listed(self._options['ports'])}")

    def metrics_private(self) -> str:
        own, elsewhere = self._options["metrics_ports"], self._options["metrics_elsewhere"]
        for port in own:
            _require_metrics(port)
        with ThreadPoolExecutor(
            max_workers=32
        ) as pool:  # each that is closed takes its time to show
            opened = [*pool.map(_opens, elsewhere)]
        faults = [
            f"{address} opens to this host: see /etc/flink/metrics.nft there"
            for address, is_open in zip(elsewhere, opened, strict=True)
            if is_open
        ]
        others = f", none of {len(elsewhere)} ports of other hosts opens" if elsewhere else ""
        return conclude(faults, f"told at {_listed(own)}{others}")

    def state_private(self) -> str:
        user = pwd.getpwnam(self._options["user"])
        faults = []
        for directory in self._options["directories"]:
            found = Path(directory).stat()
            if found.st_uid != user.pw_uid:
                faults.append(f"{directory} belongs to user {found.st_uid}, not to {user.pw_name}")
            if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                faults.append(f"{directory} has mode {stat.S_IMODE(found.st_mode):04o}")
        directories = _listed(self._options["directories"])
        return conclude(faults, f"only {user.pw_name} enters {directories}")

    def checks(self) -> list[Check]:
        checks = [
            Check(
                "flink_running",
                "Flink's processes run, and the JobManager answers over verified mutual TLS",
                self.running,
            ),
            Check(
                "flink_certificate",
                "The certificates that Flink presents, and their authority, stay valid",
                self.certificate,
            ),
            Check(
                "flink_refuses_strangers",
                "Flink refuses clients without a certificate of its own authority",
                self.refuses_strangers,
            ),
            Check(
                "flink_metrics_private",
                "Metrics are told on the loopback and not to other hosts",
                self.metrics_private,
            ),
        ]
        if self._options["directories"]:
            checks.append(
                Check(
                    "flink_state_private",
                    "Checkpoints and savepoints are readable by Flink's user only",
                    self.state_private,
                )
            )
        return checks


class ClusterChecks:
    """The checks of a cluster, and of the jobs that are declared in it."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._api = Api(options)
        # What each run does anew says nothing of how the jobs are.
        self._declared = [
            replace(each, restart=False, take_savepoint=False)
            for each in read_declarations(options["jobs"])
        ]

    @cached_property
    def _current(self) -> Current:
        """Read by the first check that can; where none can, each says why."""
        return read_current(self._api, self._declared, None)[0]

    def sql_gateway(self) -> str:
        url = self._options["sql_gateway_url"].rstrip("/")
        return f"{self._api.get(f'{url}/v3/info')['productName']} at {url}"

    def taskmanagers(self) -> str:
        declared = {host: int(slots) for host, slots in self._options["taskmanagers"].items()}
        registered: Counter[str] = Counter()
        for each in read_taskmanagers(self._api):
            registered[each["id"].rpartition(":")[0]] += each["slots"]
        return conclude(
            taskmanager_faults(declared, registered),
            f"{len(declared)} TaskManagers, {sum(declared.values())} slots",
        )

    def jobs_as_declared(self) -> str:
        would_be = plan(self._current, self._declared, sys.maxsize, gateway=True)
        faults = [*map(str, would_be.refusals)]
        if would_be.sentences:
            faults.append(f"flink_job would {', '.join(would_be.sentences)}")
        return conclude(faults, _listed(each.name for each in self._declared))

    def jobs_run(self) -> str:
        live, faults = self._live()
        faults += [f"{name} does not run: {job}" for name, job in live.items() if not job.runs]
        return conclude(
            faults, _listed(f"{name} runs {job.tasks} tasks" for name, job in live.items())
        )

    def jobs_checkpoint(self) -> str:
        live, faults = self._live()
        seen = []
        for name, job in live.items():
            found = read_checkpoints(self._api, job.job_id)
            if not found.enabled or found.interval_ms > NEVER_MS:
                seen.append(f"{name} makes none by itself")
                continue
            limit = f"{INTERVALS} intervals are {INTERVALS * found.interval_ms / 1000:g} s"
            if found.latest_ms is None:  # also for a while after a JobManager has started anew
                since_ms = time.time() * 1000 - job.started_ms
                if since_ms <= INTERVALS * found.interval_ms:
                    seen.append(f"{name} started {since_ms / 1000:.0f} s ago")
                    continue
                faults.append(f"{name} has completed no checkpoint, {found.failed} have failed")
                continue
            age_ms = time.time() * 1000 - found.latest_ms
            said = f"the last checkpoint of {name} is {age_ms / 1000:.0f} s old"
            if age_ms > INTERVALS * found.interval_ms:
                faults.append(f"{said}, {limit}, {found.failed} have failed")
            seen.append(said)
        return conclude(faults, _listed(seen))

    def jobs_steady(self) -> str:
        live, faults = self._live()
        since_ms = round((time.time() - LATELY_S) * 1000)
        most = 0
        for name, job in live.items():
            failures = read_failures(self._api, job.job_id, since_ms)
            most = max(most, failures.count)
            if failures.count >= STORM:
                faults.append(
                    f"{name} failed {failures.count} times within {LATELY_S} s: {failures.cause}"
                )
        return conclude(faults, f"at most {most} failures of a job within {LATELY_S} s")

    def checks(self) -> list[Check]:
        checks = []
        if self._options["sql_gateway_url"]:
            checks.append(
                Check(
                    "flink_sql_gateway",
                    "The SQL Gateway answers over verified mutual TLS",
                    self.sql_gateway,
                )
            )
        checks.append(
            Check(
                "flink_taskmanagers",
                "All declared TaskManagers are registered with their slots",
                self.taskmanagers,
            )
        )
        if self._declared:
            checks += [
                Check(
                    "flink_jobs_as_declared",
                    "Declared jobs run what is declared",
                    self.jobs_as_declared,
                ),
                Check("flink_jobs_run", "Declared jobs run with all of their tasks", self.jobs_run),
                Check(
                    "flink_jobs_checkpoint",
                    "Declared jobs have completed a checkpoint within three intervals",
                    self.jobs_checkpoint,
                ),
                Check(
                    "flink_jobs_steady",
                    "Declared jobs do not fail again and again",
                    self.jobs_steady,
                ),
            ]
        return checks

    def _live(self) -> tuple[dict[str, Job], list[str]]:
        """The live jobs that are to run, by declared names; and a fault for each without one."""
        wanted = {
            each.name: self._current.jobs[each.name].job
            for each in self._declared
            if each.is_wanted
        }
        return (
            {name: job for name, job in wanted.items() if job is not None},
            [f"{name} does not run" for name, job in wanted.items() if job is None],
        )


def taskmanager_faults(declared: Mapping[str, int], registered: Mapping[str, int]) -> list[str]:
    """What is wrong with the TaskManagers: hosts and the slots that are registered of them."""
    faults = [
        f"the TaskManager of {host} has not registered"
        if host not in registered
        else f"{host} has {registered[host]} slots, declared are {slots}"
        for host, slots in declared.items()
        if registered.get(host) != slots
    ]
    strangers = ", ".join(sorted({*registered} - {*declared}))
    return [*faults, *([f"registered and not declared: {strangers}"] if strangers else [])]


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        mutually_exclusive=[("host", "taskmanagers")],
        required_one_of=[("host", "taskmanagers")],
        required_by={"host": ("units", "ports", "metrics_ports", "ca_cert", "client_cert")},
        supports_check_mode=True,
    )
    options = module.params
    try:
        checks: HostChecks | ClusterChecks = (
            HostChecks(options) if options["taskmanagers"] is None else ClusterChecks(options)
        )
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **as_returned(run_checks(checks.checks())))


def _require_metrics(port: int) -> None:
    """Raise CheckFailed where a port of the loopback tells no metrics. Raises OSError."""
    connection = HTTPConnection("localhost", port, timeout=tls.TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        if b"flink_" not in connection.getresponse().read():
            raise CheckFailed(f"localhost:{port} tells no metrics of Flink")
    finally:
        connection.close()


def _opens(address: str) -> bool:
    """Whether somebody takes a connection; who drops what comes does not say no."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), SILENCE_S).close()
    except OSError:
        return False
    return True


def _listed(things: Iterable[object]) -> str:
    return ", ".join(map(str, things))


if __name__ == "__main__":
    main()
