"""README's table of families is the one that the code makes."""

import pytest

from scripts.family_table import README, with_table


def test_the_readme_is_current() -> None:
    text = README.read_text(encoding="utf-8")
    assert with_table(text) == text, "run python scripts/family_table.py"


def test_a_readme_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lost its marks"):
        with_table("# jaxserve\n")
