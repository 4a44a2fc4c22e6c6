"""Does it pay to verify drafts now? What steps have taken, with drafts and without, says so.

Is told the time; knows no clock. A step is compared with others of its bucket only.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from statistics import median

from jaxserve.engine.buckets import Bucket, Buckets
from jaxserve.engine.step import Step

_REMEMBERED = 5  # steps of a bucket; their median is what one takes
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
        self._num_refused = 0
        self._num_verified = 0  # since a step without drafts was measured
        self._after_decode = False

    def note(self, step: Step, seconds: float) -> None:
        """`seconds` is what the step took, counted from the end of the one before it.

        A decode step counts only after another one: it was started before that had ended, as it
        is where nothing waits for drafts.
        """
        bucket = self._buckets.smallest(step)
        if step.verifies:
            self._times[bucket].append(seconds)
            self._num_refused = 0
            self._num_verified += 1
        elif bucket.one_token_per_row and self._after_decode:
            self._times[bucket].append(seconds)
            self._num_verified = 0
        self._after_decode = bucket.one_token_per_row

    def pays(self, num_rows: int, num_gained: float) -> bool:
        """Whether a step of so many rows that verifies drafts, and is expected to give so many
        tokens more than one a row, gives more of them in a second."""
        bucket = self._buckets.verifying(num_rows)
        decode_s = self._seconds(self._buckets.decoding(num_rows))
        if not num_gained or bucket is None or decode_s is None or self._num_verified >= _REFRESH:
            return False
        verify_s = self._seconds(bucket)
        if verify_s is None or (num_rows + num_gained) * decode_s > num_rows * verify_s * _MARGIN:
            return True
        self._num_refused = (self._num_refused + 1) % (_RETRY + _RETRIES)
        return self._num_refused >= _RETRY

    def _seconds(self, bucket: Bucket) -> float | None:
        times = self._times.get(bucket)
        return median(times) if times else None
