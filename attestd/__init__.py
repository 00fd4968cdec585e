"""attestd verifies confidential computing evidence and registers the keys that it proves, where anyone can check them.

Bytes come in at the top; a pure verifier in the middle says what is true of them; a registrar writes that down, and a
publisher puts its fingerprint on chain.

    cli, api                              command line and REST
    registrar                             the only place where I/O meets the core; the publisher, the co-signer
    registry, endorsements, chain         what was recorded; the vendors' collateral; the contract on TON, its readers
    settings, metrics, peer               read once; declared once; what another service answers
    verifier → policy → tdx, snp, nvgpu → binding
                                          the core, pure: bytes and a time in, claims and findings out
    x509, evidence, claims, result        what the core speaks of
    transparency → tvm                    the log, the map and checkpoints, as anyone checks them; TON's cells
    codec, signature, validity, errors    how it reads, and how it refuses
    simulator                             vendors and attesters of test keys, for the demo and the tests
"""

from typing import Final

__version__: Final = "0.1.0"
