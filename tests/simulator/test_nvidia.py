"""NVIDIA's side: what is not asked for is as the vendor makes it, and what is asked for is all that differs."""

import hmac
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from lxml import etree

from attestd.binding import transcript
from attestd.binding.verify import BindingGrade, verify_binding
from attestd.claims import GpuMode
from attestd.evidence import HclEvidence, QuoteEvidence, Scheme, SnpEvidence
from attestd.nvgpu.device import authenticate_device
from attestd.nvgpu.ocsp import verify_answer
from attestd.nvgpu.rim import authenticate_rim
from attestd.nvgpu.spdm import parse_report
from attestd.nvgpu.topology import Member, verify_topology
from attestd.simulator import (
    ASKED_ROLES,
    AT,
    B200,
    H100,
    MPT,
    NVSWITCH,
    AmdVendor,
    Attester,
    Block,
    Element,
    Gpu,
    GpuAttester,
    KeyPair,
    NvidiaVendor,
    OpaqueField,
    Registry,
    Signing,
    SnpAttester,
    SpdmReport,
    Vendor,
    XmlSignature,
    answers,
    by_name,
    dice_tcb_info,
    flip,
    gpu_set,
    measured,
    nonce_extension,
    opaque_field,
    other_spdm_s,
    p384_key,
    protected_pcie,
    swap,
)
from attestd.simulator import spdm as types
from attestd.simulator.gpu import Arch
from attestd.simulator.nvidia import ISSUERS
from attestd.simulator.spdm import SPDM
from attestd.snp.report import parse_report as parse_snp_report
from attestd.snp.tpm import parse_quote as parse_tpm_quote
from attestd.tdx.quote import parse_quote
from attestd.x509 import GENUINE_ROOTS, Certificate, TrustAnchors

ARCHS: list[Arch] = ["HOPPER", "BLACKWELL", "LS10"]
VENDORS = {arch: NvidiaVendor.of(arch) for arch in ARCHS}
HOPPER = GpuAttester.of(VENDORS["HOPPER"])
REGISTRY = Registry()
KEY = KeyPair.ed25519()
MODELS = (b"\2" * 32, b"\1" * 32)
NONCE = bytes(range(32))


def leads_to(*chain: bytes) -> bool:
    loaded = [x509.load_der_x509_certificate(der) for der in chain]
    for certificate, issuer in zip(loaded, (*loaded[1:], loaded[-1]), strict=True):
        certificate.verify_directly_issued_by(issuer)
    return True


def rim_anchors(vendor: NvidiaVendor) -> TrustAnchors:
    return TrustAnchors.load([vendor.rim_root.der])


@pytest.mark.parametrize("arch", ARCHS)
def test_every_architecture_makes_everything(arch: Arch) -> None:
    attester = GpuAttester.of(VENDORS[arch])
    assert leads_to(*attester.chain)
    assert leads_to(*attester.vendor.rim_chain)
    gpu, report = attester.gpu, parse_report(attester.report())
    device = authenticate_device(attester.chain, TrustAnchors.load([attester.vendor.root.der]), AT)
    assert (device.arch, device.pdi, device.fwid, device.hwmodel) == (arch, gpu.pdi, gpu.fwid, f"{gpu.chip} BROM")
    assert report.nonce == SPDM.nonce
    assert (report.opaque.driver_version, report.opaque.vbios_version) == (gpu.driver_version, gpu.vbios_version)
    assert report.is_switch is (arch == "LS10")
    golden: dict[int, tuple[bytes, ...]] = {}
    for kind in attester.rim_kinds:
        rim = authenticate_rim(attester.rim(kind), rim_anchors(attester.vendor), AT)
        assert rim.version == (gpu.driver_version if kind == "driver" else gpu.vbios_version)
        assert not golden.keys() & rim.golden.keys()
        golden |= rim.golden
    assert len(golden) == {"HOPPER": 33, "BLACKWELL": 42, "LS10": 31}[arch]
    for index, values in golden.items():
        assert report.measurements[index] in values
    assert [*attester.rims()] == [gpu.rim_id(kind) for kind in attester.rim_kinds]


