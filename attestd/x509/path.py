"""Certificate paths: from a certificate to a pinned root, at a given time (RFC 5280, section 6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from OpenSSL import crypto

from attestd.errors import NotAuthentic, Reason
from attestd.validity import Validity
from attestd.x509.anchors import TrustAnchors
from attestd.x509.certificate import Certificate
from attestd.x509.profile import Profile

_CERT_NOT_YET_VALID: Final = 9  # X509_V_ERR_CERT_NOT_YET_VALID
_CERT_HAS_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_NAME_CONSTRAINTS: Final = "2.5.29.30"


@dataclass(frozen=True, slots=True, kw_only=True)
class PathReasons:
    """How the caller's refusals are named."""

    chain: Reason
    untrusted_root: Reason
    expired: Reason
    not_yet_valid: Reason
    kind: type[NotAuthentic]

    def require_current(self, validity: Validity, at: datetime) -> None:
        """Raise `kind` where `at` lies outside of the window of a chain that was verified at another time."""
        if not validity.not_before <= at <= validity.not_after:
            raise self.kind(
                self.expired if at > validity.not_after else self.not_yet_valid,
                found=f"a chain valid from {validity.not_before:%Y-%m-%d} to {validity.not_after:%Y-%m-%d}",
                wanted=f"one valid at {at:%Y-%m-%dT%H:%M:%SZ}",
            )


def verify_path(
    chain: Sequence[Certificate],
    anchors: TrustAnchors,
    at: datetime,
    reasons: PathReasons,
    profile: Profile,
    *,
    ca: bool = False,
    known: Sequence[Certificate] = (),
) -> Certificate:
    """Verify `chain` (target first; a root may close it) to a pinned root of `profile` at `at`; return that root.

    `ca` says whether the target must be a CA (the issuer of a CRL) or must not be one (everything else).

    `known` are the issuers of another target, up to the pinned root, that were verified with it at whatever time. Where
    they are this one's, too, their signatures are not verified again: what a CA says of a key holds for all that the
    key signs. Where one is outside of its window, or constrains names, the whole path is verified.

    Raises `reasons.kind`, or `Malformed` where a certificate says what the profile has no form for.
    """
    for certificate in chain:
        profile.require_serial_number(certificate)
    path, root = _anchored(chain, anchors, reasons, profile)
    if path[0].is_ca is not ca:
        raise reasons.kind(
            reasons.chain,
            found="a CA certificate" if path[0].is_ca else "an end-entity certificate",
            wanted="a CA certificate" if ca else "an end-entity certificate",
        )
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.X509_STRICT if profile.strict else 0)
    top = root
    if _are_issuers(known, path, root, at):
        top, path = path[1], path[:1]
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    store.add_cert(top.openssl)
    store.set_time(aware(at))
    context = crypto.X509StoreContext(store, path[0].openssl, [certificate.openssl for certificate in path[1:]])
    try:
        verified = context.get_verified_chain()
    except crypto.X509StoreContextError as error:
        raise _path_refusal(error, chain, at, reasons) from None
    # OpenSSL takes what it needs in any order. Here the second certificate is the issuer of the first, by whose CRL it
    # is judged, so the path that OpenSSL has found must be the very chain that came.
    if [crypto.dump_certificate(crypto.FILETYPE_ASN1, used) for used in verified[:-1]] != [one.der for one in path]:
        raise reasons.kind(
            reasons.chain, found="certificates beside the path or in another order", wanted="each issued by the next"
        )
    _require_profile((*path, top), profile, reasons)
    return root


def _are_issuers(known: Sequence[Certificate], path: Sequence[Certificate], root: Certificate, at: datetime) -> bool:
    """Whether what was verified before is all that is above the target, and bounds nothing but the CAs themselves.

    A path length does no more than that. Names would have to be compared with those of each target.
    """
    return (
        len(path) > 1
        and tuple(known) == (*path[1:], root)
        and all(issuer.extension_bytes(_NAME_CONSTRAINTS) is None for issuer in known)
        and all(issuer.validity.not_before <= at <= issuer.validity.not_after for issuer in known)
    )


def _anchored(
    chain: Sequence[Certificate], anchors: TrustAnchors, reasons: PathReasons, profile: Profile
) -> tuple[Sequence[Certificate], Certificate]:
    """Split the chain into what leads to a root and the pinned root, to which alone the path is then built.

    A root that came along leads nowhere by itself, but must be the pinned one: a forged root is not passed over.
    """
    last = chain[-1]
    root, path = anchors.named(last.issuer), chain
    if last.subject == last.issuer:
        path = chain[:-1]
        if root is not None and last != root and not _is_signed_again(last, root, profile):
            root = None
    if root is None or not profile.has_issued(root):
        raise reasons.kind(
            reasons.untrusted_root, found="another root or none", wanted="the pinned root certificate, byte for byte"
        )
    if not path:
        raise reasons.kind(reasons.chain, found="a root alone", wanted="a chain below the root")
    return path, root


def _is_signed_again(last: Certificate, root: Certificate, profile: Profile) -> bool:
    """Whether `last` is the very statement of `root`, signed once more with the same key.

    Signatures are random, so a vendor that signs its root anew gets other bytes that say the same.
    """
    return last.signed == root.signed and profile.has_signed(root, last.signature, last.signed)


def _require_profile(path: Sequence[Certificate], profile: Profile, reasons: PathReasons) -> None:
    """Close what OpenSSL leaves open: it compares names after folding them, and takes algorithms and keys of any kind.

    Where it is not strict it also takes an issuer that does not say that it is one.
    """
    for certificate, issuer in pairwise(path):
        if certificate.issuer != issuer.subject or not profile.has_issued(certificate):
            raise reasons.kind(
                reasons.chain,
                found=f"{certificate.common_name!r} with another name of its issuer, or another algorithm",
                wanted=f"one issued by {issuer.common_name!r} with the vendor's algorithm",
            )
        if not profile.has_authorized(issuer):
            raise reasons.kind(
                reasons.chain,
                found=f"{issuer.common_name!r} with a key or usage of another kind",
                wanted="a CA that may sign certificates, with a key of the vendor's kind",
            )


def _path_refusal(
    error: crypto.X509StoreContextError, chain: Sequence[Certificate], at: datetime, reasons: PathReasons
) -> NotAuthentic:
    code, depth, prose = error.errors[:3]
    if code in (_CERT_HAS_EXPIRED, _CERT_NOT_YET_VALID):
        window = chain[min(depth, len(chain) - 1)].validity
        return reasons.kind(
            reasons.expired if code == _CERT_HAS_EXPIRED else reasons.not_yet_valid,
            found=f"certificate {depth} valid from {window.not_before:%Y-%m-%d} to {window.not_after:%Y-%m-%d}",
            wanted=f"one valid at {at:%Y-%m-%dT%H:%M:%SZ}",
        )
    return reasons.kind(
        reasons.chain, found=f"OpenSSL error {code} at certificate {depth}: {prose}", wanted="a path that verifies"
    )


def aware(at: datetime) -> datetime:
    """Return `at` in UTC. A naive datetime is a programming error: OpenSSL would take it for UTC in silence."""
    if at.tzinfo is None:
        raise TypeError("a time without a zone")
    return at.astimezone(UTC)
