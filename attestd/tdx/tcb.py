"""Which TCB level a platform has reached, and what that means together with its TDX module and quoting enclave.

Source: Intel's quote verification library (TCB level selection, convergence); tdx.md, steps 8 and 10 to 13. Pure
arithmetic over authenticated values. "No level fits" is a refusal, never "out of date".
"""

from operator import ge
from typing import Final, NamedTuple

from attestd.claims import PckClaims, TcbClaims, TcbStatus
from attestd.errors import NotAuthentic, Reason
from attestd.tdx.collateral import Collateral, IsvLevel, QeIdentity, TcbInfo, TcbLevel, TdxModule
from attestd.tdx.quote import SgxReport, TdReport

_UP_TO_DATE = TcbStatus.UP_TO_DATE
_SW_HARDENING = TcbStatus.SW_HARDENING_NEEDED
_CONFIGURATION = TcbStatus.CONFIGURATION_NEEDED
_CONFIGURATION_AND_SW_HARDENING = TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED
_OUT_OF_DATE = TcbStatus.OUT_OF_DATE
_OUT_OF_DATE_CONFIGURATION = TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED
_TD_RELAUNCH = TcbStatus.TD_RELAUNCH_ADVISED
_TD_RELAUNCH_CONFIGURATION = TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
_REVOKED = TcbStatus.REVOKED

# What a platform's status becomes next to a module or quoting enclave that is out of date; the rest stay as they are.
_BESIDE_OUT_OF_DATE: Final = {
    _UP_TO_DATE: _OUT_OF_DATE,
    _SW_HARDENING: _OUT_OF_DATE,
    _CONFIGURATION: _OUT_OF_DATE_CONFIGURATION,
    _CONFIGURATION_AND_SW_HARDENING: _OUT_OF_DATE_CONFIGURATION,
}
_NO_ATTRIBUTES: Final = bytes(8)
# The identities of TDX modules by their version, which 0, the base module, has none of.
_MODULE_IDS: Final = tuple(f"TDX_{version:02X}" for version in range(256))
_NEEDS_CONFIGURATION: Final = frozenset({_CONFIGURATION, _CONFIGURATION_AND_SW_HARDENING, _OUT_OF_DATE_CONFIGURATION})


class Module(NamedTuple):
    """What a TD report was matched with: the identity of a TDX module and its level; all None for an SGX quote."""

    id: str | None  # None for version 0, the base module
    status: TcbStatus | None
    advisory_ids: tuple[str, ...]


def select_tcb(collateral: Collateral, pck: PckClaims, qe: SgxReport, body: SgxReport | TdReport) -> TcbClaims:
    """Select every level and converge them to one status.

    Raises `NotAuthentic`: `tdx.tdx_module_mismatch`, `tdx.tdx_module_not_supported`, `tdx.tcb_not_supported`,
    `tdx.qe_not_supported`, `tdx.tcb_revoked`.
    """
    info, qe_identity = collateral.tcb_info, collateral.qe_identity
    td = body if isinstance(body, TdReport) else None
    module = match_tdx_module(info, td) if td else Module(None, None, ())
    sgx_level, level = _select_levels(info, pck, td)
    qe_level = _isv_level(qe_identity.levels, qe.isvsvn, Reason.TDX_QE_NOT_SUPPORTED)
    status = _converge(level.status, module.status) if module.status else level.status
    if td and _relaunch_is_enough(info, td, sgx_level.status, status, module, qe_level):
        configuration = {sgx_level.status, status} & _NEEDS_CONFIGURATION
        status = _TD_RELAUNCH_CONFIGURATION if configuration else _TD_RELAUNCH
    status = _converge(status, qe_level.status)
    if status is _REVOKED:
        raise NotAuthentic(
            Reason.TDX_TCB_REVOKED,
            found=f"platform {level.status}, module {module.status}, QE {qe_level.status}",
            wanted="none of them Revoked",
        )
    return TcbClaims(
        status,
        tuple(dict.fromkeys(level.advisory_ids + module.advisory_ids + qe_level.advisory_ids)),
        level.date,
        collateral.tcb_evaluation_data_number,
        info.evaluation_data_number,
        qe_identity.evaluation_data_number,
        sgx_level.status,
        level.status if td else None,
        module.id,
        module.status,
        qe_level.status,
    )


def match_tdx_module(info: TcbInfo, td: TdReport) -> Module:
    """Find the identity of the TDX module by its version, TEE_TCB_SVN[1], and its level by TEE_TCB_SVN[0] (step 10).

    Raises `NotAuthentic` (`tdx.tdx_module_mismatch`, `tdx.tdx_module_not_supported`).
    """
    version = td.tee_tcb_svn[1]
    identity = info.module_identities.get(_MODULE_IDS[version]) if version else info.module
    if identity is None:
        raise NotAuthentic(
            Reason.TDX_MODULE_MISMATCH,
            found=f"a TDX module of version {version}",
            wanted=_listed(info.module_identities),
        )
    _require_genuine(identity, td)
    if identity.id is None:  # the base module has no levels of its own: the platform's level judges all of TEE_TCB_SVN
        return Module(None, _UP_TO_DATE, ())
    level = _isv_level(identity.levels, td.tee_tcb_svn[0], Reason.TDX_MODULE_NOT_SUPPORTED)
    return Module(identity.id, level.status, level.advisory_ids)


