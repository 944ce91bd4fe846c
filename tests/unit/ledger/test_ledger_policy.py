"""Trust policies: who must have signed, and how many."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from node.errors import Malformed, Unproven
from node.ledger import note, policy
from node.ledger.checkpoint import Checkpoint, sign_checkpoint
from node.ledger.merkle import EMPTY_ROOT

TIME_S = 1_795_356_000


def key(seed: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


LOG = note.ed25519_signer("aeo.br.example/ledger", key(1))
UY, AR, PY = (
    note.cosigner(f"aeo.{country}.example/witness", key(seed))
    for seed, country in enumerate(("uy", "ar", "py"), 2)
)
LASTING = note.ml_dsa_cosigner("aeo.uy.example/witness", MLDSA44PrivateKey.from_seed_bytes(bytes(32)))
CHECKPOINT = Checkpoint(LOG.name, 0, EMPTY_ROOT)
KEYS = f"""
# who is believed
log {LOG.verifier().vkey()} https://aeo.br.example/log
\twitness UY \t {UY.verifier().vkey()}  https://aeo.uy.example/witness\t
witness UY-lasting {LASTING.verifier().vkey()}
witness AR {AR.verifier().vkey()}
witness PY {PY.verifier().vkey()}
"""


def cosigned(*witnesses: note.Signer) -> str:
    lines = [note.cosign(CHECKPOINT.text(), each, TIME_S + at) for at, each in enumerate(witnesses)]
    return sign_checkpoint(CHECKPOINT, [LOG]) + "".join(lines)


@pytest.mark.parametrize(
    ("groups", "enough", "too_few"),
    [
        ("quorum none", [(), (UY,)], []),
        ("quorum UY", [(UY,), (AR, UY)], [(), (AR, PY), (LASTING,)]),
        ("group all-of all UY AR\nquorum all-of", [(UY, AR), (UY, AR, PY)], [(UY,), (AR, PY)]),
        ("group some any UY AR\nquorum some", [(UY,), (AR,)], [(PY,), ()]),
        ("group two 2 UY AR PY\nquorum two", [(UY, PY), (AR, PY)], [(UY,), (UY, LASTING)]),
        (
            "group uy all UY UY-lasting\ngroup two 2 uy AR PY\nquorum two",
            [(UY, LASTING, AR), (AR, PY)],
            [(UY, AR), (UY, LASTING)],
        ),
    ],
)
def test_a_quorum_is_what_the_groups_say(
    groups: str, enough: list[tuple[note.Signer, ...]], too_few: list[tuple[note.Signer, ...]]
) -> None:
    read = policy.parse(KEYS + groups + "\n")
    for each in enough:
        assert read.open(cosigned(*each)).checkpoint == CHECKPOINT
    for each in too_few:
        with pytest.raises(Unproven, match="not cosigned"):
            read.open(cosigned(*each))


def test_it_is_told_who_cosigned_and_when() -> None:
    read = policy.parse(KEYS + "quorum none")
    assert read.open(cosigned(AR, LASTING)).times_s == {"AR": TIME_S, "UY-lasting": TIME_S + 1}


def test_a_witness_is_where_its_line_says() -> None:
    read = policy.parse(KEYS + "quorum none")
    assert read.witnesses["UY"].url == "https://aeo.uy.example/witness"
    assert read.witnesses["AR"].url == ""


def test_a_log_that_is_not_named_is_not_believed() -> None:
    read = policy.parse(f"witness UY {UY.verifier().vkey()}\nquorum UY")
    with pytest.raises(Unproven, match="does not name"):
        read.open(cosigned(UY))


def test_cosignatures_do_not_stand_for_the_log() -> None:
    read = policy.parse(KEYS + "quorum UY")
    alone = f"{CHECKPOINT.text()}\n{note.cosign(CHECKPOINT.text(), UY, TIME_S)}"
    with pytest.raises(Unproven, match="own key"):
        read.open(alone)


def test_a_bad_signature_of_a_named_key_spoils_it_though_the_quorum_does_without() -> None:
    read = policy.parse(KEYS + "quorum AR")
    other = note.cosign(Checkpoint(LOG.name, 1, bytes(32)).text(), UY, TIME_S)
    with pytest.raises(Unproven, match="bad"):
        read.open(cosigned(AR) + other)


def test_a_log_may_have_two_keys() -> None:
    new = note.ed25519_signer(LOG.name, key(9))
    read = policy.parse(KEYS + f"log {new.verifier().vkey()}\nquorum none")
    for signer in (LOG, new):
        assert read.open(sign_checkpoint(CHECKPOINT, [signer])).checkpoint == CHECKPOINT


def test_the_longest_chain_of_groups_is_followed() -> None:
    groups = [f"group g{at} all {f'g{at - 1}' if at else 'UY'}" for at in range(policy.LIMIT_LINES - 20)]
    read = policy.parse("\n".join([KEYS, *groups, f"quorum g{len(groups) - 1}"]))
    assert read.open(cosigned(UY)).checkpoint == CHECKPOINT
    with pytest.raises(Unproven, match="not cosigned"):
        read.open(cosigned(AR))


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        ("", "quorum line"),
        ("quorum UY\nquorum UY", "exactly one"),
        ("quorum nobody", "before"),
        ("quorum", "must be log"),
        ("quorum UY AR", "must be log"),
        ("quorom UY", "must be log"),
        ("QUORUM UY", "must be log"),
        ("group g all UY\ngroup h all UY\nquorum h", "twice"),
        ("group g all UY UY\nquorum g", "twice"),
        ("group g all g\nquorum g", "before"),
        ("group g all none\nquorum g", "before"),
        ("group g all\nquorum none", "must be log"),
        ("group g 0 UY\nquorum g", "from 1 to 1"),
        ("group g 2 UY\nquorum g", "from 1 to 1"),
        ("group g 01 UY\nquorum g", "leading zero"),
        ("group g ١ UY\nquorum g", "decimal"),
        ("group UY any AR\nquorum none", "already"),
        ("group none any AR\nquorum none", "already"),
        (f"witness UY {note.cosigner('x.example', key(7)).verifier().vkey()}\nquorum none", "already"),
        (f"witness X {UY.verifier().vkey()}\nquorum none", "already"),
        (f"witness X {LOG.verifier().vkey()}\nquorum none", "0x04"),
        (f"log {note.cosigner('x.example', key(7)).verifier().vkey()}\nquorum none", "0x01"),
        (f"log {LOG.verifier().vkey()}\nquorum none", "already"),
        ("log x\nquorum none", "base64 of the key"),
        ("quorum none\r", "control"),
        ("quorum none\x7f", "control"),
        ("\n" * policy.LIMIT_LINES + "quorum none", "at most"),
    ],
)
def test_a_policy_out_of_form_is_refused_by_line_and_rule(lines: str, rule: str) -> None:
    with pytest.raises(Malformed, match=rule):
        policy.parse(KEYS + lines)


def test_every_bad_line_is_named() -> None:
    with pytest.raises(Malformed) as refused:
        policy.parse("nonsense\nquorum nobody\n")
    assert [each.field for each in refused.value.problems] == ["line 1", "line 2"]


@pytest.mark.parametrize(
    "groups",
    [
        "quorum none",
        "quorum UY",
        "group one any AR\nquorum one",
        "group uy all UY UY-lasting\ngroup two 2 uy AR PY\ngroup three any two\nquorum two",
    ],
)
def test_a_policy_that_is_written_out_is_read_as_the_same(groups: str) -> None:
    new = note.ed25519_signer(LOG.name, key(9)).verifier().vkey()
    read = policy.parse(KEYS + f"log {new} https://new.example\nlog {vkey_of('other.example')}\n" + groups)
    assert read.urls == {LOG.verifier().vkey(): "https://aeo.br.example/log", new: "https://new.example"}
    remarks = dict.fromkeys((LOG.name, "UY", "two", policy.NONE), "what it is\nand why")
    for each in (policy.render(read), policy.render(read, remarks)):
        assert policy.parse(each) == read


def test_a_person_is_told_what_each_line_is() -> None:
    read = policy.parse(
        f"log {vkey_of('a.example')}\nwitness UY {UY.verifier().vkey()} https://uy\nquorum UY"
    )
    written = policy.render(
        read, {"a.example": "the ledger", "UY": "who cosigns\nit", policy.NONE: "that is all"}
    )
    assert written == (
        f"# the ledger\nlog {vkey_of('a.example')}\n\n# who cosigns\n# it\n"
        f"witness UY {UY.verifier().vkey()} https://uy\n\n# that is all\nquorum UY\n"
    )


def vkey_of(origin: str) -> str:
    return note.ed25519_signer(origin, key(8)).verifier().vkey()


def test_no_remark_can_become_a_line() -> None:
    read = policy.parse(KEYS + "quorum UY")
    for hidden in ("x\nquorum none", "x\rquorum none\r\n", "\x00\x85\u2028quorum none", "x\n\nwitness"):
        assert policy.parse(policy.render(read, {"UY": hidden})) == read


@pytest.mark.parametrize(
    "url", ["https://a b", "https://a\nquorum none", "https://a\n#", "x\ty", " ", "https://\r"]
)
def test_an_address_that_is_not_one_word_is_not_written_out(url: str) -> None:
    witness = policy.Witness(UY.verifier(), url)
    for made in (
        policy.Policy({}, {"UY": witness}, {}, "UY"),
        policy.Policy({LOG.name: (LOG.verifier(),)}, {}, {}, policy.NONE, {LOG.verifier().vkey(): url}),
    ):
        with pytest.raises(Malformed):
            policy.render(made)


def test_a_policy_that_names_what_it_lacks_is_not_written_out() -> None:
    uy, group = {"UY": policy.Witness(UY.verifier())}, policy.Group(1, ("UY",))
    for made in (
        policy.Policy({}, uy, {}, "AR"),
        policy.Policy({}, uy, {}, ""),
        policy.Policy({}, uy, {"g": policy.Group(1, ("h",)), "h": group}, "g"),
        policy.Policy({}, {"U Y": uy["UY"]}, {}, policy.NONE),
        policy.Policy({}, uy, {}, policy.NONE, {"a key of no log here": "https://a"}),
    ):
        with pytest.raises(Malformed):
            policy.render(made)
