"""The Merkle proof cases of transparency-dev/merkle, and the published hashes of small trees."""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from node.errors import Unproven
from node.ledger import merkle

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors"
FROM_SIZE_ZERO = {
    "consistency/additional/size1-is-zero-and-does-not-equal-size2",
    "consistency/additional/size1-is-zero-and-size2-is-not-zero",
    "consistency/additional/sizes-are-equal-zero-and-proof-is-empty",
}
"""Refused there because size1 is 0. C2SP tlog-witness calls an empty proof from size 0 correct, and so do
we, provided that the old root is the one root an empty tree has (two of the three give another)."""


def cases(name: str) -> list[Any]:
    path = VECTORS / f"{name}.jsonl"
    if not path.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason="the shared vectors are not here"))]
    return [pytest.param(case, id=case["name"]) for case in map(json.loads, path.read_text().splitlines())]


def decoded(hashes: list[str] | None) -> list[bytes]:
    return [b64decode(each) for each in hashes or []]


def holds(check: Any, *arguments: Any) -> bool:
    try:
        check(*arguments)
    except Unproven:
        return False
    return True


@pytest.mark.parametrize("case", cases("rfc6962-inclusion"))
def test_inclusion_is_judged_as_others_judge_it(case: dict[str, Any]) -> None:
    leaf, root = decoded([case["leafHash"], case["root"]])
    index, size, proof = case["leafIdx"], case["treeSize"], decoded(case["proof"])
    assert holds(merkle.verify_inclusion, index, size, leaf, proof, root) != case["wantErr"]


@pytest.mark.parametrize("case", cases("rfc6962-consistency"))
def test_consistency_is_judged_as_others_judge_it(case: dict[str, Any]) -> None:
    old_root, new_root = decoded([case["root1"], case["root2"]])
    from_zero = case["name"] in FROM_SIZE_ZERO
    expected = old_root == merkle.EMPTY_ROOT if from_zero else not case["wantErr"]
    sizes = case["size1"], case["size2"]
    held = holds(merkle.verify_consistency, *sizes, old_root, new_root, decoded(case["proof"]))
    assert held == expected


def test_from_the_empty_tree_every_tree_follows_by_an_empty_proof() -> None:
    root = merkle.root([merkle.leaf_hash(b"")])
    merkle.verify_consistency(0, 1, merkle.EMPTY_ROOT, root, [])
    with pytest.raises(Unproven, match="SHA-256 of nothing"):
        merkle.verify_consistency(0, 1, root, root, [])


def test_the_empty_root_and_the_empty_leaf_are_the_published_ones() -> None:
    assert merkle.EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_the_root_of_the_eight_certificate_transparency_leaves_is_the_published_one() -> None:
    texts = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    leaves = [merkle.leaf_hash(bytes.fromhex(text)) for text in texts]
    assert merkle.root(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
