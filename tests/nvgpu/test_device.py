"""The certificates of a device: each rule with a chain in which only that is wrong, signed as it then stands (N07)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate

from attestd.claims import GpuArch
from attestd.errors import Reason
from attestd.nvgpu.device import GpuDevice, authenticate_device
from attestd.simulator import (
    AT,
    DICE_TCB_INFO,
    FWID_EXTENSION,
    CertificateForm,
    Extension,
    GpuAttester,
    NvidiaVendor,
    Signing,
    basic_constraints,
    dice_tcb_info,
    flip,
    fwid_extension,
    key_usage,
    p256_key,
    p384_key,
)
from attestd.simulator.certificates import CertificateEdit, authority_key_identifier, same_certificate
from attestd.simulator.der import explicit, implicit, integer, octets, oid, sequence, utf8_string
from attestd.simulator.keys import spki
from attestd.simulator.nvidia import NvidiaRole, nvidia_device_name, nvidia_name
from attestd.x509 import TrustAnchors
from tests.evidence import NvidiaCase, nvidia_anchors, nvidia_case, nvidia_cases
from tests.nvgpu.baseline import ANCHORS, BLACKWELL, DEVICES, GPU, SWITCH, VENDOR
from tests.refusals import malformed, not_authentic

SHA384, SHA256 = "2.16.840.1.101.3.4.2.2", "2.16.840.1.101.3.4.2.1"
ALTERNATIVE_NAME = "2.5.29.17"
FWID = GPU.gpu.fwid


def authenticated(*chain: bytes, anchors: TrustAnchors = ANCHORS, at: datetime = AT) -> GpuDevice:
    return authenticate_device(chain, anchors, at)


def leaf_of(
    edit: CertificateEdit, gpu: GpuAttester = GPU, *, edit_brom: CertificateEdit = same_certificate
) -> GpuDevice:
    """Authenticate a device whose leaf says something else."""
    return authenticated(*GpuAttester.of(gpu.vendor, gpu.gpu, edit, edit_brom=edit_brom).chain)


def having(extension: str, value: bytes) -> CertificateEdit:
    return lambda form: form.having(Extension(extension, value))


def of_vendor(vendor: NvidiaVendor) -> tuple[bytes, ...]:
    return GpuAttester.of(vendor, GPU.gpu).chain


# ---------------------------------------------------------------------------------------------------------------------
# What is said


@pytest.mark.parametrize("gpu", DEVICES, ids=["Hopper", "Blackwell", "LS10"])
def test_device(gpu: GpuAttester) -> None:
    device = authenticated(*gpu.chain)
    assert device.arch == gpu.gpu.arch
    assert device.fwid == gpu.gpu.fwid
    assert device.pdi == gpu.gpu.pdi
    assert device.hwmodel == f"{gpu.gpu.chip} BROM"
    assert device.ueid == gpu.ak.form.serial_number
    public_key = gpu.brom.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert device.device_id == sha256(public_key).digest()
    assert tuple(one.der for one in device.chain) == gpu.chain
    assert device.digests == tuple(sha256(one).digest() for one in gpu.chain[:4])
    assert device.validity.not_before == datetime(2021, 11, 5, tzinfo=UTC)
    assert device.validity.not_after == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_who_a_device_is_stays_when_its_firmware_changes() -> None:
    updated = GpuAttester.of(VENDOR, replace(GPU.gpu, fwid=sha256(b"other").digest() + bytes(16)))
    before, after = authenticated(*GPU.chain), authenticated(*updated.chain)
    assert (before.device_id, before.pdi) == (after.device_id, after.pdi)
    assert before.ueid != after.ueid
    assert before.fwid != after.fwid
    assert before.public_key != after.public_key


def test_devices_differ() -> None:
    other = authenticated(*GpuAttester.of(VENDOR, GPU.gpu.numbered(1)).chain)
    mine = authenticated(*GPU.chain)
    assert mine.device_id != other.device_id
    assert mine.pdi != other.pdi


def test_architectures() -> None:
    assert [arch for arch in GpuArch if arch.is_switch] == [GpuArch.LS10]


# ---------------------------------------------------------------------------------------------------------------------
# The chain


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 20])
def test_five_certificates(count: int) -> None:
    with not_authentic(Reason.GPU_DEVICE_CHAIN):
        authenticated(*(GPU.chain * 4)[:count])


def test_each_certificate_is_needed() -> None:
    for missing in range(4):
        chain = [*GPU.chain[:missing], *GPU.chain[missing + 1 :], GPU.chain[-1]]
        with not_authentic(Reason.GPU_DEVICE_CHAIN):
            authenticated(*chain)


def test_order() -> None:
    with not_authentic(Reason.GPU_DEVICE_CHAIN, Reason.GPU_UNTRUSTED_ROOT):
        authenticated(*reversed(GPU.chain))
    leaf, brom, provisioner, identity, root = GPU.chain
    with not_authentic(Reason.GPU_DEVICE_CHAIN):
        authenticated(leaf, provisioner, brom, identity, root)


def test_chain_of_which_the_root_is_not_the_fifth() -> None:
    """A boot ROM that issues certificates of another device: each signature and each name is right."""
    deeper = GpuAttester.of(replace(VENDOR, provisioner=GPU.brom), GPU.gpu.numbered(1))
    below = (deeper.ak.der, deeper.brom.der, *GPU.chain[1:4])
    with not_authentic(Reason.GPU_DEVICE_CHAIN):
        authenticated(*below)


def test_other_root_of_the_same_names() -> None:
    with not_authentic(Reason.GPU_UNTRUSTED_ROOT):
        authenticated(*GpuAttester.of(NvidiaVendor.of("HOPPER", seed="mallory")).chain)
    # The pinned root at the end of it makes no difference.
    forged = GpuAttester.of(NvidiaVendor.of("HOPPER", seed="mallory")).chain
    with not_authentic(Reason.GPU_DEVICE_CHAIN):
        authenticated(*forged[:4], GPU.chain[4])


def test_root_of_another_purpose() -> None:
    """NVIDIA's root for RIMs is pinned, too, and does not issue devices."""
    with not_authentic(Reason.GPU_UNTRUSTED_ROOT):
        authenticated(*of_vendor(below_rim_root()))
    with not_authentic(Reason.GPU_UNTRUSTED_ROOT):
        authenticated(*GPU.chain, anchors=TrustAnchors.load([VENDOR.rim_root.der]))


