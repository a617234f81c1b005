# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A host as a whole, whatever its functions are."""

from __future__ import annotations

from ipaddress import ip_address

from testinfra.host import Host

testinfra_hosts = ["ansible://us_east"]

SSH = 22
PORTS = {
    "citus_coordinator": {5432, 8008},
    "citus_worker": {5432, 8008},
    "etcd": {2379, 2380},
    "kafka": {9092, 19092},
    "kafka_controller": {9093},
    # A table of nftables keeps the last one, of the metrics, to the host.
    "flink_jobmanager": {6123, 6124, 6125, 8081, 8083, 9249},
    "flink_taskmanager": {6121, 6122, 6125, 9250},
    "zookeeper": {2181},
    "prometheus": {9090, 9093},
}
# And where the region is watched, on every host of it, and by function.
NODE_EXPORTER = 9100
WATCHED_PORTS = {
    "citus_coordinator": {9187, 9998},
    "citus_worker": {9187, 9998},
    "kafka": {9998},
    "kafka_controller": {9998},
    "flink_jobmanager": {9998},
    "flink_taskmanager": {9998},
    "zookeeper": {9998},
}


def test_only_the_ports_of_its_functions_are_open(host: Host, region, name: str) -> None:
    """A host that has left the cluster has none."""
    functions = set(region.functions(name))
    if "kafka" in functions and not region.groups.get("kafka_controller"):
        functions.add("kafka_controller")  # brokers are, where nobody is named
    expected = {SSH}.union(*(PORTS.get(function, set()) for function in functions))
    if region.groups.get("prometheus"):
        watched = (WATCHED_PORTS[function] for function in functions & WATCHED_PORTS.keys())
        expected |= {NODE_EXPORTER}.union(*watched)
    found = set()
    for line in host.check_output("ss -HltunO").splitlines():
        address, _, port = line.split()[4].rpartition(":")
        address = address.strip("[]").partition("%")[0]
        if address == "*" or not ip_address(address).is_loopback:
            found.add(int(port))
    assert found == expected


def test_no_unit_failed(host: Host) -> None:
    assert host.check_output("systemctl --failed --no-legend --plain") == ""
