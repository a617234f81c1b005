#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Named checks of Prometheus and Alertmanager, and of what they have to know."""

from __future__ import annotations

DOCUMENTATION = r"""
module: prometheus_verify
short_description: Checks Prometheus and Alertmanager, and what they have to know
description:
  - Runs named checks on the host of both and returns what each found.
  - A failed check does not fail the module. Give the results to M(bss.platform.verify_report), or
    judge RV(passed).
  - C(prometheus_serves), the unit is active, Prometheus is ready, and it has taken in its
    configuration as it is on disk.
  - C(prometheus_refuses_strangers), Prometheus and Alertmanager refuse a client without password,
    one with a wrong password, and one that does not speak TLS.
  - C(prometheus_certificate), the certificates that both present, and their authority, are valid
    for longer than O(certificate_days).
  - C(targets_as_declared), all of O(targets) are scraped.
  - C(all_targets_up), the last scrape of each target succeeded.
  - C(rules_loaded), all of O(rules) are loaded, and the last evaluation of no rule failed.
  - C(no_critical_alerts), no alert with the severity C(critical) fires.
  - C(alertmanager_serves), the unit is active, Alertmanager is ready, and it has taken in its
    configuration.
  - C(alertmanager_cluster), Prometheus tells all of O(alertmanagers), and where they are more than
    one, they are one cluster.
  - C(watchdog_arrives), the alert that always fires has come from Prometheus to Alertmanager.
  - C(test_alert_arrives), an alert that is given to Alertmanager reaches a receiver. The module is
    that receiver, on the loopback, for as long as it takes. In check mode, which sends no alert, it
    is left out.
version_added: 0.4.0
author: the bss.platform contributors
options:
  url:
    description: Address of Prometheus, by a name that its certificate has.
    type: str
    required: true
  alertmanager_url:
    description: Address of Alertmanager, by a name that its certificate has.
    type: str
    required: true
  ca_cert:
    description: File with the certificate authority that signed the certificates of both.
    type: path
    required: true
  username:
    description: User who may look.
    type: str
    default: operator
  password:
    description: That user's password.
    type: str
    required: true
  targets:
    description: Hosts that have to be scraped (as label C(instance)), by job.
    type: dict
    default: {}
  rules:
    description: Names of the files with rules that have to be loaded, without directory and suffix.
    type: list
    elements: str
    default: []
  alertmanagers:
    description: Hosts whose Alertmanagers Prometheus has to tell.
    type: list
    elements: str
    default: []
  watchdog:
    description: Name of the alert that always fires.
    type: str
    default: Watchdog
  test_alert:
    description: Name of the alert that Alertmanager is given, and has a route for.
    type: str
    default: BssVerify
  receiver_port:
    description: Port of the loopback that this route leads to (a C(webhook_configs)).
    type: int
    default: 9096
  certificate_days:
    description: Days for which the certificates must still be valid.
    type: int
    default: 14
  settle_timeout:
    description: >-
      Seconds within which targets are to be up, rules evaluated and the watchdog to have come. What
      has just started is asked for the first time within a scrape interval.
    type: int
    default: 60
  delivery_timeout:
    description: >-
      Seconds within which the test alert is to come. In a cluster, an Alertmanager waits 15 s for
      each that stands before it.
    type: int
    default: 60
  request_timeout:
    description: Seconds that an answer may take.
    type: int
    default: 10
extends_documentation_fragment:
  - bss.platform.attributes.info
seealso:
  - module: bss.platform.verify_report
"""

EXAMPLES = r"""
- name: Check Prometheus and Alertmanager
  bss.platform.prometheus_verify:
    url: https://us-m1:9090
    alertmanager_url: https://us-m1:9093
    ca_cert: /etc/bss/tls/ca.crt
    password: "{{ lookup('ansible.builtin.file', 'prometheus_password') }}"
    targets:
      node: [us-c1, us-w1]
      kafka: [us-k1]
    rules: [hosts, kafka]
    alertmanagers: [us-m1]
  register: verify_prometheus
"""

