"""What NVIDIA and its devices made, rebuilt by the simulator from its parts: the bytes must be theirs."""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha384
from pathlib import Path
from struct import unpack_from
from typing import Any
from xml.dom.minidom import Node, parseString

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from attestd.codec import load_der_sequence, load_der_time, load_pem
from attestd.errors import Reason
from attestd.simulator import (
    B200,
    H100,
    NVSWITCH,
    Block,
    CertificateForm,
    Element,
    Extension,
    Golden,
    Gpu,
    GpuAttester,
    NvidiaVendor,
    OpaqueField,
    RimForm,
    SpdmReport,
    XmlSignature,
    dice_tcb_info,
    fwid_extension,
    p384_key,
    protected_pcie,
)
from attestd.simulator import spdm as types
from attestd.simulator.der import generalized_time
from attestd.simulator.gpu import Arch, device_information
from attestd.simulator.keys import spki
from attestd.simulator.nvidia import serial_number
from attestd.simulator.rim import canonical_signed_info
from tests.evidence import EVIDENCE

NVIDIA = EVIDENCE / "nvidia"
pytestmark = pytest.mark.skipif(not NVIDIA.is_dir(), reason=f"no genuine evidence at {NVIDIA}")

COMPLETE = NVIDIA / "h100-545.00-complete"
BLACKWELL = NVIDIA / "gb100-575.32-device-only"
PPCIE = NVIDIA / "h100-590.12-ppcie-device-only"
SWITCH = NVIDIA / "ls10-96.10.55.00.01-complete"
DEVICES = [COMPLETE, BLACKWELL, PPCIE, SWITCH]
RIMS = [
    COMPLETE / "driver_rim.swidtag",
    COMPLETE / "vbios_rim.swidtag",
    SWITCH / "vbios_rim.swidtag",
    NVIDIA / "rims/NV_GPU_DRIVER_GH100_550.144.03.xml",
]
BY_ARCH: list[tuple[Arch, Path]] = [("HOPPER", PPCIE), ("BLACKWELL", BLACKWELL), ("LS10", SWITCH)]


def name_of(path: Path) -> str:
    return path.name if path.is_dir() else f"{path.parent.name}-{path.name}"


def chain(folder: Path) -> list[bytes]:
    return list(load_pem((folder / "certs.pem").read_bytes()))


def elements(content: bytes) -> list[Any]:
    return load_der_sequence(content, Reason.DER_MALFORMED)


