"""The CA of a PCK chain that has been authenticated issues the PCK CRL as well, and is not verified once more."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

import attestd.tdx.collateral
from attestd.errors import NotAuthentic, Reason
from attestd.simulator import AT, Attester, Vendor, basic_constraints, p256_key, pem
from attestd.simulator.certificates import authority_key_identifier
from attestd.simulator.tampering import Signing
from attestd.tdx.collateral import authenticate_collateral
from attestd.tdx.pck import PckChain, authenticate_pck_chain
from attestd.x509 import INTEL, Certificate, PathReasons, TrustAnchors, verify_path
from tests.refusals import rejected

VENDOR = Vendor.of()
ANCHORS = TrustAnchors.load([VENDOR.root.der])
COLLATERAL = VENDOR.collateral()
CHAIN = Attester.of(VENDOR).pck_chain
SECOND = timedelta(seconds=1)


def chain_of(vendor: Vendor, anchors: TrustAnchors = ANCHORS, at: datetime = AT, **attester: Any) -> PckChain:
    return authenticate_pck_chain(pem(*Attester.of(vendor, **attester).pck_chain), anchors, at)


PCK = chain_of(VENDOR)


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> list[Certificate]:
    """Return the certificates of whose paths the collateral is made."""
    verified: list[Certificate] = []

    def listening(chain: Any, *arguments: Any, **named: Any) -> Certificate:
        verified.append(chain[0])
        return verify_path(chain, *arguments, **named)

    monkeypatch.setattr(attestd.tdx.collateral, "verify_path", listening)
    return verified


def test_issuer_is_verified_once(targets: list[Certificate]) -> None:
    plain = authenticate_collateral(COLLATERAL, ANCHORS, AT)
    assert [target.der for target in targets] == [VENDOR.tcb_signing.der, VENDOR.platform_ca.der]
    targets.clear()
    assert authenticate_collateral(COLLATERAL, ANCHORS, AT, PCK) == plain
    assert [target.der for target in targets] == [VENDOR.tcb_signing.der]


def test_root_may_be_left_out(targets: list[Certificate]) -> None:
    short = replace(COLLATERAL, pck_crl_issuer_chain=pem(VENDOR.platform_ca.der))
    assert authenticate_collateral(short, ANCHORS, AT, PCK).pck_ca == PCK.claims.pck_ca
    assert len(targets) == 1


def test_another_ca_is_verified(targets: list[Certificate]) -> None:
    renewed = VENDOR.reissue("platform_ca", lambda form: replace(form, serial_number=5))
    authenticate_collateral(renewed.collateral(), ANCHORS, AT, PCK)
    assert len(targets) == 2
    forged = VENDOR.reissue("platform_ca", signing=Signing(key=p256_key("mallory", "root")))
    with rejected(Reason.TDX_PCK_CRL_CHAIN):
        authenticate_collateral(forged.collateral(), ANCHORS, AT, PCK)


def test_more_than_the_issuer_and_its_root() -> None:
    for others in (
        (VENDOR.platform_ca.der, VENDOR.platform_ca.der),
        (VENDOR.platform_ca.der, VENDOR.processor_ca.der),
        (VENDOR.platform_ca.der, VENDOR.root.der, VENDOR.root.der),
    ):
        with rejected(Reason.TDX_PCK_CRL_CHAIN):
            authenticate_collateral(replace(COLLATERAL, pck_crl_issuer_chain=pem(*others)), ANCHORS, AT, PCK)


def test_chain_below_another_root() -> None:
    mallory = Vendor.of("mallory").reissue(
        "root", lambda form: replace(form, subject=VENDOR.root.form.subject, issuer=VENDOR.root.form.subject)
    )
    theirs = chain_of(mallory, TrustAnchors.load([mallory.root.der]))
    with rejected(Reason.TDX_PCK_CRL_CHAIN):
        authenticate_collateral(
            replace(COLLATERAL, pck_crl_issuer_chain=pem(mallory.platform_ca.der)), ANCHORS, AT, theirs
        )


def test_chain_of_another_time(targets: list[Certificate]) -> None:
    early = chain_of(VENDOR, edit=lambda form: replace(form, not_after=AT))
    authenticate_collateral(COLLATERAL, ANCHORS, AT, early)
    assert len(targets) == 1
    authenticate_collateral(COLLATERAL, ANCHORS, AT + SECOND, early)
    assert len(targets) == 3
    brief = VENDOR.reissue("platform_ca", lambda form: replace(form, not_after=AT))
    known = chain_of(brief)
    assert authenticate_collateral(brief.collateral(), ANCHORS, AT, known).root == known.root
    with rejected(Reason.TDX_PCK_CRL_CHAIN):
        authenticate_collateral(brief.collateral(), ANCHORS, AT + SECOND, known)


@pytest.mark.parametrize(
    "pck",
    [
        replace(PCK, root=PCK.issuer),
        replace(PCK, issuer=Certificate(CHAIN[0])),
        replace(PCK, validity=PCK.validity._replace(not_after=AT - SECOND)),
        replace(PCK, validity=PCK.validity._replace(not_before=AT + SECOND)),
    ],
    ids=["root", "issuer", "ended", "not begun"],
)
def test_what_a_chain_does_not_vouch_for(pck: PckChain) -> None:
    assert PCK.vouches_for([PCK.issuer.der], PCK.root, AT)
    assert not pck.vouches_for([PCK.issuer.der], PCK.root, AT)


def test_issuer_below_an_intermediate() -> None:
    """A path it is, but nobody would look up whether the CA in between is revoked."""
    vendor = VENDOR.reissue("processor_ca", lambda form: form.having(basic_constraints(ca=True, path_length=1)))
    between = vendor.processor_ca
    vendor = vendor.reissue(
        "platform_ca",
        lambda form: replace(form, issuer=between.form.subject).having(authority_key_identifier(between.key)),
        signing=Signing(key=between.key),
    )
    ders = (vendor.platform_ca.der, between.der, vendor.root.der)
    reasons = PathReasons(
        chain=Reason.TDX_PCK_CHAIN,
        untrusted_root=Reason.TDX_UNTRUSTED_ROOT,
        expired=Reason.TDX_PCK_EXPIRED,
        not_yet_valid=Reason.TDX_PCK_NOT_YET_VALID,
        kind=NotAuthentic,
    )
    assert verify_path(ANCHORS.parse(ders), ANCHORS, AT, reasons, INTEL, ca=True) == ANCHORS.roots[0]
    with rejected(Reason.TDX_PCK_CRL_CHAIN):
        authenticate_collateral(replace(vendor.collateral(), pck_crl_issuer_chain=pem(*ders)), ANCHORS, AT)


def test_issuer_below_an_intermediate_is_not_vouched_for() -> None:
    between = replace(PCK, issuer=Certificate(CHAIN[0]))
    assert not between.vouches_for([between.issuer.der], between.root, AT)
