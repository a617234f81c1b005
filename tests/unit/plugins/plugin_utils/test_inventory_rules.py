# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Each rule against a real inventory on disk, read as a run of Ansible reads it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.bss.platform.plugins.plugin_utils.inventory import (
    Inventory,
    read_inventory,
)
from ansible_collections.bss.platform.plugins.plugin_utils.inventory_rules import judge, summary

SPECS: dict[str, dict[str, Any]] = {
    "region": {"type": "str"},
    "citus_group": {"type": "int"},
    "citus_application_roles": {"type": "list", "elements": "str", "default": ["bss"]},
    "citus_database": {"type": "str", "default": "bss"},
    "citus_source": {"type": "str", "choices": ["package", "upstream"], "default": "upstream"},
    "citus_version": {"type": "str", "default": "13.2"},
    "citus_settings": {"type": "dict", "default": {}},
    "citus_secret": {"type": "int", "no_log": True},
    "postgresql_version": {"type": "int", "default": 15},
    "postgresql_memory_mb": {"type": "int", "default": "{{ ansible_facts.memtotal_mb }}"},
    "patroni_version": {"type": "str", "default": "4.1.5"},
    "bss_workload_application_role": {"type": "str", "default": "bss"},
    "bss_workload_tables": {"type": "list", "elements": "dict", "default": [{"name": "orders"}]},
    "bss_workload_topics": {"type": "list", "elements": "dict", "default": []},
    "bss_workload_jobs": {"type": "list", "elements": "dict", "default": []},
    "kafka_node_id": {"type": "int", "required": True},
    "kafka_extra_listeners": {"type": "list", "elements": "dict", "default": []},
    "prometheus_scrape_interval_s": {"type": "int", "default": 15},
    "prometheus_retention_days": {"type": "int", "default": 30},
    "prometheus_retention_size_mb": {"type": "int", "default": 0},
    "prometheus_disk_percent": {"type": "int", "default": 60},
    "loki_retention_days": {"type": "int", "default": 14},
    "loki_ingestion_mb_s": {"type": "int", "default": 16},
    "loki_stream_mb_s": {"type": "int", "default": 8},
    "log_shipping_buffer_mb": {"type": "int", "default": 512},
    "prometheus_receivers": {"type": "list", "elements": "dict", "default": [], "no_log": True},
    "prometheus_routes": {"type": "list", "elements": "dict", "default": []},
    "prometheus_default_receiver": {"type": "str", "default": "kept"},
    "flink_storage_dir": {"type": "str", "required": True},
    "flink_version": {"type": "str", "default": "2.2.1"},
    "flink_kafka_connector_version": {"type": "str", "default": "5.0.0-2.2"},
    "flink_slots": {"type": "int", "default": 4},
    "flink_parallelism": {"type": "int", "default": 2},
    "platform_foreign_variables": {"type": "list", "elements": "str", "default": []},
}

US_EAST: dict[str, Any] = {
    "us_east": {
        "vars": {"region": "us-east"},
        "hosts": {
            "us-c1": {"ansible_host": "10.0.0.1"},
            "us-w1": {"ansible_host": "10.0.0.2"},
            "us-w2": {"ansible_host": "10.0.0.3"},
        },
    },
    "citus_coordinator": {"hosts": {"us-c1": {"citus_group": 0}}},
    "citus_worker": {"hosts": {"us-w1": {"citus_group": 1}, "us-w2": {"citus_group": 2}}},
    "etcd": {"hosts": {"us-c1": {}, "us-w1": {}, "us-w2": {}}},
}

EU_WEST: dict[str, Any] = {
    "eu_west": {
        "vars": {"region": "eu-west"},
        "hosts": {
            "eu-c1": {"ansible_host": "10.0.1.1"},
            "eu-w1": {"ansible_host": "10.0.1.2"},
        },
    },
    "citus_coordinator": {"hosts": {"eu-c1": {"citus_group": 0}}},
    "citus_worker": {"hosts": {"eu-w1": {"citus_group": 1}}},
}


