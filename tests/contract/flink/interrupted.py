# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Runs flink_job's main() with one request cut off; the arguments come by stdin.

    python interrupted.py MOMENT WORDS

WORDS are those of a request (method, address and body) or of its answer. MOMENT says what befalls
the first that has them: ``before``: the process dies before it is sent; ``after``: it dies once
the answer is there; ``lost``: the answer gets lost, and the module goes on.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils import flink_rest
from ansible_collections.bss.platform.plugins.modules import flink_job

KILLED = 137

moment, words = sys.argv[1:]
sys.argv[1:] = []  # a module's main() looks there too
request = flink_rest.Api._request
hits: list[str] = []


def cut(
    self: Any, method: str, path: str, data: bytes | None = None, kind: str = "application/json"
) -> Any:
    sent = f"{method} {path} {(data or b'').decode()}"
    if words in sent and not hits and moment == "before":
        os._exit(KILLED)
    answer = request(self, method, path, data, kind)
    if (words in sent or words in str(answer)) and not hits:
        hits.append(sent)
        if moment == "after":
            os._exit(KILLED)
        raise flink_rest.AnswerLost(f"the answer to {sent} is lost")
    return answer


flink_rest.Api._request = cut  # type: ignore[method-assign]
flink_job.main()
