"""What an operator accepts: policy files, and the appraisal of verified claims under them.

    document.py    TOML, read strictly
    rules.py       what the sections of all TEEs share, as frozen values
    intel_rules.py, amd_rules.py, nvidia_rules.py    the sections themselves
    checks.py      what a check is, and the checks that every TEE has
    images.py      the check of the image
    intel.py       the checks of TDX and SGX
    amd.py         the checks of SEV-SNP
    nvidia.py      the checks of GPUs
    appraisal.py   AppraisalPolicy.load and appraise
    lint.py        what loads, and is still worth a second look

Evidence that was not authenticated cannot be appraised, for only verification makes claims. An appraisal does not stop
at the first fault, as verification does: it collects every finding, and the worst tier wins.
"""

from attestd.policy.appraisal import AppraisalPolicy, appraise, appraise_gpus
from attestd.policy.checks import Check, Facts, KeyFacts
from attestd.policy.lint import lint
from attestd.policy.rules import Image

__all__ = ["AppraisalPolicy", "Check", "Facts", "Image", "KeyFacts", "appraise", "appraise_gpus", "lint"]
