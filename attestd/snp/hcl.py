"""Azure's HCL reports: an SNP report, and the runtime data that it commits to. A pure parser; nothing here is verified.

On Azure the paravisor (the host compatibility layer, VMPL 0) asks for the report, and the guest reads it from the vTPM,
NV index 0x01400001. REPORT_DATA is not the guest's to fill: its first 32 bytes are the SHA-256 of the runtime data,
which names the vTPM's attestation key HCLAkPub; the other 32 are zero. What the guest has to say that key signs.

Source: Azure confidential VM guest attestation design; `igvm_attest` of OpenVMM; snp.md, 2.6. Little-endian:

    header        0x000  "HCLA", version u32 = 1 or 2, size u32 (to the end of the runtime data), request type u32 = 2,
                         status u32 = 0, 12 zero bytes
    report        0x020  ATTESTATION_REPORT, 1184 bytes
    request data  0x4C0  size u32 (to the end of the runtime data), version u32 = 1, report type u32 = 2 (SNP),
                         hash type u32 = 1 (SHA-256), size of the runtime data u32
    runtime data  0x4D4  JSON: keys, vm-configuration, user-data
    padding              zeros, to the size of the NV index

Header and request data are signed by nobody; they are strict so that evidence has one form.
"""

from struct import Struct
from typing import Final, NamedTuple

from attestd.codec import Fields, Reader, load_json
from attestd.errors import Malformed, Reason

# The NV index has 2,600 bytes, of which a third is JSON; the vTPM gives out no index of more than 4,096.
MAX_HCL_SIZE: Final = 4096

HCL_MAGIC: Final = b"HCLA"
VERSIONS: Final = (1, 2)
AK_CERT_REQUEST: Final = 2
SNP_REPORT: Final = 2
SHA_256: Final = 1
ATTESTATION_KEY: Final = "HCLAkPub"

_HEADER: Final = Struct("<4sIIII12s")
_REPORT_SIZE: Final = 1184
_REQUEST_DATA: Final = Struct("<IIIII")
_REQUEST_DATA_VERSION: Final = 1
_REPORT_TYPES: Final = {1: "VBS", SNP_REPORT: "SEV-SNP", 3: "a trusted VM", 4: "Intel TDX", 5: "Arm CCA"}
# The attestation key and the endorsement key.
_MAX_KEYS: Final = 8
_AK_SIZES: Final = (256, 384, 512)
_USER_DATA_SIZE: Final = 64
_EXPONENT_65537: Final = "AQAB"


class VmConfiguration(NamedTuple):
    """How Azure set up the machine, as the paravisor carries it out; None where its version does not say."""

    console_enabled: bool | None
    interactive_console_enabled: bool | None
    secure_boot: bool | None
    tpm_enabled: bool | None
    tpm_persisted: bool | None
    filtered_vpci_devices_allowed: bool | None
    vm_unique_id: str | None


class HclReport(NamedTuple):
    """An HCL report that parses. Not evidence of anything yet."""

    version: int
    report: bytes  # ATTESTATION_REPORT, to be parsed and verified by itself
    runtime_data: bytes  # JSON as it stands; its SHA-256 is in REPORT_DATA
    ak_modulus: bytes  # of HCLAkPub, big-endian, without leading zeros; the exponent is 65537
    vm_configuration: VmConfiguration
    user_data: bytes | None  # 64 bytes that the guest wrote to NV index 0x01400002


def parse_hcl(raw: bytes) -> HclReport:
    """Parse an HCL report with its padding.

    Raises `Malformed` with `evidence.size` or an `snp.hcl_` reason.
    """
    if len(raw) > MAX_HCL_SIZE:
        raise Malformed(Reason.EVIDENCE_SIZE, found=f"{len(raw)} bytes", wanted=f"at most {MAX_HCL_SIZE} bytes")
    reader = Reader(raw, Reason.SNP_HCL_MALFORMED)
    version, size = _parse_header(reader.take(_HEADER.size))
    report = reader.take(_REPORT_SIZE)
    runtime_data = reader.take(_parse_request_data(reader.take(_REQUEST_DATA.size)))
    if size != reader.offset:
        raise _malformed(f"{size} bytes declared in the header", f"{reader.offset} bytes")
    if any(reader.take(reader.remaining())):
        raise _malformed("something after the runtime data", "zeros to the end")
    ak_modulus, vm_configuration, user_data = _parse_runtime_data(runtime_data)
    return HclReport(version, report, runtime_data, ak_modulus, vm_configuration, user_data)