@pytest.fixture
def us_east() -> dict[str, Any]:
    """An inventory that nothing is wrong with, for a test to spoil."""
    return copy.deepcopy(US_EAST)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Inventory]:
    def read(*inventories: dict[str, Any]) -> Inventory:
        sources = []
        for number, content in enumerate(inventories):
            source = tmp_path / f"region-{number}" / "hosts.yml"
            source.parent.mkdir(exist_ok=True)
            source.write_text(yaml.safe_dump(content))
            sources.append(str(source))
        loader = DataLoader()
        manager = InventoryManager(loader=loader, sources=sources)
        hostvars = HostVars(manager, VariableManager(loader=loader, inventory=manager), loader)
        return read_inventory(loader, sources, manager.get_groups_dict(), hostvars, SPECS)

    return read


@pytest.fixture
def problems(read: Callable[..., Inventory]) -> Callable[..., list[str]]:
    def problems(*inventories: dict[str, Any]) -> list[str]:
        return [str(refusal) for refusal in judge(read(*inventories))]

    return problems


def only(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    return problems[0]


def test_a_right_inventory_is_summed_up(read, problems, us_east):
    inventory = read(us_east)
    assert judge(inventory) == []
    assert summary(inventory) == "1 region, 3 hosts, 2 variables of ours"


def test_two_inventories_are_one_platform(read, us_east):
    inventory = read(us_east, EU_WEST)
    assert judge(inventory) == []
    assert summary(inventory) == "2 regions, 5 hosts, 2 variables of ours"


def test_one_inventory_of_several_groups_of_a_region(problems, us_east):
    us_east["us_east"]["children"] = {"us_east_db": {"hosts": {"us-w2": {}}}}
    us_east["us_east_db"] = {"vars": {"region": "us-east"}}
    assert problems(us_east) == []


def test_an_inventory_without_a_host_of_ours(problems):
    problem = only(problems({"web": {"hosts": {"www": {}}}}))
    assert "no host of this platform" in problem
    assert "-i inventories/us-east" in problem


def test_hosts_of_others_are_not_judged(problems, us_east):
    us_east["web"] = {"hosts": {"www1": {}, "www2": {}}, "vars": {"ansible_host": "10.9.9.9"}}
    us_east["web"]["vars"]["citus_dashboard_url"] = "https://example.org"
    assert problems(us_east) == []


# Regions


@pytest.mark.parametrize("thing", ["coordinator", "worker"])
def test_a_region_without(thing, problems, us_east):
    del us_east[f"citus_{thing}"]
    problem = only(problems(us_east))
    assert problem.startswith(f"region: us-east: a region has at least one {thing}")
    assert f"put a host of us_east into group citus_{thing}" in problem


def test_the_second_region_without_a_worker(problems, us_east):
    eu_west = copy.deepcopy(EU_WEST)
    del eu_west["citus_worker"]
    assert only(problems(us_east, eu_west)).startswith("region: eu-west: a region has at least")


def test_a_misspelt_function_group(problems, us_east):
    us_east["citus_workers"] = us_east.pop("citus_worker")
    assert "rename group citus_workers to citus_worker" in only(problems(us_east))


def test_a_region_group_without_the_variable(problems, us_east):
    del us_east["us_east"]["vars"]
    problem = only(problems(us_east))
    assert problem.startswith("region of us-c1, us-w1 and us-w2: not set")
    assert "group like us_east with region: us-east" in problem


@pytest.mark.parametrize("group", ["etcd", "kafka"])
def test_a_host_with_a_function_and_no_region(group, problems, us_east):
    us_east.setdefault(group, {"hosts": {"us-c1": {}, "us-w1": {}, "us-w2": {}}})
    us_east[group]["hosts"]["stray"] = {}
    assert problems(us_east)[0].startswith("region of stray: not set")


def test_a_region_that_is_not_named_like_its_group(problems, us_east):
    us_east["us_east"]["vars"]["region"] = "us-eats"
    problem = only(problems(us_east))
    assert problem.startswith("region: us-eats (group us_east)")
    assert "set region: us-east in group us_east, or name the group us_eats" in problem


def test_a_region_that_only_hosts_declare(problems, us_east):
    us_east["elsewhere"] = us_east.pop("us_east")
    del us_east["elsewhere"]["vars"]
    for host in us_east["elsewhere"]["hosts"].values():
        host["region"] = "us-east"
    assert "add the hosts to a group us_east" in only(problems(us_east))


@pytest.mark.parametrize("second", ["eu_west", "us_west"])
def test_a_host_in_two_regions(second, problems, us_east):
    """Whichever of the two regions wins the merge."""
    us_east[second] = {"vars": {"region": second.replace("_", "-")}, "hosts": {"us-w2": {}}}
    found = [problem for problem in problems(us_east) if "a host is in one region" in problem]
    assert "us_east" in only(found) and second in only(found)


# Groups of the cluster


def test_a_coordinator_of_another_group(problems, us_east):
    us_east["citus_coordinator"]["hosts"]["us-c1"]["citus_group"] = 4
    problem = only(problems(us_east))
    assert problem.startswith("citus_group: 4 (host us-c1)")
    assert "set citus_group: 0 for us-c1" in problem


def test_a_coordinator_is_of_group_0_when_nothing_is_said(problems, us_east):
    del us_east["citus_coordinator"]["hosts"]["us-c1"]["citus_group"]
    assert problems(us_east) == []


@pytest.mark.parametrize("number", [None, 0, -1])
def test_a_worker_without_a_group(number, problems, us_east):
    us_east["citus_worker"]["hosts"]["us-w2"] = {} if number is None else {"citus_group": number}
    problem = only(problems(us_east))
    assert problem.startswith(f"citus_group: {'not set' if number is None else number} (host us-w2")
    assert "set citus_group: 2 for us-w2" in problem


def test_several_workers_without_a_group_are_given_different_ones(problems, us_east):
    us_east["citus_worker"]["hosts"] = {"us-w1": {}, "us-w2": {}}
    first, second = problems(us_east)
    assert "set citus_group: 1 for us-w1" in first
    assert "set citus_group: 2 for us-w2" in second


def test_a_standby_has_the_group_of_its_primary(problems, us_east):
    us_east["us_east"]["hosts"]["us-w1b"] = {}
    us_east["citus_worker"]["hosts"]["us-w1b"] = {"citus_group": 1}
    assert problems(us_east) == []


# Majorities


@pytest.mark.parametrize(
    ("members", "remedy"), [([], "make it 3, or 1"), (["us-c1", "us-w1"], "make it 1 or 3")]
)
def test_an_even_number_of_etcd_members(members, remedy, problems, us_east):
    us_east["etcd"]["hosts"] = {host: {} for host in members}
    problem = only(problems(us_east))
    assert problem.startswith(f"group etcd: {len(members)} members in all")
    assert remedy in problem


def test_etcd_members_are_counted_over_both_regions(problems, us_east):
    eu_west = {**copy.deepcopy(EU_WEST), "etcd": {"hosts": {"eu-c1": {}}}}
    assert only(problems(us_east, eu_west)).startswith("group etcd: 4 members in all")


@pytest.mark.parametrize("group", ["kafka", "kafka_controller"])
def test_an_even_number_of_kafka_controllers(group, problems, us_east):
    us_east["kafka"] = {"hosts": {"us-c1": {"kafka_node_id": 1}}}
    us_east[group] = {"hosts": {"us-c1": {"kafka_node_id": 1}, "us-w1": {"kafka_node_id": 2}}}
    problem = only(problems(us_east))
    assert problem.startswith(f"group {group}: 2 members in us-east")


def test_kafka_controllers_are_counted_in_each_region(problems, us_east):
    us_east["kafka"] = {"hosts": {"us-c1": {"kafka_node_id": 1}}}
    eu_west = {**copy.deepcopy(EU_WEST), "kafka": {"hosts": {"eu-c1": {"kafka_node_id": 1}}}}
    assert problems(us_east, eu_west) == []


def brokers(*numbers):
    hosts = ("us-c1", "us-w1", "us-w2")[: len(numbers)]
    return {"hosts": {host: {"kafka_node_id": n} for host, n in zip(hosts, numbers, strict=True)}}


def test_a_node_of_kafka_without_a_number(problems, us_east):
    us_east["kafka"] = brokers(1, 2, 3)
    del us_east["kafka"]["hosts"]["us-w1"]["kafka_node_id"]
    problem = only(problems(us_east))
    assert problem.startswith("kafka_node_id: not set (host us-w1)")
    assert "set kafka_node_id: 2 for us-w1" in problem


def test_two_nodes_of_kafka_with_one_number(problems, us_east):
    us_east["kafka"] = brokers(1, 2, 1)
    problem = only(problems(us_east))
    assert problem.startswith("kafka_node_id: 1 (host us-w2)")
    assert "There is: the number of us-c1." in problem
    assert "set kafka_node_id: 3 for us-w2" in problem


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ({"replication_factor": 4}, "replication_factor: 4 of topic t (group us_east)"),
        (
            {"replication_factor": 2, "config": {"min.insync.replicas": 3}},
            "min.insync.replicas: 3 of topic t (group us_east)",
        ),
    ],
)
def test_a_topic_that_does_not_fit_the_brokers(topic, said, problems, us_east):
    us_east["kafka"] = brokers(1, 2, 3)
    us_east["us_east"]["vars"]["bss_workload_topics"] = [{"name": "t", **topic}]
    assert only(problems(us_east)).startswith(said)


