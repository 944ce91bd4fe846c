"""Evidence: what a node was told can be shown to someone who trusts nobody, and nothing else can."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import ECKey

from clients.sdk import verifier
from node.agreements import act, recognition
from node.agreements.act import Instrument
from node.errors import Busy, Malformed, NotFound, Unproven
from node.exchange import sealing
from node.exchange.trust import policy_of
from node.ledger import canonical, moment
from node.ledger import policy as policies
from node.ledger.checkpoint import stated
from node.ledger.encoding import b64u
from node.ledger.entry import ChannelEntry
from node.ledger.note import cosign, cosigner, cosigner_verifier, ed25519_verifier
from node.ledger.proof import TlogProof
from node.records import credential, status
from node.service.batch import Batch
from node.service.evidence import _ledger, evidence, moment_of
from node.service.receipts import Receipts
from node.service.signing import Sign
from node.store import channels, logs, witnessed
from node.store.tables import LEDGER
from tests.service.test_incoming import ONE, TWO, Liar
from tests.service.test_witnessing import add, lie, refused, seen_size, truth
from tests.service.world import DAY_MS, Json, World, operator

VERIFIER = Path(verifier.__file__)


def of(world: World, tin: str = ONE, at_ms: int | None = None) -> bytes:
    parts = world.uy.parts
    with parts.database.read() as connection:
        return evidence(parts, connection, tin, world.clock.ms if at_ms is None else at_ms)


def policy(world: World, quorum: str = "uy") -> str:
    """A policy that names the first node's ledger, and the second as its witness with both its keys."""
    log, *_ = world.br.parts.card.verifiers(f"{world.br.parts.settings.name}/ledger")
    first, second = (each.vkey() for each in world.uy.parts.card.newest_cosigners)
    lines = [f"log {log.vkey()}", f"witness uy1 {first}", f"witness uy2 {second}", "group uy all uy1 uy2"]
    return "\n".join([*lines, f"quorum {quorum}", ""])


def failed(results: list[verifier.Result]) -> list[int]:
    return [each.number for each in results if each.passed is False]


def assert_holds(world: World, encoded: bytes) -> list[verifier.Result]:
    results = verifier.verify(encoded, policy(world))
    assert all(each.passed for each in results), verifier.told(results)
    return results


def answered(encoded: bytes) -> Json:
    found: Json = json.loads(encoded)["answer"]
    return found


def test_what_was_told_holds_for_whoever_has_the_file_and_the_policy(known: World) -> None:
    results = assert_holds(known, of(known))
    assert [each.number for each in results] == list(range(1, len(verifier.STEPS) + 1))
    assert "the benefit applied" in results[-1].found
    assert answered(of(known)) == {"status": "ACTIVE", "applies": True, "reasons": [], "age_s": 0}


def test_the_file_opens_what_was_told_of_one_operator_and_no_other_entry(known: World) -> None:
    known.br.amend(ONE, legal_name="Nova S/A")
    known.exchange()
    told = json.loads(of(known))["told"]
    keys = {json.loads(each["entry"])["seq"]: base64.b64decode(each["key"]) for each in told}
    log, opened = known.br.log_of("BR", "UY"), dict[int, set[int]]()
    with known.br.parts.database.read() as connection:
        head = logs.head(connection, log)
        assert head is not None
        sealed = channels.sealed_behind(connection, log, 0, head.size)
        for encoded in logs.entries(connection, log, 0, head.size):
            entry = ChannelEntry.decode(encoded)
            for seq, key in keys.items():
                try:
                    body = canonical.decode(sealing.unseal(key, sealed[entry.seq][0], entry.header()))
                except Unproven:
                    continue
                opened.setdefault(seq, set()).add(entry.seq)
                shown = credential.verify_packed(
                    body["credential"],
                    known.br.parts.keys.credential[0].public_key(),
                    issuer="aeo.br.example",
                )
                assert shown.fields["tin"] == ONE
                assert "mra_contact" not in shown.fields
    assert opened == {seq: {seq} for seq in keys}
    assert len(opened) == 2


