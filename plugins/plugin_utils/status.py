# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What all hosts told of the platform, put together on one screen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.checks import one_line
from ansible_collections.bss.platform.plugins.module_utils.plan import counted

Said = Mapping[str, Any]

WIDTH = 110
GAP = "  "
NOTHING = "-"
SEVERITIES = ("critical", "warning")
# A transaction over two nodes that is well is prepared for a moment.
PREPARED_MAX_AGE_S = 60
MANY_CONNECTIONS_PERCENT = 90
FULL_PERCENT = 85
LEADS = "leader"
# So many alerts of one name have a line each.
ALIKE = 3


@dataclass(frozen=True)
class Host:
    """One host and what it told."""

    name: str
    region: str = ""
    groups: frozenset[str] = frozenset()
    """Those of the inventory."""
    citus_group: int = 0
    broker: int = 0
    """Its number as a node of Kafka."""
    lost: str = ""
    """Why it told nothing; empty where it did."""
    said: Said = field(default_factory=dict)
    """What host_status returned."""
    kafka: Said = field(default_factory=dict)
    """What kafka_info returned, or failed with; empty where it was not asked."""
    flink: Said = field(default_factory=dict)
    """What flink_info returned, or failed with."""
    prometheus: Said = field(default_factory=dict)
    """What prometheus_info returned, or failed with."""

    @property
    def is_database(self) -> bool:
        return bool({"citus_coordinator", "citus_worker"} & self.groups)

    def part(self, name: str) -> Said:
        """A part of what it told; with ``trouble`` where there is no answer."""
        if self.lost:
            return {"trouble": "not reached"}
        answer: Said = self.said.get(name, {"trouble": "not asked"})
        return answer


@dataclass
class Screen:
    """Tables with lines below them, and what is to be seen to."""

    blocks: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    alerts: int = 0
    """How many fire; they have a table of their own."""

    @property
    def sentence(self) -> str:
        said = [counted(len(self.faults), "thing") + " to see to"] if self.faults else []
        said += [f"{counted(self.alerts, 'alert')} firing"] if self.alerts else []
        return ", ".join(said) or "all is well"

    @property
    def text(self) -> str:
        return "\n\n".join(self.blocks)

    def add(self, rows: Sequence[Sequence[str]], *lines: str) -> None:
        """A table, whose first row is its head, and lines below it."""
        self.blocks.append("\n".join([*aligned(rows), *(cut(line) for line in lines)]))


def gather(
    names: Sequence[str], hostvars: Mapping[str, Said], groups: Mapping[str, Sequence[str]]
) -> list[Host]:
    """The hosts with what their tasks registered."""
    return [_host(name, hostvars[name], groups) for name in names]


def _host(name: str, variables: Said, groups: Mapping[str, Sequence[str]]) -> Host:
    said = variables.get("status_host", {})
    lost = ""
    if said.get("unreachable"):
        lost = reason(said.get("msg", ""))
    elif "uptime_s" not in said:
        lost = reason(said.get("msg") or "it was not asked")
    member_of = frozenset(group for group, members in groups.items() if name in members)
    return Host(
        name=name,
        region=variables.get("region", ""),
        groups=member_of,
        citus_group=0
        if "citus_coordinator" in member_of
        else int(variables.get("citus_group") or 0),
        broker=int(variables.get("kafka_node_id") or 0),
        lost=lost,
        said=said,
        kafka=_asked(variables.get("status_kafka", {})),
        flink=_asked(variables.get("status_flink", {})),
        prometheus=_asked(variables.get("status_prometheus", {})),
    )


def reason(message: str) -> str:
    """Why a host was not reached, of all that Ansible says: the last words are those of ssh."""
    last = next((line for line in reversed(message.splitlines()) if line.strip()), "no answer")
    return one_line(last.rpartition("ssh: ")[2].rpartition("Task failed: ")[2])


def _asked(registered: Said) -> Said:
    """What a task registered; nothing where it was left out."""
    return {} if registered.get("skipped") else registered


def watched_regions(
    hostvars: Mapping[str, Said], groups: Mapping[str, Sequence[str]]
) -> frozenset[str]:
    """The regions that have a Prometheus, whether its host is shown or not."""
    return frozenset(hostvars[name].get("region", "") for name in groups.get("prometheus", []))


