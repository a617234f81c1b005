# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What citus_node plans and refuses, and what its main() sends."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils import citus_rebalance
from ansible_collections.bss.platform.plugins.module_utils.citus import (
    Address,
    Answer,
    Coordinator,
    Holding,
    Node,
)
from ansible_collections.bss.platform.plugins.module_utils.citus_node_plan import (
    Current,
    Desired,
    NodeSpec,
    Rebalance,
    plan,
)
from ansible_collections.bss.platform.plugins.module_utils.citus_rebalance import Job, Move
from ansible_collections.bss.platform.plugins.module_utils.postgresql import (
    ConnectionLost,
    StatementFailed,
)
from ansible_collections.bss.platform.plugins.modules import citus_node

RunMain = Callable[..., dict[str, Any]]
Step = tuple[str, Any, Sequence[str]]
GIB = 1024**3
COORDINATOR = Coordinator("Citus 13.2.2 on x86_64", 5432, "bss", "started us-c1")


def step(contains: str, answer: Any = (), warnings: Sequence[str] = ()) -> Step:
    """A statement that has to be sent next, and what comes back."""
    return contains, answer, warnings


def at(name: str) -> Address:
    return Address(name, 5432)


def node(name: str, group: int, **changes: Any) -> Node:
    whole = Node(
        node_id=group + 1,
        group=group,
        address=at(name),
        role="primary",
        cluster="default",
        active=True,
        metadata_synced=True,
        shards=group != 0,
    )
    return replace(whole, **changes)


def answer(name: str, group: int = 0, **changes: Any) -> Answer:
    whole = Answer(
        group=group, started=f"started {name}", coordinator=at("us-c1"), free_bytes=10 * GIB
    )
    return replace(whole, **changes)


FRESH = {name: answer(name, coordinator=None) for name in ("us-w4", "us-w5")}
AWAY = Answer(trouble="Connection refused")
UNKNOWN = Answer(trouble='could not translate host name "us-w9" to address')


def cluster(*nodes: Node, answers: dict[str, Answer] | None = None, **changes: Any) -> Current:
    """A healthy coordinator us-c1 and workers us-w1, us-w2, us-w3, or the given nodes."""
    there = nodes or (node("us-c1", 0), *(node(f"us-w{group}", group) for group in (1, 2, 3)))
    said = {n.address: answer(n.address.name, n.group or 0) for n in there if n.is_primary}
    said |= {at(name): each for name, each in {**FRESH, **(answers or {})}.items()}
    whole = Current(COORDINATOR, there, said, strategies=("by_disk_size", "by_shard_count"))
    return replace(whole, **changes)


def spec(name: str, group: int | None = None, **options: Any) -> NodeSpec:
    return NodeSpec(at(name), group, **options)


def desired(*nodes: NodeSpec, **options: Any) -> Desired:
    return Desired(nodes, **options)


SHARDED = {1: Holding(4, 4, 1), 2: Holding(4, 4, 1), 3: Holding(4, 4, 1)}
TO_W3 = tuple(Move("orders", at(source), at("us-w3")) for source in ("us-w1", "us-w1", "us-w2"))
RUNNING = Job(7, "running", 6, 2, None, None, None)
EMPTY = Current(
    COORDINATOR,
    (),
    {at("us-c1"): answer("us-c1", coordinator=None)}
    | {at(name): said for name, said in FRESH.items()},
)
SECONDARY = node("us-w1b", 1, node_id=9, role="secondary", cluster="eu", metadata_synced=False)


