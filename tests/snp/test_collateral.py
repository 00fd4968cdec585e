"""Which of AMD's certificates and CRLs are taken in, and which of them a report is verified with (S23 to S25)."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from attestd.claims import ProductLine
from attestd.codec import load_pem
from attestd.errors import AttestdError, NotAuthentic, Reason, Unavailable
from attestd.evidence import SnpEvidence
from attestd.simulator import (
    AT,
    BERGAMO,
    CHIPS,
    GENOA,
    AmdVendor,
    Chip,
    CrlForm,
    Signing,
    SnpAttester,
    SnpReport,
    Vendor,
    flip,
    p384_key,
    pem,
    rsa_key,
)
from attestd.simulator.certificates import CertificateEdit, CertificateForm, same_certificate
from attestd.snp import collateral as module
from attestd.snp.attestation import Certificates, SnpAttestation, parse_attestation
from attestd.snp.collateral import Collected, SnpEndorsements, collect
from attestd.snp.vek import Vek, authenticate_vek
from attestd.x509 import Certificate, TrustAnchors
from tests.evidence import EVIDENCE, SnpCase, snp_cases
from tests.refusals import malformed, not_authentic, refused, rejected

DAY = timedelta(days=1)
VENDORS = {line: AmdVendor.of(line) for line in ProductLine}
VENDOR = VENDORS[ProductLine.GENOA]
# The ASK of another key under the same name, as AMD retired one of Genoa's.
RETIRED = VENDOR.reissue("ask", lambda form: replace(form, serial_number=0x20001), key=rsa_key("mallory", "ask Genoa"))
# The same key certified again, as where the certificate said something wrong, or ends.
REISSUED = VENDOR.reissue("ask", lambda form: replace(form, serial_number=0x20003, not_after=AT + 9 * DAY))
MALLORY = AmdVendor.of(seed="mallory")
ANCHORS = TrustAnchors.load([vendor.ark.der for vendor in VENDORS.values()])
ROOT = {line: Certificate(vendor.ark.der) for line, vendor in VENDORS.items()}
ATTESTER = SnpAttester.of(VENDOR)
VCEK = ATTESTER.vek.der
CLOUD = replace(GENOA, kind="vlek")
BY_ROOT = SnpAttester.of(
    VENDOR, edit=lambda form: replace(form, issuer=VENDOR.ark.form.subject), signing=Signing(key=VENDOR.ark.key)
)


def crl(number: int = 4, vendor: AmdVendor = VENDOR, **changes: datetime) -> bytes:
    def edit(form: CrlForm) -> CrlForm:
        return replace(form, **changes).numbered(number)  # type: ignore[arg-type]

    return vendor.crl(edit=edit)


def collected(*documents: bytes, at: datetime = AT, known: SnpEndorsements | None = None) -> Collected:
    return collect({f"{index}": raw for index, raw in enumerate(documents)}, ANCHORS, at, known)


def held(*documents: bytes, at: datetime = AT, known: SnpEndorsements | None = None) -> SnpEndorsements:
    """Return what is made of documents of which none is refused."""
    found = collected(*documents, at=at, known=known)
    assert found.refusals == ()
    return found.endorsements


def reasons(found: Collected) -> list[tuple[str, Reason]]:
    return [(name, error.reason) for name, error in found.refusals]


def attestation(
    attester: SnpAttester = ATTESTER, body: SnpReport | None = None, **came: bytes | None
) -> SnpAttestation:
    parsed = parse_attestation(SnpEvidence(report=attester.report(body or SnpReport())))
    return parsed._replace(certificates=Certificates(**came))


def missing() -> AbstractContextManager[None]:
    return refused(Unavailable, Reason.SNP_ENDORSEMENTS_MISSING)


def of_chip(chip: Chip, edit: CertificateEdit = same_certificate) -> SnpAttester:
    return SnpAttester.of(VENDORS[chip.line], chip, edit)


# ---------------------------------------------------------------------------------------------------------------------
# What is taken in


def test_each_kind_of_document() -> None:
    vlek = of_chip(CLOUD).vek.der
    found = collected(VCEK, vlek, VENDOR.ask.der, VENDOR.asvk.der, VENDOR.ark.der, crl())
    assert found.refusals == ()
    endorsements = found.endorsements
    assert {one.common_name for of_name in endorsements.issuers.values() for one in of_name} == {
        "SEV-Genoa",
        "SEV-VLEK-Genoa",
    }
    assert set(endorsements.veks) == {GENOA.hwid, b""}
    assert [(one.der, one.vek.claims.kind) for of_chip in endorsements.veks.values() for one in of_chip] == [
        (VCEK, "vcek"),
        (vlek, "vlek"),
    ]
    assert [(root, one.number, set(one.revoked)) for root, one in endorsements.crls.items()] == [
        (ROOT[ProductLine.GENOA], 4, {0x20001})
    ]
    # The pinned root says nothing new.
    assert [(document.name, document.raw) for document in found.documents] == [
        ("2", VENDOR.ask.der),
        ("3", VENDOR.asvk.der),
        ("5", crl()),
        ("0", VCEK),
        ("1", vlek),
    ]
    assert {document.root for document in found.documents} == {ROOT[ProductLine.GENOA]}


def test_chain_in_pem_as_the_kds_has_it() -> None:
    found = collected(pem(VENDOR.ask.der, VENDOR.ark.der), pem(VCEK))
    assert (found.refusals, [document.name for document in found.documents]) == ((), ["0", "1"])
    assert held(pem(VCEK, VENDOR.ask.der, VENDOR.ark.der)).veks == found.endorsements.veks


@pytest.mark.parametrize("form", [lambda raw: raw, lambda raw: raw.hex().encode()], ids=["DER", "hex"])
def test_crl_in_any_form(form: Callable[[bytes], bytes]) -> None:
    (found,) = held(form(crl())).crls.values()
    assert found.number == 4


def test_turin_has_short_ids() -> None:
    turin = CHIPS[ProductLine.TURIN]
    vendor, attester = VENDORS[ProductLine.TURIN], of_chip(turin)
    endorsements = held(attester.vek.der, vendor.ask.der)
    assert list(endorsements.veks) == [turin.hwid + bytes(56)]
    assert endorsements.chain(attestation(attester), ANCHORS) == (attester.vek.der, vendor.ask.der)


def test_lines_do_not_mix() -> None:
    attesters = [SnpAttester.of(vendor) for vendor in VENDORS.values()]
    documents = [der for attester in attesters for der in attester.chain]
    endorsements = held(*documents, *(vendor.crl() for vendor in VENDORS.values()))
    for attester in attesters:
        report, (vek, ask, _) = attestation(attester), attester.chain
        assert endorsements.chain(report, ANCHORS) == (vek, ask)
        authentic = authenticate_vek(vek, ask, ANCHORS, AT)
        found = endorsements.crl(report, authentic, AT)
        assert found is not None
        assert found.speaks_for(ROOT[attester.chip.line])


# ---------------------------------------------------------------------------------------------------------------------
# What is refused by itself


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (MALLORY.ask.der, Reason.SNP_VEK_CHAIN),
        (MALLORY.ark.der, Reason.SNP_UNTRUSTED_ROOT),
        (Vendor.of().root.der, Reason.SNP_UNTRUSTED_ROOT),
        (flip(len(VENDOR.ask.der) - 1)(VENDOR.ask.der), Reason.SNP_VEK_CHAIN),
        (VENDOR.reissue("ask", lambda form: replace(form, not_after=AT - DAY)).ask.der, Reason.SNP_VEK_EXPIRED),
        (VENDOR.reissue("ask", lambda form: replace(form, not_before=AT + DAY)).ask.der, Reason.SNP_VEK_NOT_YET_VALID),
        (VENDOR.reissue("ask", lambda form: form.without("2.5.29.19")).ask.der, Reason.SNP_VEK_CHAIN),
        (
            VENDOR.reissue(
                "ask", lambda form: replace(form, subject=VENDORS[ProductLine.MILAN].ask.form.subject)
            ).ask.der,
            Reason.SNP_VEK_CHAIN,
        ),
        (VENDOR.ask.der[:-1], Reason.DER_MALFORMED),
        (VENDOR.ask.der + b"\0", Reason.DER_MALFORMED),
        (b"-----BEGIN CERTIFICATE-----\nnonsense", Reason.PEM_MALFORMED),
        (crl(vendor=MALLORY), Reason.SNP_CRL_ISSUER),
        (VENDOR.crl(signing=Signing(key=MALLORY.ark.key)), Reason.SNP_CRL_SIGNATURE),
        (crl(next_update=AT - DAY), Reason.SNP_CRL_EXPIRED),
        (crl(this_update=AT + DAY), Reason.SNP_CRL_NOT_YET_VALID),
        (Vendor.of().root_ca_crl(), Reason.SNP_CRL_ISSUER),
        (crl()[:-1], Reason.SNP_CRL_MALFORMED),
        (b"", Reason.SNP_CRL_MALFORMED),
        (b"hello", Reason.SNP_CRL_MALFORMED),
    ],
)
def test_refusal_of_one_document(raw: bytes, reason: Reason) -> None:
    found = collect({"bad": raw, "ask.pem": pem(VENDOR.ask.der)}, ANCHORS, AT)
    assert reasons(found) == [("bad", reason)]
    assert [of_name[0].der for of_name in found.endorsements.issuers.values()] == [VENDOR.ask.der]
    assert (found.endorsements.veks, found.endorsements.crls) == ({}, {})


def test_root_of_no_product_line_issues_nothing() -> None:
    vendor = VENDOR.reissue(
        "ark", lambda form: replace(form, subject=VENDOR.ask.form.subject, issuer=VENDOR.ask.form.subject)
    )
    below = vendor.reissue("asvk", lambda form: replace(form, issuer=vendor.ark.form.subject))
    revoking = vendor.crl()
    found = collect({"asvk": below.asvk.der, "crl": revoking}, TrustAnchors.load([vendor.ark.der]), AT)
    assert reasons(found) == [("asvk", Reason.SNP_VEK_CHAIN), ("crl", Reason.SNP_CRL_ISSUER)]


def test_leaf_without_its_issuer() -> None:
    for others in ((), (VENDOR.asvk.der, VENDOR.ark.der)):
        assert reasons(collected(VCEK, *others)) == [("0", Reason.SNP_ENDORSEMENTS_MISSING)]


@pytest.mark.parametrize(
    ("attester", "reason"),
    [
        (SnpAttester.of(VENDOR, signing=Signing(key=p384_key("mallory", "x"))), Reason.SNP_VEK_CHAIN),
        (SnpAttester.of(VENDOR, edit=lambda form: replace(form, not_after=AT - DAY)), Reason.SNP_VEK_EXPIRED),
        (SnpAttester.of(VENDOR, edit=lambda form: form.without("1.3.6.1.4.1.3704.1.4")), Reason.SNP_VEK_EXTENSION),
        (BY_ROOT, Reason.SNP_VEK_CHAIN),
    ],
    ids=["forged", "expired", "without HWID", "by the root"],
)
def test_leaf_that_is_not_authentic(attester: SnpAttester, reason: Reason) -> None:
    found = collected(VENDOR.ask.der, attester.vek.der)
    assert (reasons(found), found.endorsements.veks) == ([("1", reason)], {})


def test_number_of_leaves_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_VEKS", 1)
    other = of_chip(BERGAMO).vek.der
    found = collected(VENDOR.ask.der, VCEK, VCEK, other)
    assert reasons(found) == [("3", Reason.ENDORSEMENTS_FILE)]
    assert list(found.endorsements.veks) == [GENOA.hwid]
    assert reasons(collected(other, VCEK, known=found.endorsements)) == [("0", Reason.ENDORSEMENTS_FILE)]


# ---------------------------------------------------------------------------------------------------------------------
# What is held already


def test_newest_crl_is_kept() -> None:
    for order in ((crl(4), crl(5)), (crl(5), crl(4))):
        (found,) = held(*order).crls.values()
        assert found.number == 5
    known = held(crl(5))
    assert held(crl(4), known=known).crls == known.crls
    (found,) = held(crl(6), known=known).crls.values()
    assert found.number == 6
    later = crl(5, this_update=VENDOR.issued + DAY)
    (found,) = held(later, known=known).crls.values()
    assert found.validity.not_before == VENDOR.issued + DAY


def test_what_an_older_crl_revokes_stays_revoked() -> None:
    """VCEKs and VLEKs have a list each, which the same ARK signs."""
    other, newer = VENDOR.crl([0xABC], edit=lambda form: form.numbered(4)), crl(5)
    for order in ((other, newer), (newer, other)):
        (found,) = held(*order).crls.values()
        assert found.number == 5
        assert 0xABC in found.revoked


def test_what_is_held_is_held_on_to_while_it_is_in_force() -> None:
    known = held(VCEK, VENDOR.ask.der, crl())
    assert held(known=known) == known
    assert held(crl(3), known=known) == known
    # An expired CRL is the last word of AMD's on what is revoked.
    expired = known.crls[ROOT[ProductLine.GENOA]].validity.not_after + DAY
    assert held(at=expired, known=known) == known
    gone = held(at=VENDOR.ask.form.not_after + DAY, known=known)
    assert (gone.issuers, gone.veks, gone.crls) == ({}, {}, known.crls)


def test_what_is_held_is_not_authenticated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = held(VCEK, VENDOR.ask.der)
    monkeypatch.setattr(module, "authenticate_vek", None)
    found = collected(VCEK, VENDOR.ask.der, known=known)
    assert (found.refusals, len(found.documents)) == ((), 2)
    assert found.endorsements == known


# ---------------------------------------------------------------------------------------------------------------------
# Chains


def test_what_came_along_goes_before_what_is_held() -> None:
    endorsements = held(VCEK, VENDOR.ask.der)
    vek, ask = b"their VCEK", b"their ASK"
    assert endorsements.chain(attestation(), ANCHORS) == (VCEK, VENDOR.ask.der)
    assert endorsements.chain(attestation(vek=vek, ask=ask), ANCHORS) == (vek, ask)
    assert endorsements.chain(attestation(ask=ask), ANCHORS) == (VCEK, ask)
    assert endorsements.chain(attestation(vek=VCEK), ANCHORS) == (VCEK, VENDOR.ask.der)
    assert SnpEndorsements().chain(attestation(vek=VCEK, ask=ask), ANCHORS) == (VCEK, ask)


def test_certificate_of_unknown_issuer() -> None:
    with missing():
        held(VENDOR.asvk.der).chain(attestation(vek=VCEK), ANCHORS)
    assert held().chain(attestation(vek=BY_ROOT.vek.der), ANCHORS) == (BY_ROOT.vek.der, VENDOR.ark.der)  # and refused
    with malformed(Reason.DER_MALFORMED):
        held(VENDOR.ask.der).chain(attestation(vek=VCEK[:-1]), ANCHORS)


def test_ark_that_came_along_is_the_pinned_one() -> None:
    endorsements = held(VCEK, VENDOR.ask.der)
    assert endorsements.chain(attestation(ark=VENDOR.ark.der), ANCHORS) == (VCEK, VENDOR.ask.der)
    for ark in (MALLORY.ark.der, VENDOR.ark.der + b"\0", b""):
        with not_authentic(Reason.SNP_UNTRUSTED_ROOT):
            endorsements.chain(attestation(vek=VCEK, ask=VENDOR.ask.der, ark=ark), ANCHORS)


def test_two_issuers_of_one_name() -> None:
    """The certificate's signature tells which one it was; the name does not."""
    old = SnpAttester.of(RETIRED, BERGAMO).vek.der
    for order in ((VENDOR.ask.der, RETIRED.ask.der), (RETIRED.ask.der, VENDOR.ask.der)):
        endorsements = held(VCEK, old, *order)
        assert endorsements.chain(attestation(vek=VCEK), ANCHORS) == (VCEK, VENDOR.ask.der)
        assert endorsements.chain(attestation(vek=old), ANCHORS) == (old, RETIRED.ask.der)
        (vek,) = endorsements.veks[BERGAMO.hwid]
        assert vek.vek.issuer.serial_number == 0x20001
    endorsements = held(VENDOR.ask.der, RETIRED.ask.der)
    forged = SnpAttester.of(MALLORY).vek.der
    assert endorsements.chain(attestation(vek=forged), ANCHORS)[0] == forged
    # Where there is only one of that name, what it has not signed is refused later.
    assert held(VENDOR.ask.der).chain(attestation(vek=old), ANCHORS) == (old, VENDOR.ask.der)


