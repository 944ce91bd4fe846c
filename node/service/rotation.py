"""Rotating the node's keys: which are in use, a new one beside the one before, and the older one retired.

A node that starts tells of what has changed in its keys with a new card (`introduction.py`). So a rotation is
two steps with a start behind each: `rotate`, after which both keys sign, and `retire` once all partners have
heard.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node import keys
from node.errors import Conflict, Malformed, problem
from node.exchange.card import KEYS, CardKey, publics_of
from node.ledger import canonical
from node.service import introduction
from node.service.accusing import is_frozen
from node.service.parts import Parts
from node.service.rewrapping import Told, rewrap
from node.store import access

STORE: Final = "store"
USES: Final = (*KEYS, STORE)
START: Final = "stop the node and start it again: `aeo serve`"


@dataclass(frozen=True, slots=True)
class State:
    """The number of the node's card, the keys on it, and which card each partner has that is told of them."""

    number: int
    keys: dict[str, tuple[CardKey, ...]]
    partners: dict[str, int]
    is_due: bool
    """Whether keys or settings have changed since the card was written: the next start writes another."""
    store_keys: int

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        listed = {
            use: [{"id": key_id(each), "from": each.since, "until": each.until} for each in found]
            for use, found in self.keys.items()
        }
        partners = [{"name": name, "card": number} for name, number in self.partners.items()]
        told = {"card": self.number, "keys": listed, "partners": partners, "start_again": self.is_due}
        return told | {"store_keys": self.store_keys}


def key_id(key: CardKey) -> str:
    """The first 8 bytes of the SHA-256 of a public key as it stands on the card, in hexadecimal."""
    return hashlib.sha256(canonical.encode(key.key)).hexdigest()[:16]


def state(parts: Parts) -> State:
    """What is in use."""
    with parts.database.read() as connection:
        cards = parts.peers.by_country(connection).values()
        told = {each.name for each in cards if not is_frozen(connection, each)}
        partners = {row["name"]: row["holds"] for row in access.peers(connection) if row["name"] in told}
        is_due = introduction.is_due(parts, connection)
    return State(parts.card.number, dict(parts.card.keys), partners, is_due, len(parts.keys.store))


def rotate(parts: Parts, home: Path, uses: Sequence[str]) -> str:
    """Put new keys beside those in use; gives what to do next."""
    folder = _folder(parts, home, uses)
    for use in uses:
        keys.rotate(folder, use)
    heard = "" if set(uses) == {STORE} else "when `aeo keys` shows that every partner has the new card, "
    return f"{START}; then {heard}`aeo keys retire {' '.join(uses)}`"


def retire(parts: Parts, home: Path, uses: Sequence[str], *, even_so: bool, told: Told) -> str:
    """Destroy the older of two keys, of each use; gives what to do next.

    `Conflict` while a new one is not in use yet, or a partner has not heard of it, unless `even_so`.
    """
    folder = _folder(parts, home, uses)
    for use in uses:
        keys.check_older(folder, use)
        if use != STORE and publics_of(parts.keys, use) != parts.card.of(use):
            raise Conflict("the node's card does not tell of its newest keys yet", where=use, do=START)
    now = state(parts)
    lacking = sorted(name for name, number in now.partners.items() if number < now.number)
    if lacking and not even_so and set(uses) != {STORE}:
        do = "wait for them; with `--even-so` they refuse this node's requests until they have asked it"
        raise Conflict(f"partners have not heard of card {now.number}", where=", ".join(lacking), do=do)
    if STORE in uses:
        _check_store_key_in_use(parts)
        rewrap(parts, told)
    for use in uses:
        keys.retire(folder, use)
    return START


def _check_store_key_in_use(parts: Parts) -> None:
    """`Conflict` when a node that runs may still write with the older key alone."""
    with parts.database.read() as connection:
        if not introduction.is_store_key_in_use(parts, connection):
            raise Conflict("the node has not been started with its newest key yet", where=STORE, do=START)


def _folder(parts: Parts, home: Path, uses: Sequence[str]) -> Path:
    for use in uses:
        if use not in USES:
            rule = "must be one of " + ", ".join(USES)
            raise Malformed("there is no such key", problems=[problem("KEY", use, rule)])
    return keys.folder_of(parts.settings.keys, home)


def lines(now: State) -> Sequence[str]:
    """What is in use, for people."""
    told = [f"Card {now.number}.", f"{'key':<11} {'id':<17} {'from entry':>10}  until"]
    for use, found in now.keys.items():
        for each in found:
            until = "in use" if each.until is None else f"entry {each.until}"
            told.append(f"{use:<11} {key_id(each):<17} {each.since:>10}  {until}")
    told.append(f"{STORE:<11} {now.store_keys} in use")
    told += [f"{name} has card {number or 'unknown'}" for name, number in now.partners.items()]
    return told + (
        ["Keys or settings have changed: the next start of the node tells of it."] if now.is_due else []
    )