RETURN = r"""
passed:
  description: Whether no check failed.
  returned: always
  type: bool
  sample: true
results:
  description: What each check found, in the order in which they ran.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the check.
      type: str
      sample: all_targets_up
    proves:
      description: What holds when it passes.
      type: str
      sample: The last scrape of every target succeeded
    state:
      description: V(ok), V(failed), or V(standin) where a test stand-in proves nothing.
      type: str
      sample: ok
    detail:
      description: What was seen, or what is wrong.
      type: str
      sample: 53 targets of 14 jobs are up
    seconds:
      description: How long it took.
      type: float
      sample: 0.021
"""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils import tls
from ansible_collections.bss.platform.plugins.module_utils.checks import (
    Check,
    CheckFailed,
    as_returned,
    conclude,
    run_checks,
    termination_raises,
)
from ansible_collections.bss.platform.plugins.module_utils.prometheus import (
    UNKNOWN,
    UP,
    Api,
    CannotReach,
    missing_targets,
    read_alertmanager_alerts,
    read_alerts,
    read_rules,
    read_targets,
)
from ansible_collections.bss.platform.plugins.module_utils.systemd import require_active

UNAUTHORIZED = 401
OK = 200

UNIT = "prometheus"
ALERTMANAGER_UNIT = "prometheus-alertmanager"

LOADED = "alertmanager_config_last_reload_successful 1"
"""What Alertmanager's metrics say where it has taken its configuration in."""

ENDS_S = 120
"""After which an alert ends by itself that was sent by who was then killed."""

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "url": {"type": "str", "required": True},
    "alertmanager_url": {"type": "str", "required": True},
    "ca_cert": {"type": "path", "required": True},
    "username": {"type": "str", "default": "operator"},
    "password": {"type": "str", "required": True, "no_log": True},
    "targets": {"type": "dict", "default": {}},
    "rules": {"type": "list", "elements": "str", "default": []},
    "alertmanagers": {"type": "list", "elements": "str", "default": []},
    "watchdog": {"type": "str", "default": "Watchdog"},
    "test_alert": {"type": "str", "default": "BssVerify"},
    "receiver_port": {"type": "int", "default": 9096},
    "certificate_days": {"type": "int", "default": 14},
    "settle_timeout": {"type": "int", "default": 60},
    "delivery_timeout": {"type": "int", "default": 60},
    "request_timeout": {"type": "int", "default": 10},
}


