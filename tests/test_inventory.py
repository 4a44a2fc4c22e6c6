"""What is on this machine is listed with what it needs, or with the reason against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jaxserve.inventory import Verdict, in_units, judge, listing, print_local, print_supported
from jaxserve.models.footprint import Footprint
from jaxserve.models.hub import LocalModel
from tests.models.formats.checkpoints import compressed_int8, write_quantized
from tests.models.gguf.gguf_files import tiny_gguf
from tests.models.pooled_variants import BERT
from tests.models.variant import Variant
from tests.tiny_models import write_tiny_llama


def test_a_model_that_can_be_served_says_what_it_needs(tmp_path: Path) -> None:
    verdict = judge(write_tiny_llama(tmp_path))
    assert verdict.architecture == "LlamaForCausalLM"
    assert verdict.needs is not None
    assert verdict.needs.kv_bytes_per_token == 2 * 2 * 4 * 8 * 2
    assert not verdict.refusal


def test_weights_that_are_quantised_are_counted_as_they_stay(tmp_path: Path) -> None:
    floats = judge(write_tiny_llama(tmp_path / "floats")).needs
    config: dict[str, Any] = {"quant_method": "compressed-tensors", "format": "int-quantized"}
    weights = {"num_bits": 8, "strategy": "channel"}
    config |= {"config_groups": {"a": {"targets": ["Linear"], "weights": weights}}}
    write_quantized(tmp_path / "floats", tmp_path / "int8", config, compressed_int8())
    stays = judge(tmp_path / "int8").needs
    assert floats is not None and stays is not None
    assert stays.num_params == floats.num_params
    ends = 2 * 2 * 64 * 32  # the table and the output, in bfloat16
    assert stays.weights_bytes - ends < 0.8 * (floats.weights_bytes - ends)


def test_an_unknown_way_of_quantising_is_the_reason(tmp_path: Path) -> None:
    verdict = judge(write_tiny_llama(tmp_path, quantization_config={"quant_method": "quip"}))
    assert "quant_method = 'quip' is not supported" in verdict.refusal


def test_an_unknown_architecture_is_the_reason(tmp_path: Path) -> None:
    verdict = judge(write_tiny_llama(tmp_path, architectures=["LamaForCausalLM"]))
    assert (verdict.architecture, verdict.needs) == ("LamaForCausalLM", None)
    assert verdict.refusal.startswith("config.json: the architecture LamaForCausalLM is not")


def test_an_attribute_is_the_reason(tmp_path: Path) -> None:
    verdict = judge(write_tiny_llama(tmp_path, attn_logit_softcapping=3.0))
    assert "not handled: attn_logit_softcapping" in verdict.refusal


def test_missing_files_are_the_reason(tmp_path: Path) -> None:
    folder = write_tiny_llama(tmp_path)
    (folder / "model.safetensors").unlink()
    assert "has neither model.safetensors nor" in judge(folder).refusal
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert "Pickles can run code" in judge(folder).refusal
    (folder / "config.json").unlink()
    assert judge(folder).architecture == "?"


def test_a_model_that_embeds_keeps_nothing_of_a_token(tmp_path: Path) -> None:
    Variant({}, "BertModel", BERT).save(tmp_path)
    verdict = judge(tmp_path)
    assert verdict.needs is not None and not verdict.refusal
    assert verdict.needs.weights_bytes == 2 * verdict.needs.num_params > 0
    assert verdict.needs.kv_bytes_per_token == 0


def test_a_folder_with_a_gguf_file_is_judged_by_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    file = tiny_gguf(tmp_path / "original", tmp_path / "folder" / "a.gguf")
    assert judge(tmp_path / "folder") == judge(tmp_path / "original")
    (tmp_path / "folder" / "b.gguf").write_bytes(file.read_bytes())
    assert "several models" in judge(tmp_path / "folder").refusal


def test_a_listing_has_a_row_a_model_and_reasons_below() -> None:
    good = LocalModel("owner/good", "main", Path("good"), 2_690_000_000)
    bad = LocalModel("bad", "v1", Path("bad"), 10)
    lines = listing(
        [
            (good, Verdict("LlamaForCausalLM", Footprint(1, 1_340_000_000, 23_040, 0))),
            (bad, Verdict("NewForCausalLM", None, "no such family")),
        ]
    ).splitlines()
    assert lines[1].split() == [
        *("owner/good", "main", "LlamaForCausalLM"),
        *("2.69", "GB", "1.34", "GB", "23", "kB", "-"),
    ]
    assert lines[2].split() == ["bad", "v1", "NewForCausalLM", "10", "B", "-", "-", "-"]
    assert lines[3] == "    not supported: no such family"


def test_the_shipped_model_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    print_local()
    assert "tiny-chat  " in capsys.readouterr().out


def test_the_table_of_families_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_supported()
    assert "Qwen3ForCausalLM" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB"), (15 * 10**13, "150 TB")],
)
def test_sizes_have_three_digits(num_bytes: int, text: str) -> None:
    assert in_units(num_bytes) == text
