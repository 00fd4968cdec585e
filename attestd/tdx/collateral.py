"""Intel's collateral: TCB Info, QE Identity and both CRLs, authenticated once into immutable values.

Source: Intel SGX and TDX Provisioning Certification Service API, version 4; tdx.md, steps 3 to 5. Everything here is
untrusted input until the signature over its raw bytes has been verified, the issuer chains included.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple, TypeVar

from attestd.claims import PckCa, TcbStatus
from attestd.codec import Fields, Json, load_hex, load_json_members, load_pem
from attestd.errors import EndorsementRejected, Malformed, Reason
from attestd.signature import verify_p256
from attestd.tdx.pck import PckChain, pck_ca_of
from attestd.validity import Validity
from attestd.x509 import (
    INTEL,
    Certificate,
    CrlReasons,
    PathReasons,
    RevocationList,
    TrustAnchors,
    authenticate_crl,
    require_window,
    verify_path,
)

# Genuine documents have at most 30 KiB; Intel adds a few KiB with each TCB recovery.
MAX_DOCUMENT_SIZE: Final = 512 * 1024
MAX_LEVELS: Final = 256


_PLATFORM_STATUSES: Final = frozenset(TcbStatus) - {
    TcbStatus.TD_RELAUNCH_ADVISED,  # computed, never written by Intel
    TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED,
}
_ISV_STATUSES: Final = frozenset({TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED})


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCollateral:
    """The seven documents as they came, by the names that the evidence folders give them."""

    tcb_info: bytes  # JSON {"tcbInfo": …, "signature": …}
    tcb_info_issuer_chain: bytes  # PEM, leaf first
    qe_identity: bytes  # JSON {"enclaveIdentity": …, "signature": …}
    qe_identity_issuer_chain: bytes  # PEM
    root_ca_crl: bytes  # DER, PEM or hex
    pck_crl: bytes  # DER, PEM or hex
    pck_crl_issuer_chain: bytes  # PEM

    @property
    def digests(self) -> tuple[bytes, ...]:
        """SHA-256 of each document, in the order of the fields."""
        return tuple(sha256(getattr(self, field.name)).digest() for field in fields(self))


class IsvLevel(NamedTuple):
    """A TCB level of an enclave or of a TDX module: from this ISVSVN on."""

    isvsvn: int
    status: TcbStatus
    advisory_ids: tuple[str, ...]


class TcbLevel(NamedTuple):
    """A TCB level of a platform. The order of these tuples is Intel's order of levels."""

    sgx_components: bytes  # 16 security version numbers
    pce_svn: int
    tdx_components: bytes  # 16 security version numbers; empty in an SGX TCB Info
    date: datetime
    status: TcbStatus
    advisory_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TdxModule:
    """What a genuine TDX module looks like; without identity and levels where it is the base module of version 0."""

    id: str | None  # as Intel writes it, such as TDX_03
    mrsigner: bytes
    attributes: bytes
    levels: tuple[IsvLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbInfo:
    """TCB Info, version 3."""

    tee: str
    fmspc: bytes
    pce_id: bytes
    evaluation_data_number: int
    validity: Validity
    levels: tuple[TcbLevel, ...]  # best first
    module: TdxModule | None
    module_identities: dict[str, TdxModule]  # by identity in upper case, as TDX_01


@dataclass(frozen=True, slots=True, kw_only=True)
class QeIdentity:
    """QE Identity, version 2."""

    tee: str
    evaluation_data_number: int
    validity: Validity
    miscselect: bytes  # 4 bytes, in the order of the report
    miscselect_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isvprodid: int
    levels: tuple[IsvLevel, ...]


class Window(NamedTuple):
    """A validity window and how its two ends are named when they are crossed."""

    validity: Validity
    expired: Reason
    not_yet_valid: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Collateral:
    """Authenticated collateral for one TEE, FMSPC and PCK CA. Immutable; `verify` refuses it outside its window."""

    tcb_info: TcbInfo
    qe_identity: QeIdentity
    root_crl: RevocationList
    pck_crl: RevocationList
    pck_ca: PckCa
    root: Certificate
    window: Window  # in which everything above holds
    digests: tuple[bytes, ...]

    @property
    def tee(self) -> str:
        """The TEE whose quotes this endorses: `sgx` or `tdx`."""
        return self.tcb_info.tee

    @property
    def fmspc(self) -> bytes:
        """The platform family that this endorses, 6 bytes."""
        return self.tcb_info.fmspc

    @property
    def tcb_evaluation_data_number(self) -> int:
        """The lower of both documents': Intel publishes them at different times (tdx.md, facts)."""
        return min(self.tcb_info.evaluation_data_number, self.qe_identity.evaluation_data_number)

    @property
    def validity(self) -> Validity:
        """From the last of the documents to begin to the first of them to end."""
        return self.window.validity

    def require_current(self, at: datetime) -> None:
        """Raise `EndorsementRejected`, named after the document that has ended or not begun, outside of the window."""
        validity, expired, not_yet_valid = self.window
        require_window(validity, at, expired, not_yet_valid)


_Parsed = TypeVar("_Parsed", TcbInfo, QeIdentity)


class _Document(NamedTuple):
    """How one of the two signed JSON documents is called and refused."""

    member: str
    malformed: Reason
    signature: Reason
    type: Reason
    expired: Reason
    not_yet_valid: Reason


_TCB_INFO: Final = _Document(
    "tcbInfo",
    Reason.TDX_TCB_INFO_MALFORMED,
    Reason.TDX_TCB_INFO_SIGNATURE,
    Reason.TDX_TCB_INFO_TYPE,
    Reason.TDX_TCB_INFO_EXPIRED,
    Reason.TDX_TCB_INFO_NOT_YET_VALID,
)
_QE_IDENTITY: Final = _Document(
    "enclaveIdentity",
    Reason.TDX_QE_IDENTITY_MALFORMED,
    Reason.TDX_QE_IDENTITY_SIGNATURE,
    Reason.TDX_QE_IDENTITY_TYPE,
    Reason.TDX_QE_IDENTITY_EXPIRED,
    Reason.TDX_QE_IDENTITY_NOT_YET_VALID,
)
_ROOT_CRL: Final = CrlReasons(
    malformed=Reason.TDX_ROOT_CRL_MALFORMED,
    issuer=Reason.TDX_ROOT_CRL_ISSUER,
    signature=Reason.TDX_ROOT_CRL_SIGNATURE,
    expired=Reason.TDX_ROOT_CRL_EXPIRED,
    not_yet_valid=Reason.TDX_ROOT_CRL_NOT_YET_VALID,
)
_PCK_CRL: Final = CrlReasons(
    malformed=Reason.TDX_PCK_CRL_MALFORMED,
    issuer=Reason.TDX_PCK_CRL_ISSUER,
    signature=Reason.TDX_PCK_CRL_SIGNATURE,
    expired=Reason.TDX_PCK_CRL_EXPIRED,
    not_yet_valid=Reason.TDX_PCK_CRL_NOT_YET_VALID,
)


def _path_reasons(chain: Reason) -> PathReasons:
    return PathReasons(
        chain=chain,
        untrusted_root=Reason.TDX_UNTRUSTED_ROOT,
        expired=chain,
        not_yet_valid=chain,
        kind=EndorsementRejected,
    )


_TCB_SIGNING_PATH: Final = _path_reasons(Reason.TDX_TCB_SIGNING_CHAIN)
_PCK_CRL_PATH: Final = _path_reasons(Reason.TDX_PCK_CRL_CHAIN)


def authenticate_collateral(
    raw: RawCollateral, anchors: TrustAnchors, at: datetime, pck: PckChain | None = None
) -> Collateral:
    """Authenticate all of the collateral at the time `at`.

    `pck` is an authenticated chain, if there is one: where its CA issues the PCK CRL, that is not verified once more.

    Raises `EndorsementRejected`; where an encoding is broken, with the reason of that encoding.

    (1) the issuer of TCB Info is a TCB signing certificate that the pinned root issued; (2) the root's CRL is the
    root's, and lists neither the root nor the signer; (3) the issuer of the PCK CRL is a PCK CA below the same root and
    not revoked, and the CRL is its own; (4) TCB Info and (5) QE Identity are signed as they stand.
    """
    try:
        signer, root = _tcb_signer(raw.tcb_info_issuer_chain, anchors, at)  # (1)
        root_crl = authenticate_crl(raw.root_ca_crl, root, at, _ROOT_CRL, INTEL)  # (2)
        _require_unrevoked(root, root_crl, Reason.TDX_UNTRUSTED_ROOT)
        _require_unrevoked(signer, root_crl, Reason.TDX_TCB_SIGNING_REVOKED)
        crl_issuer, pck_ca = _crl_issuer(raw.pck_crl_issuer_chain, root, anchors, at, pck)  # (3)
        _require_unrevoked(crl_issuer, root_crl, Reason.TDX_PCK_CA_REVOKED)
        pck_crl = authenticate_crl(raw.pck_crl, crl_issuer, at, _PCK_CRL, INTEL)
        tcb_info = _authenticate(raw.tcb_info, _TCB_INFO, signer, at, _parse_tcb_info)  # (4)
        qe_signer = signer  # (5)
        if raw.qe_identity_issuer_chain != raw.tcb_info_issuer_chain:
            qe_signer, _ = _tcb_signer(raw.qe_identity_issuer_chain, anchors, at)
            _require_unrevoked(qe_signer, root_crl, Reason.TDX_TCB_SIGNING_REVOKED)
        qe_identity = _authenticate(raw.qe_identity, _QE_IDENTITY, qe_signer, at, _parse_qe_identity)
    except Malformed as error:
        raise EndorsementRejected(error.reason, found=error.found, wanted=error.wanted) from None
    window = _common_window(
        Window(tcb_info.validity, _TCB_INFO.expired, _TCB_INFO.not_yet_valid),
        Window(qe_identity.validity, _QE_IDENTITY.expired, _QE_IDENTITY.not_yet_valid),
        Window(root_crl.validity, _ROOT_CRL.expired, _ROOT_CRL.not_yet_valid),
        Window(pck_crl.validity, _PCK_CRL.expired, _PCK_CRL.not_yet_valid),
        Window(signer.validity, Reason.TDX_TCB_SIGNING_CHAIN, Reason.TDX_TCB_SIGNING_CHAIN),
        Window(qe_signer.validity, Reason.TDX_TCB_SIGNING_CHAIN, Reason.TDX_TCB_SIGNING_CHAIN),
        Window(crl_issuer.validity, Reason.TDX_PCK_CRL_CHAIN, Reason.TDX_PCK_CRL_CHAIN),
    )
    return Collateral(
        tcb_info=tcb_info,
        qe_identity=qe_identity,
        root_crl=root_crl,
        pck_crl=pck_crl,
        pck_ca=pck_ca,
        root=root,
        window=window,
        digests=raw.digests,
    )


def _common_window(*windows: Window) -> Window:
    """Return the window in which all of them hold, with each end named after the one that it belongs to."""
    last = max(windows, key=lambda window: window.validity.not_before)
    first = min(windows, key=lambda window: window.validity.not_after)
    validity = Validity(not_before=last.validity.not_before, not_after=first.validity.not_after)
    return Window(validity, first.expired, last.not_yet_valid)


def _tcb_signer(pem: bytes, anchors: TrustAnchors, at: datetime) -> tuple[Certificate, Certificate]:
    """Return the TCB signing certificate and the root that issued it."""
    chain = anchors.parse(load_pem(pem))
    signer = chain[0]
    if "SGX TCB Signing" not in signer.common_name:
        raise EndorsementRejected(
            Reason.TDX_TCB_SIGNING_CHAIN,
            found="a chain that begins with another role",
            wanted="the SGX TCB Signing certificate and the root",
        )
    root = verify_path(chain, anchors, at, _TCB_SIGNING_PATH, INTEL)
    _require_issued_by(root, signer, Reason.TDX_TCB_SIGNING_CHAIN)
    return signer, root


def _crl_issuer(
    pem: bytes, root: Certificate, anchors: TrustAnchors, at: datetime, pck: PckChain | None
) -> tuple[Certificate, PckCa]:
    """Return the PCK CA that issues the CRL, below the same root as the rest of the collateral."""
    ders = load_pem(pem)
    if pck is not None and pck.vouches_for(ders, root, at):
        return pck.issuer, pck.claims.pck_ca
    chain = anchors.parse(ders)
    issuer = chain[0]
    pck_ca = pck_ca_of(issuer)
    if pck_ca is None:
        raise EndorsementRejected(
            Reason.TDX_PCK_CRL_CHAIN,
            found="a chain that begins with another role",
            wanted="the SGX PCK Processor CA or Platform CA and the root",
        )
    if verify_path(chain, anchors, at, _PCK_CRL_PATH, INTEL, ca=True) != root:
        raise EndorsementRejected(
            Reason.TDX_PCK_CRL_CHAIN, found="another pinned root", wanted="the root of the TCB signing certificate"
        )
    _require_issued_by(root, issuer, Reason.TDX_PCK_CRL_CHAIN)
    return issuer, pck_ca


def _require_issued_by(root: Certificate, certificate: Certificate, reason: Reason) -> None:
    """Refuse a CA in between: whether it is revoked nobody would look up."""
    if certificate.issuer != root.subject:
        raise EndorsementRejected(
            reason, found="a certificate that an intermediate CA issued", wanted="one of the root's"
        )


def _require_unrevoked(certificate: Certificate, crl: RevocationList, reason: Reason) -> None:
    if certificate.serial_number in crl.revoked:
        raise EndorsementRejected(
            reason, found=f"serial number {certificate.serial_number:x} in CRL {crl.number}", wanted="none of it"
        )


def _authenticate(
    raw: bytes, document: _Document, signer: Certificate, at: datetime, parse: Callable[[Fields, _Document], _Parsed]
) -> _Parsed:
    """Verify the signature over the raw bytes of the inner object, then parse it, then judge its window."""
    if len(raw) > MAX_DOCUMENT_SIZE:
        raise EndorsementRejected(
            document.malformed, found=f"{len(raw)} bytes", wanted=f"at most {MAX_DOCUMENT_SIZE} bytes"
        )
    members = load_json_members(raw)
    if members.keys() != {document.member, "signature"}:
        raise EndorsementRejected(
            document.type, found=f"{len(members)} other members", wanted=f"{document.member} and signature"
        )
    value, signed = members[document.member]
    signature = _signature(members["signature"].value, document)
    verify_p256(signer.p256_public_key, signature, signed, document.signature, EndorsementRejected)
    parsed = parse(Fields(value, document.malformed, document.member), document)
    require_window(parsed.validity, at, document.expired, document.not_yet_valid)
    return parsed


def _signature(value: Json, document: _Document) -> bytes:
    try:
        return load_hex(value if isinstance(value, str) else "", size=64)
    except Malformed as error:
        raise EndorsementRejected(document.signature, found=error.found, wanted="r ‖ s, 64 bytes in hex") from None


def _parse_tcb_info(body: Fields, document: _Document) -> TcbInfo:
    """Read TCB Info version 3; unknown members are passed over, since Intel adds some."""
    tee = {"SGX": "sgx", "TDX": "tdx"}.get(body.text("id"))
    if tee is None or body.integer("version", 255) != 3:  # noqa: PLR2004 - 2 is deprecated and knows no TDX
        raise EndorsementRejected(document.type, found="another id or version", wanted="id SGX or TDX, version 3")
    if body.integer("tcbType", 255) != 0:
        raise EndorsementRejected(document.type, found="another tcbType", wanted="tcbType 0")
    levels = [_tcb_level(level, tee) for level in body.array("tcbLevels", most=MAX_LEVELS)]
    if len({level[:3] for level in levels}) != len(levels):
        raise EndorsementRejected(document.malformed, found="a level twice", wanted="each level once")
    identities = body.array("tdxModuleIdentities", most=MAX_LEVELS, least=0) if tee == "tdx" else []
    modules = {identity.text("id").upper(): _tdx_module(identity) for identity in identities}
    if len(modules) != len(identities):
        raise EndorsementRejected(document.malformed, found="a module identity twice", wanted="each identity once")
    return TcbInfo(
        tee=tee,
        fmspc=body.hexadecimal("fmspc", 6),
        pce_id=body.hexadecimal("pceId", 2),
        evaluation_data_number=body.integer("tcbEvaluationDataNumber", 2**31),
        validity=_validity(body),
        levels=tuple(sorted(levels, reverse=True)),
        module=_base_module(body.fields("tdxModule")) if tee == "tdx" else None,
        module_identities=modules,
    )


def _validity(body: Fields) -> Validity:
    return Validity(not_before=body.time("issueDate"), not_after=body.time("nextUpdate"))


def _tcb_level(level: Fields, tee: str) -> TcbLevel:
    tcb = level.fields("tcb")
    return TcbLevel(
        sgx_components=_components(tcb, "sgxtcbcomponents"),
        pce_svn=tcb.integer("pcesvn", 0xFFFF),
        tdx_components=_components(tcb, "tdxtcbcomponents") if tee == "tdx" else b"",
        date=level.time("tcbDate"),
        status=_status(level, _PLATFORM_STATUSES),
        advisory_ids=level.texts("advisoryIDs"),
    )


def _components(tcb: Fields, name: str) -> bytes:
    """Read exactly 16 security version numbers."""
    return bytes(tcb.integers(name, "svn", count=16, most=0xFF))


def _status(level: Fields, known: frozenset[TcbStatus]) -> TcbStatus:
    text = level.text("tcbStatus")
    if text in known:
        return TcbStatus(text)
    raise level.refuse("tcbStatus", "one of " + ", ".join(sorted(known)))


def _base_module(module: Fields) -> TdxModule:
    module.hexadecimal("attributesMask", 8)  # must be there; SEAMATTRIBUTES are compared whole, whatever it leaves out
    return TdxModule(
        id=None,
        mrsigner=module.hexadecimal("mrsigner", 48),
        attributes=module.hexadecimal("attributes", 8),
        levels=(),
    )


def _tdx_module(identity: Fields) -> TdxModule:
    return replace(_base_module(identity), id=identity.text("id"), levels=_isv_levels(identity))


def _isv_levels(body: Fields) -> tuple[IsvLevel, ...]:
    """Read enclave levels, best first."""
    levels = [
        IsvLevel(
            isvsvn=level.fields("tcb").integer("isvsvn", 0xFFFF),
            status=_status(level, _ISV_STATUSES),
            advisory_ids=level.texts("advisoryIDs"),
        )
        for level in body.array("tcbLevels", most=MAX_LEVELS)
    ]
    if len({level.isvsvn for level in levels}) != len(levels):
        raise body.refuse("tcbLevels", "each ISVSVN once")
    return tuple(sorted(levels, reverse=True))


def _parse_qe_identity(body: Fields, document: _Document) -> QeIdentity:
    """Read QE Identity version 2 of the SGX or the TDX quoting enclave."""
    tee = {"QE": "sgx", "TD_QE": "tdx"}.get(body.text("id"))
    if tee is None or body.integer("version", 255) != 2:  # noqa: PLR2004 - the current version
        raise EndorsementRejected(document.type, found="another id or version", wanted="id QE or TD_QE, version 2")
    identity = QeIdentity(
        tee=tee,
        evaluation_data_number=body.integer("tcbEvaluationDataNumber", 2**31),
        validity=_validity(body),
        # Printed as a big-endian number; the report has it little-endian.
        miscselect=body.hexadecimal("miscselect", 4)[::-1],
        miscselect_mask=body.hexadecimal("miscselectMask", 4)[::-1],
        attributes=body.hexadecimal("attributes", 16),
        attributes_mask=body.hexadecimal("attributesMask", 16),
        mrsigner=body.hexadecimal("mrsigner", 32),
        isvprodid=body.integer("isvprodid", 0xFFFF),
        levels=_isv_levels(body),
    )
    # A mask of zeros would let every enclave of the signer pass for the quoting enclave.
    if not any(identity.attributes_mask) or not any(identity.miscselect_mask):
        raise EndorsementRejected(document.malformed, found="a mask of zeros", wanted="masks that compare something")
    return identity