def test_a_topic_that_fits_the_brokers(problems, us_east):
    us_east["kafka"] = brokers(1, 2, 3)
    fits = {"name": "t", "replication_factor": 3, "config": {"min.insync.replicas": 2}}
    us_east["us_east"]["vars"]["bss_workload_topics"] = [fits]
    assert problems(us_east) == []


# Flink


def with_flink(inventory: dict[str, Any], **groups: list[str]) -> dict[str, Any]:
    """The inventory with a Flink of its three hosts, or of other ones."""
    members = {
        "flink_jobmanager": ["us-c1"],
        "flink_taskmanager": ["us-w1", "us-w2"],
        "zookeeper": ["us-c1"],
        **groups,
    }
    inventory["us_east"]["vars"]["flink_storage_dir"] = "/srv/flink"
    inventory |= {
        group: {"hosts": {host: {} for host in hosts}} for group, hosts in members.items()
    }
    return inventory


def test_a_flink_that_is_complete(problems, us_east):
    assert problems(with_flink(us_east)) == []


@pytest.mark.parametrize("group", ["flink_jobmanager", "flink_taskmanager", "zookeeper"])
def test_a_flink_that_lacks(group, problems, us_east):
    problem = only(problems(with_flink(us_east, **{group: []})))
    assert problem.startswith(f"group {group}: 0 in us-east: the Flink of a region has")
    assert f"put a host of us_east into group {group}" in problem


