# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Requests to the APIs of Prometheus and Alertmanager, and what their answers say."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError

from ansible.module_utils.urls import open_url
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

UP = "up"
UNKNOWN = "unknown"
"""Health of a target that was not asked yet, and of a rule that was not evaluated yet."""


class CannotReadAuthority(PlatformError):
    """The file of ca_cert is missing or not the user's to read."""


class CannotReach(PlatformError):
    """Nobody answered at that address, or not as a server that ca_cert signed."""


class RequestRefused(PlatformError):
    """An API answered, and said no."""

    def __init__(self, request: str, status: int, said: str) -> None:
        self.status = status
        super().__init__(f"{request} was refused with status {status}: {said[:300].strip()}")


class Api:
    """Requests to one of the two, with a user's password where there is one."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        """``options``: ca_cert, username, password (None for a stranger) and request_timeout."""
        self.url = url.rstrip("/")
        self._options = options

    def get(self, path: str) -> Any:
        """The JSON of the answer; of Prometheus' API, what it is about."""
        return _data(self._request("GET", path))

    def page(self, path: str) -> str:
        """The text of a page that is no JSON."""
        return self._request("GET", path).decode(errors="replace")

    def post(self, path: str, body: Any) -> None:
        """Send JSON."""
        self._request("POST", path, json.dumps(body).encode())

    def status(self, path: str) -> int:
        """With which status a page answers. Raises CannotReach."""
        try:
            self._request("GET", path)
        except RequestRefused as error:
            return error.status
        return 200

    def _request(self, method: str, path: str, data: bytes | None = None) -> bytes:
        ca_cert, url = self._options["ca_cert"], f"{self.url}{path}"
        if ca_cert and not os.access(ca_cert, os.R_OK):
            raise CannotReadAuthority(
                f"Cannot read ca_cert {ca_cert}. Correct the path, or run as a user that may read "
                "it (become: true)."
            )
        try:
            with open_url(
                url,
                method=method,
                data=data,
                headers={"Content-Type": "application/json"},
                timeout=self._options["request_timeout"],
                ca_path=ca_cert,
                url_username=self._options["username"],
                url_password=self._options["password"],
                force_basic_auth=self._options["password"] is not None,
                use_proxy=False,
                use_netrc=False,
            ) as response:
                body: bytes = response.read()
                return body
        except HTTPError as error:
            said = error.read().decode(errors="replace")
            raise RequestRefused(f"{method} {url}", error.code, said) from error
        except (URLError, OSError, HTTPException, ValueError) as error:
            why = error.reason if isinstance(error, URLError) else error
            raise CannotReach(
                f"{url} did not answer ({why or type(error).__name__}): see journalctl -u "
                "prometheus -u prometheus-alertmanager, and check the address and ca_cert"
            ) from error


@dataclass(frozen=True)
class Target:
    """What Prometheus scrapes, and how the last attempt ended."""

    job: str
    instance: str
    service: str
    health: str
    error: str

    def __str__(self) -> str:
        return f"{self.job} of {self.instance}{f' ({self.service})' if self.service else ''}"


@dataclass(frozen=True)
class Rule:
    """A rule that Prometheus has loaded, and how its last evaluation ended."""

    name: str
    file: str
    """Name of the file, without directory and suffix."""
    group: str
    health: str
    error: str


@dataclass(frozen=True)
class Alert:
    """An alert, as Prometheus and Alertmanager name it."""

    labels: Mapping[str, str]
    state: str
    summary: str

    @property
    def name(self) -> str:
        return self.labels.get("alertname", "")

    def __str__(self) -> str:
        where = self.labels.get("instance") or self.labels.get("region") or ""
        return f"{self.name}{f' of {where}' if where else ''}: {self.summary or 'no summary'}"


def read_targets(prometheus: Api) -> list[Target]:
    found = prometheus.get("/api/v1/targets?state=active")["activeTargets"]
    return [
        Target(
            job=each["labels"].get("job", ""),
            instance=each["labels"].get("instance", ""),
            service=each["labels"].get("service", ""),
            health=each["health"],
            error=each.get("lastError", ""),
        )
        for each in found
    ]


def read_rules(prometheus: Api) -> list[Rule]:
    return [
        Rule(
            name=rule["name"],
            file=os.path.splitext(os.path.basename(group["file"]))[0],
            group=group["name"],
            health=rule["health"],
            error=rule.get("lastError", ""),
        )
        for group in prometheus.get("/api/v1/rules")["groups"]
        for rule in group["rules"]
    ]


def read_alerts(prometheus: Api) -> list[Alert]:
    """The alerts that rules of Prometheus raise: firing, or pending until they have lasted."""
    return [
        Alert(each["labels"], each["state"], each["annotations"].get("summary", ""))
        for each in prometheus.get("/api/v1/alerts")["alerts"]
    ]


def read_alertmanager_alerts(alertmanager: Api) -> list[Alert]:
    """The alerts that Alertmanager was told and has not seen the end of."""
    return [
        Alert(each["labels"], each["status"]["state"], each["annotations"].get("summary", ""))
        for each in alertmanager.get("/api/v2/alerts")
    ]


def missing_targets(
    expected: Mapping[str, Sequence[str]], targets: Sequence[Target]
) -> dict[str, list[str]]:
    """The hosts, by job, that are to be scraped and are not."""
    scraped = {(target.job, target.instance) for target in targets}
    missing = {
        job: [host for host in hosts if (job, host) not in scraped]
        for job, hosts in expected.items()
    }
    return {job: hosts for job, hosts in missing.items() if hosts}


def _data(body: bytes) -> Any:
    """Prometheus wraps its answers, Alertmanager does not."""
    answer = json.loads(body or b"{}")
    if isinstance(answer, dict) and "status" in answer and "data" in answer:
        return answer["data"]
    return answer
