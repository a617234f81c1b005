# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What Citus' catalogs say of nodes and of the shards on them, and what changes nodes.

Every function needs a session with the database that has the extension; those that
write need the coordinator and a superuser, which ``read_coordinator`` makes sure of.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.plan import Action, PlatformError
from ansible_collections.bss.platform.plugins.module_utils.postgresql import Session

COORDINATOR_GROUP = 0


class NoCitus(PlatformError):
    """The database has no extension citus."""


class NotTheCoordinator(PlatformError):
    """The server answers, but nodes cannot be declared on it."""


@dataclass(frozen=True, order=True)
class Address:
    """Where the nodes of a cluster reach one of them."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"


@dataclass(frozen=True)
class Node:
    """A row of pg_dist_node."""

    node_id: int | None
    """None for a node that a plan will register."""
    group: int | None
    """None where Citus will choose it."""
    address: Address
    role: str
    """``primary``, ``secondary``, or ``unavailable``."""
    cluster: str
    active: bool
    metadata_synced: bool
    shards: bool
    """Whether Citus may place shards on it (shouldhaveshards)."""

    @property
    def is_primary(self) -> bool:
        return self.role == "primary"

    @property
    def is_worker(self) -> bool:
        return self.is_primary and self.group != COORDINATOR_GROUP

    def facts(self) -> dict[str, Any]:
        """The node as modules return it."""
        return {
            "name": self.address.name,
            "port": self.address.port,
            "group": self.group,
            "role": self.role,
            "cluster": self.cluster,
            "active": self.active,
            "metadata_synced": self.metadata_synced,
            "shards": self.shards,
        }


@dataclass(frozen=True)
class Coordinator:
    """The server that the session is connected to, known to be the coordinator."""

    version: str
    """What citus_version() answers."""
    port: int
    database: str
    started: str
    """Start of its postmaster: tells whether an address leads to this very server."""


@dataclass(frozen=True)
class Answer:
    """What the server behind an address said when the coordinator asked it."""

    trouble: str | None = None
    """Why there is no answer, in the server's words; the rest is unset then."""
    group: int = 0
    standby: bool = False
    started: str = ""
    coordinator: Address | None = None
    """Who leads the cluster that this server believes to belong to, if any."""
    free_bytes: int = 0
    """Free space where its data directory lies."""


@dataclass(frozen=True)
class Holding:
    """Shards that the nodes of one group hold."""

    movable: int = 0
    """Shards of distributed tables: these are rebalanced and drained."""
    only_copies: int = 0
    """Shards of any table that no other active group has."""
    copies: int = 0
    """The most copies that any of its movable shards has in the cluster."""


def read_version(session: Session) -> str:
    """What citus_version() answers. Raises NoCitus."""
    if session.value("SELECT count(*) FROM pg_extension WHERE extname = 'citus'") == 0:
        raise NoCitus(
            f"{session.name} has no extension citus. Check login_db, or run "
            "CREATE EXTENSION citus there (with citus in shared_preload_libraries)."
        )
    return str(session.value("SELECT citus_version()"))


def is_standin(version: str) -> bool:
    """Whether that version is the test stand-in, which does not distribute data."""
    return "stand-in" in version


def read_coordinator(session: Session) -> Coordinator:
    """The connected server. Raises NoCitus, or NotTheCoordinator if it cannot declare nodes."""
    version = read_version(session)
    row = session.rows(
        """
        SELECT groupid, pg_is_in_recovery() AS standby,
               current_setting('is_superuser')::bool AS superuser, current_user AS role,
               current_setting('port')::int AS port, current_database() AS database,
               extract(epoch FROM pg_postmaster_start_time())::text AS started
          FROM pg_dist_local_group
        """
    )[0]
    if row["groupid"] != COORDINATOR_GROUP:
        raise NotTheCoordinator(
            f"Nodes are declared on the coordinator, but {session.name} is a worker "
            f"(group {row['groupid']}). Connect to the coordinator: the primary of group 0."
        )
    if row["standby"]:
        raise NotTheCoordinator(
            f"Nodes are declared on the primary coordinator, but {session.name} is a standby "
            "and cannot be written to. Connect to the primary of group 0."
        )
    if not row["superuser"]:
        raise NotTheCoordinator(
            f"Only a superuser may change nodes, and {row['role']} is none. "
            "Set login_user to a superuser."
        )
    return Coordinator(version, row["port"], row["database"], row["started"])


