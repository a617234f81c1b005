# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Messages of Kafka's protocol that kafka-python does not have.

Import it where kafka-python is there. Each is described as Kafka's own sources describe it, which
is the form that kafka-python makes its messages from.
"""

from __future__ import annotations

from typing import Any

from kafka.protocol.api_message import ApiMessage

VERSIONS = {"validVersions": "0", "flexibleVersions": "0+"}


def _field(name: str, kind: str, **more: str) -> dict[str, str]:
    return {"name": name, "type": kind, "versions": "0+", **more}


_ANSWER = [
    _field("ThrottleTimeMs", "int32"),
    _field("ErrorCode", "int16"),
    _field("ErrorMessage", "string", nullableVersions="0+"),
]


def _message(name: str, key: int, kind: str, fields: list[dict[str, str]]) -> Any:
    """A class of messages, and where it is of responses, the one that answers ``key``."""
    described = {"apiKey": key, "type": kind, "name": name, "fields": fields, **VERSIONS}

    def json_patch(_class: Any, _read: Any) -> dict[str, Any]:
        return described

    # kafka-python reads a description from a file of its own, by the name of the class, before it
    # asks for changes: this one is there, and all of it is changed.
    return type(ApiMessage)(
        "DescribeClusterRequest", (ApiMessage,), {"json_patch": classmethod(json_patch)}
    )


RemoveRaftVoterRequest = _message(
    "RemoveRaftVoterRequest",
    81,
    "request",
    [
        _field("ClusterId", "string", nullableVersions="0+"),
        _field("VoterId", "int32"),
        _field("VoterDirectoryId", "uuid"),
    ],
)
RemoveRaftVoterResponse = _message("RemoveRaftVoterResponse", 81, "response", _ANSWER)
UnregisterBrokerRequest = _message(
    "UnregisterBrokerRequest", 64, "request", [_field("BrokerId", "int32")]
)
UnregisterBrokerResponse = _message("UnregisterBrokerResponse", 64, "response", _ANSWER)
