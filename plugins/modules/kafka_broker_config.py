#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_broker_config
short_description: Change the settings of a running Kafka broker
version_added: 0.2.0
description:
  - Compares the settings that a broker is to have with those that it has, changes at run time what
    Kafka can change so, and tells for which settings the broker has to restart (RV(restart_for)).
  - It does not write the broker's file. Write the same settings to it (C(server.properties)), so
    that they are there after a restart.
  - A setting that was changed at run time by somebody else, on this broker, and that is another
    than declared or is not declared, is taken back. Limits of reassignments
    (C(*.replication.throttled.rate)) stay, as does what is set for all brokers.
  - A name that Kafka does not know is refused, since Kafka ignores it without a word. So is a
    value that is not of the setting's kind, or that Kafka refuses on trial (C(validate_only)),
    also in check mode. All reasons are told at once, before anything is changed.
  - Numbers of threads are changed in steps, since Kafka at most doubles or halves them.
  - Where brokers cannot have a C(min.insync.replicas) of their own, as with eligible leader
    replicas, it is changed for all brokers.
  - Secrets are never shown, and only compared as they are written in the files.
options:
  broker:
    description: Number of the broker. It has to run.
    type: int
    required: true
  settings:
    description:
      - All settings that the broker is to have, by Kafka's names. Values are as in the file, where
        a backslash takes the meaning from the next character.
      - Name secrets by a config provider (C(${file:/path:key})), so that they are in no log.
    type: dict
    required: true
  loaded:
    description:
      - Path of a copy of the broker's file as it was when the broker started, on the host where
        the module runs. C(ExecStartPre) of the broker's unit can make it.
    type: path
    required: true
  plugin_settings:
    description:
      - Names of settings that Kafka does not know, but a plug-in of the broker reads. One that ends
        in a dot stands for all that begin so.
      - Those of listeners (C(listener.name.)), of config providers (C(config.providers.)), of
        Kafka's own authorizer (C(super.users), C(allow.everyone.if.no.acl.found)) and JMX reporter
        (C(metrics.jmx.)), and of remote storage (C(rsm.config.), C(rlmm.config.)) are known.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - bss.platform.attributes
  - bss.platform.kafka
notes:
  - These take a restart although Kafka says that it changes them at run time, since it does so only
    in part - settings that begin with C(ssl.) or C(sasl.), C(principal.builder.class),
    C(config.providers), C(listeners), C(listener.security.protocol.map) and C(num.network.threads).
    So do those of single listeners.
  - A few values are taken by Kafka on trial and then not used by the broker, such as a host without
    an address in C(max.connections.per.ip.overrides). Only its log tells.
  - Any change at run time makes the broker read its key stores again, where their files are newer.
seealso:
  - module: bss.platform.kafka_info
  - module: bss.platform.kafka_gate
author:
  - The bss.platform contributors (@bss-platform)
"""

EXAMPLES = r"""
- name: Change what can be changed at run time
  bss.platform.kafka_broker_config:
    broker: 1
    settings:
      node.id: 1
      process.roles: broker,controller
      num.io.threads: 16
      log.retention.ms: 604800000
    loaded: /run/kafka/server.properties
    bootstrap_servers: [us-k1:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
  register: kafka

- name: Tell what is left
  ansible.builtin.debug:
    msg: "Broker 1 has to restart for {{ kafka.restart_for | join(', ') }}"
  when: kafka.restart_for | length > 0
"""

RETURN = r"""
plan:
  description: What was done, or would be done in check mode, one sentence a step.
  returned: success
  type: list
  elements: str
  sample:
    - set log.retention.ms of broker 1 from nothing to 604800000
    - set num.io.threads of broker 1 from 4 to 8, on the way to 16
    - set num.io.threads of broker 1 from 8 to 16
diff:
  description: The settings that are changed at run time; secrets are not in it.
  returned: success
  type: dict
  contains:
    before:
      description: As they were; null where there was no value.
      type: dict
      sample: {num.io.threads: "4"}
    after:
      description: As they are now, or would be.
      type: dict
      sample: {num.io.threads: "16"}
requests:
  description: What was sent to change something.
  returned: success
  type: list
  elements: str
  sample:
    - >-
      IncrementalAlterConfigs {"resources": [{"resource_type": 4, "resource_name": "1", "configs":
      [{"name": "log.retention.ms", "config_operation": 0, "value": "604800000"}]}]}
restart_for:
  description:
    - Settings that were declared, changed or taken out since the broker started, and that it takes
      from its file only when it starts.
  returned: success
  type: list
  elements: str
  sample: [num.partitions]
answered:
  description: Whether the broker could be asked at all.
  returned: failure
  type: bool
  sample: true
"""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.kafka_broker_actions import (
    apply,
    objections,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_broker_plan import (
    Current,
    plan,
    refused_too,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_broker_settings import (
    find_broker,
    read_settings,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_config_values import written
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    CONNECTION_OPTIONS,
    CannotConnect,
    connect,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_properties import read_properties
from ansible_collections.bss.platform.plugins.module_utils.kafka_wire import (
    CannotReach,
    ConnectionLost,
    ConnectionRefusedByBroker,
    CredentialsRefused,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "broker": {"type": "int", "required": True},
    "settings": {"type": "dict", "required": True},
    "loaded": {"type": "path", "required": True},
    "plugin_settings": {"type": "list", "elements": "str", "default": []},
    **CONNECTION_OPTIONS,
}


UNANSWERED = (CannotConnect, CannotReach, ConnectionLost, ConnectionRefusedByBroker)


class LoadedUnreadable(PlatformError):
    """What the broker was started with is not known."""


def declared_settings(options: Mapping[str, Any]) -> dict[str, str | None]:
    """The settings as Kafka would read them from its file; None where there is no value."""
    declared: dict[str, str | None] = {}
    for name, value in options["settings"].items():
        text = written(value)
        declared |= {name: None} if text is None else read_properties(f"{name}={text}")
    return declared


def read_loaded(path: str) -> dict[str, str]:
    """Raises LoadedUnreadable."""
    try:
        with open(path, encoding="utf-8") as file:
            return read_properties(file.read())
    except (OSError, UnicodeDecodeError) as error:
        raise LoadedUnreadable(
            f"What the broker was started with was to be read from {path}: {error}. Let its unit "
            "copy the file there whenever it starts (ExecStartPre), and start the broker once."
        ) from error


def run(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Plan, apply unless in check mode, and say what was done.

    Raises PlatformError for every condition that a user can cause or mend.
    """
    loaded = read_loaded(options["loaded"])
    with closing(connect(options)) as session:
        broker = find_broker(session, options["broker"])
        current = Current(broker.number, read_settings(session, broker), loaded)
        decided = plan(current, declared_settings(options), options["plugin_settings"])
        decided = refused_too(decided, objections(session, broker, decided))
        decided.raise_if_refused()
        if decided.changed and not check_mode:
            apply(session, broker, decided)
    return {
        "changed": decided.changed,
        "plan": decided.sentences,
        "diff": decided.diff,
        "requests": session.sent,
        "restart_for": list(decided.restart_for),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = run(module.params, module.check_mode)
    except PlatformError as error:
        answered = not isinstance(error, UNANSWERED) or isinstance(error, CredentialsRefused)
        module.fail_json(msg=str(error), answered=answered)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
