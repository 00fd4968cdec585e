"""The simulated baseline, which is accepted with one status, and the whole verification in one call.

Each negative test changes one thing of it, signs that again where a signature lies above it, and names the reason.
"""

from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from attestd.claims import IntelClaims, PckCa
from attestd.simulator import AT, Attester, Framing, Platform, SgxReport, TdReport, TdReport15, Vendor
from attestd.tdx.collateral import Collateral, RawCollateral, authenticate_collateral
from attestd.tdx.pck import PckChain, authenticate_pck_chain
from attestd.tdx.qe import AttestationKey, authenticate_attestation_key
from attestd.tdx.quote import Quote, parse_quote
from attestd.tdx.verify import verify
from attestd.x509 import TrustAnchors

VENDOR: Final = Vendor.of()
ANCHORS: Final = TrustAnchors.load([VENDOR.root.der])
COLLATERAL: Final = VENDOR.collateral()
ATTESTER: Final = Attester.of(VENDOR)
QUOTE: Final = ATTESTER.quote()
# An SGX platform of the older kind, whose PCK the Processor CA issued.
SGX_ATTESTER: Final = Attester.of(VENDOR, Platform(ca=PckCa.PROCESSOR, sgx_type=0))
SGX_QUOTE: Final = SGX_ATTESTER.quote(SgxReport())
SGX_COLLATERAL: Final = VENDOR.collateral("sgx", PckCa.PROCESSOR)
# Somebody with the same names and other keys.
MALLORY: Final = Vendor.of("mallory")


def quote(body: TdReport | SgxReport | None = None, /, **framing: Any) -> bytes:
    """Return the baseline quote with another body or framing, signed as such."""
    return ATTESTER.quote(body or TdReport(), Framing(**framing))


def quote_15(**fields: Any) -> bytes:
    """Return a quote over a TD 1.5 report."""
    return ATTESTER.quote(TdReport15(**fields))


@lru_cache(maxsize=32)
def pck_chain(pem: bytes, anchors: TrustAnchors, at: datetime) -> PckChain:
    """Authenticate a chain; only successes are kept, as in a service's cache."""
    return authenticate_pck_chain(pem, anchors, at)


@lru_cache(maxsize=32)
def collateral_of(raw: RawCollateral, anchors: TrustAnchors, at: datetime) -> Collateral:
    """Authenticate collateral; only successes are kept."""
    return authenticate_collateral(raw, anchors, at)


def authenticated(raw: bytes, anchors: TrustAnchors = ANCHORS, at: datetime = AT) -> tuple[Quote, AttestationKey]:
    """Parse a quote and authenticate what does not rest on collateral."""
    parsed = parse_quote(raw)
    return parsed, authenticate_attestation_key(parsed, pck_chain(parsed.pck_chain, anchors, at))


def verified(
    raw: bytes = QUOTE, collateral: RawCollateral = COLLATERAL, *, anchors: TrustAnchors = ANCHORS, at: datetime = AT
) -> IntelClaims:
    """Verify a quote from its bytes to its claims."""
    parsed, key = authenticated(raw, anchors, at)
    return verify(parsed, key, collateral_of(collateral, anchors, at), at)
