"""A node's card: its name, country, address, and every public key it has had, signed by its own log key.

To admit a peer is to pin its card. A card proves only that the holder of the log key wrote it; that the
key is the administration's must be checked by people, who compare `fingerprint` over another channel.
JWS compact serialization (RFC 7515), algorithm Ed25519 (RFC 9864), `typ` aeo-card+jws.

Of each key a card says from which entry of the node's ledger on it counts and, once it is retired, up to
which. A key of a log or for credentials that came after another is signed by that one, so whoever knows any
of them can follow to the newest; a later card begins with all that an earlier one says (`check_follows`), and
peers take it in place of the earlier one without people. The idea is that of root rotation in The Update
Framework (TUF), in one document.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from node.errors import Conflict, Malformed, Problem, Unproven, problem
from node.exchange import sealing
from node.keys import NodeKeys, public_raw
from node.ledger import canonical
from node.ledger.encoding import b64u, unb64u
from node.ledger.note import ML_DSA_COSIGNATURE, Verifier, cosigner_verifier, ed25519_verifier
from node.records.credential import es256_signer, es256_verify

HEADER = {"alg": "Ed25519", "typ": "aeo-card+jws"}
LIMIT_CHARACTERS = 1 << 17
KEYS = ("log", "cosign", "cosign_pq", "credential", "seal")
ENDORSED = ("log", "credential")
"""Keys that the one before signs."""
MOST_VALID = 2
"""Of one use at a time: the newest, and the one before while peers learn of it."""
MOST_CARDS = 1000
"""Of one node, one after the other: its partners keep each of them in their ledgers."""
VERSION = 3

Jwk = Mapping[str, Any]
Content = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CardKey:
    """A public key: base64url, for credentials a JWK.

    It counts for entries of the ledger from `since` on and before `until` (None: it is in use); `by` is the
    signature of the key before it, empty where there is none.
    """

    key: Any
    since: int
    until: int | None = None
    by: str = ""

    def to_json(self) -> Content:
        """As it stands on a card."""
        return {"key": self.key, "from": self.since, "until": self.until, "by": self.by}


@dataclass(frozen=True, slots=True)
class Succession:
    """Which node a node succeeds: its name, and the size (entries) and root (base64url) of its ledger.

    Everything behind that is disowned.
    """

    name: str
    size: int
    root: str

    def to_json(self) -> Content:
        """As it stands on a card."""
        return {"name": self.name, "size": self.size, "root": self.root}


@dataclass(frozen=True)
class Card:
    """What a node says of itself; `text` is the signed card as it travels, `number` counts them from 1."""

    name: str
    country: str
    administration: str
    address: str
    number: int
    keys: Mapping[str, tuple[CardKey, ...]]
    succeeds: Succession | None
    text: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the signed content, in groups of four hexadecimal digits, to be read aloud."""
        digest = hashlib.sha256(self.text.split(".")[1].encode()).hexdigest()[:32].upper()
        return " ".join(digest[i : i + 4] for i in range(0, 32, 4))

    def of(self, use: str, *, ever: bool = False) -> list[Any]:
        """The keys of one use, newest first: those in use, or all there ever were."""
        return [each.key for each in reversed(self.keys[use]) if ever or each.until is None]

    @cached_property
    def log_keys(self) -> tuple[Ed25519PublicKey, ...]:
        """The keys in use of its checkpoints and requests."""
        return tuple(Ed25519PublicKey.from_public_bytes(unb64u(each)) for each in self.of("log"))

    @property
    def seal_key(self) -> X25519PublicKey:
        """The key that epoch keys are sealed to."""
        return X25519PublicKey.from_public_bytes(unb64u(self.of("seal")[0]))

    def verifiers(self, origin: str, *, ever: bool = False) -> list[Verifier]:
        """Who may sign the checkpoint of a log of this node: the log's keys, and its cosigner's.

        `ever`: also keys that are retired, for what was signed before.
        """
        return [*self.of_log(origin, ever=ever), *self.cosigners(ever=ever)]

    def of_log(self, origin: str, *, ever: bool = False) -> list[Verifier]:
        """The own keys of a log of this node, newest first."""
        return [ed25519_verifier(origin, unb64u(each)) for each in self.of("log", ever=ever)]

    @property
    def newest_cosigners(self) -> tuple[Verifier, Verifier]:
        """The newest key of either kind, with which all that it cosigns is signed, whatever else is."""
        classic, *_ = self.cosigners()
        return classic, next(each for each in self.cosigners() if each.kind == ML_DSA_COSIGNATURE)

    def cosigners(self, *, ever: bool = False) -> list[Verifier]:
        """The keys of its timestamped cosignatures: Ed25519, and behind them ML-DSA-44."""
        name = cosigner_name(self.name)
        classic = [cosigner_verifier(name, unb64u(each)) for each in self.of("cosign", ever=ever)]
        lasting = self.of("cosign_pq", ever=ever)
        return [*classic, *(Verifier(name, ML_DSA_COSIGNATURE, unb64u(each)) for each in lasting)]

    def credential_key(self, kid: str, seq: int) -> EllipticCurvePublicKey:
        """The key that signed the credential which an entry of the ledger is about.

        `Unproven` if the card has no such key, or not for that entry.
        """
        key, of = self._credential_keys.get(kid, (None, None))
        if key is None or of is None:
            raise Unproven("a credential is signed with a key that is not on the card", where=kid)
        if not of.since <= seq or (of.until is not None and seq >= of.until):
            why = f"it counts from entry {of.since} to {'now' if of.until is None else of.until - 1}"
            raise Unproven(f"a key did not count at ledger entry {seq}", where=kid, why=why)
        return key

    def successors(self, jwk: Jwk) -> list[Jwk]:
        """The keys for credentials and acts that came after one of this card, oldest first."""
        keys = [each.key for each in self.keys["credential"]]
        return keys[keys.index(dict(jwk)) + 1 :] if dict(jwk) in keys else []

    def ended(self, jwk: Jwk) -> int | None:
        """Up to which ledger entry a key for credentials and acts counts; None while it is in use."""
        return next((each.until for each in self.keys["credential"] if each.key == dict(jwk)), None)

    @cached_property
    def _credential_keys(self) -> dict[str, tuple[EllipticCurvePublicKey, CardKey]]:
        keys = self.keys["credential"]
        return {credential_kid(self.name, each.key): (public_key(each.key, self.name), each) for each in keys}


