"""Names as they are compared: accents and legal forms ignored. For suggestions to a person only."""

import re

from anyascii import anyascii

LEGAL_FORMS = re.compile(
    r"\b(s ?a ?s?|ltda?|s ?r ?l|eireli|me|epp|cia|companhia|inc|llc|gmbh|ag|bv|nv|co|corp)\b"
)


def fold(name: str) -> str:
    """A name in plain lower-case letters and digits, without punctuation and legal form."""
    plain = re.sub(r"[^a-z0-9]+", " ", anyascii(name).lower().replace(".", "")).strip()
    return re.sub(r" +", " ", LEGAL_FORMS.sub(" ", plain)).strip() or plain
