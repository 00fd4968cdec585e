"""An NVIDIA-like vendor: for one architecture the CAs of devices and those of RIMs, and OCSP responders of each.

Common names are NVIDIA's, since verifiers tell architectures by them; the rest of each name says that it is simulated.
Locations lie under `.invalid` (RFC 2606), so that nobody is ever asked for anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from attestd.simulator import der
from attestd.simulator.certificates import (
    CA_USES,
    ECDSA_WITH_SHA384,
    CertificateEdit,
    CertificateForm,
    EcAuthority,
    Extension,
    authority_key_identifier,
    basic_constraints,
    crl_distribution_point,
    distinguished_name,
    key_identifier,
    key_usage,
    ocsp_location,
    same_certificate,
    seal,
    subject_key_identifier,
)
from attestd.simulator.gpu import CHIP_NAMES, Arch, Gpu
from attestd.simulator.keys import p384_key, secret, spki
from attestd.simulator.tampering import GENUINE, Signing
from attestd.simulator.vendor import AT

NvidiaRole: TypeAlias = Literal["root", "identity", "provisioner", "rim_root", "rim_ca", "rim_l3", "rim_signer"]

ISSUERS: Final[Mapping[NvidiaRole, NvidiaRole]] = {
    "root": "root",
    "identity": "root",
    "provisioner": "identity",
    "rim_root": "rim_root",
    "rim_ca": "rim_root",
    "rim_l3": "rim_ca",
    "rim_signer": "rim_l3",
}
# {0} is the chip, {1} the generation whose CA has issued for it, {2} the product.
_COMMON_NAMES: Final[Mapping[NvidiaRole, str]] = {
    "root": "NVIDIA Device Identity CA",
    "identity": "NVIDIA {1} Identity",
    "provisioner": "NVIDIA {0} Provisioner ICA 1",
    "rim_root": "NVIDIA CoRIM signing Root CA",
    "rim_ca": "NVIDIA Reference Value {2} CA",
    "rim_l3": "NVIDIA Reference Value L3 {2} 001",
    "rim_signer": "NVIDIA Reference Value L4 {2}",
}
_GENERATIONS: Final[Mapping[Arch, str]] = {"HOPPER": "GH100", "BLACKWELL": "GB100", "LS10": "GH100"}
PRODUCTS: Final[Mapping[Arch, str]] = {"HOPPER": "GH100", "BLACKWELL": "GB100", "LS10": "LS10"}

_ORGANIZATION: Final = "attestd test keys"
_NOT_BEFORE: Final = datetime(2021, 11, 5, tzinfo=UTC)
# No device's certificate ends (RFC 5280, 4.1.2.5); RIM CAs end with NVIDIA's root of them.
_NEVER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_RIM_NOT_BEFORE: Final = datetime(2023, 3, 16, 15, 37, 34, tzinfo=UTC)
_RIM_NOT_AFTER: Final = datetime(2053, 3, 8, 15, 37, 34, tzinfo=UTC)
_SIGNER_LIFETIME: Final = timedelta(days=730)
_RESPONDER_LIFETIME: Final = timedelta(days=30)
_AGE: Final = timedelta(days=30)

_OCSP_URL: Final = "http://ocsp.simulated.invalid"
_CRL_URL: Final = "http://crl.simulated.invalid/crl/{}"
_NO_CHECK: Final = "1.3.6.1.5.5.7.48.1.5"
_SERIAL_SIZE: Final = 16


def nvidia_name(common_name: str) -> bytes:
    """Return the Name, in DER, of a simulated CA below the roots: the attributes of NVIDIA's, in their order."""
    return distinguished_name(common_name=common_name, organization_name=_ORGANIZATION, country_name="ZZ")


def nvidia_device_name(number: int, common_name: str) -> bytes:
    """Return the Name of a simulated device, or of its attestation key, by its serial number."""
    return distinguished_name(
        serial_number=f"{number:X}",
        country_name="ZZ",
        organization_name=_ORGANIZATION,
        common_name=common_name,
    )


def _subject(role: NvidiaRole, common_name: str) -> bytes:
    match role:
        case "root" | "identity":
            return distinguished_name(common_name=common_name, organization_name=_ORGANIZATION)
        case "rim_root":
            return distinguished_name(country_name="ZZ", organization_name=_ORGANIZATION, common_name=common_name)
        case "rim_signer":
            return distinguished_name(
                country_name="ZZ",
                state_or_province_name="NA",
                locality_name="Nowhere",
                organization_name=_ORGANIZATION,
                common_name=common_name,
            )
        case _:
            return nvidia_name(common_name)


