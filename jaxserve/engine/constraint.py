"""What may a request's output be, token by token? The engine's view of a grammar.

Knows no text: a constraint is whatever says which token ids may come next.
"""

from __future__ import annotations

from typing import Protocol


class ConstraintFailed(Exception):
    """A constraint can not go on: it hit a limit, or was given a token that it does not allow."""


class Constraint(Protocol):
    """One sequence's own constraint, which remembers the tokens it was given.

    It is never asked two things at once, but may be asked from different threads.
    """

    @property
    def complete(self) -> bool:
        """Whether nothing but an end of sequence may follow."""
        ...

    def advance(self, token_id: int) -> None:
        """Take the newest token in; prompt tokens are none of its business.

        Raises ConstraintFailed.
        """
        ...

    def next_mask(self) -> bytes:
        """The token ids that may come next, a bit each, least significant first.

        Ids past the end of it may not. An end of sequence may where the output may end. Raises
        ConstraintFailed.
        """
        ...
