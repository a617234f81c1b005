#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: citus_info
short_description: Read what a Citus cluster consists of
version_added: 0.1.0
description:
  - Returns the nodes, the tables, where their shards lie, which tables are colocated, and how far
    a rebalance is. Changes nothing.
  - Any node answers, since each has the metadata; only the coordinator knows of rebalances.
  - Warns when Citus is the test stand-in, which does not distribute data.
options:
  sizes:
    description:
      - Whether to ask the nodes how large their shards are. Without it nothing but the catalog of
        the one server is read.
      - The sizes of shards on a node that does not answer are null.
    type: bool
    default: true
extends_documentation_fragment:
  - bss.platform.attributes.info
  - bss.platform.postgresql
seealso:
  - module: bss.platform.citus_node
  - module: bss.platform.citus_distributed_table
author:
  - The bss.platform contributors (@bss-platform)
"""

EXAMPLES = r"""
- name: Read the cluster
  bss.platform.citus_info:
    login_unix_socket: /var/run/postgresql
    login_db: bss
  register: citus

- name: Show how many bytes each node holds
  ansible.builtin.debug:
    msg: "{{ citus.shards | items2dict(key_name='name', value_name='bytes') }}"

- name: Wait until no rebalance runs, and show its progress meanwhile
  bss.platform.citus_info:
    login_host: us-c1
    login_db: bss
    sizes: false
  register: citus
  until: citus.rebalance is none or citus.rebalance.state not in ['scheduled', 'running']
  retries: 360
  delay: 10
"""

RETURN = r"""
version:
  description: Version of Citus that the server runs, as it calls itself.
  returned: success
  type: str
  sample: 13.2.2
standin:
  description: Whether it is the test stand-in, which does not distribute data.
  returned: success
  type: bool
  sample: false
nodes:
  description: All nodes, by group, the primary first.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Host name or address.
      type: str
      sample: us-w1
    port:
      description: Port.
      type: int
      sample: 5432
    group:
      description: Group; V(0) is the coordinator's.
      type: int
      sample: 1
    role:
      description: V(primary) or V(secondary).
      type: str
      sample: primary
    cluster:
      description: Name of the cluster for reading.
      type: str
      sample: default
    active:
      description: Whether queries are sent to it.
      type: bool
      sample: true
    metadata_synced:
      description: Whether it has the metadata, so that it answers queries by itself.
      type: bool
      sample: true
    shards:
      description: Whether shards may be placed on it.
      type: bool
      sample: true
tables:
  description: All tables that Citus knows, by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name, with its schema where the search path needs it.
      type: str
      sample: orders
    type:
      description: V(distributed), V(reference), V(local), or V(schema) (of a distributed schema).
      type: str
      sample: distributed
    column:
      description: Distribution column, or null where there is none.
      type: str
      sample: customer_id
    colocation_id:
      description: Colocation group; V(0) where there is none.
      type: int
      sample: 1
    shard_count:
      description: Number of shards.
      type: int
      sample: 6
    bytes:
      description: Size of all copies of all shards, or null where it is not known.
      type: int
      sample: 73400320
shards:
  description: What the primary of each group holds, nodes without shards included.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Host name or address of the primary.
      type: str
      sample: us-w1
    port:
      description: Its port.
      type: int
      sample: 5432
    group:
      description: Group.
      type: int
      sample: 1
    count:
      description: Number of shards, copies of reference tables included.
      type: int
      sample: 6
    bytes:
      description: Their size, or null where it is not known.
      type: int
      sample: 24466773
colocation_groups:
  description: Tables whose shards lie together, by number of the group.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Number of the colocation group.
      type: int
      sample: 1
    type:
      description: Type of its tables, as in RV(tables[].type).
      type: str
      sample: distributed
    shard_count:
      description: Number of shards that each of its tables has.
      type: int
      sample: 6
    tables:
      description: Names of its tables.
      type: list
      elements: str
      sample: [customers, orders]
