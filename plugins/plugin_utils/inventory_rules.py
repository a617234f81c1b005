# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What an inventory must be like before any of its hosts is touched.

A rule is a function from an Inventory to the refusals it causes. Add one: write
the function, name it in RULES, and give it a test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import count
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.plan import Refusal
from ansible_collections.bss.platform.plugins.plugin_utils.inventory import (
    ADDRESS_SPECS,
    BadValue,
    Inventory,
)
from ansible_collections.bss.platform.plugins.plugin_utils.role_variables import (
    own_prefixes,
    prefix,
    read_ports,
)
from ansible_collections.bss.platform.plugins.plugin_utils.supported_versions import (
    PATRONI_MAJOR,
    POSTGRESQL_OF_CITUS,
)

COORDINATORS = "citus_coordinator"
WORKERS = "citus_worker"
ETCD = "etcd"
DATABASES = (COORDINATORS, WORKERS)
BROKERS = "kafka"
KAFKA_NODES = (BROKERS, "kafka_controller")
JOBMANAGERS = "flink_jobmanager"
TASKMANAGERS = "flink_taskmanager"
ZOOKEEPER = "zookeeper"
FLINK = (JOBMANAGERS, TASKMANAGERS)
PROMETHEUS = "prometheus"
GRAFANA = "grafana"
LOKI = "loki"
FUNCTION_GROUPS = (*DATABASES, ETCD, *KAFKA_NODES, *FLINK, ZOOKEEPER, PROMETHEUS, GRAFANA, LOKI)

# Patroni's own roles, and pg_hba's word for every role.
RESERVED_ROLES = ("postgres", "replicator", "all")

# Of Alertmanager 0.25, https://prometheus.io/docs/alerting/0.25/configuration/: what a
# receiver has beside its name, and what a route has.
RECEIVER_KINDS = tuple(
    f"{kind}_configs"
    for kind in (
        *("discord", "email", "opsgenie", "pagerduty", "pushover", "slack", "sns", "telegram"),
        *("victorops", "webex", "webhook", "wechat"),
    )
)
ROUTE_OPTIONS = (
    *("receiver", "matchers", "match", "match_re", "continue", "routes", "group_by", "group_wait"),
    *("group_interval", "repeat_interval", "mute_time_intervals", "active_time_intervals"),
)
# The role's own receivers.
KEPT = "kept"
OWN_RECEIVERS = (KEPT, "verify")

Rule = Callable[[Inventory], Iterator[Refusal]]


def judge(inventory: Inventory) -> list[Refusal]:
    """Everything that is wrong with an inventory, in the order of RULES."""
    return [refusal for rule in RULES for refusal in rule(inventory)]


def summary(inventory: Inventory) -> str:
    """One line on what was looked at: ``1 region, 4 hosts, 3 variables of ours``."""
    names = set().union(*(declaration.values for declaration in inventory.declarations))
    counts = (
        (len(_regions(inventory)), "region"),
        (len(_platform_hosts(inventory)), "host"),
        (len(names & inventory.specs.keys()), "variable"),
    )
    regions, hosts, variables = (f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in counts)
    return f"{regions}, {hosts}, {variables} of ours"


# The rules --------------------------------------------------------------------


def functions_are_in_a_region(inventory: Inventory) -> Iterator[Refusal]:
    """A host of a function group has a region: roles find its peers by it."""
    lost: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for host in _hosts_of(inventory, *FUNCTION_GROUPS):
        variables = inventory.hosts[host]
        if not variables.values.get("region") and not variables.has_unknown("region"):
            lost[_other_groups(inventory, host)].append(host)
    for groups, hosts in lost.items():
        example = groups[0] if len(groups) == 1 else "us_east"
        yield Refusal(
            asked=f"region of {_listed(hosts)}: not set",
            why="a host of a function group finds its peers by its region",
            found=f"{_listed(groups)} without a variable region" if groups else "no other group",
            remedy=f"give them a group like {example} with region: {example.replace('_', '-')}",
        )


