# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""How long is waited, and what is said in the end."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils.patroni import (
    CannotReachPatroni,
    PatroniRefused,
)
from ansible_collections.bss.platform.plugins.module_utils.patroni_actions import (
    WaitedTooLong,
    wait_for,
)


def test_what_is_there_is_returned_at_once(members: Any) -> None:
    assert wait_for("it", dict, 10) == {}
    assert members.clock.now == 0


@pytest.mark.parametrize("not_yet", [None, False, CannotReachPatroni(["GET x (refused)"])])
def test_what_comes_is_waited_for(members: Any, not_yet: Any) -> None:
    answers = [not_yet, not_yet, "there"]

    def look() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert wait_for("it", look, 10) == "there"
    assert members.clock.now == 2 * 0.5


def test_what_does_not_come_is_told_with_what_there_is(members: Any) -> None:
    with pytest.raises(WaitedTooLong, match=r"Waited 1 s for it, .+ There is: no\. "):
        wait_for("it", lambda: None, 1, lambda: "There is: no.")
    assert members.clock.now == pytest.approx(1.5)


def test_who_does_not_answer_is_told_of(members: Any) -> None:
    def look() -> None:
        raise CannotReachPatroni(["GET x (refused)"])

    with pytest.raises(WaitedTooLong, match=r"Patroni did not answer GET x \(refused\)"):
        wait_for("it", look, 1, lambda: "not asked")


def test_a_refusal_ends_the_wait(members: Any) -> None:
    def look() -> None:
        raise PatroniRefused("GET x", "no", 403)

    with pytest.raises(PatroniRefused):
        wait_for("it", look, 10)
    assert members.clock.now == 0
