"""A refusal as problem details says all there is to say, and nothing else."""

from node.errors import Malformed, NotFound, problem


def test_a_refusal_is_told_with_every_member() -> None:
    refusal = Malformed(
        "no operator", where="line 2", why="w", do="d", problems=[problem("tin", 7, "a text")]
    )
    assert refusal.details(422) == {
        "type": "urn:aeo:problem:malformed",
        "title": "no operator",
        "status": 422,
        "detail": "no operator (line 2); tin: a text (got '7'); w; d",
        "where": "line 2",
        "why": "w",
        "do": "d",
        "problems": [{"field": "tin", "value": "7", "rule": "a text"}],
    }


def test_members_that_say_nothing_are_left_out() -> None:
    assert NotFound("no").details() == {"type": "urn:aeo:problem:not-found", "title": "no", "detail": "no"}
