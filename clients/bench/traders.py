"""Made-up traders that every rule accepts: right check digits, names that no register has."""

import csv
from pathlib import Path
from typing import Any, Final

from stdnum.br import cnpj

ACTIVITIES: Final = ("10", "28", "46", "47", "49", "52")
MANY: Final = 10**8
PROFILE: Final = "br-cnpj"
HEADER: Final = (
    "CNPJ",
    "Razão Social",
    "Nome Fantasia",
    "CNAE Divisão",
    "Logradouro",
    "Município",
    "UF",
    "CEP",
    "Situação Cadastral",
    "Data da Situação",
)


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
        "source_system": "CNPJ",
        "activity": ACTIVITIES[number % len(ACTIVITIES)],
    }


def traders(start: int, count: int) -> list[dict[str, Any]]:
    """`count` traders from this number on."""
    return [trader(number) for number in range(start, start + count)]


def write_list(path: Path, start: int, count: int) -> None:
    """The same traders as the list that the profile `PROFILE` reads."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter=";")
        rows.writerow(HEADER)
        rows.writerows(_row(trader(number)) for number in range(start, start + count))


def _row(of: dict[str, Any]) -> list[str]:
    code, at = of["identifiers"][0]["value"], of["address"]
    where = [at["line"], at["city"], at["subdivision"], at["postcode"]]
    return [code, of["legal_name"], "", of["activity"], *where, "ATIVA", "02/03/2020"]
