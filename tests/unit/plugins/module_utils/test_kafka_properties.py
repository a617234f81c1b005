# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What a properties file says, by the rules of java.util.Properties."""

from __future__ import annotations

import pytest
from ansible_collections.bss.platform.plugins.module_utils.kafka_properties import read_properties


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a=1\nb = 2 \r\nc:3\rd 4", {"a": "1", "b": "2", "c": "3", "d": "4"}),
        ("# a=1\n ! b=2\n\n  c=3", {"c": "3"}),
        ("a=1\na=2", {"a": "2"}),
        ("a=x=y:z", {"a": "x=y:z"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a=1,\\\n   2,\\\n   3\nb=4", {"a": "1,2,3", "b": "4"}),
        ("a=1\\\\\nb=2", {"a": "1\\", "b": "2"}),
        ("a=1\\", {"a": "1"}),
        (r"r=RULE:^CN=(us\-k1|us\\.k2)$/x/", {"r": r"RULE:^CN=(us-k1|us\.k2)$/x/"}),
        (r"a\=b\ c=d\tand\u0020e", {"a=b c": "d\tand e"}),
    ],
)
def test_a_file_is_read_as_java_does(text: str, found: dict[str, str]) -> None:
    assert read_properties(text) == found