@pytest.mark.parametrize("group", ["flink_jobmanager", "zookeeper"])
def test_a_flink_with_two_of(group, problems, us_east):
    problem = only(problems(with_flink(us_east, **{group: ["us-c1", "us-w1"]})))
    assert problem.startswith(f"group {group}: 2 in us-east: the Flink of a region has one")
    assert "us-c1 and us-w1" in problem


def test_a_flink_without_a_storage(problems, us_east):
    del with_flink(us_east)["us_east"]["vars"]["flink_storage_dir"]
    problem = only(problems(us_east))
    assert problem.startswith("flink_storage_dir: not set")
    assert "set flink_storage_dir in group us_east" in problem


def test_a_flink_with_two_storages(problems, us_east):
    hosts = with_flink(us_east)["us_east"]["hosts"]
    hosts["us-w2"]["flink_storage_dir"] = "/var/flink"
    problem = only(problems(us_east))
    assert problem.startswith("flink_storage_dir: /srv/flink and /var/flink (group us_east, host")


@pytest.mark.parametrize(("parallelism", "fits"), [(8, True), (9, False)])
def test_a_parallelism_and_the_slots(parallelism, fits, problems, us_east):
    with_flink(us_east)["us_east"]["vars"]["flink_parallelism"] = parallelism
    if fits:
        assert problems(us_east) == []
    else:
        problem = only(problems(us_east))
        assert problem.startswith("flink_parallelism: 9 (group us_east)")
        assert "8 slots in us-east, 4 and 4 on us-w1 and us-w2" in problem


