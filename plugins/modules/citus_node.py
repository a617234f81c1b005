#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: citus_node
short_description: Declare the nodes of a Citus cluster and where its shards may lie
version_added: 0.1.0
description:
  - Registers, moves, drains and removes the nodes of a Citus cluster, decides which of them may
    hold shards, and moves shards accordingly.
  - Nodes are declared one at a time or as a set (O(nodes)). A set is planned as a whole, and
    nothing is changed if any part of it is refused; all reasons are told at once.
  - Nodes that are not named are left alone.
  - It runs against the primary coordinator, on its host or from anywhere that can connect to it.
    Addresses are tried from the coordinator before anything is changed, so they have to be the
    ones by which the nodes reach each other.
  - Where Patroni runs the nodes, name all hosts of a group as O(members). Patroni keeps the
    addresses and the standbys of its groups in the catalog, and the module leaves both to it.
options:
  name:
    description:
      - Host name or address by which the other nodes reach this one.
      - Mutually exclusive with O(nodes).
    type: str
  port:
    description: Port of the node.
    type: int
    default: 5432
  group:
    description:
      - Group of the node. V(0) is the coordinator's, the others are workers'.
      - A node that is registered under another address than O(name) is found by its group, and
        its address is replaced in place, shards and all. Without a group, O(name) and O(port)
        are what identifies a node, and Citus chooses the group of a new one.
      - Required for a secondary, and with O(members).
    type: int
  role:
    description:
      - V(primary) holds shards. V(secondary) is a physical standby of its group's primary, for
        reading; failing over to it is not the module's.
      - A server that is declared V(primary) of a group which knows it as a secondary changes
        places with the primary. Promote it first.
    type: str
    choices: [primary, secondary]
    default: primary
  cluster:
    description:
      - Name of the cluster for reading that a secondary belongs to (C(citus.cluster_name) of the
        sessions that read from it). Primaries are always in V(default).
    type: str
    default: default
  members:
    description:
      - All hosts of the group, where Patroni runs them. Their port is O(port).
      - The group counts as registered when its primary is any of them, so a failover is no
        difference. If it is missing, the member that is the primary now is registered, which
        Patroni accepts as its own.
    type: list
    elements: str
    default: []
  shards:
    description:
      - Whether shards may be placed on the node. Shards that are on it already stay there until
        it is drained or the cluster is rebalanced.
      - Left as it is when not set. A new worker may hold shards, a new coordinator may not.
    type: bool
  state:
    description:
      - V(present) registers the node, activates it and syncs its metadata.
      - V(drained) does the same, lets no more shards be placed on it, and moves those that it
        holds to the other nodes, while they are read and written. Shards of other nodes that may
        hold none are moved away as well.
      - V(absent) removes it. Refused while it holds the only copy of any shard (drain it first),
        when no node that may hold shards would be left, and, with O(members), while the group's
        PostgreSQL still answers, since its Patroni would register it again.
    type: str
    choices: [present, absent, drained]
    default: present
  nodes:
    description: A set of nodes; each takes the options of a single one.
    type: list
    elements: dict
    suboptions:
      name:
        description: As O(name).
        type: str
        required: true
      port:
        description: As O(port).
        type: int
        default: 5432
      group:
        description: As O(group).
        type: int
      role:
        description: As O(role).
        type: str
        choices: [primary, secondary]
        default: primary
      cluster:
        description: As O(cluster).
        type: str
        default: default
      members:
        description: As O(members).
        type: list
        elements: str
        default: []
      shards:
        description: As O(shards).
        type: bool
      state:
        description: As O(state).
        type: str
        choices: [present, absent, drained]
        default: present
  coordinator_host:
    description:
      - Name by which the workers reach the coordinator; its port is the server's own.
      - The same as a node of group V(0), which can be used instead.
    type: str
  rebalance:
    description:
      - Spreads the shards over the nodes that may hold them, and copies reference tables to the
        nodes that lack them, after all else is done. V({}) takes the defaults.
      - A rebalance that runs already is waited for, not started twice.
    type: dict
    suboptions:
      strategy:
        description:
          - Name of a row in C(pg_dist_rebalance_strategy), such as V(by_disk_size) or
            V(by_shard_count). The cluster's default strategy if not set.
        type: str
      background:
        description:
          - Whether Citus moves the shards as a background job, which goes on when the connection
            is lost or O(timeout) has passed, and which tells its progress.
        type: bool
        default: true
  transfer_mode:
    description:
      - How shards are copied when they are moved. V(auto) uses logical replication and refuses
        tables without a primary key or replica identity; V(force_logical) takes those as well,
        with updates and deletes on them failing meanwhile; V(block_writes) makes writes to a
        shard wait while it is copied.
    type: str
    choices: [auto, force_logical, block_writes]
    default: auto
  timeout:
    description:
      - How long to wait for shards to be moved, in seconds.
      - When it has passed, the task fails; a background job goes on, and the same task joins it.
      - With V(0) a background job is started and not waited for. What depends on it is left for
        the next run; RV(rebalance) tells how far it is.
    type: int
    default: 3600