def test_evidence_waits_for_what_the_issuer_has_just_shown_us_as_a_witness(known: World) -> None:
    """Or it would lack our own cosignature, and not hold against a policy that asks for it."""
    known.br.admit(operator(4))
    history, old = truth(known), seen_size(known.uy)
    assert isinstance(add(known.uy, history.body(old, len(history.leaves))), str)
    with pytest.raises(Busy, match="grown beyond our copy"):
        of(known)
    known.clock.ms += 61_000
    results = verifier.verify(of(known), policy(known))
    assert failed(results) == [3], "an issuer that keeps it back cannot keep the evidence back"
    known.exchange()
    assert_holds(known, of(known))


def test_each_moment_has_its_own_answer(known: World) -> None:
    first = known.clock.ms
    known.days_pass()
    known.exchange()
    known.br.amend(ONE, status="SUSPENDED")
    known.exchange()
    suspended = known.clock.ms
    known.days_pass()
    known.exchange()
    known.br.amend(ONE, status="ACTIVE", legal_name="Depois S/A")
    known.exchange()
    known.days_pass()
    known.exchange()
    told = {at: json.loads(of(known, at_ms=at)) for at in (first, suspended, known.clock.ms)}
    for each in told.values():
        assert_holds(known, canonical.encode(each))
    assert [each["answer"]["status"] for each in told.values()] == ["ACTIVE", "SUSPENDED", "ACTIVE"]
    assert [len(each["told"]) for each in told.values()] == [1, 2, 3]
    assert told[suspended]["answer"]["reasons"] == ["the status is SUSPENDED"]


def test_a_record_that_left_the_view_is_shown_as_that(known: World) -> None:
    known.br.amend(ONE, mra_consent={"given": False, "scope": "GENERAL", "withdrawn_on": "2026-11-22"})
    known.exchange()
    encoded = of(known)
    assert_holds(known, encoded)
    assert answered(encoded)["status"] == "NOT_SHARED"
    assert not answered(encoded)["applies"]


def test_a_tombstone_alone_says_of_whom_it_is(known: World) -> None:
    """Nobody shows that one operator left the view by the marker of another."""
    known.br.amend(TWO, mra_consent={"given": False, "scope": "GENERAL", "withdrawn_on": "2026-11-22"})
    known.exchange()
    content = json.loads(of(known, TWO))
    assert_holds(known, canonical.encode(content))
    assert failed(verifier.verify(canonical.encode(content | {"tin": ONE}), policy(known))) == [9]
    alone = content | {"told": content["told"][-1:]}
    assert failed(verifier.verify(canonical.encode(alone), policy(known))) == [7]


def test_what_came_later_was_not_known_then(known: World) -> None:
    known.clock.ms += 60_000
    known.br.amend(ONE, status="SUSPENDED")
    known.clock.ms += 120_000
    before = known.clock.ms
    assert answered(of(known))["applies"] == known.uy.look_up(ONE)["recognition"]["applies"] is True
    known.clock.ms += 1_000
    known.exchange()
    assert answered(of(known, at_ms=before))["applies"]
    assert_holds(known, of(known, at_ms=before))
    assert not answered(of(known))["applies"]


def test_nothing_in_a_file_writes_lines_of_its_own(known: World) -> None:
    content = json.loads(of(known)) | {"tin": "x\n 2. passed: all\n\nIt holds.\x1b[8m"}
    said = verifier.told(verifier.verify(canonical.encode(content), policy(known)))
    assert "It holds." not in said.splitlines()
    assert "\x1b" not in said
    assert said.endswith("It does NOT hold.")


def test_a_proof_that_is_too_old_is_a_reason(known: World) -> None:
    known.clock.ms += 3 * DAY_MS
    encoded = of(known)
    assert_holds(known, encoded)
    assert answered(encoded)["reasons"] == ["the newest proof is older than the agreement allows"]


