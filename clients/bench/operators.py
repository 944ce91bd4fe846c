"""Made-up operators that every rule accepts: right check digits, security certified, consent given."""

from typing import Any

from stdnum.br import cnpj

AWAY = "2090-12-31"


def operator(number: int) -> dict[str, Any]:
    """The operator of this number (below 10^8), the same each time."""
    base = f"{number:08d}0001"
    code = base + cnpj.calc_check_digits(base)
    return {
        "country": "BR",
        "issuing_authority": {"code": "RFB", "name": "Autoridade de demonstração"},
        "tin": f"BR{code}",
        "identifiers": [{"scheme": "CNPJ", "value": code}],
        "authorisation_number": f"ADE {number}/2025",
        "legal_name": f"Exportação Modelo {number} Ltda",
        "address": {
            "line": f"Avenida das Medições, {number}",
            "city": "Santos",
            "postcode": "11010-000",
            "subdivision": "SP",
            "country": "BR",
        },
        "programme": "BR-OEA",
        "national_types": ["OEA-S"],
        "scope": ["SECURITY"],
        "roles": ["exporter"],
        "status": "ACTIVE",
        "status_since": "2025-01-15T00:00:00.000Z",
        "authorised_on": "2025-01-15",
        "valid_to": AWAY,
        "next_revalidation": AWAY,
        "mra_consent": {"given": True, "scope": "GENERAL"},
        "effective_at": "2025-01-15T00:00:00.000Z",
    }


def operators(start: int, count: int) -> list[dict[str, Any]]:
    """`count` operators from this number on."""
    return [operator(number) for number in range(start, start + count)]