extends_documentation_fragment:
  - bss.platform.attributes
  - bss.platform.postgresql
seealso:
  - module: bss.platform.citus_info
  - module: bss.platform.citus_distributed_table
author:
  - The bss.platform contributors (@bss-platform)
"""

EXAMPLES = r"""
- name: Register the coordinator and three workers
  bss.platform.citus_node:
    login_unix_socket: /var/run/postgresql
    login_db: bss
    coordinator_host: us-c1
    nodes:
      - {name: us-w1, group: 1}
      - {name: us-w2, group: 2}
      - {name: us-w3, group: 3}

- name: Declare groups that Patroni runs, and spread the shards over them
  bss.platform.citus_node:
    login_unix_socket: /var/run/postgresql
    login_db: bss
    nodes:
      - {name: us-c1, group: 0, members: [us-c1, us-c1b], shards: false}
      - {name: us-w1, group: 1, members: [us-w1, us-w1b]}
      - {name: us-w2, group: 2, members: [us-w2]}
    rebalance: {}

- name: Register a standby for reading, where there is no Patroni
  bss.platform.citus_node:
    login_host: us-c1
    login_db: bss
    name: us-w1b
    group: 1
    role: secondary
    cluster: reports

- name: Replace the address of worker group 2, whose host has moved
  bss.platform.citus_node:
    login_host: us-c1
    login_db: bss
    name: us-w9
    group: 2

- name: Move all shards away from a worker, at most two hours long
  bss.platform.citus_node:
    login_host: us-c1
    login_db: bss
    name: us-w3
    group: 3
    state: drained
    timeout: 7200

- name: Remove the drained worker
  bss.platform.citus_node:
    login_host: us-c1
    login_db: bss
    name: us-w3
    group: 3
    state: absent

- name: Start to rebalance by number of shards
  bss.platform.citus_node:
    login_host: us-c1
    login_db: bss
    rebalance:
      strategy: by_shard_count
    timeout: 0

- name: Show how far the rebalance is until it ends
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
plan:
  description: What was done, or would be done in check mode, one sentence a step.
  returned: success
  type: list
  elements: str
  sample:
    - register us-w3:5432 as the primary of group 3
    - "rebalance in the background once the steps before are done"
diff:
  description:
    - The nodes that differ, before and after, by address, and the shards to move, by where they
      are moved from.
  returned: success
  type: dict
  contains:
    before:
      description: Nodes as they were.
      type: dict
      sample: {}
    after:
      description: Nodes as they are now, or would be.
      type: dict
      sample:
        us-w3:5432:
          name: us-w3
          port: 5432
          group: 3
          role: primary
          cluster: default
          active: true
          metadata_synced: true
          shards: true
queries:
  description: The statements that were sent to change something.
  returned: success
  type: list
  elements: str
  sample: ["SELECT citus_add_node('us-w3', 5432, groupid => 3)"]
nodes:
  description: All nodes of the cluster as they are now, or would be in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Host name or address.
      type: str
      sample: us-w3
    port:
      description: Port.
      type: int
      sample: 5432
    group:
      description: Group; null in check mode where Citus would choose it.
      type: int
      sample: 3
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
rebalance:
  description:
    - The background job that this task started or joined, or null. Others are told by
      M(bss.platform.citus_info).
  returned: success
  type: dict
  contains:
    job:
      description: Number of the job.
      type: int
      sample: 7
    state:
      description: V(scheduled), V(running), V(finished), or how else it ended.
      type: str
      sample: finished
    tasks:
      description: Steps of the job. A step moves a shard and those colocated with it.
      type: int
      sample: 6
    tasks_done:
      description: Steps that are done.
      type: int
      sample: 6
    trouble:
      description: The last error of a step that is being tried again, or null.
      type: str
      sample: null
    started_at:
      description: When it was started.
      type: str
      sample: "2025-01-31T10:15:30.123456+00:00"
    finished_at:
      description: When it finished, or null.
      type: str
      sample: "2025-01-31T10:17:02.654321+00:00"