def screen(
    hosts: Sequence[Host], watched: frozenset[str], certificate_days: int, now: datetime
) -> Screen:
    """The whole screen."""
    shown = Screen()
    regions = sorted({host.region for host in hosts})
    show_hosts(shown, hosts, certificate_days)
    show_databases(shown, [host for host in hosts if host.is_database], hosts)
    for region in regions:
        of_region = [host for host in hosts if host.region == region]
        show_kafka(shown, of_region)
        show_flink(shown, of_region)
        if region in watched:
            show_alerts(shown, of_region, now)
        else:
            shown.blocks.append(f"alerts: no Prometheus in {region or 'this region'}")
    title = f"{', '.join(filter(None, regions)) or 'the platform'} at {now:%Y-%m-%d %H:%M:%S} UTC"
    shown.blocks.insert(0, cut(f"{title}: {shown.sentence}"))
    if shown.faults:
        shown.blocks.append("\n".join(["TO SEE TO", *(cut(fault) for fault in shown.faults)]))
    return shown


# Hosts


def show_hosts(shown: Screen, hosts: Sequence[Host], certificate_days: int) -> None:
    rows = [("HOST", "UP", "LOAD", "MEMORY", "DISK", "CERTIFICATE", "UNITS")]
    for host in hosts:
        if host.lost:
            rows.append((host.name, f"NOT REACHED: {host.lost}", "", "", "", "", ""))
            shown.faults.append(f"{host.name} was not reached: {host.lost}")
            continue
        said = host.said
        disk = next(iter(said["disks"]), None)
        certificate, days = soonest(said["certificates"])
        rows.append(
            (
                host.name,
                duration(said["uptime_s"]),
                f"{said['load']:.2f}",
                f"{said['memory_percent']} %",
                f"{disk['used_percent']} % of {disk['path']}" if disk else NOTHING,
                NOTHING if days is None else f"{days:.0f} days ({certificate})",
                units_shown(said["units"]),
            )
        )
        shown.faults += host_faults(host, certificate_days)
    shown.add(rows)


def host_faults(host: Host, certificate_days: int) -> list[str]:
    """What is wrong with a host that was reached, but for its services."""
    said = host.said
    faults = [
        f"{host.name}: the unit {unit} is {state}"
        for unit, state in said["units"].items()
        if state != "active"
    ]
    faults += [
        f"{host.name}: {disk['path']} is {disk['used_percent']} % full"
        for disk in said["disks"]
        if disk["used_percent"] >= FULL_PERCENT
    ]
    for name, each in said["certificates"].items():
        if "trouble" in each:
            faults.append(f"{host.name}: certificate {name}: {each['trouble']}")
        elif each["days_left"] < certificate_days:
            faults.append(f"{host.name}: certificate {name} ends in {each['days_left']:.0f} days")
    etcd = said.get("etcd")
    if etcd is not None and not etcd.get("healthy"):
        trouble = etcd.get("trouble", "it sees no leader")
        faults.append(f"{host.name}: etcd is not healthy: {trouble}")
    return faults


def soonest(certificates: Mapping[str, Said]) -> tuple[str, float | None]:
    """The certificate that ends first, and in how many days."""
    known = [
        (each["days_left"], name) for name, each in certificates.items() if "days_left" in each
    ]
    days, name = min(known, default=(None, ""))
    return name, days


def units_shown(units: Mapping[str, str]) -> str:
    return (
        ", ".join(
            unit if state == "active" else f"{unit} {state.upper()}"
            for unit, state in units.items()
        )
        or NOTHING
    )


# Databases


def show_databases(shown: Screen, members: Sequence[Host], hosts: Sequence[Host]) -> None:
    if not members:
        return
    citus = next((host.said["citus"] for host in members if "citus" in host.said), None)
    placements = citus["placements"] if citus else {}
    rows = [
        ("DATABASE", "GROUP", "ROLE", "STATE", "TIMELINE", "BEHIND", "CLIENTS", "SHARDS", "SIZE")
    ]
    for host in sorted(members, key=lambda each: (each.citus_group, each.name)):
        patroni, database = host.part("patroni"), host.part("database")
        role = str(patroni.get("role", NOTHING))
        leads = role == "primary"
        rows.append(
            (
                host.name,
                str(host.citus_group),
                role,
                str(patroni.get("state") or patroni["trouble"]),
                str(patroni.get("timeline") or NOTHING),
                NOTHING if leads or "trouble" in patroni else size(patroni.get("lag_bytes")),
                f"{database['connections']} of {database['max_connections']}"
                if "connections" in database
                else NOTHING,
                str(placements.get(str(host.citus_group), 0)) if leads and citus else NOTHING,
                size(database.get("bytes")),
            )
        )
        if not host.lost:
            shown.faults += member_faults(host, patroni, database)
    shown.faults += group_faults(members)
    shown.add(rows, *citus_lines(shown, citus), etcd_line(hosts))