def read_nodes(session: Session) -> tuple[Node, ...]:
    """All nodes, by group, the primary first."""
    rows = session.rows(
        """
        SELECT nodeid, groupid, nodename, nodeport, noderole::text AS role, nodecluster,
               isactive, metadatasynced AND hasmetadata AS synced, shouldhaveshards
          FROM pg_dist_node
         ORDER BY groupid, noderole, nodename, nodeport
        """
    )
    return tuple(
        Node(
            node_id=row["nodeid"],
            group=row["groupid"],
            address=Address(row["nodename"], row["nodeport"]),
            role=row["role"],
            cluster=row["nodecluster"],
            active=row["isactive"],
            metadata_synced=row["synced"],
            shards=row["shouldhaveshards"],
        )
        for row in rows
    )


def ask_nodes(session: Session, addresses: Sequence[Address]) -> dict[Address, Answer]:
    """Ask the servers behind the addresses, from the coordinator, all at once.

    Takes addresses that are not registered, too: nothing is changed anywhere.
    """
    if not addresses:
        return {}
    question = """
        SELECT json_build_object(
                 'group', groupid, 'standby', pg_is_in_recovery(),
                 'started', extract(epoch FROM pg_postmaster_start_time())::text,
                 'coordinator', (SELECT json_build_array(nodename, nodeport) FROM pg_dist_node
                                  WHERE groupid = 0 AND noderole = 'primary'),
                 'free', (SELECT available_disk_size FROM citus_local_disk_space_stats()))
          FROM pg_dist_local_group
    """
    rows = session.rows(
        "SELECT node_name, node_port, success, result FROM master_run_on_worker("
        "%s::text[], %s::int[], %s::text[], true)",
        (
            [address.name for address in addresses],
            [address.port for address in addresses],
            [question] * len(addresses),
        ),
    )
    answers: dict[Address, Answer] = {}
    for row in rows:
        address = Address(row["node_name"], row["node_port"])
        if not row["success"]:
            answers[address] = Answer(trouble=_trouble(session, address, row["result"]))
            continue
        said = json.loads(row["result"])
        answers[address] = Answer(
            group=said["group"],
            standby=said["standby"],
            started=said["started"],
            coordinator=Address(*said["coordinator"]) if said["coordinator"] else None,
            free_bytes=said["free"],
        )
    return answers


def read_holdings(session: Session) -> dict[int, Holding]:
    """What the nodes of each group hold; groups without shards are left out."""
    rows = session.rows(
        """
        SELECT groupid, count(*) FILTER (WHERE movable) AS movable,
               count(*) FILTER (WHERE active_copies <= active::int) AS only_copies,
               coalesce(max(active_copies) FILTER (WHERE movable), 0) AS copies
          FROM (SELECT p.groupid, n.isactive AS active,
                       t.partmethod <> 'n' OR (t.repmodel <> 't' AND t.colocationid <> 0)
                         AS movable,
                       count(*) FILTER (WHERE n.isactive) OVER (PARTITION BY p.shardid)
                         AS active_copies
                  FROM pg_dist_placement p
                  JOIN pg_dist_shard USING (shardid)
                  JOIN pg_dist_partition t USING (logicalrelid)
                  JOIN pg_dist_node n ON n.groupid = p.groupid AND n.noderole = 'primary'
                 WHERE p.shardstate = 1) AS placement
         GROUP BY groupid
        """
    )
    return {
        row["groupid"]: Holding(row["movable"], row["only_copies"], row["copies"]) for row in rows
    }


@dataclass(frozen=True)
class Placement:
    """What one group holds of one table."""

    table: str
    type: str
    """``distributed``, ``reference``, ``local``, or ``schema`` (of a distributed schema)."""
    column: str | None
    """The distribution column; None for a table that has none."""
    colocation_id: int
    group: int
    table_shards: int
    """How many shards the whole table has."""
    shards: int
    bytes: int | None
    """None where it was not asked for, or a node that holds a shard did not answer."""


def read_placements(session: Session, sizes: bool) -> tuple[Placement, ...]:
    """What lies where, by table and group; sizes ask every node."""
    # WHERE false keeps PostgreSQL from calling the function, which connects to all nodes.
    rows = session.rows(
        """
        SELECT logicalrelid::text AS table_name,
               (SELECT count(*) FROM pg_dist_shard s WHERE s.logicalrelid = t.logicalrelid)
                 AS table_shards,
               CASE WHEN colocationid IN (SELECT colocationid FROM pg_dist_schema) THEN 'schema'
                    WHEN partmethod <> 'n' THEN 'distributed'
                    WHEN repmodel = 't' THEN 'reference'
                    WHEN colocationid = 0 THEN 'local'
                    ELSE 'distributed' END AS type,
               column_to_column_name(logicalrelid, partkey) AS column_name, colocationid, groupid,
               count(*) AS shards,
               CASE WHEN count(size) = count(*) THEN sum(size)::bigint END AS bytes
          FROM pg_dist_partition t
          JOIN pg_dist_shard USING (logicalrelid)
          JOIN pg_dist_placement USING (shardid)
          LEFT JOIN (SELECT shard_id, max(size) AS size FROM citus_shard_sizes()
                      WHERE %s GROUP BY shard_id) AS shard_size ON shard_id = shardid
         WHERE shardstate = 1
         GROUP BY logicalrelid, partmethod, partkey, repmodel, colocationid, groupid
         ORDER BY logicalrelid::text, groupid
        """,
        (sizes,),
    )
    return tuple(
        Placement(
            table=row["table_name"],
            type=row["type"],
            column=row["column_name"],
            colocation_id=row["colocationid"],
            group=row["groupid"],
            table_shards=row["table_shards"],
            shards=row["shards"],
            bytes=row["bytes"],
        )
        for row in rows
    )


