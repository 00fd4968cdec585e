"""Attacks on quotes, one test per row of the catalogue (T01 to T52): everything else is right and signed again.

T01 to T04 and T42 run over a simulated quote here; test_sweeps.py runs over every bit of a genuine one too.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256, sha512
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

import attestd
from attestd.binding.verify import Bound, verify_binding
from attestd.claims import Flag, IntelClaims, PckCa, TcbStatus, TdxClaims
from attestd.codec import load_der_sequence
from attestd.errors import AttestdError, Reason
from attestd.evidence import Evidence, KeyEvidence, QuoteEvidence, dump_evidence_json, load_evidence_json
from attestd.policy import AppraisalPolicy, Check, appraise
from attestd.result import Appraisal, Tier
from attestd.simulator import (
    AT,
    BOOT,
    DSTACK_BOOT,
    SGX_EXTENSION,
    TD_QE,
    Attester,
    Event,
    KeyPair,
    Platform,
    Registry,
    SgxReport,
    Signing,
    TdReport,
    TdReport15,
    TdReport15Ex,
    basic_constraints,
    bits,
    ccel,
    dstack_log,
    flip,
    negate_s,
    p256_key,
    p384_key,
    pem,
    put,
    subject_name,
    svns,
    swap,
)
from attestd.simulator.der import integer, octets, oid, sequence
from attestd.tdx.eventlog import EventLogClaims, verify_event_log
from attestd.tdx.quote import BODY_TYPES, MAX_QUOTE_SIZE, parse_quote
from attestd.verifier import parse_evidence
from tests.evidence import ROOT
from tests.policy import factory
from tests.refusals import malformed, not_authentic, rejected
from tests.tdx.baseline import (
    ATTESTER,
    COLLATERAL,
    MALLORY,
    QUOTE,
    SGX_COLLATERAL,
    SGX_QUOTE,
    VENDOR,
    quote,
    verified,
)

BASELINE = verified()
STRICT = AppraisalPolicy.load((ROOT / "policies/strict-tdx.toml").read_bytes())
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF


def appraised(claims: IntelClaims, policy: AppraisalPolicy = STRICT) -> Appraisal:
    facts = factory.BARE._replace(collateral_issued_at=VENDOR.issued)
    return appraise(policy, claims, facts, AT)


def failing(claims: IntelClaims, policy: AppraisalPolicy = STRICT) -> list[str]:
    return [finding.check for finding in appraised(claims, policy).findings if finding.outcome is not Tier.AFFIRMING]


def td(raw: bytes) -> TdxClaims:
    claims = verified(raw)
    assert isinstance(claims, TdxClaims)
    return claims


def test_baseline_is_accepted_with_one_status() -> None:
    assert (BASELINE.tcb.status, BASELINE.flags, failing(BASELINE)) == (TcbStatus.UP_TO_DATE, (), [])
    assert verified(SGX_QUOTE, SGX_COLLATERAL).tcb.status is TcbStatus.UP_TO_DATE


# ---------------------------------------------------------------------------------------------------------------------
# Bits and layout


def flipped(start: int, stop: int) -> Iterator[bytes]:
    for position in range(8 * start, 8 * stop):
        yield flip(position // 8, position % 8)(QUOTE)


def reasons(mutants: Iterator[bytes]) -> set[Reason]:
    """Require that each mutant is refused, and return for what."""
    found = set()
    for mutant in mutants:
        with pytest.raises(AttestdError) as caught:
            verified(mutant)
        found.add(caught.value.reason)
    return found


def test_t01_bits_of_header_and_body() -> None:
    # Version 5 has a layout of its own, so with that bit the body is looked for elsewhere.
    assert reasons(flipped(0, 2)) == {Reason.TDX_QUOTE_VERSION, Reason.TDX_BODY_DESCRIPTOR}
    assert reasons(flipped(2, 4)) == {Reason.TDX_ATTESTATION_KEY_TYPE}
    assert reasons(flipped(4, 8)) == {Reason.TDX_TEE_TYPE}
    assert reasons(flipped(8, 12)) == {Reason.TDX_QUOTE_SIGNATURE}
    assert reasons(flipped(12, 28)) == {Reason.TDX_QE_VENDOR_ID}
    assert reasons(flipped(28, 632)) == {Reason.TDX_QUOTE_SIGNATURE}


def test_t02_bits_of_signature_and_attestation_key() -> None:
    assert reasons(flipped(636, 700)) == {Reason.TDX_QUOTE_SIGNATURE}
    assert reasons(flipped(700, 764)) == {Reason.TDX_QE_REPORT_DATA}


def test_t03_bits_of_the_quoting_enclave() -> None:
    assert reasons(flipped(770, 1218)) == {Reason.TDX_QE_REPORT_SIGNATURE}
    assert reasons(flipped(1220, 1252)) == {Reason.TDX_QE_REPORT_DATA}


def test_t04_bits_of_lengths_and_types() -> None:
    assert reasons(flipped(632, 636)) == {Reason.TDX_QUOTE_TRUNCATED, Reason.TDX_SIGNATURE_DATA}
    assert reasons(flipped(764, 766)) == {Reason.TDX_CERTIFICATION_DATA}
    assert reasons(flipped(766, 770)) == {Reason.TDX_SIGNATURE_DATA}
    assert reasons(flipped(1218, 1220)) == {Reason.TDX_SIGNATURE_DATA}
    assert reasons(flipped(1252, 1254)) == {Reason.TDX_CERTIFICATION_DATA}
    assert reasons(flipped(1254, 1258)) == {Reason.TDX_SIGNATURE_DATA}


def test_t05_vendor_id() -> None:
    with malformed(Reason.TDX_QE_VENDOR_ID):
        verified(quote(qe_vendor_id=bytes(16)))


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (0, Reason.TDX_QUOTE_VERSION),
        (2, Reason.TDX_QUOTE_VERSION),
        (6, Reason.TDX_QUOTE_VERSION),
        (65535, Reason.TDX_QUOTE_VERSION),
        (3, Reason.TDX_TEE_TYPE),  # version 3 is SGX only
        (5, Reason.TDX_BODY_DESCRIPTOR),  # parsed by its own layout
    ],
)
def test_t06_version(version: int, reason: Reason) -> None:
    with malformed(reason):
        verified(quote(signing=Signing(before=put(0, version.to_bytes(2, "little")))))


@pytest.mark.parametrize("version", [4, 5])
def test_t07_body_of_another_tee(version: int) -> None:
    # In version 4 the TEE alone says how long the body is: the rest then does not parse. Version 5 names the body.
    reason = Reason.TDX_QUOTE_TRUNCATED if version == 4 else Reason.TDX_BODY_DESCRIPTOR
    with malformed(reason):
        verified(quote(TdReport(), version=version, tee_type=0))
    with malformed(reason):
        verified(quote(SgxReport(), version=version, tee_type=0x81), SGX_COLLATERAL)


@pytest.mark.parametrize("tee_type", [1, 0x80, 0x82, 0xFFFFFFFF])
def test_t07_tee_type(tee_type: int) -> None:
    with malformed(Reason.TDX_TEE_TYPE):
        verified(quote(tee_type=tee_type))


def test_t08_attestation_key_type() -> None:
    for key_type in (0, 1, 3, 4, 65535):
        with malformed(Reason.TDX_ATTESTATION_KEY_TYPE):
            verified(quote(attestation_key_type=key_type))
    # The layout that type 3 would have: P-384 throughout.
    key = p384_key("mallory", "attestation")
    signed = quote(attestation_key_type=3)[:632]
    r, s = decode_dss_signature(key.sign(signed, ECDSA(SHA384())))
    numbers = key.public_key().public_numbers()
    with malformed(Reason.TDX_ATTESTATION_KEY_TYPE):
        verified(
            quote(
                attestation_key_type=3,
                attestation_public_key=numbers.x.to_bytes(48) + numbers.y.to_bytes(48),
                signing=Signing(signature=r.to_bytes(48) + s.to_bytes(48)),
            )
        )


@pytest.mark.parametrize("body", [SgxReport(), TdReport(), TdReport15(), TdReport15Ex()])
def test_t09_body_descriptor(body: SgxReport | TdReport) -> None:
    size = BODY_TYPES[body.body_type].layout.size
    for wrong in (0, size - 1, size + 1, 0xFFFFFFFF):
        with malformed(Reason.TDX_BODY_DESCRIPTOR):
            verified(quote(body, version=5, body_size=wrong))
    for wrong in {0, 1, 2, 3, 4, 5, 65535} - {body.body_type}:
        with malformed(Reason.TDX_BODY_DESCRIPTOR):
            verified(quote(body, version=5, body_type=wrong))


# ---------------------------------------------------------------------------------------------------------------------
# What a policy decides


def test_t10_debug() -> None:
    claims = td(quote(TdReport(td_attributes=bits(0, 28))))
    assert claims.flags == (Flag.DEBUG,)
    assert Check.DEBUG in failing(claims)
    # Not even a policy that allows it can call it affirming.
    allowed = factory.load(edits={"allow_debug": "true", "tdx.flags": '"any"'})
    assert appraised(claims, allowed).tier is Tier.WARNING


NAMED = {4, 5, 6, 16, 17, 27, 29, 30, 31, 62, 63}


@pytest.mark.parametrize(
    ("bit", "flag"),
    [
        *((bit, Flag.RESERVED_ATTRIBUTE_BITS) for bit in range(1, 64) if bit not in NAMED | {28}),
        *((bit, Flag.PROFILING) for bit in (4, 5, 6)),
        (17, Flag.SERVICE_TD_EXT),
    ],
)
def test_t11_td_attributes(bit: int, flag: Flag) -> None:
    claims = td(quote(TdReport(td_attributes=bits(28, bit))))
    assert claims.flags == (flag,)
    assert failing(claims) == [Check.FLAGS]


def test_t12_migratable_and_sept_ve_disable() -> None:
    for attributes, flag in ((bits(28, 29), Flag.MIGRATABLE), (bits(), Flag.SEPT_VE_DISABLE_NOT_SET)):
        claims = td(quote(TdReport(td_attributes=attributes)))
        assert claims.flags == (flag,)
        assert failing(claims) == [Check.FLAGS]


@pytest.mark.parametrize(
    ("bit", "flag"),
    [
        (16, Flag.ICSSD),
        (27, Flag.LASS),
        (30, Flag.PKS),
        (31, Flag.KEY_LOCKER),
        (62, Flag.TPA),
        (63, Flag.PERFMON),
    ],
)
def test_t12_attributes_that_take_no_protection_away(bit: int, flag: Flag) -> None:
    claims = td(quote(TdReport(td_attributes=bits(28, bit))))
    assert claims.flags == (flag,)
    # The strict policy lists them; one that lists none refuses them.
    assert failing(claims) == []
    assert failing(claims, factory.load()) == [Check.FLAGS]


# x87, SSE, AVX, AVX-512, PT, PKU, CET, user interrupts, LBR, AMX: what a TD may have; the first two it must have.
XFAM = (0, 1, 2, 5, 6, 7, 8, 9, 11, 12, 14, 15, 17, 18)


@pytest.mark.parametrize(
    "xfam",
    [
        *(bits(*{*XFAM} - {fixed}) for fixed in (0, 1)),
        *(bits(*XFAM, unknown) for unknown in sorted({*range(64)} - {*XFAM})),
        bits(),
    ],
)
def test_t13_xfam(xfam: bytes) -> None:
    claims = td(quote(TdReport(xfam=xfam)))
    assert claims.flags == (Flag.XFAM_FIXED_BITS,)
    assert Check.FLAGS in failing(claims)


@pytest.mark.parametrize("xfam", [bits(0, 1), bits(*XFAM)])
def test_t13_xfam_of_any_td(xfam: bytes) -> None:
    assert td(quote(TdReport(xfam=xfam))).flags == ()


MEASUREMENTS = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "mrowner", "mrownerconfig")


def pinned(*images: TdReport) -> AppraisalPolicy:
    entries = (
        factory.image(str(number), **{name: getattr(image, name) for name in MEASUREMENTS})
        for number, image in enumerate(images)
    )
    return factory.load(edits={"tdx.images": f"[{', '.join(entries)}]"})


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_t14_measurement(name: str) -> None:
    changed = replace(TdReport(), **{name: flip(47)(getattr(TdReport(), name))})
    claims = td(quote(changed))
    assert claims == BASELINE._replace(evidence_id=claims.evidence_id, **{name: getattr(changed, name)})
    assert claims.evidence_id != BASELINE.evidence_id
    (finding,) = (one for one in appraised(claims, pinned(TdReport())).findings if one.outcome is not Tier.AFFIRMING)
    assert (finding.check, finding.got) == (Check.IMAGE, ((name, getattr(changed, name)),))


def test_t15_registers_permuted_or_zero() -> None:
    report = TdReport()
    accepted = pinned(report)
    assert failing(BASELINE, accepted) == []
    permuted = replace(report, rtmr0=report.rtmr1, rtmr1=report.rtmr2, rtmr2=report.rtmr0)
    for changed in (permuted, replace(report, rtmr0=bytes(48), rtmr1=bytes(48), rtmr2=bytes(48))):
        assert failing(td(quote(changed)), accepted) == [Check.IMAGE]


def test_t16_measurements_are_tuples_not_columns() -> None:
    a = TdReport()
    b = replace(a, mrtd=sha512(b"b").digest()[:48], rtmr1=sha512(b"b1").digest()[:48])
    accepted = pinned(a, b)
    assert failing(td(quote(a)), accepted) == failing(td(quote(b)), accepted) == []
    assert failing(td(quote(replace(a, rtmr1=b.rtmr1))), accepted) == [Check.IMAGE]


# ---------------------------------------------------------------------------------------------------------------------
# Binding

KEY, REGISTRY = KeyPair.ed25519(), Registry()
MODEL = sha256(b"model").digest()
EVIDENCE = ATTESTER.evidence(KEY, REGISTRY, [MODEL])


def bound(evidence: Evidence, registry_id: str = REGISTRY.registry_id) -> Bound:
    """Verify the quote in the evidence, then the binding of the key to it."""
    assert isinstance(evidence.cpu, QuoteEvidence)
    report_data = verified(evidence.cpu.quote).report_data
    return verify_binding(evidence, registry_id=registry_id, report_data=report_data, gpu_nonces=(), at=AT)


def with_report_data(report_data: bytes) -> Evidence:
    return replace(EVIDENCE, cpu=QuoteEvidence(tee="tdx", quote=quote(TdReport(report_data=report_data))))


def right_report_data() -> bytes:
    assert isinstance(EVIDENCE.cpu, QuoteEvidence)
    return verified(EVIDENCE.cpu.quote).report_data


def test_binding_baseline() -> None:
    assert bound(EVIDENCE).spki == KEY.spki
    assert bound(with_report_data(right_report_data())).models == (MODEL,)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda right: sha256(KeyPair.ed25519("other").spki).digest() + bytes(32),
        lambda right: bytes(64),
        lambda right: right[32:] + right[:32],
        lambda right: bytes(32) + right[:32],
        lambda right: right[:32] + bytes(32),
        lambda right: right[:32].hex().encode(),
    ],
    ids=["other key", "zeros", "halves swapped", "in the second half", "truncated", "hex in ASCII"],
)
def test_t17_report_data(wrong: Callable[[bytes], bytes]) -> None:
    with not_authentic(Reason.BINDING_REPORT_DATA):
        bound(with_report_data(wrong(right_report_data())))


def test_t18_report_data_commits_to_model_challenge_and_registry() -> None:
    with not_authentic(Reason.BINDING_REPORT_DATA):
        bound(replace(EVIDENCE, models=()))
    with not_authentic(Reason.BINDING_REPORT_DATA):
        bound(replace(EVIDENCE, models=(sha256(b"another model").digest(),)))
    with not_authentic(Reason.BINDING_REPORT_DATA):
        bound(replace(EVIDENCE, challenge=bytes(32)))
    with not_authentic(Reason.BINDING_REPORT_DATA):
        bound(EVIDENCE, registry_id="attestd-of-somebody-else")


def test_t19_key_swapped_in_the_envelope() -> None:
    other = KeyPair.ed25519("other")
    proof = other.sign(REGISTRY.context(other, [MODEL]))
    with not_authentic(Reason.BINDING_REPORT_DATA):
        bound(replace(EVIDENCE, key=KeyEvidence(spki=other.spki, proof=proof)))


# ---------------------------------------------------------------------------------------------------------------------
# TDX module and TCB levels


def tcb_info(edit: Callable[[dict[str, Any]], object]) -> Any:
    return replace(COLLATERAL, tcb_info=VENDOR.tcb_info(edit))


def test_t20_signer_of_the_tdx_module() -> None:
    with not_authentic(Reason.TDX_MODULE_MISMATCH):
        verified(quote(TdReport(mrsignerseam=flip(0)(bytes(48)))))


def test_t21_seam_attributes() -> None:
    attributed = quote(TdReport(seamattributes=bits(63)))
    with not_authentic(Reason.TDX_MODULE_MISMATCH):
        verified(attributed)
    # They must be zero even where a mask leaves them out.
    unmasked = tcb_info(lambda info: info["tdxModuleIdentities"][1].update(attributesMask="00" * 8))
    assert verified(QUOTE, unmasked).tcb == BASELINE.tcb
    with not_authentic(Reason.TDX_MODULE_MISMATCH):
        verified(attributed, unmasked)
    # And where they are expected, zero is not what was expected.
    expected = tcb_info(lambda info: info["tdxModuleIdentities"][1].update(attributes="00" * 7 + "80"))
    with not_authentic(Reason.TDX_MODULE_MISMATCH):
        verified(QUOTE, expected)
    # Nor may they be set where all agree on it.
    with not_authentic(Reason.TDX_MODULE_MISMATCH):
        verified(attributed, expected)


def test_t22_module_identity() -> None:
    with not_authentic(Reason.TDX_MODULE_MISMATCH):
        verified(quote(TdReport(tee_tcb_svn=bytes(svns(6, 7, 3)))))
    lower_case = tcb_info(lambda info: info["tdxModuleIdentities"][1].update(id="tdx_01"))
    claims = verified(QUOTE, lower_case)
    assert claims.tcb == BASELINE.tcb._replace(tdx_module_id="tdx_01")
    none = tcb_info(lambda info: info.pop("tdxModuleIdentities"))
    with not_authentic(Reason.TDX_MODULE_MISMATCH):
        verified(QUOTE, none)


def test_t22_module_levels() -> None:
    out_of_date = td(quote(TdReport(tee_tcb_svn=bytes(svns(5, 1, 3))))).tcb
    assert (out_of_date.status, out_of_date.tdx_module_status) == (TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE)
    assert out_of_date.advisory_ids == ("INTEL-SA-90002",)
    with not_authentic(Reason.TDX_MODULE_NOT_SUPPORTED):
        verified(quote(TdReport(tee_tcb_svn=bytes(svns(1, 1, 3)))))


def raise_tdx_component(index: int) -> Callable[[dict[str, Any]], object]:
    def edit(info: dict[str, Any]) -> None:
        for level in info["tcbLevels"]:
            level["tcb"]["tdxtcbcomponents"][index]["svn"] = 9

    return edit


def test_t23_components_0_and_1_are_the_module_s() -> None:
    # Below the level in components 0 and 1 alone: judged by the module's own identity since version 1.
    for index in (0, 1):
        assert verified(QUOTE, tcb_info(raise_tdx_component(index))).tcb == BASELINE.tcb
    # Of version 0 they count.
    version_0 = quote(TdReport(tee_tcb_svn=bytes(svns(6, 0, 3))))
    assert verified(version_0).tcb.status is TcbStatus.UP_TO_DATE
    for index in (0, 1):
        with not_authentic(Reason.TDX_TCB_NOT_SUPPORTED):
            verified(version_0, tcb_info(raise_tdx_component(index)))


def test_t23_component_2_and_later() -> None:
    assert td(quote(TdReport(tee_tcb_svn=bytes(svns(6, 1, 2))))).tcb.status is TcbStatus.OUT_OF_DATE
    for index in range(2, 16):
        with not_authentic(Reason.TDX_TCB_NOT_SUPPORTED):
            verified(QUOTE, tcb_info(raise_tdx_component(index)))


def test_t24_pce_svn_lower() -> None:
    # Components of the newest level; the PCESVN says which level they count for.
    assert verified(Attester.of(VENDOR, Platform(pce_svn=12)).quote()).tcb.status is TcbStatus.OUT_OF_DATE
    with not_authentic(Reason.TDX_TCB_REVOKED):
        verified(Attester.of(VENDOR, Platform(pce_svn=10)).quote())
    with not_authentic(Reason.TDX_TCB_NOT_SUPPORTED):
        verified(Attester.of(VENDOR, Platform(pce_svn=4)).quote())


@pytest.mark.parametrize("index", range(16))
def test_t24_each_component_counts(index: int) -> None:
    def raised(info: dict[str, Any]) -> None:
        for level in info["tcbLevels"]:
            level["tcb"]["sgxtcbcomponents"][index]["svn"] = 200

    with not_authentic(Reason.TDX_TCB_NOT_SUPPORTED):
        verified(QUOTE, tcb_info(raised))


def test_t25_fmspc() -> None:
    with rejected(Reason.TDX_TCB_INFO_MISMATCH):
        verified(Attester.of(VENDOR, Platform(fmspc=bytes.fromhex("f0516d000001"))).quote())
    lower_case = tcb_info(lambda info: info.update(fmspc=info["fmspc"].lower()))
    assert verified(QUOTE, lower_case).tcb == BASELINE.tcb


def test_t26_pce_id() -> None:
    with rejected(Reason.TDX_TCB_INFO_MISMATCH):
        verified(Attester.of(VENDOR, Platform(pce_id=b"\0\1")).quote())


# ---------------------------------------------------------------------------------------------------------------------
# PCK certificate


def item(suffix: str, value: bytes) -> Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]:
    """Replace one item of the SGX extension."""
    return lambda items: [(name, value if name == suffix else old) for name, old in items]


def without(suffix: str) -> Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]:
    return lambda items: [(name, old) for name, old in items if name != suffix]


def with_tcb_item(suffix: str, value: bytes) -> Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]:
    """Add one item to the TCB, which is an item itself."""

    def edit(items: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        (tcb,) = load_der_sequence(dict(items)["2"], Reason.DER_MALFORMED)
        return item("2", sequence(tcb.content, sequence(oid(f"{SGX_EXTENSION}.2.{suffix}"), value)))(items)

    return edit


def extended(more: bytes) -> Platform:
    """Add bytes behind the items of the SGX extension."""
    (items,) = load_der_sequence(Platform().extension().value, Reason.DER_MALFORMED)
    return Platform(sgx_extension=sequence(items.content, more))


def configuration(value: bytes) -> bytes:
    return sequence(sequence(oid(f"{SGX_EXTENSION}.7.1"), value))


@pytest.mark.parametrize(
    "platform",
    [
        Platform(edit=lambda items: [*items, items[0]]),
        Platform(tcb_components=svns(-1)),
        Platform(tcb_components=svns(256)),
        Platform(tcb_components=svns(3)[:15], cpu_svn=bytes(16)),
        Platform(tcb_components=(*svns(3), 3), cpu_svn=bytes(16)),
        Platform(cpu_svn=bytes(15)),
        Platform(pce_svn=65536),
        Platform(pce_id=b""),
        Platform(fmspc=bytes(5)),
        Platform(ppid=bytes(17)),
        Platform(sgx_type=3),
        Platform(platform_instance_id=bytes(15)),
        Platform(edit=without("1")),
        Platform(edit=without("2")),
        Platform(edit=without("3")),
        Platform(edit=without("4")),
        Platform(edit=without("5")),
        Platform(edit=item("2", octets(b"no sequence"))),
        Platform(edit=with_tcb_item("19", integer(1))),
        Platform(edit=item("4", integer(0xF0516D000000))),
        Platform(edit=item("5", integer(1))),
        Platform(edit=item("4", octets(bytes.fromhex("f0516d000000")) + octets(b"one more"))),
        Platform(edit=item("7", configuration(b"\x01\x01\x7f"))),
        Platform(edit=item("7", configuration(b"\x01\x02\xff\xff"))),
        Platform(edit=item("7", configuration(integer(1)))),
        extended(put(0, b"\x31")(sequence(oid(f"{SGX_EXTENSION}.8"), octets(b"in a SET")))),
        extended(sequence(octets(b"in place of an OID"), octets(b""))),
        extended(sequence(oid(f"{SGX_EXTENSION}.8"))),
        Platform(sgx_extension=b""),
        Platform(sgx_extension=octets(b"no sequence")),
        Platform(sgx_extension=sequence() + sequence()),
        Platform(sgx_extension=sequence(octets(b"no pair"))),
        Platform(sgx_extension=sequence(sequence(octets(b"no OID"), octets(b"")))),
        Platform(sgx_extension=b"\x30\x80\0\0"),
        Platform(sgx_extension=b"\x30\x81\x02\x30\x00"),
        Platform(sgx_extension=b"\x30\x7f"),
    ],
)
def test_t27_sgx_extension(platform: Platform) -> None:
    with not_authentic(Reason.TDX_PCK_EXTENSION):
        verified(Attester.of(VENDOR, platform).quote())


def test_t27_no_sgx_extension() -> None:
    with not_authentic(Reason.TDX_PCK_EXTENSION):
        verified(Attester.of(VENDOR, edit=lambda form: form.without(SGX_EXTENSION)).quote())


def test_t27_unknown_and_absent_items() -> None:
    # Intel adds items, and those of the Platform CA are absent below the Processor CA.
    more = extended(sequence(oid(f"{SGX_EXTENSION}.8"), octets(b"of the future")))
    assert verified(Attester.of(VENDOR, more).quote()).pck.fmspc == BASELINE.pck.fmspc
    none = verified(Attester.of(VENDOR, Platform(edit=item("7", sequence()))).quote()).pck
    assert (none.dynamic_platform, none.cached_keys, none.smt_enabled) == (None, None, None)
    off = Platform(dynamic_platform=False, cached_keys=True, smt_enabled=False)
    some = verified(Attester.of(VENDOR, off).quote()).pck
    assert (some.dynamic_platform, some.cached_keys, some.smt_enabled) == (False, True, False)


LEAF, CA, ROOT_DER = ATTESTER.pck_chain
PROCESSOR_CA = VENDOR.processor_ca.der


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        ((ROOT_DER, CA, LEAF), Reason.TDX_UNTRUSTED_ROOT),  # reversed: what comes last leads to no pinned root
        ((CA, LEAF, ROOT_DER), Reason.TDX_PCK_CHAIN),
        ((LEAF,), Reason.TDX_PCK_CHAIN),
        ((LEAF, ROOT_DER), Reason.TDX_PCK_CHAIN),
        ((CA, ROOT_DER), Reason.TDX_PCK_CHAIN),
        ((CA, CA, ROOT_DER), Reason.TDX_PCK_CHAIN),
        ((ROOT_DER, ROOT_DER), Reason.TDX_PCK_CHAIN),
        ((LEAF, LEAF, CA), Reason.TDX_PCK_CHAIN),
        ((LEAF, CA, CA), Reason.TDX_PCK_CHAIN),
        ((LEAF, CA, PROCESSOR_CA), Reason.TDX_PCK_CHAIN),
        # OpenSSL finds its path through these; the CRL of another CA would have been asked about the leaf.
        ((LEAF, PROCESSOR_CA, CA), Reason.TDX_PCK_CHAIN),
        ((LEAF, CA, VENDOR.tcb_signing.der), Reason.TDX_PCK_CHAIN),
        ((LEAF, CA, ROOT_DER, ROOT_DER), Reason.TDX_PCK_CHAIN),
        ((VENDOR.tcb_signing.der, ROOT_DER), Reason.TDX_PCK_CHAIN),  # another role, genuine
    ],
)
def test_t28_chain(chain: tuple[bytes, ...], reason: Reason) -> None:
    with not_authentic(reason):
        verified(quote(cert_data=pem(*chain)))


def test_t28_too_many_certificates() -> None:
    with malformed(Reason.PEM_MALFORMED):
        verified(quote(cert_data=pem(*[LEAF, CA, ROOT_DER] * 17)))


def test_t28_ca_as_leaf() -> None:
    ca = basic_constraints(ca=True)
    with not_authentic(Reason.TDX_PCK_CHAIN):
        verified(Attester.of(VENDOR, edit=lambda form: form.having(ca)).quote())


@pytest.mark.parametrize("name", ["SGX TCB Signing", "Intel SGX PCK Processor CA", "PCK Certificate"])
def test_t28_leaf_of_another_role(name: str) -> None:
    with not_authentic(Reason.TDX_PCK_CHAIN):
        verified(Attester.of(VENDOR, edit=lambda form: replace(form, subject=subject_name(name))).quote())


def test_t28_issuer_of_another_role() -> None:
    # A CA below the pinned root that is not one of the two, and the root itself.
    other = VENDOR.reissue("platform_ca", lambda form: replace(form, subject=subject_name("SGX Other CA")))
    by_root = Attester.of(replace(VENDOR, platform_ca=VENDOR.root)).pck.der
    for chain in (Attester.of(other).pck_chain, (by_root, ROOT_DER), (by_root, ROOT_DER, ROOT_DER)):
        with not_authentic(Reason.TDX_PCK_CHAIN):
            verified(quote(cert_data=pem(*chain)))


@pytest.mark.parametrize(
    "chain",
    [
        (LEAF, CA, MALLORY.root.der),
        (*Attester.of(MALLORY).pck_chain,),
        (LEAF, CA, put(-1, bytes((ROOT_DER[-1] ^ 1,)))(ROOT_DER)),  # in the signature
        (LEAF, CA, flip(ROOT_DER.index(VENDOR.root.form.spki) + 60)(ROOT_DER)),  # in the key
    ],
    ids=["another root of that name", "another vendor of those names", "signature", "key"],
)
def test_t29_root(chain: tuple[bytes, ...]) -> None:
    with not_authentic(Reason.TDX_UNTRUSTED_ROOT):
        verified(quote(cert_data=pem(*chain)))


def test_t29_chain_of_another_vendor_below_the_pinned_root() -> None:
    with not_authentic(Reason.TDX_PCK_CHAIN):
        verified(Attester.of(replace(MALLORY, root=VENDOR.root)).quote())
    with not_authentic(Reason.TDX_PCK_CHAIN):
        verified(quote(cert_data=pem(*Attester.of(MALLORY).pck_chain[:2])))


def test_t29_root_absent() -> None:
    assert verified(quote(cert_data=pem(LEAF, CA))) == BASELINE


# ---------------------------------------------------------------------------------------------------------------------
# Quoting enclave and attestation key


@pytest.mark.parametrize(
    "changed",
    [
        {"mrsigner": bytes(32)},  # T30
        {"isvprodid": TD_QE.isvprodid + 1},  # T31
        {"attributes": flip(0, 1)(TD_QE.attributes)},  # T33: DEBUG
        {"attributes": flip(7, 7)(TD_QE.attributes)},  # T33: the last bit under the mask
        {"miscselect": b"\x01\0\0\0"},  # T34
        {"miscselect": b"\0\0\0\x80"},
    ],
    ids=["t30", "t31", "t33 debug", "t33 last bit", "t34 first bit", "t34 last bit"],
)
def test_t30_t31_t33_t34_quoting_enclave(changed: dict[str, Any]) -> None:
    with not_authentic(Reason.TDX_QE_IDENTITY_MISMATCH):
        verified(quote(qe=replace(TD_QE, **changed)))


def test_t32_isv_svn_of_the_quoting_enclave() -> None:
    with not_authentic(Reason.TDX_QE_NOT_SUPPORTED):
        verified(quote(qe=replace(TD_QE, isvsvn=1)))
    for revoked in (2, 3):
        with not_authentic(Reason.TDX_TCB_REVOKED):
            verified(quote(qe=replace(TD_QE, isvsvn=revoked)))
    for out_of_date in (4, 5):
        claims = td(quote(qe=replace(TD_QE, isvsvn=out_of_date)))
        assert (claims.tcb.status, claims.tcb.advisory_ids) == (TcbStatus.OUT_OF_DATE, ("INTEL-SA-90005",))
        assert failing(claims) == [Check.TCB_STATUS]
    assert td(quote(qe=replace(TD_QE, isvsvn=7))).tcb == BASELINE.tcb


@pytest.mark.parametrize("attributes", [flip(0, 2)(TD_QE.attributes), flip(15)(TD_QE.attributes)])
def test_t33_attributes_outside_of_the_mask(attributes: bytes) -> None:
    claims = td(quote(qe=replace(TD_QE, attributes=attributes)))
    assert claims == BASELINE._replace(qe=BASELINE.qe._replace(attributes=attributes))


@pytest.mark.parametrize("tail", [b"\x01" + bytes(31), bytes(31) + b"\x80"])
def test_t35_second_half_of_the_qe_report_data(tail: bytes) -> None:
    right = ATTESTER.qe_report_data()
    with not_authentic(Reason.TDX_QE_REPORT_DATA):
        verified(quote(qe_report_data=right[:32] + tail))
    assert verified(quote(qe_report_data=right)) == BASELINE


def test_t36_attestation_key_of_an_attacker() -> None:
    with not_authentic(Reason.TDX_QE_REPORT_DATA):
        verified(quote(attestation_key=p256_key("mallory", "ak"), qe_report_data=ATTESTER.qe_report_data()))


def test_t36_quoting_enclave_of_an_attacker() -> None:
    # The QE vouches for the attacker's key, but no genuine PCK signed that.
    with not_authentic(Reason.TDX_QE_REPORT_SIGNATURE):
        verified(quote(attestation_key=p256_key("mallory", "ak"), qe_signing=Signing(key=p256_key("mallory", "pck"))))


@pytest.mark.parametrize(
    "point",
    [bytes(64), bytes(63) + b"\x01", P.to_bytes(32) + bytes(32), (P + 5).to_bytes(32) * 2, b"\xff" * 64],
)
def test_t37_attestation_key_that_is_no_point(point: bytes) -> None:
    with not_authentic(Reason.TDX_ATTESTATION_KEY):
        verified(quote(attestation_public_key=point))


SIGNATURE = QUOTE[636:700]
R, S = int.from_bytes(SIGNATURE[:32]), int.from_bytes(SIGNATURE[32:])


@pytest.mark.parametrize(
    ("r", "s"),
    [(0, S), (R, 0), (0, 0), (1, 1), (N, S), (R, N), (N + 1, S), (R, N + 1), (2**256 - 1, 2**256 - 1), (S, R)],
)
def test_t38_numbers_that_are_no_signature(r: int, s: int) -> None:
    signature = r.to_bytes(32) + s.to_bytes(32)
    with not_authentic(Reason.TDX_QUOTE_SIGNATURE):
        verified(quote(signing=Signing(signature=signature)))
    with not_authentic(Reason.TDX_QE_REPORT_SIGNATURE):
        verified(quote(qe_signing=Signing(signature=signature)))


def test_t39_negated_s() -> None:
    for offsets in ([636], [1154], [636, 1154]):
        raw = QUOTE
        for offset in offsets:
            raw = negate_s(offset)(raw)
        assert verified(raw) == BASELINE


# ---------------------------------------------------------------------------------------------------------------------
# Framing


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 6, 7, 65535])
def test_t40_certification_data_of_another_type(kind: int) -> None:
    with malformed(Reason.TDX_CERTIFICATION_DATA):
        verified(quote(cert_type=kind))


@pytest.mark.parametrize("empty", [b"", b"\0"])
def test_t40_no_certificate(empty: bytes) -> None:
    with malformed(Reason.PEM_MALFORMED):
        verified(quote(cert_data=empty))


@pytest.mark.parametrize(
    ("name", "offset", "width"),
    [("signature_data_size", 632, 4), ("outer_size", 766, 4), ("auth_data_size", 1218, 2), ("cert_size", 1254, 4)],
)
def test_t41_lengths(name: str, offset: int, width: int) -> None:
    right = int.from_bytes(QUOTE[offset : offset + width], "little")
    assert quote(**{name: right}) == QUOTE
    for wrong in (0, 1, right - 1, right + 1):
        with malformed(Reason.TDX_SIGNATURE_DATA):
            verified(quote(**{name: wrong}))
    # Only the outermost length is measured against the buffer itself.
    outermost = name == "signature_data_size"
    with malformed(Reason.TDX_QUOTE_TRUNCATED if outermost else Reason.TDX_SIGNATURE_DATA):
        verified(quote(**{name: 256**width - 1}))


END = parse_quote(QUOTE).trailing


def test_t42_truncated() -> None:
    end = len(QUOTE) - len(END)
    for size in range(end):
        with malformed(Reason.TDX_QUOTE_TRUNCATED):
            verified(QUOTE[:size])
    for size in range(end, len(QUOTE)):
        assert verified(QUOTE[:size]) == BASELINE._replace(trailing_bytes=size - end)


@pytest.mark.parametrize("tail", [b"", bytes(1), bytes(70), bytes(8192), b"text behind the quote", b"\xff" * 8192])
def test_t43_trailing_bytes(tail: bytes) -> None:
    claims = td(quote(trailing=tail))
    assert claims == BASELINE._replace(trailing_bytes=len(tail))
    assert failing(claims) == []
    # A policy may want none.
    none = factory.load(edits={"tdx.trailing_bytes": '"none"'})
    assert failing(claims, none) == ([Check.TRAILING_BYTES] if tail else [])


def test_t43_too_long() -> None:
    assert verified(QUOTE + bytes(MAX_QUOTE_SIZE - len(QUOTE))).evidence_id == BASELINE.evidence_id
    for size in (MAX_QUOTE_SIZE + 1, 10 * 2**20):
        with malformed(Reason.EVIDENCE_SIZE):
            verified(QUOTE + bytes(size - len(QUOTE)))


PEM = pem(*ATTESTER.pck_chain)


@pytest.mark.parametrize(
    "edited",
    [
        PEM.replace(b"\n", b"\r\n"),
        b"leading text\n" + PEM,
        b"\n" + PEM,
        PEM.replace(b"-----END CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n\n"),
        PEM.replace(b"\n", b"\n\n"),
        PEM.replace(b"\n", b" \n", 2),
        PEM + b"trailing text",
        PEM + b"\0\0",
        PEM[:-1] + b"\0\n",
        b"\xef\xbb\xbf" + PEM,
    ],
)
def test_t44_pem_with_other_text(edited: bytes) -> None:
    with malformed(Reason.PEM_MALFORMED):
        verified(quote(cert_data=edited))


@pytest.mark.parametrize("edited", [PEM, PEM + b"\0", PEM[:-1], PEM[:-1] + b"\0", PEM + b"\n" * 500, PEM + b"\n\n\0"])
def test_t44_pem_end(edited: bytes) -> None:
    assert verified(quote(cert_data=edited)) == BASELINE


def padded_last_digit(raw: bytes) -> bytes:
    """Set an unused bit in the last digit of base64 before a padding."""
    end = raw.index(b"=")
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    digit = alphabet[alphabet.index(raw[end - 1]) + 1]
    return raw[: end - 1] + bytes((digit,)) + raw[end:]


@pytest.mark.parametrize(
    "edited",
    [
        swap(b"MII", b"M!!")(PEM),
        swap(b"MII", b"M II")(PEM),
        swap(b"MII", b"MI=I")(PEM),
        swap(b"/", b"_")(PEM),
        padded_last_digit(PEM),
        PEM.replace(b"BEGIN CERTIFICATE", b"BEGIN TRUSTED CERTIFICATE").replace(b"END CERT", b"END TRUSTED CERT"),
        PEM.replace(b"BEGIN CERTIFICATE", b"BEGIN X509 CERTIFICATE").replace(b"END CERT", b"END X509 CERT"),
        swap(b"-----BEGIN", b"----BEGIN")(PEM),
        swap(b"-----END CERTIFICATE-----", b"-----END CERTIFICATE----")(PEM),
    ],
)
def test_t45_pem_that_is_not_strict(edited: bytes) -> None:
    with malformed(Reason.PEM_MALFORMED):
        verified(quote(cert_data=edited))


@pytest.mark.parametrize("size", [0, 1, 31, 33, 1000])
def test_t46_authentication_data(size: int) -> None:
    assert verified(quote(auth_data=bytes(size))) == BASELINE


def test_t46_authentication_data_beyond_the_quote() -> None:
    with malformed(Reason.TDX_SIGNATURE_DATA):
        verified(quote(auth_data_size=65535))
    with not_authentic(Reason.TDX_QE_REPORT_DATA):
        verified(quote(auth_data=b"", qe_report_data=ATTESTER.qe_report_data()))


def posted(edit: Callable[[dict[str, Any]], object]) -> Evidence:
    document = json.loads(dump_evidence_json(EVIDENCE))
    edit(document)
    return load_evidence_json(json.dumps(document).encode())


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: "0x" + text,
        lambda text: " " + text,
        lambda text: text[:64] + "\n" + text[64:],
        lambda text: text + "\n",
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: text[:-1],
        lambda text: text.rstrip("="),
        lambda text: text + "=",
    ],
)
def test_t47_encoding(encode: Callable[[str], str]) -> None:
    assert posted(lambda document: None) == EVIDENCE
    with malformed(Reason.BASE64_MALFORMED):
        posted(lambda document: document["cpu"].update(quote=encode(document["cpu"]["quote"])))


def test_t47_hex() -> None:
    with malformed(Reason.BASE64_MALFORMED):
        posted(lambda document: document["cpu"].update(quote=QUOTE.hex()))
    # Of another length it is base64 too, since hex digits are: of a quote with another version.
    cpu = posted(lambda document: document["cpu"].update(quote=(QUOTE + b"\0").hex())).cpu
    with malformed(Reason.TDX_QUOTE_VERSION):
        parse_evidence(cpu)


def test_t48_two_quotes() -> None:
    second = quote(TdReport(mrtd=bytes(48)))
    assert verified(QUOTE + second) == BASELINE._replace(trailing_bytes=len(END) + len(second))


def test_t49_sgx_quote_for_tdx() -> None:
    with malformed(Reason.EVIDENCE_KIND):
        parse_evidence(QuoteEvidence(tee="tdx", quote=SGX_QUOTE))
    with malformed(Reason.EVIDENCE_KIND):
        parse_evidence(QuoteEvidence(tee="sgx", quote=QUOTE))
    assert parse_evidence(QuoteEvidence(tee="sgx", quote=SGX_QUOTE)).tee == "sgx"
    # And with the collateral of the other.
    with rejected(Reason.TDX_TCB_INFO_TYPE):
        verified(SGX_QUOTE, VENDOR.collateral("tdx", PckCa.PROCESSOR))


@pytest.mark.parametrize("tee", ["simulated", "fake", "fake_tdx", "test_purpose", "TDX", "any", ""])
def test_t50_unknown_kind(tee: str) -> None:
    reason = Reason.EVIDENCE_KIND if tee else Reason.JSON_SCHEMA
    with malformed(reason):
        posted(lambda document: document["cpu"].update(tee=tee))


@pytest.mark.parametrize("flag", ["simulated", "fake", "test_purpose", "insecure", "debug"])
def test_t50_unknown_flag(flag: str) -> None:
    with malformed(Reason.JSON_SCHEMA):
        posted(lambda document: document.update({flag: True}))
    with malformed(Reason.JSON_SCHEMA):
        posted(lambda document: document["cpu"].update({flag: True}))


def test_t50_report_data_as_a_quote() -> None:
    # Cocoon's fake TDX sends the 64 bytes alone.
    with malformed(Reason.TDX_QUOTE_VERSION):
        verified(bytes(64))


def test_t50_no_such_path_in_the_core() -> None:
    package = Path(attestd.__file__).parent
    outside = {"simulator", "cli", "_data"}
    for path in package.rglob("*.py"):
        if path.relative_to(package).parts[0] not in outside:
            assert not re.search(r"fake_tdx|test_purpose|insecure_|skip_verif", path.read_text()), path


# ---------------------------------------------------------------------------------------------------------------------
# Event logs


def replayed(log: bytes, body: TdReport) -> EventLogClaims:
    claims = td(quote(body))
    return verify_event_log(log, (claims.rtmr0, claims.rtmr1, claims.rtmr2, claims.rtmr3))


def test_t51_text_altered_beside_its_digest() -> None:
    body = TdReport().booted(DSTACK_BOOT)
    (app_id,) = (event.payload for event in replayed(dstack_log(), body).runtime_events if event.name == "app-id")
    assert app_id == bytes.fromhex("a77e57d0" * 5)
    for old, new in ((app_id.hex(), bytes(20).hex()), ("compose-hash", "compose-hush")):
        with not_authentic(Reason.EVENT_LOG_MISMATCH):
            replayed(swap(old.encode(), new.encode())(dstack_log()), body)
    # What a CCEL says beside its digests is no claim at all.
    described = swap(b"console=hvc0", b"console=evil")(ccel())
    assert replayed(described, TdReport()) == replayed(ccel(), TdReport())


NO_ACTION = Event(0, 3, b"StartupLocality\0\3")


@pytest.mark.parametrize(
    "events",
    [
        BOOT[1:],
        BOOT[:-1],
        (BOOT[1], BOOT[0], *BOOT[2:]),
        (*BOOT, BOOT[-1]),
        (*BOOT[:-1], replace(BOOT[-1], register=2)),
    ],
    ids=["dropped first", "dropped last", "reordered", "duplicate", "other register"],
)
def test_t52_events(events: tuple[Event, ...]) -> None:
    for log in (ccel(events), dstack_log(events)):
        with not_authentic(Reason.EVENT_LOG_MISMATCH):
            replayed(log, TdReport())


def test_t52_no_action_is_not_counted() -> None:
    assert replayed(ccel((NO_ACTION, *BOOT)), TdReport()).events_per_register == (7, 5, 2, 0)
    counted = TdReport().booted((replace(NO_ACTION, event_type=4), *BOOT))
    with not_authentic(Reason.EVENT_LOG_MISMATCH):
        replayed(ccel((NO_ACTION, *BOOT)), counted)


def test_t52_algorithm_and_number() -> None:
    with malformed(Reason.EVENT_LOG_MALFORMED):
        replayed(ccel(algorithm=0x000B), TdReport())
    with malformed(Reason.EVENT_LOG_MALFORMED):
        replayed(ccel(BOOT * 300), TdReport())
    with malformed(Reason.EVIDENCE_SIZE):
        replayed(ccel(BOOT * 2000), TdReport())
