# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""One connection to one Kafka broker: TLS, SASL, one request at a time.

Written on kafka-python's messages and not on its admin client, because that one reports a
wrong password or certificate as a time-out, writes passwords to its debug log, has no quotas,
and hides how many requests it sends. The encoding of messages is all that is taken from it.
"""

from __future__ import annotations

import io
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

try:
    import kafka.errors
    import kafka.protocol.admin
    import kafka.protocol.consumer
    import kafka.protocol.metadata
    import kafka.protocol.producer
    import kafka.protocol.sasl
    from ansible_collections.bss.platform.plugins.module_utils import kafka_messages
    from kafka.net.sasl.scram import ScramClient

    KAFKA_ERROR: Exception | None = None
except ImportError as error:  # reported by kafka_connection.connect(), as a sentence
    KAFKA_ERROR = error

CLIENT_ID = "bss.platform"
CLIENT = {"client_software_name": CLIENT_ID, "client_software_version": "1"}
API_VERSIONS_VERSIONS = (4, 3)
"""Of ApiVersions, which tells the versions of all others. The first, of Kafka 3.9, tells of all
features; the second is what every Kafka since 2.4 knows."""
UNSUPPORTED_VERSION = 35
SASL_AUTHENTICATION_FAILED = 58
UNSUPPORTED_SASL_MECHANISM = 33
MAX_RESPONSE_BYTES = 100 * 1024**2
TLS_ALERT = b"\x15"
"""The first byte of what a TLS server says to a client that does not speak TLS."""


class CannotReach(PlatformError):
    """No connection to this broker; another one may do."""


class ConnectionRefusedByBroker(PlatformError):
    """The broker is there and does not accept us, as no other of its cluster would."""


class CredentialsRefused(ConnectionRefusedByBroker):
    """The broker does not know this user, or not with this password."""


class ConnectionLost(PlatformError):
    """The connection broke in the middle; the same task converges when repeated."""


class UnsupportedRequest(PlatformError):
    """The broker is of a version that does not have this request."""


@dataclass(frozen=True)
class Security:
    """How a client and the brokers prove themselves to each other."""

    tls: ssl.SSLContext | None = None
    mechanism: str | None = None
    """None where no user logs in."""
    username: str = ""
    password: str = ""


class Connection:
    """An authenticated connection; requests and responses are plain dictionaries."""

    def __init__(
        self, host: str, port: int, security: Security, connect_timeout: float, timeout: float
    ) -> None:
        """Connect and log in. ``timeout`` (seconds) is that of a request.

        Raises CannotReach, ConnectionRefusedByBroker or CredentialsRefused.
        """
        self.name = f"{host}:{port}"
        self._correlation_id = 0
        self._socket = self._open(host, port, security.tls, connect_timeout)
        try:
            self._log_in(security)
            self._socket.settimeout(timeout)
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def request(self, api: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send ``<api>Request`` and return its response. Raises ConnectionLost."""
        message_class = _request_class(api)
        first, last = self.versions.get(message_class.API_KEY, (0, -1))
        version = min(last, message_class.max_version)
        if version < first:
            raise UnsupportedRequest(
                f"{self.name} does not have the request {api} in a version that this module knows. "
                "It needs Kafka 3 or newer."
            )
        return self._exchange(message_class, body, version)

    def _open(
        self, host: str, port: int, tls: ssl.SSLContext | None, timeout: float
    ) -> socket.socket:
        try:
            plain = socket.create_connection((host, port), timeout)
        except OSError as error:
            raise CannotReach(f"{self.name}: {_reason(error)}") from error
        if tls is None:
            return plain
        try:
            return tls.wrap_socket(plain, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            plain.close()
            raise ConnectionRefusedByBroker(
                f"{self.name} presents a certificate that is not to be trusted: "
                f"{error.verify_message.rstrip('.')}. Check ca_cert, that the certificate is "
                f"not expired, and that it names {host}."
            ) from error
        except ssl.SSLError as error:
            plain.close()
            raise ConnectionRefusedByBroker(
                f"{self.name} does not speak TLS as asked for: {_reason(error)}. Check that "
                "security_protocol is that of this port, and client_cert where the broker asks "
                "for one."
            ) from error
        except OSError as error:
            plain.close()
            raise CannotReach(f"{self.name}: {_reason(error)}, during the TLS handshake") from error

    def _log_in(self, security: Security) -> None:
        try:
            self.api_versions = self._negotiate()
            self.versions = {
                each["api_key"]: (each["min_version"], each["max_version"])
                for each in self.api_versions["api_keys"]
            }
            if security.mechanism is not None:
                self._authenticate(security, security.mechanism)
            else:
                # ApiVersions is answered before a login as well; this is not.
                self.request("Metadata", {"topics": []})
        except ConnectionLost as error:
            # It may be ending, or hang: another broker may do.
            raise CannotReach(
                f"{self.name} took the connection, and then closed it or did not answer. (Check "
                "that security_protocol is that of this port, that the port is for clients, not "
                "for controllers, and client_cert where the broker asks for one)"
            ) from error

    def _negotiate(self) -> dict[str, Any]:
        for version in API_VERSIONS_VERSIONS:
            said = self._exchange(_request_class("ApiVersions"), CLIENT, version)
            if said["error_code"] != UNSUPPORTED_VERSION:
                return said
        raise UnsupportedRequest(f"{self.name} is too old for this module, which needs Kafka 3.")

    def _authenticate(self, security: Security, mechanism: str) -> None:
        said = self._exchange(_request_class("SaslHandshake"), {"mechanism": mechanism}, 1)
        if said["error_code"] == UNSUPPORTED_SASL_MECHANISM:
            raise ConnectionRefusedByBroker(
                f"{self.name} does not take sasl_mechanism {mechanism}, but "
                f"{', '.join(said['mechanisms'])}."
            )
        self._refuse_error(said, security)
        if mechanism == "PLAIN":
            token = "\0".join(("", security.username, security.password)).encode()
            self._present(token, security)
            return
        client = ScramClient(_saslname(security.username), security.password, mechanism)
        client.process_server_first_message(self._present(client.first_message(), security))
        final = self._present(client.final_message(), security)
        try:
            client.process_server_final_message(final)
        except ValueError as error:
            raise ConnectionRefusedByBroker(
                f"{self.name} does not know the password of {security.username}, it only claims "
                "to: this is not the cluster that was asked for."
            ) from error

    def _present(self, token: bytes, security: Security) -> bytes:
        """Send one step of the login; the broker's answer to it."""
        _first, last = self.versions[_request_class("SaslAuthenticate").API_KEY]
        request_class = _request_class("SaslAuthenticate")
        response = self._send(request_class, {"auth_bytes": token}, min(last, 1))
        self._refuse_error(response.to_dict(), security)
        answer: bytes = response.auth_bytes
        return answer

    def _refuse_error(self, said: Mapping[str, Any], security: Security) -> None:
        if said["error_code"] == SASL_AUTHENTICATION_FAILED:
            raise CredentialsRefused(
                f"{self.name} refuses the login of {security.username} with {security.mechanism}: "
                "there is no such user, or the password is another. Check sasl_username and "
                "sasl_password."
            )
        if said["error_code"]:
            raise ConnectionRefusedByBroker(
                f"{self.name} refuses the login of {security.username}: {error_name(said)}. "
                "Check that sasl_mechanism is one that the broker has."
            )

    def _exchange(
        self, message_class: Any, body: Mapping[str, Any], version: int
    ) -> dict[str, Any]:
        said: dict[str, Any] = self._send(message_class, body, version).to_dict(json=False)
        return said

    def _send(self, message_class: Any, body: Mapping[str, Any], version: int) -> Any:
        self._correlation_id += 1
        message = _with_header(_message(message_class, body), version, self._correlation_id)
        try:
            self._socket.sendall(message.encode(header=True, framed=True))
            (size,) = struct.unpack(">i", self._receive(4))
            if not 0 < size <= MAX_RESPONSE_BYTES:
                raise ConnectionLost(f"{self.name} answers in another protocol than Kafka's")
            answer = io.BytesIO(self._receive(size))
        except OSError as error:
            self.close()
            raise ConnectionLost(
                f"The connection to {self.name} broke while {message_class.name} was under way: "
                f"{_reason(error)}. What was done before stays; run the same task again, it goes "
                "on from there."
            ) from error
        response_class = message.header.get_response_class()
        try:
            response_class.parse_header(answer)
            return response_class.decode(answer)
        except (ValueError, IndexError, struct.error) as error:
            self.close()
            raise ConnectionLost(f"{self.name} answers in another protocol than Kafka's") from error

    def _receive(self, size: int) -> bytes:
        """Exactly ``size`` bytes. Raises OSError when the broker closes before that."""
        received = bytearray()
        while len(received) < size:
            part = self._socket.recv(size - len(received))
            if not part:
                raise ConnectionResetError("the broker closed the connection")
            received += part
        return bytes(received)


def answers_without_tls(host: str, port: int, timeout: float) -> bool:
    """Whether a server says anything to a client that sends Kafka's first request in plain text.

    Raises CannotReach where that cannot be told.
    """
    message = _with_header(_message(_request_class("ApiVersions"), CLIENT), 3, 1)
    try:
        with socket.create_connection((host, port), timeout) as plain:
            try:
                plain.sendall(message.encode(header=True, framed=True))
                return plain.recv(1) not in (b"", TLS_ALERT)
            except ConnectionError:  # closed on us, which is a refusal
                return False
    except OSError as error:
        raise CannotReach(f"{host}:{port}: {_reason(error)}") from error


def error_name(said: Mapping[str, Any]) -> str:
    """The error of a response or of a part of it: Kafka's own words, else the error's name."""
    name: str = kafka.errors.for_code(said["error_code"]).__name__
    words = " ".join((said.get("error_message") or "").split()).rstrip(".")
    return words or name


def _request_class(api: str) -> Any:
    for module in (
        kafka.protocol.admin,
        kafka.protocol.consumer,
        kafka.protocol.metadata,
        kafka.protocol.producer,
        kafka.protocol.sasl,
        kafka_messages,
    ):
        found = getattr(module, f"{api}Request", None)
        if found is not None:
            return found
    raise AssertionError(f"kafka-python has no {api}Request")


def _message(data_class: Any, values: Mapping[str, Any]) -> Any:
    """A message of kafka-python from a dictionary, lists of dictionaries in it included."""
    fields = data_class.fields
    return data_class(
        **{
            name: [_message(fields[name].data_class, each) for each in value]
            if fields[name].is_struct_array() and value is not None
            else value
            for name, value in values.items()
        }
    )


def _with_header(message: Any, version: int, correlation_id: int) -> Any:
    message.API_VERSION = version
    message.with_header(correlation_id=correlation_id, client_id=CLIENT_ID)
    return message


def _saslname(username: str) -> str:
    """A user name as SCRAM writes it."""
    return username.replace("=", "=3D").replace(",", "=2C")


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    words = getattr(error, "reason", None) or error.strerror or str(error) or type(error).__name__
    return " ".join(str(words).split()).rstrip(".")
