"""How does the vocabulary in a GGUF file become a tokenizer?

Rebuilds what the model's tokenizer.json would be: byte-level BPE (`gpt2`) from its merges, or
SentencePiece BPE (`llama`) from its scores. How text is cut before the merges is only named in the
file, so a name that is not known is refused: the ids would be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxserve.errors import UnsupportedModel
from jaxserve.models.gguf.file import open_gguf
from jaxserve.text.pre_tokenizers import PRE_TOKENIZERS

# tokenizer.ggml.token_type
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4

_SPACE = "\u2581"

_BEGINS_WITH_BOS = {"llama-bpe", "llama3", "llama-v3", "tekken"}
"""Ways to cut text of byte-level vocabularies that begin with BOS where the file does not say."""

_ENDS_OF_TURN = {
    *("<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"),
    *("<|endoftext|>", "<|end_of_text|>", "<EOT>", "<|return|>", "<|call|>"),
}
"""Control tokens that end an answer in whichever vocabulary has them, as in llama.cpp."""


class GgufVocabulary:
    """The metadata under `tokenizer`, and what it means."""

    def __init__(self, path: Path):
        self._path = path
        self._metadata = open_gguf(path).metadata
        self.tokens: Sequence[str] = self._value("ggml.tokens", ())
        self.types: Sequence[int] = list(self._value("ggml.token_type", [1] * len(self.tokens)))

    def tokenizer(self) -> Any:
        """A fast `transformers` tokenizer. Raises UnsupportedModel."""
        from transformers import PreTrainedTokenizerFast

        kinds = {"gpt2": self._byte_level, "llama": self._sentencepiece}
        kind = self._value("ggml.model", None)
        if kind not in kinds:
            raise self._refused("ggml.model", kind, kinds)
        backend = kinds[kind]()
        self._mark_added(backend)
        self._begin_with_bos(backend, by_default=self._begins_with_bos(kind))
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=backend,
            clean_up_tokenization_spaces=False,
            bos_token=self._token("bos"),
            eos_token=self._token("eos"),
            unk_token=self._token("unknown"),
            pad_token=self._token("padding"),
        )
        tokenizer.chat_template = self._chat_template()
        return tokenizer

    def eos_ids(self) -> set[int]:
        """Every id that ends an answer."""
        named = {self._id(name) for name in ("eos", "eot", "eom")}
        ends = {i for i, token in self._of_types(_CONTROL) if token in _ENDS_OF_TURN}
        return {token_id for token_id in named | ends if token_id is not None}

    def _byte_level(self) -> Any:
        from tokenizers import Tokenizer, decoders, models

        cut = self._value("ggml.pre", "default")
        if cut not in PRE_TOKENIZERS:
            raise self._refused("ggml.pre", cut, PRE_TOKENIZERS)
        pre = PRE_TOKENIZERS[cut]
        merges = [tuple(merge.split(" ", 1)) for merge in self._value("ggml.merges", ())]
        tokenizer = Tokenizer(
            models.BPE(self._ids(), merges, fuse_unk=False, ignore_merges=pre.ignores_merges)
        )
        tokenizer.normalizer = pre.normalizer()
        tokenizer.pre_tokenizer = pre.splitter()
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer

    def _sentencepiece(self) -> Any:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        prefix = bool(self._value("ggml.add_space_prefix", True))
        tokenizer = Tokenizer(
            models.BPE(
                self._ids(),
                self._merges_by_score(),
                unk_token=self._token("unknown"),
                fuse_unk=True,
                byte_fallback=True,
            )
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            replacement=_SPACE, prepend_scheme="first" if prefix else "never", split=False
        )
        steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
        if prefix:
            steps.append(decoders.Strip(" ", left=1))
        tokenizer.decoder = decoders.Sequence(steps)
        return tokenizer

    def _merges_by_score(self) -> list[tuple[str, str]]:
        """The merges of a SentencePiece BPE model, best first: it joins whichever neighbours make
        the token of the highest score."""
        scores = self._value("ggml.scores", ())
        normal = dict(self._of_types(_NORMAL))
        known = set(normal.values())
        return [
            (token[:cut], token[cut:])
            for token_id, token in sorted(normal.items(), key=lambda item: -scores[item[0]])
            for cut in range(1, len(token))
            if token[:cut] in known and token[cut:] in known
        ]

    def _mark_added(self, backend: Any) -> None:
        """Control tokens are special; those that users defined are only matched as a whole."""
        from tokenizers import AddedToken

        special = [token for _, token in self._of_types(_CONTROL, _UNKNOWN)]
        backend.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
        whole = [token for _, token in self._of_types(_USER_DEFINED)]
        backend.add_tokens([AddedToken(t, special=False, normalized=False) for t in whole])

    def _begins_with_bos(self, kind: str) -> bool:
        return kind == "llama" or self._value("ggml.pre", None) in _BEGINS_WITH_BOS

    def _begin_with_bos(self, backend: Any, *, by_default: bool) -> None:
        from tokenizers import processors

        bos, bos_id = self._token("bos"), self._id("bos")
        if bos is not None and self._value("ggml.add_bos_token", by_default):
            backend.post_processor = processors.TemplateProcessing(
                single=[bos, "$A"], pair=[bos, "$A", bos, "$B"], special_tokens=[(bos, bos_id)]
            )

    def _chat_template(self) -> str | dict[str, str] | None:
        default = self._value("chat_template", None)
        named = {
            name: self._value(f"chat_template.{name}", "")
            for name in self._value("chat_templates", ())
        }
        return {"default": default, **named} if default and named else default

    def _ids(self) -> dict[str, int]:
        return {token: token_id for token_id, token in enumerate(self.tokens)}

    def _of_types(self, *types: int) -> Iterator[tuple[int, str]]:
        for token_id, (token, kind) in enumerate(zip(self.tokens, self.types, strict=True)):
            if kind in types:
                yield token_id, token

    def _id(self, name: str) -> int | None:
        found = self._value(f"ggml.{name}_token_id", None)
        return int(found) if found is not None and 0 <= found < len(self.tokens) else None

    def _token(self, name: str) -> str | None:
        token_id = self._id(name)
        return None if token_id is None else self.tokens[token_id]

    def _value(self, name: str, default: Any) -> Any:
        return self._metadata.get(f"tokenizer.{name}", default)

    def _refused(self, name: str, value: Any, known: Mapping[str, Any]) -> UnsupportedModel:
        return UnsupportedModel(
            f"{self._path}: tokenizer.{name} = {value!r} is not read from GGUF files; read are "
            f"{', '.join(known)}. Serve the model's Hugging Face folder instead"
        )