@pytest.mark.parametrize(
    ("there", "wanted", "sentences"),
    [
        pytest.param(cluster(), desired(), [], id="nothing declared"),
        pytest.param(
            cluster(),
            desired(spec("us-c1", 0), spec("us-w1", 1), spec("us-w2"), coordinator_host="us-c1"),
            [],
            id="unchanged",
        ),
        pytest.param(
            EMPTY,
            desired(spec("us-w4", 1), spec("us-w5", shards=False), coordinator_host="us-c1"),
            [
                "make us-c1:5432 the address of the coordinator",
                "register us-w4:5432 as the primary of group 1",
                "register us-w5:5432 as a worker",
                "place no more shards on us-w5:5432",
            ],
            id="a new cluster, the coordinator first",
        ),
        pytest.param(
            EMPTY,
            desired(spec("us-w4", 1), spec("us-c1", 0)),
            [
                "make us-c1:5432 the address of the coordinator",
                "register us-w4:5432 as the primary of group 1",
            ],
            id="the coordinator first, wherever it is listed",
        ),
        pytest.param(
            cluster(answers={"us-w4": answer("us-w4", 3)}),
            desired(spec("us-w4", 4)),
            ["register us-w4:5432 as the primary of group 4"],
            id="a server that was removed, its group's number given to another",
        ),
        pytest.param(
            cluster(node("us-c0", 0), answers={"us-c1": answer("us-c1")}),
            desired(coordinator_host="us-c1"),
            [
                "make us-c1:5432 the address of the coordinator",
                "sync the metadata to all nodes",
            ],
            id="the coordinator's address has changed",
        ),
        pytest.param(
            cluster(),
            desired(spec("us-w1", 1, shards=False), spec("us-c1", 0, shards=True)),
            ["place no more shards on us-w1:5432", "let shards be placed on us-c1:5432"],
            id="shards off and on",
        ),
        pytest.param(
            cluster(node("us-c1", 0), node("us-w1", 1, active=False)),
            desired(spec("us-w1", 1)),
            ["activate us-w1:5432"],
            id="disabled",
        ),
        pytest.param(
            cluster(node("us-c1", 0), node("us-w1", 1, metadata_synced=False)),
            desired(spec("us-w1", 1)),
            ["sync the metadata to all nodes"],
            id="metadata not synced",
        ),
        pytest.param(
            cluster(
                node("us-c1", 0),
                node("us-w1", 1, metadata_synced=False),
                answers={"us-w1": AWAY},
            ),
            desired(spec("us-w1", 1)),
            [],
            id="metadata not synced to a node that is away: Citus does it when it is back",
        ),
        pytest.param(
            cluster(answers={"us-w2": AWAY, "us-w9": answer("us-w9", 2)}),
            desired(spec("us-w9", 2), spec("us-w4", 4)),
            [
                "replace the address of group 2's primary: us-w2:5432 -> us-w9:5432",
                "sync the metadata to all nodes",
                "register us-w4:5432 as the primary of group 4",
            ],
            id="a host has moved, before anything else",
        ),
        pytest.param(
            cluster(answers={"us-w2": AWAY, "us-w3": AWAY, "us-w9": answer("us-w9", 2)}),
            desired(spec("us-w9", 2)),
            ["replace the address of group 2's primary: us-w2:5432 -> us-w9:5432"],
            id="a host has moved while another is away",
        ),
        pytest.param(
            cluster(
                node("us-c1", 0),
                node("us-w1", 1),
                SECONDARY,
                answers={"us-w1": AWAY, "us-w1b": answer("us-w1b", 1)},
            ),
            desired(spec("us-w1b", 1), spec("us-w1", 1, role="secondary", cluster="eu")),
            [
                "make us-w1b:5432 the primary of group 1 and us-w1:5432 its secondary",
                "sync the metadata to all nodes",
            ],
            id="a promoted standby changes places",
        ),
        pytest.param(
            cluster(answers={"us-w1b": answer("us-w1b", 1, standby=True)}),
            desired(spec("us-w1b", 1, role="secondary", cluster="eu")),
            ["register us-w1b:5432 as a secondary of group 1 in cluster eu"],
            id="a secondary",
        ),
        pytest.param(
            cluster(answers={"us-w4b": answer("us-w4b", standby=True, coordinator=None)}),
            desired(spec("us-w4b", 4, role="secondary"), spec("us-w4", 4)),
            [
                "register us-w4:5432 as the primary of group 4",
                "register us-w4b:5432 as a secondary of group 4 in cluster default",
            ],
            id="a secondary with its primary",
        ),
        pytest.param(
            cluster(node("us-c1", 0), node("us-w1b", 1)),
            desired(spec("us-w1", 1, members=("us-w1", "us-w1b"))),
            [],
            id="Patroni made another member the primary",
        ),
        pytest.param(
            cluster(answers={"us-w4": answer("us-w4", standby=True), "us-w4c": AWAY}),
            desired(spec("us-w4", 4, members=("us-w5", "us-w4c"))),
            ["register us-w5:5432 as the primary of group 4"],
            id="the member that is primary is registered",
        ),
        pytest.param(
            cluster(holdings=SHARDED, movable_bytes={2: GIB}),
            desired(spec("us-w2", 2, state="drained")),
            [
                "place no more shards on us-w2:5432",
                "move 4 shards away from us-w2:5432 (1.00 GB in all), in the background",
            ],
            id="drained",
        ),
        pytest.param(
            cluster(
                node("us-c1", 0),
                node("us-w1", 1),
                node("us-w2", 2, shards=False),
                holdings={1: Holding(12, 12, 1)},
                job=replace(RUNNING, state="finished"),
            ),
            desired(spec("us-w2", 2, state="drained")),
            [],
            id="drained already",
        ),
        pytest.param(
            cluster(holdings=SHARDED, movable_bytes={2: GIB}, job=RUNNING),
            desired(spec("us-w2", 2, state="drained"), rebalance=Rebalance()),
            [
                "place no more shards on us-w2:5432",
                "wait for rebalance job 7, which runs already (2 of 6 steps done)",
                "move 4 shards away from us-w2:5432, rebalance the shards as they lie then, "
                "in the background",
            ],
            id="drained and rebalanced while a rebalance runs",
        ),
        pytest.param(
            cluster(holdings={1: Holding(0, 0, 0), 3: Holding(0, 0, 0)}),
            desired(spec("us-w2", 2, state="absent")),
            ["remove us-w2:5432 (primary of group 2)"],
            id="removed",
        ),
        pytest.param(
            cluster(),
            desired(spec("us-w9", 9, state="absent"), spec("us-w8", state="absent")),
            [],
            id="removed already",
        ),
        pytest.param(
            cluster(
                node("us-c1", 0),
                node("us-w1", 1),
                SECONDARY,
                node("us-w2", 2),
                answers={"us-w1": AWAY, "us-w1b": AWAY},
            ),
            desired(spec("us-w1", 1, members=("us-w1", "us-w1b"), state="absent")),
            [
                "remove us-w1b:5432 (secondary of group 1)",
                "remove us-w1:5432 (primary of group 1)",
            ],
            id="a group whose Patroni is gone",
        ),
        pytest.param(
            cluster(holdings=SHARDED, moves=TO_W3),
            desired(rebalance=Rebalance()),
            [
                "move 2 shards from us-w1:5432 to us-w3:5432, "
                "move 1 shard from us-w2:5432 to us-w3:5432, in the background"
            ],
            id="rebalance",
        ),
        pytest.param(
            cluster(holdings=SHARDED, moves=TO_W3),
            desired(rebalance=Rebalance("by_shard_count", background=False)),
            [
                "move 2 shards from us-w1:5432 to us-w3:5432, "
                "move 1 shard from us-w2:5432 to us-w3:5432"
            ],
            id="rebalance in the foreground",
        ),
        pytest.param(cluster(holdings=SHARDED), desired(rebalance=Rebalance()), [], id="balanced"),
        pytest.param(
            cluster(holdings=SHARDED, reference_tables=2),
            desired(spec("us-w4", 4), rebalance=Rebalance()),
            [
                "register us-w4:5432 as the primary of group 4",
                "rebalance the shards as they lie then, in the background",
                "copy the reference tables to us-w4:5432",
            ],
            id="a worker added and the shards spread",
        ),
        pytest.param(
            cluster(reference_tables=1, reference_gaps=(at("us-w3"),)),
            desired(rebalance=Rebalance()),
            ["copy the reference tables to us-w3:5432"],
            id="reference tables only",
        ),
    ],
)
def test_plan(there: Current, wanted: Desired, sentences: list[str]) -> None:
    steps = plan(there, wanted)
    assert steps.refusals == ()
    assert steps.sentences == sentences
    assert steps.changed is bool(sentences)
    differs = steps.diff["before"] != steps.diff["after"]
    only_waits_or_copies = all("reference tables" in s or "wait for" in s for s in sentences)
    unknown = any("as they lie then" in sentence for sentence in sentences)
    assert differs or only_waits_or_copies or unknown


