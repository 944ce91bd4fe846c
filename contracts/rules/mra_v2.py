"""The standard contract of a mutual recognition agreement, second version.

As the first, but an operator that the partner could not match stays at home: one without a number of the
scheme that the direction names, valid today.
decide: what one partner may know of one operator, on one day. govern: who must sign which act.
"""


def agreement_refuses(terms, today):
    """Reason why nothing at all is shared in this direction today, or None."""
    if terms["direction"]["state"] not in ["PILOT", "IN_OPERATION"]:
        return "agreement not in operation"
    if today < terms["from"]:
        return "agreement not yet in force"
    until = get(terms, "until")
    if until and until < today:
        return "agreement ended"
    return None


def consent_refuses(record, terms, today):
    """Reason why the operator's consent does not cover this agreement today, or None."""
    wanted = terms["consent"]
    if wanted == "NONE":
        return None
    consent = get(record, "mra_consent")
    withdrawn_on = get(consent, "withdrawn_on")
    if withdrawn_on and withdrawn_on <= today:
        return "consent withdrawn"
    if not get(consent, "given") or today < get(consent, "from", today):
        return "consent not given"
    scope = get(consent, "scope")
    if scope == "GENERAL":
        if wanted != "GENERAL":
            return "consent not for this agreement"
    elif not has_any(scope, [terms["name"]]):
        return "consent not for this agreement"
    return None


def eligibility_refuses(record, direction):
    """Reason why this kind of operator is outside the direction, or None."""
    accept_types = get(direction, "accept_types")
    if accept_types and not has_any(get(record, "national_types"), accept_types):
        return "type not accepted"
    if not has_all(get(record, "scope"), get(direction, "min_scope")):
        return "required scope missing"
    roles = get(record, "roles", [])
    accept_roles = get(direction, "accept_roles")
    if accept_roles and not has_any(roles, accept_roles):
        return "role not accepted"
    if roles and has_all(get(direction, "exclude_roles"), roles):
        return "role not accepted"
    return None


def is_numbered(record, scheme, today):
    """Whether the operator has a number of the agreed scheme that is valid today."""
    for number in get(record, "identifiers", []):
        begun = get(number, "valid_from", today) <= today
        if number["scheme"] == scheme and begun and today <= get(number, "valid_to", today):
            return True
    return False


def decide(record, terms, today):
    """Share the direction's fields, or withhold with the first reason that applies."""
    direction = terms["direction"]
    refusal = agreement_refuses(terms, today)
    if refusal:
        return withhold(refusal)
    if get(record, "programme") not in direction["accept_programmes"]:
        return withhold("programme not accepted")
    refusal = consent_refuses(record, terms, today)
    if refusal:
        return withhold(refusal)
    refusal = eligibility_refuses(record, direction)
    if refusal:
        return withhold(refusal)
    if not is_numbered(record, direction["identifier_scheme"], today):
        return withhold("no identifier of the agreed scheme")
    if get(record, "status") not in direction["share_statuses"]:
        return withhold("status not shared")
    valid_to = get(record, "valid_to")
    if valid_to and valid_to < today:
        return withhold("expired")
    return share(direction["fields"])


def start(act, terms, pair):
    """Both sides start a direction, once the preconditions of that mode are met."""
    if not has_all(act["preconditions_met"], terms["preconditions"][act["mode"]]):
        return refuse("preconditions not met")
    return need(pair)


def govern(act, terms, signatures, today):
    """All sign the agreement, both start and resume a direction, any one suspends or terminates."""
    kind = act["act"]
    parties = terms["parties"]
    if kind == "sign":
        return need(parties)
    pair = [party for party in parties if party == act["issuer"] or party == act["partner"]]
    if kind == "start":
        return start(act, terms, pair)
    if kind == "resume":
        return need(pair)
    if kind == "suspend" and has_any(signatures, pair):
        return allow()
    if kind == "terminate" and has_any(signatures, pair or parties):
        return allow()
    return refuse("one party concerned must sign")