def test_two_issuers_of_one_name_and_key() -> None:
    """Either has signed it: of those that are not revoked the one that lasts longer is used."""
    first, second = VENDOR.ask, REISSUED.ask
    assert first.form.not_after > second.form.not_after
    for order in ((first.der, second.der), (second.der, first.der)):
        for revoked, wanted in (([], first), ([first.serial_number], second), ([second.serial_number], first)):
            endorsements = held(*order, VCEK, VENDOR.crl(revoked))
            assert endorsements.chain(attestation(vek=VCEK), ANCHORS) == (VCEK, wanted.der)
            assert endorsements.chain(attestation(), ANCHORS) == (VCEK, wanted.der)


def test_what_is_held_of_an_issuer_that_was_revoked_since() -> None:
    before = held(VENDOR.ask.der, VCEK)
    assert before.chain(attestation(), ANCHORS) == (VCEK, VENDOR.ask.der)
    after = held(VENDOR.ask.der, REISSUED.ask.der, VCEK, VENDOR.crl([VENDOR.ask.serial_number]), known=before)
    assert after.chain(attestation(), ANCHORS) == (VCEK, REISSUED.ask.der)


def test_vcek_is_of_the_chip_and_of_the_reported_tcb() -> None:
    updated = replace(GENOA, tcb=GENOA.tcb._replace(microcode=GENOA.tcb.microcode + 1))
    newer = of_chip(updated).vek.der
    endorsements = held(VCEK, newer, of_chip(BERGAMO).vek.der, VENDOR.ask.der)
    assert endorsements.chain(attestation(), ANCHORS)[0] == VCEK
    assert endorsements.chain(attestation(of_chip(updated)), ANCHORS)[0] == newer
    for body in (SnpReport(chip_id=bytes(64)), SnpReport(chip_id=b"\1" * 64), SnpReport(reported_tcb=bytes(8))):
        with missing():
            endorsements.chain(attestation(body=body), ANCHORS)


