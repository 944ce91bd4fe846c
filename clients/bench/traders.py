"""Made-up traders that every rule accepts: right check digits, names that no register has."""

from typing import Any

from stdnum.br import cnpj

ACTIVITIES = ("1062", "2825", "4630", "4690", "4923", "5229")
MANY = 10**8


def trader(number: int) -> dict[str, Any]:
    """The trader of this number (below `MANY`), the same each time; none is an operator of the bench."""
    base = f"{number:08d}0002"
    code = base + cnpj.calc_check_digits(base)
    return {
        "kind": "trader",
        "country": "BR",
        "tin": f"BR{code}",
        "identifiers": [{"scheme": "CNPJ", "value": code}],
        "legal_name": f"Comércio Fictício {number} Ltda",
        "address": {
            "line": f"Rua dos Números, {number}",
            "city": "Santos",
            "postcode": "11010-000",
            "subdivision": "SP",
            "country": "BR",
        },
        "status": "ACTIVE",
        "status_since": "2020-03-02T00:00:00.000Z",
        "effective_at": "2020-03-02T00:00:00.000Z",
        "activity": ACTIVITIES[number % len(ACTIVITIES)],
    }


def traders(start: int, count: int) -> list[dict[str, Any]]:
    """`count` traders from this number on."""
    return [trader(number) for number in range(start, start + count)]
