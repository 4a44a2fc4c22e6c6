from jaxserve.models.encoders.registry import BODY, CLASSIFIES, ENCODERS
from jaxserve.models.families.listing import (
    SupportedFamily,
    as_markdown,
    as_text,
    supported_families,
)
from jaxserve.models.families.registry import FAMILIES


def test_every_architecture_is_listed_once_with_its_releases() -> None:
    rows = supported_families()
    listed = [name for row in rows for name in row.architectures]
    encoders = [f"{base}{task}" for base in ENCODERS for task in (BODY, CLASSIFIES)]
    assert sorted(listed) == sorted([*FAMILIES, *encoders])
    assert [row for row in rows if not row.models] == []


def test_the_order_is_that_of_the_alphabet() -> None:
    names = [row.architectures[0] for row in supported_families()]
    assert names.index("CohereForCausalLM") < names.index("Cohere2ForCausalLM")
    assert names.index("ArceeForCausalLM") == 0


def test_a_table_has_a_row_a_family() -> None:
    rows = [SupportedFamily(("A", "BB"), "one, two"), SupportedFamily(("C",), "")]
    assert as_text(rows) == "A   one, two\nBB\nC"
    assert as_markdown(rows).splitlines()[2:] == ["| `A`, `BB` | one, two |", "| `C` |  |"]
