# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""How the reference pages are made of specifications."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]

_spec = importlib.util.spec_from_file_location("generate", CHECKOUT / "docs" / "generate.py")
assert _spec is not None and _spec.loader is not None
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("See O(name) and V(a b).", "See `name` and `a b`."),
        ("O(bss.platform.citus_node#module:nodes)", "`citus_node: nodes`"),
        ("C(f(x\\)) is called", "`f(x)` is called"),
        (
            "B(never) I(ever), L(here,https://example.org)",
            "**never** *ever*, [here](https://example.org)",
        ),
        ("the role (V(bss)) of HAL(9)", "the role (`bss`) of HAL(9)"),
        ("one\n  line", "one line"),
    ],
)
def test_markup(text, markdown):
    assert generate.marked(text) == markdown


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ({"required": True}, "(required)"),
        ({}, ""),
        ({"default": ""}, '`""`'),
        ({"default": False}, "`false`"),
        ({"default": "13.2"}, "`13.2`"),
        ({"default": {"a": [1]}}, '`{"a": [1]}`'),
        ({"default": "{{ a\n   | b }}"}, "`{{ a | b }}`"),
    ],
)
def test_default(option, shown):
    assert generate.default(option) == shown


def test_options_within_options_and_bars_in_cells():
    table = generate.options_table(
        "Option",
        {
            "tables": {
                "type": "list",
                "elements": "dict",
                "description": ["Some.", "More."],
                "options": {"name": {"type": "str", "choices": ["a", "b"], "default": "a | b"}},
            }
        },
    )
    assert table[2:] == [
        "| `tables` | list of dict |  | Some. More. |",
        "| `tables[].name` | str: `a`, `b` | `a \\| b` |  |",
    ]


def test_what_is_out_of_date(tmp_path):
    (tmp_path / "kept.md").write_text("same")
    (tmp_path / "changed.md").write_text("before")
    (tmp_path / "dropped.md").write_text("gone")
    wanted = {"kept.md": "same", "changed.md": "after", "new.md": "first"}
    assert list(generate.out_of_date(tmp_path, wanted)) == [
        (tmp_path / "changed.md", "after"),
        (tmp_path / "dropped.md", None),
        (tmp_path / "new.md", "first"),
    ]


def test_variables_of_the_collection_and_of_roles_are_listed():
    page = generate.variables_page(CHECKOUT)
    assert "| `region` | str |" in page
    assert "| `postgresql_version` | int |" in page


def test_what_an_alert_says_has_names_where_prometheus_has_values():
    said = "{{ $labels.job }} of {{ $labels.instance }}: {{ $value | humanize }} > [[ limit_s ]]"
    assert generate.said_by_alert(said) == "*job* of *instance*: *value* > `limit_s`"


def test_alerts_are_listed_with_their_pages():
    page = generate.alerts_page(CHECKOUT)
    assert "| `HostDown` | critical | 2m | *instance* is down" in page
    assert "| [host-lost](../failures/host-lost.md) |" in page