def predecessors(peer: Card, cards: Mapping[str, Card]) -> frozenset[str]:
    """The names of the nodes of its administration that a node succeeds, of the `cards` by name.

    A card may claim to succeed any node; only one of the same country was held against that one's.
    """
    found = [peer]
    while (after := found[-1].succeeds) is not None:
        before = cards.get(after.name)
        if before is None or before.country != peer.country or before in found:
            break
        found.append(before)
    return frozenset(each.name for each in found[1:])


def ledger_origin(name: str) -> str:
    """The origin of a node's ledger."""
    return f"{name}/ledger"


def channel_origin(issuer: str, agreement: str, partner: str) -> str:
    """The origin of the channel from the node `issuer` to the country `partner`."""
    return f"{issuer}/channel/{agreement}/{partner}"


def access_origin(name: str) -> str:
    """The origin of a node's access log, which is its own affair."""
    return f"{name}/access"


def credential_kid(name: str, key: Jwk) -> str:
    """The id of a node's key on the credentials that it issues: its name and the thumbprint (RFC 7638)."""
    return f"{name}#{ECKey.import_key(dict(key)).thumbprint()}"


def cosigner_name(name: str) -> str:
    """The key name under which a node cosigns checkpoints."""
    return f"{name}/witness"


def write(
    name: str,
    country: str,
    administration: str,
    address: str,
    keys: NodeKeys,
    succeeds: Succession | None = None,
) -> Card:
    """Write and sign the first card of the node that holds `keys`."""
    first = {use: (CardKey(publics_of(keys, use)[0], 0),) for use in KEYS}
    return _signed(Card(name, country, administration, address, 1, first, succeeds, ""), keys)


def renew(known: Card, administration: str, address: str, keys: NodeKeys, seq: int) -> Card | None:
    """The card behind `known`, which the ledger will hold at `seq`; None when it would say the same.

    Keys that `known` does not have are introduced, and those no longer held are retired. `Conflict` when keys
    are held that cannot follow: a retired one, a strange one, or one whose predecessor is gone.
    """
    held = {use: _held(known, use, keys, seq) for use in KEYS}
    new = replace(known, administration=administration, address=address, keys=held)
    return None if new == known else _signed(replace(new, number=known.number + 1), keys)


def _held(known: Card, use: str, keys: NodeKeys, seq: int) -> tuple[CardKey, ...]:
    """The keys of one use, with what is new among them."""
    listed, (public, *older) = known.keys[use], publics_of(keys, use)
    by = ""
    if public != listed[-1].key:
        if public in [each.key for each in listed] or older != [listed[-1].key]:
            why = "its newest key is neither the one in use nor the older one beside it"
            do = "restore the newest keys from your key backup; or the store, if that is older than the keys"
            raise Conflict(f"the {use} key is not the one that the node's card names", why=why, do=do)
        by = _endorsed(known.name, use, public, keys) if use in ENDORSED else ""
        listed = (*listed, CardKey(public, seq, by=by))
    elif not all(each in known.of(use) for each in older):
        do = "take it away from beside the newer one: partners refuse what it signs"
        raise Conflict(f"the older {use} key was retired, or is none of the node's card", do=do)
    in_use = (public, *older)
    return tuple(
        replace(each, until=seq) if each.until is None and each.key not in in_use else each for each in listed
    )


