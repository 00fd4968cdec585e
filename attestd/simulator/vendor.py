"""An Intel-like vendor: root, CAs, TCB signing, CRLs and collateral, all from test keys.

Names contain what Intel's contain, since verifiers tell the roles of certificates by them, and say that they are
simulated. Distribution points lie under `.invalid` (RFC 2606), so that nobody is ever asked for anything.
"""

import textwrap
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Self, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from attestd.claims import PckCa
from attestd.simulator.certificates import (
    CA_USES,
    SIGNER_USES,
    CertificateEdit,
    CertificateForm,
    CrlEdit,
    CrlForm,
    EcAuthority,
    Revoked,
    authority_key_identifier,
    basic_constraints,
    crl_distribution_point,
    crl_number,
    distinguished_name,
    key_identifier,
    key_usage,
    same_certificate,
    same_crl,
    seal,
    signature_algorithm,
    subject_key_identifier,
)
from attestd.simulator.collateral import DocumentEdit, Tee, qe_identity, same_document, seal_document, tcb_info
from attestd.simulator.keys import p256_key, spki
from attestd.simulator.pck import Platform
from attestd.simulator.tampering import GENUINE, Signing
from attestd.tdx.collateral import RawCollateral

# The time of everything simulated, unless told otherwise.
AT: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)

Role: TypeAlias = Literal["root", "processor_ca", "platform_ca", "tcb_signing"]

_COMMON_NAMES: Final[dict[Role, str]] = {
    "root": "attestd Simulated SGX Root CA",
    "processor_ca": "attestd Simulated SGX PCK Processor CA",
    "platform_ca": "attestd Simulated SGX PCK Platform CA",
    "tcb_signing": "attestd Simulated SGX TCB Signing",
}
_PCK_COMMON_NAME: Final = "attestd Simulated SGX PCK Certificate"
_PATH_LENGTHS: Final[dict[Role, int | None]] = {"root": 1, "processor_ca": 0, "platform_ca": 0, "tcb_signing": None}

# As long as Intel's root: a demonstration on today's clock must not run out of certificates.
_NOT_BEFORE: Final = datetime(2018, 5, 21, 10, 45, 10, tzinfo=UTC)
_NOT_AFTER: Final = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)

_ROOT_CRL_URL: Final = "https://certificates.simulated.invalid/SimulatedSGXRootCA.der"
_PCK_CRL_URL: Final = "https://api.simulated.invalid/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"


def subject_name(common_name: str) -> bytes:
    """Return the Name, in DER, of a simulated certificate: the attributes of Intel's names, in their order."""
    return distinguished_name(
        common_name=common_name,
        organization_name="attestd test keys",
        locality_name="Nowhere",
        state_or_province_name="NA",
        country_name="ZZ",
    )


def pem(*ders: bytes) -> bytes:
    """Return certificates one after the other in PEM, as Intel's services and quotes carry them; broken ones too.

    Not by the codec's `dump_pem`, which is the counterpart of `load_pem`: the two would be wrong alike.
    """
    return b"".join(_pem(der) for der in ders)


def _pem(der: bytes) -> bytes:
    lines = textwrap.wrap(b64encode(der).decode(), 64)
    return "\n".join(("-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", "")).encode()


def _form(
    common_name: str, key: EllipticCurvePrivateKey, issuer: bytes, issuer_key: EllipticCurvePrivateKey, url: str
) -> CertificateForm:
    """Return what all certificates have in common; as with Intel's CAs the key identifier is the serial number."""
    return CertificateForm(
        subject=subject_name(common_name),
        issuer=issuer,
        serial_number=int.from_bytes(key_identifier(key)),
        not_before=_NOT_BEFORE,
        not_after=_NOT_AFTER,
        spki=spki(key),
        extensions=(authority_key_identifier(issuer_key), crl_distribution_point(url), subject_key_identifier(key)),
        signature_algorithm=signature_algorithm(issuer_key),
    )


def _authority(seed: str, role: Role) -> EcAuthority:
    """Make one of the certificates that the root signs, its own included."""
    key, root_key = p256_key(seed, role), p256_key(seed, "root")
    form = _form(_COMMON_NAMES[role], key, subject_name(_COMMON_NAMES["root"]), root_key, _ROOT_CRL_URL)
    ca = role != "tcb_signing"
    form = form.having(key_usage(*(CA_USES if ca else SIGNER_USES))).having(
        basic_constraints(ca=ca, path_length=_PATH_LENGTHS[role])
    )
    return EcAuthority(form=form, key=key, der=seal(form, root_key, GENUINE))


