"""A folder's tokenizer: the ids `transformers` gives, true bytes, ends of sequence, one BOS."""

from __future__ import annotations

import json
import threading
import unicodedata
from pathlib import Path

import pytest

from jaxserve.errors import CheckpointError, InvalidRequest
from jaxserve.text.chat import ChatOptions
from jaxserve.text.tokenizer import FolderTokenizer, load_tokenizer
from tests.text.model_folders import byte_level, word_pieces, write_json
from tests.text.test_detokenizer import TEXTS, hub_tokenizer


def test_ids_are_those_of_transformers(folder: Path, tokenizer: FolderTokenizer) -> None:
    hub = hub_tokenizer(folder)
    for text in ["", "x", *TEXTS]:
        for special in (True, False):
            assert tokenizer.encode(text, add_special_tokens=special) == hub.encode(
                text, add_special_tokens=special
            )


def test_bytes_of_an_encoded_text_are_the_text(tokenizer: FolderTokenizer) -> None:
    text = "hello 👍🏽 漢字 ภาษา <|im_end|>"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert b"".join(map(tokenizer.token_bytes, ids)).lstrip(b" ") == text.encode()


def test_spans_are_the_ids_with_their_places(tokenizer: FolderTokenizer) -> None:
    for text in ["", "hello 👍🏽 漢字 <|im_end|> x", *TEXTS]:
        for special in (True, False):
            spans = tokenizer.encode_spans(text, add_special_tokens=special)
            ids = tokenizer.encode(text, add_special_tokens=special)
            assert [span.token_id for span in spans] == ids
            starts = [span.start for span in spans if span.stop]
            assert starts == sorted(starts)
            if unicodedata.is_normalized("NFC", text):  # else places are those of the library
                assert max((span.stop for span in spans), default=0) == len(text)


def test_special_tokens_are_those_that_decoding_skips(
    folder: Path, tokenizer: FolderTokenizer
) -> None:
    hub = hub_tokenizer(folder)
    for token_id in range(tokenizer.vocab_size):
        skipped = hub.decode([token_id]) != hub.decode([token_id], skip_special_tokens=True)
        assert tokenizer.is_special(token_id) == skipped


def test_completions_begin_with_one_bos(tokenizer: FolderTokenizer) -> None:
    ids = tokenizer.encode("hello", add_special_tokens=True)
    assert ids[0] == tokenizer.bos_id and ids.count(ids[0]) == 1
    again = tokenizer.encode("<s>hello", add_special_tokens=True)
    assert again[0] == tokenizer.bos_id and again.count(again[0]) == 1


@pytest.mark.parametrize("add_special_tokens", [True, False])
def test_chats_begin_with_one_bos(tokenizer: FolderTokenizer, add_special_tokens: bool) -> None:
    text = tokenizer.render_chat([{"role": "user", "content": "hi"}], ChatOptions())
    ids = tokenizer.encode(text, add_special_tokens=add_special_tokens)
    assert ids[0] == tokenizer.bos_id and ids.count(ids[0]) == 1


def test_the_longest_token_bounds_every_text(tokenizer: FolderTokenizer) -> None:
    for text in TEXTS:
        num_tokens = len(tokenizer.encode(text, add_special_tokens=False))
        assert len(text) <= num_tokens * tokenizer.longest_token


def test_added_tokens_have_their_own_text(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(byte_level(tmp_path))
    ids = tokenizer.encode("a<tool call>", add_special_tokens=False)
    assert tokenizer.token_bytes(ids[-1]) == b"<tool call>"
    assert not tokenizer.is_special(ids[-1])


def test_a_kind_of_its_own_is_decoded_token_by_token(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(word_pieces(tmp_path))
    ids = tokenizer.encode("hello world", add_special_tokens=False)
    assert b"".join(map(tokenizer.token_bytes, ids)) == b" hello world"


def test_a_hole_in_the_vocabulary_has_no_bytes(tmp_path: Path) -> None:
    spec = json.loads((byte_level(tmp_path) / "tokenizer.json").read_text())
    size = len(spec["model"]["vocab"])
    last = next(token for token, i in spec["model"]["vocab"].items() if i == size - 1)
    spec["model"]["vocab"][last] = size + 10
    write_json(tmp_path / "tokenizer.json", spec)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.vocab_size == size + 11
    assert tokenizer.token_bytes(size + 5) == b""
    assert tokenizer.token_bytes(size + 10) != b""


def test_ends_of_sequence_come_from_every_file(tmp_path: Path) -> None:
    byte_level(tmp_path)
    write_json(tmp_path / "generation_config.json", {"eos_token_id": [1, 3]})
    write_json(tmp_path / "config.json", {"eos_token_id": 2, "model_type": "llama"})
    assert load_tokenizer(tmp_path).eos_ids == {1, 2, 3}


def test_ends_of_sequence_that_are_no_ids_are_left_out(tmp_path: Path) -> None:
    byte_level(tmp_path)
    write_json(tmp_path / "generation_config.json", {"eos_token_id": [None, True, -1, 10**6]})
    assert load_tokenizer(tmp_path).eos_ids == {1}


def test_truncation_in_the_file_does_not_cut_prompts(tmp_path: Path) -> None:
    spec = json.loads((byte_level(tmp_path) / "tokenizer.json").read_text())
    cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    write_json(tmp_path / "tokenizer.json", spec | {"truncation": cut})
    ids = load_tokenizer(tmp_path).encode("hello world " * 10, add_special_tokens=False)
    assert len(ids) > 20


def test_a_model_without_a_template_says_so(tmp_path: Path) -> None:
    config = json.loads((byte_level(tmp_path) / "tokenizer_config.json").read_text())
    write_json(tmp_path / "tokenizer_config.json", config | {"chat_template": None})
    tokenizer = load_tokenizer(tmp_path)
    assert not tokenizer.has_chat_template
    with pytest.raises(InvalidRequest, match="no chat template") as caught:
        tokenizer.render_chat([{"role": "user", "content": "hi"}], ChatOptions())
    assert caught.value.param == "messages"


def test_what_is_no_model_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a folder"):
        load_tokenizer(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="cannot load the tokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("broken", ["{", "[]"])
def test_a_broken_json_file_is_named(tmp_path: Path, broken: str) -> None:
    (byte_level(tmp_path) / "generation_config.json").write_text(broken)
    with pytest.raises(CheckpointError, match=r"generation_config\.json"):
        load_tokenizer(tmp_path)


def test_threads_may_encode_at_once(tokenizer: FolderTokenizer) -> None:
    text = "hello world 漢字 " * 50
    expected = tokenizer.encode(text, add_special_tokens=True)
    wrong: list[list[int]] = []

    def encode() -> None:
        for _ in range(20):
            ids = tokenizer.encode(text, add_special_tokens=True)
            if ids != expected:
                wrong.append(ids)

    threads = [threading.Thread(target=encode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_code_that_comes_with_a_tokenizer_is_never_run(tmp_path: Path) -> None:
    folder = byte_level(tmp_path)
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w')\nclass Own: pass\n"
    (folder / "tokenization_own.py").write_text(code)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    own = {
        "tokenizer_class": "Own",
        "auto_map": {"AutoTokenizer": ["tokenization_own.Own", "tokenization_own.Own"]},
    }
    write_json(folder / "tokenizer_config.json", config | own)
    try:
        tokenizer = load_tokenizer(folder)
    except CheckpointError as error:
        assert "trust_remote_code" in str(error)
    else:
        assert tokenizer.encode("hello", add_special_tokens=False)
    assert not ran.exists()
