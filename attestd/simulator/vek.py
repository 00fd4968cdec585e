"""A chip as its VCEK or VLEK describes it, and AMD's extensions that say so.

Source: Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification (AMD 57230), 3; snp.md, 2.2.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from attestd.claims import ProductLine, TcbVersion
from attestd.simulator import der
from attestd.simulator.certificates import Extension
from attestd.simulator.keys import secret

Kind: TypeAlias = Literal["vcek", "vlek"]

AMD_ARC: Final = "1.3.6.1.4.1.3704.1"

_PRODUCT_NAMES: Final = {("vcek", ProductLine.MILAN): "Milan-B0"}
# In the order of genuine certificates; those that nothing uses are zero.
_SPLS: Final = ("1", "2", "4", "5", "6", "7", "3", "8")
_TURIN_SPLS: Final = ("9", "1", "2", "3", "5", "6", "7", "8")


def vek_extension(suffix: str, value: bytes) -> Extension:
    """Return the extension with that suffix below AMD's arc, for `CertificateForm.having`; `value` is DER, or raw."""
    return Extension(f"{AMD_ARC}.{suffix}", value)


def spl(part: str, level: int | bytes) -> Extension:
    """Return a security patch level by the suffix of its part: 1 bootloader, 2 TEE, 3 SNP, 8 microcode, 9 FMC."""
    return vek_extension(f"3.{part}", der.integer(level))


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A processor, and the kind of key that it signs reports with. Nothing checks the fields."""

    line: ProductLine
    family: int  # of CPUID, with the extended family and model
    model: int
    stepping: int = 1
    hwid: bytes  # 64 bytes, of Turin 8
    tcb: TcbVersion
    mitigation_vector: int = 0b1011
    kind: Kind = "vcek"
    csp_id: str = "CN=cc-nowhere-1.simulated.invalid"  # VLEK alone

    def extensions(self) -> tuple[Extension, ...]:
        """Return AMD's extensions of the certificate, which has no others."""
        is_turin = self.line is ProductLine.TURIN
        name = _PRODUCT_NAMES.get((self.kind, self.line), self.line)
        levels = {"1": self.tcb.bootloader, "2": self.tcb.tee, "3": self.tcb.snp, "8": self.tcb.microcode}
        levels["9"] = self.tcb.fmc or 0
        is_vcek = self.kind == "vcek"
        return (
            vek_extension("1", der.integer(int(is_turin))),
            vek_extension("2", der.ia5_string(name)),
            *(spl(part, levels.get(part, 0)) for part in (_TURIN_SPLS if is_turin else _SPLS)),
            vek_extension("4", self.hwid) if is_vcek else vek_extension("5", der.ia5_string(self.csp_id)),
        )


MILAN: Final = Chip(
    line=ProductLine.MILAN,
    family=0x19,
    model=0x01,
    hwid=secret("attestd", "Milan", 64),
    tcb=TcbVersion(fmc=None, bootloader=4, tee=0, snp=27, microcode=222),
)
GENOA: Final = Chip(
    line=ProductLine.GENOA,
    family=0x19,
    model=0x11,
    hwid=secret("attestd", "Genoa", 64),
    tcb=TcbVersion(fmc=None, bootloader=10, tee=0, snp=27, microcode=84),
)
# Bergamo and Siena have Genoa's keys, and microcode with a count of its own.
BERGAMO: Final = Chip(
    line=ProductLine.GENOA,
    family=0x19,
    model=0xA0,
    hwid=secret("attestd", "Bergamo", 64),
    tcb=TcbVersion(fmc=None, bootloader=10, tee=0, snp=27, microcode=27),
)
TURIN: Final = Chip(
    line=ProductLine.TURIN,
    family=0x1A,
    model=0x02,
    hwid=secret("attestd", "Turin", 8),
    tcb=TcbVersion(fmc=1, bootloader=3, tee=2, snp=5, microcode=97),
    mitigation_vector=0b111111,
)
CHIPS: Final = {chip.line: chip for chip in (MILAN, GENOA, TURIN)}


def tcb_version(tcb: TcbVersion, line: ProductLine) -> bytes:
    """Return TCB_VERSION, 8 bytes, as `line` lays it out (SEV-SNP firmware ABI, 2.2)."""
    if line is ProductLine.TURIN:
        return bytes((tcb.fmc or 0, tcb.bootloader, tcb.tee, tcb.snp, 0, 0, 0, tcb.microcode))
    return bytes((tcb.bootloader, tcb.tee, 0, 0, 0, 0, tcb.snp, tcb.microcode))
