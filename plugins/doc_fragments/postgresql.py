# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations


class ModuleDocFragment:
    """Options of a connection, named as in community.postgresql."""

    DOCUMENTATION = r"""
options:
  login_host:
    description:
      - Host of the server. Empty means the local Unix socket.
    type: str
    default: ''
  login_port:
    description: Port of the server.
    type: int
    default: 5432
  login_user:
    description: Role to log in as.
    type: str
    default: postgres
  login_password:
    description: Password of that role. Empty where the server asks for none (peer, certificate).
    type: str
    default: ''
  login_db:
    description: Database to connect to; for Citus, the one that has the extension.
    type: str
    default: postgres
  login_unix_socket:
    description: Directory of the Unix socket; takes precedence over O(login_host).
    type: str
    default: ''
  ssl_mode:
    description:
      - How the connection is protected, with libpq's meanings.
      - Only V(verify-full) proves that the server is the one that was asked for.
    type: str
    choices: [allow, disable, prefer, require, verify-ca, verify-full]
    default: prefer
  ca_cert:
    description: File with the certificate authority that signed the server's certificate.
    type: path
requirements:
  - psycopg2 (python3-psycopg2 on Debian, psycopg2-binary from pip)
"""
