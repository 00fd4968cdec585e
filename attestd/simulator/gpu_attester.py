"""GPUs with their keys: reports, RIMs, OCSP answers, and what several of them say to one nonce."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, NamedTuple, Self, TypeAlias

from attestd.evidence import GpuEvidence
from attestd.simulator.certificates import CertificateEdit, EcAuthority, same_certificate
from attestd.simulator.gpu import B200, H100, NVSWITCH, Arch, Gpu, RimKind
from attestd.simulator.nvidia import ISSUERS, NvidiaRole, NvidiaVendor
from attestd.simulator.ocsp import OcspResponder, State
from attestd.simulator.rim import (
    SIGNATURE,
    ElementEdit,
    RimEdit,
    RimForm,
    XmlSignature,
    same_element,
    same_rim,
    seal_rim,
)
from attestd.simulator.spdm import SPDM, SpdmReport, seal_spdm_report
from attestd.simulator.tampering import GENUINE, Signing
from attestd.simulator.vendor import AT, pem

GPUS: Final[dict[Arch, Gpu]] = {"HOPPER": H100, "BLACKWELL": B200, "LS10": NVSWITCH}

AskedRole: TypeAlias = NvidiaRole | Literal["brom"]
# In the order of the two chains: roots are not asked about, nor is the leaf of a device.
ASKED_ROLES: Final[tuple[AskedRole, ...]] = ("brom", "provisioner", "identity", "rim_signer", "rim_l3", "rim_ca")

# A machine with NVSwitches is a board with eight GPUs and four of them.
_BOARD_GPUS: Final = 8
_BOARD_SWITCHES: Final = 4


class GpuAnswer(NamedTuple):
    """What one device says to a nonce, in the members of the wire form."""

    arch: Arch
    report: bytes
    certificates: bytes  # PEM, leaf first
    chain: tuple[bytes, ...]  # the same in DER

    @property
    def bundled(self) -> tuple[bytes, bytes]:
        """What the digest over all GPUs is made of: the report, and the certificates in DER one after the other."""
        return self.report, b"".join(self.chain)

    @property
    def evidence(self) -> GpuEvidence:
        """The same as an attester sends it."""
        return GpuEvidence(arch=self.arch, report=self.report, certificates=self.certificates)


@dataclass(frozen=True, kw_only=True)
class GpuAttester:
    """A device of a vendor's, with the keys of its boot ROM and of its firmware."""

    vendor: NvidiaVendor
    gpu: Gpu
    brom: EcAuthority
    ak: EcAuthority

    @classmethod
    def of(
        cls,
        vendor: NvidiaVendor,
        gpu: Gpu | None = None,
        edit: CertificateEdit = same_certificate,
        *,
        edit_brom: CertificateEdit = same_certificate,
        signing: Signing = GENUINE,
    ) -> Self:
        """Make the device, the vendor's usual one without `gpu`; `edit` and `signing` are for its leaf certificate."""
        gpu = gpu or GPUS[vendor.arch]
        brom = vendor.issue_brom(gpu, edit_brom)
        return cls(vendor=vendor, gpu=gpu, brom=brom, ak=vendor.issue_ak(gpu, brom, edit, signing=signing))

    @property
    def chain(self) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        """Leaf, boot ROM, provisioner, identity and root in DER."""
        vendor = self.vendor
        return self.ak.der, self.brom.der, vendor.provisioner.der, vendor.identity.der, vendor.root.der

    @property
    def certificates(self) -> bytes:
        """The chain in PEM."""
        return pem(*self.chain)

    def report(self, form: SpdmReport = SPDM, *, signing: Signing = GENUINE) -> bytes:
        """Return a report: request and response, with the signature at the end."""
        return seal_spdm_report(form.of(self.gpu.blocks, self.gpu.opaque), self.ak.key, signing)

    def answer(self, nonce: bytes, form: SpdmReport = SPDM, *, signing: Signing = GENUINE) -> GpuAnswer:
        """Return report and certificates; the nonce in `form` is replaced."""
        report = self.report(replace(form, nonce=nonce), signing=signing)
        return GpuAnswer(self.gpu.arch, report, self.certificates, self.chain)

    @property
    def rim_kinds(self) -> tuple[RimKind, ...]:
        """Which RIMs speak of the device; an NVSwitch has no driver of its own."""
        return ("vbios",) if self.gpu.arch == "LS10" else ("driver", "vbios")

    def rim(
        self,
        kind: RimKind,
        edit: RimEdit = same_rim,
        *,
        edit_element: ElementEdit = same_element,
        signature: XmlSignature = SIGNATURE,
        signing: Signing = GENUINE,
    ) -> bytes:
        """Return the vendor's RIM for the state of the device.

        `edit` and `edit_element` come before the signature. `signing.before` edits SignedInfo as it is signed and not
        as it is written.
        """
        document = edit_element(edit(RimForm.of(self.gpu, kind)).element())
        return seal_rim(document, signature, self.vendor.rim_chain, self.vendor.rim_signer.key, signing)

    def rims(self) -> dict[str, bytes]:
        """Return all RIMs that are needed, by id."""
        return {self.gpu.rim_id(kind): self.rim(kind) for kind in self.rim_kinds}

    def asked(self, role: AskedRole) -> tuple[EcAuthority, EcAuthority]:
        """Return one of the certificates whose state NVIDIA's verifiers ask for, and its issuer."""
        if role == "brom":
            return self.brom, self.vendor.provisioner
        return self.vendor.authority(role), self.vendor.authority(ISSUERS[role])

    def responder(
        self, role: AskedRole, edit: CertificateEdit = same_certificate, *, signing: Signing = GENUINE
    ) -> OcspResponder:
        """Return who answers about that certificate, delegated by its issuer; `edit` is of its own certificate."""
        issuer_role: NvidiaRole = "provisioner" if role == "brom" else ISSUERS[role]
        return OcspResponder(
            issuer=self.vendor.authority(issuer_role),
            responder=self.vendor.issue_responder(issuer_role, edit, signing=signing),
            at=self.vendor.at,
        )

    def ocsp(self, role: AskedRole, state: State = "good", nonce: bytes | None = None) -> bytes:
        """Return the responder's answer about that certificate."""
        return self.responder(role).answer(self.asked(role)[0], state, nonce=nonce)