def region_is_named_like_its_group(inventory: Inventory) -> Iterator[Refusal]:
    """Hosts with ``region: us-east`` are in group us_east."""
    for region, hosts in _regions(inventory).items():
        group = _region_group(region)
        outside = [host for host in hosts if host not in inventory.groups.get(group, ())]
        if outside:
            groups = sorted({name for host in outside for name in _other_groups(inventory, host)})
            meant = sorted(
                {name for host in outside for name in _declared_regions(inventory, host)}
            )
            yield Refusal(
                asked=f"region: {region} ({inventory.places('region', outside)})",
                why=f"a region is named like its group, and {_listed(outside)} "
                f"{_are(outside)} not in a group {group}",
                found=f"groups {', '.join(groups) or 'of functions only'}",
                remedy=(
                    f"set region: {meant[0].replace('_', '-')} in group {meant[0]}, "
                    f"or name the group {group}"
                    if meant
                    else f"add the hosts to a group {group} that has the variable region"
                ),
            )


def host_is_in_one_region(inventory: Inventory) -> Iterator[Refusal]:
    for host in _platform_hosts(inventory):
        groups_of: dict[str, str] = {}
        for group, region in _declared_regions(inventory, host).items():
            groups_of.setdefault(region, group)
        if len(groups_of) > 1:
            yield Refusal(
                asked=f"region of {host}: {_listed(groups_of)}",
                why="a host is in one region",
                found=f"{host} in the groups {_listed(groups_of.values())}",
                remedy=f"take {host} out of all of them but one",
            )


def region_is_complete(inventory: Inventory) -> Iterator[Refusal]:
    """A region has a coordinator and a worker."""
    regions = _regions(inventory)
    if not regions and not _hosts_of(inventory, *FUNCTION_GROUPS):
        yield Refusal(
            asked="the inventory",
            why="it has no host of this platform",
            found=f"groups {_listed(sorted(inventory.groups))}",
            remedy="give one with -i, such as -i inventories/us-east",
        )
    for region, hosts in regions.items():
        for group, thing in ((COORDINATORS, "coordinator"), (WORKERS, "worker")):
            if not set(hosts) & set(inventory.groups.get(group, ())):
                meant = get_close_matches(group, inventory.groups.keys() - {*FUNCTION_GROUPS}, 1)
                yield Refusal(
                    asked=f"region: {region}",
                    why=f"a region has at least one {thing}",
                    found=f"no host of {region} in group {group}"
                    + (f", but a group {meant[0]}" if meant else ""),
                    remedy=(
                        f"rename group {meant[0]} to {group}"
                        if meant
                        else f"put a host of {_region_group(region)} into group {group}"
                    ),
                )


def coordinators_are_of_group_0(inventory: Inventory) -> Iterator[Refusal]:
    for host in _hosts_of(inventory, COORDINATORS):
        number = inventory.hosts[host].values.get("citus_group", 0)
        if number != 0:
            yield Refusal(
                asked=f"citus_group: {number} ({inventory.places('citus_group', [host])})",
                why="all coordinators are members of one group, 0",
                found=f"{host} in group {COORDINATORS}",
                remedy=f"set citus_group: 0 for {host}, or move it to group {WORKERS}",
            )


def workers_have_a_group(inventory: Inventory) -> Iterator[Refusal]:
    """A worker says which group of shards it is a member of: 1, 2, ..."""
    numbers = {
        host: inventory.hosts[host].values.get("citus_group")
        for host in _hosts_of(inventory, WORKERS)
        if not inventory.hosts[host].has_unknown("citus_group")
    }
    taken = sorted({number for number in numbers.values() if number and number > 0})
    free = (number for number in count(1) if number not in taken)
    for host, number in numbers.items():
        if number is None or number < 1:
            yield Refusal(
                asked=f"citus_group: {'not set' if number is None else number} (host {host})",
                why=f"a host of group {WORKERS} is a member of a group of shards, 1 or above"
                + (" (0 is the coordinator's)" if number == 0 else ""),
                found=f"workers' groups {_listed(taken)}" if taken else "no worker with a group",
                remedy=f"set citus_group: {next(free)} for {host}, or the number of the worker "
                "whose standby it is",
            )


def etcd_has_a_majority(inventory: Inventory) -> Iterator[Refusal]:
    """One etcd serves the whole inventory, so its members are counted over all regions."""
    members = _hosts_of(inventory, ETCD)
    if members or _hosts_of(inventory, *DATABASES):
        yield from _odd(ETCD, members, "in all")


def kafka_controllers_have_a_majority(inventory: Inventory) -> Iterator[Refusal]:
    """Each region has a Kafka of its own; its brokers are controllers unless told otherwise."""
    group = "kafka_controller" if inventory.groups.get("kafka_controller") else "kafka"
    for region, hosts in _regions(inventory).items():
        controllers = [host for host in _hosts_of(inventory, group) if host in hosts]
        if controllers:
            advice = ", or name an odd number of them in a group kafka_controller"
            yield from _odd(group, controllers, f"in {region}", "" if group != BROKERS else advice)


