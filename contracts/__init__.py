"""What may be shared with whom: the contract language, its evaluation, the standard rules and terms.

Imports nothing else of this project, so that anyone can replay a decision with this package alone.
"""

from contracts.evaluation import Answer, Contract, Ruling, load
from contracts.language import ContractRefused, check

__all__ = ["Answer", "Contract", "ContractRefused", "Ruling", "check", "load"]
