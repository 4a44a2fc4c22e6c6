import json
from pathlib import Path
from typing import Any

import pytest

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.text.sentence_folder import SentenceFacts, read_sentence_facts


def facts(folder: Path, **files: dict[str, Any]) -> SentenceFacts:
    names = {
        "config": "config.json",
        "sentence": "sentence_bert_config.json",
        "model": "config_sentence_transformers.json",
        "tokenizer": "tokenizer_config.json",
    }
    for name, content in files.items():
        (folder / names[name]).write_text(json.dumps(content))
    return read_sentence_facts(folder)


def test_a_bare_folder_says_nothing(tmp_path: Path) -> None:
    assert facts(tmp_path) == SentenceFacts()


def test_the_lower_of_two_limits_counts(tmp_path: Path) -> None:
    sentence = {"max_seq_length": 256, "do_lower_case": True}
    read = facts(tmp_path, sentence=sentence, tokenizer={"model_max_length": 512})
    assert (read.max_tokens, read.lowercase) == (256, True)
    newer = facts(tmp_path, sentence={}, tokenizer={"model_max_length": 128})
    assert newer.max_tokens == 128
    assert facts(tmp_path, tokenizer={"model_max_length": 1e30}).max_tokens is None


def test_prompts_and_similarity_are_read(tmp_path: Path) -> None:
    model = {
        "prompts": {"query": "search_query: ", "document": ""},
        "default_prompt_name": "query",
        "similarity_fn_name": "dot",
    }
    read = facts(tmp_path, model=model)
    assert read.prompts["query"] == "search_query: "
    assert (read.default_prompt, read.similarity) == ("query", "dot")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}},
         "identity"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"},
         "sigmoid"),
        ({}, None),
    ],
)  # fmt: skip
def test_what_becomes_of_a_score_is_read(
    tmp_path: Path, config: dict[str, Any], expected: str | None
) -> None:
    assert facts(tmp_path, config=config).score_activation == expected


def test_what_vectors_may_be_cut_to_is_read(tmp_path: Path) -> None:
    read = facts(tmp_path, config={"matryoshka_dimensions": [32, 64], "is_matryoshka": True})
    assert (read.vector_sizes, read.any_size) == ((32, 64), True)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"sentence": {"query_length": 32}}, "query_length"),
        ({"model": {"similarity_fn_name": "maxsim"}}, "maxsim"),
        ({"config": {"sentence_transformers": {"activation_fn": "my.code.Act"}}}, "my.code.Act"),
    ],
)
def test_what_is_not_handled_is_refused_by_name(
    tmp_path: Path, files: dict[str, Any], named: str
) -> None:
    with pytest.raises(UnsupportedModel, match=named):
        facts(tmp_path, **files)


def test_a_default_prompt_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="default_prompt_name = 'query' is none of"):
        facts(tmp_path, model={"default_prompt_name": "query", "prompts": {}})