def member_faults(host: Host, patroni: Said, database: Said) -> list[str]:
    """What is wrong with a member of a group that was reached."""
    name = host.name
    faults = []
    if "trouble" in patroni:
        faults.append(f"{name}: Patroni does not answer: {patroni['trouble']}")
    else:
        if patroni["state"] not in ("running", "streaming"):
            faults.append(f"{name}: PostgreSQL is {patroni['state']}")
        faults += [
            f"{name}: {what}"
            for key, what in (
                ("pending_restart", "settings wait for a restart (citus_restart)"),
                ("paused", "failover is paused (patronictl resume)"),
                ("failsafe", "the quorum is lost, the group goes on without it"),
            )
            if patroni[key]
        ]
    if "trouble" in database:
        faults.append(f"{name}: PostgreSQL does not answer: {database['trouble']}")
    else:
        if database["prepared_age_s"] > PREPARED_MAX_AGE_S:
            faults.append(
                f"{name}: {counted(database['prepared'], 'prepared transaction')}, the oldest "
                f"for {duration(database['prepared_age_s'])}"
            )
        most = database["max_connections"] * MANY_CONNECTIONS_PERCENT / 100
        if database["connections"] > most:
            faults.append(
                f"{name}: {database['connections']} of {database['max_connections']} connections "
                "are taken"
            )
    return faults


def group_faults(members: Sequence[Host]) -> list[str]:
    """What is wrong with who leads the groups."""
    faults = []
    for group in sorted({host.citus_group for host in members}):
        leading = [
            host.name
            for host in members
            if host.citus_group == group and host.part("patroni").get("role") == "primary"
        ]
        if not leading:
            faults.append(f"group {group} has no primary that was reached")
        elif len(leading) > 1:
            faults.append(f"group {group} has more than one primary: {', '.join(leading)}")
    return faults


def citus_lines(shown: Screen, citus: Said | None) -> list[str]:
    if citus is None:
        return ["Citus: no primary of group 0 that tells of it"]
    nodes = citus["nodes"] or []
    for node in nodes:
        if not node["active"]:
            shown.faults.append(f"Citus: the node {node['name']} is not active")
        elif node["role"] == "primary" and not node["metadata_synced"]:
            shown.faults.append(f"Citus: the node {node['name']} has no current metadata")
    rebalance = citus["rebalance"]
    moving = (
        f"a rebalance is {rebalance['state']}, {rebalance['tasks_done']} of {rebalance['tasks']} "
        "steps done"
        if rebalance
        else "no rebalance"
    )
    active = sum(node["active"] for node in nodes)
    return [
        f"Citus {citus['version']}: {active} of {counted(len(nodes), 'node')} active, "
        f"{counted(citus['tables'], 'table')}, {moving}"
    ]


def etcd_line(hosts: Sequence[Host]) -> str:
    quorum = [host for host in hosts if "etcd" in host.groups]
    healthy = sum(bool(host.part("etcd").get("healthy")) for host in quorum)
    lost = sum(bool(host.lost) for host in quorum)
    not_reached = f", {lost} not reached" if lost else ""
    return f"etcd: {healthy} of {counted(len(quorum), 'member')} healthy{not_reached}"


# Kafka


