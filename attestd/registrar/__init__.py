"""The only place where I/O meets the core.

registrar.py    evidence to verdict to record: registration and dry runs
journey.py      what a submission is, and what the registry says about it
authentic.py    platforms and attestation keys that were authenticated before
collateral.py   collateral, held against the newest that was ever seen
policies.py     policies in force
supplied.py     endorsements that come with a dry run
handover.py     writes on their way to the registry
documents.py    what is answered
upkeep.py       what happens without a request
sequencer.py    epochs of the log, when they are due
publisher.py    epochs on their way to the chain, with
                leading.py      one process publishes
                reconciling.py  what is on chain is what counts
                cosigning.py    who signs
                orders.py       what the operator has decided
publishing.py   all of that, made at start
cosigner.py     a verifier of another registry, which signs what that publishes
following.py    that registry, as its verifier follows it
recovering.py   after a backup was restored, from a copy of the log
bootstrap.py    the first API key
"""

from attestd.registrar.bootstrap import bootstrap_admin
from attestd.registrar.cosigner import CosigningService
from attestd.registrar.publishing import Publishing
from attestd.registrar.registrar import Registrar
from attestd.registrar.upkeep import Upkeep

__all__ = ["CosigningService", "Publishing", "Registrar", "Upkeep", "bootstrap_admin"]