def _parse_header(raw: bytes) -> tuple[int, int]:
    """Return the version and the declared size."""
    magic, version, size, request_type, status, reserved = _HEADER.unpack(raw)
    if magic != HCL_MAGIC:
        raise _malformed(magic.hex(), f"{HCL_MAGIC.hex()}, the signature of an HCL report")
    if version not in VERSIONS:
        raise Malformed(Reason.SNP_HCL_VERSION, found=f"version {version}", wanted="version 1 or 2")
    if request_type != AK_CERT_REQUEST:
        raise Malformed(
            Reason.SNP_HCL_REQUEST_TYPE,
            found=f"type {request_type}",
            wanted=f"type {AK_CERT_REQUEST}, of the vTPM's key",
        )
    if status or any(reserved):
        raise _malformed("a status or reserved bytes that are not zero", "zeros")
    return version, size


def _parse_request_data(raw: bytes) -> int:
    """Return the size of the runtime data."""
    size, version, report_type, hash_type, variable_size = _REQUEST_DATA.unpack(raw)
    if version != _REQUEST_DATA_VERSION:
        raise Malformed(
            Reason.SNP_HCL_VERSION,
            found=f"request data of version {version}",
            wanted=f"version {_REQUEST_DATA_VERSION}",
        )
    if report_type != SNP_REPORT:
        kind = _REPORT_TYPES.get(report_type, "unknown")
        raise Malformed(
            Reason.SNP_HCL_REPORT_TYPE, found=f"type {report_type}, {kind}", wanted=f"type {SNP_REPORT}, SEV-SNP"
        )
    if hash_type != SHA_256:
        raise Malformed(Reason.SNP_HCL_HASH_TYPE, found=f"type {hash_type}", wanted=f"type {SHA_256}, SHA-256")
    if size != _REQUEST_DATA.size + variable_size:
        raise _malformed(f"{size} bytes of request data", f"{_REQUEST_DATA.size + variable_size} bytes")
    return int(variable_size)


def _parse_runtime_data(raw: bytes) -> tuple[bytes, VmConfiguration, bytes | None]:
    """Return the attestation key, the configuration and the user data.

    Members of other names are left alone: they are Microsoft's to add, and the report commits to the bytes.
    """
    try:
        document = load_json(raw)
    except Malformed as error:
        raise Malformed(Reason.SNP_HCL_RUNTIME_DATA, found=error.found, wanted=error.wanted) from None
    fields = Fields(document, Reason.SNP_HCL_RUNTIME_DATA, "runtime data")
    keys = [key for key in fields.array("keys", most=_MAX_KEYS) if key.text("kid") == ATTESTATION_KEY]
    if len(keys) != 1:
        raise Malformed(Reason.SNP_HCL_AK, found=f"{len(keys)} keys", wanted=f"one key {ATTESTATION_KEY}")
    user_data = fields.hexadecimal("user-data", _USER_DATA_SIZE) if "user-data" in fields else None
    return _parse_ak(keys[0]), _parse_vm_configuration(fields.fields("vm-configuration")), user_data


def _parse_ak(jwk: Fields) -> bytes:
    """Return the modulus of a JSON Web Key (RFC 7517; RFC 7518, 6.3.1) of a usual size with the exponent 65537."""
    jwk.only("kid", "key_ops", "kty", "e", "n")
    if (jwk.text("kty"), jwk.texts("key_ops"), jwk.text("e")) != ("RSA", ("sign",), _EXPONENT_65537):
        raise _not_ak("a key of another type, use or exponent")
    try:
        modulus = jwk.binary("n", url=True)
    except Malformed as error:
        raise _not_ak(error.found) from None
    if len(modulus) not in _AK_SIZES or not modulus[0] & 0x80 or not modulus[-1] & 1:
        raise _not_ak(f"a modulus of {len(modulus)} bytes")
    return modulus


def _parse_vm_configuration(fields: Fields) -> VmConfiguration:
    def switch(name: str) -> bool | None:
        return fields.boolean(name) if name in fields else None

    return VmConfiguration(
        console_enabled=switch("console-enabled"),
        interactive_console_enabled=switch("interactive-console-enabled"),
        secure_boot=switch("secure-boot"),
        tpm_enabled=switch("tpm-enabled"),
        tpm_persisted=switch("tpm-persisted"),
        filtered_vpci_devices_allowed=switch("filtered-vpci-devices-allowed"),
        vm_unique_id=fields.text("vmUniqueId", least=0) if "vmUniqueId" in fields else None,
    )


def _malformed(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.SNP_HCL_MALFORMED, found=found, wanted=wanted)


def _not_ak(found: str) -> Malformed:
    sizes = ", ".join(str(8 * size) for size in _AK_SIZES)
    return Malformed(Reason.SNP_HCL_AK, found=found, wanted=f"an RSA key for signing of {sizes} bits, exponent 65537")