def test_no_root_is_genuine() -> None:
    roots = {root.der for vendor in VENDORS.values() for root in (vendor.root, vendor.rim_root)}
    assert len(roots) == 2
    TrustAnchors.load(roots)
    for root in roots:
        assert Certificate(root).fingerprint not in GENUINE_ROOTS
        assert "attestd" in x509.load_der_x509_certificate(root).subject.rfc4514_string()


def test_mallory_has_the_same_names_and_other_keys() -> None:
    ours, theirs = VENDORS["HOPPER"], NvidiaVendor.of(seed="mallory")
    for role in ISSUERS:
        one, other = ours.authority(role), theirs.authority(role)
        assert one.form.subject == other.form.subject
        assert one.form.spki != other.form.spki


def test_the_vendor_of_another_time_has_the_same_cas() -> None:
    later = NvidiaVendor.of(at=AT + timedelta(days=2000))
    for role in ISSUERS:
        assert (later.authority(role) == VENDORS["HOPPER"].authority(role)) is (role != "rim_signer")
    attester = GpuAttester.of(later)
    assert attester.chain == HOPPER.chain
    for kind in attester.rim_kinds:
        authenticate_rim(attester.rim(kind), rim_anchors(later), later.at)
    answer = ocsp.load_der_ocsp_response(attester.ocsp("brom"))
    (single,) = answer.responses
    assert single.this_update_utc < later.at


def test_hopper_and_its_switches_have_one_identity_ca() -> None:
    hopper, blackwell, switch = (VENDORS[arch] for arch in ARCHS)
    assert hopper.identity == switch.identity != blackwell.identity
    assert len({vendor.provisioner.der for vendor in VENDORS.values()}) == 3


@pytest.mark.parametrize("role", ISSUERS)
def test_reissue_changes_one_certificate(role: Any) -> None:
    vendor = VENDORS["HOPPER"]
    other = vendor.reissue(role, lambda form: replace(form, serial_number=7))
    keyed = vendor.reissue(role, key=p384_key("tests", "other"))
    for name in ISSUERS:
        assert (other.authority(name) == vendor.authority(name)) is (name != role)
    made = keyed.authority(role)
    assert (made.serial_number, made.key) == (vendor.authority(role).serial_number, p384_key("tests", "other"))
    assert made.form.spki != vendor.authority(role).form.spki
    if ISSUERS[role] == role:
        TrustAnchors.load([made.der])


def test_the_leaf_is_of_one_state_of_one_device() -> None:
    vendor = VENDORS["HOPPER"]
    updated, other = GpuAttester.of(vendor, replace(H100, fwid=b"\1" * 48)), GpuAttester.of(vendor, H100.numbered(1))
    assert updated.brom == HOPPER.brom
    assert len({one.ak.form.spki for one in (HOPPER, updated, other)}) == 3
    assert len({one.ak.serial_number for one in (HOPPER, updated, other)}) == 3
    assert other.brom.der != HOPPER.brom.der
    assert other.brom.serial_number.to_bytes(9)[1:] == other.gpu.pdi


def test_certificates_of_a_device_may_be_wrong() -> None:
    vendor = VENDORS["HOPPER"]
    edited = GpuAttester.of(vendor, edit=lambda form: form.having(dice_tcb_info(bytes(48), "GB100 A01 GSP")))
    assert edited.chain[1:] == HOPPER.chain[1:]
    assert leads_to(*edited.chain)
    forged = GpuAttester.of(vendor, signing=Signing(key=p384_key("forger", "brom")))
    assert forged.ak.form == HOPPER.ak.form
    with pytest.raises(InvalidSignature):
        leads_to(*forged.chain)
    renamed = GpuAttester.of(vendor, edit_brom=lambda form: replace(form, serial_number=5))
    assert renamed.brom.serial_number == 5
    assert leads_to(*renamed.chain)


