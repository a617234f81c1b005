#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Named checks of a broker of Kafka, or of its cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_verify
short_description: Checks a broker of Kafka, or its cluster and what is declared in it
description:
  - Runs named checks and returns what each found. With O(broker) they are those of one broker, on
    its host; with O(brokers) and O(voters) those of the cluster, on any host.
  - A failed check does not fail the module. Give the results to M(bss.platform.verify_report), or
    judge RV(passed).
  - C(kafka_running), the unit is active, and the broker, asked over verified TLS, serves clients
    and is not fenced.
  - C(kafka_certificate), the certificate that is presented names the broker, and it and its
    authority are valid for longer than O(certificate_days).
  - C(kafka_refuses_plaintext), a client that does not speak TLS gets no answer.
  - C(kafka_refuses_wrong_password), a login as O(sasl_username) with another password is refused.
  - C(kafka_brokers_serve), all of O(brokers) are registered and none is fenced.
  - C(kafka_quorum), the controllers have a leader, all of O(voters) are voters, and every voter has
    caught up.
  - C(kafka_replicas_in_sync), every partition of every topic has a leader and all its replicas in
    sync.
  - C(kafka_spares_a_broker), whichever of O(brokers) stops, every partition of O(topics) keeps its
    C(min.insync.replicas), so that acknowledged writes go on. Passes where there is one broker.
  - C(kafka_topics_as_declared), each of O(topics) has the declared partitions, replicas and
    settings.
  - C(kafka_acl_denies), each of O(users) is refused when it writes to, or reads, any topic of
    O(topics) and of other users that is not declared for it.
  - C(kafka_acl_allows), none of O(users) is refused where it is. Rights are tried by requests for
    a partition that does not exist, so that nothing is written where they are wrong.
  - C(kafka_round_trip), a record that is written with C(acks=all) to a topic of its own,
    C(bss_verify_scratch), of three replicas or as many as there are O(brokers), is read back equal.
    The topic is deleted at the end, also when the module is stopped, and at the start if a killed
    one left it. Two that run at once take it from each other.
version_added: 0.2.0
author: the bss.platform contributors
options:
  broker:
    description:
      - Number of the broker of this host. Its address is the first of O(bootstrap_servers), by a
        name that its certificate has.
      - Mutually exclusive with O(brokers). Needs O(ca_cert) and O(sasl_username).
    type: int
  unit:
    description: Unit of systemd that runs O(broker).
    type: str
    default: kafka
  certificate_days:
    description: Days for which the certificate that O(broker) presents must still be valid.
    type: int
    default: 14
  brokers:
    description: Numbers of the brokers that have to serve. Needs O(voters).
    type: list
    elements: int
  voters:
    description: Numbers of the controllers that have to be voters.
    type: list
    elements: int
  topics:
    description: Topics that are declared, as the option C(topics) of M(bss.platform.kafka_topic).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the topic.
        type: str
        required: true
      partitions:
        description: Number of partitions; not looked at where none is declared.
        type: int
      replication_factor:
        description: Replicas of each partition; not looked at where none is declared.
        type: int
      config:
        description: Settings of the topic itself; V(null) for none of its own.
        type: dict
      purge_configs:
        description: Whether the topic may have no settings but those in O(topics[].config).
        type: bool
      allow_delete:
        description: Taken so that the same list serves both modules; says nothing of the result.
        type: bool
      state:
        description: V(present) when not set.
        type: str
        choices: [present, absent]
  users:
    description:
      - Users that are no super users, and all that each may.
      - Without it C(kafka_acl_denies) and C(kafka_acl_allows) are left out.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user, who logs in with SCRAM-SHA-512.
        type: str
        required: true
      password:
        description: Password of the user.
        type: str
        required: true
      writes:
        description: Topics that the user may write to.
        type: list
        elements: str
        default: []
      reads:
        description: Topics that the user may read.
        type: list
        elements: str
        default: []