rebalance:
  description: The latest rebalance in the background, or null where there was none.
  returned: success
  type: dict
  contains:
    job:
      description: Number of the job.
      type: int
      sample: 7
    state:
      description:
        - V(scheduled), V(running), V(cancelling), V(failing), V(finished), V(cancelled) or
          V(failed).
      type: str
      sample: running
    tasks:
      description: Steps of the job. A step moves a shard and those colocated with it.
      type: int
      sample: 6
    tasks_done:
      description: Steps that are done.
      type: int
      sample: 2
    trouble:
      description: The last error of a step that failed or is being tried again, or null.
      type: str
      sample: null
    started_at:
      description: When it was started.
      type: str
      sample: "2025-01-31T10:15:30.123456+00:00"
    finished_at:
      description: When it ended, or null.
      type: str
      sample: null
"""

from collections.abc import Iterable
from contextlib import closing
from itertools import groupby
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils import citus
from ansible_collections.bss.platform.plugins.module_utils.citus import Node, Placement
from ansible_collections.bss.platform.plugins.module_utils.citus_rebalance import read_job
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError
from ansible_collections.bss.platform.plugins.module_utils.postgresql import (
    CONNECTION_OPTIONS,
    connect,
)

OPTIONS: dict[str, dict[str, Any]] = {
    "sizes": {"type": "bool", "default": True},
    **CONNECTION_OPTIONS,
}


def tables_of(placements: Iterable[Placement]) -> list[dict[str, Any]]:
    """The tables; placements come table by table."""
    tables = []
    for name, group in groupby(placements, key=lambda placement: placement.table):
        parts = list(group)
        first = parts[0]
        tables.append(
            {
                "name": name,
                "type": first.type,
                "column": first.column,
                "colocation_id": first.colocation_id,
                "shard_count": first.table_shards,
                "bytes": _sum(part.bytes for part in parts),
            }
        )
    return tables


def shards_of(nodes: Iterable[Node], placements: Iterable[Placement]) -> list[dict[str, Any]]:
    """What each primary holds."""
    held = list(placements)
    return [
        {
            "name": node.address.name,
            "port": node.address.port,
            "group": node.group,
            "count": sum(part.shards for part in held if part.group == node.group),
            "bytes": _sum(part.bytes for part in held if part.group == node.group),
        }
        for node in nodes
        if node.is_primary
    ]


def colocation_groups_of(tables: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tables by colocation group; those of group 0 are not colocated with any."""
    colocated = sorted((t for t in tables if t["colocation_id"]), key=lambda t: t["colocation_id"])
    groups = []
    for colocation_id, members in groupby(colocated, key=lambda table: table["colocation_id"]):
        tables_in_group = list(members)
        groups.append(
            {
                "id": colocation_id,
                "type": tables_in_group[0]["type"],
                "shard_count": tables_in_group[0]["shard_count"],
                "tables": [table["name"] for table in tables_in_group],
            }
        )
    return groups


def _sum(sizes: Iterable[int | None]) -> int | None:
    """The sum; None when any part is not known."""
    known = list(sizes)
    return None if None in known else sum(size for size in known if size is not None)


def run(module: AnsibleModule) -> dict[str, Any]:
    with closing(connect(module.params)) as session:
        version = citus.read_version(session)
        nodes = citus.read_nodes(session)
        placements = citus.read_placements(session, module.params["sizes"])
        job = read_job(session)
    if citus.is_standin(version):
        module.warn(
            f"{session.name} runs a test stand-in for Citus: its tables are not distributed. "
            "Install the real extension before you rely on anything read here."
        )
    tables = tables_of(placements)
    return {
        "changed": False,
        "version": version.split()[1],
        "standin": citus.is_standin(version),
        "nodes": [node.facts() for node in nodes],
        "tables": tables,
        "shards": shards_of(nodes, placements),
        "colocation_groups": colocation_groups_of(tables),
        "rebalance": job and job.facts(),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    try:
        result = run(module)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