def test_the_state_of_the_agreement_on_that_day_is_what_its_acts_make(known: World) -> None:
    before = known.clock.ms
    known.days_pass()
    known.exchange()
    known.br.settle(Sign(known.agreement, "suspend", "BR", "UY"))
    known.exchange()
    results = assert_holds(known, of(known))
    assert "SUSPENDED" in results[4].found
    assert answered(of(known))["reasons"][0] == "the agreement is suspended in this direction"
    assert answered(of(known, at_ms=before))["applies"]
    assert_holds(known, of(known, at_ms=before))


def test_before_anything_was_told_there_is_no_evidence(known: World) -> None:
    with pytest.raises(NotFound):
        of(known, at_ms=known.clock.ms - 30 * DAY_MS)
    with pytest.raises(NotFound):
        of(known, "BR99000099000199")


def test_a_policy_that_names_another_key_or_wants_more_witnesses_is_not_satisfied(known: World) -> None:
    encoded = of(known)
    stranger = ed25519_verifier("aeo.br.example/ledger", bytes(range(1, 33))).vkey()
    assert failed(verifier.verify(encoded, policy(known, "none"))) == []
    assert failed(verifier.verify(encoded, f"log {stranger}\nquorum none\n")) == [2]
    other = policy_of(known.uy.parts.card, [known.br.parts.card])
    [(own,)] = other.logs.values()
    assert failed(verifier.verify(encoded, f"log {own.vkey()}\nquorum none\n")) == [2]
    more = policy(known).replace(
        "quorum uy", f"witness xx {absent_witness(known)}\ngroup both all uy xx\nquorum both"
    )
    assert failed(verifier.verify(encoded, more)) == [3]


def absent_witness(world: World) -> str:
    """A witness that has not cosigned."""
    return cosigner_verifier("aeo.xx.example/witness", bytes(range(32))).vkey()


