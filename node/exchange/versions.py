"""One version of an own operator record: credential, ledger commitment, and how it rests sealed.

Everything random in it is derived from the record's key (field salts, the commitment's salt), so the
store keeps none of it, and destroying the key erases all of it. Of the credential only the signature is
kept: the rest is derived again from fields and salts. The committed body can be opened to a
partner without telling who entered the change: that part stands in it only as a commitment.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from node.errors import Damaged
from node.exchange import sealing
from node.exchange.sealing import StoreKeys
from node.ledger import canonical
from node.ledger.encoding import b64u, unb64u
from node.ledger.entry import commitment
from node.records import credential
from node.records.credential import Credential, Disclosure
from node.store.records import StoredVersion

Fields = dict[str, Any]


Body = dict[str, canonical.Json]


@dataclass(frozen=True, slots=True)
class Signatory:
    """Who signs versions: the issuer's name, the key's, and what signs (raw ES256)."""

    issuer: str
    kid: str
    sign: Callable[[bytes], bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Signed:
    """What is kept of a credential: who signed it, with which key, and the signature."""

    issuer: str
    kid: str
    signature: bytes


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A record version before it is signed: `fields` is the operator with `record_id` and `recorded_at`."""

    record_id: str
    number: int
    ledger_seq: int
    key: bytes = field(repr=False)
    fields: Fields
    private: dict[str, Any]

    @property
    def tin(self) -> str:
        """The operator's TIN."""
        return str(self.fields["tin"])

    @property
    def operator(self) -> Fields:
        """The fields as they were handed in."""
        return {
            name: value for name, value in self.fields.items() if name not in ("record_id", "recorded_at")
        }

    def salts(self) -> credential.Salts:
        """What hides the fields."""
        return sealing.salts(self.key, self.record_id, self.number)


@dataclass(frozen=True, kw_only=True)
class Version(Draft):
    """A signed record version."""

    signed: Signed

    @cached_property
    def credential(self) -> Credential:
        """Every field under the issuer's signature, ready to be disclosed one by one."""
        by = self.signed
        return credential.restore(
            self.fields, salts=self.salts(), issuer=by.issuer, kid=by.kid, signature=by.signature
        )

    def disclosures(self) -> tuple[Disclosure, ...]:
        """What opens each field of the credential, without the credential."""
        return credential.disclosures(self.fields, salts=self.salts())

    @cached_property
    def body(self) -> Body:
        """The body that the ledger entry commits to, in canonical JSON."""
        return {
            "v": 1,
            "record_id": self.record_id,
            "credential": b64u(hashlib.sha256(self.credential.jwt.encode()).digest()),
            "private": b64u(commitment(self._derive("private"), canonical.encode(self.private))),
        }

    def salt(self) -> bytes:
        """The salt of the ledger commitment."""
        return self._derive("commit")

    def commit(self) -> bytes:
        """The commitment that stands in the ledger entry."""
        return commitment(self.salt(), canonical.encode(self.body))

    def seal(self, nonce: bytes) -> bytes:
        """The version as it rests in the store."""
        by = self.signed
        content = {
            "fields": {name: value for name, value in self.fields.items() if name != "record_id"},
            "signed": [by.issuer, by.kid, b64u(by.signature)],
            "private": self.private,
        }
        return sealing.seal(self.key, orjson.dumps(content), _owner(self.record_id, self.number), nonce)

    def _derive(self, purpose: str) -> bytes:
        return sealing.expand(self.key, f"aeo/{purpose}/{self.record_id}/{self.number}", 32)


def sign(draft: Draft, by: Signatory) -> Version:
    """Sign a draft."""
    issued = credential.issue(draft.fields, salts=draft.salts(), issuer=by.issuer, kid=by.kid, sign=by.sign)
    version = signed(draft, Signed(by.issuer, by.kid, issued.signature))
    version.__dict__["credential"] = issued
    return version


def signed(draft: Draft, by: Signed, known: tuple[Credential, Body] | None = None) -> Version:
    """A draft that was signed; `known`: what would else be derived again when asked for."""
    version = Version(**vars(draft), signed=by)
    if known is not None:
        version.__dict__.update(credential=known[0], body=known[1])
    return version


def unseal(stored: StoredVersion, store_keys: StoreKeys) -> Version:
    """Open a stored version; `Unproven` when a byte or its key was changed, `Damaged` for an old form."""
    key = sealing.unwrap(store_keys, stored.wrapped_key, stored.record_id)
    content = orjson.loads(sealing.unseal(key, stored.sealed, _owner(stored.record_id, stored.version)))
    if "signed" not in content:
        raise Damaged(
            "a stored version is of a form that is not read any more",
            where=stored.record_id,
            do="make the store anew with `aeo init` and import the operators again",
        )
    issuer, kid, signature = content["signed"]
    return Version(
        record_id=stored.record_id,
        number=stored.version,
        ledger_seq=stored.ledger_seq,
        key=key,
        fields=content["fields"] | {"record_id": stored.record_id},
        private=content["private"],
        signed=Signed(issuer, kid, unb64u(signature)),
    )


def _owner(record_id: str, number: int) -> bytes:
    return f"aeo/version/{record_id}/{number}".encode()
