# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The SQL of the jobs: what it names is declared, and what it holds is what is checked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.bss.platform.plugins.module_utils import bss_events, bss_streams

ROLE = Path(__file__).parents[2] / "roles/bss_workload"
FILES = sorted((ROLE / "files/jobs").glob("*.sql"))
SCRIPTS = {path.stem: path.read_text(encoding="utf-8") for path in FILES}
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))
FLINK = next(
    each for each in DEFAULTS["bss_workload_kafka_applications"] if each["name"] == "bss-flink"
)


def tables(script: str) -> list[tuple[str, str]]:
    """The topic of each table of the script, and the table's text."""
    texts = re.findall(r"^CREATE TABLE .*?;$", script, re.MULTILINE | re.DOTALL)
    topics = [re.search(r"'topic' = '(.*?)'", text) for text in texts]
    return [(topic[1], text) for topic, text in zip(topics, texts, strict=True) if topic]


def test_every_file_is_a_job_and_every_job_a_file() -> None:
    assert [job["name"] for job in DEFAULTS["bss_workload_jobs"]]
    assert sorted(SCRIPTS) == sorted(job["name"] for job in DEFAULTS["bss_workload_jobs"])
    for job in DEFAULTS["bss_workload_jobs"]:
        assert f"/files/jobs/{job['name']}.sql'" in job["sql"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_job_uses_the_topics_that_it_may(name: str) -> None:
    used = tables(SCRIPTS[name])
    written = {topic for topic, text in used if "'sink.delivery-guarantee'" in text}
    read = {topic for topic, text in used if "'scan.startup.mode'" in text}
    assert written and read and len(used) == len(re.findall("LIKE kafka", SCRIPTS[name]))
    assert written <= set(FLINK["writes"]) and read <= set(FLINK["reads"])
    # A sink that is exactly once asks for transactions that it left open.
    transactional = {topic for topic, text in used if "'exactly-once'" in text}
    assert transactional <= set(FLINK["reads"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_groups_and_transactions_have_names_that_the_access_lists_allow(name: str) -> None:
    own = re.findall(
        r"'(?:properties\.group\.id|sink\.transactional-id-prefix)' = '(.*?)'", SCRIPTS[name]
    )
    assert set(own) == {f"bss-flink-{name.replace('_', '-')}"}


def test_all_jobs_log_in_alike_and_without_a_password_in_their_text() -> None:
    logins = {
        re.search(r"^CREATE TABLE kafka WITH.*?;$", script, re.MULTILINE | re.DOTALL)[0]  # type: ignore[index]
        for script in SCRIPTS.values()
    }
    assert len(logins) == 1
    variables = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))
    file = variables["bss_workload_flink_login"]
    assert re.findall(r"\$\{file:(.*?):(.*?)\}", logins.pop()) == [
        (file, "bootstrap.servers"),
        (file, "password"),
    ]
    for script in SCRIPTS.values():
        assert re.findall('password="(.*?)"', script) == [f"${{file:{file}:password}}"]


def test_the_figures_are_those_that_are_checked() -> None:
    analytics, frauds, orders = (SCRIPTS[name] for name in sorted(SCRIPTS))
    delay = f"INTERVAL '{bss_streams.WATERMARK_DELAY_MS // 1000}' SECOND"
    for script in SCRIPTS.values():
        watermarks = re.findall(r"WATERMARK FOR \w+ AS \w+ - (.*)\n", script)
        assert watermarks and set(watermarks) == {delay}
    # Nothing that is late in the stream is late for the windows.
    assert bss_streams.WATERMARK_DELAY_MS > bss_events.LATE_TO_MS + 500
    high = f"amount >= {bss_events.HIGH_VALUE_CENTS // 100}"
    assert high in orders and high in frauds
    assert (
        f"SUM(amount) >= {bss_streams.HIGH_VALUE_TOTAL_CENTS // 100} THEN 'HIGH_VALUE'" in analytics
    )
    assert f"COUNT(*) >= {bss_streams.FREQUENT_ORDERS} THEN 'FREQUENT'" in analytics
    assert f"INTERVAL '{bss_streams.CUSTOMER_WINDOW_MS // 60_000}' MINUTE" in analytics
    assert f"event_time / {bss_streams.CUSTOMER_WINDOW_MS} + 1" in analytics
    assert f"INTERVAL '{bss_streams.STATUS_WINDOW_MS // 60_000}' MINUTE" in orders
    assert f"event_time / {bss_streams.STATUS_SLIDE_MS} + 1" in orders
    for pattern in bss_events.PATTERNS:
        assert f"'{pattern}:'" in frauds
    assert str(bss_events.WINDOW_MS) in frauds