def changed(value: Any) -> Any:
    match value:
        case int():
            return value ^ 1
        case bytes():
            return flip(0)(value)
        case tuple():
            return value[:-1]
        case _:
            return 7


# How many bytes a count has of which another value may change all.
COUNTS = {"number_of_blocks": 1, "record_length": 3, "opaque_length": 2}


def test_report_fields_keep_their_places() -> None:
    """Each field by itself changes its own bytes, which lie one after the other in the order of the layout."""
    base = SPDM.of(H100.blocks, H100.opaque)
    raw, last = base.encode(), -1
    for field in fields(SpdmReport):
        if field.name.startswith("edit_") or field.name in {"blocks", "opaque"}:
            continue
        edited = replace(base, **{field.name: changed(getattr(base, field.name))}).encode()
        places = [i for i, (a, b) in enumerate(zip(raw, edited, strict=True)) if a != b]
        assert 1 <= len(places) <= COUNTS.get(field.name, 1)
        assert places[0] > last
        last = places[0]
    assert raw[37:45] == bytes.fromhex("1160000040c00d00")


@pytest.mark.parametrize("field", ["nonce", "responder_nonce"])
def test_nonces_have_a_size(field: str) -> None:
    with pytest.raises(ValueError, match="32"):
        HOPPER.report(SpdmReport(**{field: bytes(31)}))  # type: ignore[arg-type]


def test_blocks_and_fields_may_be_wrong() -> None:
    assert Block(index=1, value=b"v").encode() == b"\1\1\4\0\1\1\0v"
    odd = Block(index=2, value=b"v", specification=3, value_type=4, size=5, value_size=6)
    assert odd.encode() == b"\2\3\5\0\4\6\0v"
    assert OpaqueField(type=300, data=b"d").encode() == b"\x2c\1\1\0d"
    assert OpaqueField(type=3, data=b"d", size=9).encode() == b"\3\0\x09\0d"


def test_edits_of_reports() -> None:
    plain = parse_report(HOPPER.report())
    other = parse_report(HOPPER.report(SpdmReport(edit_blocks=measured({9: b"\7" * 48}))))
    assert [i for i, (a, b) in enumerate(zip(plain.measurements, other.measurements, strict=True)) if a != b] == [9]
    for kind, data, edited in (
        (types.DRIVER_VERSION, b"1.2\0", "1.2"),
        (types.FWID, None, None),
        (types.NVDEC0_STATUS, b"\xaa", True),
    ):
        report = parse_report(HOPPER.report(SpdmReport(edit_opaque=opaque_field(kind, data))))
        differing = [
            name
            for name in plain.opaque._fields
            if getattr(plain.opaque, name) != getattr(report.opaque, name) and name != "types"
        ]
        assert [getattr(report.opaque, name) for name in differing] == [edited]
    added = SPDM.of((), H100.opaque)
    assert [*opaque_field(200, b"new")(added.opaque or ())] == [*H100.opaque, OpaqueField(type=200, data=b"new")]
    replaced = SpdmReport(blocks=(Block(index=1, value=bytes(48)),), opaque=H100.opaque).of((), ())
    assert (len(replaced.blocks or ()), replaced.opaque) == (1, H100.opaque)


def test_signing_of_reports() -> None:
    raw = HOPPER.report()
    assert raw == HOPPER.report()
    assert HOPPER.report(signing=Signing(after=flip(5))) == flip(5)(raw)
    before = HOPPER.report(signing=Signing(before=flip(5)))
    assert before[:-96] == flip(5)(raw)[:-96]
    assert before[-96:] != raw[-96:]
    assert HOPPER.report(signing=Signing(signature=bytes(96))) == raw[:-96] + bytes(96)
    assert other_spdm_s(other_spdm_s(raw)) == raw != other_spdm_s(raw)
    assert parse_report(other_spdm_s(raw)).evidence_id == parse_report(raw).evidence_id


