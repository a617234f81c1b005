# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

import pytest
from ansible_collections.bss.platform.plugins.module_utils.sql_statements import split_statements


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        pytest.param("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"], id="two"),
        pytest.param("SELECT 1", ["SELECT 1"], id="no closing semicolon"),
        pytest.param(" ;; \n", [], id="nothing"),
        pytest.param("-- a; b\nSELECT 1; -- c;", ["SELECT 1"], id="line comment"),
        pytest.param("SELECT /* a; b */ 1;", ["SELECT   1"], id="block comment"),
        pytest.param(
            "SELECT ';', 'it''s;'; SELECT 2", ["SELECT ';', 'it''s;'", "SELECT 2"], id="string"
        ),
        pytest.param(r"SELECT '\'; SELECT 2", [r"SELECT '\'", "SELECT 2"], id="backslash is text"),
        pytest.param(
            r"SELECT E'\';'; SELECT 2", [r"SELECT E'\';'", "SELECT 2"], id="escape string"
        ),
        pytest.param('SELECT ";" ; SELECT 2', ['SELECT ";"', "SELECT 2"], id="identifier"),
        pytest.param(
            "SELECT '--', 1; SELECT 2", ["SELECT '--', 1", "SELECT 2"], id="not a comment"
        ),
        pytest.param("DO $$ a; -- b\n$$; SELECT 2", ["DO $$ a; -- b\n$$", "SELECT 2"], id="body"),
        pytest.param(
            "DO $x$ $$;$$ $x$; SELECT 2", ["DO $x$ $$;$$ $x$", "SELECT 2"], id="tagged body"
        ),
        pytest.param("SELECT a$b; SELECT c$d", ["SELECT a$b", "SELECT c$d"], id="dollar in a name"),
        pytest.param(
            "CREATE RULE r AS ON DELETE TO t DO (SELECT 1; SELECT 2); SELECT 3",
            ["CREATE RULE r AS ON DELETE TO t DO (SELECT 1; SELECT 2)", "SELECT 3"],
            id="parentheses",
        ),
    ],
)
def test_a_script_falls_into_its_statements(script: str, statements: list[str]) -> None:
    assert split_statements(script) == statements