@pytest.mark.parametrize(
    ("there", "wanted", "said"),
    [
        pytest.param(
            cluster(),
            desired(spec("us-w4", 4), spec("us-w4", 5)),
            ["node us-w4:5432: a node can be declared only once"],
            id="listed twice",
        ),
        pytest.param(
            cluster(),
            desired(spec("us-w1", 1, members=("us-w2",)), spec("us-w2", 2)),
            ["node us-w2:5432: a node can be declared only once"],
            id="listed as a member of another group",
        ),
        pytest.param(
            cluster(),
            desired(spec("us-w1", 1), spec("us-w4", 1)),
            ["group 1 with the primaries us-w1:5432, us-w4:5432: it cannot have two"],
            id="two primaries",
        ),
        pytest.param(
            cluster(),
            desired(
                NodeSpec(Address(" ", 0)),
                spec("us-w5", -1),
                spec("us-w4", 4, cluster="eu"),
                spec("us-c1", 0, state="absent"),
                spec("us-w1", members=("us-w1", "us-w1b")),
            ),
            [
                "a name and a port from 1 to 65535",
                "node us-w5:5432: group -1",
                "primaries are always in the cluster named default",
                "a cluster cannot be without its coordinator",
                "members are the hosts of a group that Patroni runs",
            ],
            id="what can never be",
        ),
        pytest.param(
            cluster(),
            desired(
                spec("us-w1", 1, members=("us-w1b",)),
                spec("us-w1c", 1, role="secondary"),
                spec("us-w4", role="secondary"),
                spec("us-w5", 2, role="secondary", shards=True),
            ),
            [
                "Patroni registers the standbys of its groups itself",
                "a secondary belongs to a group",
                "a secondary holds what its primary holds",
            ],
            id="secondaries that cannot be",
        ),
        pytest.param(
            cluster(),
            desired(rebalance=Rebalance(background=False), timeout=0),
            ["it cannot be left to itself"],
            id="not waited for and not in the background",
        ),
        pytest.param(
            cluster(answers={"us-w9": UNKNOWN}),
            desired(spec("us-w4", 4), spec("us-w9", 9)),
            ["the coordinator cannot talk to us-w9:5432", "could not translate host name"],
            id="a name that does not resolve",
        ),
        pytest.param(
            cluster(answers={"us-w4": answer("us-w4", standby=True)}),
            desired(spec("us-w4", 4)),
            ["a primary has to accept writes"],
            id="a standby as a primary",
        ),
        pytest.param(
            cluster(answers={"us-w4": answer("us-c1")}),
            desired(spec("us-w4", 4)),
            ["it cannot be its own worker"],
            id="the coordinator as a worker",
        ),
        pytest.param(
            cluster(answers={"us-w5": FRESH["us-w4"], "us-w6": answer("us-w1", 1)}),
            desired(spec("us-w4", 4), spec("us-w5", 5), spec("us-w6", 6)),
            ["us-w4:5432 leads to that same server", "us-w1:5432 leads to that same server"],
            id="names of one server",
        ),
        pytest.param(
            cluster(answers={"us-w4": answer("us-w4", 1, coordinator=at("other"))}),
            desired(spec("us-w4", 4)),
            ["belongs to the cluster of coordinator other:5432"],
            id="the worker of another cluster",
        ),
        pytest.param(
            cluster(answers={"us-w1": AWAY, "us-w9": answer("us-w9", 1)}),
            desired(spec("us-w9")),
            ["set group: 1, which replaces the address"],
            id="a host has moved and its group is not given",
        ),
        pytest.param(
            cluster(answers={"us-w9": answer("us-w9")}),
            desired(spec("us-w9", 0)),
            ["has to lead to the coordinator"],
            id="another server as the coordinator",
        ),
        pytest.param(
            cluster(answers={"us-w9": answer("us-w9", 3)}),
            desired(spec("us-w9", 1)),
            ["group 1 is at us-w1:5432", "its shards are not there"],
            id="a host has moved, but that is not it",
        ),
        pytest.param(
            cluster(answers={"us-w9": answer("us-w9", 1, standby=True)}),
            desired(spec("us-w9", 1)),
            ["promote it, then run again"],
            id="a host has moved, but that is a standby",
        ),
        pytest.param(
            cluster(),
            desired(spec("us-w1", 2), spec("us-w3", 7)),
            [
                "us-w1:5432 is registered as a primary of group 1",
                "us-w3:5432 is registered as a primary of group 3",
            ],
            id="another group",
        ),
        pytest.param(
            cluster(),
            desired(spec("us-w9", 1, members=("us-w9", "us-w8"))),
            ["addresses of Patroni's groups are kept by Patroni"],
            id="Patroni's primary is none of the members",
        ),
        pytest.param(
            cluster(answers={"us-w8": answer("us-w8", standby=True), "us-w9": UNKNOWN}),
            desired(spec("us-w8", 8, members=("us-w9",))),
            ["exactly one of them has to be the primary", "us-w8:5432: a standby"],
            id="no member is primary",
        ),
        pytest.param(
            cluster(node("us-c1", 0), node("us-w1", 1), SECONDARY),
            desired(
                spec("us-w1b", 1, role="secondary", cluster="other"),
                spec("us-w4", 4, role="secondary"),
                spec("us-w5", 1, role="secondary"),
            ),
            [
                "Citus cannot change the cluster of a node",
                "group 4 is not registered",
                "a secondary has to be a physical standby of us-w1:5432",
            ],
            id="secondaries",
        ),
        pytest.param(
            cluster(answers={"us-c1b": answer("us-c1b", standby=True)}),
            desired(spec("us-c1b", 1, role="secondary")),
            ["a secondary has to be a physical standby of us-w1:5432", "a standby, of group 0"],
            id="a standby of another group",
        ),
        pytest.param(
            cluster(holdings=SHARDED),
            desired(spec("us-w1", 1, state="absent"), spec("us-w2", 2, state="absent")),
            [
                "us-w1:5432 absent: they would be lost",
                "us-w2:5432 absent: they would be lost",
                "the only copy of 4 shards",
                "drain it first (state: drained), which moves them to us-w2:5432, us-w3:5432",
            ],
            id="removed with shards",
        ),
        pytest.param(
            cluster(node("us-c1", 0), node("us-w1", 1)),
            desired(spec("us-w1", 1, state="absent")),
            ["the cluster would have no place for its tables"],
            id="the last worker removed",
        ),
        pytest.param(
            cluster(),
            desired(
                spec("us-w1", 1, members=("us-w1",), state="absent"),
                spec("us-w9", 2, members=("us-w9",), state="absent"),
                spec("us-w3", 5, state="absent"),
            ),
            [
                "stop Patroni on all members of group 1",
                "it is none of the members",
                "us-w3:5432 is registered as a primary of group 3",
            ],
            id="removed, but it cannot be that one",
        ),
        pytest.param(
            cluster(node("us-c1", 0), node("us-w1", 1), holdings={1: Holding(4, 4, 1)}),
            desired(spec("us-w1", 1, state="drained")),
            ["no shards on us-w1:5432: the rest cannot hold the shards"],
            id="the last worker drained",
        ),
        pytest.param(
            cluster(holdings={n: Holding(4, 0, 2) for n in (1, 2, 3)}),
            desired(spec("us-w1", 1, state="drained"), spec("us-w2", 2, state="drained")),
            ["1 other node that may hold shards, 2 copies of each shard"],
            id="too few nodes for the copies",
        ),
        pytest.param(
            cluster(holdings=SHARDED, movable_bytes={1: 21 * GIB}),
            desired(spec("us-w1", 1, state="drained")),
            ["21.00 GB of shards, and 20.00 GB free on us-w2:5432, us-w3:5432"],
            id="too little space",
        ),
        pytest.param(
            cluster(
                holdings=SHARDED,
                moves=TO_W3,
                without_identity={"log": {1}, "orders": {3}, "x": {2}},
            ),
            desired(spec("us-w1", 1, state="drained"), rebalance=Rebalance()),
            ["shards of log, orders moved", "transfer_mode: block_writes"],
            id="tables that logical replication cannot move",
        ),
        pytest.param(
            cluster(holdings=SHARDED),
            desired(rebalance=Rebalance("by_luck")),
            ["the strategies by_disk_size, by_shard_count"],
            id="an unknown strategy",
        ),
        pytest.param(
            cluster(answers={"us-w3": AWAY}),
            desired(spec("us-w1", 1, shards=False)),
            ["us-w3:5432 does not answer: Connection refused"],
            id="a node is away",
        ),
    ],
)
def test_refusals(there: Current, wanted: Desired, said: list[str]) -> None:
    steps = plan(there, wanted)
    text = " | ".join(map(str, steps.refusals))
    assert steps.refusals
    for part in said:
        assert part in text


