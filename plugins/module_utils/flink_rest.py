# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Requests to Flink's REST endpoints: the JobManager's and the SQL Gateway's."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from ansible.module_utils.urls import open_url
from ansible_collections.bss.platform.plugins.module_utils.flink_secrets import masked
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

CONNECTION_OPTIONS: dict[str, dict[str, Any]] = {
    "url": {"type": "str", "required": True},
    "ca_cert": {"type": "path", "aliases": ["ca_path"]},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path"},
    "request_timeout": {"type": "int", "default": 30},
}

NOT_FOUND = 404
UNAVAILABLE = 503
REDIRECTS = (301, 302, 303, 307, 308)


class CannotReadCertificate(PlatformError):
    """A file of the certificate options is missing or not the user's to read."""


class CannotReachFlink(PlatformError):
    """Nobody answered at that address, or it did not take the client's certificate."""


class AnswerLost(CannotReachFlink):
    """A change was sent and its answer did not come: it may have been done."""


class FlinkRefused(PlatformError):
    """Flink answered, and said no."""

    def __init__(self, request: str, status: int, said: str) -> None:
        self.status = status
        self.said = said
        """Flink's whole answer, with its stack traces."""
        self.cause = root_cause(said)
        super().__init__(f"Flink refused {request}: {self.cause} (status {status}).")


class Api:
    """Requests with a client certificate; ``sent`` holds the writing ones, without secrets."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self.url = str(options["url"]).rstrip("/")
        self.sent: list[str] = []

    def get(self, path: str) -> Any:
        """The JSON of the answer. ``path`` is the JobManager's, or a whole address."""
        return self._request("GET", path)

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send a change; the JSON of the answer. Raises FlinkRefused and AnswerLost."""
        shown = "" if body is None else f" {json.dumps(masked(body), sort_keys=True)}"
        self.sent.append(f"{method} {path.removeprefix(self.url)}{shown}")
        return self.ask(method, path, body)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """As ``send``, of what changes nothing that lasts (a session, a trial)."""
        data = None if body is None else json.dumps(body).encode()
        return self._request(method, path, data)

    def upload(self, jar: Path, name: str) -> str:
        """Upload a jar under that name; the id that Flink gives it."""
        self.sent.append(f"POST /jars/upload {name}")
        boundary = uuid.uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="jarfile"; filename="{name}"\r\n'
            "Content-Type: application/x-java-archive\r\n\r\n"
        )
        data = head.encode() + jar.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        answer = self._request("POST", "/jars/upload", data, kind)
        return str(answer["filename"]).rpartition("/")[2]

    def _request(
        self, method: str, path: str, data: bytes | None = None, kind: str = "application/json"
    ) -> Any:
        url = f"{self.url}{path}" if path.startswith("/") else path
        self._require_readable_certificates()
        try:
            with open_url(
                url,
                method=method,
                data=data,
                headers={"Content-Type": kind},
                timeout=self._options["request_timeout"],
                ca_path=self._options["ca_cert"],
                client_cert=self._options["client_cert"],
                client_key=self._options["client_key"],
                use_proxy=False,
                follow_redirects="none",  # from http to https, which no change would survive
            ) as response:
                return json.loads(response.read() or b"{}")
        except HTTPError as error:
            if error.code in REDIRECTS:
                raise CannotReachFlink(_unreached(method, url, "it redirects to TLS")) from error
            said = error.read().decode(errors="replace")
            if error.code == UNAVAILABLE:  # nothing is done before there is a leader
                raise CannotReachFlink(_unreached(method, url, root_cause(said))) from error
            raise FlinkRefused(f"{method} {url}", error.code, said) from error
        except URLError as error:  # before anything was sent
            raise CannotReachFlink(_unreached(method, url, error.reason)) from error
        except (OSError, HTTPException, ValueError) as error:
            lost = CannotReachFlink if method == "GET" else AnswerLost
            raise lost(_unreached(method, url, error)) from error

    def _require_readable_certificates(self) -> None:
        for option in ("ca_cert", "client_cert", "client_key"):
            path = self._options[option]
            if path and not os.access(path, os.R_OK):
                raise CannotReadCertificate(
                    f"Cannot read {option} {path}. Correct the path, or run as a user that may "
                    "read it (become: true)."
                )


def root_cause(said: str) -> str:
    """The line of a Java stack trace, or of Flink's answer with one, that says what went wrong."""
    try:
        answer = json.loads(said)
        said = "\n".join(map(str, answer["errors"])) if isinstance(answer, dict) else said
    except (ValueError, KeyError, TypeError):
        pass
    # What a JobManager has said to a SQL Gateway, the gateway tells in a trace of its own.
    said = re.sub(r"Caused by: .*<Exception on server side:\n", "Caused by: ", said)
    lines = [line.strip() for line in said.splitlines()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    words = [line for line in lines if line and not line.startswith(("at ", "...", "<Exception"))]
    found = (causes or words[-1:] or ["no reason given"])[-1]
    # A connector that brings Kafka's client along names it org.apache.flink.kafka.shaded.org...
    if "org.apache.kafka." in found.partition(":")[0]:
        # What Kafka's client could not do, only who asked it says, such as for which topic.
        asked = [each.removesuffix(".") for each in causes if found not in each]
        found = ": ".join([*asked[-1:], found])
    # The class says little that its message does not, but where there is no message.
    return re.sub(r"(?:^|(?<=: ))(?:[\w$]+\.)+([\w$]+)(?=:|$)", r"\1", found).removesuffix(".")


def _unreached(method: str, url: str, why: object) -> str:
    text = str(why) or type(why).__name__
    hint = "Check that it runs (journalctl -u flink-jobmanager or flink-sql-gateway), and the url."
    if any(word in text.lower() for word in ("ssl", "certificate", "tls", "reset", "without resp")):
        hint = (
            "It demands another certificate than the one it was shown, or has one that ca_cert did "
            "not sign: check ca_cert, client_cert and client_key, and whether url is https."
        )
    return f"Flink did not answer {method} {url} ({text}). {hint}"
