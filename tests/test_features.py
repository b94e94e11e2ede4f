"""docs/features.md names methods and tests that exist, and docs/identity.md and docs/quirks.md tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from handtruck import S3Client

TESTS: Final = Path(__file__).parent
TABLE: Final = (TESTS.parent / "docs" / "features.md").read_text()
ROWS: Final = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if line.startswith("| ") and not line.startswith(("| operation", "| ---", "| **"))
]
OURS: Final = [row for row in ROWS if not row[1].startswith("–")]


def test_every_row_is_whole() -> None:
    assert {len(row) for row in ROWS} == {8}
    assert {cell for row in ROWS for cell in row[3:]} == {"yes", "–", "raw"}
    assert [row[0] for row in ROWS if row[1].startswith("–")], "what we lack stays in the table"


@pytest.mark.parametrize("row", OURS, ids=lambda row: row[0])
def test_methods_and_tests_exist(row: list[str]) -> None:
    names = re.findall(r"`(\w+)`", row[1])
    assert names or row[1] == "every method that writes"
    assert [name for name in names if not callable(getattr(S3Client, name, None))] == []
    path, _, function = row[2].strip("`").partition("::")
    source = (TESTS / path).read_text()
    assert f"def {function}(" in source if function else "def test_" in source


@pytest.mark.parametrize("page", ["identity.md", "quirks.md"])
def test_tests_that_pages_name_exist(page: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (TESTS.parent / "docs" / page).read_text())
    assert page != "identity.md" or len(named) > 10
    for path, function in named:
        source = (TESTS.parent / path).read_text()
        assert (f"def {function}(" if function else "def test_") in source, (path, function)


def test_every_operation_is_in_the_table() -> None:
    """A method that nobody can find in the table might as well not be there."""
    families = r"get_bucket|put_bucket|delete_bucket|_public_access_block|_object_lock_configuration|post|url|aclose"
    missing = [
        name
        for name in dir(S3Client)
        if not name.startswith("_") and not re.search(families, name) and f"`{name}`" not in TABLE
    ]
    assert missing == []