def show_kafka(shown: Screen, hosts: Sequence[Host]) -> None:
    brokers = [host for host in hosts if "kafka" in host.groups]
    if not brokers:
        return
    region = brokers[0].region
    answers = [host.kafka for host in brokers if host.kafka]
    info = next((answer for answer in answers if "brokers" in answer), None)
    if info is None:
        said = next((str(answer.get("msg", "")) for answer in answers), "")
        trouble = one_line(said) or "none of its brokers runs"
        shown.faults.append(f"Kafka of {region} does not answer: {trouble}")
        shown.add([("BROKER", "ID", "STATE"), *((b.name, str(b.broker), "?") for b in brokers)])
        return
    partitions = [each for topic in info["topics"].values() for each in topic["partitions"]]
    registered = {each["id"]: each for each in info["brokers"]}
    rows = [("BROKER", "ID", "STATE", "LEADS", "REPLICAS", "IN SYNC", "CONTROLLER")]
    for host in sorted(brokers, key=lambda each: each.broker):
        state = broker_state(registered.get(host.broker))
        if state != "serves":
            shown.faults.append(f"{host.name}: broker {host.broker} is {state}")
        rows.append(
            (
                host.name,
                str(host.broker),
                state,
                str(sum(each["leader"] == host.broker for each in partitions)),
                str(sum(host.broker in each["replicas"] for each in partitions)),
                str(sum(host.broker in each["isr"] for each in partitions)),
                controller_state(host.broker, info["quorum"]),
            )
        )
    unwell = {kind.replace("_", " "): names for kind, names in info["partitions"].items() if names}
    shown.faults += [
        f"Kafka of {region}: {counted(len(names), 'partition')} {kind}: {', '.join(names)}"
        for kind, names in unwell.items()
    ]
    if info["quorum"]["leader"] < 0:
        shown.faults.append(f"Kafka of {region}: the controllers have no leader")
    told = ", ".join(f"{len(names)} {kind}" for kind, names in unwell.items())
    moves = len(info["reassignments"])
    moving = f", {moves} on the move" if moves else ""
    shown.add(
        rows,
        f"Kafka of {region}: {counted(len(info['topics']), 'topic')}, "
        f"{counted(len(partitions), 'partition')}: {told or 'all replicas in sync'}{moving}",
        *groups_lines(info["groups"], info["silent_brokers"]),
    )


def groups_lines(groups: Mapping[str, Said], silent: Sequence[int]) -> list[str]:
    """How far groups of consumers are behind, those that are most first."""
    known = {name: each["lag"] for name, each in groups.items()}
    order = sorted(known, key=lambda name: (known[name] is not None, -(known[name] or 0), name))
    shown = [f"{name} {'?' if known[name] is None else amount(known[name])}" for name in order]
    shown += [f"those of broker {number} ?" for number in silent]
    return [f"lag of groups: {', '.join(shown)}"] if shown else []


def broker_state(registered: Said | None) -> str:
    if registered is None:
        return "not registered"
    return "fenced" if registered["fenced"] else "serves"


def controller_state(number: int, quorum: Said) -> str:
    """What a node is among the controllers."""
    if quorum["leader"] == number:
        return LEADS
    voter = next((each for each in quorum["voters"] if each["id"] == number), None)
    if voter is None:
        return NOTHING
    behind = voter["behind_ms"]
    late = "" if behind is None or behind < 1000 else f", {duration(behind / 1000)} behind"
    return f"follows{late}"


# Flink


def show_flink(shown: Screen, hosts: Sequence[Host]) -> None:
    managers = [host for host in hosts if "flink_jobmanager" in host.groups]
    if not managers:
        return
    region = managers[0].region
    info = next((host.flink for host in managers if "jobs" in host.flink), None)
    if info is None:
        said = next((str(host.flink.get("msg", "")) for host in managers if host.flink), "")
        trouble = one_line(said) or "its host was not reached"
        shown.faults.append(f"Flink of {region} does not answer: {trouble}")
        shown.add([("JOB", "STATE"), (NOTHING, "the JobManager does not answer")])
        return
    rows = [("JOB", "STATE", "SLOTS", "IN/S", "OUT/S", "LAG", "CHECKPOINT", "FAILED", "RESTARTS")]
    live = [job for job in info["jobs"] if job["live"]]
    for job in sorted(live, key=lambda each: str(each["name"])):
        flow = job.get("flow") or {}
        rows.append(
            (
                job["name"],
                "RUNNING" if job["running"] else not_running(job),
                str(job["parallelism"]),
                rate(flow.get("records_in_s")),
                rate(flow.get("records_out_s")),
                amount(flow.get("pending_records")),
                ago(flow.get("checkpoint_age_s")),
                str(job["checkpoints_failed"]),
                amount(flow.get("restarts")),
            )
        )
        if not job["running"]:
            why = f": {job['root_cause']}" if job["root_cause"] else ""
            shown.faults.append(f"Flink of {region}: {job['name']} is {not_running(job)}{why}")
    if not live:
        rows.append((NOTHING, "no job runs", "", "", "", "", "", "", ""))
    declared = sum("flink_taskmanager" in host.groups for host in hosts)
    there = len(info["taskmanagers"])
    if there < declared:
        shown.faults.append(f"Flink of {region}: {there} of {declared} TaskManagers are registered")
    shown.add(
        rows,
        f"Flink {info['version']} of {region}: {there} of {counted(declared, 'TaskManager')}, "
        f"{info['slots']['free']} of {counted(info['slots']['total'], 'slot')} free",
    )


