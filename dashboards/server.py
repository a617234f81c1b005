# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Prometheus as dashboards ask it: over TLS, with a password."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

CHECKOUT = Path(__file__).resolve().parents[1]
PORT = 9090
USER = "operator"
TIMEOUT_S = 30


class NotAnsweredError(Exception):
    """Prometheus was not reached, or refused what it was asked."""


@dataclass(frozen=True)
class Series:
    labels: dict[str, str]
    # Pairs of time and value, oldest first; one pair of an instant query.
    points: list[tuple[float, float]]


class Prometheus:
    def __init__(self, url: str, ca: str | None, user: str, password: str) -> None:
        self.url = url.rstrip("/")
        self.session = requests.Session()
        # Otherwise a REQUESTS_CA_BUNDLE in the environment is taken instead of the CA.
        self.session.trust_env = False
        self.session.verify = ca or True
        self.session.auth = (user, password)

    def instant(self, expr: str) -> list[Series]:
        found = self.ask("query", {"query": expr})
        if found["resultType"] != "vector":
            return [Series({}, [point(found["result"])])]
        return [Series(series["metric"], [point(series["value"])]) for series in found["result"]]

    def over_time(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        asked = {"query": expr, "start": str(start), "end": str(end), "step": f"{step:g}"}
        found = self.ask("query_range", asked)
        return [
            Series(series["metric"], [point(value) for value in series["values"]])
            for series in found["result"]
        ]

    def metric_names(self) -> set[str]:
        return set(self.ask("label/__name__/values", {}))

    def label_values(self, selector: str, label: str) -> list[str]:
        return list(self.ask(f"label/{label}/values", {"match[]": selector}))

    def ask(self, what: str, parameters: Mapping[str, str]) -> Any:
        url = f"{self.url}/api/v1/{what}"
        try:
            answer = self.session.get(url, params=dict(parameters), timeout=TIMEOUT_S)
        except requests.RequestException as error:
            raise NotAnsweredError(f"{self.url} was not reached: {error}") from error
        try:
            said = answer.json()
        except ValueError:
            said = {"error": answer.reason}
        if answer.status_code != 200 or said.get("status") != "success":
            raise NotAnsweredError(f"{answer.status_code}: {said.get('error', answer.reason)}")
        return said["data"]


def point(pair: list[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


# Which one ---------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--inventory",
        default="inventories/us-east",
        help="take URL, authority and password from this inventory (default: %(default)s)",
    )
    parser.add_argument("--url", help="Prometheus elsewhere, as https://host:9090")
    parser.add_argument("--ca", help="authority that signed its certificate")
    parser.add_argument("--user", default=USER, help="(default: %(default)s)")
    parser.add_argument("--password-file", type=Path, help="file with the user's password")


def from_options(options: argparse.Namespace) -> Prometheus:
    """Prometheus as the options say, and as the inventory says what they do not."""
    return of_region(
        options.inventory, options.url, options.ca, options.user, options.password_file
    )


def of_region(
    inventory: str,
    url: str | None = None,
    ca: str | None = None,
    user: str = USER,
    password_file: Path | None = None,
) -> Prometheus:
    """The Prometheus of a region, as its inventory says where nothing else is said."""
    if not (url and ca and password_file):
        host_variables, secrets = of_inventory(inventory)
        url = url or f"https://{host_variables.get('ansible_host', '')}:{PORT}"
        ca = ca or str(secrets / "ca" / "ca.crt")
        password_file = password_file or secrets / "prometheus_password"
    try:
        password = password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        sys.exit(f"The password of {user} cannot be read: {error}")
    return Prometheus(url, ca, user, password)


def of_inventory(inventory: str) -> tuple[dict[str, Any], Path]:
    """Variables of the inventory's Prometheus, and the directory of its secrets."""
    listing = subprocess.run(
        [Path(sys.executable).parent / "ansible-inventory", "-i", inventory, "--list"],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
    )
    listed = json.loads(listing.stdout)
    hosts = listed.get("prometheus", {}).get("hosts", [])
    if not hosts:
        sys.exit(f"{inventory} has no host in its group prometheus; give --url and the others.")
    variables = listed["_meta"]["hostvars"].get(hosts[0], {})
    path = Path(inventory).resolve()
    directory = path if path.is_dir() else path.parent
    # As role _platform has it, where the inventory does not say otherwise.
    given = variables.get("platform_secrets_dir", str(directory.parent / ".secrets"))
    secrets = given.replace("{{ inventory_dir }}", str(directory))
    if "{{" in secrets:
        sys.exit(f"platform_secrets_dir is {secrets!r}; give --url, --ca and --password-file.")
    return {"ansible_host": hosts[0], **variables}, Path(secrets)