def below_rim_root() -> NvidiaVendor:
    root = VENDOR.rim_root
    return replace(VENDOR, root=root).reissue(
        "identity",
        lambda form: replace(form, issuer=root.form.subject).having(authority_key_identifier(root.key)),
    )


def test_root_alone_is_not_a_chain() -> None:
    with not_authentic(Reason.GPU_DEVICE_CHAIN):
        authenticated(*[GPU.chain[4]] * 5)


@pytest.mark.parametrize("role", ["identity", "provisioner"])
@pytest.mark.parametrize(
    "edit",
    [
        lambda form: form.having(basic_constraints(ca=False)),
        lambda form: form.without("2.5.29.19"),
        lambda form: form.having(key_usage("crl_sign")),
        lambda form: form.without("2.5.29.15"),
        lambda form: form.having(basic_constraints(ca=True, path_length=0)),
        lambda form: replace(form, issuer=nvidia_name("NVIDIA Other Identity")),
    ],
    ids=["CA:FALSE", "no basic constraints", "no keyCertSign", "no key usage", "path length", "issuer"],
)
def test_intermediates(role: NvidiaRole, edit: CertificateEdit) -> None:
    with not_authentic(Reason.GPU_DEVICE_CHAIN):
        authenticated(*of_vendor(VENDOR.reissue(role, edit)))


def test_boot_rom_is_a_ca() -> None:
    for edit in (
        lambda form: form.having(basic_constraints(ca=False)),
        lambda form: form.having(key_usage("digital_signature")),
    ):
        with not_authentic(Reason.GPU_DEVICE_CHAIN):
            authenticated(*GpuAttester.of(VENDOR, GPU.gpu, edit_brom=edit).chain)


def test_leaf_is_no_ca() -> None:
    with not_authentic(Reason.GPU_DEVICE_CHAIN):
        leaf_of(lambda form: form.having(basic_constraints(ca=True)))


