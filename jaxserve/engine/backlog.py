"""Which requests have not ended, and how many tokens do their prompts have together?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jaxserve.engine.request import Request


class Backlog:
    """The requests that run or wait, by id; the sum is kept, so that asking costs nothing."""

    def __init__(self) -> None:
        self._requests: dict[str, Request] = {}
        self.num_prompt_tokens = 0

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._requests

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests.values())

    def get(self, request_id: str) -> Request | None:
        return self._requests.get(request_id)

    def add(self, request: Request) -> None:
        assert request.id not in self._requests, f"request {request.id} is there already"
        self._requests[request.id] = request
        self.num_prompt_tokens += len(request.prompt_ids)

    def remove(self, request_ids: Iterable[str]) -> None:
        """Take out those that are there."""
        for request_id in request_ids:
            request = self._requests.pop(request_id, None)
            if request is not None:
                self.num_prompt_tokens -= len(request.prompt_ids)

    def clear(self) -> None:
        self._requests.clear()
        self.num_prompt_tokens = 0
