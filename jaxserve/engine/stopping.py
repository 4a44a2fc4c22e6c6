"""Does its newest token end a request?"""

from __future__ import annotations

from jaxserve.engine.request import FinishReason, Request


def reason_to_end(
    request: Request, eos_token_ids: frozenset[int]
) -> tuple[FinishReason | None, int | None]:
    """Why the newest output token ends the request, and the stop token id that did it.

    The model's own end of sequence goes before a stop token id, and both before the limit. The
    context cannot run out before max_tokens does: Admission made sure that both fit.

    A constraint, which has taken the token in, allows an end of sequence only where the output may
    end, and to one that must go on only if nothing else is left. It ends a request that it has
    nothing more for.
    """
    params, constraint = request.params, request.constraint
    num_output, token_id = len(request.output_ids), request.output_ids[-1]
    if constraint is not None and token_id in eos_token_ids:
        return FinishReason.STOP, None
    if num_output > params.min_tokens:
        if token_id in eos_token_ids and not params.ignore_eos:
            return FinishReason.STOP, None
        if token_id in params.stop_token_ids:
            return FinishReason.STOP, token_id
    if constraint is not None and constraint.complete:
        return FinishReason.STOP, None
    if num_output >= params.max_tokens:
        return FinishReason.LENGTH, None
    return None, None
