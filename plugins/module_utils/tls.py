# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What checks ask of a TLS server: the certificate it presents, and whom it refuses.

Written on http.client, since no higher library shows the certificate that was
presented, or tells a refusal from a failure.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.bss.platform.plugins.module_utils.checks import CheckFailed
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

TIMEOUT_S = 5
DAY_S = 86_400


class RequestFailed(PlatformError):
    """The server answered, but not with what was asked for."""


@dataclass(frozen=True)
class Answer:
    """What an HTTPS server answered."""

    status: int
    body: str
    days_left: float
    """Until the certificate that the server presented expires."""


def client_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """Trust one authority, verify host names, and show our certificate.

    ``options``: ca_cert, client_cert and client_key (None where client_cert holds
    the key as well). Raises OSError when a file cannot be read.
    """
    context = anonymous_context(options["ca_cert"])
    context.load_cert_chain(options["client_cert"], options["client_key"])
    return context


def anonymous_context(ca_cert: str) -> ssl.SSLContext:
    """Trust one authority, verify host names, and show no certificate."""
    return ssl.create_default_context(cafile=ca_cert)


def get(url: str, context: ssl.SSLContext) -> Answer:
    """Send a GET request. Raises OSError (ssl.SSLError among them) or HTTPException."""
    parts = urlsplit(url)
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port, context=context, timeout=TIMEOUT_S
    )
    try:
        connection.connect()
        left = days_left(connection.sock.getpeercert())
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(), left)
    finally:
        connection.close()


def get_json(url: str, context: ssl.SSLContext) -> Any:
    """The JSON body of a GET request.

    Raises RequestFailed when the answer is not 200 with JSON, and what get() raises.
    """
    answer = get(url, context)
    try:
        if answer.status == http.client.OK:
            return json.loads(answer.body)
    except ValueError:
        pass
    raise RequestFailed(f"GET {url} answered {answer.status}: {answer.body[:200]}")


def refuses_anonymous(url: str, ca_cert: str) -> bool:
    """Whether the server closes the connection on a client that shows no certificate.

    With TLS 1.3 the handshake has ended for the client when the server refuses, so
    the refusal is an alert, or an end, in place of the answer. Raises OSError when
    the server cannot be reached or is itself not trusted: that refuses nobody.
    """
    try:
        get(url, anonymous_context(ca_cert))
    except ssl.SSLCertVerificationError:
        raise
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
        return True
    return False


def days_left(certificate: Any) -> float:
    """Until a certificate, as getpeercert() describes it, expires."""
    return (ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) / DAY_S


def server_certificate_days_left(host: str, port: int, context: ssl.SSLContext) -> float:
    """Of the certificate that a server presents, whatever it speaks over TLS. Raises OSError."""
    with (
        socket.create_connection((host, port), TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        return days_left(secured.getpeercert())


def turns_away(host: str, port: int, context: ssl.SSLContext) -> bool:
    """Whether a server, whatever it speaks over TLS, ends the connection on a client like that.

    One that takes it waits for what it has to say. Raises OSError as refuses_anonymous() does.
    """
    with socket.create_connection((host, port), TIMEOUT_S) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=host) as secured:
                return not secured.recv(1)
        except ssl.SSLCertVerificationError:
            raise
        except TimeoutError:
            return False
        except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
            return True


def strangers_taken(host: str, port: int, options: Mapping[str, Any]) -> list[str]:
    """The clients that a server takes although its authority signed no certificate of theirs.

    ``options``: those of client_context(), and foreign_cert, a certificate of another authority
    with its key, or None. Raises OSError where it does not take the client of the options: one
    that speaks no TLS would seem to turn all away.
    """
    server_certificate_days_left(host, port, client_context(options))
    strangers = {"without certificate": anonymous_context(options["ca_cert"])}
    if options["foreign_cert"]:
        foreign = anonymous_context(options["ca_cert"])
        foreign.load_cert_chain(options["foreign_cert"])
        strangers["with a certificate of another authority"] = foreign
    return [
        f"{host}:{port} takes a client {who}"
        for who, context in strangers.items()
        if not turns_away(host, port, context)
    ]


def certificate_stays_valid(url: str, options: Mapping[str, Any]) -> str:
    """A probe: what the service presents now, and its authority, outlast certificate_days."""
    context = client_context(options)
    return require_days(get(url, context).days_left, context, options["certificate_days"])


def require_days(certificate_days: float, context: ssl.SSLContext, wanted: int) -> str:
    """Say how long a certificate, and the authority that a context trusts, last.

    Raises CheckFailed when one of the two ends in less than ``wanted`` days.
    """
    authority_days = min(days_left(certificate) for certificate in context.get_ca_certs())
    seen = f"{certificate_days:.0f} days left, the authority {authority_days:.0f}"
    if min(certificate_days, authority_days) < wanted:
        raise CheckFailed(f"{seen}, wanted are {wanted}: renew with rotate_certificates")
    return seen