@pytest.mark.parametrize("line", ProductLine)
def test_version_2_does_not_tell_the_processor(line: ProductLine) -> None:
    """The other lines' keys fit no report of this one, though some cannot even read its TCB."""
    chips = [replace(chip, kind="vlek") for chip in CHIPS.values()]
    endorsements = held(*(der for chip in chips for der in of_chip(chip).chain))
    attester = of_chip(replace(CHIPS[line], kind="vlek"))
    for version in (2, 5):
        report = attestation(attester, SnpReport(version=version))
        assert endorsements.chain(report, ANCHORS) == attester.chain[:2]


def test_vlek_of_another_processor_does_not_fit() -> None:
    milan = replace(CHIPS[ProductLine.MILAN], kind="vlek", tcb=GENOA.tcb)
    endorsements = held(*of_chip(milan).chain)
    with missing():
        endorsements.chain(attestation(of_chip(CLOUD)), ANCHORS)
    # In version 2 nothing of the report tells them apart; the signature does.
    report = attestation(of_chip(CLOUD), SnpReport(version=2))
    assert endorsements.chain(report, ANCHORS)[0] == of_chip(milan).vek.der


def test_of_several_vleks_the_one_that_has_signed() -> None:
    attesters = [of_chip(replace(CLOUD, csp_id=f"CN=cloud-{number}.example")) for number in range(3)]
    endorsements = held(VENDOR.asvk.der, *(attester.vek.der for attester in attesters))
    for attester in attesters:
        assert endorsements.chain(attestation(attester), ANCHORS)[0] == attester.vek.der
    other = of_chip(replace(CLOUD, csp_id="CN=another.example"))
    assert endorsements.chain(attestation(other), ANCHORS)[0] in [attester.vek.der for attester in attesters]


