"""Which characters do the tokens so far spell?

Works on the true bytes of tokens and never lets half a character out. The text continues the
prompt: a first token that begins with a space gives that space, as it would in the middle of a
text. (`transformers` drops one leading space when it decodes the output alone with a tokenizer
that prepends a space to every text, as Llama 2's does; it keeps it, as here, for the rest.)
"""

from __future__ import annotations

import codecs

from jaxserve.text.tokenizer import Tokenizer

_new_decoder = codecs.getincrementaldecoder("utf-8")


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
    ):
        self.tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._shown_ids = shown_ids
        self._decoder = _new_decoder(errors="replace")

    def push(self, token_id: int) -> str:
        """The characters that this token completes; an id the tokenizer lacks has none."""
        if self._is_skipped(token_id):
            return ""
        return self._decoder.decode(self.tokenizer.token_bytes(token_id))

    def flush(self) -> str:
        """U+FFFD for a character that was begun and will not be completed, else nothing."""
        return self._decoder.decode(b"", final=True)

    def _is_skipped(self, token_id: int) -> bool:
        if not self._skip_special_tokens or token_id in self._shown_ids:
            return False
        return self.tokenizer.is_special(token_id)
