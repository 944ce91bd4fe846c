"""Trust policies (C2SP tlog-policy): which logs are believed, and how many of which witnesses it takes.

A policy is a text of lines: `log <vkey> [<url>]`, `witness <name> <vkey> [<url>]`, `group <name> <k|any|all>
<member> ...`, and one `quorum <name|none>`; whatever is named stands on a line before. Guarantees that what
`Policy.open` returns was signed by one of the logs and cosigned by a quorum. Refuses keys that stand twice,
members that could count twice, and more than the bounds.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from node.errors import Malformed, Problem, Unproven, problem
from node.ledger.checkpoint import Checkpoint, opened_checkpoint
from node.ledger.encoding import parse_decimal
from node.ledger.note import COSIGNATURES, ED25519, Opened, Verifier, open_note, parse_vkey, read_note

LIMIT_CHARACTERS = 1 << 20
LIMIT_LINES = 1 << 10
SHOWN_LOGS = 5
NONE = "none"
ANY = "others"
"""The group of all witnesses in a policy that `any_of` makes."""

_NOT_ALLOWED = re.compile(r"[^\t\n\x20-\x7e\x80-\U0010ffff]")
_BLANK = " \t"
_GAP = re.compile(f"[{_BLANK}]+")


@dataclass(frozen=True, slots=True)
class Group:
    """A group witnesses what at least `threshold` of its members do."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness: its key, and its submission prefix if that is known."""

    verifier: Verifier
    url: str = ""


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A checkpoint that a policy accepts, and which of its witnesses cosigned it as of when (seconds)."""

    checkpoint: Checkpoint
    times_s: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Policy:
    """Logs by origin, witnesses and groups by name, and the name of the quorum (`none`: no cosignature).

    `urls`: where logs are read, by verifier key, of those that say it.
    """

    logs: Mapping[str, tuple[Verifier, ...]]
    witnesses: Mapping[str, Witness]
    groups: Mapping[str, Group]
    quorum: str
    urls: Mapping[str, str] = field(default_factory=dict)

    def open(self, note: str) -> Cosigned:
        """The checkpoint in a note; `Unproven` unless a log of this policy signed it and a quorum cosigned.

        `Malformed` for what is no checkpoint. A bad signature of any key that the policy names is `Unproven`.
        """
        found = self.cosigned(note)
        if not self.is_quorum(found.times_s):
            seen = ", ".join(sorted(found.times_s)) or "none of its witnesses"
            raise Unproven(
                "a checkpoint is not cosigned by as many as the trust policy wants",
                where=f"{found.checkpoint.origin}, size {found.checkpoint.size}",
                why=f"the quorum is {self.quorum}; cosigned by {seen}",
                do="ask for a later one, or for the reason",
            )
        return found

    def cosigned(self, note: str) -> Cosigned:
        """As `open`, whether or not those who cosigned suffice."""
        text, _ = read_note(note)
        origin = text.partition("\n")[0]
        own = self.logs.get(origin, ())
        if not own:
            raise Unproven(
                "a checkpoint is of a log that the trust policy does not name",
                where=origin,
                why=f"it names {', '.join(list(self.logs)[:SHOWN_LOGS]) or 'none'}",
                do="see that address and key are of the same log, and get its key from whom you trust",
            )
        opened = open_note(note, [*own, *(each.verifier for each in self.witnesses.values())])
        return Cosigned(opened_checkpoint(opened, origin), self._times(opened))

    def is_quorum(self, names: Collection[str]) -> bool:
        """Whether these witnesses suffice."""
        held = {NONE, *names}
        for name, group in self.groups.items():  # in the order of their lines, so members come first
            if sum(each in held for each in group.members) >= group.threshold:
                held.add(name)
        return self.quorum in held

    def _times(self, opened: Opened) -> dict[str, int]:
        known = {(each.verifier.name, each.verifier.key_id): name for name, each in self.witnesses.items()}
        found = [
            (known[signed.name, signed.key_id], signed.time_s)
            for signed in opened.signatures
            if (signed.name, signed.key_id) in known
        ]
        return {name: time_s for name, time_s in found if time_s is not None}


class _Reader:
    """Reads a policy line by line; each may name what stands before it."""

    def __init__(self) -> None:
        self.logs: dict[str, tuple[Verifier, ...]] = {}
        self.witnesses: dict[str, Witness] = {}
        self.groups: dict[str, Group] = {}
        self.quorum = ""
        self.urls: dict[str, str] = {}
        self._keys: set[bytes] = set()
        self._members: set[str] = set()

    def read(self, word: str, *rest: str) -> None:
        """One line; `Malformed` for one that is out of form."""
        match word, rest:
            case "log", [vkey]:
                self._log(vkey)
            case "log", [vkey, url]:
                self._log(vkey)
                self.urls[vkey] = url
            case "witness", [name, vkey]:
                self._witness(name, vkey, "")
            case "witness", [name, vkey, url]:
                self._witness(name, vkey, url)
            case "group", [name, threshold, *members] if members:
                self._group(name, threshold, members)
            case "quorum", [name]:
                self._quorum(name)
            case _:
                rule = (
                    "must be log VKEY [URL], witness NAME VKEY [URL], group NAME K MEMBER ... or quorum NAME"
                )
                raise _rule(rule)

    def _log(self, vkey: str) -> None:
        verifier = self._key(vkey, (ED25519,), "a log's key must be of kind 0x01")
        self.logs[verifier.name] = (*self.logs.get(verifier.name, ()), verifier)

    def _witness(self, name: str, vkey: str, url: str) -> None:
        verifier = self._key(vkey, COSIGNATURES, "a witness's key must be of kind 0x04 or 0x06")
        self._check_new(name)
        self.witnesses[name] = Witness(verifier, url)

    def _group(self, name: str, threshold: str, members: list[str]) -> None:
        self._check_new(name)
        counts = {"any": 1, "all": len(members)}
        wanted = counts[threshold] if threshold in counts else parse_decimal(threshold, "group")
        if not 1 <= wanted <= len(members):
            raise _rule(f"must want from 1 to {len(members)} of its members")
        for each in members:
            self._check_known(each)
            if each in self._members:
                raise _rule(f"{each} is a member already: it could count twice")
            self._members.add(each)
        self.groups[name] = Group(wanted, tuple(members))

    def _quorum(self, name: str) -> None:
        if self.quorum:
            raise _rule("there must be exactly one quorum")
        if name != NONE:
            self._check_known(name)
        self.quorum = name

    def _key(self, vkey: str, kinds: Collection[int], rule: str) -> Verifier:
        verifier = parse_vkey(vkey)
        if verifier.kind not in kinds:
            raise _rule(rule)
        if verifier.public_key in self._keys:
            raise _rule("this key stands here already")
        self._keys.add(verifier.public_key)
        return verifier

    def _check_new(self, name: str) -> None:
        if name == NONE or name in self.witnesses or name in self.groups:
            raise _rule(f"{name} is a name already")

    def _check_known(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise _rule(f"no witness or group {name} stands on a line before")


def parse(text: str) -> Policy:
    """The policy that a text writes out; `Malformed` names each line that is out of form, and why."""
    lines = text.split("\n")
    if len(text) > LIMIT_CHARACTERS or len(lines) > LIMIT_LINES:
        raise _refused([problem("text", f"{len(lines)} lines", f"must have at most {LIMIT_LINES}")])
    if strange := _NOT_ALLOWED.search(text):
        rule = "must have no control character but tab and newline"
        raise _refused([problem("text", ascii(strange[0]), rule)])
    reader, wrong = _Reader(), list[Problem]()
    for number, line in enumerate(lines, 1):
        if (said := line.strip(_BLANK)) and not said.startswith("#"):
            try:
                reader.read(*_GAP.split(said))
            except Malformed as refusal:
                wrong += [problem(f"line {number}", line, each.rule) for each in refusal.problems]
    if not reader.quorum and not wrong:
        wrong.append(problem("text", "", "must have a quorum line"))
    if wrong:
        raise _refused(wrong)
    return Policy(reader.logs, reader.witnesses, reader.groups, reader.quorum, reader.urls)


def any_of(
    keys: Sequence[Verifier], url: str, witnesses: Iterable[tuple[str, str, Sequence[Verifier]]]
) -> Policy:
    """The policy for one log of these keys, read at `url`, that any one of these witnesses suffices for.

    Of each: its name, its submission prefix, and its keys, with all of which it must have cosigned.
    """
    named, groups = dict[str, Witness](), dict[str, Group]()
    for name, prefix, own in witnesses:
        members = tuple(f"{name}/{number}" for number in range(1, len(own) + 1))
        named |= {each: Witness(key, prefix) for each, key in zip(members, own, strict=True)}
        groups[name] = Group(len(members), members)
    if groups:
        groups[ANY] = Group(1, tuple(groups))
    urls = {each.vkey(): url for each in keys}
    return Policy({keys[0].name: tuple(keys)}, named, groups, ANY if named else NONE, urls)


def render(policy: Policy, remarks: Mapping[str, str] = MappingProxyType({})) -> str:
    """The text that `parse` reads as this policy; `Malformed` if there is none, as for a URL with a space.

    `remarks`: what a person is told before the lines of a log, witness or group, by its origin or name; by
    `none`, before the quorum.
    """
    blocks = [
        "\n".join([*_comment(remarks.get(name, "")), *lines])
        for name, lines in (*_logs(policy), *_witnesses(policy), *_groups(policy))
    ]
    text = "\n".join([*blocks, *_comment(remarks.get(NONE, "")), f"quorum {policy.quorum}", ""]).removeprefix(
        "\n"
    )
    if parse(text) != policy:
        raise _rule("must have names and addresses without white space, and what is named on a line before")
    return text


def _logs(policy: Policy) -> Iterator[tuple[str, list[str]]]:
    for origin, verifiers in policy.logs.items():
        vkeys = [each.vkey() for each in verifiers]
        yield origin, [_line("log", vkey, policy.urls.get(vkey, "")) for vkey in vkeys]


def _witnesses(policy: Policy) -> Iterator[tuple[str, list[str]]]:
    for name, witness in policy.witnesses.items():
        yield name, [_line("witness", name, witness.verifier.vkey(), witness.url)]


def _groups(policy: Policy) -> Iterator[tuple[str, list[str]]]:
    for name, group in policy.groups.items():
        words = {len(group.members): "all", 1: "any"}
        yield name, [_line("group", name, words.get(group.threshold, str(group.threshold)), *group.members)]


def _line(*words: str) -> str:
    return " ".join(filter(None, words))


def _comment(remark: str) -> list[str]:
    """An empty line and the remark, in which nothing can pass for a line of the policy."""
    plain = _NOT_ALLOWED.sub("\ufffd", remark)
    return ["", *(f"# {line}" for line in plain.split("\n"))] if plain else []


def _rule(rule: str) -> Malformed:
    return _refused([problem("line", "", rule)])


def _refused(problems: list[Problem]) -> Malformed:
    return Malformed("a trust policy was refused", problems=problems)
