"""How a channel gives way to that of the agreement which replaces its own, with neither a gap nor a doubling.

An agreement counts at each party when that party has the proof of all, which is not the same moment. So the
issuer begins the new channel when the agreement counts here, and goes on telling the partner on the old one,
by the old terms and in the state of the new, until the partner has begun its own new channel (so that the
agreement counts there too) and the new channel to it is in line. Then the old one ends with a notice and
tombstones, for good. A partner that does not begin its own, though it has signed, is not told on the old one
for longer than `MOST_DAYS`: it could else go on for ever under terms that were replaced. The reader answers
by the newest channel that tells of a record: see `answers`.
"""

from collections.abc import Callable, Iterable
from datetime import date
from typing import Final

from node.agreements.state import TERMINATED
from node.exchange.standing import Standing
from node.store.channels import StoredChannel

MOST_DAYS: Final = 7


def told_state(
    standing: Standing,
    channel: StoredChannel,
    stored: Iterable[StoredChannel],
    today: str,
    begun: Callable[[int], str],
) -> str:
    """The state of an outgoing channel as its partner is told it.

    `stored`: all channels there are; `begun`: the day of the first entry of one, by its log.
    """
    pair, latest = (channel.issuer, channel.partner), standing.latest(today)
    if latest is standing or channel.state == TERMINATED or pair not in latest.ways():
        return standing.state(*pair, today)
    state = latest.state(*pair, today)
    ends = {(each.issuer, each.partner): each for each in stored if each.agreement == latest.agreement.id}
    ours, has_begun = ends.get(pair), pair[::-1] in ends
    is_in_line = ours is not None and (ours.state, ours.day) == (state, today)
    if ours is None or not is_in_line:
        return state
    return TERMINATED if has_begun or _days(begun(ours.log), today) > MOST_DAYS else state


def _days(since: str, today: str) -> int:
    return (date.fromisoformat(today) - date.fromisoformat(since)).days