def _extensions(
    role: NvidiaRole, key: EllipticCurvePrivateKey, issuer_key: EllipticCurvePrivateKey
) -> tuple[Extension, ...]:
    """Return the extensions in NVIDIA's order."""
    identifiers = (subject_key_identifier(key), authority_key_identifier(issuer_key))
    ca, uses, ocsp = basic_constraints(ca=True), key_usage(*CA_USES), ocsp_location(_OCSP_URL)
    match role:
        case "root":
            return ca, uses, *identifiers
        case "identity" | "provisioner" | "rim_ca":
            return ca, uses, crl_distribution_point(_CRL_URL.format(ISSUERS[role])), ocsp, *identifiers
        case "rim_root":
            return *identifiers, ca, uses
        case "rim_l3":
            return basic_constraints(ca=True, path_length=0), uses, ocsp, *identifiers
        case "rim_signer":
            return *identifiers, basic_constraints(ca=False), key_usage("digital_signature"), ocsp


def serial_number(raw: bytes) -> int:
    """Return a serial number that is positive and takes as many bytes, by two bits of the first one."""
    return int.from_bytes(bytes((raw[0] & 0x7F | 0x40,)) + raw[1:])


def _serial_number(seed: str, name: str) -> int:
    return serial_number(secret(seed, f"serial number {name}", _SERIAL_SIZE))


def _lifetime(role: NvidiaRole, at: datetime) -> tuple[datetime, datetime]:
    if not role.startswith("rim"):
        return _NOT_BEFORE, _NEVER
    if role != "rim_signer":
        return _RIM_NOT_BEFORE, _RIM_NOT_AFTER
    not_before = _midnight(at) - _AGE
    return not_before, not_before + _SIGNER_LIFETIME


