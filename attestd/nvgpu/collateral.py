"""What NVIDIA says of its devices: which RIMs there are to compare reports with, and which OCSP answers.

A RIM speaks for every device of one product with one version of driver, VBIOS or switch BIOS. NVIDIA publishes it again
under the same id, with another signer and other golden values (nvidia.md, 4.6): of those that are known the one counts
whose signer's certificate begins last, since it is NVIDIA's latest word, and reports that only an older one would take
are refused. RIMs themselves are told apart by their SHA-256.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

from attestd.errors import AttestdError, EndorsementRejected, Malformed, Reason
from attestd.nvgpu.device import GpuDevice
from attestd.nvgpu.golden import Rims, rim_names
from attestd.nvgpu.ocsp import UNASKED, Revocation, authenticate_revocation
from attestd.nvgpu.ocsp_answer import OcspAnswer, parse_answer
from attestd.nvgpu.rim import Rim, RimName, authenticate_rim, load_rim_envelope
from attestd.nvgpu.spdm import GpuReport
from attestd.nvgpu.verify import Revocations
from attestd.x509 import Certificate, TrustAnchors

# Each takes some 20 KiB of memory, and two milliseconds to authenticate.
MOST_RIMS: Final = 4096
# Certificates that answers are about: one of each device, and of each RIM. An answer takes some 5 KiB.
MOST_ANSWERED: Final = 8192
# Of one certificate: not all need be authentic.
_MOST_ANSWERS: Final = 8

# Authenticates what answers say of a path, as `authenticate_revocation` does, or remembers what came of it.
AuthenticateRevocation: TypeAlias = Callable[[Sequence[Certificate], Sequence[bytes], datetime], Revocation]


class HeldAnswer(NamedTuple):
    """An OCSP answer as it came, and parsed. It is authenticated once the certificate that it is about is at hand."""

    raw: bytes
    answer: OcspAnswer


@dataclass(frozen=True, slots=True)
class GpuEndorsements:
    """All that is held at one moment; replaced as a whole. RIMs were authenticated when they were taken in."""

    manifests: Mapping[RimName, Rim] = field(default_factory=dict)  # the newest of each name; expired, too
    # By the serial number of the certificate, which of several issuers may have; the latest first.
    answers: Mapping[int, tuple[HeldAnswer, ...]] = field(default_factory=dict)
    rolled_back: frozenset[RimName] = frozenset()  # names of which a newer RIM was seen than is held

    def rims(self, report: GpuReport, device: GpuDevice) -> Rims:
        """Return the RIMs that a report needs, as far as they are held; one that has expired is held as well.

        Raises `EndorsementRejected` (`gpu.rim_rollback`).
        """
        driver, vbios = rim_names(report, device)
        return Rims(None if driver is None else self._newest(driver), self._newest(vbios))

    def _newest(self, name: RimName) -> Rim | None:
        if name in self.rolled_back:
            raise EndorsementRejected(
                Reason.GPU_RIM_ROLLBACK, found=f"{name} that is older than one that was seen", wanted="the newest"
            )
        return self.manifests.get(name)

    def revocations(
        self,
        device: GpuDevice,
        rims: Rims,
        at: datetime,
        authenticate: AuthenticateRevocation = authenticate_revocation,
    ) -> Revocations:
        """Authenticate what is held of the certificates of a device, but its leaf, and of its RIMs, at the time `at`.

        What `authenticate` returns is good for that path and these answers while its validity lasts, and a path of
        which nothing is held is not asked about. Raises `EndorsementRejected` (`gpu.ocsp_…`).
        """
        paths = (device.chain[1:], *(() if rim is None else rim.chain for rim in rims))
        return Revocations(*(self._revocation(path, at, authenticate) for path in paths))

    def _revocation(
        self, path: Sequence[Certificate], at: datetime, authenticate: AuthenticateRevocation
    ) -> Revocation:
        about = [held.raw for certificate in path[:-1] for held in self.answers.get(certificate.serial_number, ())]
        return authenticate(path, about, at) if about else UNASKED


class Document(NamedTuple):
    """One document that is taken in: where it was found, its bytes, and what it is."""

    name: str
    raw: bytes  # the RIM without its envelope; an OCSP answer as it came
    content: Rim | OcspAnswer
    is_authentic: bool  # False: an answer that is authenticated when it is used


class Refusal(NamedTuple):
    """A document that is not taken in."""

    name: str
    error: AttestdError


class Collected(NamedTuple):
    """What came of documents that were looked at."""

    endorsements: GpuEndorsements
    documents: tuple[Document, ...]
    refusals: tuple[Refusal, ...]


def is_rim(raw: bytes) -> bool:
    """Tell a RIM, and the answer of NVIDIA's RIM service with one in it, from an OCSP answer, by the first byte."""
    return raw.startswith((b"<", b"{"))