def parsed(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


def extensions(der: bytes) -> tuple[Extension, ...]:
    return tuple(Extension(e.oid.dotted_string, e.value.public_bytes(), e.critical) for e in parsed(der).extensions)


def form_of(der: bytes) -> CertificateForm:
    (signed,) = elements(parsed(der).tbs_certificate_bytes)
    _, _, _, issuer, validity, subject, key, _ = elements(signed.content)
    before, after = elements(validity.content)
    return CertificateForm(
        subject=subject.encoded,
        issuer=issuer.encoded,
        serial_number=parsed(der).serial_number,
        not_before=load_der_time(before, Reason.DER_MALFORMED),
        not_after=load_der_time(after, Reason.DER_MALFORMED),
        spki=key.encoded,
        extensions=extensions(der),
        signature_algorithm="1.2.840.10045.4.3.3",
    )


@pytest.mark.parametrize("folder", DEVICES, ids=name_of)
def test_device_certificates(folder: Path) -> None:
    for der in chain(folder):
        assert form_of(der).encode() == parsed(der).tbs_certificate_bytes


def rim_chain(path: Path) -> list[bytes]:
    found = re.findall(rb"<ds:X509Certificate>([^<]+)<", path.read_bytes())
    return [base64.b64decode(text) for text in found]


@pytest.mark.parametrize("path", RIMS, ids=name_of)
def test_certificates_of_rims(path: Path) -> None:
    signer, l3, ca, root = rim_chain(path)
    for der in (signer, root):
        assert form_of(der).encode() == parsed(der).tbs_certificate_bytes
    for der in (l3, ca):
        assert replace(form_of(der), time=generalized_time).encode() == parsed(der).tbs_certificate_bytes


def state(folder: Path) -> bytes:
    """Read the FWID off the leaf certificate."""
    return extensions(chain(folder)[0])[-1].value


@pytest.mark.parametrize(("arch", "folder"), BY_ARCH)
def test_extensions_of_a_device(arch: Arch, folder: Path) -> None:
    leaf, brom, *_ = chain(folder)
    described = json.loads((folder / "expected.json").read_bytes())["device"]
    *_, information, fwid = extensions(leaf)
    assert information == device_information(described["spdm_device_id"])
    if arch == "BLACKWELL":
        digest = fwid.value[fwid.value.index(b"\4\x30") + 2 :][:48]
        assert fwid == dice_tcb_info(digest, "GB100 A01 GSP")
    else:
        ours = p384_key("", "")
        made = fwid_extension(fwid.value[-48:], ours)
        assert fwid == replace(made, value=made.value.replace(spki(ours), form_of(brom).spki))
    assert (
        parsed(brom).serial_number
        == replace(H100, arch=arch, pdi=bytes.fromhex(described["brom_serial_hex"])[1:]).serial_number
    )
    assert parsed(leaf).serial_number == serial_number(
        parsed(leaf).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    )


def shape(der: bytes) -> tuple[object, ...]:
    certificate = parsed(der)
    kinds = [(e.oid.dotted_string, e.critical, len(e.value.public_bytes())) for e in certificate.extensions]
    # URLs and what devices are called are of other lengths.
    lengths = {"2.5.29.31", "1.3.6.1.5.5.7.1.1"}
    return (
        [attribute.oid for attribute in certificate.subject],
        [attribute.oid for attribute in certificate.issuer],
        [(oid, critical, 0 if oid in lengths else size) for oid, critical, size in kinds],
        certificate.serial_number.bit_length() // 8,
        len(form_of(der).spki),
        certificate.not_valid_after_utc.year,
        certificate.signature_algorithm_oid,
    )


def common_name(der: bytes) -> Any:
    return parsed(der).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value


@pytest.mark.parametrize(("arch", "folder"), BY_ARCH)
def test_simulated_device_certificates_have_the_form_of_genuine_ones(arch: Arch, folder: Path) -> None:
    for ours, theirs in zip(GpuAttester.of(NvidiaVendor.of(arch)).chain, chain(folder), strict=True):
        assert shape(ours) == shape(theirs)
        assert common_name(ours) == common_name(theirs).replace("ICA 00000", "ICA 1")
        assert parsed(ours).subject != parsed(theirs).subject


def test_simulated_certificates_of_rims_have_the_form_of_genuine_ones() -> None:
    for ours, theirs in zip(NvidiaVendor.of("LS10").rim_chain, rim_chain(SWITCH / "vbios_rim.swidtag"), strict=True):
        assert shape(ours)[:3] == shape(theirs)[:3]
        assert common_name(ours) == common_name(theirs)
        assert parsed(ours).subject != parsed(theirs).subject
    for ours, theirs in zip(
        NvidiaVendor.of().rim_chain[1:], rim_chain(COMPLETE / "vbios_rim.swidtag")[1:], strict=True
    ):
        assert common_name(ours) == common_name(theirs)


def report_of(raw: bytes) -> SpdmReport:
    """Take a genuine report apart, by fixed offsets."""
    length = int.from_bytes(raw[42:45], "little")
    blocks = [raw[start : start + 55] for start in range(45, 45 + length, 55)]
    tail = raw[45 + length :]
    opaque, fields = tail[34 : 34 + unpack_from("<H", tail, 32)[0]], []
    while opaque:
        kind, size = unpack_from("<HH", opaque)
        fields.append(OpaqueField(type=kind, data=opaque[4 : 4 + size]))
        opaque = opaque[4 + size :]
    return SpdmReport(
        nonce=raw[4:36],
        slot=raw[36],
        blocks=tuple(Block(index=block[0], value=block[7:]) for block in blocks),
        responder_nonce=tail[:32],
        opaque=tuple(fields),
    )


def bundled() -> Iterator[bytes]:
    for entry in json.loads((NVIDIA / "bundle-ppcie-8gpu-4switch/evidence.json").read_bytes()):
        yield base64.b64decode(entry["evidence"])


def test_reports() -> None:
    reports = [(folder / "report.bin").read_bytes() for folder in DEVICES]
    for raw in (*reports, *bundled()):
        assert report_of(raw).encode() == raw[:-96]


def described_gpu(folder: Path, gpu: Gpu) -> Gpu:
    """Read the state of a genuine device off what is said of it beside it."""
    document = json.loads((folder / "expected.json").read_bytes())
    report = document["report"]
    names = ("driver_version", "vbios_version", "project", "project_sku", "chip_sku")
    return replace(
        gpu,
        **{name: report[name] for name in names if report.get(name)},
        fwid=bytes.fromhex(report["fwid"] or ""),
        nvdec0_status=int(report["nvdec0_status"], 16) if report["nvdec0_status"] else None,
        protected_pcie_status=int(report["protected_pcie_status"], 16) if report["protected_pcie_status"] else None,
        pdi=bytes.fromhex(document["device"]["brom_serial_hex"])[1:],
    )


# What is not documented, or counts events of a boot.
OPEN = {
    types.MSRSCNT,
    types.BOARD_ID,
    types.CPRINFO,
    types.SYS_ENABLE_STATUS,
    types.CHIP_SKU_MOD,
    types.PROJECT_SKU_MOD,
}


def documented(fields: tuple[OpaqueField, ...] | None) -> list[OpaqueField]:
    return [field for field in fields or () if field.type not in OPEN]


def test_opaque_data_of_gpus() -> None:
    report = report_of((PPCIE / "report.bin").read_bytes())
    links = next(field.data for field in report.opaque or () if field.type == types.SWITCH_PDI)
    switches = tuple(links[start : start + 8][::-1] for start in range(0, len(links), 8))
    gpu = replace(described_gpu(PPCIE, H100), switch_pdis=switches, feature_flag=2)
    assert documented(gpu.opaque) == documented(report.opaque)
    assert [(f.type, len(f.data)) for f in gpu.opaque] == [(f.type, len(f.data)) for f in report.opaque or ()]

    report = report_of((BLACKWELL / "report.bin").read_bytes())
    gpu = replace(described_gpu(BLACKWELL, B200), chip_info=None, opaque_data_version=0, feature_flag=None)
    assert documented(gpu.opaque) == documented(report.opaque)


def test_opaque_data_of_switches() -> None:
    report = report_of((SWITCH / "report.bin").read_bytes())
    pdis = next(field.data for field in report.opaque or () if field.type == types.SWITCH_GPU_PDIS)
    gpus = tuple(pdis[start : start + 8] for start in range(0, 64, 8))
    switch = replace(described_gpu(SWITCH, NVSWITCH), gpu_pdis=gpus)
    ours = {field.type: field.data for field in switch.opaque}
    theirs = {field.type: field.data for field in report.opaque or ()}
    assert [*ours] == [*theirs]
    assert [*map(len, ours.values())] == [*map(len, theirs.values())]
    for kind in (types.VBIOS_VERSION, types.SWITCH_PDI):
        assert ours[kind] == theirs[kind]
    assert ours[types.SWITCH_GPU_PDIS][:64] == theirs[types.SWITCH_GPU_PDIS][:64]
    assert len(NVSWITCH.blocks) == len(report.blocks or ()) == 31


def test_a_board_names_itself_as_a_genuine_one_does() -> None:
    genuine = [{field.type: field.data for field in report_of(raw).opaque or ()} for raw in bundled()]
    ours = [{field.type: field.data for field in one.gpu.opaque} for one in protected_pcie()]
    for board in (genuine, ours):
        gpus, switches = board[:8], board[8:]
        own = {fields[types.SWITCH_PDI] for fields in switches}
        assert len(own) == len(switches) == 4
        for fields in gpus:
            links = fields[types.SWITCH_PDI]
            assert {links[start : start + 8][::-1] for start in range(0, len(links), 8)} == own
            assert len(links) == 18 * 8
        named = [fields[types.SWITCH_GPU_PDIS][:64] for fields in switches]
        sets = [{one[start : start + 8] for start in range(0, 64, 8)} for one in named]
        assert all(len(one) == 8 and one == sets[0] for one in sets)


@pytest.mark.parametrize("folder", [COMPLETE, PPCIE], ids=name_of)
def test_ids_of_rims(folder: Path) -> None:
    report = json.loads((folder / "expected.json").read_bytes())["report"]
    gpu = described_gpu(folder, H100)
    assert [gpu.rim_id("driver"), gpu.rim_id("vbios")] == [report["driver_rim_id"], report["vbios_rim_id"]]


def test_id_of_the_rim_of_a_switch() -> None:
    (path,) = (NVIDIA / "rims").glob("switchVBIOSRim_*")
    assert path.stem == f"switchVBIOSRim_{NVSWITCH.rim_id('vbios')}"


def tree(node: Any) -> Element:
    """Take over what minidom has read: names with prefixes, attributes in their order, text as it stands."""
    return Element(
        node.tagName,
        tuple(node.attributes.items()),
        tuple(child.data if child.nodeType == Node.TEXT_NODE else tree(child) for child in node.childNodes),
    )


def read_rim(path: Path) -> tuple[str, Element, Element]:
    """Return the text, the document without its signature, and the signature."""
    text = path.read_text().rstrip("\n")
    root = tree(parseString(text).documentElement)
    *content, signature = root.content
    assert isinstance(signature, Element)
    return text, replace(root, content=tuple(content)), signature


@pytest.mark.parametrize("path", RIMS, ids=name_of)
def test_rims_are_written_as_nvidia_writes_them(path: Path) -> None:
    text, document, signature = read_rim(path)
    assert replace(document, content=(*document.content, signature)).write() == text
    resources, meta = text.split("<ns0:Resource ")[1:], dict(re.findall(r'(\w+)="([^"]*)"', text))
    golden = []
    for resource in resources:
        said = dict(re.findall(r'([\w:]+)="([^"]*)"', resource.split("/>")[0]))
        values = tuple(bytes.fromhex(value) for name, value in said.items() if name.startswith("ns2:Hash"))
        index, size = int(said["index"]), int(said["size"])
        golden.append(Golden(index=index, values=values, active=said["active"], size=size, name=said["name"]))
    form = RimForm(
        product=meta["product"],
        version=meta["colloquialVersion"],
        edition=meta["edition"],
        tag_id=meta["tagId"],
        resources=tuple(golden),
    )
    assert form.element() == document


@pytest.mark.parametrize("path", RIMS, ids=name_of)
def test_what_is_signed_is_what_nvidia_signed(path: Path) -> None:
    text, document, signature = read_rim(path)
    signed_info, *_ = signature.content
    digest = sha384(document.canonical().encode()).digest()
    assert signed_info == XmlSignature().signed_info(digest)
    assert isinstance(signed_info, Element)
    raw = base64.b64decode(re.findall(r"SignatureValue>([^<]+)<", text)[0])
    key = parsed(rim_chain(path)[0]).public_key()
    assert isinstance(key, EllipticCurvePublicKey)
    asn1 = encode_dss_signature(int.from_bytes(raw[:48]), int.from_bytes(raw[48:]))
    key.verify(asn1, canonical_signed_info(signed_info, document), ECDSA(SHA384()))
    made = XmlSignature().element(signed_info, raw, tuple(rim_chain(path)))
    assert made == signature


@pytest.mark.parametrize(
    ("gpu", "kind", "path"),
    [(H100, "vbios", RIMS[1]), (NVSWITCH, "vbios", RIMS[2]), (H100, "driver", RIMS[3])],
)
def test_simulated_rims_have_the_form_of_genuine_ones(gpu: Gpu, kind: Any, path: Path) -> None:
    _, document, signature = read_rim(path)
    raw = GpuAttester.of(NvidiaVendor.of(gpu.arch), gpu).rim(kind).decode()
    pattern = r'index="(\d+)" active="(\w+)"'
    assert re.findall(pattern, raw) == re.findall(pattern, document.write())
    root = tree(parseString(raw).documentElement)
    assert [name for name, _ in root.attributes] == [name for name, _ in document.attributes]
    assert [name for name, _ in root.content[3].attributes] == [name for name, _ in document.content[3].attributes]  # type: ignore[union-attr]
    assert isinstance(root.content[-1], Element)
    ours, theirs = (one.content[0].write() for one in (root.content[-1], signature))  # type: ignore[union-attr]
    pattern = "<ds:DigestValue>.*?</ds:DigestValue>"
    assert re.sub(pattern, "", ours) == re.sub(pattern, "", theirs)