def jobs(*parallelisms: Any) -> list[dict[str, Any]]:
    return [
        {"name": f"job-{number}", "sql": "..."} | ({"parallelism": each} if each else {})
        for number, each in enumerate(parallelisms, 1)
    ]


@pytest.mark.parametrize(
    "declared",
    [
        pytest.param([], id="none"),
        pytest.param(jobs(4, 4), id="all slots"),
        pytest.param(jobs(6, None), id="one of the default parallelism"),
        pytest.param([*jobs(8), {"name": "off", "state": "suspended", "parallelism": 4}], id="off"),
        pytest.param(jobs(8, "{{ ansible_facts.processor_vcpus }}"), id="only the host knows"),
    ],
)
def test_jobs_that_fit_the_slots(declared, problems, us_east):
    with_flink(us_east)["us_east"]["vars"]["bss_workload_jobs"] = declared
    assert problems(us_east) == []


@pytest.mark.parametrize("declared", [jobs(4, 5), jobs(7, None), jobs("4", "5"), jobs(9)])
def test_jobs_and_too_few_slots(declared, problems, us_east):
    with_flink(us_east)["us_east"]["vars"]["bss_workload_jobs"] = declared
    problem = only(problems(us_east))
    assert problem.startswith("bss_workload_jobs: 9 slots, ")
    assert " of job-1" in problem
    assert "(group us_east)" in problem
    assert "8 slots in us-east, 4 and 4 on us-w1 and us-w2" in problem
    assert "add a host to group flink_taskmanager" in problem


def test_jobs_of_another_region_take_no_slots(problems, us_east):
    eu_west = copy.deepcopy(EU_WEST)
    eu_west["eu_west"]["vars"]["bss_workload_jobs"] = jobs(100)
    assert problems(with_flink(us_east), eu_west) == []


# Addresses


def test_one_address_twice(problems, us_east):
    us_east["us_east"]["hosts"]["us-w2"]["ansible_host"] = "10.0.0.2"
    problem = only(problems(us_east))
    assert problem.startswith("ansible_host: 10.0.0.2, port 22")
    assert "us-w1 and us-w2" in problem


def test_one_address_with_two_ports_is_two_hosts(problems, us_east):
    us_east["us_east"]["hosts"]["us-w2"] = {"ansible_host": "10.0.0.2", "ansible_port": "2222"}
    assert problems(us_east) == []


# Versions


@pytest.mark.parametrize("version", ["2.2.0", "2.2.9"])
def test_a_kafka_connector_of_flinks_line(version, problems, us_east):
    with_flink(us_east)["us_east"]["vars"]["flink_version"] = version
    assert problems(us_east) == []


@pytest.mark.parametrize("version", ["2.1.3", "2.20.0", 2.1])
def test_a_kafka_connector_of_another_line(version, problems, us_east):
    with_flink(us_east)["us_east"]["vars"]["flink_version"] = version
    problem = only(problems(us_east))
    assert problem.startswith(
        f"flink_kafka_connector_version: 5.0.0-2.2 with flink_version: {version} "
    )
    assert "one for Flink 2.2" in problem


@pytest.mark.parametrize("where", ["us_east", "citus_worker"])
def test_citus_that_does_not_run_on_postgresql(where, problems, us_east):
    us_east[where].setdefault("vars", {})["postgresql_version"] = 14
    problem = only(problems(us_east))
    assert problem.startswith(f"citus_version: 13.2 with postgresql_version: 14 (group {where})")
    assert "Citus 13.2 runs on PostgreSQL 15, 16 and 17 only" in problem
    assert "set postgresql_version: 17, or citus_version: 12.1" in problem


def test_citus_and_postgresql_that_go_together(problems, us_east):
    us_east["us_east"]["vars"] |= {"citus_version": "12.1", "postgresql_version": "14"}
    assert problems(us_east) == []


def test_an_unknown_release_of_citus(problems, us_east):
    us_east["us_east"]["vars"]["citus_version"] = "9.9"
    assert only(problems(us_east)).startswith("citus_version: 9.9 (group us_east)")


def test_an_old_patroni(problems, us_east):
    us_east["us_east"]["vars"]["patroni_version"] = "3.0.2"
    assert only(problems(us_east)).startswith("patroni_version: 3.0.2 (group us_east)")