@dataclass(frozen=True, kw_only=True)
class Vendor:
    """The vendor at one moment. Whatever it issues is genuine unless the arguments ask for something else."""

    at: datetime
    seed: str
    root: EcAuthority
    processor_ca: EcAuthority
    platform_ca: EcAuthority
    tcb_signing: EcAuthority

    @classmethod
    def of(cls, seed: str = "attestd", at: datetime = AT) -> Self:
        """Make the vendor of that seed: its certificates depend on nothing else, its collateral on `at` too."""
        return cls(
            at=at,
            seed=seed,
            root=_authority(seed, "root"),
            processor_ca=_authority(seed, "processor_ca"),
            platform_ca=_authority(seed, "platform_ca"),
            tcb_signing=_authority(seed, "tcb_signing"),
        )

    @property
    def issued(self) -> datetime:
        """When collateral was issued: a week ago, at midnight, UTC."""
        return self.at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=7)

    @property
    def next_update(self) -> datetime:
        """When collateral ends: 30 days after it was issued, as with Intel."""
        return self.issued + timedelta(days=30)

    def reissue(
        self,
        role: Role,
        edit: CertificateEdit = same_certificate,
        *,
        key: EllipticCurvePrivateKey | None = None,
        signing: Signing = GENUINE,
    ) -> Self:
        """Return the vendor with another certificate in one role, for the same key or for another one.

        What the others have issued stays as it is: no certificate below is made again.
        """
        now: EcAuthority = getattr(self, role)
        form = edit(now.form if key is None else now.form.keyed(key))
        subject_key = key or now.key
        signer = subject_key if role == "root" else self.root.key
        made = EcAuthority(form=form, key=subject_key, der=seal(form, signer, signing))
        match role:
            case "root":
                return replace(self, root=made)
            case "processor_ca":
                return replace(self, processor_ca=made)
            case "platform_ca":
                return replace(self, platform_ca=made)
            case "tcb_signing":
                return replace(self, tcb_signing=made)

    def pck_ca(self, ca: PckCa) -> EcAuthority:
        """Return the CA of that kind."""
        return self.platform_ca if ca is PckCa.PLATFORM else self.processor_ca

    def issue_pck(
        self, platform: Platform, edit: CertificateEdit = same_certificate, *, signing: Signing = GENUINE
    ) -> EcAuthority:
        """Issue the PCK certificate of a platform."""
        ca = self.pck_ca(platform.ca)
        key = p256_key(self.seed, f"pck {platform.ppid.hex()}")
        url = _PCK_CRL_URL.format(ca=platform.ca)
        form = _form(_PCK_COMMON_NAME, key, ca.form.subject, ca.key, url)
        form = form.having(key_usage(*SIGNER_USES)).having(basic_constraints(ca=False)).having(platform.extension())
        form = edit(form)
        return EcAuthority(form=form, key=key, der=seal(form, ca.key, signing))

    def tcb_signing_chain(self) -> bytes:
        """Return the issuer chain of TCB Info and QE Identity in PEM, leaf first."""
        return pem(self.tcb_signing.der, self.root.der)

    def pck_ca_chain(self, ca: PckCa = PckCa.PLATFORM) -> bytes:
        """Return the issuer chain of a PCK CRL in PEM, the CA first."""
        return pem(self.pck_ca(ca).der, self.root.der)

    def tcb_info(self, edit: DocumentEdit = same_document, *, tee: Tee = "tdx", signing: Signing = GENUINE) -> bytes:
        """Return a TCB Info of version 3 with its signature, as Intel's service answers."""
        document = tcb_info(tee, self.issued, self.next_update)
        edit(document)
        return seal_document("tcbInfo", document, self.tcb_signing.key, signing)

    def qe_identity(self, edit: DocumentEdit = same_document, *, tee: Tee = "tdx", signing: Signing = GENUINE) -> bytes:
        """Return a QE Identity of version 2 with its signature, as Intel's service answers."""
        document = qe_identity(tee, self.issued, self.next_update)
        edit(document)
        return seal_document("enclaveIdentity", document, self.tcb_signing.key, signing)

    def root_ca_crl(
        self, revoked: Iterable[int | Revoked] = (), *, edit: CrlEdit = same_crl, signing: Signing = GENUINE
    ) -> bytes:
        """Return the root's CRL in DER; it names CAs and TCB signing certificates."""
        return self._crl(self.root, revoked, edit, signing)

    def pck_crl(
        self,
        revoked: Iterable[int | Revoked] = (),
        *,
        ca: PckCa = PckCa.PLATFORM,
        edit: CrlEdit = same_crl,
        signing: Signing = GENUINE,
    ) -> bytes:
        """Return the CRL of a PCK CA in DER; it names PCK certificates."""
        return self._crl(self.pck_ca(ca), revoked, edit, signing)

    def _crl(self, issuer: EcAuthority, revoked: Iterable[int | Revoked], edit: CrlEdit, signing: Signing) -> bytes:
        form = CrlForm(
            issuer=issuer.form.subject,
            this_update=self.issued,
            next_update=self.next_update,
            revoked=tuple(entry if isinstance(entry, Revoked) else Revoked(entry) for entry in revoked),
            extensions=(crl_number(1), authority_key_identifier(issuer.key)),
            signature_algorithm=signature_algorithm(issuer.key),
        )
        return seal(edit(form), issuer.key, signing)

    def collateral(
        self,
        tee: Tee = "tdx",
        ca: PckCa = PckCa.PLATFORM,
        *,
        tcb_info: bytes | None = None,
        qe_identity: bytes | None = None,
        root_ca_crl: bytes | None = None,
        pck_crl: bytes | None = None,
    ) -> RawCollateral:
        """Return all seven documents; those that are given stand in the place of genuine ones."""
        return RawCollateral(
            tcb_info=self.tcb_info(tee=tee) if tcb_info is None else tcb_info,
            tcb_info_issuer_chain=self.tcb_signing_chain(),
            qe_identity=self.qe_identity(tee=tee) if qe_identity is None else qe_identity,
            qe_identity_issuer_chain=self.tcb_signing_chain(),
            root_ca_crl=self.root_ca_crl() if root_ca_crl is None else root_ca_crl,
            pck_crl=self.pck_crl(ca=ca) if pck_crl is None else pck_crl,
            pck_crl_issuer_chain=self.pck_ca_chain(ca),
        )