def gpu_set(count: int, gpu: Gpu = H100, seed: str = "attestd", at: datetime = AT) -> tuple[GpuAttester, ...]:
    """Return several devices of one kind, in the same state."""
    vendor = NvidiaVendor.of(gpu.arch, seed, at)
    return tuple(GpuAttester.of(vendor, gpu.numbered(number)) for number in range(count))


def gpu_endorsements(gpus: Sequence[GpuAttester], states: Mapping[AskedRole, State] | None = None) -> dict[str, bytes]:
    """Return what NVIDIA says of devices, as files: RIMs, and OCSP answers, good but for `states`.

    The devices are of one vendor and in one state, so that they differ in their boot ROMs alone.
    """
    files: dict[str, bytes] = {}
    for number, gpu in enumerate(gpus):
        files |= {f"{rim_id}.swidtag": raw for rim_id, raw in gpu.rims().items()}
        for role in ASKED_ROLES:
            name = f"{number}_{role}" if role == "brom" and len(gpus) > 1 else role
            files[f"{name}.ocsp"] = gpu.ocsp(role, (states or {}).get(role, "good"))
    return files


def protected_pcie(
    gpu: Gpu = H100,
    switch: Gpu = NVSWITCH,
    seed: str = "attestd",
    at: datetime = AT,
    edit: Callable[[Gpu], Gpu] = lambda gpu: gpu,
) -> tuple[GpuAttester, ...]:
    """Return a board in protected-PCIe mode: eight GPUs, then four NVSwitches, that all name each other.

    `edit` changes what one of them says.
    """
    gpus = [gpu.numbered(number) for number in range(_BOARD_GPUS)]
    switches = [switch.numbered(number) for number in range(_BOARD_SWITCHES)]
    gpu_pdis, switch_pdis = (tuple(one.pdi for one in ones) for ones in (gpus, switches))
    board = (
        *(one.linked(switch_pdis) for one in gpus),
        *(replace(one, gpu_pdis=gpu_pdis) for one in switches),
    )
    vendors = {arch: NvidiaVendor.of(arch, seed, at) for arch in {one.arch for one in board}}
    return tuple(GpuAttester.of(vendors[one.arch], edit(one)) for one in board)


def answers(
    gpus: Iterable[GpuAttester], nonce: bytes, form: SpdmReport = SPDM, *, signing: Signing = GENUINE
) -> tuple[GpuAnswer, ...]:
    """Return what each of them says to one nonce, in order."""
    return tuple(gpu.answer(nonce, form, signing=signing) for gpu in gpus)
