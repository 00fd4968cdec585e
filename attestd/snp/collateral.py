"""What AMD says of its keys: which certificates and revocation lists there are to verify reports with.

AMD's key distribution service (KDS) gives out, for each product line, the ASK (it issues VCEKs) and the ASVK (VLEKs)
with the ARK above them, a CRL that the ARK signs, and a VCEK for each chip and TCB. Source: AMD 57230; snp.md, 2.5.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from attestd.claims import VekClaims
from attestd.codec import load_pem
from attestd.errors import AttestdError, EndorsementRejected, Malformed, NotAuthentic, Reason, Unavailable
from attestd.signature import verify_p384
from attestd.snp.attestation import SnpAttestation
from attestd.snp.report import Report, tcb_version
from attestd.snp.vek import (
    Vek,
    authenticate_ark_crl_of_any_time,
    authenticate_crl_of_any,
    authenticate_vek,
    authenticate_vek_issuer,
    is_vek,
)
from attestd.x509 import AMD, Certificate, RevocationList, TrustAnchors, require_window

CHIP_ID_SIZE: Final = 64
# Each takes some 10 KiB of memory, and half a millisecond to authenticate.
MOST_VEKS: Final = 8192

_NO_CHIP: Final = b""
_PEM_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
# How a TBSCertificate of version 3 begins (RFC 5280, 4.1); the version of a TBSCertList has no tag of its own (5.1).
_VERSION_3: Final = b"\xa0\x03\x02\x01\x02"


class HeldVek(NamedTuple):
    """A VCEK or VLEK that was authenticated when it was taken in, and its DER."""

    vek: Vek
    der: bytes


@dataclass(frozen=True, slots=True)
class SnpEndorsements:
    """All that is held at one moment; replaced as a whole. What is in it was authenticated when it was taken in."""

    # ASKs and ASVKs by the name they issue under: AMD has given a new one the name of the one before it. Those that are
    # not revoked come first, and of these the ones that last longest.
    issuers: Mapping[bytes, tuple[Certificate, ...]] = field(default_factory=dict)
    # VCEKs by the chip's id, and under an empty one all VLEKs; the ones that last longest first.
    veks: Mapping[bytes, tuple[HeldVek, ...]] = field(default_factory=dict)
    crls: Mapping[Certificate, RevocationList] = field(default_factory=dict)  # by ARK, the newest; expired, too
    rolled_back: frozenset[Certificate] = frozenset()  # ARKs of which a newer CRL was seen than is held

    def chain(self, attestation: SnpAttestation, anchors: TrustAnchors) -> tuple[bytes, bytes]:
        """Return the VCEK or VLEK of a report, and who issued it, in DER: what came along, or else what is held.

        Raises `Unavailable` (`snp.endorsements_missing`), `Malformed` (`der.malformed`), and `NotAuthentic`
        (`snp.untrusted_root`) for an ARK that is none: it is not needed, and not passed over.
        """
        came = attestation.certificates
        if came.ark is not None and came.ark not in (root.der for root in anchors.roots):
            raise NotAuthentic(Reason.SNP_UNTRUSTED_ROOT, found="another ARK", wanted="the pinned ARK, byte for byte")
        if came.vek is None:
            held = self._fitting(attestation.report)
            return held.der, came.ask or held.vek.issuer.der
        if came.ask is not None:
            return came.vek, came.ask
        issuer = _issuer_of(Certificate(came.vek), self.issuers, anchors)
        if issuer is None:
            raise Unavailable(
                Reason.SNP_ENDORSEMENTS_MISSING,
                found=f"ASKs and ASVKs of {len(self.issuers)} names, not of the one that the certificate names",
                wanted="the ASK or ASVK, in the evidence or among the endorsements",
            )
        return came.vek, issuer.der

    def _fitting(self, report: Report) -> HeldVek:
        kind = report.body.signing_key
        known = self.veks.get(report.body.chip_id if kind == "vcek" else _NO_CHIP, ())
        fitting = [held for held in known if _fits(report, held.vek.claims)]
        if not fitting:
            raise Unavailable(
                Reason.SNP_ENDORSEMENTS_MISSING,
                found=f"{len(known)} {kind.upper()}s that may have signed, none for the reported TCB",
                wanted=f"the {kind.upper()} in the evidence, or among the endorsements",
            )
        if len(fitting) == 1:
            return fitting[0]
        # VLEKs name no chip: those of several clouds, or of two years, differ in nothing that the report says.
        return next((held for held in fitting if _has_signed(held.vek, report)), fitting[0])

    def crl(
        self, attestation: SnpAttestation, vek: Vek, at: datetime, *, required: bool = False
    ) -> RevocationList | None:
        """Return the newest CRL of the product line, of those held and the one that came along; None where none is.

        One that is held may have expired since: it is no use then, but neither is it forgotten.

        Raises `NotAuthentic` (`snp.crl_…`) for one that came along and is not authentic, `EndorsementRejected`
        (`snp.crl_rollback`), and where there must be one `Unavailable` (`snp.endorsements_missing`): what is missing
        may come later.
        """
        held, came = self.crls.get(vek.root), attestation.certificates.crl
        newest = held if came is None else _with(came, held, vek.root, at)
        if vek.root in self.rolled_back and held is not None and newest is not None and newest.digest == held.digest:
            raise EndorsementRejected(
                Reason.SNP_CRL_ROLLBACK, found="a CRL that is older than one that was seen", wanted="the newest"
            )
        if newest is None and required:
            raise Unavailable(
                Reason.SNP_ENDORSEMENTS_MISSING,
                found=f"{len(self.crls)} CRLs, none of {vek.root.common_name}",
                wanted=f"the CRL of {vek.root.common_name}, which the policy requires",
            )
        return newest


def _issuer_of(
    leaf: Certificate, issuers: Mapping[bytes, tuple[Certificate, ...]], anchors: TrustAnchors
) -> Certificate | None:
    """Return the issuer that a VCEK or VLEK names: of several of that name the first that has signed it, if one has.

    A root issues none; one that is named is returned all the same, so that the chain is refused for it.
    """
    known = issuers.get(leaf.issuer, ())
    signed = (ask for ask in known if len(known) > 1 and AMD.has_signed(ask, leaf.signature, leaf.signed))
    return next(signed, known[0] if known else anchors.named(leaf.issuer))


def _fits(report: Report, claims: VekClaims) -> bool:
    """Whether the certificate is for the processor, where the report tells it, and for the reported TCB."""
    line = claims.product_line
    if report.product_line not in (line, None):
        return False
    try:
        return tcb_version(report.reported_tcb, line) == claims.tcb
    except Malformed:  # version 2 does not tell the processor, and this is no TCB version of the line
        return False


def _has_signed(vek: Vek, report: Report) -> bool:
    try:
        verify_p384(vek.public_key, report.signature, report.signed, Reason.SNP_REPORT_SIGNATURE)
    except NotAuthentic:
        return False
    return True


def _with(raw: bytes, held: RevocationList | None, root: Certificate, at: datetime) -> RevocationList:
    """Verify a CRL that came with the evidence, and join it with the one that is held.

    It is as bad as what is in it: no retry will mend it. An older one may have expired: it stays in a host's table, and
    in evidence that is kept, after its successor is known here.
    """
    try:
        theirs = authenticate_ark_crl_of_any_time(raw, root)
        if held is None or _newness(theirs) > _newness(held):
            require_window(theirs.validity, at, Reason.SNP_CRL_EXPIRED, Reason.SNP_CRL_NOT_YET_VALID)
    except EndorsementRejected as error:
        raise NotAuthentic(error.reason, found=error.found, wanted=error.wanted) from None
    return theirs if held is None else _merged(theirs, held)


def _merged(one: RevocationList, other: RevocationList) -> RevocationList:
    """Return the newer one, with all that either revokes.

    An ARK's lists are given out at two addresses, one for VCEKs and one for VLEKs; nothing in them tells them apart,
    and what stands in the older alone is revoked none the less.
    """
    older, newer = sorted((one, other), key=_newness)
    return newer.with_revoked_of(older)


def _newness(crl: RevocationList) -> tuple[int, datetime]:
    return crl.number, crl.validity.not_before


def chip_key(hwid: bytes) -> bytes:
    """Return a HWID as reports have it: of Turin 8 bytes, filled up with zeros."""
    return hwid.ljust(CHIP_ID_SIZE, b"\0")


class Document(NamedTuple):
    """One authentic document: where it was found, its bytes, what it is, and the pinned ARK above it."""

    name: str
    raw: bytes  # a certificate in DER, a CRL as it came
    content: Certificate | Vek | RevocationList  # ASK or ASVK; VCEK or VLEK; CRL
    root: Certificate


class Refusal(NamedTuple):
    """A document that is not taken in."""

    name: str
    error: AttestdError


class Collected(NamedTuple):
    """What came of documents that were looked at."""

    endorsements: SnpEndorsements
    documents: tuple[Document, ...]
    refusals: tuple[Refusal, ...]


def collect(
    documents: Mapping[str, bytes], anchors: TrustAnchors, at: datetime, known: SnpEndorsements | None = None
) -> Collected:
    """Authenticate whatever documents there are; their names only tell a person which is which.

    Each is a certificate, a chain of them in PEM as the KDS gives it out, or a CRL. What is not authentic at the time
    `at` is refused by itself; a VCEK or VLEK counts only where its ASK or ASVK is held as well. What is `known` already
    is held on to: certificates until they expire, and a CRL until there is a newer one.
    """
    pile = _Pile(known or SnpEndorsements(), anchors, at)
    for name, raw in documents.items():
        pile.take(name, raw)
    return pile.collected()


class _Pile:
    """Documents on their way to become `SnpEndorsements`."""

    def __init__(self, known: SnpEndorsements, anchors: TrustAnchors, at: datetime) -> None:
        self._anchors = anchors
        self._at = at
        # Each certificate once, in the order in which they were found.
        self._issuers: dict[bytes, dict[Certificate, None]] = {}
        self._veks: dict[bytes, Vek] = {}  # by DER
        self._crls = dict(known.crls)
        self._leaves: list[tuple[str, Certificate]] = []
        self._documents: list[Document] = []
        self._refusals: list[Refusal] = []
        for issuer in (one for of_name in known.issuers.values() for one in of_name):
            if issuer.validity.not_after >= at:
                self._issuers.setdefault(issuer.subject, {})[issuer] = None
        for held in (one for of_chip in known.veks.values() for one in of_chip):
            if held.vek.validity.not_after >= at:
                self._veks[held.der] = held.vek

    def take(self, name: str, raw: bytes) -> None:
        try:
            if _is_certificate(raw):
                for der in load_pem(raw) if raw.startswith(_PEM_CERTIFICATE) else (raw,):
                    self._take_certificate(name, Certificate(der))
            else:
                self._take_crl(name, raw)
        except AttestdError as error:
            self._refusals.append(Refusal(name, error))

    def _take_crl(self, name: str, raw: bytes) -> None:
        root, crl = authenticate_crl_of_any(raw, self._anchors, self._at)
        held = self._crls.get(root)
        self._crls[root] = crl if held is None else _merged(crl, held)
        self._documents.append(Document(name, raw, crl, root))

    def _take_certificate(self, name: str, certificate: Certificate) -> None:
        if is_vek(certificate):
            self._leaves.append((name, certificate))  # its issuer may be found later
        elif certificate not in self._anchors.roots:  # a pinned root says nothing new
            root = authenticate_vek_issuer(certificate, self._anchors, self._at)
            self._issuers.setdefault(certificate.subject, {})[certificate] = None
            self._documents.append(Document(name, certificate.der, certificate, root))

    def collected(self) -> Collected:
        issuers = {name: self._in_order(certificates) for name, certificates in self._issuers.items()}
        for name, leaf in self._leaves:
            try:
                vek = self._veks.get(leaf.der)
                if vek is None or self._is_revoked(vek.issuer):  # its key may have been certified again
                    vek = self._veks[leaf.der] = self._authenticate(leaf, issuers)
            except AttestdError as error:
                self._refusals.append(Refusal(name, error))
            else:
                self._documents.append(Document(name, leaf.der, vek, vek.root))
        held = SnpEndorsements(issuers, _by_chip(self._veks.items()), self._crls)
        return Collected(held, tuple(self._documents), tuple(self._refusals))

    def _in_order(self, issuers: Iterable[Certificate]) -> tuple[Certificate, ...]:
        lasting = sorted(issuers, key=lambda issuer: issuer.validity.not_after, reverse=True)
        return tuple(sorted(lasting, key=self._is_revoked))

    def _is_revoked(self, issuer: Certificate) -> bool:
        root = self._anchors.named(issuer.issuer)
        crl = None if root is None else self._crls.get(root)
        return crl is not None and issuer.serial_number in crl.revoked

    def _authenticate(self, leaf: Certificate, issuers: Mapping[bytes, tuple[Certificate, ...]]) -> Vek:
        if len(self._veks) >= MOST_VEKS and leaf.der not in self._veks:
            raise Malformed(
                Reason.ENDORSEMENTS_FILE, found=f"more than {MOST_VEKS} VCEKs", wanted=f"at most {MOST_VEKS}"
            )
        issuer = _issuer_of(leaf, issuers, self._anchors)
        if issuer is None:
            raise Unavailable(
                Reason.SNP_ENDORSEMENTS_MISSING,
                found="a VCEK or VLEK without its issuer",
                wanted="the ASK or ASVK that it names beside it",
            )
        return authenticate_vek(leaf.der, issuer.der, self._anchors, self._at)


def _by_chip(veks: Iterable[tuple[bytes, Vek]]) -> dict[bytes, tuple[HeldVek, ...]]:
    found: dict[bytes, list[HeldVek]] = {}
    for der, vek in sorted(veks, key=lambda known: known[1].validity.not_after, reverse=True):
        hwid = vek.claims.hwid
        found.setdefault(_NO_CHIP if hwid is None else chip_key(hwid), []).append(HeldVek(vek, der))
    return {chip: tuple(held) for chip, held in found.items()}


def _is_certificate(raw: bytes) -> bool:
    """Tell certificates from a CRL by how they begin, so that either is refused as what it is meant for."""
    return raw.startswith(_PEM_CERTIFICATE) or _VERSION_3 in raw[:16]