def check_follows(known: Card, new: Card) -> None:
    """`Unproven` unless a card is a later one of the same node, which says all that the known one says."""
    is_later = new.number > known.number
    same = (known.name, known.country, known.succeeds) == (new.name, new.country, new.succeeds)
    if not (same and is_later) or not all(_begins(known.keys[use], new.keys[use]) for use in KEYS):
        why = f"card {new.number} of {new.name} does not begin with card {known.number} of {known.name}"
        do = "find out why the peer's card changed before anything else"
        raise Unproven("a card does not follow the one that is pinned", where=new.country, why=why, do=do)


def turns(known: Card, new: Card) -> list[int]:
    """The ledger entries where keys begin or end to count by a later card, and by the known one do not."""
    told = list[int]()
    for use in KEYS:
        before, after = known.keys[use], new.keys[use]
        ended = [each.until for each in before] + [None] * (len(after) - len(before))
        told += [each.since for each in after[len(before) :]]
        told += [
            each.until
            for each, end in zip(after, ended, strict=True)
            if each.until is not None and end is None
        ]
    return told


def _begins(known: Sequence[CardKey], new: Sequence[CardKey]) -> bool:
    """Whether the new keys are the known ones, of which some may have been retired since, and later ones."""
    if len(new) < len(known):
        return False
    return all(
        replace(then, until=None) == replace(now, until=None) and then.until in (None, now.until)
        for then, now in zip(known, new, strict=False)
    )


def read(text: str) -> Card:
    """Read a card and check its own signature, and those of its keys on those that came after them.

    Raises `Malformed` or `Unproven`.
    """
    text = text.strip()
    if len(text) > LIMIT_CHARACTERS or text.count(".") != 2:
        raise Malformed(
            "this is not a card",
            why="a card is three base64url parts with dots between",
            do="ask its node for it: its own command aeo card prints it",
        )
    card = _card(canonical.decode(unb64u(text.split(".")[1]), limit=LIMIT_CHARACTERS), text)
    try:
        token = jws.deserialize_compact(text, OKPKey.import_key(card.log_keys[0]), ["Ed25519"])
    except (JoseError, ValueError) as error:
        raise Unproven(
            "the card's signature does not hold",
            where=card.name,
            why=str(error),
            do="ask its node for it again",
        ) from None
    if token.protected != HEADER:
        raise Malformed("the card has another type", where=card.name)
    _check_endorsed(card)
    return card


def _signed(card: Card, keys: NodeKeys) -> Card:
    content = {
        "v": VERSION,
        "name": card.name,
        "country": card.country,
        "administration": card.administration,
        "address": card.address,
        "number": card.number,
        "keys": {use: [each.to_json() for each in listed] for use, listed in card.keys.items()},
        "succeeds": card.succeeds and card.succeeds.to_json(),
    }
    key = OKPKey.import_key(keys.log[0])
    return read(jws.serialize_compact(HEADER, canonical.encode(content), key, ["Ed25519"]))


def publics_of(keys: NodeKeys, use: str) -> list[Any]:
    """The public halves of the keys of one use, newest first, as they stand on a card."""
    held = getattr(keys, use)
    if use == "credential":
        return [jwk_of(each) for each in held]
    return [b64u(public_raw(each)) for each in held]


def jwk_of(key: EllipticCurvePrivateKey) -> dict[str, str]:
    """The public half of a key for credentials, as a JWK of exactly kty, crv, x, y."""
    return _jwk(key.public_key())


def _jwk(public: EllipticCurvePublicKey) -> dict[str, str]:
    whole = ECKey.import_key(public).as_dict(private=False)
    return {part: str(whole[part]) for part in ("kty", "crv", "x", "y")}


def _endorsement(name: str, use: str, key: Any) -> bytes:
    """What the older of two keys signs: that the other one follows it, for this node and this use."""
    return canonical.encode({"v": 1, "endorses": use, "key": key, "name": name})


def _endorsed(name: str, use: str, key: Any, keys: NodeKeys) -> str:
    text = _endorsement(name, use, key)
    return b64u(keys.log[1].sign(text) if use == "log" else es256_signer(keys.credential[1])(text))


def _check_endorsed(card: Card) -> None:
    for use in ENDORSED:
        listed = card.keys[use]
        for before, after in pairwise(listed):
            text, by = _endorsement(card.name, use, after.key), unb64u(after.by)
            try:
                if use == "log":
                    Ed25519PublicKey.from_public_bytes(unb64u(before.key)).verify(by, text)
                else:
                    es256_verify(public_key(before.key, card.name), by, text)
            except (InvalidSignature, Unproven, ValueError):
                what = f"a {use} key of the card is not signed by the one before it"
                raise Unproven(what, where=card.name) from None


