#!/usr/bin/env python3
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Run what makes and shows a whole region, one after the other, and time each.

What `make demo` does once the tools and Docker Engine are there. Ends with a
table of what runs where and how to connect, and writes the times to
reports/demo.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
PROJECT = Path(__file__).resolve().parent.parent

PARTS = (
    ("lab_up", "the lab's hosts"),
    ("site", "Citus under Patroni, Kafka, Flink, what the workload needs of them, Prometheus"),
    ("load", "the workload's data"),
    ("generate_events", "20 minutes of the workload's events, in half a minute"),
    ("check_streams", "what Flink's jobs made of them, against an independent computation"),
    ("verify", "every check"),
    ("alert_drill", "a real alert, fired and over"),
    ("status", "all of it on one screen"),
    ("dashboards", "pictures of it, into reports/dashboards"),
)
EVENTS = {
    "bss_workload_event_count": 60_000,
    "bss_workload_event_rate": 2_000,
    "bss_workload_event_time_rate": 50,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inventory", default="inventories/us-east", type=Path)
    inventory = parser.parse_args().inventory
    times: dict[str, float] = {}
    for number, (playbook, what) in enumerate(PARTS, start=1):
        print(f"\n=== {number}/{len(PARTS)} {playbook}: {what}", flush=True)
        began = time.monotonic()
        run = subprocess.run(command_of(playbook, inventory), cwd=PROJECT)
        times[playbook] = round(time.monotonic() - began, 1)
        if run.returncode:
            print(
                f"\n{playbook} failed after {times[playbook]:.0f} s. Once its message above is "
                "mended, `make demo` goes on from what is there.",
                file=sys.stderr,
            )
            return run.returncode
    (PROJECT / "reports").mkdir(exist_ok=True)
    (PROJECT / "reports" / "demo.json").write_text(json.dumps(times, indent=2) + "\n")
    print("\n" + "\n".join(summary(read_hosts(inventory), inventory, times)))
    return 0


def command_of(part: str, inventory: Path) -> list[str | Path]:
    if part == "dashboards":
        return [sys.executable, "-m", "dashboards.render", "--inventory", inventory]
    playbook: list[str | Path] = [
        BIN / "ansible-playbook",
        *("-i", inventory, f"playbooks/{part}.yml"),
    ]
    return [*playbook, "-e", json.dumps(settings_of(part))]


def settings_of(playbook: str) -> dict[str, Any]:
    """Variables of a playbook: events go on where those stop that a former demo sent."""
    reports = (PROJECT / "reports" / "events").glob("*/report.json")
    runs = [json.loads(report.read_text()) for report in reports]
    match playbook:
        case "generate_events":
            return {**EVENTS, "bss_workload_event_first": max([0, *(run["stop"] for run in runs)])}
        case "check_streams":
            return {"bss_workload_checked_firsts": sorted(run["first"] for run in runs)}
    return {}


def read_hosts(inventory: Path) -> dict[str, dict]:
    """Hosts of the inventory with their variables, and the groups of each."""
    listing = subprocess.run(
        [BIN / "ansible-inventory", "-i", inventory, "--list"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    )
    tree = json.loads(listing.stdout)
    hosts = tree["_meta"]["hostvars"]
    for variables in hosts.values():
        variables["groups"] = []
    for group, content in tree.items():
        for host in content.get("hosts", ()):
            hosts[host]["groups"].append(group)
    return hosts


def summary(hosts: dict[str, dict], inventory: Path, times: dict[str, float]) -> list[str]:
    """The table at the end, as lines."""
    lines = ["What runs where", f"  {'host':<10}{'address':<15}{'on this machine':<32}services"]
    for host, variables in sorted(hosts.items()):
        services = []
        if "citus_coordinator" in variables["groups"]:
            services.append("Citus coordinator")
        if "citus_worker" in variables["groups"]:
            services.append(f"Citus worker, group {variables['citus_group']}")
        if "etcd" in variables["groups"]:
            services.append("etcd")
        if "kafka" in variables["groups"]:
            services.append(f"Kafka broker and controller {variables['kafka_node_id']}")
        if "flink_jobmanager" in variables["groups"]:
            services += ["Flink JobManager", "SQL Gateway"]
        if "zookeeper" in variables["groups"]:
            services.append("ZooKeeper")
        if "flink_taskmanager" in variables["groups"]:
            services.append("Flink TaskManager")
        if "prometheus" in variables["groups"]:
            services += ["Prometheus", "Alertmanager"]
        published = ", ".join(
            f"localhost:{ports.split(':')[0]}" for ports in variables.get("lab_published_ports", ())
        )
        lines.append(
            f"  {host:<10}{variables.get('ansible_host', ''):<15}{published:<32}"
            + ", ".join(services)
        )
    secrets = inventory.parent / ".secrets"
    ports_of = {
        group: [
            [port.split(":")[0] for port in variables["lab_published_ports"]]
            for _, variables in sorted(hosts.items())
            if group in variables["groups"]
        ]
        for group in ("citus_coordinator", "kafka", "flink_jobmanager", "prometheus")
    }
    first = {group: ports[0][0] for group, ports in ports_of.items()}
    prometheus, alertmanager = ports_of["prometheus"][0]
    brokers = ",".join(f"localhost:{ports[0]}" for ports in ports_of["kafka"])
    lines += [
        "",
        "How to connect",
        f"  PGPASSWORD=$(cat {secrets}/bss_password) psql \\",
        f'    "host=localhost port={first["citus_coordinator"]} user=bss dbname=bss '
        f'sslmode=verify-full sslrootcert={secrets}/ca/ca.crt"',
        f"  Kafka: {brokers} by SASL_SSL and",
        f"    SCRAM-SHA-512, as bss-reader with {secrets}/kafka_bss-reader_password",
        f"  Flink: https://localhost:{first['flink_jobmanager']}, with certificate and key",
        f"    {secrets}/flink_ca/admin.*",
        f"  Prometheus: https://localhost:{prometheus}, Alertmanager: https://localhost:{alertmanager},",
        f"    as operator with {secrets}/prometheus_password; {secrets}/ca/ca.crt signed for both",
        "  docker exec -it us-c1 patronictl list        who leads which group",
        "",
        "How long each part took",
    ]
    lines += [f"  {part:<16}{seconds:>7.1f} s" for part, seconds in times.items()]
    lines += [
        f"  {'together':<16}{sum(times.values()):>7.1f} s",
        "",
        f"Again, and nothing changes:  {BIN.parent.name}/bin/ansible-playbook "
        f"playbooks/site.yml -i {inventory}",
        "Away with it:                make down",
    ]
    return lines


if __name__ == "__main__":
    sys.exit(main())
