"""Keys and tokens: in files that only their owner reads, and in nothing that is shown, logged or stored."""

import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from node import keys
from node.errors import Damaged, Forbidden, NotFound, Refusal, Unauthenticated
from node.exchange import sealing, versions
from node.ledger.encoding import b64, b64u
from node.service import tokens
from node.service.tokens import Gate
from node.store import channels, records
from tests.service.stores import files_only
from tests.service.world import Node, World

pytestmark = files_only

NAMES = ("log", "cosign", "cosign_pq", "credential", "seal")


def secrets_of(node: Node) -> dict[str, bytes]:
    """Every private key of a node as its raw bytes, and the keys that the store holds wrapped."""
    found = {"store": node.parts.keys.store[0]}
    for name in NAMES:
        [key] = getattr(node.parts.keys, name)
        if name == "credential":
            found[name] = key.private_numbers().private_value.to_bytes(32, "big")
        else:
            found[name] = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    with node.parts.database.read() as connection:
        for stored, *_ in records.versions_behind(connection, 0, 1000):
            opened = versions.unseal(stored, node.parts.keys.store)
            found[f"record {stored.record_id}"] = opened.key
            found[f"salt {stored.record_id} {stored.version}"] = opened.salt()
        for channel in channels.channels(connection):
            epoch = channels.newest_epoch(connection, channel.log)
            assert epoch is not None
            origin = f"aeo.{channel.issuer.lower()}.example/channel/{channel.agreement}/{channel.partner}"
            owner = f"{origin}#{epoch.epoch}"
            found[f"epoch {owner}"] = sealing.unwrap(node.parts.keys.store, epoch.wrapped, owner)
    return found


def written_forms(secret: bytes) -> list[bytes]:
    return [secret, secret.hex().encode(), b64(secret).rstrip("=").encode(), b64u(secret).encode()]


def store_bytes(node: Node) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(node.home.glob("node.sqlite*")))


def test_no_private_key_stands_in_the_store(known: World) -> None:
    for node in known.nodes:
        found = store_bytes(node)
        assert node.parts.card.name.encode() in found, "the store's bytes are read"
        for name, secret in secrets_of(node).items():
            for form in written_forms(secret):
                assert form not in found, name
        for pem in (node.home / "keys").iterdir():
            body = b"".join(pem.read_bytes().splitlines()[1:-1])
            assert body not in found, pem.name
        assert b"PRIVATE KEY" not in found


def test_no_own_operator_is_stored_in_clear_beside_its_index(known: World) -> None:
    """Names and numbers must be searchable; addresses, contacts and reasons need not be."""
    found = store_bytes(known.br)
    for sealed in (b"oculto1@empresa.example", b"Rua 1", b"as filed", b"Receita Federal"):
        assert sealed not in found


def test_what_was_shared_is_sealed_in_the_issuers_channel_and_nothing_else_reached_the_partner(
    known: World,
) -> None:
    found = store_bytes(known.uy)
    assert b"Caatinga" in found
    for hidden in (b"oculto1@empresa.example", b"Marca oculta", b"as filed", b"Receita Federal"):
        assert hidden not in found


def test_keys_are_files_that_only_their_owner_reads(known: World) -> None:
    folder = known.br.home / "keys"
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {f"{name}.pem": 0o600 for name in (*NAMES, "store")}
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    keys.make(tmp_path / "keys")
    (tmp_path / "keys/log.pem").chmod(mode)
    with pytest.raises(Damaged, match="read by others"):
        keys.load("file:keys", tmp_path)


def test_keys_are_never_made_over_others(tmp_path: Path) -> None:
    keys.make(tmp_path / "keys")
    kept = (tmp_path / "keys/log.pem").read_bytes()
    with pytest.raises(FileExistsError):
        keys.make(tmp_path / "keys")
    assert (tmp_path / "keys/log.pem").read_bytes() == kept


@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "another kind", "cut"])
def test_an_unusable_key_is_named_and_not_shown(tmp_path: Path, damage: str) -> None:
    keys.make(tmp_path / "keys")
    path = tmp_path / "keys/credential.pem"
    pem = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        other = (tmp_path / "keys/log.pem").read_bytes()
        changed = {"empty": b"", "garbage": b"\xff" + pem[1:], "another kind": other, "cut": pem[:80]}
        path.write_bytes(changed[damage])
    with pytest.raises((NotFound, Damaged)) as refusal:
        keys.load("file:keys", tmp_path)
    assert "credential" in refusal.value.sentence()
    told = "".join(traceback.format_exception(refusal.value))
    assert not any(line.decode() in told for line in pem.splitlines()[1:-1])