def _card(content: canonical.Json, text: str) -> Card:
    names = {"v", "name", "country", "administration", "address", "number", "keys", "succeeds"}
    if not isinstance(content, dict) or set(content) != names or content["v"] != VERSION:
        raise Malformed(f"this is not a card of version {VERSION}", do="ask its node for the newest")
    texts = {name: content[name] for name in ("name", "country", "administration", "address")}
    wrong = [
        problem(name, value, "must be a text of 1 to 200 characters that can be printed")
        for name, value in texts.items()
        if not _is_text(value)
    ]
    number, keys = content["number"], content["keys"]
    if type(number) is not int or not 1 <= number <= MOST_CARDS:
        wrong.append(problem("number", number, f"must be a whole number from 1 to {MOST_CARDS}"))
    if not isinstance(keys, dict) or set(keys) != set(KEYS):
        wrong.append(problem("keys", keys, "must hold " + ", ".join(KEYS)))
    else:
        wrong += [each for use, listed in keys.items() for each in _problems(use, listed)]
    succeeds = content["succeeds"]
    if succeeds is not None and not _is_succession(succeeds):
        wrong.append(problem("succeeds", succeeds, "must hold name, size and root, or be null"))
    if wrong:
        raise Malformed("the card is not well formed", problems=wrong)
    after = Succession(**succeeds) if succeeds else None  # type: ignore[arg-type]  # looked at just above
    by_use: Any = keys
    listed = {use: tuple(_card_key(each) for each in by_use[use]) for use in KEYS}
    card = Card(number=number, keys=listed, succeeds=after, text=text, **texts)  # type: ignore[arg-type]  # checked just above
    return _with_usable_keys(card)


def _is_succession(told: canonical.Json) -> bool:
    if not isinstance(told, dict) or set(told) != {"name", "size", "root"}:
        return False
    is_size = type(told["size"]) is int and told["size"] >= 0
    return is_size and all(_is_text(told[name]) for name in ("name", "root"))


def _card_key(each: Content) -> CardKey:
    return CardKey(each["key"], each["from"], each["until"], each["by"])


def _problems(use: str, listed: canonical.Json) -> Iterator[Problem]:
    """What is wrong with the keys of one use: they follow each other, and the last ones are in use."""
    if not isinstance(listed, list) or not all(_is_card_key(each) for each in listed) or not listed:
        yield problem(f"keys.{use}", listed, "must list keys, each with key, from, until and by")
        return
    keys = [_card_key(each) for each in listed]  # type: ignore[arg-type]  # looked at just above
    since = [each.since for each in keys]
    in_use = [each.until is None for each in keys]
    rules = (
        (since == sorted(set(since)), "must begin one behind the other"),
        (all(each.until is None or each.until > each.since for each in keys), "must count for a time"),
        (in_use == sorted(in_use) and 1 <= sum(in_use) <= MOST_VALID, "must end with one or two in use"),
        (len({canonical.encode(each.key) for each in keys}) == len(keys), "must be different"),
        (
            [bool(each.by) for each in keys] == [use in ENDORSED and at > 0 for at in range(len(keys))],
            "are signed",
        ),
    )
    yield from (problem(f"keys.{use}", len(keys), rule) for holds, rule in rules if not holds)


def _is_card_key(each: canonical.Json) -> bool:
    if not isinstance(each, dict) or set(each) != {"key", "from", "until", "by"}:
        return False
    places = [each["from"], 0 if each["until"] is None else each["until"]]
    return all(type(place) is int and place >= 0 for place in places) and isinstance(each["by"], str)


def _with_usable_keys(card: Card) -> Card:
    try:
        _ = card.verifiers("trial", ever=True), card.log_keys, card._credential_keys
        for each in card.of("seal"):  # some points cannot be sealed to
            sealing.deliver(
                bytes(sealing.KEY_BYTES), X25519PublicKey.from_public_bytes(unb64u(each)), "trial", 1
            )
    except (ValueError, TypeError, JoseError, AttributeError) as error:
        raise Malformed("a key of the card cannot be used", where=card.name, why=str(error)) from None
    return card


def public_key(jwk: Jwk, where: str) -> EllipticCurvePublicKey:
    """The key for credentials and acts that a JWK writes; `Malformed` for any other."""
    public = ECKey.import_key(dict(jwk)).public_key
    if not isinstance(public.curve, SECP256R1):
        raise Malformed("a card has a credential key of another curve", where=where)
    if dict(jwk) != _jwk(public):
        raise Malformed(
            "a card has a credential key in another spelling", where=where, why="it has kty, crv, x, y"
        )
    return public


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()
