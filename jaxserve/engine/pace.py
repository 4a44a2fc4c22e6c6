"""Does it pay to verify drafts now? What steps have taken, with drafts and without, says so.

Is told the time; knows no clock. A step is compared with others of its bucket only.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from statistics import median

from jaxserve.engine.buckets import Bucket, Buckets
from jaxserve.engine.step import Step

_REMEMBERED = 5  # steps of a bucket; their median is what one takes
_ENOUGH = 3  # of them to go by: one may be slow for any reason
_MARGIN = 1.02  # what is gained has to be more than the noise of measuring it
_REFRESH = 256  # steps with drafts after which those without are measured again
_RETRY = 128  # refusals after which a step with drafts is measured again
_RETRIES = 4  # questions answered with yes then, so that one of them becomes a step

Times = defaultdict[Bucket, deque[float]]


class Pace:
    """Step times by bucket, and whether expected tokens are worth them."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        remember: Callable[[], deque[float]] = lambda: deque(maxlen=_REMEMBERED)  # noqa: E731
        self._times: Times = defaultdict(remember)
        self._has_run: set[Bucket] = set()
        self._num_refused = 0
        self._num_verified = 0  # since a step without drafts was measured
        self._after_decode = False

    def note(self, step: Step, seconds: float) -> None:
        """`seconds` is what the step took, counted from the end of the one before it.

        A decode step counts only after another one: it was started before that had ended, as it
        is where nothing waits for drafts. The first run of a program, which may take ten times as
        long as others, does not count.
        """
        bucket = self._buckets.of_size(step)
        if bucket not in self._has_run:
            self._has_run.add(bucket)
        elif step.verifies:
            self._times[bucket].append(seconds)
            self._num_refused = 0
            self._num_verified += 1
        elif bucket.one_token_per_row and self._after_decode:
            self._times[bucket].append(seconds)
            self._num_verified = 0
        self._after_decode = bucket.one_token_per_row

    def best(self, num_rows: int, gains: Mapping[Bucket, float]) -> Bucket | None:
        """In which of the buckets a step of so many rows gives most tokens a second; None where
        that is one without drafts.

        `gains` are how many tokens more than one a row each is expected to give.
        """
        decode_s = self._seconds(self._buckets.decoding(num_rows))
        if decode_s is None or self._num_verified >= _REFRESH:
            return None
        hopeful = {bucket: gain for bucket, gain in gains.items() if gain}
        if not hopeful:
            return None
        rates = {bucket: self._rate(bucket, num_rows + gain) for bucket, gain in hopeful.items()}
        best = max(rates, key=rates.__getitem__)
        if rates[best] > num_rows / decode_s * _MARGIN:
            return best
        self._num_refused = (self._num_refused + 1) % (_RETRY + _RETRIES)
        return best if self._num_refused >= _RETRY else None

    def _rate(self, bucket: Bucket, num_tokens: float) -> float:
        """Tokens a second; infinite in a bucket that was hardly tried, so that it is."""
        seconds = self._seconds(bucket)
        return math.inf if seconds is None else num_tokens / seconds

    def _seconds(self, bucket: Bucket) -> float | None:
        times = self._times.get(bucket)
        return median(times) if times is not None and len(times) >= _ENOUGH else None