@pytest.mark.parametrize(
    ("gpu", "driver", "vbios"),
    [
        (H100, "NV_GPU_DRIVER_GH100_580.95.05", "NV_GPU_VBIOS_G520_0200_885_9600CF0001"),
        (B200, "NV_GPU_CC_DRIVER_GB100_580.95.05", "NV_GPU_VBIOS_G525_0220_886_970088000F"),
        (NVSWITCH, None, "NV_SWITCH_BIOS_5612_0002_890_9610550001"),
    ],
)
def test_ids_of_rims(gpu: Gpu, driver: str | None, vbios: str) -> None:
    assert gpu.rim_id("vbios") == vbios
    if driver:
        assert gpu.rim_id("driver") == driver


def test_modes() -> None:
    flag = next(field.data for field in replace(H100, feature_flag=MPT).opaque if field.type == types.FEATURE_FLAG)
    assert flag == b"\1\0"
    linked = H100.linked((b"12345678",))
    assert (linked.switch_pdis, linked.protected_pcie_status, linked.feature_flag) == ((b"12345678",) * 18, 0xAA, 2)


def test_rims_of_other_states_have_other_values() -> None:
    newer = replace(H100, driver_version="560.1")
    assert newer.golden("vbios") == H100.golden("vbios")
    assert not set(newer.golden("driver").values()) & set(H100.golden("driver").values())
    assert newer.blocks != H100.blocks


def c14n(element: Any) -> bytes:
    return bytes(etree.tostring(element, method="c14n"))


def test_the_canonical_form_is_that_of_another_implementation() -> None:
    document = Element(
        "a",
        (("z", '"<&>\t\n\r'), ("xmlns:b", "urn:x"), ("xmlns", "urn:y"), ("b:c", "1"), ("a", "2")),
        (
            "<>&\"'\r",
            Element("b:d", (("xmlns:b", "urn:x"), ("b:z", "3"), ("xmlns:e", "urn:a"), ("e:z", "4"), ("z", "5"))),
            Element("e", (("xmlns", ""), ("xmlns:b", "urn:z"), ("b:c", "6")), (Element("f"),)),
        ),
    )
    parsed = etree.fromstring(document.write())
    assert c14n(parsed).decode() == document.canonical()
    scope = {"b": "urn:x", "": "urn:y"}
    part = document.content[1]
    assert isinstance(part, Element)
    assert c14n(parsed[0]).decode() == part.canonical(scope)


