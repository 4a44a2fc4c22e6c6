"""What text does a sequence show for the tokens it got, and where does it end?

Joins the detokenizer with the stop matcher, one token at a time, so that the answer does not
depend on how tokens arrive.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxserve.engine.request import FinishReason, TokenDelta, TokenLogprob
from jaxserve.text.delta import TextDelta, TextLogprob, text_logprob
from jaxserve.text.detokenizer import Detokenizer
from jaxserve.text.stop_strings import StopMatch, StopMatcher


class OutputText:
    """The growing text of one sequence.

    The first `min_tokens` tokens cannot complete a stop string, but a later token may complete
    one that they began.
    """

    def __init__(
        self,
        detokenizer: Detokenizer,
        stops: Sequence[str] = (),
        *,
        include_stop: bool = False,
        min_tokens: int = 0,
    ):
        self._detokenizer = detokenizer
        self._matcher = StopMatcher(stops, include_stop=include_stop)
        self._include_stop = include_stop
        self._min_tokens = min_tokens
        self._num_tokens = 0
        self._stop: str | None = None  # the stop string that was met

    def add(self, delta: TokenDelta) -> TextDelta:
        """The text that may be shown now. Tokens after the one that meets a stop string are cut.

        Text is withheld while it may still turn out to be part of a stop string or of a character
        that is not complete; the last delta has the rest.
        """
        text, ends = self._read(delta)
        finish_reason = delta.finish_reason
        stop_reason: str | int | None = delta.stop_token_id
        if self._stop is not None:
            finish_reason, stop_reason = FinishReason.STOP, self._stop
        elif finish_reason is not None:
            text += self._matcher.flush() + self._detokenizer.flush()
        return TextDelta(
            text=text,
            token_ids=delta.token_ids[: len(ends)],
            token_ends=ends,
            logprobs=self._told(delta.logprobs[: len(ends)]),
            prompt_logprobs=self._told(delta.prompt_logprobs),
            finish_reason=finish_reason,
            stop_reason=stop_reason,
            num_cached_tokens=delta.num_cached_tokens,
            queued_s=delta.queued_s,
        )

    def _told(self, entries: Sequence[TokenLogprob]) -> tuple[TextLogprob, ...]:
        if not entries:
            return ()
        tokenizer = self._detokenizer.tokenizer
        return tuple(text_logprob(tokenizer, entry) for entry in entries)

    def _read(self, delta: TokenDelta) -> tuple[str, tuple[int, ...]]:
        """Text of the tokens up to the end of the sequence, and its length after each of them."""
        num_visible = len(delta.token_ids)
        stopped = delta.finish_reason is FinishReason.STOP and not delta.last_is_output
        if stopped and not self._include_stop:
            num_visible -= 1  # the token that made the engine stop is hidden, as a stop string is
        text = ""
        ends: list[int] = []
        for token_id in delta.token_ids[:num_visible]:
            text += self._push(token_id)
            ends.append(len(text))
            if self._stop is not None:
                return text, tuple(ends)
        hidden = len(delta.token_ids) - len(ends)
        return text, (*ends, *[len(text)] * hidden)

    def _push(self, token_id: int) -> str:
        self._num_tokens += 1
        armed = self._num_tokens > self._min_tokens
        shown = self._matcher.push(self._detokenizer.push(token_id), armed=armed)
        if not isinstance(shown, StopMatch):
            return shown
        self._stop = shown.stop
        return shown.text