# Roles of applications


@pytest.mark.parametrize("role", ["postgres", "replicator", "all"])
def test_a_role_that_is_no_applications(role, problems, us_east):
    us_east["us_east"]["vars"]["citus_application_roles"] = ["bss", role]
    problem = only(problems(us_east))
    assert problem.startswith(f"citus_application_roles: {role} (group us_east)")
    assert "reserved are postgres, replicator and all" in problem


def test_a_workload_whose_role_is_not_made(problems, us_east):
    us_east["us_east"]["hosts"]["us-c1b"] = {}
    us_east["citus_coordinator"]["hosts"]["us-c1b"] = {}
    us_east["us_east"]["vars"]["bss_workload_application_role"] = "app"
    problem = only(problems(us_east))
    assert problem.startswith("bss_workload_application_role: app (group us_east)")
    assert "There is: citus_application_roles bss. To go on: add app" in problem


def test_no_application_at_all(problems, us_east):
    us_east["us_east"]["vars"]["citus_application_roles"] = []
    assert "citus_application_roles with no role" in only(problems(us_east))
    us_east["us_east"]["vars"]["bss_workload_tables"] = []
    assert problems(us_east) == []


def test_an_application_with_a_role_of_its_own(problems, us_east):
    us_east["us_east"]["vars"]["citus_application_roles"] = ["reports", "app"]
    us_east["us_east"]["vars"]["bss_workload_application_role"] = "app"
    assert problems(us_east) == []


# Names of variables


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("citus_databse", "citus_database"),
        ("postgres_version", "postgresql_version"),
        ("ctius_database", "citus_database"),
    ],
)
def test_a_misspelt_variable(name, meant, problems, us_east):
    us_east["us_east"]["vars"][name] = "hunter2"
    problem = only(problems(us_east))
    assert problem.startswith(f"{name} (group us_east): no role reads")
    assert f"rename it to {meant}" in problem
    assert "hunter2" not in problem


def test_a_variable_like_none_of_ours(problems, us_east):
    us_east["us_east"]["hosts"]["us-w1"]["citus_zebra"] = 1
    problem = only(problems(us_east))
    assert problem.startswith("citus_zebra (host us-w1)")
    assert "To go on: remove it" in problem


def test_variables_of_others(problems, us_east):
    us_east["us_east"]["vars"] |= {
        "regions": ["us"],
        "nginx_port": 80,
        "citus_exporter_port": 1,
        "platform_foreign_variables": ["citus_exporter_*"],
    }
    assert problems(us_east) == []


def test_a_misspelt_variable_beside_the_inventory(tmp_path, problems, us_east):
    group_vars = tmp_path / "region-0" / "group_vars"
    group_vars.mkdir(parents=True)
    (group_vars / "citus_worker.yml").write_text("citus_databse: x\n")
    assert only(problems(us_east)).startswith("citus_databse (group citus_worker)")


# Values of variables


@pytest.mark.parametrize(
    ("name", "value", "shown", "remedy"),
    [
        ("citus_group", "one", "'one'", "give a value of type int"),
        ("citus_settings", [1], "[1]", "give a value of type dict"),
        ("citus_source", "standing", "'standing'", "give one of package and upstream"),
        ("postgresql_memory_mb", "{{ 'a' ~ 'lot' }}", "'alot'", "give a value of type int"),
        ("ansible_port", "ssh", "'ssh'", "give a value of type int"),
    ],
)
def test_a_value_of_another_type(name, value, shown, remedy, problems, us_east):
    us_east["citus_worker"]["hosts"]["us-w2"][name] = value
    problem = only(problems(us_east))
    assert problem.startswith(f"{name}: {shown} (host us-w2)")
    assert remedy in problem


def test_a_bad_value_of_many_hosts_is_told_once(problems, us_east):
    us_east["us_east"]["vars"]["postgresql_version"] = "fifteen"
    assert "(group us_east)" in only(problems(us_east))


