#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What one host can tell of itself and of what runs on it, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_status
short_description: Reads how a host is, and what runs on it
description:
  - Returns uptime, load, memory, disks, units, days left of certificates, and what Patroni,
    PostgreSQL and etcd on this host say. Changes nothing.
  - Asks nobody but this host, so that one that is lost costs no other any time.
  - What does not answer has RV(patroni.trouble) or the like, and does not fail the module.
    M(bss.platform.status_report) shows the results of all hosts.
  - Runs as root, since it reads certificates and asks PostgreSQL by its socket as C(postgres).
version_added: 0.4.0
author: the bss.platform contributors
options:
  name:
    description: This host's name, by which its Patroni knows it.
    type: str
    required: true
  units:
    description: Units of systemd that are to run here.
    type: list
    elements: str
    default: []
  certificates:
    description: Files with certificates, by a name to show. Of a file with several, the first.
    type: dict
    default: {}
  patroni_url:
    description: Patroni's REST API, where this host has one.
    type: str
  etcd_url:
    description: Where clients reach the member of etcd, where this host has one.
    type: str
  database:
    description:
      - Name of the database that has Citus, where this host has a PostgreSQL.
      - The primary of group 0 tells of all nodes and shards, by its own catalog.
    type: str
  database_port:
    description: Port of that PostgreSQL, which is part of its socket's name.
    type: int
    default: 5432
  ca_cert:
    description: File with the certificate authority of Patroni and etcd.
    type: path
  client_cert:
    description: File with the certificate to show them, and its key.
    type: path
extends_documentation_fragment:
  - bss.platform.attributes.info
"""

EXAMPLES = r"""
- name: Read how a worker is
  bss.platform.host_status:
    name: us-w1
    units: [patroni]
    certificates: {host: /etc/bss/tls/host.pem}
    patroni_url: https://us-w1:8008
    database: bss
    ca_cert: /etc/bss/tls/ca.crt
    client_cert: /etc/bss/tls/host.pem
  become: true
  register: status_host
"""

RETURN = r"""
uptime_s:
  description: Seconds since the host was started.
  returned: always
  type: int
  sample: 7260
load:
  description: Processes that ran or waited to run, over the last minute, by core.
  returned: always
  type: float
  sample: 0.35
memory_percent:
  description: How much of the memory is taken, without what the kernel gives back at need.
  returned: always
  type: int
  sample: 41
disks:
  description: File systems on disks of this host; not those of the network.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: Where it is mounted.
      type: str
      sample: /
    used_percent:
      description: How full it is, for who is not root.
      type: int
      sample: 48
    free_bytes:
      description: What is left.
      type: int
      sample: 41203548160
units:
  description: State of each unit, in systemd's words, by name.
  returned: always
  type: dict
  sample: {patroni: active}
certificates:
  description: Each certificate, by its name.
  returned: always
  type: dict
  contains: &trouble
    trouble:
      description: Why there is no answer; nothing else is there then.
      type: str
      sample: "[Errno 111] Connection refused"
  sample: {host: {days_left: 89.3}}
patroni:
  description: What Patroni says of its member.
  returned: when O(patroni_url) is set
  type: dict
  contains:
    <<: *trouble
    role:
      description: V(primary), V(replica), V(sync_standby) and others.
      type: str
      sample: primary
    state:
      description: V(running) of a primary, V(streaming) of a standby that follows, and others.
      type: str
      sample: running
    timeline:
      description: Timeline of its WAL.
      type: int
      sample: 3
    lag_bytes:
      description: Of a standby, bytes of WAL that it has not replayed; null where not known.
      type: int
      sample: 0
    pending_restart:
      description: Whether settings wait for a restart.
      type: bool
      sample: false
    paused:
      description: Whether failover is paused.
      type: bool
      sample: false
    failsafe:
      description: Whether the quorum is lost and the group goes on without it.
      type: bool
      sample: false