def test_a_masked_chip_is_found_by_a_vlek_alone() -> None:
    masked = SnpReport(chip_id=bytes(64))
    cloud = of_chip(CLOUD)
    endorsements = held(VCEK, cloud.vek.der, VENDOR.ask.der, VENDOR.asvk.der)
    assert endorsements.chain(attestation(cloud, masked), ANCHORS)[0] == cloud.vek.der
    with missing():
        endorsements.chain(attestation(body=masked), ANCHORS)
    assert endorsements.chain(attestation(body=masked, vek=VCEK), ANCHORS) == (VCEK, VENDOR.ask.der)


def test_the_same_key_certified_twice() -> None:
    """The KDS signs anew whenever it is asked; the one that lasts longer is used."""

    def shorter(form: CertificateForm) -> CertificateForm:
        return replace(form, not_after=AT + DAY)

    short = of_chip(GENOA, shorter).vek.der
    for order in ((VCEK, short), (short, VCEK)):
        endorsements = held(VENDOR.ask.der, *order)
        assert [one.der for one in endorsements.veks[GENOA.hwid]] == [VCEK, short]
        assert endorsements.chain(attestation(), ANCHORS)[0] == VCEK
    assert [one.der for one in held(VENDOR.ask.der, VCEK, pem(VCEK)).veks[GENOA.hwid]] == [VCEK]