def _require_genuine(identity: TdxModule, td: TdReport) -> None:
    if td.mrsignerseam != identity.mrsigner:
        raise NotAuthentic(
            Reason.TDX_MODULE_MISMATCH,
            found=f"MRSIGNERSEAM {td.mrsignerseam.hex()}",
            wanted=f"MRSIGNERSEAM {identity.mrsigner.hex()}",
        )
    # SEAMATTRIBUTES must be zero whatever a mask leaves out (TDX module specification, TDREPORT TEE_TCB_INFO), so an
    # identity that wants any of them, under whichever mask, is of a module that does not exist.
    if not td.seamattributes == identity.attributes == _NO_ATTRIBUTES:
        raise NotAuthentic(
            Reason.TDX_MODULE_MISMATCH,
            found=f"SEAMATTRIBUTES {td.seamattributes.hex()}",
            wanted=f"SEAMATTRIBUTES {identity.attributes.hex()}, all zero",
        )


def masked(value: bytes, mask: bytes) -> bytes:
    """Return value AND mask, bytewise, of the length of the mask."""
    size = len(mask)
    return (int.from_bytes(value, "big") & int.from_bytes(mask, "big")).to_bytes(size, "big")


def _isv_level(levels: tuple[IsvLevel, ...], isvsvn: int, not_supported: Reason) -> IsvLevel:
    for level in levels:
        if level.isvsvn <= isvsvn:
            return level
    raise NotAuthentic(not_supported, found=f"ISVSVN {isvsvn}", wanted=f"at least ISVSVN {levels[-1].isvsvn}")


def _select_levels(info: TcbInfo, pck: PckClaims, td: TdReport | None) -> tuple[TcbLevel, TcbLevel]:
    """Return the best level that the SGX part reaches, and the best one that all parts reach (step 11)."""
    sgx_level = None
    # With a module of version 1 or later its own identity judges components 0 and 1, and the level does not.
    start = 2 if td and td.tee_tcb_svn[1] else 0
    for level in info.levels:
        if pck.pce_svn < level.pce_svn or not _reaches(pck.tcb_components, level.sgx_components):
            continue
        sgx_level = sgx_level or level
        if td is None or _reaches(td.tee_tcb_svn[start:], level.tdx_components[start:]):
            return sgx_level, level
    raise NotAuthentic(
        Reason.TDX_TCB_NOT_SUPPORTED,
        found=f"components {pck.tcb_components.hex()}, PCESVN {pck.pce_svn}"
        + (f", TEE_TCB_SVN {td.tee_tcb_svn.hex()}" if td else ""),
        wanted=_lowest(info.levels[-1], td is not None),
    )


def _lowest(level: TcbLevel, tdx: bool) -> str:  # noqa: FBT001 - only for the sentence above
    tail = f", TEE_TCB_SVN {level.tdx_components.hex()}" if tdx else ""
    return f"at least components {level.sgx_components.hex()}, PCESVN {level.pce_svn}{tail}"


def _reaches(svns: bytes, level: bytes) -> bool:
    """Compare security version numbers one by one: a higher one never makes up for a lower one."""
    return svns == level or all(map(ge, svns, level))


def _converge(platform: TcbStatus, other: TcbStatus) -> TcbStatus:
    """Join the platform's status with that of its module or quoting enclave (step 12). Not the worse of the two."""
    if other is _REVOKED:
        return _REVOKED
    if other is _OUT_OF_DATE:
        return _BESIDE_OUT_OF_DATE.get(platform, platform)
    return platform


def _relaunch_is_enough(
    info: TcbInfo, td: TdReport, sgx: TcbStatus, tdx: TcbStatus, module: Module, qe: IsvLevel
) -> bool:
    """Tell whether the platform is current by now and only this TD was launched before (step 13).

    `tdx` is the status of the TDX part converged with the module's: the level alone ignores components 0 and 1, so a
    genuine platform whose module was updated under a running TD has a level UpToDate there.
    """
    return (
        td.tee_tcb_svn2 is not None
        and qe.status is _UP_TO_DATE
        and sgx in _BESIDE_OUT_OF_DATE
        and tdx in (_OUT_OF_DATE, _OUT_OF_DATE_CONFIGURATION)
        and module.status is _OUT_OF_DATE
        and _current_module_is_up_to_date(info, td.tee_tcb_svn2)
    )


def _current_module_is_up_to_date(info: TcbInfo, svn2: bytes) -> bool:
    """Compare TEE_TCB_SVN2, the module that runs now, with the newest level."""
    newest = info.levels[0].tdx_components
    if svn2[1] == 0:
        least = newest[0]
    elif (identity := info.module_identities.get(_MODULE_IDS[svn2[1]])) is not None:
        least = identity.levels[0].isvsvn
    else:
        return False
    return svn2[0] >= least and svn2[2] >= newest[2]


def require_qe_identity(identity: QeIdentity, qe: SgxReport) -> None:
    """Require that a QE report is of the quoting enclave that the QE Identity describes (step 8).

    Raises `NotAuthentic` (`tdx.qe_identity_mismatch`) naming the field.
    """
    if (
        masked(qe.miscselect, identity.miscselect_mask) == identity.miscselect
        and masked(qe.attributes, identity.attributes_mask) == identity.attributes
        and qe.mrsigner == identity.mrsigner
        and qe.isvprodid == identity.isvprodid
    ):
        return
    found = f"MISCSELECT {qe.miscselect.hex()}, ATTRIBUTES {qe.attributes.hex()}, MRSIGNER {qe.mrsigner.hex()}"
    wanted = (
        f"{identity.miscselect.hex()} under {identity.miscselect_mask.hex()}, "
        f"{identity.attributes.hex()} under {identity.attributes_mask.hex()}, {identity.mrsigner.hex()}"
    )
    raise NotAuthentic(
        Reason.TDX_QE_IDENTITY_MISMATCH,
        found=f"{found}, ISVPRODID {qe.isvprodid}",
        wanted=f"{wanted}, {identity.isvprodid}",
    )


def _listed(identities: dict[str, TdxModule]) -> str:
    return "one of " + ", ".join(sorted(identities)[:16]) if identities else "a base module, of version 0"