def every_place(value: Json, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to every text, number, truth and null in a file."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from every_place(each, (*path, name))
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from every_place(each, (*path, at))
    else:
        yield path


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + 1
    if not value:
        return "A"
    middle = len(value) // 2
    return value[:middle] + ("B" if value[middle] == "A" else "A") + value[middle + 1 :]


def test_no_value_of_the_file_can_be_another(known: World) -> None:
    """Every text and number is signed, hashed or compared with what follows from the rest."""
    known.br.amend(ONE, legal_name="Nova S/A")
    known.exchange()
    content = json.loads(of(known))
    unsigned = set()
    for path in every_place(content):
        damaged = json.loads(json.dumps(content))
        inner = damaged
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = changed(inner[path[-1]])
        results = verifier.verify(canonical.encode(damaged), policy(known))
        if all(each.passed for each in results):
            unsigned.add(path[0])
    assert unsigned == set(), "changed unseen"


def test_nothing_that_the_answer_rests_on_can_be_left_out(known: World) -> None:
    known.br.amend(ONE, status="SUSPENDED")
    known.exchange()
    content = json.loads(of(known))
    for name in content:
        damaged = {key: value for key, value in content.items() if key != name}
        assert failed(verifier.verify(canonical.encode(damaged), policy(known))) == [1], name
    assert failed(verifier.verify(canonical.encode(content | {"more": 1}), policy(known))) == [1]
    for name in ("acts", "told", "heartbeat_proof"):
        for at in range(len(content[name])):
            damaged = content | {name: content[name][:at] + content[name][at + 1 :]}
            found = verifier.verify(canonical.encode(damaged), policy(known))
            if name == "told" and at == 0:
                continue  # an older telling that a later one replaced may be left out
            assert failed(found), (name, at)


@pytest.mark.parametrize(
    "junk", [b"", b"{}", b"[]", b"null", b"\xff", b'{"kind": 1}', b'{"a":1,"a":2}', b"1" * 5000]
)
def test_a_file_of_another_form_is_refused_at_once(known: World, junk: bytes) -> None:
    assert failed(verifier.verify(junk, policy(known))) == [1]


@pytest.mark.parametrize(
    "text",
    ["", "quorum", "quorum x", "log x", "witness a b", "group a 1 b\nquorum a", "quorum none\nquorum none"],
)
def test_a_policy_of_another_form_is_refused_at_once(known: World, text: str) -> None:
    assert failed(verifier.verify(of(known), text)) == [1]


@pytest.mark.parametrize("kind", ["sign", "start"])
def test_an_act_that_names_another_party_than_it_binds_counts_for_nothing(known: World, kind: str) -> None:
    """An issuer that signs alone, for itself, what takes both, and enters it in its ledger."""
    told = json.loads(of(known))["acts"]
    instruments = [act.parse(each["body"]["instrument"]) for each in told]
    [at] = [
        number
        for number, each in enumerate(instruments)
        if each.act.act == kind and each.act.issuer in (None, "BR")
    ]
    alone = replace(instruments[at].act, issuer="BR", partner=None)
    parts, body = known.br.parts, told[at]["body"]
    key = ECKey.import_key(parts.keys.credential[0])
    body |= {"instrument": Instrument(alone, (act.sign(alone, "BR", key),)).to_json()}
    with parts.database.write() as connection:
        batch = Batch(parts, connection)
        entry, salt = batch.append_opened("agreement", body)
        batch.commit()
    known.exchange()
    content = json.loads(of(known))
    with known.uy.parts.database.read() as connection:
        proof = _ledger(known.uy.parts, connection, known.pinned(known.uy)).proof(entry.seq)
    assert_holds(known, canonical.encode(content))
    forged = {"entry": entry.encode().decode(), "salt": b64u(salt), "body": body, "proof": proof}
    content["acts"][at] = forged
    results = verifier.verify(canonical.encode(content), policy(known))
    assert failed(results) == [5], verifier.told(results)
    assert "in its form" in results[4].expected


def test_the_file_stands_alone(known: World, tmp_path: Path) -> None:
    """The verifier runs from a copy, in an interpreter that sees nothing of this project."""
    (tmp_path / "verifier.py").write_bytes(VERIFIER.read_bytes())
    (tmp_path / "case.json").write_bytes(of(known))
    (tmp_path / "policy").write_text(policy(known))
    command = [sys.executable, "-I", "verifier.py", "case.json", "policy"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    assert ran.stdout.endswith("It holds.\n")
    (tmp_path / "case.json").write_bytes(of(known).replace(b"ACTIVE", b"ACTIVO"))
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "FAILED" in ran.stdout


def test_the_verifier_imports_nothing_of_ours_and_nothing_but_cryptography() -> None:
    lines = [
        line for line in VERIFIER.read_text().splitlines() if line.strip().startswith(("import ", "from "))
    ]
    named = {line.split()[1].partition(".")[0] for line in lines}
    assert named - set(sys.stdlib_module_names) == {"cryptography"}


@pytest.mark.parametrize("state", ["IN_OPERATION", "PILOT", "SUSPENDED", "SIGNED", "TERMINATED"])
@pytest.mark.parametrize("stated", sorted(status.STATUSES))
def test_the_verifier_reads_an_operator_as_the_node_does(state: str, stated: str) -> None:
    terms = {"from": "2026-01-01", "until": "2027-01-01", "max_staleness_s": 60}
    direction = {"accept_programmes": ["BR-OEA"], "min_scope": ["SECURITY"]}
    for day in ("2025-12-31", "2026-11-22", "2027-01-02"):
        for valid_to in (None, "2026-11-21", "2026-11-22"):
            for programme in (None, "BR-OEA", "X"):
                for scope in ([], ["SECURITY"], ["CUSTOMS", "SECURITY"]):
                    for age_s in (60, 61):
                        fields = {
                            "status": stated,
                            "valid_to": valid_to,
                            "programme": programme,
                            "scope": scope,
                        }
                        read = status.as_read(stated, valid_to, day)
                        given = terms | {"direction": direction}
                        expected = recognition.against(given, state, read, programme, scope, day, age_s)
                        found = verifier.answer(terms, direction, state, fields, day, age_s)
                        assert found == (read, expected)
    assert verifier.answer(terms, direction, state, None, "2026-11-22", 0) == (
        recognition.NOT_SHARED,
        recognition.unshared(state),
    )


def test_what_the_node_set_apart_is_no_evidence(known: World) -> None:
    """A disclosure that failed verification is not in the file, and the file says what held before."""
    liar = Liar(known)
    liar.misplace(ONE)
    known.carry(known.uy)
    assert known.uy.incidents()
    assert_holds(known, of(known))
    assert len(json.loads(of(known))["told"]) == 1
    assert answered(of(known))["applies"], "the file says what follows from what is in it"
    assert not known.uy.look_up(ONE)["recognition"]["applies"], "the node knows more"


def test_what_the_file_says_is_what_the_node_answers(known: World) -> None:
    known.br.amend(TWO, status="SUSPENDED")
    known.exchange()
    for tin in (ONE, TWO):
        answer, found = known.uy.look_up(tin), answered(of(known, tin))
        assert found["status"] == answer["status"]["value"]
        assert (found["applies"], found["reasons"]) == tuple(
            answer["recognition"][each] for each in ("applies", "reasons")
        )


def test_cosignatures_that_others_gave_come_with_the_file(known: World) -> None:
    """The issuer's news carry them, so that the reader is not the only witness of its own case."""
    third = cosigner("aeo.ar.example/witness", Ed25519PrivateKey.generate())
    with known.br.parts.database.write() as connection:
        head = logs.head(connection, LEDGER)
        assert head is not None
        text = stated(head.checkpoint).text()
        witnessed.keep(connection, head.origin, head.size, head.checkpoint + cosign(text, third, 1))
    known.clock.ms += 1_000
    known.carry(known.uy)
    log, *_ = known.br.parts.card.verifiers("aeo.br.example/ledger")
    wanted = f"log {log.vkey()}\nwitness ar {third.verifier().vkey()}\nquorum ar\n"
    assert all(each.passed for each in verifier.verify(of(known), wanted))
    known.uy.settle(refused(known, lie(known, 3).note(seen_size(known.uy))))
    accused = verifier.verify(of(known), policy(known))
    assert failed(accused) == [3], "an accused log is not cosigned any more"
    assert all(each.passed for each in verifier.verify(of(known), policy(known, "none")))


POLICIES = [
    "log {log}\nquorum none",
    "log {log} https://a.example\n# said\n\twitness  a   {one} https://b.example\nquorum a",
    "log {log}\nwitness a {one}\nwitness b {one}\ngroup g all a b\nquorum g",
    "log {log}\nwitness a {one}\nwitness b {two}\ngroup g 2 a b\nquorum g",
    "log {log}\nwitness a {one}\ngroup g 2 a\nquorum g",
    "log {log}\nwitness a {one}\ngroup g 0 a\nquorum g",
    "log {log}\nwitness a {one}\nwitness a {two}\nquorum a",
    "log {log}\nwitness a {one}\ngroup a any a\nquorum a",
    "log {log}\nwitness a {one}\ngroup g any a a\nquorum g",
    "log {log}\nwitness a {one}\ngroup g any a\ngroup h any a\nquorum h",
    "log {log}\ngroup g any a\nwitness a {one}\nquorum g",
    "log {log}\nlog {log}\nquorum none",
    "log {one}\nquorum none",
    "log {log}\nwitness a {log}\nquorum a",
    "log {log}\nwitness none {one}\nquorum none",
    "log {log}\nquorum none\nquorum none",
    "log {log}",
    "log {log}\nquorum b",
    "log {log}\nother x\nquorum none",
    "log {log}\nwitness a {one}x\nquorum a",
]


@pytest.mark.parametrize("form", POLICIES)
def test_the_verifier_reads_a_policy_as_the_package_does(form: str) -> None:
    log = ed25519_verifier("aeo.br.example/ledger", bytes(range(1, 33))).vkey()
    one, two = (cosigner_verifier("aeo.xx.example/w", bytes([at]) * 32).vkey() for at in (1, 2))
    text = form.format(log=log, one=one, two=two) + "\n"
    try:
        expected = policies.parse(text)
    except Malformed:
        with pytest.raises(verifier.Failed):
            verifier.Policy.of(text)
        return
    found = verifier.Policy.of(text)
    assert found.quorum == expected.quorum
    assert [key.name for key in found.logs] == list(expected.logs)
    assert {name: key.raw for name, key in found.witnesses.items()} == {
        name: each.verifier.public_key for name, each in expected.witnesses.items()
    }
    assert {name: (count, tuple(of)) for name, (count, of) in found.groups.items()} == {
        name: (group.threshold, group.members) for name, group in expected.groups.items()
    }


def test_a_moment_is_a_day_or_a_time() -> None:
    now = moment.parse("2026-11-22T12:00:00.000Z")
    assert moment_of("", now) == now
    assert moment_of("2026-11-22", now) == now
    assert moment_of("2026-11-21", now) == moment.parse("2026-11-21T23:59:59.999Z")
    assert moment_of("2026-11-21T10:00:00.000Z", now) == moment.parse("2026-11-21T10:00:00.000Z")
    for to_come in ("2026-11-23", "2099-01-01", "2026-11-22T12:00:00.001Z"):
        with pytest.raises(Malformed, match="to come"):
            moment_of(to_come, now)


# Receipts


def receipt_of(world: World, seq: int) -> bytes:
    receipts = Receipts(world.br.parts)
    return receipts.with_entry(seq, receipts.newest(seq)).text.encode()


def test_a_receipt_holds_for_whoever_has_it_and_the_policy(known: World) -> None:
    encoded = receipt_of(known, known.br.ledger().size - 1)
    results = verifier.verify(encoded, policy(known, "none"))
    assert [each.passed for each in results] == [True] * 3
    assert "a record" in results[0].found
    assert failed(verifier.verify(encoded, policy(known))) == [2], "no witness has cosigned it"


@pytest.mark.parametrize(
    "change", ["entry", "index", "hash", "checkpoint", "without entry", "nothing", "more"]
)
def test_a_receipt_in_which_anything_is_changed_does_not_hold(known: World, change: str) -> None:
    seq = known.br.ledger().size - 1
    proof = TlogProof.decode(receipt_of(known, seq).decode())
    flipped = bytes([proof.hashes[0][0] ^ 1]) + proof.hashes[0][1:]
    other = TlogProof.decode(receipt_of(known, seq - 1).decode())
    changed = {
        "entry": replace(proof, extra=other.extra).encode(),
        "index": replace(proof, index=seq - 1, extra=other.extra).encode(),
        "hash": replace(proof, hashes=(flipped, *proof.hashes[1:])).encode(),
        "checkpoint": proof.encode().replace(f"\n{seq + 1}\n", f"\n{seq + 2}\n"),
        "without entry": replace(proof, extra=b"").encode(),
        "nothing": "c2sp.org/tlog-proof@v1",
        "more": proof.encode() + "x",
    }[change]
    results = verifier.verify(changed.encode(), policy(known, "none"))
    assert not all(each.passed for each in results)


def test_without_its_one_package_the_verifier_says_what_it_needs() -> None:
    alone = [sys.executable, "-S", "-I", verifier.__file__, "file", "policy"]
    done = subprocess.run(alone, capture_output=True, text=True, check=False)
    assert (done.returncode, "cryptography, 50 or newer" in done.stderr) == (2, True)