def test_all_refusals_come_at_once() -> None:
    there = cluster(answers={"us-w9": UNKNOWN, "us-w4": answer("us-w4", standby=True)})
    wanted = desired(
        spec("us-w9", 9), spec("us-w4", 4), spec("us-w1", 2), spec("us-w3", 3, state="drained")
    )
    assert len(plan(there, wanted).refusals) == 3


@pytest.mark.parametrize("there", [cluster(), EMPTY])
def test_the_plan_done_plans_nothing(there: Current) -> None:
    wanted = desired(spec("us-w4", 4, shards=False), coordinator_host="us-c1")
    steps = plan(there, wanted)
    assert steps.changed
    after = tuple(replace(node, node_id=number) for number, node in enumerate(steps.nodes))
    assert not plan(replace(there, nodes=after), wanted).changed


def test_the_forwarded_port_of_the_coordinator_is_kept() -> None:
    there = cluster(replace(node("us-c1", 0), address=Address("us-c1", 6432)))
    steps = plan(there, desired(coordinator_host="us-c1"))
    assert not steps.changed and not steps.refusals


# main() and what it sends


def reads(*nodes: Node, answers: dict[str, Answer] | None = None) -> list[Step]:
    """What every run reads."""
    current = cluster(*nodes, answers=answers)
    asked = [n.address for n in current.nodes if n.is_primary and n.active]
    asked += [at(name) for name in answers or {} if at(name) not in asked]
    return [
        step("FROM pg_extension", [{"count": 1}]),
        step("citus_version()", [{"citus_version": COORDINATOR.version}]),
        step("pg_dist_local_group", [server()]),
        nodes_read(*current.nodes),
        step("master_run_on_worker", [_said(a, current.answers[a]) for a in sorted(asked)]),
    ]