@pytest.mark.parametrize("position", range(5))
def test_each_signature(position: int) -> None:
    chain = list(GPU.chain)
    chain[position] = flip(-1)(chain[position])
    with not_authentic(Reason.GPU_UNTRUSTED_ROOT if position == 4 else Reason.GPU_DEVICE_CHAIN):
        authenticated(*chain)


def test_leaf_of_another_device() -> None:
    other = GpuAttester.of(VENDOR, GPU.gpu.numbered(1))
    with not_authentic(Reason.GPU_DEVICE_CHAIN):
        authenticated(other.chain[0], *GPU.chain[1:])


@pytest.mark.parametrize("position", range(4))
def test_bytes_that_are_no_certificate(position: int) -> None:
    for junk in (b"", b"\x30\0", GPU.chain[position][:-1], GPU.chain[position] + b"\0"):
        chain = list(GPU.chain)
        chain[position] = junk
        with malformed(Reason.DER_MALFORMED):
            authenticated(*chain)


ROLES: tuple[NvidiaRole, ...] = ("identity", "provisioner")
DAY = timedelta(days=1)


def expiring(form: CertificateForm) -> CertificateForm:
    return replace(form, not_after=AT - DAY)


def future(form: CertificateForm) -> CertificateForm:
    return replace(form, not_before=AT + DAY)


def dated(position: int, edit: CertificateEdit) -> tuple[bytes, ...]:
    """Return a chain in which one certificate has other dates."""
    if position == 0:
        return GpuAttester.of(VENDOR, GPU.gpu, edit).chain
    if position == 1:
        return GpuAttester.of(VENDOR, GPU.gpu, edit_brom=edit).chain
    return of_vendor(VENDOR.reissue(ROLES[3 - position], edit))


@pytest.mark.parametrize("position", range(4))
def test_dates(position: int) -> None:
    with not_authentic(Reason.GPU_DEVICE_EXPIRED):
        authenticated(*dated(position, expiring))
    with not_authentic(Reason.GPU_DEVICE_NOT_YET_VALID):
        authenticated(*dated(position, future))
    # A verdict that was kept is bound by each of them.
    device = authenticated(*dated(position, expiring), at=AT - 2 * DAY)
    device.require_current(AT - DAY)
    with not_authentic(Reason.GPU_DEVICE_EXPIRED):
        device.require_current(AT)
    with not_authentic(Reason.GPU_DEVICE_NOT_YET_VALID):
        device.require_current(datetime(2021, 11, 4, tzinfo=UTC))


# ---------------------------------------------------------------------------------------------------------------------
# Names and keys


@pytest.mark.parametrize(
    ("leaf", "brom"),
    [
        ("GB100 A01 GSP FMC LF", "GH100 A01 GSP BROM"),
        ("GH100 A02 GSP FMC LF", "GH100 A01 GSP BROM"),
        ("GH100 A01 FSP FMC LF", "GH100 A01 GSP BROM"),
        ("GH100 A01 GSP BROM", "GH100 A01 GSP BROM"),
        ("GH100 A01 GSP FMC LF", "GH100 A01 GSP FMC LF"),
        ("GH999 A01 GSP FMC LF", "GH999 A01 GSP BROM"),
        ("GH100 FMC LF", "GH100 BROM"),
        ("GH100 A01 GSP FMC LF ", "GH100 A01 GSP BROM"),
        ("", ""),
    ],
)
def test_common_names(leaf: str, brom: str) -> None:
    def named(name: str, number: int) -> bytes:
        return nvidia_device_name(number, name) if name else nvidia_name("a").replace(b"\x55\x04\x03", b"\x55\x04\x04")

    subject = named(brom, GPU.gpu.serial_number)
    with not_authentic(Reason.GPU_DEVICE_PROFILE):
        leaf_of(
            lambda form: replace(form, subject=named(leaf, 1), issuer=subject),
            edit_brom=lambda form: replace(form, subject=subject),
        )


def test_attestation_key_of_another_kind() -> None:
    with not_authentic(Reason.GPU_DEVICE_PROFILE):
        leaf_of(lambda form: replace(form, spki=spki(p256_key("tests", "ak"))))


