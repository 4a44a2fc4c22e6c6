"""A tokenizer rebuilt from a GGUF file is the one that the file was made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import sentencepiece
from tokenizers import Tokenizer

from jaxserve.errors import UnsupportedModel
from jaxserve.text.chat import ChatOptions
from jaxserve.text.pre_tokenizers import PRE_TOKENIZERS
from jaxserve.text.tokenizer import load_tokenizer
from tests.text.model_folders import (
    CHAT_TEMPLATE,
    SENTENCES,
    TURNS,
    byte_level,
    sentencepiece_model,
)
from tests.text.test_detokenizer import TEXTS

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
MORE_TEXTS = [
    *("", " ", "  two  spaces ", "I'll they'RE 12345 1 2", "a\n\n b\r\n\tc  \n", "x=[1,2];//!?"),
    *("<|im_start|>user\nhi<|im_end|>", "<tool call>", "naïve CamelCase ÉCOLE"),
]
CHAT = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}]


def write_vocabulary(path: Path, model: str, **values: Any) -> Path:
    """A file with nothing but a tokenizer; keys as under `tokenizer.ggml`."""
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in {"model": model, **values}.items():
        key = f"tokenizer.{name}" if name.startswith("chat") else f"tokenizer.ggml.{name}"
        kinds = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}
        kinds.get(type(value), writer.add_array)(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def byte_level_file(folder: Path, path: Path, **values: Any) -> Path:
    """The file of a folder with byte-level BPE in tokenizer.json."""
    spec = json.loads((folder / "tokenizer.json").read_text())
    ids = {**spec["model"]["vocab"], **{t["content"]: t["id"] for t in spec["added_tokens"]}}
    added = {t["content"]: CONTROL if t["special"] else USER for t in spec["added_tokens"]}
    tokens = sorted(ids, key=ids.__getitem__)
    merges = [" ".join(m) if isinstance(m, list) else m for m in spec["model"]["merges"]]
    return write_vocabulary(
        path,
        "gpt2",
        **{
            "pre": "qwen2",
            "tokens": tokens,
            "token_type": [added.get(token, NORMAL) for token in tokens],
            "merges": merges,
            "bos_token_id": ids["<s>"],
            "eos_token_id": ids["</s>"],
            "add_bos_token": True,
            "chat_template": CHAT_TEMPLATE,
            **values,
        },
    )


def sentencepiece_file(folder: Path, path: Path, **values: Any) -> Path:
    """The file of a folder with a SentencePiece model."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    ids = range(model.get_piece_size())
    tokens = [model.id_to_piece(i) for i in ids]

    added = config.get("added_tokens_decoder", {})

    def kind(token_id: int) -> int:
        if str(token_id) in added:
            return CONTROL if added[str(token_id)]["special"] else USER
        if tokens[token_id] in TURNS:
            return USER
        kinds = {
            UNKNOWN: model.is_unknown,
            CONTROL: model.is_control,
            BYTE: model.is_byte,
            UNUSED: model.is_unused,
        }
        return next((name for name, is_kind in kinds.items() if is_kind(token_id)), NORMAL)

    return write_vocabulary(
        path,
        "llama",
        **{
            "tokens": tokens,
            "scores": [float(model.get_score(i)) for i in ids],
            "token_type": [kind(i) for i in ids],
            **{
                f"{name}_token_id": tokens.index(config[f"{short}_token"])
                for name, short in (("bos", "bos"), ("eos", "eos"), ("unknown", "unk"))
                if config.get(f"{short}_token")
            },
            "add_bos_token": bool(config.get("add_bos_token", False)),
            "add_space_prefix": bool(config["add_prefix_space"]),
            "chat_template": config.get("chat_template", CHAT_TEMPLATE),
            **values,
        },
    )


def with_pattern(folder: Path, name: str) -> Path:
    """A byte-level folder whose tokenizer.json cuts text as `name` says."""
    tokenizer = Tokenizer.from_file(str(byte_level(folder) / "tokenizer.json"))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[name].splitter()
    if (normalizer := PRE_TOKENIZERS[name].normalizer()) is not None:
        tokenizer.normalizer = normalizer
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module", params=["byte level", "prefix", "no prefix"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tokenizer of a folder, and that of a file made from it."""
    folder = tmp_path_factory.mktemp("folder")
    file = tmp_path_factory.mktemp("file") / "model.gguf"
    if request.param == "byte level":
        byte_level_file(with_pattern(folder, "qwen2"), file)
    else:
        sentencepiece_model(folder, prefix_space=request.param == "prefix")
        sentencepiece_file(folder, file)
    return load_tokenizer(folder), load_tokenizer(file)


