# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A session with a Kafka cluster that remembers what it sent.

The transport under the Kafka modules. Every request goes to the first of the declared servers
that answers, so that one task sees what the one before it did; brokers pass on what only the
active controller can do.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils import kafka_wire
from ansible_collections.bss.platform.plugins.module_utils.kafka_wire import (
    CannotReach,
    Connection,
    ConnectionLost,
    CredentialsRefused,
    Security,
    error_name,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

CONNECTION_OPTIONS: dict[str, dict[str, Any]] = {
    "bootstrap_servers": {"type": "list", "elements": "str", "required": True},
    "security_protocol": {
        "type": "str",
        "default": "SASL_SSL",
        "choices": ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
    },
    "sasl_mechanism": {
        "type": "str",
        "default": "SCRAM-SHA-512",
        "choices": ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
    },
    "sasl_username": {"type": "str"},
    "sasl_password": {"type": "str", "no_log": True},
    "ca_cert": {"type": "path"},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path"},
    "bootstrap_timeout": {"type": "int", "default": 10},
    "request_timeout": {"type": "int", "default": 30},
}

DEFAULT_PORT = 9092
# How responses call the thing that a part of them is about.
PART_NAMES = ("name", "resource_name", "user", "entity_name", "partition_index", "feature")
POLL_INTERVAL_S = 0.1
SETTLE_TIMEOUT_S = 30
"""How long a broker may take to learn what the controller has written."""


class MissingLibrary(PlatformError):
    """kafka-python is not installed where the module runs."""


class CannotConnect(PlatformError):
    """No session with the cluster could be had."""


class RequestRefused(PlatformError):
    """Kafka refused a request as a whole."""

    def __init__(self, message: str, words: str = "") -> None:
        self.words = words
        """Kafka's own."""
        super().__init__(message)


class StepFailed(PlatformError):
    """A part of the plan could not be done; says which, and what became of the rest."""


class NotSettled(PlatformError):
    """All was done, but the broker that was asked does not show it."""


class Session:
    """Requests to one cluster; ``sent`` holds those that changed something, in order."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._security = _security(options)
        self._to_brokers: dict[tuple[str, int], Connection] = {}
        self._connection = self._connect_to_any()
        self.sent: list[str] = []

    @property
    def name(self) -> str:
        """The server that answers."""
        return self._connection.name

    @property
    def timeout_ms(self) -> int:
        """How long the cluster may take over a request: less than we wait for the answer."""
        return int(self._options["request_timeout"] * 900)

    @property
    def username(self) -> str:
        return self._security.username

    @property
    def api_versions(self) -> dict[str, Any]:
        """What the broker said of the versions and features that it has."""
        said: dict[str, Any] = self._connection.api_versions
        return said

    def read(
        self, api: str, body: Mapping[str, Any], broker: tuple[str, int] | None = None
    ) -> dict[str, Any]:
        """Send a request that changes nothing; once more on a new connection when one breaks.

        ``broker`` as in write(). Raises RequestRefused when Kafka refuses it as a whole; errors
        of its parts are in it.
        """
        try:
            said = self._connection_of(broker).request(api, body)
        except ConnectionLost:
            if broker is None:
                self._connection = self._connect_to_any()
            else:
                del self._to_brokers[broker]
            said = self._connection_of(broker).request(api, body)
        return self._accepted(api, said)

    def write(
        self,
        api: str,
        body: Mapping[str, Any],
        shown: Mapping[str, Any] | None = None,
        broker: tuple[str, int] | None = None,
    ) -> dict[str, Any]:
        """Send a request that changes something, and keep it in ``sent``.

        ``shown`` is what is kept of it, where the body has secrets. ``broker`` is the address
        of the one that it has to be sent to, where not any does. Raises what read() raises.
        """
        connection = self._connection_of(broker)
        self.sent.append(f"{api} {json.dumps(body if shown is None else shown)}")
        return self._accepted(api, connection.request(api, body))

    def accepts_login(self, username: str, password: str) -> bool:
        """Whether a client can log in so with SCRAM-SHA-512, at the server that we talk to."""
        host, port = address_of(self.name)
        security = Security(self._security.tls, "SCRAM-SHA-512", username, password)
        try:
            self._connection_to(host, port, security, self._options["request_timeout"]).close()
        except CredentialsRefused:
            return False
        return True

    def close(self) -> None:
        for connection in (self._connection, *self._to_brokers.values()):
            connection.close()

    def _accepted(self, api: str, said: dict[str, Any]) -> dict[str, Any]:
        if said.get("error_code"):
            who = f" for {self.username}" if self.username else ""
            raise RequestRefused(
                f"Kafka at {self.name} refused {api}{who}: {error_name(said)}. Check that this "
                "user is a super user or has the ACLs for it.",
                error_name(said),
            )
        return said

    def _connect_to_any(self) -> Connection:
        deadline = time.monotonic() + self._options["bootstrap_timeout"]
        servers = [address_of(server) for server in self._options["bootstrap_servers"]]
        if not servers:
            raise CannotConnect("bootstrap_servers is empty: name at least one broker.")
        failures: list[str] = []
        for tried, (host, port) in enumerate(servers):
            # Each gets its part of what is left, so that one that is silent does not use it up.
            left = max(deadline - time.monotonic(), 0.5) / (len(servers) - tried)
            try:
                return self._connection_to(host, port, self._security, left)
            except CannotReach as error:
                failures.append(str(error))
        raise CannotConnect(
            f"No connection to Kafka: {'; '.join(failures)}. Check bootstrap_servers and that "
            "the brokers run."
        )

    def _connection_of(self, address: tuple[str, int] | None) -> Connection:
        if address is None:
            return self._connection
        if address not in self._to_brokers:
            try:
                self._to_brokers[address] = self._connection_to(
                    *address, self._security, self._options["bootstrap_timeout"]
                )
            except CannotReach as error:
                raise CannotConnect(
                    f"No connection to the broker that the cluster calls {error}. A client must "
                    "reach all brokers at their advertised addresses."
                ) from error
        return self._to_brokers[address]

    def _connection_to(
        self, host: str, port: int, security: Security, connect_timeout: float
    ) -> Connection:
        return Connection(host, port, security, connect_timeout, self._options["request_timeout"])


def connect(options: Mapping[str, Any]) -> Session:
    """Open a session from a module's parameters (the names of CONNECTION_OPTIONS).

    Raises MissingLibrary, CannotConnect or an error of kafka_wire, each saying what to do.
    """
    if kafka_wire.KAFKA_ERROR is not None:
        raise MissingLibrary(
            "The Python library kafka-python, version 3, is not installed where this module runs "
            f"({kafka_wire.KAFKA_ERROR}). Install it with pip: kafka-python."
        )
    return Session(options)


def refused_parts(said: Mapping[str, Any]) -> dict[str, str]:
    """What a response refused of a list of things: Kafka's words by the thing's name."""
    refused: dict[str, str] = {}
    for parts in said.values():
        for part in parts if isinstance(parts, list) else ():
            if not isinstance(part, Mapping):
                continue
            about = (part.get("entity") or [part])[0]  # of a quota
            name = next((str(about[key]) for key in PART_NAMES if about.get(key) is not None), "")
            if part.get("error_code"):
                refused[name] = error_name(part)
            for inner, words in refused_parts(part).items():
                refused[f"{name}-{inner}"] = words
    return refused


def settle(what: str, is_settled: Callable[[], bool], timeout: float = SETTLE_TIMEOUT_S) -> None:
    """Wait until the broker shows what was done; Kafka has no call that waits for it."""
    deadline = time.monotonic() + timeout
    while not is_settled():
        if time.monotonic() > deadline:
            raise NotSettled(
                f"{what} was accepted by Kafka, but {timeout} s later the broker that was asked "
                "does not show it. Check that it keeps up with the controllers (kafka_info, "
                "quorum); the same task tells whether anything is left to do."
            )
        time.sleep(POLL_INTERVAL_S)


def _security(options: Mapping[str, Any]) -> Security:
    protocol: str = options["security_protocol"]
    tls = _tls_context(options) if protocol.endswith("SSL") else None
    if not protocol.startswith("SASL"):
        return Security(tls)
    for option in ("sasl_username", "sasl_password"):
        if not options[option]:
            raise CannotConnect(f"security_protocol {protocol} logs a user in: set {option}.")
    return Security(
        tls, options["sasl_mechanism"], options["sasl_username"], options["sasl_password"]
    )


def _tls_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """Verifies the broker's name and its certificate's authority (the system's without ca_cert)."""
    try:
        context = ssl.create_default_context(cafile=options["ca_cert"])
        if options["client_cert"]:
            context.load_cert_chain(options["client_cert"], options["client_key"])
    except OSError as error:  # ssl.SSLError is one
        files = [options[name] for name in ("ca_cert", "client_cert", "client_key")]
        raise CannotConnect(
            f"The certificates ({', '.join(filter(None, files))}) cannot be used: {error}. Check "
            "that the files are there, that this user may read them, and that they are in PEM."
        ) from error
    return context


def address_of(server: str) -> tuple[str, int]:
    """``host``, ``host:port`` or ``[IPv6]:port``."""
    host, colon, port = server.strip().rpartition(":")
    if not colon or server.strip().endswith("]"):
        host, port = server.strip(), str(DEFAULT_PORT)
    number = 0
    with suppress(ValueError):
        number = int(port)
    if not host or not 0 < number < 65536:
        raise CannotConnect(f"bootstrap_servers: {server} is no address. Write it as host:port.")
    return host.strip("[]"), number
