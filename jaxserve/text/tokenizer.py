"""What does the model's vocabulary say: text to ids, ids to bytes, which ids are special?

The tokenizer of a Hugging Face folder or a GGUF file behind a small interface. Reads local files
only and never runs code that came with a model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jaxserve.errors import CheckpointError, ConfigError, InvalidRequest
from jaxserve.models.gguf.file import SUFFIX
from jaxserve.text.chat import ChatOptions, ChatTemplate, template_text
from jaxserve.text.gguf_tokenizer import GgufVocabulary
from jaxserve.text.sentencepiece_model import load_alone, stands_alone
from jaxserve.text.vocabulary import token_bytes_table


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """A token and the characters [start, stop) of the text it came from; none if added."""

    token_id: int
    start: int
    stop: int


class Tokenizer(Protocol):
    """What text work needs of a vocabulary; may be called from several threads."""

    vocab_size: int  # the largest id plus one
    bos_id: int | None
    eos_ids: frozenset[int]
    longest_token: int  # bytes of the longest token, so characters at most
    has_chat_template: bool

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...
    def encode_spans(self, text: str, *, add_special_tokens: bool) -> list[TokenSpan]: ...
    def token_bytes(self, token_id: int) -> bytes: ...
    def is_special(self, token_id: int) -> bool: ...
    def render_chat(self, messages: Sequence[Mapping[str, Any]], options: ChatOptions) -> str: ...


class FolderTokenizer:
    """A `transformers` tokenizer with its table of true token bytes."""

    def __init__(self, tokenizer: Any, *, eos_ids: frozenset[int]):
        self._tokenizer = tokenizer
        self._backend = getattr(tokenizer, "backend_tokenizer", None)
        if self._backend is not None:  # tokenizer.json may ask for both
            self._backend.no_truncation()
            self._backend.no_padding()
        self._bytes = token_bytes_table(tokenizer)
        self._special = _special_ids(tokenizer)
        self._chat = ChatTemplate(tokenizer) if tokenizer.chat_template else None
        self.vocab_size = len(self._bytes)
        self.bos_id: int | None = tokenizer.bos_token_id
        self.eos_ids = frozenset(i for i in eos_ids if i < self.vocab_size)
        self.longest_token = max(map(len, self._bytes))
        self.has_chat_template = self._chat is not None
        self.chat_template = template_text(tokenizer.chat_template)

    @property
    def backend(self) -> Any:
        """The tokenizer of the `tokenizers` library; None where the model has none."""
        return self._backend

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids of `text`, in which special tokens may be spelled out.

        A beginning-of-sequence token that the text already starts with is not added again.
        """
        ids = self._encode(text, add_special_tokens)
        if add_special_tokens and self.bos_id is not None and ids[:2] == [self.bos_id] * 2:
            return ids[1:]
        return ids

    def encode_spans(self, text: str, *, add_special_tokens: bool) -> list[TokenSpan]:
        """What `encode` gives, with the place of each token in `text`.

        Raises InvalidRequest when the tokenizer does not know places.
        """
        if self._backend is None:
            raise InvalidRequest(
                "this model's tokenizer does not tell where tokens are in the text; send the text "
                "as `prompt` to get the ids alone"
            )
        encoding = self._backend.encode(text, add_special_tokens=add_special_tokens)
        spans = [
            TokenSpan(token_id, start, stop)
            for token_id, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True)
        ]
        num_kept = len(self.encode(text, add_special_tokens=add_special_tokens))
        return spans[len(spans) - num_kept :]  # but for a doubled beginning of sequence

    def token_bytes(self, token_id: int) -> bytes:
        """The token's true bytes; none for an id outside the vocabulary."""
        return self._bytes[token_id] if 0 <= token_id < self.vocab_size else b""

    def is_special(self, token_id: int) -> bool:
        return token_id in self._special

    def render_chat(self, messages: Sequence[Mapping[str, Any]], options: ChatOptions) -> str:
        """The text of a conversation; raises InvalidRequest when there is no template for it."""
        if options.template is not None:
            return ChatTemplate(self._tokenizer, options.template).render(messages, options)
        if self._chat is None:
            raise InvalidRequest(
                "this model has no chat template; send the text as `prompt` to /v1/completions",
                param="messages",
                code="no_chat_template",
            )
        return self._chat.render(messages, options)

    def _encode(self, text: str, add_special_tokens: bool) -> list[int]:
        # The backend is asked directly: the layer above it changes shared settings on each call,
        # which fails when another thread is encoding.
        if self._backend is not None:
            return list(self._backend.encode(text, add_special_tokens=add_special_tokens).ids)
        return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens))


def load_tokenizer(folder: Path, *, chat_template: Path | None = None) -> FolderTokenizer:
    """The tokenizer of a model folder or GGUF file, with another chat template if one is given.

    Raises CheckpointError, and ConfigError for a template file that can't be read.
    """
    # It advises to install PyTorch, which a tokenizer does not need.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    if folder.suffix == SUFFIX:
        vocabulary = GgufVocabulary(folder)
        tokenizer = _with_template(vocabulary.tokenizer(), chat_template)
        return FolderTokenizer(tokenizer, eos_ids=frozenset(vocabulary.eos_ids()))
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder, so it has no tokenizer")
    # Imported here: it takes a second, and only serving needs it.
    from transformers import AutoTokenizer

    try:
        tokenizer = (
            load_alone(folder)
            if stands_alone(folder)
            else AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
        )
    except CheckpointError:
        raise
    except Exception as error:  # whatever a broken file makes the library raise
        raise CheckpointError(f"cannot load the tokenizer in {folder}: {error}") from error
    tokenizer = _with_template(tokenizer, chat_template)
    return FolderTokenizer(tokenizer, eos_ids=_eos_ids(folder, tokenizer))


def _with_template(tokenizer: Any, path: Path | None) -> Any:
    if path is not None:
        tokenizer.chat_template = _read_template(path)
    return tokenizer


def _read_template(path: Path) -> Any:
    """Jinja, or the template in JSON such as tokenizer_config.json is."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read chat_template {path}: {error}") from None
    if not path.suffix == ".json":
        return text
    try:
        template = read_json_object(path).get("chat_template")
    except CheckpointError as error:
        raise ConfigError(f"chat_template: {error}") from None
    if isinstance(template, list):  # several with names
        template = {one["name"]: one["template"] for one in template}
    if not template:
        raise ConfigError(f"chat_template: {path} has no chat_template")
    return template


def _special_ids(tokenizer: Any) -> frozenset[int]:
    """The ids that decoding skips. `all_special_ids` has more: `<tool_call>`, which must show."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return frozenset(tokenizer.all_special_ids)
    added = backend.get_added_tokens_decoder()
    return frozenset(token_id for token_id, token in added.items() if token.special)


def _eos_ids(folder: Path, tokenizer: Any) -> frozenset[int]:
    """Every id that one of the model's files calls the end of a sequence."""
    found = {tokenizer.eos_token_id}
    for name in ("generation_config.json", "config.json"):
        given = read_json_object(folder / name).get("eos_token_id")
        found.update(given if isinstance(given, list) else [given])
    return frozenset(i for i in found if type(i) is int and i >= 0)


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file, or an empty one. Raises CheckpointError for what is none."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return content
