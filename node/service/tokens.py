"""Bearer tokens: `aeo_<id>_<secret>`, a role each, stored as the SHA-256 of the secret.

The secret has 256 bits, so a plain hash suffices; it is compared in constant time. A token seen to be
good is believed for `BELIEVED_S` without asking the store again, so a revocation takes effect within that.
"""

import hashlib
import hmac
from dataclasses import dataclass

from sqlalchemy import Connection

from node.errors import Forbidden, Malformed, NotFound, Unauthenticated, problem
from node.exchange.sealing import Entropy
from node.ledger import moment
from node.ledger.encoding import b64u
from node.service.parts import Parts
from node.store import access
from node.store.database import Database

ROLES: dict[str, frozenset[str]] = {
    "reader": frozenset({"look-up"}),
    "officer": frozenset({"look-up", "change", "preview"}),
    "auditor": frozenset({"look-up", "audit", "preview"}),
    "administrator": frozenset({"look-up", "change", "preview", "audit", "administer"}),
}
BELIEVED_S = 2.0
BELIEVED_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody of the own administration: the token's id and label, and its role.

    Or an administration of another `country` that is hosted here, by its key: then `channels` are those that
    tell it, and it may be told nothing else.
    """

    token: str
    label: str
    role: str
    channels: frozenset[int] | None = None
    country: str = ""

    @property
    def name(self) -> str:
        """How the caller stands in records of what was done."""
        return f"{self.label} ({self.token})"

    def require(self, permission: str) -> None:
        """`Forbidden` unless the role allows it."""
        if permission not in ROLES[self.role]:
            able = ", ".join(role for role, permissions in ROLES.items() if permission in permissions)
            raise Forbidden(
                f"a token with the role {self.role} may not do this",
                why=f"it takes: {able}",
                do="use another token",
            )


def create(database: Database, role: str, label: str, days: int | None, now_ms: int, entropy: Entropy) -> str:
    """Create a token and give its text, which is shown once and never stored."""
    if role not in ROLES:
        raise Malformed(
            "no such role", problems=[problem("role", role, "must be one of " + ", ".join(ROLES))]
        )
    number, secret = entropy(6).hex(), b64u(entropy(32))
    expires = moment.format(now_ms + days * 86_400_000) if days else None
    row = {
        "token": number,
        "role": role,
        "label": label,
        "secret_hash": _hash(secret),
        "created_at": moment.format(now_ms),
    }
    with database.write() as connection:
        access.add_token(connection, row | {"expires_at": expires, "revoked_at": None})
    return f"aeo_{number}_{secret}"


def revoke(database: Database, number: str, now_ms: int) -> None:
    """Revoke a token; `NotFound` when there is none in force of this id."""
    with database.write() as connection:
        if not access.revoke_token(connection, number, moment.format(now_ms)):
            raise NotFound(
                "no token in force has this id", where=number, do="list them with `aeo token list`"
            )


class Gate:
    """Tells who a bearer token belongs to."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._believed: dict[bytes, tuple[int, Caller | None]] = {}

    def caller(self, authorization: str) -> Caller:
        """The caller behind an `Authorization` header; `Unauthenticated` when it is nobody."""
        believed = self.believed(authorization)
        if believed:
            return believed
        now_ms = self._parts.now_ms()
        with self._parts.database.glance() as connection:
            caller = _caller(connection, authorization, now_ms)
        if len(self._believed) >= BELIEVED_LIMIT:
            self._believed.clear()
        self._believed[_hash(authorization)] = (now_ms + int(BELIEVED_S * 1000), caller)
        return caller

    def is_good(self, authorization: str) -> bool:
        """Whether the header still belongs to somebody."""
        try:
            self.caller(authorization)
        except Unauthenticated:
            return False
        return True

    def believed(self, authorization: str) -> Caller | None:
        """The caller, if the header was found good a moment ago."""
        until_ms, caller = self._believed.get(_hash(authorization), (0, None))
        return caller if until_ms >= self._parts.now_ms() else None


def _caller(connection: Connection, authorization: str, now_ms: int) -> Caller:
    scheme, _, text = authorization.partition(" ")
    parts = text.strip().split("_", 2)
    if scheme.lower() != "bearer" or len(parts) != 3 or parts[0] != "aeo":
        raise Unauthenticated(
            "this needs a bearer token",
            do="send `Authorization: Bearer aeo_...`; make one with `aeo token create`",
        )
    stored = access.token(connection, parts[1])
    expected = stored.secret_hash if stored else bytes(32)
    if not hmac.compare_digest(_hash(parts[2]), expected) or stored is None:
        raise Unauthenticated("the token is not known here", do="make one with `aeo token create`")
    now = moment.format(now_ms)
    if stored.revoked_at is not None or (stored.expires_at is not None and stored.expires_at <= now):
        raise Unauthenticated(
            "the token is revoked or has expired",
            where=stored.token,
            do="make a new one with `aeo token create`",
        )
    return Caller(stored.token, stored.label, stored.role)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def listed(database: Database) -> list[dict[str, str | None]]:
    """Every token without its secret, oldest first."""
    with database.read() as connection:
        rows = access.tokens(connection)
    names = ("token", "role", "label", "created_at", "expires_at", "revoked_at")
    return [{name: getattr(row, name) for name in names} for row in rows]