etcd:
  description: What the member of etcd says.
  returned: when O(etcd_url) is set
  type: dict
  contains:
    <<: *trouble
    healthy:
      description: Whether it is well, and sees a leader.
      type: bool
      sample: true
database:
  description: What PostgreSQL says.
  returned: when O(database) is set
  type: dict
  contains:
    <<: *trouble
    standby:
      description: Whether it is in recovery.
      type: bool
      sample: false
    connections:
      description: Clients that are connected.
      type: int
      sample: 12
    max_connections:
      description: How many it takes.
      type: int
      sample: 200
    prepared:
      description: Prepared transactions.
      type: int
      sample: 0
    prepared_age_s:
      description: Seconds since the oldest of them was prepared; 0 where there is none.
      type: int
      sample: 0
    bytes:
      description: Size of the database.
      type: int
      sample: 31457280
citus:
  description: What the catalog of Citus says.
  returned: on the primary of group 0
  type: dict
  contains:
    version:
      description: Version of the extension.
      type: str
      sample: 13.2-1
    tables:
      description: Tables that Citus knows.
      type: int
      sample: 6
    nodes:
      description: Nodes, by group; the fields as those of M(bss.platform.citus_info).
      type: list
      elements: dict
      sample:
        - {name: us-w1, group: 1, role: primary, active: true, metadata_synced: true, shards: true}
    placements:
      description: Shards that the nodes of each group hold, by number of the group as a string.
      type: dict
      sample: {"1": 24}
    rebalance:
      description: The rebalance that runs or waits, or null.
      type: dict
      sample: {state: running, tasks: 6, tasks_done: 2}