def test_a_secret_is_not_shown(problems, us_east):
    us_east["us_east"]["vars"]["citus_secret"] = "hunter2"
    problem = only(problems(us_east))
    assert problem.startswith("citus_secret: (secret)")
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{{ nowhere }}", "'nowhere' is undefined"),
        ("{{ oops ", "unexpected end of template"),
        ("{{ 1 | no_such_filter }}", "no_such_filter"),
        ("{{ 'x' | int(1, 2, 3, 4) }}", "int"),
    ],
)
def test_a_template_that_fails(value, said, problems, us_east):
    us_east["us_east"]["vars"]["citus_database"] = value
    problem = only(problems(us_east))
    assert problem.startswith("citus_database (group us_east): its value cannot be worked out")
    assert said in problem


@pytest.mark.parametrize(
    "value",
    [
        "{{ ansible_facts.memtotal_mb // 4 }}",
        "{{ hostvars['us-w2'].ansible_facts.memtotal_mb }}",
        "{{ half_of_it }}",
        "{{ postgresql_shared_buffers_of_a_role }}",
        "{{ lookup('ansible.builtin.file', '/nowhere') }}",
        "{{ undefined_elsewhere | default(512) }}",
        "{{ hostvars['us-w2'].citus_group * 512 }}",
    ],
)
def test_a_value_that_is_completed_later_is_left_to_its_role(value, problems, us_east):
    us_east["us_east"]["vars"] |= {
        "postgresql_memory_mb": value,
        "half_of_it": "{{ ansible_facts.memtotal_mb // 2 }}",
    }
    assert problems(us_east) == []


def test_a_lookup_is_not_made(tmp_path, read, us_east):
    """The password lookup makes the password that it is to read."""
    made = tmp_path / "made"
    us_east["us_east"]["vars"] |= {
        "citus_database": "{{ name_of_it }}",
        "name_of_it": f"{{{{ lookup('ansible.builtin.password', '{made}') }}}}",
    }
    inventory = read(us_east)
    assert "citus_database" in inventory.hosts["us-c1"].undecided
    assert not made.exists()


def test_everything_is_told_at_once(problems, us_east):
    us_east["us_east"]["vars"]["citus_databse"] = "x"
    us_east["us_east"]["hosts"]["us-w2"]["ansible_host"] = "10.0.0.2"
    us_east["citus_worker"]["hosts"]["us-w1"] = {}
    del us_east["etcd"]["hosts"]["us-c1"]
    assert len(problems(us_east)) == 4


@pytest.fixture
def watched(us_east) -> dict[str, Any]:
    """The same with a Prometheus, whose group's variables a test sets."""
    us_east["us_east"]["hosts"]["us-m1"] = {"ansible_host": "10.0.0.9"}
    us_east["prometheus"] = {"hosts": {"us-m1": {}}, "vars": {}}
    return us_east


def test_a_region_is_watched_by_one_prometheus(problems, watched):
    assert problems(watched) == []
    watched["prometheus"]["hosts"]["us-c1"] = {}
    problem = only(problems(watched))
    assert problem.startswith("group prometheus: 2 in us-east") and "us-c1 and us-m1" in problem


def test_each_region_has_its_own_prometheus(problems, watched):
    eu_west = copy.deepcopy(EU_WEST) | {"prometheus": {"hosts": {"eu-c1": {}}}}
    assert problems(watched, eu_west) == []


def test_alertmanager_beside_a_controller_of_kafka(problems, watched):
    watched["kafka"] = {"hosts": {"us-m1": {"kafka_node_id": 1}}}
    problem = only(problems(watched))
    assert "Alertmanager and Kafka's controller would both listen at port 9093" in problem
    watched["kafka_controller"] = {"hosts": {"us-w1": {"kafka_node_id": 2}}}
    assert problems(watched) == []
    watched["kafka"]["hosts"]["us-m1"]["kafka_extra_listeners"] = [
        {"name": "FAR", "port": 9090, "advertised": "far:9090"}
    ]
    problem = only(problems(watched))
    assert "Prometheus and Kafka's listener FAR" in problem and "another port" in problem


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("prometheus_retention_days", 0, 1),
        ("prometheus_disk_percent", 100, 90),
        ("prometheus_retention_size_mb", -1, 0),
        ("prometheus_scrape_interval_s", 300, 60),
    ],
)
def test_samples_that_would_not_be_kept(name, value, right, problems, watched):
    watched["prometheus"]["vars"][name] = value
    problem = only(problems(watched))
    assert problem.startswith(f"{name}: {value} (group prometheus)")
    assert f"make it {right}." in problem