def test_ca_with_a_key_of_another_kind() -> None:
    key = p256_key("tests", "provisioner")
    vendor = VENDOR.reissue("provisioner", lambda form: form.keyed(key))
    with not_authentic(Reason.GPU_DEVICE_CHAIN):
        authenticated(*of_vendor(replace(vendor, provisioner=replace(vendor.provisioner, key=key))))


def other_name(text: str, info: str = "1.3.6.1.4.1.412.274.1") -> bytes:
    return explicit(0, oid(info) + explicit(0, utf8_string(text)))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        sequence(),
        sequence(other_name("NVIDIA:GH100:48B02D0000000000"), other_name("NVIDIA:GH100:48B02D0000000001")),
        sequence(implicit(2, b"nvidia.example")),
        sequence(other_name("NVIDIA:GB100:48B02D0000000000")),  # of another chip
        sequence(other_name("AMD:GH100:48B02D0000000000")),
        sequence(other_name("NVIDIA:GH100:48B02D00000000")),
        sequence(other_name("NVIDIA:GH100:48b02d0000000000")),
        sequence(other_name("NVIDIA:GH100:48B02D00000000é0")),
        sequence(other_name("NVIDIA:GH100:48B02D0000000000", "1.3.6.1.4.1.412.274.2")),
        sequence(explicit(0, oid("1.3.6.1.4.1.412.274.1") + utf8_string("NVIDIA:GH100:48B02D0000000000"))),
        sequence(explicit(0, oid("1.3.6.1.4.1.412.274.1") + explicit(0, octets(b"NVIDIA:GH100:48B02D0000000000")))),
    ],
)
def test_device_information(value: bytes) -> None:
    with not_authentic(Reason.GPU_DEVICE_PROFILE, Reason.GPU_DEVICE_CHAIN):
        leaf_of(having(ALTERNATIVE_NAME, value))


def test_device_information_is_there() -> None:
    assert leaf_of(having(ALTERNATIVE_NAME, sequence(other_name("NVIDIA:GH100:48B02DABCDEF0123")))).spdm_device_id == (
        "NVIDIA:GH100:48B02DABCDEF0123"
    )
    with not_authentic(Reason.GPU_DEVICE_PROFILE):
        leaf_of(lambda form: form.without(ALTERNATIVE_NAME))


# ---------------------------------------------------------------------------------------------------------------------
# FWID


def fwid(digest: bytes = FWID, algorithm: str = SHA384) -> bytes:
    return sequence(oid(algorithm), octets(digest))


BROM_SPKI = spki(GPU.brom.key)


def plain(*parts: bytes) -> bytes:
    return sequence(*parts)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        FWID,
        plain(),
        plain(integer(1), BROM_SPKI),
        plain(integer(1), BROM_SPKI, fwid(), b"\5\0"),
        plain(integer(1), BROM_SPKI, fwid()) + fwid(),
        plain(integer(2), BROM_SPKI, fwid()),
        plain(integer(0), BROM_SPKI, fwid()),
        plain(BROM_SPKI, integer(1), fwid()),
        plain(integer(1), fwid(), BROM_SPKI),
        plain(integer(1), spki(GPU.ak.key), fwid()),  # the key of the leaf itself
        plain(integer(1), spki(p384_key("tests", "other")), fwid()),
        plain(integer(1), BROM_SPKI, fwid(FWID[:47])),
        plain(integer(1), BROM_SPKI, fwid(FWID + b"\0")),
        plain(integer(1), BROM_SPKI, fwid(FWID, SHA256)),
        plain(integer(1), BROM_SPKI, sequence(octets(FWID), oid(SHA384))),
        plain(integer(1), BROM_SPKI, sequence(octets(FWID))),
        plain(integer(1), BROM_SPKI, fwid())[:-1],
        # As it is, at the end of something else: whoever reads the tail is taken in.
        octets(plain(integer(1), BROM_SPKI, fwid())),
        b"\x30\x81\x05" + integer(1) + b"\5\0",
    ],
)
def test_fwid_of_hopper(value: bytes) -> None:
    with not_authentic(Reason.GPU_FWID_EXTENSION):
        leaf_of(having(FWID_EXTENSION, value))
    with not_authentic(Reason.GPU_FWID_EXTENSION):
        leaf_of(having(FWID_EXTENSION, value), SWITCH)