def kafka_nodes_have_a_number(inventory: Inventory) -> Iterator[Refusal]:
    """Each node of a region's Kafka says which one it is: 1, 2, ..."""
    for region, hosts in _regions(inventory).items():
        numbers = {
            host: inventory.hosts[host].values.get("kafka_node_id")
            for host in _hosts_of(inventory, *KAFKA_NODES)
            if host in hosts and not inventory.hosts[host].has_unknown("kafka_node_id")
        }
        free = (number for number in count(1) if number not in numbers.values())
        for host, number in numbers.items():
            same = [other for other in numbers if numbers[other] == number]
            if number is None or host != same[0]:
                yield Refusal(
                    asked=f"kafka_node_id: {'not set' if number is None else number} (host {host})",
                    why="a node of Kafka has a number of its own in its region, for good",
                    found=f"nodes of {region}: {_listed(numbers)}"
                    if number is None
                    else f"the number of {same[0]}",
                    remedy=f"set kafka_node_id: {next(free)} for {host}",
                )


def topics_fit_the_brokers(inventory: Inventory) -> Iterator[Refusal]:
    """A topic has at most a replica on each broker, and insists on no more than it has."""
    for region, hosts in _regions(inventory).items():
        brokers = [host for host in _hosts_of(inventory, BROKERS) if host in hosts]
        for host in brokers[:1]:  # topics are those of a region
            for topic in inventory.value(host, "bss_workload_topics") or ():
                replicas = topic.get("replication_factor", len(brokers))
                least = (topic.get("config") or {}).get("min.insync.replicas", 1)
                if replicas > len(brokers):
                    yield Refusal(
                        asked=f"replication_factor: {replicas} of topic {topic.get('name')} "
                        f"({inventory.places('bss_workload_topics', [host])})",
                        why="a broker holds one replica of a partition at most",
                        found=f"{len(brokers)} in group {BROKERS} of {region}",
                        remedy=f"make it {len(brokers)} or add brokers",
                    )
                if int(least) > replicas:
                    yield Refusal(
                        asked=f"min.insync.replicas: {least} of topic {topic.get('name')} "
                        f"({inventory.places('bss_workload_topics', [host])})",
                        why="no more replicas can be in sync than there are",
                        found=f"replication_factor {replicas}",
                        remedy=f"make it {max(1, replicas - 1)}",
                    )


def flink_is_complete(inventory: Inventory) -> Iterator[Refusal]:
    """A region's Flink has one JobManager, one ZooKeeper that keeps its jobs, and TaskManagers."""
    for region, hosts in _regions(inventory).items():
        members = {
            group: [host for host in _hosts_of(inventory, group) if host in hosts]
            for group in (*FLINK, ZOOKEEPER)
        }
        if not any(members.values()):
            continue
        for group, found in members.items():
            number = "at least one" if group == TASKMANAGERS else "one"
            if not found or (len(found) > 1 and group != TASKMANAGERS):
                yield Refusal(
                    asked=f"group {group}: {len(found)} in {region}",
                    why=f"the Flink of a region has {number}",
                    found=_listed(found) or "no host in the group",
                    remedy=f"leave one of them in group {group}"
                    if found
                    else f"put a host of {_region_group(region)} into group {group}",
                )


def flink_shares_a_storage(inventory: Inventory) -> Iterator[Refusal]:
    """Who recovers a job reads the checkpoints that others wrote."""
    name = "flink_storage_dir"
    for region, hosts in _regions(inventory).items():
        members = [
            host
            for host in _hosts_of(inventory, *FLINK)
            if host in hosts and not inventory.hosts[host].has_unknown(name)
        ]
        storages = {inventory.value(host, name) or "not set" for host in members}
        if len(storages) > 1 or "not set" in storages:
            yield Refusal(
                asked=f"{name}: {_listed(sorted(storages))} ({inventory.places(name, members)})",
                why="all hosts of a region's Flink share one storage, or a job that one of them "
                "lost could not be recovered by another",
                found=f"hosts of Flink in {region}: {_listed(members)}",
                remedy=f"set {name} in group {_region_group(region)}, to a directory that is "
                "mounted on all of them or a URL such as s3://bucket/flink",
            )


