"""What ties a key, a challenge and models to a report: transcripts, keys, the RA-TLS certificate, and the verification.

transcript.py   what an attester computes; the page to follow in another language
keys.py         which enclave keys are acceptable, and proof of possession
ra_tls.py       Cocoon's certificate
verify.py       verify_binding, the only maker of `Bound`
"""

from attestd.binding.verify import PUBLISHED_NONCES, BindingGrade, Bound, quote_of, verify_binding

__all__ = ["PUBLISHED_NONCES", "BindingGrade", "Bound", "quote_of", "verify_binding"]
