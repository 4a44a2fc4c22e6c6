"""What came after the last few tokens when they stood in the sequence before?

An index of one sequence that grows with it: each run of `shortest` tokens leads to the place where
it was last, and from there to the one before (Saxena, Prompt Lookup Decoding, 2023, looks the same
matches up by comparing with all that there is).
"""

from __future__ import annotations

from collections.abc import Iterable

_MOST_PLACES = 8  # that are compared for the longest match, the latest first


class Lookup:
    """The tokens of a sequence. Adding one costs the same however long it is."""

    def __init__(self, token_ids: Iterable[int], *, shortest: int, longest: int) -> None:
        """Matches have `shortest` tokens at least; longer ones win up to `longest`."""
        self._shortest = shortest
        self._longest = longest
        self._ids: list[int] = []
        self._newest: dict[tuple[int, ...], int] = {}  # where a run ended last
        self._earlier = [0]  # by the end of a run: where it ended before; 0 is nowhere
        for token_id in token_ids:
            self.add(token_id)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, token_id: int) -> None:
        self._ids.append(token_id)
        end = len(self._ids)
        if end < self._shortest:
            self._earlier.append(0)
            return
        run = tuple(self._ids[-self._shortest :])
        self._earlier.append(self._newest.get(run, 0))
        self._newest[run] = end

    def following(self, count: int) -> tuple[int, ...]:
        """`count` tokens that followed the longest match of the end; none without a match.

        Where they reach the end itself they go on with themselves: what repeats does so again.
        """
        place = self._match()
        if not place:
            return ()
        ids, end = self._ids, len(self._ids)
        period = end - place
        return tuple([ids[place + index % period] for index in range(count)])

    def _match(self) -> int:
        """Where the longest match ends, the latest of those alike; 0 without any."""
        best, best_length = 0, 0
        place = self._earlier[-1]
        for _ in range(_MOST_PLACES):
            if not place:
                break
            length = self._length(place)
            if length > best_length:
                best, best_length = place, length
            if length == self._longest:
                break
            place = self._earlier[place]
        return best

    def _length(self, place: int) -> int:
        """How many tokens before `place` are those at the end, up to the longest that matters."""
        ids, length = self._ids, self._shortest
        most = min(self._longest, place)
        while length < most and ids[place - 1 - length] == ids[-1 - length]:
            length += 1
        return length