def kafka_connector_is_of_flink(inventory: Inventory) -> Iterator[Refusal]:
    """A connector's version ends with the line of Flink that it is made for: 5.0.0-2.2."""
    names = ("flink_version", "flink_kafka_connector_version")
    for (flink, connector), hosts in _values(inventory, FLINK, *names):
        line = ".".join(str(flink).split(".")[:2])
        if str(connector).rpartition("-")[2] != line:
            yield Refusal(
                asked=f"flink_kafka_connector_version: {connector} with flink_version: {flink} "
                f"({inventory.places(names[1], hosts)})",
                why="jobs read and write Kafka with a connector that is made for their Flink",
                found=f"one for Flink {str(connector).rpartition('-')[2]}",
                remedy=f"set a release of the connector that ends with -{line}, and its "
                "flink_kafka_connector_checksum",
            )


def jobs_fit_the_slots(inventory: Inventory) -> Iterator[Refusal]:
    """A job takes as many slots as it is parallel."""
    for region, hosts in _regions(inventory).items():
        members = [host for host in _hosts_of(inventory, TASKMANAGERS) if host in hosts]
        slots = [inventory.value(host, "flink_slots") for host in members]
        if not members or None in slots:
            continue
        there = f"{sum(slots)} slots in {region}, {_listed(slots)} on {_listed(members)}"
        parallelism = inventory.value(members[0], "flink_parallelism")
        if parallelism is not None and parallelism > sum(slots):
            yield Refusal(
                asked=f"flink_parallelism: {parallelism} "
                f"({inventory.places('flink_parallelism', members)})",
                why="a job takes as many slots as it is parallel, and would wait for ever",
                found=there,
                remedy=f"make it {sum(slots)} at most, or raise flink_slots",
            )
        taken = _slots_of_jobs(inventory, members[0])  # jobs are those of a region
        if sum(taken.values()) > sum(slots):
            jobs = _listed(f"{number} of {name}" for name, number in taken.items())
            yield Refusal(
                asked=f"bss_workload_jobs: {sum(taken.values())} slots, {jobs} "
                f"({inventory.places('bss_workload_jobs', members)})",
                why="each job takes as many slots as it is parallel, and the last would not start",
                found=there,
                remedy="lower a parallelism, raise flink_slots, or add a host to group "
                f"{TASKMANAGERS}",
            )


def prometheus_is_one_of_a_region(inventory: Inventory) -> Iterator[Refusal]:
    """A region is watched by one Prometheus, and told of by one Alertmanager."""
    for region, hosts in _regions(inventory).items():
        found = [host for host in _hosts_of(inventory, PROMETHEUS) if host in hosts]
        if len(found) > 1:
            yield Refusal(
                asked=f"group {PROMETHEUS}: {len(found)} in {region}",
                why="one host of a region has its Prometheus; the other region's watches it",
                found=_listed(found),
                remedy=f"leave one of them in group {PROMETHEUS}",
            )


def prometheus_has_its_ports(inventory: Inventory) -> Iterator[Refusal]:
    """By custom, Alertmanager's port is that of Kafka's controllers as well."""
    ports = read_ports()
    own = {
        ports["prometheus_port"]: "Prometheus",
        ports["alertmanager_port"]: "Alertmanager",
        ports["alertmanager_cluster_port"]: "Alertmanager's cluster",
    }
    brokers = _hosts_of(inventory, BROKERS)
    controllers = _hosts_of(inventory, "kafka_controller") or brokers
    for host in _hosts_of(inventory, PROMETHEUS):
        taken = [
            (listener.get("port"), f"listener {listener.get('name')}", "give it another port")
            for listener in (inventory.value(host, "kafka_extra_listeners") or ())
            if host in brokers
        ]
        if host in controllers:
            remedy = "name other hosts in a group kafka_controller"
            taken.append((ports["kafka_controller_port"], "controller", remedy))
        for port, of_kafka, remedy in taken:
            if port in own:
                yield Refusal(
                    asked=f"group {PROMETHEUS}: {host}",
                    why=f"{own[port]} and Kafka's {of_kafka} would both listen at port {port}",
                    found=f"{host} among the hosts of Kafka",
                    remedy=f"put another host into group {PROMETHEUS}, or {remedy}",
                )