def _midnight(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _key_name(role: NvidiaRole, arch: Arch) -> str:
    """Name a key, and so what it is shared by: roots by all, the CA of a generation by its GPUs and NVSwitches."""
    match role:
        case "root" | "rim_root":
            return f"nvidia {role}"
        case "identity":
            return f"nvidia identity {_GENERATIONS[arch]}"
        case _:
            return f"nvidia {role} {arch}"


def _authority(seed: str, arch: Arch, role: NvidiaRole, at: datetime) -> EcAuthority:
    issuer = ISSUERS[role]
    key, issuer_key = (p384_key(seed, _key_name(one, arch)) for one in (role, issuer))
    words = (CHIP_NAMES[arch], _GENERATIONS[arch], PRODUCTS[arch])
    not_before, not_after = _lifetime(role, at)
    form = CertificateForm(
        subject=_subject(role, _COMMON_NAMES[role].format(*words)),
        issuer=_subject(issuer, _COMMON_NAMES[issuer].format(*words)),
        serial_number=_serial_number(seed, _key_name(role, arch)),
        not_before=not_before,
        not_after=not_after,
        spki=spki(key),
        extensions=_extensions(role, key, issuer_key),
        signature_algorithm=ECDSA_WITH_SHA384,
        # NVIDIA writes the times of these two so, against RFC 5280, 4.1.2.5.
        time=der.generalized_time if role in {"rim_ca", "rim_l3"} else der.time,
    )
    return EcAuthority(form=form, key=key, der=seal(form, issuer_key, GENUINE))


@dataclass(frozen=True, kw_only=True)
class NvidiaVendor:
    """The vendor of an architecture at one moment. What it issues is genuine unless the arguments ask for otherwise.

    Vendors of one seed have the same roots.
    """

    at: datetime
    seed: str
    arch: Arch
    root: EcAuthority
    identity: EcAuthority
    provisioner: EcAuthority
    rim_root: EcAuthority
    rim_ca: EcAuthority
    rim_l3: EcAuthority
    rim_signer: EcAuthority

    @classmethod
    def of(cls, arch: Arch = "HOPPER", seed: str = "attestd", at: datetime = AT) -> Self:
        """Make the vendor of that seed: its CAs depend on architecture and seed, the signer of RIMs on `at` too."""
        return cls(at=at, seed=seed, arch=arch, **{role: _authority(seed, arch, role, at) for role in ISSUERS})

    def reissue(
        self,
        role: NvidiaRole,
        edit: CertificateEdit = same_certificate,
        *,
        key: EllipticCurvePrivateKey | None = None,
        signing: Signing = GENUINE,
    ) -> Self:
        """Return the vendor with another certificate in one role, for the same key or for another one.

        What the others have issued stays as it is: no certificate below is made again.
        """
        now = self.authority(role)
        form, subject_key = now.form, key or now.key
        is_root = ISSUERS[role] == role
        if key is not None:
            form = replace(form, spki=spki(key)).having(subject_key_identifier(key))
        if key is not None and is_root:
            form = form.having(authority_key_identifier(key))
        form = edit(form)
        signer = subject_key if is_root else self.authority(ISSUERS[role]).key
        made: dict[str, Any] = {role: EcAuthority(form=form, key=subject_key, der=seal(form, signer, signing))}
        return replace(self, **made)

    def authority(self, role: NvidiaRole) -> EcAuthority:
        """Return the certificate of that role, with its key."""
        authority: EcAuthority = getattr(self, role)
        return authority

    @property
    def rim_chain(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The signer of RIMs, its CAs and the root in DER."""
        return self.rim_signer.der, self.rim_l3.der, self.rim_ca.der, self.rim_root.der

    def issue_brom(
        self, gpu: Gpu, edit: CertificateEdit = same_certificate, *, signing: Signing = GENUINE
    ) -> EcAuthority:
        """Issue the certificate of a device's boot ROM, which says for ever which device it is."""
        key = p384_key(self.seed, f"nvidia brom {gpu.arch} {gpu.pdi.hex()}")
        ocsp = (ocsp_location(_OCSP_URL),) if gpu.arch == "BLACKWELL" else ()
        identifiers = (subject_key_identifier(key), authority_key_identifier(self.provisioner.key))
        form = CertificateForm(
            subject=nvidia_device_name(gpu.serial_number, f"{gpu.chip} BROM"),
            issuer=self.provisioner.form.subject,
            serial_number=gpu.serial_number,
            not_before=_NOT_BEFORE,
            not_after=_NEVER,
            spki=spki(key),
            extensions=(basic_constraints(ca=True), key_usage("key_cert_sign"), *ocsp, *identifiers),
            signature_algorithm=ECDSA_WITH_SHA384,
        )
        form = edit(form)
        return EcAuthority(form=form, key=key, der=seal(form, self.provisioner.key, signing))

    def issue_ak(
        self, gpu: Gpu, brom: EcAuthority, edit: CertificateEdit = same_certificate, *, signing: Signing = GENUINE
    ) -> EcAuthority:
        """Have the boot ROM issue the certificate of the attestation key, which is for one state of the firmware."""
        key = p384_key(self.seed, f"nvidia ak {gpu.arch} {gpu.pdi.hex()} {gpu.fwid.hex()}")
        number = serial_number(key_identifier(key))
        identifiers = (subject_key_identifier(key), authority_key_identifier(brom.key))
        form = CertificateForm(
            subject=nvidia_device_name(number, f"{gpu.chip} FMC LF"),
            issuer=brom.form.subject,
            serial_number=number,
            not_before=_NOT_BEFORE,
            not_after=_NEVER,
            spki=spki(key),
            extensions=(key_usage("digital_signature"), *identifiers, *gpu.extensions(brom.key)),
            signature_algorithm=ECDSA_WITH_SHA384,
        )
        form = edit(form)
        return EcAuthority(form=form, key=key, der=seal(form, brom.key, signing))

    def issue_responder(
        self, role: NvidiaRole, edit: CertificateEdit = same_certificate, *, signing: Signing = GENUINE
    ) -> EcAuthority:
        """Have a CA issue the certificate of an OCSP responder, which answers for it (RFC 6960, 4.2.2.2)."""
        issuer, name = self.authority(role), f"nvidia responder {role} {self.arch}"
        key, not_before = p384_key(self.seed, name), _midnight(self.at) - timedelta(days=1)
        uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
        form = CertificateForm(
            subject=nvidia_name("NVIDIA OCSP Responder"),
            issuer=issuer.form.subject,
            serial_number=_serial_number(self.seed, name),
            not_before=not_before,
            not_after=not_before + _RESPONDER_LIFETIME,
            spki=spki(key),
            extensions=(
                basic_constraints(ca=False),
                key_usage("digital_signature"),
                Extension.of(uses),
                Extension(_NO_CHECK, der.null()),
                subject_key_identifier(key),
                authority_key_identifier(issuer.key),
            ),
            signature_algorithm=ECDSA_WITH_SHA384,
        )
        form = edit(form)
        return EcAuthority(form=form, key=key, der=seal(form, issuer.key, signing))