"""

import json
import os
import re
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from glob import glob
from http.client import HTTPException
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils import tls
from ansible_collections.bss.platform.plugins.module_utils.checks import one_line
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

TIMEOUT_S = 5
# That of the network may be lost, and who asks it then waits.
DISK_TYPES = ("btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "xfs", "zfs")

DATABASE_SQL = """
SELECT jsonb_build_object(
         'standby', pg_is_in_recovery(),
         'connections', (SELECT count(*) FROM pg_stat_activity
                          WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
         'max_connections', current_setting('max_connections')::int,
         'prepared', (SELECT count(*) FROM pg_prepared_xacts),
         'prepared_age_s', (SELECT coalesce(extract(epoch FROM max(now() - prepared)), 0)::bigint
                              FROM pg_prepared_xacts),
         'bytes', pg_database_size(current_database()))
"""

# Nothing here asks another node: one that is lost would be waited for.
CITUS_SQL = """
SELECT jsonb_build_object(
         'version', (SELECT extversion FROM pg_extension WHERE extname = 'citus'),
         'tables', (SELECT count(*) FROM pg_dist_partition),
         'nodes', (SELECT jsonb_agg(jsonb_build_object(
                                     'name', nodename, 'group', groupid, 'role', noderole,
                                     'active', isactive,
                                     'metadata_synced', metadatasynced AND hasmetadata,
                                     'shards', shouldhaveshards) ORDER BY groupid, noderole)
                     FROM pg_dist_node),
         'placements', (SELECT coalesce(jsonb_object_agg(groupid, shards), '{}')
                          FROM (SELECT groupid, count(*) AS shards FROM pg_dist_placement
                                 GROUP BY groupid) AS held),
         'rebalance', (SELECT jsonb_build_object(
                                'state', state, 'tasks', count(task_id),
                                'tasks_done', count(*) FILTER (WHERE status = 'done'))
                         FROM pg_dist_background_job
                         LEFT JOIN pg_dist_background_task USING (job_id)
                        WHERE state NOT IN ('finished', 'cancelled', 'failed')
                        GROUP BY job_id, state ORDER BY job_id DESC LIMIT 1))
  FROM pg_dist_local_group
 WHERE groupid = 0 AND NOT pg_is_in_recovery()
"""

PEM = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
SEQUENCE = 0x30
# UTCTime and GeneralizedTime, and how they are written.
TIMES = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}
DAY_S = 86_400

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "units": {"type": "list", "elements": "str", "default": []},
    "certificates": {"type": "dict", "default": {}},
    "patroni_url": {"type": "str"},
    "etcd_url": {"type": "str"},
    "database": {"type": "str"},
    "database_port": {"type": "int", "default": 5432},
    "ca_cert": {"type": "path"},
    "client_cert": {"type": "path"},
}


class NoAnswer(PlatformError):
    """A program that was asked has failed; the text is its own."""


def run(options: Mapping[str, Any]) -> dict[str, Any]:
    """All that the host tells. Nothing that is lost raises."""
    found: dict[str, Any] = {
        "uptime_s": uptime_s(Path("/proc/uptime").read_text()),
        "load": round(os.getloadavg()[0] / (os.cpu_count() or 1), 2),
        "memory_percent": memory_percent(Path("/proc/meminfo").read_text()),
        "disks": disks(Path("/proc/self/mounts").read_text()),
        "units": units(options["units"]),
        "certificates": {
            name: attempt(certificate, path) for name, path in options["certificates"].items()
        },
    }
    if options["patroni_url"]:
        found["patroni"] = attempt(patroni, options)
    if options["etcd_url"]:
        found["etcd"] = attempt(etcd, options)
    if options["database"]:
        found |= attempt(database, options, named="database")
    return found


def attempt(
    read: Callable[[Any], dict[str, Any]], argument: Any, named: str = ""
) -> dict[str, Any]:
    """What was read; why it was not, where it was not, as part ``named`` if one is given."""
    try:
        return read(argument)
    except (
        *(PlatformError, OSError, ValueError, LookupError),
        *(HTTPException, subprocess.SubprocessError),
    ) as error:
        trouble = {"trouble": one_line(str(error)) or type(error).__name__}
        return {named: trouble} if named else trouble


def uptime_s(text: str) -> int:
    """Of /proc/uptime."""
    return int(float(text.split()[0]))


def memory_percent(text: str) -> int:
    """Of /proc/meminfo."""
    amounts = {name: int(kib) for name, kib in re.findall(r"^(\w+): +(\d+)", text, re.MULTILINE)}
    return round(100 * (1 - amounts["MemAvailable"] / amounts["MemTotal"]))


def disks(mounts: str) -> list[dict[str, Any]]:
    """The file systems of /proc/mounts that are on disks, each once, the fullest first."""
    found: dict[int, dict[str, Any]] = {}
    for line in mounts.splitlines():
        _device, escaped, kind, *_ = line.split()
        path = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), escaped)
        # A container has single files of its machine mounted.
        if kind not in DISK_TYPES or not os.path.isdir(path):
            continue
        said = os.statvfs(path)
        usable = said.f_blocks - said.f_bfree + said.f_bavail
        if usable:
            found.setdefault(
                os.stat(path).st_dev,
                {
                    "path": path,
                    "used_percent": round(100 * (1 - said.f_bavail / usable)),
                    "free_bytes": said.f_bavail * said.f_frsize,
                },
            )
    return sorted(found.values(), key=lambda disk: disk["used_percent"], reverse=True)


def units(names: Sequence[str]) -> dict[str, str]:
    """The state of each unit."""
    said: list[str] = []
    if names:
        with suppress(NoAnswer, OSError):
            said = _output("systemctl", "is-active", *names, may_fail=True).split()
    return dict(zip_longest(names, said[: len(names)], fillvalue="unknown"))


def certificate(path: str) -> dict[str, Any]:
    """When the first certificate of a file ends."""
    if not os.path.exists(path):
        raise NoAnswer(f"{path} is missing")
    found = PEM.search(Path(path).read_text())
    if found is None:
        raise NoAnswer(f"{path} has no certificate")
    return {
        "days_left": round((not_after(ssl.PEM_cert_to_DER_cert(found[0])) - time.time()) / DAY_S, 1)
    }


def not_after(der: bytes) -> float:
    """When a certificate ends (X.509, RFC 5280), in seconds since 1970.

    A program to tell it takes longer to start than all else here together.
    """
    _tag, begin, _end = _element(der, 0)  # the certificate
    _tag, at, _end = _element(der, begin)  # what of it is signed
    while True:
        tag, begin, end = _element(der, at)
        # The validity is the first that has two times in it.
        if tag == SEQUENCE and der[begin] in TIMES:
            break
        at = end
    _tag, _begin, at = _element(der, begin)  # not before
    tag, begin, end = _element(der, at)
    moment = datetime.strptime(der[begin:end].decode(), TIMES[tag])
    return moment.replace(tzinfo=UTC).timestamp()


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """The tag of the element there, where what it holds begins, and where it ends."""
    length, begin = der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, begin = int.from_bytes(der[begin : begin + count], "big"), begin + count
    return der[at], begin, begin + length


def patroni(options: Mapping[str, Any]) -> dict[str, Any]:
    status = _ask(options, f"{options['patroni_url']}/patroni")
    found = {
        "role": status.get("role", "unknown"),
        "state": status.get("replication_state") or status.get("state", "unknown"),
        "timeline": status.get("timeline"),
        "lag_bytes": None,
        "pending_restart": bool(status.get("pending_restart")),
        "paused": bool(status.get("pause")),
        "failsafe": bool(status.get("failsafe_mode_is_active")),
    }
    if found["role"] == "primary":
        return found
    # How far it is behind, the group tells. Patroni asks etcd for it, which may be lost.
    group = attempt(lambda url: _ask(options, url), f"{options['patroni_url']}/cluster")
    members = group.get("members", [])
    own: Mapping[str, Any] = next((each for each in members if each["name"] == options["name"]), {})
    lag = own.get("replay_lag", own.get("lag"))
    return found | {
        "role": own.get("role", found["role"]),
        "lag_bytes": lag if isinstance(lag, int) else None,
    }


def etcd(options: Mapping[str, Any]) -> dict[str, Any]:
    said = _ask(options, f"{options['etcd_url']}/health")
    return {"healthy": str(said.get("health")).lower() == "true"}


def database(options: Mapping[str, Any]) -> dict[str, Any]:
    # Not Debian's program of that name, which is slow to find this one.
    psql = max(glob("/usr/lib/postgresql/*/bin/psql"), default="psql")
    said = _output(
        psql,
        *("--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--quiet"),
        *("--command", DATABASE_SQL, "--command", CITUS_SQL),
        user="postgres",
        environment={
            "PGHOST": "/var/run/postgresql",
            "PGPORT": str(options["database_port"]),
            "PGDATABASE": options["database"],
            "PGCONNECT_TIMEOUT": str(TIMEOUT_S),
            "PGOPTIONS": f"-c statement_timeout={TIMEOUT_S}s",
        },
        may_fail=True,  # without the extension, the second statement does
    )
    answers = [json.loads(line) for line in said.splitlines()]
    return dict(zip(("database", "citus"), answers, strict=False))


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    module.exit_json(changed=False, **run(module.params))


def _ask(options: Mapping[str, Any], url: str) -> dict[str, Any]:
    """What a service answers, also when it says that it is not well."""
    context = tls.client_context({**options, "client_key": None})
    said: dict[str, Any] = json.loads(tls.get(url, context).body)
    return said


def _output(
    *command: str,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
    may_fail: bool = False,
) -> str:
    """What a program prints. Raises NoAnswer with its own words, if it prints nothing else.

    ``may_fail``: what it prints counts whatever its exit status says.
    """
    answer = subprocess.run(
        command,
        user=user,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
        cwd="/",  # one that every user may enter
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT_S,
        check=False,
    )
    if answer.returncode and not (may_fail and answer.stdout.strip()):
        raise NoAnswer(
            f"{os.path.basename(command[0])}: {one_line(answer.stderr) or answer.returncode}"
        )
    return answer.stdout


if __name__ == "__main__":
    main()
