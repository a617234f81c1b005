# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What citus_node would do: the declared nodes against those that there are.

Pure: ``plan`` reads and writes nothing. It is the only place that decides.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ansible.module_utils.common.text.formatters import bytes_to_human
from ansible_collections.bss.platform.plugins.module_utils import citus
from ansible_collections.bss.platform.plugins.module_utils.citus import (
    COORDINATOR_GROUP,
    Address,
    Answer,
    Coordinator,
    Holding,
    Node,
)
from ansible_collections.bss.platform.plugins.module_utils.citus_rebalance import (
    Job,
    Move,
    copy_reference_tables,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import Action, Plan, Refusal


@dataclass(frozen=True)
class NodeSpec:
    """One node as it was declared."""

    address: Address
    group: int | None = None
    role: str = "primary"
    cluster: str = "default"
    members: tuple[str, ...] = ()
    shards: bool | None = None
    state: str = "present"

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where the node may be registered: one address, or any of its group's members."""
        names = dict.fromkeys((self.address.name, *self.members))
        return tuple(Address(name, self.address.port) for name in names)

    @property
    def is_primary(self) -> bool:
        return self.role == "primary"

    @property
    def is_wanted(self) -> bool:
        return self.state != "absent"


@dataclass(frozen=True)
class Rebalance:
    """How shards are to be spread."""

    strategy: str | None = None
    background: bool = True


@dataclass(frozen=True)
class Desired:
    """All that one task declares."""

    nodes: tuple[NodeSpec, ...] = ()
    coordinator_host: str | None = None
    rebalance: Rebalance | None = None
    transfer_mode: str = "auto"
    timeout: int = 3600
    """Seconds."""

    @property
    def moves_shards(self) -> bool:
        return self.rebalance is not None or any(spec.state == "drained" for spec in self.nodes)


@dataclass(frozen=True)
class Current:
    """All that is there; what the declaration cannot need is left empty."""

    coordinator: Coordinator
    nodes: tuple[Node, ...] = ()
    answers: Mapping[Address, Answer] = field(default_factory=dict)
    holdings: Mapping[int, Holding] = field(default_factory=dict)
    """By group."""
    movable_bytes: Mapping[int, int] = field(default_factory=dict)
    """By group."""
    moves: tuple[Move, ...] = ()
    strategies: tuple[str, ...] = ()
    without_identity: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Tables that cannot be moved by logical replication, and their groups."""
    reference_tables: int = 0
    reference_gaps: tuple[Address, ...] = ()
    """Nodes that lack a reference table."""
    job: Job | None = None

    def answer(self, address: Address) -> Answer:
        return self.answers.get(address, Answer(trouble="it was not asked"))


@dataclass(frozen=True)
class NodePlan(Plan):
    """A plan, and the nodes that the cluster has once it is done."""

    nodes: tuple[Node, ...] = ()


def specs_of(desired: Desired, coordinator: Coordinator, nodes: Iterable[Node]) -> list[NodeSpec]:
    """The declared nodes, with coordinator_host as one of them."""
    host = desired.coordinator_host
    specs = list(desired.nodes)
    if host is None or any(
        spec.group == COORDINATOR_GROUP and host in (address.name for address in spec.addresses)
        for spec in specs
    ):
        return specs
    # The port may have been registered as another than the server's own, by a forwarded port.
    registered = [n.address for n in nodes if n.group == COORDINATOR_GROUP and n.is_primary]
    port = next((a.port for a in registered if a.name == host), coordinator.port)
    return [NodeSpec(Address(host, port), group=COORDINATOR_GROUP), *specs]


def plan(current: Current, desired: Desired) -> NodePlan:
    """What takes the cluster from what is there to what is declared."""
    specs = specs_of(desired, current.coordinator, current.nodes)
    refusals = list(_contradictions(specs, desired))
    if refusals:
        return NodePlan(refusals=tuple(refusals), nodes=current.nodes)
    draft = Draft(current, desired, specs)
    draft.place_primaries()
    draft.sync()
    draft.activate()
    draft.add_primaries()
    draft.add_secondaries()
    draft.allow_shards()
    draft.join_job()
    draft.remove()
    draft.move_shards()
    draft.copy_reference_tables()
    draft.require_answers()
    return draft.finish()


def _contradictions(specs: list[NodeSpec], desired: Desired) -> Iterable[Refusal]:
    """What cannot be right whatever the cluster looks like."""
    uses: dict[Address, list[NodeSpec]] = {}
    primaries: dict[int, list[NodeSpec]] = {}
    patroni_groups = {spec.group for spec in specs if spec.members}
    for spec in specs:
        asked = f"node {spec.address}"
        for address in spec.addresses:
            uses.setdefault(address, []).append(spec)
        if spec.is_primary and spec.group is not None:
            primaries.setdefault(spec.group, []).append(spec)
        if not spec.address.name.strip() or not 0 < spec.address.port < 65536:
            yield Refusal(
                asked,
                "no such address can be",
                "a node needs a name and a port from 1 to 65535",
                "set name and port to where the other nodes reach it",
            )
        if spec.group is not None and spec.group < 0:
            yield Refusal(
                f"{asked}: group {spec.group}",
                "groups are numbered 0 (the coordinator's), 1, 2, ...",
                "there is no such group",
                "give the group its number, or leave group out for a worker",
            )
        if spec.members and (spec.group is None or not spec.is_primary):
            yield Refusal(
                f"{asked}: members {', '.join(spec.members)}",
                f"role {spec.role}, group {spec.group}",
                "members are the hosts of a group that Patroni runs, declared once, as its primary",
                "set group and leave role out",
            )
        if spec.group == COORDINATOR_GROUP and not spec.is_wanted:
            yield Refusal(
                f"{asked}: state absent",
                "it is of group 0, the coordinator's",
                "a cluster cannot be without its coordinator",
                "set shards: false or state: drained if it is to hold no shards",
            )
        if spec.is_primary and spec.cluster != "default":
            yield Refusal(
                f"{asked}: cluster {spec.cluster}",
                "role primary",
                "primaries are always in the cluster named default",
                "leave cluster out, or set role: secondary",
            )
        if not spec.is_primary and spec.is_wanted:
            yield from _secondary_contradictions(spec, patroni_groups)
    for address, users in sorted(uses.items()):
        if len(users) > 1:
            yield Refusal(
                f"node {address}",
                f"it is listed {len(users)} times",
                "a node can be declared only once in a task",
                "keep one of them",
            )
    for group, users in sorted(primaries.items()):
        if len([spec for spec in users if spec.is_wanted]) > 1:
            yield Refusal(
                f"group {group} with the primaries "
                + ", ".join(str(spec.address) for spec in users),
                "a group has one primary",
                "it cannot have two",
                "give each worker its own group; list a group's standbys as members or with "
                "role: secondary",
            )
    if desired.rebalance and not desired.rebalance.background and desired.timeout == 0:
        yield Refusal(
            "timeout: 0 with rebalance.background: false",
            "a rebalance that is not in the background ends with its connection",
            "it cannot be left to itself",
            "set a timeout, or background: true",
        )


def _secondary_contradictions(spec: NodeSpec, patroni_groups: set[int | None]) -> Iterable[Refusal]:
    asked = f"secondary {spec.address}"
    if spec.group is None or spec.group in patroni_groups:
        yield Refusal(
            asked,
            "no group is given" if spec.group is None else f"Patroni runs group {spec.group}",
            "a secondary belongs to a group"
            if spec.group is None
            else "Patroni registers the standbys of its groups itself, and a row of ours would "
            "break its next failover",
            "set group to that of its primary" if spec.group is None else "leave it out",
        )
    if spec.shards is not None or spec.state == "drained":
        yield Refusal(
            asked,
            f"shards: {spec.shards}, state: {spec.state}",
            "a secondary holds what its primary holds",
            "set shards or state: drained on the primary of its group",
        )


class Draft:
    """A plan in the making: the nodes as they are after the steps drafted so far."""

    def __init__(self, current: Current, desired: Desired, specs: list[NodeSpec]) -> None:
        self.current = current
        self.desired = desired
        self.wanted = [spec for spec in specs if spec.is_wanted]
        self.unwanted = [spec for spec in specs if not spec.is_wanted]
        self.nodes = {node.address: node for node in current.nodes}
        self.actions: list[Action] = []
        self.refusals: list[Refusal] = []
        self.to_move: Mapping[str, int] = {}
        """Shards that will be moved, as far as it can be known now: from where -> how many."""
        self.addresses_changed = False
        coordinators = [s for s in specs if s.group == COORDINATOR_GROUP]
        self.own_addresses = {
            *(node.address for node in current.nodes if node.group == COORDINATOR_GROUP),
            *(address for spec in coordinators for address in spec.addresses),
        }

    # What is there

    def primary_of(self, group: int | None) -> Node | None:
        found = (n for n in self.nodes.values() if n.is_primary and n.group == group)
        return None if group is None else next(found, None)

    def named(self, spec: NodeSpec) -> Node | None:
        """The node that stands at any address of the declared one."""
        return next((self.nodes[a] for a in spec.addresses if a in self.nodes), None)

    def node_for(self, spec: NodeSpec) -> Node | None:
        """The node that the declaration is about, if it is registered."""
        if not spec.is_primary or spec.group is None:
            return self.named(spec)
        return self.primary_of(spec.group)

    def receivers(self) -> list[Node]:
        """The nodes that shards may be moved to."""
        return [n for n in self.nodes.values() if n.is_primary and n.active and n.shards]

    def movable(self, node: Node) -> int:
        return self.current.holdings.get(node.group or 0, Holding()).movable

    # What is to be done

    def refuse(self, asked: str, found: str, why: str, remedy: str) -> None:
        self.refusals.append(Refusal(asked, found, why, remedy))

    def do(self, action: Action, *nodes: Node, gone: Address | None = None) -> None:
        """Add a step; ``nodes`` are those it changes, as they are after it."""
        self.actions.append(action)
        if gone is not None:
            del self.nodes[gone]
        self.nodes.update((node.address, node) for node in nodes)

    def place_primaries(self) -> None:
        """Give registered primaries the address that is declared for their group."""
        for spec in self.wanted:
            stands = self.primary_of(spec.group) if spec.is_primary else None
            if stands is None or stands.address in spec.addresses:
                continue
            holder = self.named(spec)
            asked = f"{spec.address} as the primary of group {spec.group}"
            if spec.members:
                self.refuse(
                    asked,
                    f"the primary of group {spec.group} is {stands.address}",
                    f"it is none of the members {', '.join(spec.members)}, and addresses of "
                    "Patroni's groups are kept by Patroni",
                    "correct members or group; if a failover is under way, run again after it",
                )
            elif holder is not None and holder.group != spec.group:
                self._refuse_other_group(asked, holder)
            elif self._can_take_over(asked, spec.address, stands):
                self._replace_address(stands, spec.address, holder)

    def _replace_address(self, stands: Node, address: Address, holder: Node | None) -> None:
        moved = replace(stands, address=address)
        self.addresses_changed = True
        if stands.group == COORDINATOR_GROUP:
            self.do(citus.set_coordinator_host(address), moved, gone=stands.address)
        elif holder is None:
            self.do(citus.update_address(stands, address), moved, gone=stands.address)
        else:
            former = replace(holder, address=stands.address)
            self.do(citus.swap_addresses(stands, holder), moved, former)

    def _can_take_over(self, asked: str, address: Address, stands: Node) -> bool:
        """Whether the server at the new address is the one that the group had."""
        answer = self.current.answer(address)
        if not self._answers(asked, address, answer):
            return False
        if answer.standby:
            self.refuse(
                asked,
                f"the server at {address} is a standby",
                "a primary has to accept writes",
                "promote it, then run again",
            )
        elif stands.group == COORDINATOR_GROUP:
            return self._is_coordinator(asked, address, answer)
        elif answer.group != stands.group:
            self.refuse(
                asked,
                f"group {stands.group} is at {stands.address}, and the server at {address} "
                f"says that it is of group {answer.group}",
                "its shards are not there, so they would be lost from sight",
                f"correct the name, or give the new server another group and drain "
                f"{stands.address}",
            )
        else:
            return True
        return False

    def sync(self) -> None:
        """Sync metadata where it is not: a node that lacks it refuses any further change."""
        nodes = [node for spec in self.wanted if (node := self.node_for(spec)) is not None]
        lacking = [n for n in nodes if n.is_primary and n.active and not n.metadata_synced]
        serving = [n for n in self.nodes.values() if n.is_primary and n.active]
        everyone_answers = not any(self.current.answer(n.address).trouble for n in serving)
        # With a node away Citus syncs by itself, node by node, as soon as each can be reached.
        if (lacking or self.addresses_changed) and everyone_answers:
            self.do(citus.sync_metadata(), *(replace(n, metadata_synced=True) for n in serving))

    def activate(self) -> None:
        for spec in self.wanted:
            node = self.node_for(spec)
            if node is not None and not node.active:
                self.do(citus.activate_node(node), replace(node, active=True, metadata_synced=True))

    def add_primaries(self) -> None:
        for spec in sorted(
            (s for s in self.wanted if s.is_primary), key=lambda s: s.group != COORDINATOR_GROUP
        ):
            if self.primary_of(spec.group) is not None:
                continue
            holder = self.named(spec)
            if holder is not None and (spec.group is not None or not holder.is_primary):
                self._refuse_other_group(f"{spec.address} as a primary", holder)
                continue
            address = None if holder is not None else self._server_to_add(spec)
            if address is None:
                continue
            node = Node(
                node_id=None,
                group=spec.group,
                address=address,
                role="primary",
                cluster="default",
                active=True,
                metadata_synced=True,
                shards=spec.group != COORDINATOR_GROUP,
            )
            if spec.group == COORDINATOR_GROUP:
                self.do(citus.set_coordinator_host(address), node)
            else:
                self.do(citus.add_node(address, spec.group), node)

    def _server_to_add(self, spec: NodeSpec) -> Address | None:
        """The address to register, or None when it was refused."""
        address = spec.address
        asked = f"{address} as a new node"
        if spec.members:
            asked = f"a primary of group {spec.group} among {', '.join(spec.members)}"
            answers = {a: self.current.answer(a) for a in spec.addresses}
            primaries = [a for a, said in answers.items() if not said.trouble and not said.standby]
            if len(primaries) != 1:
                self.refuse(
                    asked,
                    "; ".join(f"{a}: {_condition(said)}" for a, said in answers.items()),
                    "exactly one of them has to be the primary",
                    "wait until Patroni has made one of them the leader, then run again",
                )
                return None
            address = primaries[0]
        answer = self.current.answer(address)
        if not self._answers(asked, address, answer):
            return None
        if spec.group == COORDINATOR_GROUP:
            return address if self._is_coordinator(asked, address, answer) else None
        same = [
            n.address
            for n in self.nodes.values()
            if n.is_primary and self.current.answer(n.address).started == answer.started
        ]
        lost = self.primary_of(answer.group or None)
        if answer.started == self.current.coordinator.started:
            self.refuse(
                asked,
                "that server is the coordinator itself",
                "it cannot be its own worker",
                "give the worker's address; the coordinator is declared with group: 0",
            )
        elif answer.standby:
            self.refuse(
                asked,
                f"the server at {address} is a standby",
                "a primary has to accept writes",
                "name its primary, or declare it with role: secondary and its group",
            )
        elif same:
            self.refuse(
                asked,
                f"{same[0]} leads to that same server",
                "a server can be only one node",
                "keep one of the two names",
            )
        elif answer.coordinator not in {None, *self.own_addresses}:
            self.refuse(
                asked,
                f"that server belongs to the cluster of coordinator {answer.coordinator}",
                "taking it over would cut that cluster's shards off",
                "name another server; if its cluster is gone, run DROP EXTENSION citus CASCADE "
                f"and CREATE EXTENSION citus in its database {self.current.coordinator.database}",
            )
        elif lost is not None and self.current.answer(lost.address).trouble:
            self.refuse(
                asked,
                f"that server says that it is of group {answer.group}, which is registered at "
                f"{lost.address} and does not answer there",
                "a group's host that has moved is no new node",
                f"set group: {answer.group}, which replaces the address",
            )
        else:
            return address
        return None

    def add_secondaries(self) -> None:
        for spec in self.wanted:
            if spec.is_primary or spec.group is None:
                continue
            asked = f"{spec.address} as a secondary of group {spec.group}"
            holder = self.named(spec)
            if holder is not None:
                if holder.is_primary or holder.group != spec.group:
                    self._refuse_other_group(asked, holder)
                elif holder.cluster != spec.cluster:
                    self.refuse(
                        f"{asked} in cluster {spec.cluster}",
                        f"it is registered in cluster {holder.cluster}",
                        "Citus cannot change the cluster of a node",
                        "remove it (state: absent), then register it again",
                    )
                continue
            answer = self.current.answer(spec.address)
            primary = self.primary_of(spec.group)
            if primary is None:
                self.refuse(
                    asked,
                    f"group {spec.group} is not registered",
                    "a secondary follows a primary",
                    "declare the primary of that group in the same task, or correct group",
                )
            elif self._answers(asked, spec.address, answer) and self._follows(
                asked, answer, primary
            ):
                node = Node(
                    node_id=None,
                    group=spec.group,
                    address=spec.address,
                    role="secondary",
                    cluster=spec.cluster,
                    active=True,
                    metadata_synced=False,
                    shards=spec.group != COORDINATOR_GROUP,
                )
                self.do(citus.add_secondary(spec.address, spec.group, spec.cluster), node)

    def _follows(self, asked: str, answer: Answer, primary: Node) -> bool:
        """Whether that server is a copy of the primary, as far as it can be told."""
        # A primary that this plan registers, and so its copy, do not know their group yet.
        group = primary.group if primary.node_id is not None else COORDINATOR_GROUP
        if answer.standby and answer.group == group:
            return True
        self.refuse(
            asked,
            f"{_condition(answer)}, of group {answer.group}",
            f"a secondary has to be a physical standby of {primary.address}",
            "make it one (pg_basebackup), or correct name or group",
        )
        return False

    def allow_shards(self) -> None:
        for spec in self.wanted:
            shards = False if spec.state == "drained" else spec.shards
            node = self.node_for(spec)
            if node is not None and shards is not None and node.shards != shards:
                self.do(citus.set_shards(node, shards), replace(node, shards=shards))

    def join_job(self) -> None:
        """A rebalance that runs is waited for before shards are moved or nodes removed."""
        job = self.current.job
        if self.desired.moves_shards and job is not None and job.running:
            self.do(
                Action(
                    f"wait for rebalance job {job.job_id}, which runs already ({job.progress})",
                    "SELECT citus_job_wait(%s)",
                    (job.job_id,),
                    {"moves_shards": "join"},
                )
            )

    def remove(self) -> None:
        for spec in self.unwanted:
            # Of a group with members, the primary: its standbys may be registered as well.
            node = self.primary_of(spec.group) if spec.members else self.named(spec)
            if node is None:
                continue
            asked = f"{node.address} absent"
            if spec.members and node.address not in spec.addresses:
                self.refuse(
                    f"group {spec.group} with members {', '.join(spec.members)} absent",
                    f"the primary of group {spec.group} is {node.address}",
                    "it is none of the members",
                    "correct members or group",
                )
            elif spec.group is not None and node.group != spec.group:
                self._refuse_other_group(f"group {spec.group}: {asked}", node)
            elif node.group == COORDINATOR_GROUP and node.is_primary:
                self.refuse(
                    asked,
                    "it is the coordinator",
                    "a cluster cannot be without its coordinator",
                    "correct the name",
                )
            elif not node.is_primary:
                self.do(citus.remove_node(node), gone=node.address)
            elif self._can_remove(asked, spec, node):
                # A secondary without its primary would be of no use to anyone.
                for member in [n for n in self.nodes.values() if n.group == node.group]:
                    if not member.is_primary:
                        self.do(citus.remove_node(member), gone=member.address)
                self.do(citus.remove_node(node), gone=node.address)

    def _can_remove(self, asked: str, spec: NodeSpec, node: Node) -> bool:
        lost = self.current.holdings.get(node.group or 0, Holding()).only_copies
        others = [n for n in self.receivers() if n.group != node.group]
        answering = [a for a in spec.addresses if not self.current.answer(a).trouble]
        if not others:
            self.refuse(
                asked,
                "no other node may hold shards",
                "the cluster would have no place for its tables",
                "add another worker first, or let the coordinator hold shards (group: 0, "
                "shards: true)",
            )
        elif lost:
            self.refuse(
                asked,
                f"it holds the only copy of {_count(lost, 'shard')}",
                "they would be lost",
                "drain it first (state: drained), which moves them to "
                + ", ".join(sorted(str(n.address) for n in others)),
            )
        elif spec.members and answering:
            self.refuse(
                asked,
                f"PostgreSQL still answers at {', '.join(map(str, answering))}",
                "its Patroni runs and would register the group again",
                f"stop Patroni on all members of group {node.group}, then run again",
            )
        else:
            return True
        return False

    def move_shards(self) -> None:
        """Drain and rebalance, in one job."""
        rebalance = self.desired.rebalance
        drained = [
            node
            for spec in self.wanted
            if spec.state == "drained" and (node := self.node_for(spec)) is not None
        ]
        # Citus empties every node that may hold no shards, drained or not.
        sources = [
            n
            for n in self.nodes.values()
            if n.is_primary and n.active and not n.shards and self.movable(n)
        ]
        if rebalance and rebalance.strategy not in {None, *self.current.strategies}:
            self.refuse(
                f"rebalance by strategy {rebalance.strategy}",
                f"the strategies {', '.join(self.current.strategies)}",
                "there is no such strategy",
                "name one of them, or add it with citus_add_rebalance_strategy()",
            )
        drains = [node for node in sources if node in drained]
        # What steps before this one change, Citus takes into account only when they are done.
        uncertain = bool(self.actions) and any(h.movable for h in self.current.holdings.values())
        if drained or (rebalance and sources):
            self._require_room(drained or sources, sources)
        if not drains and not (rebalance and (self.current.moves or uncertain)):
            return
        self._require_identity(sources)
        if rebalance and not uncertain:
            self.to_move = Counter(
                f"from {move.source} to {move.target}" for move in self.current.moves
            )
        else:
            self.to_move = {f"away from {n.address}": self.movable(n) for n in sources}
        self.do(self._move_action(rebalance or Rebalance(), sources, uncertain))

    def _move_action(self, rebalance: Rebalance, sources: list[Node], uncertain: bool) -> Action:
        size = sum(self.current.movable_bytes.get(n.group or 0, 0) for n in sources)
        parts = [f"move {_count(n, 'shard')} {way}" for way, n in self.to_move.items()]
        if size and not self.desired.rebalance:
            parts[-1] += f" ({bytes_to_human(size)} in all)"
        if self.desired.rebalance and uncertain:
            parts.append("rebalance the shards as they lie then")
        arguments = (rebalance.strategy, self.desired.rebalance is None, self.desired.transfer_mode)
        if rebalance.background:
            return Action(
                ", ".join(parts) + ", in the background",
                "SELECT citus_rebalance_start(rebalance_strategy => %s, drain_only => %s,"
                " shard_transfer_mode => %s) AS job",
                arguments,
                {"moves_shards": "background"},
            )
        return Action(
            ", ".join(parts),
            "SELECT rebalance_table_shards(rebalance_strategy => %s, drain_only => %s,"
            " shard_transfer_mode => %s)",
            arguments,
            {"moves_shards": "foreground"},
        )

    def _require_room(self, emptied: list[Node], sources: list[Node]) -> None:
        """Refuse to empty nodes when the others cannot hold what they hold."""
        asked = f"no shards on {', '.join(str(n.address) for n in emptied)}"
        receivers = self.receivers()
        copies = max((self.current.holdings[n.group or 0].copies for n in sources), default=1)
        size = sum(self.current.movable_bytes.get(n.group or 0, 0) for n in sources)
        free = sum(self.current.answer(n.address).free_bytes for n in receivers)
        if len(receivers) < copies:
            self.refuse(
                asked,
                f"{_count(len(receivers), 'other node')} that may hold shards, "
                f"{'one copy' if copies == 1 else f'{copies} copies'} of each shard",
                "the rest cannot hold the shards",
                "add a worker first, or let another node hold shards (shards: true)",
            )
        elif size > free:
            self.refuse(
                asked,
                f"{bytes_to_human(size)} of shards, and {bytes_to_human(free)} free on "
                + ", ".join(str(n.address) for n in receivers),
                "the rest cannot hold the shards",
                "free disk space on those nodes or add a worker first",
            )

    def _require_identity(self, sources: list[Node]) -> None:
        if self.desired.transfer_mode != "auto":
            return
        emptied = {node.group for node in sources}
        moved = {move.table for move in self.current.moves}
        tables = sorted(
            table
            for table, groups in self.current.without_identity.items()
            if groups & emptied or table in moved
        )
        if tables:
            self.refuse(
                f"shards of {', '.join(tables)} moved",
                "no primary key and no replica identity",
                "logical replication could not copy updates and deletes on them meanwhile",
                "add a primary key, or set transfer_mode: block_writes, which makes writes to a "
                "shard wait while it is moved",
            )

    def copy_reference_tables(self) -> None:
        """The job copies them only where it has shards to move as well."""
        if not self.desired.rebalance or not self.current.reference_tables:
            return
        known = {node.address for node in self.current.nodes}
        lacking = [
            n.address
            for n in self.nodes.values()
            if n.is_primary
            and n.active
            and (n.address in self.current.reference_gaps or n.address not in known)
        ]
        if lacking:
            action = copy_reference_tables(lacking, self.desired.transfer_mode)
            self.do(replace(action, options={"moves_shards": "foreground"}))

    def require_answers(self) -> None:
        """Every node takes part in a change of metadata, so all have to answer before it."""
        if not self.actions or all(
            "citus_update_node" in a.statement or a.options.get("moves_shards") == "join"
            for a in self.actions
        ):
            return
        for node in self.nodes.values():
            trouble = self.current.answer(node.address).trouble
            if node.is_primary and node.active and node.node_id is not None and trouble:
                self.refuse(
                    self.actions[0].sentence,
                    f"{node.address} does not answer: {trouble}",
                    "every node takes part in a change of the cluster",
                    "bring it back first; or replace its address (its group with the new name), "
                    "or remove it if it holds no shards",
                )

    def finish(self) -> NodePlan:
        before = {str(node.address): node.facts() for node in self.current.nodes}
        after = {str(node.address): node.facts() for node in self.nodes.values()}
        if self.to_move:
            before["shards to move"] = dict(self.to_move)
            after["shards to move"] = {}
        return NodePlan(
            actions=tuple(self.actions),
            before=before,
            after=after,
            refusals=tuple(self.refusals),
            nodes=tuple(sorted(self.nodes.values(), key=_by_group)),
        )

    # Refusals that several parts share

    def _answers(self, asked: str, address: Address, answer: Answer) -> bool:
        if answer.trouble:
            self.refuse(
                asked,
                answer.trouble,
                f"the coordinator cannot talk to {address}",
                "correct the name, or make it resolve and answer on the coordinator: server, "
                "pg_hba, certificates, and extension citus in database "
                f"{self.current.coordinator.database}",
            )
        return not answer.trouble

    def _is_coordinator(self, asked: str, address: Address, answer: Answer) -> bool:
        if answer.started == self.current.coordinator.started:
            return True
        self.refuse(
            asked,
            f"{address} leads to another server than the one that the module is connected to",
            "the coordinator's address has to lead to the coordinator",
            "name the host of the coordinator, or connect the module to that server",
        )
        return False

    def _refuse_other_group(self, asked: str, holder: Node) -> None:
        self.refuse(
            asked,
            f"{holder.address} is registered as a {holder.role} of group {holder.group}",
            "a registered node keeps its role and group",
            "correct the declaration, or drain and remove the node and register it again",
        )


def _by_group(node: Node) -> tuple[float, bool, Address]:
    """The order of read_nodes; a group that Citus will choose comes last."""
    return (math.inf if node.group is None else node.group, not node.is_primary, node.address)


def _condition(answer: Answer) -> str:
    return answer.trouble or ("a standby" if answer.standby else "a primary")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