@pytest.fixture
def logged(us_east) -> dict[str, Any]:
    """The same with a Loki, whose group's variables a test sets."""
    us_east["us_east"]["hosts"]["us-m1"] = {"ansible_host": "10.0.0.9"}
    us_east["loki"] = {"hosts": {"us-m1": {}}, "vars": {}}
    return us_east


def test_logs_of_a_region_are_in_one_loki(problems, logged):
    assert problems(logged) == []
    logged["loki"]["hosts"]["us-c1"] = {}
    problem = only(problems(logged))
    assert problem.startswith("group loki: 2 in us-east") and "us-c1 and us-m1" in problem


def test_each_region_has_its_own_loki(problems, logged):
    eu_west = copy.deepcopy(EU_WEST) | {"loki": {"hosts": {"eu-c1": {}}}}
    assert problems(logged, eu_west) == []


def test_loki_beside_prometheus_and_beside_a_broker(problems, logged):
    logged["prometheus"] = {"hosts": {"us-m1": {}}}
    assert problems(logged) == []
    listener = {"name": "FAR", "port": 3100, "advertised": "far:3100"}
    logged["kafka_controller"] = {"hosts": {"us-w1": {"kafka_node_id": 2}}}
    logged["kafka"] = {
        "hosts": {"us-m1": {"kafka_node_id": 1, "kafka_extra_listeners": [listener]}}
    }
    problem = only(problems(logged))
    assert "Loki and Kafka's listener FAR would both listen at port 3100" in problem


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("loki_retention_days", 0, 1),
        ("loki_ingestion_mb_s", 0, 1),
        ("loki_stream_mb_s", 0, 1),
        ("log_shipping_buffer_mb", 1, 8),
    ],
)
def test_logs_that_would_not_be_kept(name, value, right, problems, logged):
    logged["loki"]["vars"][name] = value
    problem = only(problems(logged))
    assert problem.startswith(f"{name}: {value} (group loki)")
    assert f"make it {right}." in problem


TEAM = {"name": "team", "webhook_configs": [{"url": "https://team/hunter2"}]}


@pytest.mark.parametrize(
    ("receivers", "said"),
    [
        ([{**TEAM, "name": None}], "number 1 without name"),
        ([TEAM, TEAM], "prometheus_receivers: team"),
        ([{**TEAM, "name": "verify"}], "the receivers kept, verify and verify"),
        ([{"name": "team", "webhok_configs": []}], "rename it to webhook_configs"),
        ([{"name": "team", "carrier_pigeons": []}], "no such kind of receiver"),
    ],
)
def test_a_receiver_that_is_none(receivers, said, problems, watched):
    watched["prometheus"]["vars"]["prometheus_receivers"] = receivers
    problem = only(problems(watched))
    assert said in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("routes", "default", "said"),
    [
        ([{"receiver": "teem"}], "kept", "receiver teem (group prometheus)"),
        ([{"receiver": "teem"}], "kept", "To go on: name team."),
        ([{"receiver": "team", "routes": [{"receiver": "far"}]}], "kept", "receiver far"),
        ([{"receiver": "team", "matcher": []}], "kept", "rename it to matchers"),
        ([], "nobody", "prometheus_default_receiver: receiver nobody"),
    ],
)
def test_a_route_that_leads_nowhere(routes, default, said, problems, watched):
    watched["prometheus"]["vars"] |= {
        "prometheus_receivers": [TEAM],
        "prometheus_routes": routes,
        "prometheus_default_receiver": default,
    }
    assert said in only(problems(watched))


def test_routes_that_are_right(problems, watched):
    watched["prometheus"]["vars"] |= {
        "prometheus_receivers": [TEAM],
        "prometheus_routes": [
            {"matchers": ["a=b"], "routes": [{"receiver": "kept"}], "receiver": "team"}
        ],
        "prometheus_default_receiver": "team",
    }
    assert problems(watched) == []
