"""The only place where I/O meets the core.

registrar.py    evidence to verdict to record: registration and dry runs
journey.py      what a submission is, and what the registry says about it
authentic.py    platforms and attestation keys that were authenticated before
collateral.py   collateral, held against the newest that was ever seen
policies.py     policies in force
handover.py     writes on their way to the registry
documents.py    what is answered
upkeep.py       what happens without a request
bootstrap.py    the first API key
"""

from attestd.registrar.bootstrap import bootstrap_admin
from attestd.registrar.registrar import Registrar
from attestd.registrar.upkeep import Upkeep

__all__ = ["Registrar", "Upkeep", "bootstrap_admin"]