extends_documentation_fragment:
  - bss.platform.kafka
attributes:
  check_mode:
    description: Leaves out C(kafka_round_trip), the only check that writes.
    support: partial
  diff_mode:
    description: Changes nothing that lasts, so there is nothing to show.
    support: none
seealso:
  - module: bss.platform.kafka_info
  - module: bss.platform.verify_report
"""

EXAMPLES = r"""
- name: Check the broker of this host
  bss.platform.kafka_verify:
    broker: 1
    bootstrap_servers: us-k1:9092
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
  register: verify_kafka

- name: Check the cluster
  bss.platform.kafka_verify:
    brokers: [1, 2, 3]
    voters: [1, 2, 3]
    topics:
      - name: shop.orders
        partitions: 6
        replication_factor: 3
        config: {min.insync.replicas: 2}
    users:
      - name: orders
        password: "{{ orders_password }}"
        writes: [shop.orders]
    bootstrap_servers: [us-k1:9092, us-k2:9092, us-k3:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
  register: verify_kafka_cluster
"""

RETURN = r"""
passed:
  description: Whether no check failed.
  returned: always
  type: bool
  sample: true
results:
  description: What each check found, in the order in which they ran.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the check.
      type: str
      sample: kafka_running
    proves:
      description: What holds when it passes.
      type: str
      sample: The broker serves clients over verified TLS
    state:
      description: V(ok), V(failed), or V(standin) where a test stand-in proves nothing.
      type: str
      sample: ok
    detail:
      description: What was seen, or what is wrong.
      type: str
      sample: kafka is active, broker 1 serves at us-k1:9092
    seconds:
      description: How long it took.
      type: float
      sample: 0.163
"""

import secrets
from collections.abc import Mapping
from contextlib import closing
from functools import cached_property
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils import kafka_wire, tls
from ansible_collections.bss.platform.plugins.module_utils.checks import (
    Check,
    CheckFailed,
    Result,
    as_returned,
    conclude,
    run_checks,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import (
    read_cluster,
    read_quorum,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    CONNECTION_OPTIONS,
    Session,
    address_of,
    connect,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_gate import (
    lost_without,
    not_caught_up,
    not_in_sync,
    not_serving,
    partitions_that,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_records import (
    read_ids,
    readable,
    writable,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_scratch import read_back
from ansible_collections.bss.platform.plugins.module_utils.kafka_topic_plan import plan
from ansible_collections.bss.platform.plugins.module_utils.kafka_topic_rules import (
    OPTIONS_IN_LIST,
    Current,
    Declaration,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import Topic, read_topics
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError
from ansible_collections.bss.platform.plugins.module_utils.systemd import require_active

SCRATCH_REPLICAS = 3

USER_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "writes": {"type": "list", "elements": "str", "default": []},
    "reads": {"type": "list", "elements": "str", "default": []},
}

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "broker": {"type": "int"},
    "unit": {"type": "str", "default": "kafka"},
    "certificate_days": {"type": "int", "default": 14},
    "brokers": {"type": "list", "elements": "int"},
    "voters": {"type": "list", "elements": "int"},
    "topics": {"type": "list", "elements": "dict", "default": [], "options": OPTIONS_IN_LIST},
    "users": {"type": "list", "elements": "dict", "default": [], "options": USER_OPTIONS},
    **CONNECTION_OPTIONS,
}


class Checks:
    """What checks of a broker and of a cluster share: a session, and that none stops another."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    @cached_property
    def _session(self) -> Session:
        """Opened by the first check that gets one; where none does, each says why."""
        return connect(self._options)

    def _checks(self) -> list[Check]:
        raise NotImplementedError

    def run(self) -> list[Result]:
        try:
            return run_checks(self._checks())
        finally:
            if "_session" in self.__dict__:
                self._session.close()


class BrokerChecks(Checks):
    """The checks of the broker at the first of the declared servers."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        server = next(iter(options["bootstrap_servers"]), "")
        super().__init__({**options, "bootstrap_servers": [server]})
        self._host, self._port = address_of(server)

    def running(self) -> str:
        number = self._options["broker"]
        require_active(self._options["unit"])
        _cluster_id, brokers = read_cluster(self._session)
        faults = not_serving(brokers, [number])
        faults += [
            f"broker {number} is at {each.host}:{each.port}, not at {self._session.name}"
            for each in brokers
            if each.number == number and each.address != (self._host, self._port)
        ]
        unit = self._options["unit"]
        return conclude(faults, f"{unit} is active, broker {number} serves at {self._session.name}")

    def certificate(self) -> str:
        context = tls.anonymous_context(self._options["ca_cert"])
        days = tls.server_certificate_days_left(self._host, self._port, context)
        return tls.require_days(days, context, self._options["certificate_days"])

    def refuses_plaintext(self) -> str:
        timeout = self._options["bootstrap_timeout"]
        if kafka_wire.answers_without_tls(self._host, self._port, timeout):
            raise CheckFailed(
                f"{self._host}:{self._port} answers a client that does not speak TLS: see "
                "listener.security.protocol.map"
            )
        return f"{self._host}:{self._port} closes a connection without TLS"

    def refuses_wrong_password(self) -> str:
        user = self._options["sasl_username"]
        if self._session.accepts_login(user, secrets.token_hex(16)):
            raise CheckFailed(f"{self._session.name} lets {user} in with any password")
        return f"{self._session.name} refuses {user} with a password drawn at random"

    def _checks(self) -> list[Check]:
        return [
            Check("kafka_running", "The broker serves clients over verified TLS", self.running),
            Check(
                "kafka_certificate",
                "The certificate that the broker presents, and its authority, stay valid",
                self.certificate,
            ),
            Check(
                "kafka_refuses_plaintext",
                "The broker refuses a client without TLS",
                self.refuses_plaintext,
            ),
            Check(
                "kafka_refuses_wrong_password",
                "The broker refuses a wrong password",
                self.refuses_wrong_password,
            ),
        ]


class ClusterChecks(Checks):
    """The checks of a cluster, and of the topics and rights that are declared in it."""

    def __init__(self, options: Mapping[str, Any], check_mode: bool) -> None:
        super().__init__(options)
        self._check_mode = check_mode
        self._users = options["users"]
        self._wanted = [each for each in options["topics"] if each["state"] != "absent"]

    @cached_property
    def _declared_topics(self) -> Mapping[str, Topic]:
        return read_topics(self._session, [each["name"] for each in self._options["topics"]])

    def brokers_serve(self) -> str:
        _cluster_id, brokers = read_cluster(self._session)
        declared = self._options["brokers"]
        return conclude(not_serving(brokers, declared), f"{_listed(declared)} serve")

    def quorum(self) -> str:
        quorum = read_quorum(self._session)
        voters = {each["id"] for each in quorum["voters"]}
        most = max(each["lag"] for each in quorum["voters"])
        return conclude(
            not_caught_up(quorum, {*voters, *self._options["voters"]}),
            f"{quorum['leader']} leads, {_listed(voters)} vote, none is more than {most} records "
            "behind",
        )

    def replicas_in_sync(self) -> str:
        topics = read_topics(self._session)
        leaderless = partitions_that(topics, lambda each, _least: each.leader < 0)
        faults = [f"no broker leads {leaderless}"] if leaderless else []
        count = sum(len(topic.partitions) for topic in topics.values())
        return conclude(
            [*faults, *not_in_sync(topics)], f"{count} partitions of {len(topics)} topics"
        )

    def spares_a_broker(self) -> str:
        brokers = self._options["brokers"]
        if len(brokers) == 1:
            return "there is one broker only"
        topics = self._declared_topics
        return conclude(
            [cost for each in brokers for cost in lost_without(topics, each)],
            f"writes go on without any one of {_listed(brokers)}",
        )

    def topics_as_declared(self) -> str:
        declared = [Declaration.from_options(each) for each in self._options["topics"]]
        names = [each.name for each in declared]
        topics = self._declared_topics
        _cluster_id, brokers = read_cluster(self._session)
        differing = plan(Current(topics, brokers), declared, throttle=None)
        faults = [*map(str, differing.refusals)]
        if differing.sentences:
            faults.append(f"kafka_topic would {', '.join(differing.sentences)}")
        return conclude(faults, ", ".join(names))

    def acl_denies(self) -> str:
        return self._rights(denied=True)

    def acl_allows(self) -> str:
        return self._rights(denied=False)

    def round_trip(self) -> str:
        return read_back(self._session, min(SCRATCH_REPLICAS, len(self._options["brokers"])))

    def _rights(self, denied: bool) -> str:
        """Try the rights that are not declared, or those that are."""
        names = {each["name"] for each in self._wanted}
        names |= {name for user in self._users for name in user["writes"] + user["reads"]}
        ids = read_ids(self._session, sorted(names))
        faults = [f"there is no topic {name}" for name in sorted(names - {*ids})]
        tried = 0
        for user in self._users:
            tries = {"write to": (writable, user["writes"]), "read": (readable, user["reads"])}
            try:
                with closing(connect({**self._options, **_login(user)})) as session:
                    for what, (permitted, declared) in tries.items():
                        asked = {
                            name: topic_id
                            for name, topic_id in ids.items()
                            if (name in declared) != denied
                        }
                        may = permitted(session, asked)
                        wrong = may if denied else {*asked} - may
                        tried += len(asked)
                        faults += [
                            f"{user['name']} may{'' if denied else ' not'} {what} {name}"
                            for name in sorted(wrong)
                        ]
            except PlatformError as error:
                faults.append(f"{user['name']}: {error}")
        users = ", ".join(user["name"] for user in self._users)
        return conclude(faults, f"{tried} {'refused to' if denied else 'granted to'} {users}")

    def _checks(self) -> list[Check]:
        checks = [
            Check("kafka_brokers_serve", "All declared brokers serve", self.brokers_serve),
            Check(
                "kafka_quorum",
                "The controllers have a leader and all of them have caught up",
                self.quorum,
            ),
            Check(
                "kafka_replicas_in_sync",
                "Every partition has a leader and all its replicas in sync",
                self.replicas_in_sync,
            ),
        ]
        if self._options["topics"]:
            checks += [
                Check(
                    "kafka_topics_as_declared",
                    "Topics have the declared partitions, replicas and settings",
                    self.topics_as_declared,
                ),
                Check(
                    "kafka_spares_a_broker",
                    "Acknowledged writes go on when any one broker stops",
                    self.spares_a_broker,
                ),
            ]
        if self._users:
            checks += [
                Check(
                    "kafka_acl_denies",
                    "Applications are refused what is not declared for them",
                    self.acl_denies,
                ),
                Check(
                    "kafka_acl_allows",
                    "Applications are granted what is declared for them",
                    self.acl_allows,
                ),
            ]
        if not self._check_mode:
            checks.append(
                Check(
                    "kafka_round_trip",
                    "A record that all replicas acknowledge is read back",
                    self.round_trip,
                )
            )
        return checks


def _login(user: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": user["name"],
        "sasl_password": user["password"],
    }


def _listed(numbers: Any) -> str:
    return ", ".join(map(str, sorted(numbers)))


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        mutually_exclusive=[("broker", "brokers")],
        required_one_of=[("broker", "brokers")],
        required_together=[("brokers", "voters")],
        required_by={"broker": ("ca_cert", "sasl_username")},
        supports_check_mode=True,
    )
    try:
        checks = (
            ClusterChecks(module.params, module.check_mode)
            if module.params["broker"] is None
            else BrokerChecks(module.params)
        )
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **as_returned(checks.run()))


if __name__ == "__main__":
    main()
