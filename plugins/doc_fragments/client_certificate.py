# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations


class ModuleDocFragment:
    """How a client proves itself to a service of the platform, and the service to it."""

    DOCUMENTATION = r"""
options:
  ca_cert:
    description: File with the certificate authority that signed the members' certificates.
    type: path
    required: true
  client_cert:
    description: File with the client's certificate, and its key if O(client_key) is not given.
    type: path
    required: true
  client_key:
    description: File with the key of O(client_cert).
    type: path
"""