def read_movable_bytes(session: Session) -> dict[int, int]:
    """Size of the movable shards of each group; asks every node for its sizes."""
    rows = session.rows(
        """
        SELECT groupid, coalesce(sum(size), 0)::bigint AS bytes
          FROM pg_dist_placement
          JOIN pg_dist_shard USING (shardid)
          JOIN pg_dist_partition t USING (logicalrelid)
          LEFT JOIN (SELECT shard_id, max(size) AS size FROM citus_shard_sizes() GROUP BY shard_id)
                 AS shard_size ON shard_id = shardid
         WHERE t.partmethod <> 'n' OR (t.repmodel <> 't' AND t.colocationid <> 0)
         GROUP BY groupid
        """
    )
    return {row["groupid"]: row["bytes"] for row in rows}


def set_coordinator_host(address: Address) -> Action:
    return Action(
        f"make {address} the address of the coordinator",
        "SELECT citus_set_coordinator_host(%s, %s)",
        (address.name, address.port),
    )


def add_node(address: Address, group: int | None) -> Action:
    if group is None:
        return Action(
            f"register {address} as a worker",
            "SELECT citus_add_node(%s, %s)",
            (address.name, address.port),
        )
    return Action(
        f"register {address} as the primary of group {group}",
        "SELECT citus_add_node(%s, %s, groupid => %s)",
        (address.name, address.port, group),
    )


def add_secondary(address: Address, group: int, cluster: str) -> Action:
    return Action(
        f"register {address} as a secondary of group {group} in cluster {cluster}",
        "SELECT citus_add_node(%s, %s, groupid => %s, noderole => 'secondary', nodecluster => %s)",
        (address.name, address.port, group, cluster),
    )


def update_address(node: Node, address: Address) -> Action:
    # force: what still talks to the lost host would hold its locks until its timeouts.
    return Action(
        f"replace the address of group {node.group}'s primary: {node.address} -> {address}",
        "SELECT citus_update_node(%s, %s, %s, force => true)",
        (node.node_id, address.name, address.port),
    )


def swap_addresses(primary: Node, secondary: Node) -> Action:
    # Two rows may not have one address, so the secondary's steps aside first. All three
    # calls are one statement: they take effect together or not at all.
    aside = primary.address.name + "-aside"
    return Action(
        f"make {secondary.address} the primary of group {primary.group} "
        f"and {primary.address} its secondary",
        "SELECT citus_update_node(%s, %s, %s),"
        " citus_update_node(%s, %s, %s, force => true),"
        " citus_update_node(%s, %s, %s)",
        (
            *(secondary.node_id, aside, primary.address.port),
            *(primary.node_id, secondary.address.name, secondary.address.port),
            *(secondary.node_id, primary.address.name, primary.address.port),
        ),
    )


def activate_node(node: Node) -> Action:
    return Action(
        f"activate {node.address}",
        "SELECT citus_activate_node(%s, %s)",
        (node.address.name, node.address.port),
    )


def sync_metadata() -> Action:
    return Action("sync the metadata to all nodes", "SELECT start_metadata_sync_to_all_nodes()")


def set_shards(node: Node, shards: bool) -> Action:
    return Action(
        f"let shards be placed on {node.address}"
        if shards
        else f"place no more shards on {node.address}",
        "SELECT citus_set_node_property(%s, %s, 'shouldhaveshards', %s)",
        (node.address.name, node.address.port, shards),
    )


def remove_node(node: Node) -> Action:
    return Action(
        f"remove {node.address} ({node.role} of group {node.group})",
        "SELECT citus_remove_node(%s, %s)",
        (node.address.name, node.address.port),
    )


def _trouble(session: Session, address: Address, result: str) -> str:
    """The reason behind master_run_on_worker's bare "failed to connect"."""
    if not result.startswith("failed to connect"):
        return " ".join(result.split())
    session.notices.clear()
    session.rows("SELECT citus_check_connection_to_node(%s, %s)", (address.name, address.port))
    reason = session.notices[-1].splitlines()[0] if session.notices else result
    return reason.rpartition("with the following error: ")[2]