FWIDS = explicit(6, fwid() + fwid(bytes(48)))
VENDOR_AND_MODEL = implicit(0, b"NVIDIA") + implicit(1, b"GB100 A01 GSP")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        sequence(),
        sequence(VENDOR_AND_MODEL),
        sequence(VENDOR_AND_MODEL, explicit(6, b"")),
        sequence(VENDOR_AND_MODEL, FWIDS, FWIDS),
        sequence(VENDOR_AND_MODEL, FWIDS, implicit(1, b"again")),
        sequence(VENDOR_AND_MODEL, explicit(6, fwid(FWID[:47]))),
        sequence(VENDOR_AND_MODEL, explicit(6, fwid(FWID, SHA256))),
        sequence(VENDOR_AND_MODEL, explicit(6, fwid() + fwid(bytes(47)))),
        sequence(VENDOR_AND_MODEL, explicit(6, octets(FWID))),
        sequence(VENDOR_AND_MODEL, explicit(6, explicit(0, oid(SHA384) + octets(FWID)))),
        sequence(VENDOR_AND_MODEL, explicit(7, fwid())),
        sequence(VENDOR_AND_MODEL, FWIDS) + b"\5\0",
        explicit(0, VENDOR_AND_MODEL + FWIDS),
        sequence(VENDOR_AND_MODEL, FWIDS)[:-1],
    ],
)
def test_fwid_of_blackwell(value: bytes) -> None:
    with not_authentic(Reason.GPU_FWID_EXTENSION):
        leaf_of(having(DICE_TCB_INFO, value), BLACKWELL)


def test_first_fwid_of_several() -> None:
    first, second, third = (bytes((number,)) * 48 for number in (1, 2, 3))
    extension = dice_tcb_info(first, "GB100 A01 GSP", second, third)
    assert leaf_of(lambda form: form.having(extension), BLACKWELL).fwid == first


def test_exactly_one_fwid_extension() -> None:
    edits: list[Callable[[CertificateForm], CertificateForm]] = [
        lambda form: form.without(FWID_EXTENSION),
        lambda form: form.having(dice_tcb_info(FWID, "GH100 A01 GSP")),
    ]
    for edit in edits:
        with not_authentic(Reason.GPU_FWID_EXTENSION):
            leaf_of(edit)
    with not_authentic(Reason.GPU_FWID_EXTENSION):
        leaf_of(lambda form: form.having(fwid_extension(FWID, BLACKWELL.brom.key)), BLACKWELL)


def test_leaf_that_the_vendor_did_not_sign() -> None:
    with not_authentic(Reason.GPU_DEVICE_CHAIN):
        authenticated(*GpuAttester.of(VENDOR, GPU.gpu, signing=Signing(key=p384_key("tests", "mallory"))).chain)


# ---------------------------------------------------------------------------------------------------------------------
# Genuine devices


def test_one_device_with_two_states_of_its_firmware() -> None:
    anchors = nvidia_anchors()
    cases = [nvidia_case(name) for name in ("h100-570.124.03-driver-rim-expired", "h100-580.159.03-vbios-rim-only")]
    before, after = (authenticate_device(case.certificates, anchors, case.at) for case in cases)
    assert (before.device_id, before.pdi, before.spdm_device_id) == (after.device_id, after.pdi, after.spdm_device_id)
    assert before.ueid != after.ueid
    assert before.fwid != after.fwid


@pytest.mark.parametrize("case", nvidia_cases())
def test_genuine_devices(case: NvidiaCase) -> None:
    document = case.document
    if document["expect"]["checks"].get("device_chain") is False:
        with not_authentic(Reason.GPU_DEVICE_CHAIN, Reason.GPU_UNTRUSTED_ROOT):
            authenticate_device(case.certificates, nvidia_anchors(), case.at)
        return
    device = authenticate_device(case.certificates, nvidia_anchors(), case.at)
    said = document["device"]
    assert device.arch == document["arch"]
    assert device.hwmodel == said["hwmodel"]
    assert device.ueid == int(said["ueid_leaf_serial_decimal"])
    assert device.pdi.hex() == said["brom_serial_hex"][-16:]
    assert device.spdm_device_id == said["spdm_device_id"]
    brom = load_der_x509_certificate(case.certificates[1]).public_key()
    assert device.device_id == sha256(brom.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