def server(**changes: Any) -> dict[str, Any]:
    return {
        "groupid": 0,
        "standby": False,
        "superuser": True,
        "role": "postgres",
        "port": COORDINATOR.port,
        "database": COORDINATOR.database,
        "started": COORDINATOR.started,
        **changes,
    }


def nodes_read(*nodes: Node) -> Step:
    return step(
        "FROM pg_dist_node ORDER BY",
        [
            {
                "nodeid": n.node_id,
                "groupid": n.group,
                "nodename": n.address.name,
                "nodeport": n.address.port,
                "role": n.role,
                "nodecluster": n.cluster,
                "isactive": n.active,
                "synced": n.metadata_synced,
                "shouldhaveshards": n.shards,
            }
            for n in nodes
        ],
    )


def _said(address: Address, said: Answer) -> dict[str, Any]:
    coordinator = said.coordinator and [said.coordinator.name, said.coordinator.port]
    result = {
        "group": said.group,
        "standby": said.standby,
        "started": said.started,
        "coordinator": coordinator,
        "free": said.free_bytes,
    }
    return {
        "node_name": address.name,
        "node_port": address.port,
        "success": said.trouble is None,
        "result": said.trouble or json.dumps(result),
    }


def job_read(state: str, done: int, trouble: str | None = None) -> Step:
    return step(
        "pg_dist_background_job",
        [
            {
                "job_id": 7,
                "state": state,
                "tasks": 6,
                "tasks_done": done,
                "trouble": trouble,
                "started_at": None,
                "finished_at": None,
            }
        ],
    )


