# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations


class ModuleDocFragment:
    """Options of a connection to a Flink cluster."""

    DOCUMENTATION = r"""
options:
  url:
    description: Address of the JobManager's REST endpoint, such as V(https://us-f1:8081).
    type: str
    required: true
  ca_cert:
    description:
      - File with the certificate authority that signed the endpoints' certificates; without it,
        those of the system are trusted. The names in the certificates are always verified.
    type: path
    aliases: [ca_path]
  client_cert:
    description:
      - File with the client's certificate, and its key if O(client_key) is not given, for a cluster
        that demands one (C(security.ssl.rest.authentication-enabled)).
    type: path
  client_key:
    description: File with the key of O(client_cert).
    type: path
  request_timeout:
    description: Seconds that Flink may take over one request.
    type: int
    default: 30
"""
