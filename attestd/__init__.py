"""attestd verifies confidential computing evidence and registers the keys that it proves.

Bytes come in at the top; a pure verifier in the middle says what is true of them; a registrar writes that down.

    cli, api                              command line and REST
    registrar                             the only place where I/O meets the core
    registry, endorsements                what was recorded; where the vendors' collateral comes from
    settings, metrics                     read once; declared once
    verifier → policy → tdx → binding     the core, pure: bytes and a time in, claims and findings out
    x509, evidence, claims, result        what the core speaks of
    codec, signature, errors              how it reads, and how it refuses
    simulator                             a vendor and an attester of test keys, for the demo and the tests
"""

from typing import Final

__version__: Final = "0.1.0"