HOLDINGS = step(
    "AS only_copies",
    [{"groupid": n, "movable": 4, "only_copies": 4, "copies": 1} for n in (1, 2, 3)],
)
NO_JOB = step("pg_dist_background_job")
STRATEGIES = step("pg_dist_rebalance_strategy", [{"name": "by_disk_size"}])
ALL_IDENTIFIED = step("relreplident")
SIZES = step("citus_shard_sizes", [{"groupid": n, "bytes": GIB} for n in (1, 2, 3)])
NO_REFERENCE_TABLES = step("AS tables", [{"tables": 0, "nodename": None, "nodeport": None}])
DRAIN_READS = [HOLDINGS, NO_JOB, STRATEGIES, ALL_IDENTIFIED, SIZES]
START = step("citus_rebalance_start(rebalance_strategy => NULL, drain_only => True", [{"job": 7}])
LOOK = [
    step("set_config('statement_timeout', '5000ms'"),
    step("citus_job_wait(7)"),
    step("set_config('statement_timeout', '0'"),
]
W2_DRAINED = {"name": "us-w2", "group": 2, "state": "drained"}


def test_unchanged(run_main: RunMain) -> None:
    result = run_main(citus_node, reads(), {"nodes": [{"name": "us-w1", "group": 1}]})
    assert not result["failed"], result
    assert (result["changed"], result["plan"], result["queries"]) == (False, [], [])
    assert result["diff"] == {"before": {}, "after": {}}
    assert [n["name"] for n in result["nodes"]] == ["us-c1", "us-w1", "us-w2", "us-w3"]
    assert result["rebalance"] is None


def test_add(run_main: RunMain) -> None:
    added = node("us-w4", 4, node_id=5)
    script = [
        *reads(answers={"us-w4": FRESH["us-w4"]}),
        step("citus_add_node('us-w4', 5432, groupid => 4)", [{"citus_add_node": 5}]),
        nodes_read(*cluster().nodes, added),
    ]
    result = run_main(citus_node, script, {"name": "us-w4", "group": 4})
    assert result["changed"]
    assert result["queries"] == ["SELECT citus_add_node('us-w4', 5432, groupid => 4)"]
    assert list(result["diff"]["after"]) == ["us-w4:5432"]
    assert result["nodes"][-1]["name"] == "us-w4"


def test_check_mode_returns_what_would_be(run_main: RunMain) -> None:
    script = reads(answers={"us-w4": FRESH["us-w4"]})
    result = run_main(citus_node, script, {"name": "us-w4", "group": 4}, check=True)
    assert result["changed"]
    assert result["plan"] == ["register us-w4:5432 as the primary of group 4"]
    assert result["queries"] == []
    assert result["nodes"][-1]["name"] == "us-w4"


def test_drain(run_main: RunMain) -> None:
    script = [
        *reads(),
        *DRAIN_READS,
        step("citus_set_node_property('us-w2', 5432, 'shouldhaveshards', False)"),
        START,
        job_read("running", 2),
        *LOOK,
        job_read("finished", 6),
        nodes_read(*cluster().nodes),
        job_read("finished", 6),
    ]
    result = run_main(citus_node, script, {"nodes": [W2_DRAINED]})
    assert not result["failed"], result
    assert result["rebalance"]["state"] == "finished"
    assert (result["rebalance"]["tasks_done"], result["rebalance"]["tasks"]) == (6, 6)
    assert result["diff"]["before"]["shards to move"] == {"away from us-w2:5432": 4}


def test_a_drain_that_is_not_waited_for(run_main: RunMain) -> None:
    script = [
        *reads(),
        *DRAIN_READS,
        step("shouldhaveshards"),
        START,
        nodes_read(*cluster().nodes),
        job_read("scheduled", 0),
    ]
    result = run_main(citus_node, script, {"nodes": [W2_DRAINED], "timeout": 0})
    assert result["changed"] and result["rebalance"]["state"] == "scheduled"


def test_nothing_left_to_move(run_main: RunMain) -> None:
    script = [
        *reads(),
        *DRAIN_READS,
        step("shouldhaveshards"),
        step("citus_rebalance_start", [{"job": None}]),
        nodes_read(*cluster().nodes),
    ]
    assert not run_main(citus_node, script, {"nodes": [W2_DRAINED]})["failed"]


def test_a_running_job_is_joined(run_main: RunMain) -> None:
    script = [
        *reads(),
        HOLDINGS,
        job_read("running", 2),
        STRATEGIES,
        ALL_IDENTIFIED,
        NO_REFERENCE_TABLES,
        job_read("finished", 6),
        step(
            "citus_rebalance_start(rebalance_strategy => NULL, drain_only => False", [{"job": None}]
        ),
        nodes_read(*cluster().nodes),
        job_read("finished", 6),
    ]
    result = run_main(citus_node, script, {"rebalance": {}})
    assert not result["failed"], result
    assert result["plan"][0].startswith("wait for rebalance job 7")
    assert len(result["queries"]) == 1
    assert result["rebalance"]["job"] == 7 and result["rebalance"]["state"] == "finished"