def prometheus_keeps_samples(inventory: Inventory) -> Iterator[Refusal]:
    """Retention that would keep nothing, or fill the disk."""
    bounds = {
        "prometheus_scrape_interval_s": (1, 60, "alerts look at the rates of five minutes"),
        "prometheus_retention_days": (1, 3650, "less than a day is kept in memory alone"),
        "prometheus_disk_percent": (1, 90, "what is merged needs room beside what is kept"),
        "prometheus_retention_size_mb": (0, 2**40, "0 stands for prometheus_disk_percent"),
    }
    yield from _within(inventory, (PROMETHEUS,), bounds)


def loki_is_one_of_a_region(inventory: Inventory) -> Iterator[Refusal]:
    """Hosts send their logs to one Loki, which keeps them in files of its own."""
    for region, hosts in _regions(inventory).items():
        found = [host for host in _hosts_of(inventory, LOKI) if host in hosts]
        if len(found) > 1:
            yield Refusal(
                asked=f"group {LOKI}: {len(found)} in {region}",
                why="one host of a region keeps its logs; two would each have a part of them",
                found=_listed(found),
                remedy=f"leave one of them in group {LOKI}",
            )


def loki_has_its_ports(inventory: Inventory) -> Iterator[Refusal]:
    """A broker's further listeners are at ports of the inventory's choice."""
    ports = read_ports()
    own = {ports["loki_port"]: "Loki", ports["loki_grpc_port"]: "Loki's inside"}
    for host in _hosts_of(inventory, LOKI):
        if host in _hosts_of(inventory, BROKERS):
            for listener in inventory.value(host, "kafka_extra_listeners") or ():
                if listener.get("port") in own:
                    port, name = listener["port"], listener.get("name")
                    yield Refusal(
                        asked=f"group {LOKI}: {host}",
                        why=f"{own[port]} and Kafka's listener {name} would both listen "
                        f"at port {port}",
                        found=f"{host} among the hosts of Kafka",
                        remedy=f"put another host into group {LOKI}, or give it another port",
                    )


def loki_keeps_logs(inventory: Inventory) -> Iterator[Refusal]:
    """Retention that Loki would not take, and limits that would let nothing pass."""
    bounds = {
        "loki_retention_days": (1, 3650, "Loki removes by whole days of its index"),
        "loki_ingestion_mb_s": (1, 2**20, "with less, hosts never get rid of what they have"),
        "loki_stream_mb_s": (1, 2**20, "with less, hosts never get rid of what they have"),
    }
    yield from _within(inventory, (LOKI,), bounds)
    yield from _within(
        inventory,
        FUNCTION_GROUPS,
        {"log_shipping_buffer_mb": (8, 2**20, "what waits for Loki has to have room")},
    )


def receivers_are_right(inventory: Inventory) -> Iterator[Refusal]:
    """A receiver has a name of its own, and kinds that Alertmanager has. Values may be secret."""
    variable = "prometheus_receivers"
    for (receivers,), hosts in _values(inventory, (PROMETHEUS,), variable):
        place = inventory.places(variable, hosts)
        names = [receiver.get("name") for receiver in receivers]
        for number, (name, receiver) in enumerate(zip(names, receivers, strict=True), start=1):
            if not name or name in OWN_RECEIVERS or name in names[: number - 1]:
                yield Refusal(
                    asked=f"{variable}: {name or f'number {number} without name'} ({place})",
                    why="a receiver has a name of its own, by which routes know it",
                    found=f"the receivers {_listed([*OWN_RECEIVERS, *filter(None, names)])}",
                    remedy="give it another name",
                )
            for key in receiver.keys() - {"name", *RECEIVER_KINDS}:
                meant = get_close_matches(str(key), RECEIVER_KINDS, 1)
                yield Refusal(
                    asked=f"{variable}: {key} of {name} ({place})",
                    why="Alertmanager has no such kind of receiver",
                    found=f"the kinds {_listed(RECEIVER_KINDS)}",
                    remedy=f"rename it to {meant[0]}" if meant else "remove it",
                )