# ---------------------------------------------------------------------------------------------------------------------
# CRLs


AUTHENTIC: Vek = authenticate_vek(VCEK, VENDOR.ask.der, ANCHORS, AT)


def number_of(endorsements: SnpEndorsements, came: bytes | None = None, *, required: bool = False) -> int | None:
    found = endorsements.crl(attestation(crl=came), AUTHENTIC, AT, required=required)
    return None if found is None else found.number


def test_crl_that_is_held_or_came_along_whichever_is_newer() -> None:
    assert number_of(held(crl(5))) == 5
    assert number_of(held(crl(5)), crl(4)) == 5
    assert number_of(held(crl(5)), crl(6)) == 6
    assert number_of(SnpEndorsements(), crl(4), required=True) == 4


def test_crl_that_came_along_and_has_expired_since() -> None:
    """A host's table is not written anew with each CRL: one that is older than the one held does no harm."""
    for stale in (crl(5, next_update=AT - DAY), crl(6, this_update=AT - 300 * DAY, next_update=AT - DAY)):
        assert number_of(held(crl(6)), stale) == 6
        with not_authentic(Reason.SNP_CRL_EXPIRED):
            number_of(SnpEndorsements(), stale)
        with not_authentic(Reason.SNP_CRL_EXPIRED):  # what it says is newer, and nothing is known of what came after
            number_of(held(crl(4)), stale)
    with not_authentic(Reason.SNP_CRL_SIGNATURE):
        number_of(held(crl(6)), VENDOR.crl(signing=Signing(key=VENDOR.ask.key)))