def signed_parts(raw: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Return the digest that the document has, what SignedInfo says, and that with the signature."""
    root = etree.fromstring(raw)
    namespace = {"ds": "http://www.w3.org/2000/09/xmldsig#"}
    signature = root.find("ds:Signature", namespace)
    info = c14n(signature.find("ds:SignedInfo", namespace))
    said, value = (signature.findtext(f".//ds:{name}", None, namespace) for name in ("DigestValue", "SignatureValue"))
    root.remove(signature)
    return c14n(root), info, said.encode(), value.encode()


@pytest.mark.parametrize(
    ("arguments", "which"),
    [
        ({"edit": lambda form: replace(form, version="1.2")}, (0, 1, 2, 3)),
        ({"edit": lambda form: form.having(9, lambda one: replace(one, active="False"))}, (0, 1, 2, 3)),
        ({"edit_element": lambda root: replace(root, name="Other")}, (0, 1, 2, 3)),
        ({"signature": XmlSignature(uri="#x")}, (1, 3)),
        ({"signature": XmlSignature(digest=bytes(48))}, (1, 2, 3)),
        ({"signature": XmlSignature(certificates=())}, ()),
        ({"signature": XmlSignature(key_info=(Element("ds:KeyName"),), more=(Element("ds:Object"),))}, ()),
        ({"signing": Signing(key=p384_key("forger", "rim"))}, (3,)),
        ({"signing": Signing(make=lambda signed: hmac.digest(b"key", signed, "sha384"))}, (3,)),
        ({"signing": Signing(before=swap(b"sha384", b"sha256"))}, (3,)),
        ({"signing": Signing(after=swap(b"GPU", b"CPU"))}, (0,)),
    ],
)
def test_one_thing_of_a_rim_may_be_wrong(arguments: dict[str, Any], which: tuple[int, ...]) -> None:
    plain, other = HOPPER.rim("vbios"), HOPPER.rim("vbios", **arguments)
    assert plain != other
    pairs = zip(signed_parts(plain), signed_parts(other), strict=True)
    assert tuple(i for i, (a, b) in enumerate(pairs) if a != b) == which


@pytest.mark.parametrize("role", ASKED_ROLES)
@pytest.mark.parametrize("state", ["good", "hold", "revoked", "unknown"])
def test_answers_of_ocsp(role: Any, state: Any) -> None:
    certificate, issuer = HOPPER.asked(role)
    raw = HOPPER.ocsp(role, state, NONCE)
    status = verify_answer(raw, Certificate(certificate.der), Certificate(issuer.der), AT, NONCE)
    assert status.state == state
    answer = ocsp.load_der_ocsp_response(raw)
    (responder,) = answer.certificates
    responder.verify_directly_issued_by(x509.load_der_x509_certificate(issuer.der))
    assert ExtendedKeyUsageOID.OCSP_SIGNING in responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value


@pytest.mark.parametrize(("name", "algorithm"), [("sha1", SHA1()), ("sha256", SHA256()), ("sha384", SHA384())])
def test_an_answer_is_to_the_request(name: Any, algorithm: Any) -> None:
    certificate, issuer = (x509.load_der_x509_certificate(one.der) for one in HOPPER.asked("provisioner"))
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, algorithm)
    request = builder.add_extension(x509.OCSPNonce(NONCE), critical=False).build()
    raw = HOPPER.responder("provisioner").answer(HOPPER.vendor.provisioner, nonce=NONCE, digest=name)
    answer = ocsp.load_der_ocsp_response(raw)
    for part in ("serial_number", "issuer_name_hash", "issuer_key_hash"):
        assert getattr(answer, part) == getattr(request, part)
    assert answer.hash_algorithm.name == name
    assert answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == NONCE


def test_an_answer_may_be_wrong() -> None:
    responder, brom = HOPPER.responder("brom"), HOPPER.brom
    one = responder.answer(brom, edit=lambda form: form.single(lambda single: replace(single, next_update=None)))
    assert ocsp.load_der_ocsp_response(one).next_update_utc is None
    named = responder.answer(brom, edit=lambda form: replace(form, responder_id=by_name(brom.form.issuer)))
    assert ocsp.load_der_ocsp_response(named).responder_name == x509.load_der_x509_certificate(brom.der).issuer
    later = responder.answer(
        brom, edit=lambda form: replace(form, response_status=3), signing=Signing(after=lambda raw: raw)
    )
    assert ocsp.load_der_ocsp_response(later).response_status is ocsp.OCSPResponseStatus.TRY_LATER
    reason = responder.answer(brom, "revoked", edit=lambda form: form.single(lambda single: replace(single, reason=5)))
    assert ocsp.load_der_ocsp_response(reason).revocation_reason is x509.ReasonFlags.cessation_of_operation
    extended = responder.answer(
        brom,
        edit=lambda form: form.single(lambda single: replace(single, extensions=(nonce_extension(NONCE),))),
    )
    assert len(ocsp.load_der_ocsp_response(extended).single_extensions) == 1
    forged = responder.answer(brom, signing=Signing(key=p384_key("forger", "ocsp")))
    assert (
        ocsp.load_der_ocsp_response(forged).tbs_response_bytes
        == ocsp.load_der_ocsp_response(responder.answer(brom)).tbs_response_bytes
    )
    itself = replace(responder, responder=HOPPER.vendor.provisioner).answer(brom)
    assert ocsp.load_der_ocsp_response(itself).certificates == []


def test_several_answer_one_nonce() -> None:
    gpus = gpu_set(3, B200, seed="mallory")
    said = answers(gpus, NONCE)
    assert {answer.report[4:36] for answer in said} == {NONCE}
    assert len({answer.chain[1] for answer in said}) == 3
    assert {answer.chain[2:] for answer in said} == {gpus[0].chain[2:]}
    assert {answer.arch for answer in said} == {"BLACKWELL"}


def member_of(attester: GpuAttester) -> Member:
    device = authenticate_device(attester.chain, TrustAnchors.load([attester.vendor.root.der]), AT)
    return Member(device.arch, device.device_id, device.pdi, parse_report(attester.report()).opaque)


def test_a_board_in_protected_pcie_mode() -> None:
    board = protected_pcie()
    topology = verify_topology([member_of(one) for one in board])
    assert topology.mode is GpuMode.PPCIE
    assert (topology.gpus, topology.switches) == (
        tuple(one.gpu.pdi for one in board[:8]),
        tuple(one.gpu.pdi for one in board[8:]),
    )
    assert [one.brom for one in board[:8]] == [one.brom for one in gpu_set(8)]
    swapped = protected_pcie(edit=lambda gpu: replace(gpu, gpu_pdis=gpu.gpu_pdis[::-1]))
    assert [one.gpu for one in swapped[:8]] == [one.gpu for one in board[:8]]
    assert swapped[8].gpu.gpu_pdis == board[8].gpu.gpu_pdis[::-1]


def test_gpus_without_switches_go_together() -> None:
    topology = verify_topology([member_of(one) for one in gpu_set(2)])
    assert (topology.mode, topology.switches, topology.absent_switches) == (GpuMode.SPT, (), ())


CPUS: list[Callable[..., Any]] = [
    Attester.of(Vendor.of()).evidence,
    SnpAttester.of(AmdVendor.of()).evidence,
    SnpAttester.of(AmdVendor.of()).hcl_evidence,
]


def report_data_of(cpu: QuoteEvidence | SnpEvidence | HclEvidence) -> bytes:
    match cpu:
        case QuoteEvidence():
            body: Any = parse_quote(cpu.quote).body
            return bytes(body.report_data)
        case SnpEvidence():
            return parse_snp_report(cpu.report).body.report_data
        case HclEvidence():
            return parse_tpm_quote(cpu.tpm_quote.message).extra_data


@pytest.mark.parametrize("evidence_of", CPUS)
def test_report_data_commits_to_the_gpus(evidence_of: Callable[..., Any]) -> None:
    context = REGISTRY.context(KEY, MODELS)
    nonce = REGISTRY.gpu_nonce(KEY, MODELS)
    assert nonce == transcript.gpu_nonce(context)
    first, second = answers(gpu_set(2), nonce)
    bundle = transcript.gpu_bundle((gpu.report, b"".join(gpu.chain)) for gpu in (first, second))
    wanted = transcript.report_data(context, bundle)
    cpu = evidence_of(KEY, REGISTRY, MODELS, gpus=(first, second)).cpu
    assert report_data_of(cpu) in {wanted, transcript.vtpm_extra_data(wanted)}
    for others in ((second, first), (first,), ()):
        assert report_data_of(evidence_of(KEY, REGISTRY, MODELS, gpus=others).cpu) != report_data_of(cpu)


@pytest.mark.parametrize("scheme", [Scheme.SPKI_SHA256, Scheme.NONCE_AND_KEY])
def test_other_schemes_commit_to_no_gpu(scheme: Scheme) -> None:
    evidence = CPUS[0](KEY, REGISTRY, scheme=scheme, gpus=answers(gpu_set(1), REGISTRY.challenge))
    assert report_data_of(evidence.cpu) == REGISTRY.report_data(KEY, scheme=scheme)
    report_data = report_data_of(evidence.cpu)
    bound = verify_binding(
        evidence, registry_id=REGISTRY.registry_id, report_data=report_data, gpu_nonces=[REGISTRY.challenge], at=AT
    )
    is_fresh = scheme is Scheme.NONCE_AND_KEY
    assert bound.grade is (BindingGrade.SAME_CHALLENGE if is_fresh else BindingGrade.NONE)