def routes_lead_to_receivers(inventory: Inventory) -> Iterator[Refusal]:
    names = ("prometheus_receivers", "prometheus_routes", "prometheus_default_receiver")
    for (receivers, routes, default), hosts in _values(inventory, (PROMETHEUS,), *names):
        known = [KEPT, *(str(each.get("name")) for each in receivers if each.get("name"))]
        for variable, receiver in (
            *((names[1], route.get("receiver")) for route in _nested(routes)),
            (names[2], default),
        ):
            if receiver is not None and receiver not in known:
                meant = get_close_matches(str(receiver), known, 1)
                yield Refusal(
                    asked=f"{variable}: receiver {receiver} ({inventory.places(variable, hosts)})",
                    why="no receiver has this name, so alerts would lead nowhere",
                    found=f"the receivers {_listed(known)}",
                    remedy=f"name {meant[0]}" if meant else f"add it to {names[0]}",
                )
        for route in _nested(routes):
            for option in route.keys() - {*ROUTE_OPTIONS}:
                meant = get_close_matches(str(option), ROUTE_OPTIONS, 1)
                yield Refusal(
                    asked=f"{names[1]}: {option} ({inventory.places(names[1], hosts)})",
                    why="a route of Alertmanager has no such option",
                    found=f"the options {_listed(ROUTE_OPTIONS)}",
                    remedy=f"rename it to {meant[0]}" if meant else "remove it",
                )


def addresses_are_different(inventory: Inventory) -> Iterator[Refusal]:
    users: dict[tuple[str, int], list[str]] = defaultdict(list)
    for host in _platform_hosts(inventory):
        variables = inventory.hosts[host]
        if not any(variables.has_unknown(name) for name in ADDRESS_SPECS):
            address = variables.values.get("ansible_host", host)
            users[address, variables.values.get("ansible_port", 22)].append(host)
    for (address, port), hosts in users.items():
        if len(hosts) > 1:
            yield Refusal(
                asked=f"ansible_host: {address}, port {port}",
                why="one address is one host, or the second would be installed over the first",
                found=f"the address of {_listed(hosts)}",
                remedy="give each of them its own ansible_host",
            )


def citus_runs_on_postgresql(inventory: Inventory) -> Iterator[Refusal]:
    """The release line of Citus is one that is built for the major of PostgreSQL."""
    for (citus, postgresql), hosts in _versions(inventory, "citus_version", "postgresql_version"):
        line = ".".join(citus.split(".")[:2])
        supported = POSTGRESQL_OF_CITUS.get(line)
        if supported is None:
            yield Refusal(
                asked=f"citus_version: {citus} ({inventory.places('citus_version', hosts)})",
                why="it is not a release of Citus that this collection knows",
                found=f"known are {_listed(POSTGRESQL_OF_CITUS)}",
                remedy="choose one of these",
            )
        elif postgresql not in map(str, supported):
            others = [
                other
                for other, majors in POSTGRESQL_OF_CITUS.items()
                if postgresql in map(str, majors)
            ]
            yield Refusal(
                asked=f"citus_version: {citus} with postgresql_version: {postgresql} "
                f"({inventory.places('postgresql_version', hosts)})",
                why=f"Citus {line} runs on PostgreSQL {_listed(supported)} only",
                found=f"PostgreSQL {postgresql}"
                + (f", on which Citus {_listed(others)} runs" if others else ""),
                remedy=f"set postgresql_version: {supported[-1]}"
                + (f", or citus_version: {others[-1]}" if others else ""),
            )


def patroni_is_supported(inventory: Inventory) -> Iterator[Refusal]:
    for (version,), hosts in _versions(inventory, "patroni_version"):
        if version.partition(".")[0] != str(PATRONI_MAJOR):
            yield Refusal(
                asked=f"patroni_version: {version} ({inventory.places('patroni_version', hosts)})",
                why=f"the Citus mode that this collection relies on is that of Patroni "
                f"{PATRONI_MAJOR}",
                found=f"Patroni {version}",
                remedy=f"set a release of Patroni {PATRONI_MAJOR}",
            )


def applications_have_roles_of_their_own(inventory: Inventory) -> Iterator[Refusal]:
    """A role of citus_application_roles is made no superuser, and logs in by password."""
    for (roles,), hosts in _values(inventory, DATABASES, "citus_application_roles"):
        reserved = [role for role in roles if role in RESERVED_ROLES]
        if reserved:
            yield Refusal(
                asked=f"citus_application_roles: {_listed(reserved)} "
                f"({inventory.places('citus_application_roles', hosts)})",
                why="the name means more than an application, and a password would open it",
                found=f"reserved are {_listed(RESERVED_ROLES)}",
                remedy="give the application a role of another name",
            )


