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


def problem_of(refusal: Refusal) -> dict[str, Any]:
    """The refusal as problem details: what, where, why, what to do, and each broken rule."""
    status = STATUS.get(type(refusal), 500)
    told: dict[str, Any] = {
        "type": f"urn:aeo:problem:{refusal.code}",
        "title": refusal.what,
        "status": status,
    }
    told["detail"] = refusal.sentence()
    told |= {
        name: text
        for name, text in (("where", refusal.where), ("why", refusal.why), ("do", refusal.do))
        if text
    }
    if refusal.problems:
        told["problems"] = [{"field": p.field, "value": p.value, "rule": p.rule} for p in refusal.problems]
    return told


def answer(refusal: Refusal, status: int | None = None) -> Response:
    """The HTTP answer that tells a refusal."""
    told = problem_of(refusal) | ({"status": status} if status else {})
    headers = {}
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