def test_keys_from_the_environment_are_the_same_and_a_missing_one_is_named(
    known: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = known.br.home / "keys"
    for name in (*NAMES, "store"):
        monkeypatch.setenv(f"TEST_KEY_{name.upper()}", (folder / f"{name}.pem").read_text())
    assert keys.load("env:TEST_KEY_", known.br.home).store == known.br.parts.keys.store
    monkeypatch.delenv("TEST_KEY_SEAL")
    with pytest.raises(NotFound, match="TEST_KEY_SEAL"):
        keys.load("env:TEST_KEY_", known.br.home)


def test_no_representation_shows_a_secret(known: World) -> None:
    br = known.br
    with br.parts.database.read() as connection:
        held = versions.unseal(records.newest_after(connection, "", 1)[0], br.parts.keys.store)
    shown = "".join(map(repr, (br.parts, br.parts.keys, br.parts.card, br.parts.settings, held)))
    assert "BR99" in shown, "the version itself is shown"
    for name, secret in secrets_of(br).items():
        for form in (repr(secret), *(form.decode("latin-1") for form in written_forms(secret))):
            assert form not in shown, name


def test_a_token_is_stored_as_a_hash_only(known: World) -> None:
    br = known.br
    token = tokens.create(br.parts.database, "officer", "porto", None, known.clock(), br.parts.entropy)
    secret = token.split("_", 2)[2]
    assert len(secret) == 43
    br.parts.database.close()
    found = store_bytes(br)
    assert token.encode() not in found
    assert secret.encode() not in found
    assert token.split("_")[1].encode() in found, "its public part is"
    assert secret not in repr(tokens.listed(br.parts.database))


def test_a_token_opens_for_its_role_until_it_ends(known: World) -> None:
    br = known.br
    token = tokens.create(br.parts.database, "reader", "porto", 1, known.clock(), br.parts.entropy)
    caller = Gate(br.parts).caller(f"Bearer {token}")
    caller.require("look-up")
    with pytest.raises(Forbidden):
        caller.require("change")
    assert token.split("_", 2)[2] not in repr(caller)
    known.days_pass()
    with pytest.raises(Unauthenticated, match="expired"):
        Gate(br.parts).caller(f"Bearer {token}")


def test_a_revoked_token_is_believed_for_two_seconds_at_most(known: World) -> None:
    br = known.br
    token = tokens.create(br.parts.database, "reader", "porto", None, known.clock(), br.parts.entropy)
    gate = Gate(br.parts)
    gate.caller(f"Bearer {token}")
    tokens.revoke(br.parts.database, token.split("_")[1], known.clock())
    known.clock.ms += 2_001
    with pytest.raises(Unauthenticated):
        gate.caller(f"Bearer {token}")
    with pytest.raises(NotFound):
        tokens.revoke(br.parts.database, token.split("_")[1], known.clock())


def test_a_wrong_token_is_refused_without_being_repeated(known: World) -> None:
    br = known.br
    token = tokens.create(br.parts.database, "reader", "porto", None, known.clock(), br.parts.entropy)
    head, number, secret = token.split("_", 2)
    wrong = [
        f"Bearer {head}_{number}_{secret[:-1]}",
        f"Bearer {head}_{number}_",
        f"Bearer {head}_00_{secret}",
    ]
    wrong += [token, f"Basic {token}", "Bearer", "", f"Bearer x_{number}_{secret}", f"Bearer {head}_{number}"]
    for authorization in wrong:
        with pytest.raises(Unauthenticated) as refusal:
            Gate(br.parts).caller(authorization)
        assert secret[:-1] not in refusal.value.sentence()


def test_a_store_opened_with_another_key_says_so_and_shows_none(known: World) -> None:
    with known.br.parts.database.read() as connection:
        stored = records.newest_after(connection, "", 1)[0]
    other = known.uy.parts.keys.store
    with pytest.raises(Refusal) as refusal:
        versions.unseal(stored, other)
    told = "".join(traceback.format_exception(refusal.value))
    assert not any(form.decode("latin-1") in told for form in written_forms(other[0]))
