"""Which characters do the tokens so far spell?

Works on the true bytes of tokens and never lets half a character out. The text continues the
prompt: a first token that begins with a space gives that space, as it would in the middle of a
text. (`transformers` drops one leading space when it decodes the output alone with a tokenizer
that prepends a space to every text, as Llama 2's does; it keeps it, as here, for the rest.)
"""

from __future__ import annotations

import codecs
import contextlib

from jaxserve.text.tokenizer import Tokenizer

_new_decoder = codecs.getincrementaldecoder("utf-8")


class TokenTexts(dict[int, str | None]):
    """The text of each token that is no special one and whole characters by itself, else None.

    An entry is made when it is first asked for; sequences of one tokenizer may share them.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def __missing__(self, token_id: int) -> str | None:
        text: str | None = None
        if not self.tokenizer.is_special(token_id):
            with contextlib.suppress(UnicodeDecodeError):
                text = self.tokenizer.token_bytes(token_id).decode()
        self[token_id] = text
        return text


class Detokenizer:
    """Token ids in, text out. Bytes that are not UTF-8 become U+FFFD once that is certain.

    `shown_ids` are special tokens that are not skipped: what reads the text needs them.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        skip_special_tokens: bool = True,
        shown_ids: frozenset[int] = frozenset(),
        texts: TokenTexts | None = None,
    ):
        self.tokenizer = tokenizer
        self._texts = TokenTexts(tokenizer) if texts is None else texts
        self._has_begun = False  # a character that is not complete
        self._skip_special_tokens = skip_special_tokens
        self._shown_ids = shown_ids
        self._decoder = _new_decoder(errors="replace")

    def push(self, token_id: int) -> str:
        """The characters that this token completes; an id the tokenizer lacks has none."""
        text = None if self._has_begun else self._texts[token_id]
        return self._decode(token_id) if text is None else text

    def flush(self) -> str:
        """U+FFFD for a character that was begun and will not be completed, else nothing."""
        return self._decoder.decode(b"", final=True)

    def _decode(self, token_id: int) -> str:
        if self._is_skipped(token_id):
            return ""
        text = self._decoder.decode(self.tokenizer.token_bytes(token_id))
        self._has_begun = bool(self._decoder.getstate()[0])
        return text

    def _is_skipped(self, token_id: int) -> bool:
        if not self._skip_special_tokens or token_id in self._shown_ids:
            return False
        return self.tokenizer.is_special(token_id)
