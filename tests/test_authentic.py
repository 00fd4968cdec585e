"""What is kept of certificates between requests: as good as what is held now, whatever was held then."""

from dataclasses import replace
from datetime import timedelta

from attestd.evidence import SnpEvidence
from attestd.registrar.authentic import Authenticator
from attestd.simulator import AT, AmdVendor, SnpAttester
from attestd.snp.attestation import Certificates, SnpAttestation, parse_attestation
from attestd.snp.collateral import SnpEndorsements, collect
from attestd.x509 import TrustAnchors

VENDOR = AmdVendor.of()
# The same key certified again.
REISSUED = VENDOR.reissue(
    "ask", lambda form: replace(form, serial_number=0x20003, not_after=form.not_after - timedelta(days=1))
)
ANCHORS = TrustAnchors.load([VENDOR.ark.der])
ATTESTER = SnpAttester.of(VENDOR)


def held(*documents: bytes) -> SnpEndorsements:
    return collect({str(index): raw for index, raw in enumerate(documents)}, ANCHORS, AT).endorsements


def attestation(**came: bytes) -> SnpAttestation:
    parsed = parse_attestation(SnpEvidence(report=ATTESTER.report()))
    return parsed._replace(certificates=Certificates(**came))


def test_issuer_that_is_held_is_the_one_of_now() -> None:
    """Where the ASK did not come along: one that was revoked since does not stay because it was there first."""
    authenticator = Authenticator(ANCHORS)
    before, after = held(VENDOR.ask.der), held(VENDOR.ask.der, REISSUED.ask.der, VENDOR.crl([0x20002]))
    bare = attestation(vek=ATTESTER.vek.der)
    assert VENDOR.ask.serial_number == 0x20002
    for endorsements, issuer in ((before, VENDOR.ask), (after, REISSUED.ask), (before, VENDOR.ask)):
        subject = authenticator.amd(bare, endorsements, AT, crl_required=False)
        assert subject.vek.issuer.der == issuer.der


def test_issuer_that_came_along_stays() -> None:
    authenticator = Authenticator(ANCHORS)
    complete = attestation(vek=ATTESTER.vek.der, ask=VENDOR.ask.der)
    subjects = [authenticator.amd(complete, one, AT, crl_required=False) for one in (held(), held(REISSUED.ask.der))]
    assert subjects[0].vek is subjects[1].vek
