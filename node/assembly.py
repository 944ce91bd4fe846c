"""The parts of a node, put together from its home folder: settings, keys, store and card, read once."""

import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from node import keys, settings
from node.errors import Malformed, reason
from node.exchange import card
from node.exchange.peers import OwnCard, Peers
from node.exchange.standing import Standings
from node.exchange.versions import Signatory
from node.ledger import policy
from node.ledger.policy import Policy
from node.records.credential import es256_signer
from node.service.backup_keys import BackupKeys
from node.service.bell import Bell
from node.service.bookmark import Bookmark
from node.service.parts import Parts
from node.service.workshop import Workshop
from node.store import access
from node.store.database import Database


def parts_of(home: Path) -> Parts:
    """The parts of the node whose home folder is `home`; `Refusal` says what is missing.

    `Busy` or `Damaged`, in the driver's words, when its store cannot be used now.
    """
    told = settings.load(home)
    own_keys = keys.load(told.keys, home)
    signing = own_keys.credential[0]
    signatory = Signatory(
        told.name, card.credential_kid(told.name, card.jwk_of(signing)), es256_signer(signing)
    )
    database, peers = Database(told.database_url, home), Peers()
    own = OwnCard(_own_card(database, told, own_keys))

    return Parts(
        settings=told,
        database=database,
        keys=own_keys,
        own=own,
        peers=peers,
        standings=Standings(told.country, partial(peers.with_own, own=own)),
        bell=Bell(),
        bookmark=Bookmark(home),
        backup_keys=BackupKeys(_key_store(told.keys, home)),
        workshop=Workshop(signatory, told.keys, home, told.signing_processes),
        given_policy=_given_policy(told.policy, home, own.card),
        now_ms=lambda: time.time_ns() // 1_000_000,
        entropy=os.urandom,
    )


def _key_store(uri: str, home: Path) -> Path:
    """The folder of the key store; the home folder for keys that come from the environment."""
    scheme, _, place = uri.partition(":")
    return home / place if scheme == "file" else home


def _own_card(database: Database, told: settings.Settings, own_keys: keys.NodeKeys) -> card.Card:
    """The newest card that the ledger holds; before there is one, the card that will be its first."""
    database.reach()
    with database.glance() as connection:
        text = access.own_card(connection) if access.has_cards(connection) else ""
    if text:
        return card.read(text)
    return card.write(told.name, told.country, told.administration, told.address, own_keys)


def _given_policy(file: str, home: Path, own: card.Card) -> Policy | None:
    """The trust policy that the settings name; `Malformed` unless it is one, and for this ledger.

    Whichever key of the ledger it names, what an older one signed still counts here.
    """
    if not file:
        return None
    place = home / file
    do = f"mend it, or take `policy` out of {home / settings.FILE}: any one of the peers is then asked"
    try:
        given = policy.parse(place.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        what = "the trust policy cannot be read"
        raise Malformed(what, where=str(place), why=reason(error), do=do) from None
    except Malformed as refusal:
        raise Malformed(refusal.what, where=str(place), do=do, problems=refusal.problems) from None
    origin = card.ledger_origin(own.name)
    named = given.logs.get(origin, ())
    if not set(own.of_log(origin)) & set(named):
        do = "give it the `log` line that `aeo log policy` prints"
        raise Malformed("the trust policy does not name this ledger", where=str(place), why=origin, do=do)
    every = dict.fromkeys([*named, *own.of_log(origin, ever=True)])
    return replace(given, logs={**given.logs, origin: tuple(every)})
