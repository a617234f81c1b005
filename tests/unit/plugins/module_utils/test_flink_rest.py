# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What of a Java stack trace is told."""

from __future__ import annotations

import json

import pytest
from ansible_collections.bss.platform.plugins.module_utils.flink_rest import root_cause

MISSING_TOPIC = """org.apache.flink.util.FlinkRuntimeException: Failed to list partitions due to
\tat org.apache.flink.connector.kafka.source.enumerator.A.b(A.java:1)
Caused by: java.lang.RuntimeException: Failed to get metadata for topics [nowhere].
\t... 3 more
Caused by: java.util.concurrent.ExecutionException: \
org.apache.kafka.common.errors.UnknownTopicOrPartitionException: This server does not host this.
\t... 3 more
Caused by: org.apache.kafka.common.errors.UnknownTopicOrPartitionException: \
This server does not host this.
"""

TOLD_BY_A_GATEWAY = """<Exception on server side:
org.apache.flink.table.gateway.api.utils.SqlGatewayException: Failed to fetchResults.
\tat org.apache.flink.table.gateway.A.b(A.java:1)
Caused by: org.apache.flink.runtime.rest.util.RestClientException: [Internal server error., \
<Exception on server side:
org.apache.flink.runtime.client.DuplicateJobSubmissionException: Job has already been submitted.
\tat org.apache.flink.runtime.dispatcher.C.d(C.java:1)

End of exception on server side>]
\t... 4 more

End of exception on server side>"""


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("", "no reason given"),
        ("a.b.C: odd\n\tat d.E", "C: odd"),
        ("a.b.C: x\nCaused by: d.E: no: room in org.x", "E: no: room in org.x"),
        (json.dumps({"errors": ["Internal", "x\nCaused by: a.b.C: odd"]}), "C: odd"),
        (
            MISSING_TOPIC,
            "RuntimeException: Failed to get metadata for topics [nowhere]: "
            "UnknownTopicOrPartitionException: This server does not host this",
        ),
        (
            json.dumps({"errors": ["Internal server error.", TOLD_BY_A_GATEWAY]}),
            "DuplicateJobSubmissionException: Job has already been submitted",
        ),
        ("Caused by: org.apache.kafka.common.X: alone", "X: alone"),
        (
            "Caused by: java.lang.RuntimeException: Failed to get metadata for topics [gone].\n"
            "Caused by: java.util.concurrent.ExecutionException: "
            "org.apache.flink.kafka.shaded.org.apache.kafka.common.errors.NoTopic: Not there.\n"
            "Caused by: org.apache.flink.kafka.shaded.org.apache.kafka.common.errors.NoTopic: "
            "Not there.",
            "RuntimeException: Failed to get metadata for topics [gone]: NoTopic: Not there",
        ),
    ],
)
def test_root_cause(said: str, cause: str) -> None:
    assert root_cause(said) == cause
