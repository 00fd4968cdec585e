"""An AMD-like vendor: for one product line the root (ARK), the issuers of VCEKs (ASK) and VLEKs (ASVK), and the CRL.

Common names are AMD's, since verifiers tell roles and product lines by them; the rest of each name says that it is
simulated. Distribution points lie under `.invalid` (RFC 2606), so that nobody is ever asked for anything.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Self, TypeAlias

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import ExtensionOID

from attestd.claims import ProductLine
from attestd.simulator.certificates import (
    CA_USES,
    CertificateEdit,
    CertificateForm,
    CrlEdit,
    CrlForm,
    EcAuthority,
    Extension,
    Revoked,
    RsaAuthority,
    authority_key_identifier,
    basic_constraints,
    crl_distribution_point,
    crl_number,
    distinguished_name,
    key_usage,
    same_certificate,
    same_crl,
    seal,
    subject_key_identifier,
)
from attestd.simulator.keys import p384_key, spki
from attestd.simulator.rsa import rsa_key, rsassa_pss
from attestd.simulator.tampering import GENUINE, Signing
from attestd.simulator.vek import Chip
from attestd.simulator.vendor import AT

AmdRole: TypeAlias = Literal["ark", "ask", "asvk"]

_COMMON_NAMES: Final[dict[AmdRole, str]] = {"ark": "ARK-{}", "ask": "SEV-{}", "asvk": "SEV-VLEK-{}"}
_LEAF_COMMON_NAMES: Final = {"vcek": "SEV-VCEK", "vlek": "SEV-VLEK"}
_SERIAL_BASES: Final = {ProductLine.MILAN: 0x10000, ProductLine.GENOA: 0x20000, ProductLine.TURIN: 0x30000}
_SERIALS: Final[dict[AmdRole, int]] = {"ark": 0x000, "ask": 0x001, "asvk": 0x101}
# AMD has replaced the ASK of Genoa; the serial number of the first one has been in the CRL since.
_RETIRED: Final = {ProductLine.GENOA: 0x20001}
_RETIRED_AT: Final = datetime(2022, 10, 31, 12, tzinfo=UTC)

# 25 years, as AMD has it: a demonstration on today's clock must not run out of certificates.
_NOT_BEFORE: Final = datetime(2020, 10, 22, 17, 23, 5, tzinfo=UTC)
_NOT_AFTER: Final = datetime(2045, 10, 22, 17, 23, 5, tzinfo=UTC)
_LIFETIMES: Final = {"vcek": timedelta(days=7 * 365), "vlek": timedelta(days=365)}
_VEK_AGE: Final = timedelta(days=23)

# keyCertSign, as AMD writes it: DER would have two unused bits in place of one.
_ASK_USES: Final = Extension(ExtensionOID.KEY_USAGE.dotted_string, bytes.fromhex("03020104"), critical=True)

_CRL_URL: Final = "https://kds.simulated.invalid/{kind}/v1/{line}/crl"
_CRL_NUMBER: Final = 4
_CRL_LIFETIME: Final = timedelta(days=376)


def amd_name(common_name: str) -> bytes:
    """Return the Name, in DER, of a simulated certificate: the attributes of AMD's names, in their order."""
    return distinguished_name(
        organizational_unit_name="attestd test keys",
        country_name="ZZ",
        locality_name="Nowhere",
        state_or_province_name="NA",
        organization_name="attestd Simulated Micro Devices",
        common_name=common_name,
    )


def _authority(seed: str, line: ProductLine, role: AmdRole) -> RsaAuthority:
    """Make one of the certificates that the ARK signs, its own included; extensions stand in AMD's order."""
    key, ark_key = rsa_key(seed, f"{role} {line}"), rsa_key(seed, f"ark {line}")
    distribution_point = crl_distribution_point(_CRL_URL.format(kind="vlek" if role == "asvk" else "vcek", line=line))
    extensions: tuple[Extension, ...]
    if role == "ark":
        extensions = (key_usage(*CA_USES), subject_key_identifier(key), basic_constraints(ca=True))
    else:
        identifiers = (subject_key_identifier(key), authority_key_identifier(ark_key))
        extensions = (*identifiers, basic_constraints(ca=True, path_length=0), _ASK_USES)
    form = CertificateForm(
        subject=amd_name(_COMMON_NAMES[role].format(line)),
        issuer=amd_name(_COMMON_NAMES["ark"].format(line)),
        serial_number=_SERIAL_BASES[line] + _SERIALS[role] + (role == "ask" and line in _RETIRED),
        not_before=_NOT_BEFORE,
        not_after=_NOT_AFTER,
        spki=spki(key),
        extensions=(*extensions, distribution_point),
        # AMD writes the trailer field out in its CA certificates alone.
        signature_algorithm=rsassa_pss(trailer=True),
    )
    return RsaAuthority(form=form, key=key, der=seal(form, ark_key, GENUINE))