def test_absent_crl() -> None:
    others = held(crl(vendor=VENDORS[ProductLine.MILAN]))
    for endorsements in (SnpEndorsements(), others):
        assert number_of(endorsements) is None
        with missing():
            number_of(endorsements, required=True)


@pytest.mark.parametrize(
    ("came", "reason"),
    [
        (crl(vendor=VENDORS[ProductLine.MILAN]), Reason.SNP_CRL_ISSUER),
        (crl(vendor=MALLORY), Reason.SNP_CRL_SIGNATURE),
        (VENDOR.crl(signing=Signing(key=VENDOR.ask.key)), Reason.SNP_CRL_SIGNATURE),
        (crl(9, next_update=AT - DAY), Reason.SNP_CRL_EXPIRED),
        (crl(9, this_update=AT + DAY), Reason.SNP_CRL_NOT_YET_VALID),
        (b"crl", Reason.SNP_CRL_MALFORMED),
    ],
    ids=["another line", "another root", "by the ASK", "expired", "of the future", "no CRL"],
)
def test_crl_that_came_along_is_authentic_or_refused(came: bytes, reason: Reason) -> None:
    """With a good one at hand, too: it is evidence, and the provider's to mend."""
    for endorsements in (SnpEndorsements(), held(crl())):
        with pytest.raises(AttestdError) as caught:
            number_of(endorsements, came)
        assert (type(caught.value), caught.value.reason) in [
            (NotAuthentic, reason),
            (NotAuthentic, Reason.SNP_CRL_ISSUER),  # Mallory's root has a key of another identifier
        ]


def test_crl_that_has_expired_is_not_passed_over() -> None:
    endorsements = held(crl())
    later = endorsements.crls[ROOT[ProductLine.GENOA]].validity.not_after + DAY
    assert endorsements.crl(attestation(), AUTHENTIC, later) is not None  # verification refuses it


def test_crl_that_was_rolled_back() -> None:
    endorsements = replace(held(crl(4)), rolled_back=frozenset({ROOT[ProductLine.GENOA]}))
    for came in (None, crl(3), crl(4)):
        with rejected(Reason.SNP_CRL_ROLLBACK):
            number_of(endorsements, came)
    assert number_of(endorsements, crl(5)) == 5
    milan = replace(endorsements, rolled_back=frozenset({ROOT[ProductLine.MILAN]}))
    assert number_of(milan) == 4


# ---------------------------------------------------------------------------------------------------------------------
# What AMD has published


@pytest.mark.parametrize("case", snp_cases("real"))
def test_genuine_documents(case: SnpCase) -> None:
    if case.vek is None or "report" not in case.document:
        pytest.skip("a report or a certificate alone")
    roots = EVIDENCE / "snp/roots"
    documents = {path.name: path.read_bytes() for path in sorted(roots.glob("*.pem"))}
    found = collect({"vek": case.vek, **documents}, case.anchors, case.at)
    # The CAs of later product lines did not exist yet.
    assert {reason for _, reason in reasons(found)} <= {Reason.SNP_VEK_NOT_YET_VALID}
    report = parse_attestation(SnpEvidence(report=case.report))
    chain = found.endorsements.chain(report, case.anchors)
    assert chain == (case.vek, case.issuer)
    assert load_pem(documents["milan_ask.pem"])[0] in {document.raw for document in found.documents}
