"""One table from refusals to HTTP, told as problem details (RFC 9457)."""

import json
from typing import Any

import orjson
from starlette.responses import Response

from node import errors
from node.errors import Refusal

STATUS: dict[type[Refusal], int] = {
    errors.Malformed: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooMuch: 413,
    errors.Unproven: 422,
    errors.Gap: 422,
    errors.Busy: 503,
    errors.Damaged: 500,
}
TOO_OFTEN = 429
RETRY_AFTER_S = 1
MEDIA_TYPE = "application/problem+json"
UNKEPT = {"cache-control": "no-store"}
"""For every answer that is not public: a cache between may not know that a signed request is somebody's."""


def problem_of(refusal: Refusal, status: int = 0) -> dict[str, Any]:
    """The refusal as problem details, with its status in the table unless another is given."""
    return refusal.details(status or STATUS.get(type(refusal), 500))


def answer(refusal: Refusal, status: int = 0) -> Response:
    """The HTTP answer that tells a refusal."""
    told = problem_of(refusal, status)
    headers = dict(UNKEPT)
    if told["status"] in (503, TOO_OFTEN):
        headers["retry-after"] = str(RETRY_AFTER_S)
    if told["status"] == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(encoded(told), told["status"], headers, MEDIA_TYPE)


def encoded(content: Any) -> bytes:
    """An answer as JSON; half a surrogate pair, which a caller may send in an escape, becomes `?`."""
    try:
        return orjson.dumps(content)
    except orjson.JSONEncodeError:
        return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
