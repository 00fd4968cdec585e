"""A platform as its PCK certificate describes it, and the SGX extension that says so.

Source: Intel SGX PCK Certificate and CRL Profile, section 3 (SGX extensions, 1.2.840.113741.1.13.1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from attestd.claims import PckCa
from attestd.simulator import der
from attestd.simulator.certificates import Extension
from attestd.simulator.keys import secret

SGX_EXTENSION: Final = "1.2.840.113741.1.13.1"

# The OID below the extension's own, and the DER of the value.
Item: TypeAlias = tuple[str, bytes]


def svns(*leading: int) -> tuple[int, ...]:
    """Return 16 security version numbers of which the last ones are zero."""
    return (*leading, *(0,) * (16 - len(leading)))


# What the UpToDate level of the simulated TCB Info asks for; the numbers are of the size that genuine ones have.
CURRENT_SVNS: Final = svns(3, 3, 2, 2, 4, 1, 0, 5)
OLDER_SVNS: Final = svns(2, 2, 2, 2, 3, 1, 0, 5)
CURRENT_PCE_SVN: Final = 13
OLDER_PCE_SVN: Final = 11


def _unchanged(items: list[Item]) -> list[Item]:
    return items


@dataclass(frozen=True, kw_only=True)
class Platform:
    """A machine, as its PCK certificate describes it. Nothing checks the fields: they are written as they are given."""

    ca: PckCa = PckCa.PLATFORM
    ppid: bytes = secret("attestd", "ppid", 16)
    tcb_components: tuple[int, ...] = CURRENT_SVNS
    pce_svn: int = CURRENT_PCE_SVN
    cpu_svn: bytes | None = None  # None: the components, as genuine platforms have it
    pce_id: bytes = bytes(2)
    fmspc: bytes = bytes.fromhex("f0516d000000")
    sgx_type: int = 1  # Standard, Scalable, ScalableWithIntegrity
    platform_instance_id: bytes = secret("attestd", "platform instance", 16)
    dynamic_platform: bool = True
    cached_keys: bool = True
    smt_enabled: bool = True
    edit: Callable[[list[Item]], list[Item]] = _unchanged  # of the extension's items
    sgx_extension: bytes | None = None  # the whole value, in place of everything above

    def extension(self) -> Extension:
        """Return the SGX extension; the Processor CA's certificates end with the SGX type."""
        if self.sgx_extension is not None:
            return Extension(SGX_EXTENSION, self.sgx_extension)
        items = [
            ("1", der.octets(self.ppid)),
            ("2", self._tcb()),
            ("3", der.octets(self.pce_id)),
            ("4", der.octets(self.fmspc)),
            ("5", der.enumerated(self.sgx_type)),
        ]
        if self.ca is PckCa.PLATFORM:
            items += [("6", der.octets(self.platform_instance_id)), ("7", self._configuration())]
        return Extension(SGX_EXTENSION, _items(SGX_EXTENSION, self.edit(items)))

    def _tcb(self) -> bytes:
        components = [(str(place), der.integer(svn)) for place, svn in enumerate(self.tcb_components, 1)]
        cpu_svn = bytes(svn & 0xFF for svn in self.tcb_components) if self.cpu_svn is None else self.cpu_svn
        return _items(
            f"{SGX_EXTENSION}.2", [*components, ("17", der.integer(self.pce_svn)), ("18", der.octets(cpu_svn))]
        )

    def _configuration(self) -> bytes:
        switches = (self.dynamic_platform, self.cached_keys, self.smt_enabled)
        return _items(
            f"{SGX_EXTENSION}.7", [(str(place), der.boolean(value=switch)) for place, switch in enumerate(switches, 1)]
        )


PLATFORM: Final = Platform()


def _items(prefix: str, items: list[Item]) -> bytes:
    return der.sequence(*(der.sequence(der.oid(f"{prefix}.{suffix}"), value) for suffix, value in items))
