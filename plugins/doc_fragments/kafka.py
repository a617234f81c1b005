# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations


class ModuleDocFragment:
    """Options of a connection to a Kafka cluster."""

    DOCUMENTATION = r"""
options:
  bootstrap_servers:
    description:
      - Brokers to ask, as V(host:port); the port is 9092 where there is none.
      - The first that answers is used, so that a task sees what the one before it did. Name more
        than one, so that the loss of a broker does not stop the task.
    type: list
    elements: str
    required: true
  security_protocol:
    description: How the connection is protected, and whether a user logs in (V(SASL_...\)).
    type: str
    choices: [PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL]
    default: SASL_SSL
  sasl_mechanism:
    description: How the user logs in, where O(security_protocol) is one with SASL.
    type: str
    choices: [PLAIN, SCRAM-SHA-256, SCRAM-SHA-512]
    default: SCRAM-SHA-512
  sasl_username:
    description: User to log in as.
    type: str
  sasl_password:
    description: Password of that user.
    type: str
  ca_cert:
    description:
      - File with the certificate authority that signed the brokers' certificates; without it,
        those of the system are trusted. The names in the certificates are always verified.
    type: path
  client_cert:
    description: File with a client certificate, and its key if O(client_key) is not given.
    type: path
  client_key:
    description: File with the key of O(client_cert).
    type: path
  bootstrap_timeout:
    description: Seconds that finding a broker that answers may take.
    type: int
    default: 10
  request_timeout:
    description: Seconds that Kafka may take over one request.
    type: int
    default: 30
requirements:
  - kafka-python 3 (kafka-python from pip)
"""