def test_a_joined_job_that_has_just_finished_is_told(run_main: RunMain) -> None:
    """Whoever polls sees the end of the job, also when it came between two looks."""
    script = [
        *reads(),
        HOLDINGS,
        job_read("running", 5),
        STRATEGIES,
        ALL_IDENTIFIED,
        NO_REFERENCE_TABLES,
        nodes_read(*cluster().nodes),
        step("coalesce(7, job_id)", job_read("finished", 6)[1]),
    ]
    result = run_main(citus_node, script, {"rebalance": {}, "timeout": 0})
    assert result["rebalance"]["state"] == "finished"


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("state", ["finished", "cancelled", "failed"])
def test_a_job_that_ended_before_is_not_told(run_main: RunMain, state: str, check: bool) -> None:
    """Once stopped by somebody, it would be held against every later rebalance."""
    script = [
        *(*reads(), HOLDINGS, job_read(state, 2), STRATEGIES, ALL_IDENTIFIED, SIZES),
        step("get_rebalance_table_shards_plan"),
        NO_REFERENCE_TABLES,
    ]
    result = run_main(citus_node, script, {"rebalance": {}}, check=check)
    assert not result["failed"], result
    assert (result["changed"], result["rebalance"]) == (False, None)


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([("cancelled", None)], "is cancelled: somebody stopped it"),
        ([("failed", "ERROR: disk full\nCONTEXT: x")], "is failed: disk full"),
    ],
)
def test_a_job_that_ends_badly(
    run_main: RunMain, states: list[tuple[str, str | None]], said: str
) -> None:
    script = [*reads(), *DRAIN_READS, step("shouldhaveshards"), START]
    script += [job_read(state, 2, trouble) for state, trouble in states]
    result = run_main(citus_node, script, {"nodes": [W2_DRAINED]})
    assert result["failed"] and said in result["msg"]


def test_the_deadline(run_main: RunMain, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 101.0, 103.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    canceled = StatementFailed("canceling statement", citus_rebalance.QUERY_CANCELED)
    script = [
        *(*reads(), *DRAIN_READS, step("shouldhaveshards"), START, job_read("running", 2)),
        step("set_config('statement_timeout', '1000ms'"),
        step("citus_job_wait(7)", canceled),
        step("set_config('statement_timeout', '0'"),
        job_read("running", 3),
    ]
    result = run_main(citus_node, script, {"nodes": [W2_DRAINED], "timeout": 2})
    assert result["failed"]
    assert "Rebalance job 7" in result["msg"] and "3 of 6 steps done" in result["msg"]
    assert "which joins it" in result["msg"]


def test_a_node_that_dies_under_a_job(run_main: RunMain, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 31.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    trouble = "ERROR: connection to the remote node failed\nCONTEXT: background"
    away = [
        nodes_read(*cluster().nodes),
        step("master_run_on_worker", [_said(at("us-w3"), Answer(trouble="connection lost"))]),
    ]
    script = [
        *(*reads(), *DRAIN_READS, step("shouldhaveshards"), START),
        *(job_read("running", 2, trouble), *away, *LOOK),
        *(job_read("running", 2, trouble), *away),
    ]
    result = run_main(citus_node, script, {"nodes": [W2_DRAINED]})
    assert result["failed"]
    assert "waits for us-w3:5432, which does not answer" in result["msg"]
    assert "connection to the remote node failed." in result["msg"]


def test_a_drain_in_the_foreground(run_main: RunMain) -> None:
    script = [
        *(*reads(), HOLDINGS, NO_JOB, STRATEGIES, ALL_IDENTIFIED, SIZES),
        step(
            "get_rebalance_table_shards_plan(rebalance_strategy => NULL)",
            [
                {
                    "table_name": "orders",
                    "sourcename": "us-w1",
                    "sourceport": 5432,
                    "targetname": "us-w3",
                    "targetport": 5432,
                }
            ],
        ),
        NO_REFERENCE_TABLES,
        step("set_config('statement_timeout', '3600000ms'"),
        step("rebalance_table_shards(rebalance_strategy => NULL, drain_only => False"),
        step("set_config('statement_timeout', '0'"),
        nodes_read(*cluster().nodes),
    ]
    result = run_main(citus_node, script, {"rebalance": {"background": False}})
    assert not result["failed"], result
    assert result["plan"] == ["move 1 shard from us-w1:5432 to us-w3:5432"]


def test_remove(run_main: RunMain) -> None:
    script = [
        *reads(),
        step("AS only_copies", [{"groupid": 1, "movable": 4, "only_copies": 4, "copies": 1}]),
        step("citus_remove_node('us-w3', 5432)"),
        nodes_read(*cluster().nodes[:-1]),
    ]
    result = run_main(citus_node, script, {"name": "us-w3", "group": 3, "state": "absent"})
    assert result["queries"] == ["SELECT citus_remove_node('us-w3', 5432)"]
    assert list(result["diff"]["before"]) == ["us-w3:5432"]
    assert result["diff"]["after"] == {}


def test_an_address_is_replaced(run_main: RunMain) -> None:
    moved = answer("us-w9", 2)
    script = [
        *reads(answers={"us-w2": replace(moved, started="started us-w2"), "us-w9": moved}),
        step("citus_update_node(3, 'us-w9', 5432, force => true)"),
        step("start_metadata_sync_to_all_nodes()"),
        nodes_read(*cluster().nodes),
    ]
    result = run_main(citus_node, script, {"name": "us-w9", "group": 2})
    assert not result["failed"], result
    assert list(result["diff"]["before"]) == ["us-w2:5432"]
    assert list(result["diff"]["after"]) == ["us-w9:5432"]


def test_refusals_are_told_at_once_and_nothing_is_sent(run_main: RunMain) -> None:
    script = reads(answers={"us-w8": AWAY, "us-w9": UNKNOWN})
    result = run_main(
        citus_node,
        script,
        {"nodes": [{"name": f"us-w{n}", "group": n} for n in (1, 8, 9)]},
    )
    assert result["failed"]
    assert result["msg"].startswith("Nothing was changed.")
    assert result["msg"].count("To go on:") == 2


def test_the_reason_of_a_failed_connection_is_the_servers_own(run_main: RunMain) -> None:
    bare = replace(UNKNOWN, trouble="failed to connect to us-w9:5432")
    script = [
        *reads(answers={"us-w9": bare}),
        step(
            "citus_check_connection_to_node('us-w9', 5432)",
            warnings=[
                "WARNING:  connection to the remote node postgres@us-w9:5432 failed with the "
                'following error: could not translate host name "us-w9"\n\tsecond line\n'
            ],
        ),
    ]
    result = run_main(citus_node, script, {"name": "us-w9", "group": 9})
    assert 'There is: could not translate host name "us-w9". To go on' in result["msg"]


def test_a_step_that_the_server_refuses_says_how_far_it_came(run_main: RunMain) -> None:
    refused = StatementFailed("us-c1:5432/bss refused: out of luck", "XX000")
    script = [
        *reads(answers=dict(FRESH)),
        step("citus_add_node('us-w4'", [{"citus_add_node": 5}]),
        step("citus_add_node('us-w5'", refused),
    ]
    result = run_main(
        citus_node,
        script,
        {"nodes": [{"name": "us-w4", "group": 4}, {"name": "us-w5", "group": 5}]},
    )
    assert result["failed"]
    assert "Asked to register us-w5:5432 as the primary of group 5" in result["msg"]
    assert "Done before: register us-w4:5432 as the primary of group 4." in result["msg"]
    assert "mend what PostgreSQL says" in result["msg"]


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("connection to the remote node x failed", "make that node answer"),
        ("us-w1:5432 is a metadata node, but is out of sync", "syncs their metadata"),
        ("because it contains the only shard placement for shard 1", "drain the node first"),
        ("not enough empty space on node", "free disk space"),
        ("A rebalance is already running as job 7", "a rebalance is joined"),
        ("group 4 already has a primary node", "another session registered a node"),
        ("prepared transactions are disabled", "max_prepared_transactions"),
        ("all replication slots are in use", "max_replication_slots"),
        ("does not have a REPLICA IDENTITY", "block_writes"),
    ],
)
def test_known_errors_have_their_remedy(run_main: RunMain, error: str, remedy: str) -> None:
    script = [
        *reads(answers={"us-w4": FRESH["us-w4"]}),
        step("citus_add_node", StatementFailed(f"us-c1:5432/bss refused: {error}", "XX000")),
    ]
    result = run_main(citus_node, script, {"name": "us-w4", "group": 4})
    assert result["failed"] and remedy in result["msg"].partition("To go on: ")[2]


