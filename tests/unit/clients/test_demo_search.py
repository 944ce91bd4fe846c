"""The demonstration's search finds a text wherever a disclosure could hide it."""

from base64 import urlsafe_b64encode

import pytest

from clients.demo.nodes import spellings

CONTACT = "oea@empresa0001.example"


@pytest.mark.parametrize("before", range(6))
@pytest.mark.parametrize("after", range(4))
def test_a_text_inside_base64url_is_found_at_every_alignment(before: int, after: int) -> None:
    body = urlsafe_b64encode(b"x" * before + CONTACT.encode() + b"y" * after).rstrip(b"=")
    assert any(each in body for each in spellings(CONTACT))


def test_another_text_is_not_found() -> None:
    assert not any(each in urlsafe_b64encode(b"oea@empresa0002.example") for each in spellings(CONTACT))