def test_ids_are_those_of_the_folder(pair: Any) -> None:
    folder, file = pair
    for text in [*TEXTS, *SENTENCES, *MORE_TEXTS]:
        for special in (True, False):
            expected = folder.encode(text, add_special_tokens=special)
            assert file.encode(text, add_special_tokens=special) == expected, text


def test_bytes_and_special_tokens_are_those_of_the_folder(pair: Any) -> None:
    folder, file = pair
    assert file.vocab_size == folder.vocab_size
    for token_id in range(folder.vocab_size):
        assert file.token_bytes(token_id) == folder.token_bytes(token_id)
        assert file.is_special(token_id) == folder.is_special(token_id)
    assert (file.bos_id, file.eos_ids) == (folder.bos_id, folder.eos_ids | file.eos_ids)


def test_chats_are_those_of_the_folder(pair: Any) -> None:
    folder, file = pair
    assert file.render_chat(CHAT, ChatOptions()) == folder.render_chat(CHAT, ChatOptions())


def test_named_templates_are_read(tmp_path: Path) -> None:
    named = {"chat_template": "plain", "chat_templates": ["tool_use"]}
    file = byte_level_file(
        byte_level(tmp_path), tmp_path / "a.gguf", **named, **{"chat_template.tool_use": "tools"}
    )
    tokenizer = load_tokenizer(file)
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    assert tokenizer.render_chat(CHAT, ChatOptions()) == "plain"
    assert tokenizer.render_chat(CHAT, ChatOptions(tools=[tool])) == "tools"


def test_a_file_without_a_template_has_none(tmp_path: Path) -> None:
    folder = byte_level(tmp_path)
    spec = byte_level_file(folder, tmp_path / "a.gguf", chat_template="")
    assert not load_tokenizer(spec).has_chat_template


def test_every_end_of_turn_ends_an_answer(tmp_path: Path) -> None:
    folder = byte_level(tmp_path)
    ids = {t["content"]: t["id"] for t in _spec(folder)["added_tokens"]}
    file = byte_level_file(folder, tmp_path / "a.gguf", eot_token_id=ids["<|im_start|>"])
    wanted = {ids["</s>"], ids["<|im_start|>"], ids["<|im_end|>"]}
    assert load_tokenizer(file).eos_ids == wanted


@pytest.mark.parametrize(
    ("values", "has_bos"),
    [
        ({"add_bos_token": True}, True),
        ({"add_bos_token": False}, False),
        ({"add_bos_token": False, "pre": "llama-bpe"}, False),
    ],
)
def test_a_text_begins_with_bos_when_the_file_says_so(
    tmp_path: Path, values: dict[str, Any], has_bos: bool
) -> None:
    tokenizer = load_tokenizer(byte_level_file(byte_level(tmp_path), tmp_path / "a.gguf", **values))
    ids = tokenizer.encode("hello", add_special_tokens=True)
    assert (ids[0] == tokenizer.bos_id) == has_bos


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_every_way_to_cut_is_a_pattern_that_loses_nothing(tmp_path: Path, name: str) -> None:
    file = byte_level_file(byte_level(tmp_path), tmp_path / "a.gguf", pre=name)
    tokenizer = load_tokenizer(file)
    for text in [*SENTENCES, *MORE_TEXTS]:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert b"".join(map(tokenizer.token_bytes, ids)).decode() == text


def cut(name: str, text: str) -> list[str]:
    return [text[a:b] for _, (a, b) in PRE_TOKENIZERS[name].splitter().pre_tokenize_str(text)]


def test_digits_words_and_contractions_are_cut_as_the_names_say() -> None:
    assert cut("llama-bpe", "I'LL pay 12345") == ["I", "'LL", " pay", " ", "123", "45"]
    assert cut("qwen2", "pay 123") == ["pay", " ", "1", "2", "3"]
    assert cut("gpt-2", "pay 123 I'LL") == ["pay", " 123", " I", "'", "LL"]
    assert cut("smollm", "pay 123") == ["pay", " ", "1", "2", "3"]
    assert cut("tekken", "CamelCase a/\n") == ["Camel", "Case", " a", "/\n"]
    assert cut("gpt-4o", "CamelCase's 1234") == ["Camel", "Case's", " ", "123", "4"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"model": "t5"}, r"tokenizer.ggml.model = 't5' .* gpt2, llama\. Serve"),
        ({"pre": "poro"}, r"tokenizer.ggml.pre = 'poro' .* command-r, "),
    ],
)
def test_what_is_not_known_is_refused_by_name(
    tmp_path: Path, values: dict[str, str], says: str
) -> None:
    model = values.pop("model", "gpt2")
    file = write_vocabulary(tmp_path / "a.gguf", model, tokens=["a"], merges=["a b"], **values)
    with pytest.raises(UnsupportedModel, match=says):
        load_tokenizer(file)


def _spec(folder: Path) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text())
    return spec
