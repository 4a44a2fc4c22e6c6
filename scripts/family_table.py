"""Write the table of supported families into README.md.

    python scripts/family_table.py [--check]

With --check nothing is written, and the exit status is 1 when README.md is not current.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jaxserve.models.families.listing import as_markdown, supported_families

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN = "<!-- families: written by scripts/family_table.py -->"
END = "<!-- end of families -->"


def with_table(text: str) -> str:
    """`text` with the table of today between the two marks. Raises ValueError without marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lost its marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{as_markdown(supported_families())}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if not current")
    is_check = parser.parse_args().check
    current = README.read_text(encoding="utf-8")
    wanted = with_table(current)
    if is_check and wanted != current:
        sys.exit("README.md is not current: run python scripts/family_table.py")
    README.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