def workload_has_an_application_role(inventory: Inventory) -> Iterator[Refusal]:
    """Who is to use the workload's tables is a role that the platform makes."""
    names = ("bss_workload_application_role", "citus_application_roles", "bss_workload_tables")
    for (role, roles, tables), hosts in _values(inventory, (COORDINATORS,), *names):
        if tables and role not in roles:
            yield Refusal(
                asked=f"bss_workload_application_role: {role} "
                f"({inventory.places('bss_workload_application_role', hosts)})",
                why="it is none of citus_application_roles, which are the roles that are made",
                found=f"citus_application_roles {_listed(roles) or 'with no role'}",
                remedy=f"add {role} to citus_application_roles, or name one of these",
            )


def variables_are_known(inventory: Inventory) -> Iterator[Refusal]:
    """A misspelt variable would be ignored in silence. Its value is not shown: it may be secret."""
    prefixes = own_prefixes(inventory.specs)
    hosts = set(_platform_hosts(inventory))
    foreign = {
        pattern
        for host in hosts
        for pattern in inventory.value(host, "platform_foreign_variables") or ()
    }
    places: dict[str, list[str]] = defaultdict(list)
    for declaration in inventory.declarations:
        if declaration.hosts & hosts:
            for name in declaration.values:
                places[name].append(declaration.place)
    for name in sorted(places.keys() - inventory.specs.keys()):
        # Also what is one slip away from a prefix of ours: postgres_version.
        meant = get_close_matches(
            name, inventory.specs, 1, 0.75 if prefix(name) in prefixes else 0.9
        )
        ours = prefix(name) in prefixes or (meant and prefix(name) is not None)
        if ours and not any(fnmatchcase(name, pattern) for pattern in foreign):
            yield Refusal(
                asked=f"{name} ({', '.join(places[name])})",
                why="no role reads a variable of this name, so it would change nothing",
                found=meant[0] if meant else "no variable with a similar name",
                remedy=(f"rename it to {meant[0]}" if meant else "remove it")
                + "; if a role of your own reads it, list it in platform_foreign_variables",
            )


def values_are_of_their_type(inventory: Inventory) -> Iterator[Refusal]:
    """Every value passes the check that its role would make on the host."""
    hosts_of_value: dict[tuple[str, BadValue], list[str]] = defaultdict(list)
    for host in _platform_hosts(inventory):
        for name, bad in inventory.hosts[host].ill_typed.items():
            hosts_of_value[name, bad].append(host)
    for (name, bad), hosts in hosts_of_value.items():
        spec = {**inventory.specs, **ADDRESS_SPECS}[name]
        choices = spec.get("choices")
        yield Refusal(
            asked=f"{name}: {bad.value} ({inventory.places(name, hosts)})",
            why="the variable cannot have this value",
            found=bad.error,
            remedy=(
                f"give one of {_listed(choices)}"
                if choices
                else f"give a value of type {spec.get('type', 'str')}"
            ),
        )


def values_can_be_templated(inventory: Inventory) -> Iterator[Refusal]:
    hosts_of_error: dict[tuple[str, str], list[str]] = defaultdict(list)
    for host in _platform_hosts(inventory):
        for name, error in inventory.hosts[host].untemplatable.items():
            hosts_of_error[name, error].append(host)
    for (name, error), hosts in hosts_of_error.items():
        yield Refusal(
            asked=f"{name} ({inventory.places(name, hosts)})",
            why="its value cannot be worked out",
            found=error,
            remedy="mend the template, or define what it uses in the inventory",
        )


RULES: tuple[Rule, ...] = (
    values_can_be_templated,
    values_are_of_their_type,
    variables_are_known,
    functions_are_in_a_region,
    region_is_named_like_its_group,
    host_is_in_one_region,
    region_is_complete,
    coordinators_are_of_group_0,
    workers_have_a_group,
    etcd_has_a_majority,
    kafka_controllers_have_a_majority,
    kafka_nodes_have_a_number,
    topics_fit_the_brokers,
    flink_is_complete,
    flink_shares_a_storage,
    kafka_connector_is_of_flink,
    jobs_fit_the_slots,
    prometheus_is_one_of_a_region,
    prometheus_has_its_ports,
    prometheus_keeps_samples,
    loki_is_one_of_a_region,
    loki_has_its_ports,
    loki_keeps_logs,
    receivers_are_right,
    routes_lead_to_receivers,
    addresses_are_different,
    citus_runs_on_postgresql,
    patroni_is_supported,
    applications_have_roles_of_their_own,
    workload_has_an_application_role,
)


# What the rules ask of an inventory --------------------------------------------