def not_running(job: Said) -> str:
    """The state of a job of which not all tasks run."""
    return "STARTING" if job["state"] == "RUNNING" else str(job["state"])


# Alerts


def show_alerts(shown: Screen, hosts: Sequence[Host], now: datetime) -> None:
    region = hosts[0].region
    watcher = next((host for host in hosts if "prometheus" in host.groups), None)
    if watcher is None:  # by a limit
        shown.blocks.append(f"alerts of {region} were not asked for")
        return
    said = watcher.prometheus
    if "alerts" not in said:
        trouble = one_line(str(said.get("msg", ""))) or "its host was not reached"
        shown.faults.append(f"Prometheus of {region} does not answer: {trouble}")
        shown.blocks.append(f"alerts of {region} are not known")
        return
    # The one that fires always, to prove that alerts get through, has another severity.
    alerts = [each for each in said["alerts"] if each["severity"] in SEVERITIES]
    alerts.sort(key=lambda alert: SEVERITIES.index(alert["severity"]))
    shown.alerts += len(alerts)
    quiet = f", {said['suppressed']} silenced or inhibited" if said["suppressed"] else ""
    firing = f"{len(alerts)} fire" if len(alerts) > 1 else f"{len(alerts) or 'none'} fires"
    line = f"alerts of {region}: {firing}{quiet}; {targets_shown(said['targets'])}"
    if not alerts:
        shown.blocks.append(cut(line))
        return
    by_name: dict[str, list[Said]] = {}
    for alert in alerts:
        by_name.setdefault(alert["name"], []).append(alert)
    rows = [("ALERT", "SEVERITY", "WHERE", "SINCE", "SUMMARY")]
    for alike in by_name.values():
        told = alike if len(alike) <= ALIKE else alike[:1]
        more = len(alike) - len(told)
        rows += [
            (
                alert["name"],
                alert["severity"],
                (alert["instance"] or NOTHING) + (f" and {more} more" if more else ""),
                ago(since_s(alert["since"], now)),
                alert["summary"],
            )
            for alert in told
        ]
    shown.add(rows, line)


def targets_shown(targets: Said) -> str:
    down = targets["down"]
    said = f"{targets['total'] - len(down)} of {counted(targets['total'], 'target')} up"
    return f"{said}, down: {', '.join(down)}" if down else said


def since_s(started: str, now: datetime) -> float:
    """Seconds since a time as Alertmanager writes it: with as many decimals as it likes."""
    moment = datetime.fromisoformat(started.partition(".")[0].rstrip("Z")[:19])
    return max(0.0, (now - moment.replace(tzinfo=UTC)).total_seconds())


# Numbers and tables


def duration(seconds: float) -> str:
    """In the largest unit of which there are two, or in seconds."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def ago(seconds: float | None) -> str:
    return NOTHING if seconds is None else f"{duration(seconds)} ago"


def size(count: int | None) -> str:
    """Bytes, in the largest unit of which there are two."""
    if count is None:
        return NOTHING
    for unit, length in (("TB", 1024**4), ("GB", 1024**3), ("MB", 1024**2), ("KB", 1024)):
        if count >= 2 * length:
            return f"{count / length:.0f} {unit}"
    return f"{count} B"


def amount(count: float | None) -> str:
    return NOTHING if count is None else f"{count:,.0f}"


def rate(count: float | None) -> str:
    """Few are shown with a decimal: one in ten seconds is not none."""
    if count is None or count == 0 or count >= 10:
        return amount(count)
    return f"{count:.1f}" if count >= 0.1 else "<0.1"


def aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """The rows with their columns below each other, numbers to the right; none is too wide."""
    # What is all that a row says takes the place of the other columns.
    whole = [row for row in rows if any(row[2:])] or rows
    widths = [max(len(row[column]) for row in whole) for column in range(len(rows[0]))]
    right = [
        len(rows) > 1 and all(_is_number(row[column]) for row in whole[1:])
        for column in range(len(rows[0]))
    ]
    for row in rows:
        cells = (
            f"{cell:>{width}}" if to_right else f"{cell:<{width}}"
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        yield cut(GAP.join(cells).rstrip())


def _is_number(cell: str) -> bool:
    """Whether it is one, with a unit or without."""
    return cell == NOTHING or re.fullmatch(r"<?[\d.,]+( \S+)?", cell) is not None


def cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."