@dataclass(frozen=True, kw_only=True)
class AmdVendor:
    """The vendor of a product line at one moment. What it issues is genuine unless the arguments ask for otherwise."""

    at: datetime
    seed: str
    line: ProductLine
    ark: RsaAuthority
    ask: RsaAuthority
    asvk: RsaAuthority

    @classmethod
    def of(cls, line: ProductLine = ProductLine.GENOA, seed: str = "attestd", at: datetime = AT) -> Self:
        """Make the vendor of that seed: its CAs depend on line and seed alone, VCEKs, VLEKs and the CRL on `at` too.

        Keys of seeds other than `attestd`, and `mallory` for Genoa, take some seconds to make.
        """
        return cls(
            at=at,
            seed=seed,
            line=line,
            ark=_authority(seed, line, "ark"),
            ask=_authority(seed, line, "ask"),
            asvk=_authority(seed, line, "asvk"),
        )

    @property
    def issued(self) -> datetime:
        """When the CRL was issued: a week ago, at midnight, UTC."""
        return self.at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=7)

    def reissue(
        self,
        role: AmdRole,
        edit: CertificateEdit = same_certificate,
        *,
        key: RSAPrivateKey | None = None,
        signing: Signing = GENUINE,
    ) -> Self:
        """Return the vendor with another certificate in one role, for the same key or for another one.

        What the others have issued stays as it is: no certificate below is made again.
        """
        now: RsaAuthority = getattr(self, role)
        form, subject_key = now.form, key or now.key
        if key is not None:
            form = replace(form, spki=spki(key)).having(subject_key_identifier(key))
        form = edit(form)
        signer = subject_key if role == "ark" else self.ark.key
        made = RsaAuthority(form=form, key=subject_key, der=seal(form, signer, signing))
        match role:
            case "ark":
                return replace(self, ark=made)
            case "ask":
                return replace(self, ask=made)
            case "asvk":
                return replace(self, asvk=made)

    def issue_vek(
        self, chip: Chip, edit: CertificateEdit = same_certificate, *, signing: Signing = GENUINE
    ) -> EcAuthority:
        """Issue the VCEK or VLEK of a chip, three weeks before the CRL; a VCEK is for one chip and one TCB."""
        issuer = self.vek_issuer(chip)
        owner = chip.hwid.hex() if chip.kind == "vcek" else chip.csp_id
        key = p384_key(self.seed, f"{chip.kind} {owner} {tuple(chip.tcb)}")
        not_before = self.issued - _VEK_AGE
        form = CertificateForm(
            subject=amd_name(_LEAF_COMMON_NAMES[chip.kind]),
            issuer=issuer.form.subject,
            serial_number=0,
            not_before=not_before,
            not_after=not_before + _LIFETIMES[chip.kind],
            spki=spki(key),
            extensions=chip.extensions(),
            signature_algorithm=rsassa_pss(),
        )
        form = edit(form)
        return EcAuthority(form=form, key=key, der=seal(form, issuer.key, signing))

    def vek_issuer(self, chip: Chip) -> RsaAuthority:
        """Return the CA that issues the chip's kind of certificate."""
        return self.ask if chip.kind == "vcek" else self.asvk

    def crl(
        self, revoked: Iterable[int | Revoked] = (), *, edit: CrlEdit = same_crl, signing: Signing = GENUINE
    ) -> bytes:
        """Return the ARK's CRL in DER; it names ASKs and ASVKs, and always the one that was retired."""
        # AMD gives no reasons.
        entries = [entry if isinstance(entry, Revoked) else Revoked(entry, reason=None) for entry in revoked]
        if self.line in _RETIRED:
            entries.insert(0, Revoked(_RETIRED[self.line], _RETIRED_AT, reason=None))
        form = CrlForm(
            issuer=self.ark.form.subject,
            this_update=self.issued,
            next_update=self.issued + _CRL_LIFETIME,
            revoked=tuple(entries),
            extensions=(authority_key_identifier(self.ark.key), crl_number(_CRL_NUMBER)),
            signature_algorithm=rsassa_pss(),
        )
        return seal(edit(form), self.ark.key, signing)
