"""Authenticated values, kept for as long as they are asked for: what makes a warm verification fast.

The core holds no caches. A value here was authenticated from exactly the bytes that it is kept under; whether it still
holds at the time of a verdict is judged at every verdict (house.md, principle 5).
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from datetime import datetime
from functools import partial
from threading import Lock
from typing import Final, Generic, TypeVar

from attestd.nvgpu.attestation import GpuAttestation
from attestd.nvgpu.collateral import GpuEndorsements
from attestd.nvgpu.device import GpuDevice, authenticate_device
from attestd.nvgpu.golden import Rims
from attestd.nvgpu.ocsp import Revocation, authenticate_revocation
from attestd.nvgpu.verify import Revocations
from attestd.snp.attestation import SnpAttestation
from attestd.snp.collateral import SnpEndorsements
from attestd.snp.vek import Vek, authenticate_vek
from attestd.tdx.pck import PckChain, authenticate_pck_chain
from attestd.tdx.qe import AttestationKey, authenticate_attestation_key
from attestd.tdx.quote import QeCertification, Quote
from attestd.verifier import AmdSubject, GpuSubject
from attestd.x509 import Certificate, TrustAnchors

# Platforms that attest at the same time; each entry has some 10 KiB. Only Intel can make the bytes of one.
_PLATFORMS: Final = 2048

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Recent(Generic[_K, _V]):
    """The values that were asked for last; from any thread."""

    def __init__(self, most: int) -> None:
        """Keep at most so many."""
        self._most = most
        self._values: OrderedDict[_K, _V] = OrderedDict()
        self._lock = Lock()

    def find(self, key: _K) -> _V | None:
        """Return the value kept under `key`, if there is one."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def get(self, key: _K, make: Callable[[], _V]) -> _V:
        """Return the value kept under `key`, or make and keep it; what `make` raises is not kept."""
        value = self.find(key)
        if value is not None:
            return value
        value = make()
        self.put(key, value)
        return value

    def put(self, key: _K, value: _V) -> None:
        """Keep `value` under `key`, in place of what was."""
        with self._lock:
            self._values[key] = value
            if len(self._values) > self._most:
                self._values.popitem(last=False)


class _LookedUp:
    """What came of the endorsements of one moment: of each device its RIMs, and what OCSP answers say of them all."""

    def __init__(self, held: GpuEndorsements) -> None:
        self.held = held
        self.devices: Recent[bytes, tuple[Rims, Revocations]] = Recent(_PLATFORMS)


class Authenticator:
    """Authenticates what speaks for platforms to one set of trust anchors."""

    def __init__(self, anchors: TrustAnchors) -> None:
        """Start with nothing authenticated."""
        self._anchors = anchors
        self._chains: Recent[bytes, PckChain] = Recent(_PLATFORMS)
        self._keys: Recent[tuple[bytes, QeCertification], AttestationKey] = Recent(_PLATFORMS)
        self._devices: Recent[bytes, GpuDevice] = Recent(_PLATFORMS)
        self._revocations: Recent[tuple[tuple[Certificate, ...], tuple[bytes, ...]], Revocation] = Recent(_PLATFORMS)
        self._looked_up = _LookedUp(GpuEndorsements())
        self._veks: Recent[tuple[bytes | None, ...], Vek] = Recent(_PLATFORMS)

    def attestation_key(self, quote: Quote, at: datetime) -> AttestationKey:
        """Return the authenticated attestation key of a quote, with its platform.

        Raises `Malformed` or `NotAuthentic`, as `authenticate_pck_chain` and `authenticate_attestation_key` do.
        """
        return self._keys.get((quote.attestation_key, quote.qe), lambda: self._authenticate(quote, at))

    def amd(
        self, attestation: SnpAttestation, held: SnpEndorsements, at: datetime, *, crl_required: bool
    ) -> AmdSubject:
        """Return a report with its authenticated VCEK or VLEK, and the newest CRL of its product line.

        Raises `Malformed`, `NotAuthentic`, `EndorsementRejected` or `Unavailable`, as `authenticate_vek` and
        `SnpEndorsements` do.
        """
        vek, ask, ark, _ = attestation.certificates
        chain = partial(held.chain, attestation, self._anchors)
        # What is held changes: an issuer may be revoked, and its key certified again.
        key = chain() if vek is None or ask is None else (vek, ask, ark)
        authentic = self._veks.get(key, lambda: authenticate_vek(*chain(), self._anchors, at))
        authentic.require_current(at)  # before the CRL is looked at, as where nothing was kept
        return AmdSubject(attestation, authentic, held.crl(attestation, authentic, at, required=crl_required))

    def gpu(self, attestation: GpuAttestation, held: GpuEndorsements, at: datetime) -> GpuSubject:
        """Return the report of a GPU or NVSwitch with its authenticated device, and what is held of its RIMs and OCSP.

        Raises `Malformed` (`pem.malformed`), and as `authenticate_device` and `GpuEndorsements` do.
        """
        pem = attestation.certificates
        device = self._devices.get(pem, lambda: authenticate_device(attestation.chain, self._anchors, at))
        rims = held.rims(attestation.report, device)
        looked_up = self._looked_up
        if looked_up.held is not held:
            looked_up = self._looked_up = _LookedUp(held)
        known = looked_up.devices.find(pem)
        if known is None or known[0] != rims or not known[1].hold_at(at):
            known = rims, held.revocations(device, rims, at, self._revocation)
            looked_up.devices.put(pem, known)
        return GpuSubject(attestation, device, *known)

    def _revocation(self, path: Sequence[Certificate], answers: Sequence[bytes], at: datetime) -> Revocation:
        """Return what OCSP answers say of a path; once one of them has expired, what that leaves."""
        key = (tuple(path), tuple(answers))
        known = self._revocations.find(key)
        if known is None or not known.holds_at(at):
            known = authenticate_revocation(path, answers, at)
            self._revocations.put(key, known)
        return known

    def _authenticate(self, quote: Quote, at: datetime) -> AttestationKey:
        pem = quote.pck_chain
        chain = self._chains.get(pem, lambda: authenticate_pck_chain(pem, self._anchors, at))
        return authenticate_attestation_key(quote, chain)