def test_a_lost_connection_in_the_middle(run_main: RunMain) -> None:
    script = [
        *reads(answers=dict(FRESH)),
        step("citus_add_node('us-w4'", [{"citus_add_node": 5}]),
        step("citus_add_node('us-w5'", ConnectionLost("The connection broke; run it again.")),
    ]
    result = run_main(
        citus_node,
        script,
        {"nodes": [{"name": "us-w4", "group": 4}, {"name": "us-w5", "group": 5}]},
    )
    assert result["failed"] and result["msg"] == "The connection broke; run it again."
    # The same task, with what the first part of it has left.
    script = [
        *reads(*cluster().nodes, node("us-w4", 4, node_id=5), answers={"us-w5": FRESH["us-w5"]}),
        step("citus_add_node('us-w5'", [{"citus_add_node": 6}]),
        nodes_read(*cluster().nodes),
    ]
    result = run_main(
        citus_node,
        script,
        {"nodes": [{"name": "us-w4", "group": 4}, {"name": "us-w5", "group": 5}]},
    )
    assert result["plan"] == ["register us-w5:5432 as the primary of group 5"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ([step("FROM pg_extension", [{"count": 0}])], "has no extension citus"),
        (
            [*reads()[:2], step("pg_dist_local_group", [server(groupid=1)])],
            "is a worker (group 1)",
        ),
        ([*reads()[:2], step("pg_dist_local_group", [server(standby=True)])], "is a standby"),
        ([*reads()[:2], step("pg_dist_local_group", [server(superuser=False)])], "is none"),
    ],
)
def test_a_server_that_cannot_declare_nodes(
    run_main: RunMain, script: list[Step], said: str
) -> None:
    result = run_main(citus_node, script, {"name": "us-w4"})
    assert result["failed"] and said in result["msg"]