def collect(
    documents: Mapping[str, bytes], anchors: TrustAnchors, at: datetime, known: GpuEndorsements | None = None
) -> Collected:
    """Take in whatever documents there are; their names only tell a person which is which.

    Each is a RIM, the answer of NVIDIA's RIM service with one in it, or an OCSP answer in DER. What is not authentic at
    the time `at` is refused by itself: RIMs, and answers about certificates of RIMs that are held. Answers about
    devices cannot be judged before their certificates come along. One that has expired still says that it was so.

    What is `known` already is held on to: a RIM until there is a newer one, and the latest answers.
    """
    pile = _Pile(known or GpuEndorsements(), anchors, at)
    for name, raw in documents.items():
        pile.take(name, raw)
    return pile.collected()


class _Pile:
    """Documents on their way to become `GpuEndorsements`."""

    def __init__(self, known: GpuEndorsements, anchors: TrustAnchors, at: datetime) -> None:
        self._known = known
        self._anchors = anchors
        self._at = at
        self._authentic = {rim.sha256: rim for rim in known.manifests.values()}
        self._manifests = dict(known.manifests)
        self._last: Rim | None = None  # whose CAs are likely to be those of the next one
        self._answers = {held.answer.digest: held for about in known.answers.values() for held in about}
        self._answered = set(known.answers)
        self._unjudged: list[tuple[str, HeldAnswer]] = []
        self._documents: list[Document] = []
        self._refusals: list[Refusal] = []

    def take(self, name: str, raw: bytes) -> None:
        try:
            if is_rim(raw):
                self._take_rim(name, load_rim_envelope(raw) if raw.startswith(b"{") else raw)
            else:
                self._take_answer(name, raw)
        except AttestdError as error:
            self._refusals.append(Refusal(name, error))

    def _take_rim(self, name: str, raw: bytes) -> None:
        rim = self._authentic.get(sha256(raw).digest()) or authenticate_rim(raw, self._anchors, self._at, self._last)
        rim.require_current(self._at)
        self._last = rim
        newest = self._manifests.get(rim.name)
        if newest is None:
            _require_room(len(self._manifests), MOST_RIMS)
        # Of two that are as new the one found last, so that one can be replaced.
        if newest is None or rim.signed_from >= newest.signed_from:
            self._manifests[rim.name] = rim
        self._documents.append(Document(name, raw, rim, is_authentic=True))

    def _take_answer(self, name: str, raw: bytes) -> None:
        answer = parse_answer(raw)
        if answer.validity.not_before > self._at:
            raise EndorsementRejected(
                Reason.GPU_OCSP_NOT_YET_VALID,
                found=f"issued at {answer.validity.not_before:%Y-%m-%dT%H:%M:%SZ}",
                wanted=f"one issued before {self._at:%Y-%m-%dT%H:%M:%SZ}",
            )
        if answer.serial_number not in self._answered:
            _require_room(len(self._answered), MOST_ANSWERED)
        self._answered.add(answer.serial_number)
        self._unjudged.append((name, HeldAnswer(raw, answer)))  # the RIM that has the certificate may be found later

    def collected(self) -> Collected:
        pairs = _issued(self._manifests.values())
        for name, held in self._unjudged:
            try:
                is_authentic = self._is_authentic(held, pairs.get(held.answer.serial_number, ()))
            except AttestdError as error:
                self._refusals.append(Refusal(name, error))
            else:
                self._answers[held.answer.digest] = held
                self._documents.append(Document(name, held.raw, held.answer, is_authentic))
        known = self._known
        still = (name for name in known.rolled_back if self._manifests[name] is known.manifests[name])
        endorsements = GpuEndorsements(self._manifests, _by_serial_number(self._answers.values()), frozenset(still))
        return Collected(endorsements, tuple(self._documents), tuple(self._refusals))

    def _is_authentic(self, held: HeldAnswer, pairs: Iterable[tuple[Certificate, Certificate]]) -> bool:
        """Tell whether the answer is about one of `pairs`; one that is, and is not authentic, is refused.

        What is known already was looked at when it was taken in.
        """
        if held.answer.digest in self._answers:
            return False
        revocations = [authenticate_revocation(pair, (held.raw,), self._at) for pair in pairs]
        return any(revocation.digests for revocation in revocations)


def _issued(rims: Iterable[Rim]) -> dict[int, set[tuple[Certificate, Certificate]]]:
    """Return the certificates of RIMs with their issuers, by serial number."""
    found: dict[int, set[tuple[Certificate, Certificate]]] = {}
    for rim in rims:
        for certificate, issuer in pairwise(rim.chain):
            found.setdefault(certificate.serial_number, set()).add((certificate, issuer))
    return found


def _by_serial_number(answers: Iterable[HeldAnswer]) -> dict[int, tuple[HeldAnswer, ...]]:
    found: dict[int, list[HeldAnswer]] = {}
    for held in sorted(answers, key=lambda held: held.answer.validity.not_before, reverse=True):
        about = found.setdefault(held.answer.serial_number, [])
        if len(about) < _MOST_ANSWERS:
            about.append(held)
    return {serial_number: tuple(about) for serial_number, about in found.items()}


def _require_room(held: int, most: int) -> None:
    if held >= most:
        raise Malformed(Reason.ENDORSEMENTS_FILE, found=f"more than {most} RIMs or answers", wanted=f"at most {most}")