def _hosts_of(inventory: Inventory, *groups: str) -> list[str]:
    """The hosts of these groups, each once, in the inventory's order."""
    return list(dict.fromkeys(host for group in groups for host in inventory.groups.get(group, ())))


def _regions(inventory: Inventory) -> dict[str, list[str]]:
    """The hosts of each region, by the value of ``region``."""
    regions: dict[str, list[str]] = defaultdict(list)
    for host in inventory.hosts.values():
        if host.values.get("region"):
            regions[str(host.values["region"])].append(host.name)
    return regions


def _platform_hosts(inventory: Inventory) -> list[str]:
    """The hosts that are ours to judge: an inventory may hold others."""
    ours = {*_hosts_of(inventory, *FUNCTION_GROUPS)}
    ours.update(host for hosts in _regions(inventory).values() for host in hosts)
    return [host for host in inventory.hosts if host in ours]


def _region_group(region: str) -> str:
    return region.replace("-", "_")


def _declared_regions(inventory: Inventory, host: str) -> dict[str, str]:
    """The regions that groups of a host give it, by group; ``all`` only gives a default."""
    return {
        declaration.place.removeprefix("group "): str(declaration.values["region"])
        for declaration in inventory.declarations
        if declaration.place.startswith("group ")
        and declaration.place != "group all"
        and host in declaration.hosts
        and declaration.values.get("region")
    }


def _other_groups(inventory: Inventory, host: str) -> tuple[str, ...]:
    """The groups of a host that may be meant as its region."""
    nameless = {"all", "ungrouped", *FUNCTION_GROUPS}
    return tuple(
        sorted(g for g, hosts in inventory.groups.items() if host in hosts and g not in nameless)
    )


def _slots_of_jobs(inventory: Inventory, host: str) -> dict[str, int]:
    """What each job that is to run takes; nothing where that is not known here."""
    taken = {}
    for job in inventory.value(host, "bss_workload_jobs") or ():
        if job.get("state", "present") == "present":
            number = job.get("parallelism") or inventory.value(host, "flink_parallelism")
            if not str(number).isdecimal():
                return {}
            taken[str(job.get("name"))] = int(str(number))
    return taken


def _nested(routes: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Routes, and the routes in them."""
    for route in routes:
        yield route
        yield from _nested(route.get("routes") or ())


def _values(
    inventory: Inventory, groups: Sequence[str], *names: str
) -> list[tuple[list[Any], list[str]]]:
    """The combinations of values on the hosts of these groups, each with its hosts."""
    combinations: dict[str, tuple[list[Any], list[str]]] = {}
    for host in _hosts_of(inventory, *groups):
        values = [inventory.value(host, name) for name in names]
        if None not in values:
            combinations.setdefault(repr(values), (values, []))[1].append(host)
    return list(combinations.values())


def _within(
    inventory: Inventory, groups: Sequence[str], bounds: Mapping[str, tuple[int, int, str]]
) -> Iterator[Refusal]:
    """Numbers of these groups' hosts that are too small or too large, with the reason."""
    for name, (least, most, why) in bounds.items():
        for (value,), hosts in _values(inventory, groups, name):
            if not least <= value <= most:
                yield Refusal(
                    asked=f"{name}: {value} ({inventory.places(name, hosts)})",
                    why=f"it is {least} at least and {most} at most: {why}",
                    found=str(value),
                    remedy=f"make it {min(max(value, least), most)}",
                )


def _versions(inventory: Inventory, *names: str) -> list[tuple[list[str], list[str]]]:
    """The combinations of versions on the database hosts, each with its hosts."""
    return [
        ([str(version) for version in versions], hosts)
        for versions, hosts in _values(inventory, DATABASES, *names)
    ]


def _odd(group: str, members: Sequence[str], where: str, advice: str = "") -> Iterator[Refusal]:
    """Refuse a number of members that stands no more losses than one less."""
    if len(members) % 2 == 0:
        yield Refusal(
            asked=f"group {group}: {len(members)} members {where}",
            why="its members decide by majority, so their number is odd",
            found=_listed(members) or "no host in the group",
            remedy=f"make it {len(members) - 1} or {len(members) + 1}{advice}"
            if members
            else "make it 3, or 1",
        )


def _listed(items: Iterable[Any]) -> str:
    """``us-c1, us-w1 and us-w2``"""
    words = [str(item) for item in items]
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _are(items: Sequence[str]) -> str:
    return "is" if len(items) == 1 else "are"
