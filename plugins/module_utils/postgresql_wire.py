# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The first bytes of PostgreSQL's protocol, before anybody is authenticated.

A library would only say "could not connect", in the server's language. The
protocol says which it was: refused by pg_hba, or asked for a password.
"""

from __future__ import annotations

import socket
import ssl
import struct

from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError
from ansible_collections.bss.platform.plugins.module_utils.tls import days_left

TIMEOUT_S = 5
PROTOCOL_3_0 = 196608
SSL_REQUEST = 80877103

NO_MATCHING_RULE = "28000"
"""SQLSTATE of a client that no rule of pg_hba admits."""


class NotPostgresql(PlatformError):
    """The server does not answer as PostgreSQL does."""


def refusal_of_plain_connection(host: str, port: int, user: str, database: str) -> str | None:
    """Ask for a session without TLS: the SQLSTATE of the refusal.

    None when the server goes on to authenticate, so it would speak without TLS.
    Raises OSError when it cannot be reached.
    """
    words = (b"user", user.encode(), b"database", database.encode(), b"")
    startup = struct.pack("!I", PROTOCOL_3_0) + b"".join(word + b"\0" for word in words)
    with socket.create_connection((host, port), TIMEOUT_S) as connection:
        connection.sendall(struct.pack("!I", len(startup) + 4) + startup)
        answer = connection.makefile("rb")
        kind = answer.read(1)
        if kind == b"R":
            return None
        if kind != b"E":
            raise NotPostgresql(f"{host}:{port} answered {kind!r} to a start of session")
        (length,) = struct.unpack("!I", answer.read(4))
        fields = answer.read(length - 4).split(b"\0")
    return next(field[1:].decode() for field in fields if field[:1] == b"C")


def server_certificate_days_left(host: str, port: int, context: ssl.SSLContext) -> float:
    """Until the certificate that the server presents now expires.

    Raises OSError when the server is not reached, or not trusted by this name;
    NotPostgresql when it has no TLS.
    """
    with socket.create_connection((host, port), TIMEOUT_S) as connection:
        connection.sendall(struct.pack("!II", 8, SSL_REQUEST))
        if connection.recv(1) != b"S":
            raise NotPostgresql(f"{host}:{port} does not offer TLS")
        with context.wrap_socket(connection, server_hostname=host) as tls:
            return days_left(tls.getpeercert())