class Checks:
    """The checks of both, in the order in which they run."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._urls = (options["url"].rstrip("/"), options["alertmanager_url"].rstrip("/"))
        self._prometheus, self._alertmanager = (Api(url, options) for url in self._urls)

    def serves(self) -> str:
        require_active(UNIT)
        self._prometheus.page("/-/ready")
        information = self._prometheus.get("/api/v1/status/runtimeinfo")
        if not information["reloadConfigSuccess"]:
            raise CheckFailed(
                f"Prometheus goes on with a former configuration: see journalctl -u {UNIT}"
            )
        return (
            f"{UNIT} is active, {self._prometheus.url} is ready, it keeps "
            f"{information['storageRetention']}"
        )

    def refuses_strangers(self) -> str:
        faults = []
        anonymous = {**self._options, "username": None, "password": None}
        guessing = {**self._options, "password": f"not {self._options['password']}"}
        for url in self._urls:
            for who, stranger in (("without", anonymous), ("with a wrong", guessing)):
                status = Api(url, stranger).status("/")
                if status != UNAUTHORIZED:
                    faults.append(f"{url} answers a client {who} password with status {status}")
            plain = url.replace("https://", "http://", 1)
            try:
                status = Api(plain, self._options).status("/")
            except CannotReach:
                continue  # no answer at all is a refusal too
            if status < 400:
                faults.append(f"{plain} answers a client without TLS with status {status}")
        return conclude(faults, "a password and TLS are asked for by both")

    def certificate(self) -> str:
        context = tls.anonymous_context(self._options["ca_cert"])
        days = min(
            tls.server_certificate_days_left(parts.hostname or "", parts.port or 443, context)
            for parts in map(urlsplit, self._urls)
        )
        return tls.require_days(days, context, self._options["certificate_days"])

    def targets_as_declared(self) -> str:
        targets = read_targets(self._prometheus)
        missing = missing_targets(self._options["targets"], targets)
        faults = [
            f"{job} of {', '.join(hosts)} is not scraped: site.yml writes what is"
            for job, hosts in missing.items()
        ]
        return conclude(faults, f"{len(targets)} targets of {_jobs(targets)}")

    def all_targets_up(self) -> str:
        def look() -> tuple[list[str], str]:
            targets = read_targets(self._prometheus)
            down = [
                f"{target}: {target.error or f'its health is {target.health}'}"
                for target in targets
                if target.health != UP
            ]
            return down, f"{len(targets)} targets of {_jobs(targets)} are up"

        return self._settled(look)

    def rules_loaded(self) -> str:
        def look() -> tuple[list[str], str]:
            rules = read_rules(self._prometheus)
            files = {rule.file for rule in rules}
            faults = [
                f"the rules {name} are not loaded"
                for name in self._options["rules"]
                if name not in files
            ]
            faults += [
                f"the rule {rule.name} of {rule.file} fails: {rule.error}"
                if rule.health != UNKNOWN
                else f"the rule {rule.name} of {rule.file} was not evaluated yet"
                for rule in rules
                if rule.health != "ok"
            ]
            groups = {(rule.file, rule.group) for rule in rules}
            return faults, f"{len(rules)} rules in {len(groups)} groups, of {len(files)} files"

        return self._settled(look)

    def no_critical_alerts(self) -> str:
        alerts = read_alerts(self._prometheus)
        firing = [alert for alert in alerts if alert.state == "firing"]
        critical = [str(alert) for alert in firing if alert.labels.get("severity") == "critical"]
        others = [str(alert) for alert in firing if alert.labels.get("severity") == "warning"]
        seen = f"{len(others)} warnings: {'; '.join(others)}" if others else "nor a warning"
        return conclude(critical, f"no critical alert, {seen}")

    def alertmanager_serves(self) -> str:
        require_active(ALERTMANAGER_UNIT)
        self._alertmanager.page("/-/ready")
        if LOADED not in self._alertmanager.page("/metrics"):
            raise CheckFailed(
                "Alertmanager goes on with a former configuration: see journalctl -u "
                f"{ALERTMANAGER_UNIT}"
            )
        return f"{ALERTMANAGER_UNIT} is active, {self._alertmanager.url} is ready"

    def alertmanager_cluster(self) -> str:
        wanted = self._options["alertmanagers"]

        def look() -> tuple[list[str], str]:
            told = self._prometheus.get("/api/v1/alertmanagers")["activeAlertmanagers"]
            hosts = {urlsplit(each["url"]).hostname for each in told}
            faults = [f"Prometheus does not tell {host}" for host in wanted if host not in hosts]
            cluster = self._alertmanager.get("/api/v2/status")["cluster"]
            peers = len(cluster.get("peers") or ())
            if len(wanted) > 1 and (cluster["status"], peers) != ("ready", len(wanted)):
                faults.append(
                    f"Alertmanager's cluster is {cluster['status']} with {peers} of {len(wanted)} "
                    f"members: see journalctl -u {ALERTMANAGER_UNIT} and the cluster's port"
                )
            members = f", a cluster of {peers}" if len(wanted) > 1 else ""
            return faults, f"Prometheus tells {', '.join(wanted)}{members}"

        return self._settled(look)

    def watchdog_arrives(self) -> str:
        name = self._options["watchdog"]

        def look() -> tuple[list[str], str]:
            names = [alert.name for alert in read_alertmanager_alerts(self._alertmanager)]
            fault = f"Alertmanager has no alert {name}: what Prometheus sends does not arrive"
            return [] if name in names else [fault], f"Alertmanager has {name}"

        return self._settled(look)

    def test_alert_arrives(self) -> str:
        timeout, port = self._options["delivery_timeout"], self._options["receiver_port"]
        probe = uuid.uuid4().hex
        started = datetime.now(UTC)
        sent = time.monotonic()
        with _receiver(port, probe) as arrived:
            try:
                self._tell(probe, started, started + timedelta(seconds=ENDS_S))
                if not arrived.wait(timeout):
                    raise CheckFailed(
                        f"the alert {self._options['test_alert']} did not come to 127.0.0.1:{port} "
                        f"within {timeout} s: see journalctl -u {ALERTMANAGER_UNIT}, and whether "
                        "another route takes it (amtool config routes test)"
                    )
                seconds = time.monotonic() - sent
            finally:
                self._tell(probe, started, datetime.now(UTC))
        return f"sent, routed and received within {seconds:.1f} s"

    def checks(self, sends: bool) -> list[Check]:
        """``sends``: whether an alert may be sent."""
        checks = [
            Check(
                "prometheus_serves",
                "Prometheus runs, answers over verified TLS, and has its configuration",
                self.serves,
            ),
            Check(
                "prometheus_refuses_strangers",
                "Prometheus and Alertmanager refuse clients without password or TLS",
                self.refuses_strangers,
            ),
            Check(
                "prometheus_certificate",
                "The certificates that both present, and their authority, stay valid",
                self.certificate,
            ),
            Check(
                "targets_as_declared",
                "Everything that the inventory has is scraped",
                self.targets_as_declared,
            ),
            Check(
                "all_targets_up",
                "The last scrape of every target succeeded",
                self.all_targets_up,
            ),
            Check(
                "rules_loaded",
                "All rules are loaded and can be evaluated",
                self.rules_loaded,
            ),
            Check(
                "no_critical_alerts",
                "No critical alert fires",
                self.no_critical_alerts,
            ),
            Check(
                "alertmanager_serves",
                "Alertmanager runs, answers over verified TLS, and has its configuration",
                self.alertmanager_serves,
            ),
            Check(
                "alertmanager_cluster",
                "Prometheus tells all Alertmanagers, and they are one cluster",
                self.alertmanager_cluster,
            ),
            Check(
                "watchdog_arrives",
                "The alert that always fires comes from Prometheus to Alertmanager",
                self.watchdog_arrives,
            ),
        ]
        if sends:
            checks.append(
                Check(
                    "test_alert_arrives",
                    "An alert comes from Alertmanager to a receiver",
                    self.test_alert_arrives,
                )
            )
        return checks

    def _settled(self, look: Callable[[], tuple[list[str], str]]) -> str:
        """What was seen once there are no faults; the faults that are left when time is up."""
        end = time.monotonic() + self._options["settle_timeout"]
        faults, seen = look()
        while faults and time.monotonic() < end:
            time.sleep(1)
            faults, seen = look()
        return conclude(faults, seen)

    def _tell(self, probe: str, starts: datetime, ends: datetime) -> None:
        alert = {
            "labels": {"alertname": self._options["test_alert"], "probe": probe},
            "annotations": {"summary": "verify looks whether an alert arrives"},
            "startsAt": starts.isoformat(),
            "endsAt": ends.isoformat(),
        }
        self._alertmanager.post("/api/v2/alerts", [alert])


@contextmanager
def _receiver(port: int, probe: str) -> Iterator[threading.Event]:
    """Listen on the loopback as a webhook; the event is set once the alert has come."""
    arrived = threading.Event()

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            message = json.loads(self.rfile.read(length) or b"{}")
            self.send_response(OK)
            self.end_headers()
            if any(each["labels"].get("probe") == probe for each in message.get("alerts", ())):
                arrived.set()

        def log_message(self, *_args: object) -> None:
            pass  # a module prints its result and nothing else

    server = HTTPServer(("127.0.0.1", port), Webhook)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield arrived
    finally:
        server.shutdown()
        server.server_close()


def _jobs(targets: Iterable[Any]) -> str:
    return f"{len({target.job for target in targets})} jobs"


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    checks = Checks(module.params).checks(sends=not module.check_mode)
    with termination_raises():
        results = run_checks(checks)
    module.exit_json(changed=False, **as_returned(results))


if __name__ == "__main__":
    main()
