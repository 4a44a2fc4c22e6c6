"""How do the byte-level vocabularies that GGUF files name cut text before merging?

A row a name (`tokenizer.ggml.pre`). The patterns are those of the models' own tokenizer.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_HEAD = r"[^\r\n\p{L}\p{N}]?"
_SIGNS_AND_SLASHES = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"

LLAMA_3 = rf"{_WORDS}|\p{{N}}{{1,3}}|{_SIGNS}|{_REST}"
QWEN_2 = rf"{_WORDS}|\p{{N}}|{_SIGNS}|{_REST}"
TEKKEN = (
    rf"{_HEAD}{_UPPER}*{_LOWER}+|{_HEAD}{_UPPER}+{_LOWER}*"
    rf"|\p{{N}}|{_SIGNS_AND_SLASHES}|{_REST}"
)
GPT_4O = (
    rf"{_HEAD}{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|{_HEAD}{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}|{_SIGNS_AND_SLASHES}|{_REST}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreTokenizer:
    """By `pattern`, or as GPT-2 does, there with or without digits each by itself.

    `ignores_merges`: a piece that is a token stays whole, whatever the merges.
    """

    pattern: str | None = None
    single_digits: bool = False
    composes: bool = False  # text is normalised to NFC
    ignores_merges: bool = False

    def splitter(self) -> Any:
        from tokenizers import Regex, pre_tokenizers

        if self.pattern is not None:
            return pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(self.pattern), behavior="isolated"),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            )
        as_gpt_2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        if not self.single_digits:
            return as_gpt_2
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), as_gpt_2])

    def normalizer(self) -> Any:
        from tokenizers import normalizers

        return normalizers.NFC() if self.composes else None


_GPT_2 = PreTokenizer()
_DIGITS = PreTokenizer(single_digits=True)
_LLAMA_3 = PreTokenizer(pattern=LLAMA_3, ignores_merges=True)
_QWEN_2 = PreTokenizer(pattern=QWEN_2, composes=True)

PRE_TOKENIZERS: Mapping[str, PreTokenizer] = {
    "command-r": PreTokenizer(single_digits=True, composes=True),
    "dbrx": PreTokenizer(pattern=LLAMA_3),
    "deepseek-r1-qwen": _QWEN_2,
    "gpt-2": _GPT_2,
    "gpt-4o": PreTokenizer(pattern=GPT_4O),
    "llama-bpe": _LLAMA_3,
    "llama-v3": _LLAMA_3,
    "llama3": _LLAMA_3,
    "phi-2": _GPT_2,
    "qwen2": _QWEN_2,
    "refact": _DIGITS,
    "smollm": _DIGITS,
    "starcoder": _DIGITS,
    "tekken": PreTokenizer(pattern=TEKKEN, ignores_merges=True),
}
