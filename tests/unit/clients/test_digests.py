from hypothesis import given, settings
from hypothesis import strategies as st

from clients.sdk.digests import Digests


@settings(deadline=None)
@given(st.lists(st.text(max_size=3), max_size=60), st.lists(st.text(max_size=3), max_size=20))
def test_what_was_added_and_what_stood_twice_is_known(texts: list[str], others: list[str]) -> None:
    digests = Digests()
    for text in texts:
        digests.add(text)
    repeated = digests.repeated()
    assert len(digests) == len(texts)
    for text in texts + others:
        assert (text in digests) == (text in texts)
        assert (text in repeated) == (texts.count(text) > 1)


def test_it_can_be_added_to_after_it_was_asked() -> None:
    digests = Digests()
    assert "a" not in digests
    digests.add("a")
    assert "a" in digests
    digests.add("b")
    assert ("a" in digests, "b" in digests, "c" in digests) == (True, True, False)
