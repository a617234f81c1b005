# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What it costs to watch a region, and how soon its operator is told.

Costs are what Prometheus, Alertmanager and the exporters say of themselves. What the
services spend on telling is not in it: their scrapes' durations are given beside.
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from bench.measuring import bars, inventory_of, playbook, say, title
from dashboards.server import Prometheus, of_region

# The rule's, and the job that it watches.
WORKER_ALERT = "CitusWorkerDown"
OF_WATCHING = "prometheus|alertmanager|node|postgres|postgres_log|blackbox|exporter_proxy"
WINDOW = "10m"
# Of the machine, for watching: the line to beat.
SHARE = 0.05
# The longest that a told alert may take beyond its rule, in seconds.
PATIENCE_S = 900


def prometheus(inventory: str) -> dict[str, Any]:
    region = of_region(inventory)
    tree = inventory_of(inventory)
    hosts = tree["_meta"]["hostvars"]
    *_, worker = tree["citus_worker"]["hosts"]
    return {
        "hosts": len(hosts),
        "cost": cost_of(region),
        "told": told_of_a_stopped_worker(inventory, region, hosts, worker),
    }


def value(region: Prometheus, query: str) -> float:
    """What an instant query gives, of which there is one."""
    (series,) = region.instant(query)
    return series.points[0][1]


def values(region: Prometheus, query: str, label: str) -> dict[str, float]:
    """What an instant query gives, by the value of a label."""
    return {each.labels[label]: each.points[0][1] for each in region.instant(query)}


def rule_s(region: Prometheus, alert: str) -> float:
    """For how long an alert's condition has to hold, in seconds."""
    groups = region.ask("rules", {"type": "alert"})["groups"]
    durations = [r["duration"] for g in groups for r in g["rules"] if r["name"] == alert]
    return float(durations[0])


def cost_of(region: Prometheus) -> dict[str, Any]:
    say(f"what watching has cost in the last {WINDOW}")
    ours = f'{{job=~"{OF_WATCHING}"}}'
    cores = values(region, f"sum by (job) (rate(process_cpu_seconds_total{ours}[{WINDOW}]))", "job")
    memory = values(region, f"sum by (job) (process_resident_memory_bytes{ours})", "job")
    # Every container of the lab sees the whole machine.
    machine_cores = value(region, "max(count by (instance) (node_cpu_seconds_total{mode='idle'}))")
    machine_bytes = value(region, "max(node_memory_MemTotal_bytes)")
    return {
        "samples_per_s": value(
            region, f"sum(rate(prometheus_tsdb_head_samples_appended_total[{WINDOW}]))"
        ),
        "series": value(region, "sum(prometheus_tsdb_head_series)"),
        "cores": cores,
        "memory_mib": {job: round(value / 2**20, 1) for job, value in memory.items()},
        "share_of_cores": sum(cores.values()) / machine_cores,
        "share_of_memory": sum(memory.values()) / machine_bytes,
        "scrape_s": values(region, "avg by (job) (scrape_duration_seconds)", "job"),
    }


def told_of_a_stopped_worker(
    inventory: str, region: Prometheus, hosts: dict[str, dict[str, Any]], worker: str
) -> dict[str, Any]:
    """Seconds from the stop of a worker's database to the alert at a receiver of our own.

    Its host goes on: of a dead host, HostDown tells, and silences what is on it.
    """
    network = ip_network(hosts[worker]["lab_network"])
    with Receiver(str(network[1])) as receiver:
        say("Alertmanager gets a receiver of the bench's")
        sent_to = {
            "prometheus_receivers": [{"name": "bench", "webhook_configs": [{"url": receiver.url}]}],
            "prometheus_routes": [
                {
                    "receiver": "bench",
                    "matchers": [f'alertname="{WORKER_ALERT}"'],
                    "group_wait": "0s",
                    "group_interval": "10s",
                }
            ],
        }
        playbook("playbooks/site.yml", inventory, "-e", json.dumps(sent_to))
        try:
            say(f"Patroni of {worker} is stopped, and PostgreSQL with it")
            stopped = time.time()
            patroni(worker, "stop")
            told = receiver.wait_for("firing") - stopped
        finally:
            patroni(worker, "start")
        started = time.time()
        over = receiver.wait_for("resolved") - started
        say("Alertmanager gets its own receivers back")
        playbook("playbooks/site.yml", inventory)
    for_s = rule_s(region, WORKER_ALERT)
    return {
        "alert": WORKER_ALERT,
        "rule_s": for_s,
        "told_s": round(told, 1),
        "beyond_the_rule_s": round(told - for_s, 1),
        "over_after_start_s": round(over, 1),
    }


def patroni(host: str, verb: str) -> None:
    subprocess.run(["docker", "exec", host, "systemctl", verb, "patroni"], check=True)


class Receiver:
    """Takes Alertmanager's notifications on the lab's network, until it is left."""

    def __init__(self, address: str) -> None:
        self._arrived: queue.Queue[tuple[float, str]] = queue.Queue()
        arrived = self._arrived

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                arrived.put((time.time(), said["status"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing: the bench's own lines are enough."""

        self._server = ThreadingHTTPServer((address, 0), Handler)
        self.url = f"http://{address}:{self._server.server_port}/"

    def __enter__(self) -> Receiver:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, status: str) -> float:
        """When a notification of this status arrived. Raises queue.Empty after PATIENCE_S."""
        while True:
            arrived, said = self._arrived.get(timeout=PATIENCE_S)
            if said == status:
                return arrived


def plot_prometheus(result: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    (cores, memory), (scrapes, told) = axes
    cost = result["cost"]
    to_beat = f"to be under {SHARE:.0%}"
    share = f"{cost['share_of_cores']:.1%} of the cores, {to_beat}"
    bars(cores, share, cost["cores"], "cores")
    share = f"{cost['share_of_memory']:.1%} of the memory, {to_beat}"
    bars(memory, share, cost["memory_mib"], "MiB")
    bars(scrapes, "one scrape, mean of the targets", cost["scrape_s"], "s")
    alert = result["told"]
    bars(
        told,
        f"{alert['alert']}, at a receiver",
        {
            "the rule's own": alert["rule_s"],
            "told after the stop": alert["told_s"],
            "told to be over after its start": alert["over_after_start_s"],
        },
        "s",
    )
    title(figure, result, f"watching {result['hosts']} hosts")
    figure.savefig(path)