"""

import re
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils import citus, citus_rebalance
from ansible_collections.bss.platform.plugins.module_utils.citus import Address, Node
from ansible_collections.bss.platform.plugins.module_utils.citus_node_plan import (
    Current,
    Desired,
    NodeSpec,
    Rebalance,
    plan,
    specs_of,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import Action, Plan, PlatformError
from ansible_collections.bss.platform.plugins.module_utils.postgresql import (
    CONNECTION_OPTIONS,
    Session,
    StatementFailed,
    connect,
)

NODE_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str"},
    "port": {"type": "int", "default": 5432},
    "group": {"type": "int"},
    "role": {"type": "str", "choices": ["primary", "secondary"], "default": "primary"},
    "cluster": {"type": "str", "default": "default"},
    "members": {"type": "list", "elements": "str", "default": []},
    "shards": {"type": "bool"},
    "state": {"type": "str", "choices": ["present", "absent", "drained"], "default": "present"},
}

OPTIONS: dict[str, dict[str, Any]] = {
    **NODE_OPTIONS,
    "nodes": {
        "type": "list",
        "elements": "dict",
        "options": {**NODE_OPTIONS, "name": {"type": "str", "required": True}},
    },
    "coordinator_host": {"type": "str"},
    "rebalance": {
        "type": "dict",
        "options": {
            "strategy": {"type": "str"},
            "background": {"type": "bool", "default": True},
        },
    },
    "transfer_mode": {
        "type": "str",
        "choices": ["auto", "force_logical", "block_writes"],
        "default": "auto",
    },
    "timeout": {"type": "int", "default": 3600},
    **CONNECTION_OPTIONS,
}

REMEDIES = (
    (
        r"connection to the remote node|not responsive|connection error|server closed",
        "make that node answer on the coordinator (its name, server, pg_hba and certificates)",
    ),
    (
        r"out of sync",
        "make sure that all nodes run; Citus syncs their metadata within seconds",
    ),
    (
        r"REPLICA IDENTITY|replica identity",
        "give the table a primary key or a replica identity, or set transfer_mode: block_writes",
    ),
    (
        r"not enough empty space",
        "free disk space there or add a worker, or lower "
        "citus.desired_percent_disk_available_after_move",
    ),
    (
        r"already running as job|could not acquire the lock required",
        "wait until the other operation on shards has finished; a rebalance is joined",
    ),
    (
        r"the only shard placement",
        "drain the node first (state: drained): it got shards meanwhile",
    ),
    (
        r"already has a primary node|already another node",
        "look at pg_dist_node: another session registered a node meanwhile",
    ),
    (
        r"prepared transactions are disabled|max_prepared_transactions",
        "set max_prepared_transactions above 0 on all nodes and restart them",
    ),
    (
        r"replication slots are in use|max_replication_slots|max_wal_senders|wal_level",
        "set wal_level to logical and raise max_replication_slots and max_wal_senders on the node",
    ),
)
"""What to do about errors that only show when a statement runs: pattern -> remedy."""


class StepFailed(PlatformError):
    """PostgreSQL refused a step of the plan."""


def declared(params: Mapping[str, Any]) -> Desired:
    """The task's declaration from the module's parameters."""
    items = params["nodes"] if params["nodes"] is not None else [params] if params["name"] else []
    return Desired(
        nodes=tuple(
            NodeSpec(
                address=Address(item["name"], item["port"]),
                group=item["group"],
                role=item["role"],
                cluster=item["cluster"],
                members=tuple(item["members"]),
                shards=item["shards"],
                state=item["state"],
            )
            for item in items
        ),
        coordinator_host=params["coordinator_host"],
        rebalance=None if params["rebalance"] is None else Rebalance(**params["rebalance"]),
        transfer_mode=params["transfer_mode"],
        timeout=params["timeout"],
    )


def read(session: Session, desired: Desired) -> Current:
    """What is there, as far as the declaration needs it."""
    coordinator = citus.read_coordinator(session)
    nodes = citus.read_nodes(session)
    specs = specs_of(desired, coordinator, nodes)
    serving = [node for node in nodes if node.is_primary and node.active]
    answers = citus.ask_nodes(session, _addresses_to_ask(specs, nodes))
    current = Current(coordinator, nodes, answers)
    if desired.moves_shards or any(not spec.is_wanted for spec in specs):
        current = replace(current, holdings=citus.read_holdings(session))
    if not desired.moves_shards:
        return current

    job = citus_rebalance.read_job(session)
    current = replace(current, strategies=citus_rebalance.read_strategies(session), job=job)
    if any(holding.movable for holding in current.holdings.values()):
        current = replace(
            current, without_identity=citus_rebalance.read_tables_without_identity(session)
        )
        # A running job changes what these say. Both ask the nodes for sizes, so a node that is
        # away would fail them.
        running = job is not None and job.running
        if not running and not any(current.answer(node.address).trouble for node in serving):
            current = replace(current, movable_bytes=citus.read_movable_bytes(session))
            strategy = desired.rebalance.strategy if desired.rebalance else None
            known = strategy is None or strategy in current.strategies
            if desired.rebalance and known and any(node.shards for node in serving):
                current = replace(current, moves=citus_rebalance.read_moves(session, strategy))
    if desired.rebalance:
        tables, gaps = citus_rebalance.read_reference_gaps(session)
        current = replace(current, reference_tables=tables, reference_gaps=gaps)
    return current


def _addresses_to_ask(specs: Iterable[NodeSpec], nodes: Iterable[Node]) -> list[Address]:
    """The nodes that serve, and every declared address that is to become one of them."""
    asked = {node.address for node in nodes if node.is_primary and node.active}
    primaries = {node.group: node.address for node in nodes if node.is_primary}
    roles = {node.address: node.role for node in nodes}
    for spec in specs:
        if spec.members and spec.is_wanted and spec.group in primaries:
            asked.add(primaries[spec.group])
        elif spec.members and (spec.is_wanted or spec.group in primaries):
            asked.update(spec.addresses)
        elif spec.is_wanted and (spec.is_primary or roles.get(spec.address) != spec.role):
            asked.add(spec.address)
    return sorted(asked)


def apply(session: Session, steps: Plan, desired: Desired) -> int | None:
    """Do the steps in order; with timeout 0 up to the first job that is not waited for.

    Returns the job that was started or joined, the last one where there were two. Raises
    StepFailed, or what follow_job raises. The same task goes on from there.
    """
    deadline = time.monotonic() + desired.timeout
    last_job = None
    for done, action in enumerate(steps.actions):
        try:
            job = _apply_one(session, action, desired, deadline)
        except StatementFailed as error:
            if error.sqlstate == citus_rebalance.QUERY_CANCELED and action.options:
                raise citus_rebalance.RebalanceUnfinished(
                    f"To {action.sentence} took longer than the timeout of {desired.timeout} s "
                    "and was stopped. What had been moved stays moved and every shard is whole. "
                    "Run the same task again, with more timeout, to move the rest."
                ) from error
            text = str(error)
            remedy = next(
                (remedy for pattern, remedy in REMEDIES if re.search(pattern, text)),
                "mend what PostgreSQL says",
            )
            before = ", ".join(steps.sentences[:done]) or "nothing"
            raise StepFailed(
                f"Asked to {action.sentence}: {text}. Done before: {before}. To go on: {remedy}, "
                "then run the same task again: it goes on from here."
            ) from error
        last_job = last_job if job is None else job
        if job is not None and desired.timeout == 0:
            break
    return last_job


def _apply_one(session: Session, action: Action, desired: Desired, deadline: float) -> int | None:
    """Do one step; the job that it started or joined, which runs on where timeout is 0."""
    kind = action.options.get("moves_shards")
    if kind == "foreground":
        if desired.timeout == 0:
            session.execute(action.statement, action.parameters)
        else:
            with citus_rebalance.statement_timeout(session, deadline - time.monotonic()):
                session.execute(action.statement, action.parameters)
        return None
    if kind == "join":
        job: int | None = action.parameters[0]
    else:
        rows = session.execute(action.statement, action.parameters)
        job = rows[0]["job"] if kind == "background" else None
    if job is not None and desired.timeout != 0:
        citus_rebalance.follow_job(session, job, deadline)
    return job


def run(module: AnsibleModule) -> dict[str, Any]:
    desired = declared(module.params)
    with closing(connect(module.params)) as session:
        current = read(session, desired)
        steps = plan(current, desired)
        steps.raise_if_refused()
        nodes = steps.nodes
        # One that ended before this task says nothing of it.
        job = current.job if current.job is not None and current.job.running else None
        if steps.changed and not module.check_mode:
            job_id = apply(session, steps, desired)
            nodes = citus.read_nodes(session)
            job = None if job_id is None else citus_rebalance.read_job(session, job_id)
        return {
            "changed": steps.changed,
            "plan": steps.sentences,
            "diff": steps.diff,
            "queries": session.sent,
            "nodes": [node.facts() for node in nodes],
            "rebalance": job and job.facts(),
        }


def main() -> None:
    module = AnsibleModule(
        argument_spec=OPTIONS,
        mutually_exclusive=[("name", "nodes")],
        required_one_of=[("name", "nodes", "coordinator_host", "rebalance")],
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
