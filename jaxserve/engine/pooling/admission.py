"""Can this text ever be read, and is there a place for it in the queue?"""

from __future__ import annotations

from dataclasses import dataclass

from jaxserve.engine.admission import Admission, check_ids
from jaxserve.engine.request import Request
from jaxserve.errors import ContextLengthExceeded, InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolingAdmission(Admission):
    """The door of an engine that reads whole texts: no room for an answer, and no pages."""

    num_pages: int = 0
    page_size: int = 0

    def check(self, request: Request) -> None:
        """Raise InvalidRequest or ContextLengthExceeded for what can never be read."""
        num_tokens, limit = len(request.prompt_ids), self.limits.max_model_len
        if not num_tokens:
            raise InvalidRequest("the input is empty; give at least one token", param="input")
        check_ids(request.prompt_ids, self.limits.vocab_size, "input")
        if num_tokens > limit:
            raise ContextLengthExceeded(
                f"This model reads at most {limit} tokens at once and the input has {num_tokens}; "
                "shorten it, or ask for truncation.",
                param="input",
            )
