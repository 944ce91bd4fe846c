"""The OpenAPI description, completed with who may ask for what and how refusals are told.

FastAPI derives paths and shapes from the routes; identity is checked by dependencies that it cannot
read (a bearer token, or the signature of a peer), and every refusal has the one form of problem details.
"""

from typing import Any

from fastapi import FastAPI

from node.api.schemas import Problem

OPEN = ("/healthz", "/v1/card", "/witness/")
TOKEN, PEER = {"bearer": list[str]()}, {"peer": list[str]()}
SECURITY = {"/v1/peer/": [PEER], "/channel/": [PEER, TOKEN], "/log/": [{}, PEER, TOKEN]}
"""What shows who asks, where it is not a token only; `{}`: nothing need (`log_public`)."""
SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token `aeo_...`, made by `aeo token create`.",
    },
    "peer": {
        "type": "apiKey",
        "in": "header",
        "name": "Signature",
        "description": "RFC 9421 message signature (Ed25519) by a log key in use on the peer's card "
        "over @method, @target-uri and content-digest, with created, expires, nonce and keyid; "
        "each is accepted once.",
    },
}
TAGS = [
    {"name": "operators", "description": "Is this operator an AEO, may I rely on it, can I prove it?"},
    {
        "name": "agreements",
        "description": "Arrangements between administrations: draft, sign, start, suspend.",
    },
    {"name": "node", "description": "The node itself: card, channels, what failed verification."},
    {"name": "peers", "description": "For peer nodes, by signed request."},
    {"name": "witness", "description": "Cosignatures on checkpoints of peers' logs (C2SP tlog-witness)."},
    {"name": "log", "description": "Ledger and channels as static tiles (C2SP tlog-tiles), and their keys."},
]


def described(app: FastAPI) -> dict[str, Any]:
    """The description of an application, made once and kept."""
    if not app.openapi_schema:
        told = FastAPI.openapi(app)
        told["tags"] = TAGS
        parts = told["components"]
        parts["securitySchemes"] = SCHEMES
        parts["schemas"]["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        for path, operations in told["paths"].items():
            for operation in operations.values():
                _complete(path, operation)
        for unused in ("HTTPValidationError", "ValidationError"):
            parts["schemas"].pop(unused, None)
        app.openapi_schema = told
    return app.openapi_schema


def _complete(path: str, operation: dict[str, Any]) -> None:
    refused = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    operation["responses"].pop("422", None)
    operation["responses"]["default"] = {
        "description": "Refused: what, where, why, what to do.",
        "content": refused,
    }
    if not path.startswith(OPEN):
        own = [accepted for prefix, accepted in SECURITY.items() if path.startswith(prefix)]
        operation["security"] = own[0] if own else [TOKEN]
