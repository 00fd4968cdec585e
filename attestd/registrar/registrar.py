"""The registrar: takes evidence to a verdict and writes it down (house.md, The journey).

    (2) freshness     the challenge is this service's and this caller's, or known to be   journey.consult
                      answered by this very evidence
    (3) one clock read
    (4) requirements  the quote parses, and its platform is authenticated                 authentic
    (5) endorsements  what the vendor says of that platform, authenticated earlier        collateral
    (6) - (8)         verification, binding, appraisal: the core                          attestd.verifier
    (9) record        one durable transaction, before anybody is told                     attestd.registry

Registration, dry runs and re-appraisal (12) take the same way; they differ in where the policy, the collateral and the
time come from, and in what becomes of the verdict.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from time import perf_counter
from typing import Concatenate, Final, ParamSpec, TypeVar, assert_never

from attestd.endorsements import Endorsements
from attestd.errors import (
    AttestdError,
    EndorsementRejected,
    Malformed,
    NotAuthentic,
    Reason,
    Unavailable,
)
from attestd.evidence import (
    CHALLENGE_SIZE,
    AppraisalRequest,
    CpuEvidence,
    Evidence,
    load_appraisal_request_cbor,
    load_appraisal_request_json,
    load_evidence_cbor,
    load_evidence_json,
)
from attestd.metrics import ChallengeEvent, Metrics, Outcome, Stage, TeeLabel
from attestd.nvgpu.attestation import GpuAttestation, parse_gpu
from attestd.policy import AppraisalPolicy
from attestd.registrar import supplied
from attestd.registrar.authentic import Authenticator
from attestd.registrar.collateral import CollateralStore, marks_of
from attestd.registrar.documents import Results
from attestd.registrar.handover import Handover
from attestd.registrar.journey import (
    approved_images,
    approved_models,
    consult,
    load_evidence,
    platform_id,
    product_line,
    record,
    submission_id,
)
from attestd.registrar.policies import Policies
from attestd.registry import Registry, challenges
from attestd.registry.database import Transaction
from attestd.registry.values import Challenge, NewKey, NewResult, Recorded
from attestd.result import Tier
from attestd.settings import BUILT, Settings
from attestd.snp.attestation import SnpAttestation, with_certificates
from attestd.tdx.collateral import authenticate_collateral
from attestd.tdx.quote import Quote
from attestd.verifier import (
    Attestation,
    AttestationResult,
    GpuSubject,
    IntelSubject,
    Subject,
    appraise,
    parse_evidence,
    requirement,
)

P = ParamSpec("P")
T = TypeVar("T")

# As many as the registry has connections to read from; searches never take all of them.
_READERS: Final = 8
_SEARCHERS: Final = 4
# Seconds that a request waits for an answer of theirs.
_ANSWER: Final = 10
# Dry runs must not take the processors from registrations.
_JUDGES: Final = 2
_MAX_WAITING: Final = 32
# Half of what an entry may be served beyond its end by a process whose clock is behind (attacks.md, R11).
_MAX_APART: Final = 30

_log: Final = logging.getLogger(__name__)

_CHALLENGE_EVENTS: Final = {
    Reason.CHALLENGE_UNKNOWN: ChallengeEvent.UNKNOWN,
    Reason.CHALLENGE_EXPIRED: ChallengeEvent.EXPIRED,
    Reason.CHALLENGE_USED: ChallengeEvent.REPLAYED,
}


class Registrar:
    """The one place where I/O meets the core."""

    def __init__(
        self,
        settings: Settings,
        *,
        registry: Registry,
        endorsements: Endorsements,
        metrics: Metrics,
        clock: Callable[[], datetime],
    ) -> None:
        """Take everything that is outside of the core."""
        self.registry = registry
        self.registry_id = settings.registry_id
        self.collateral = CollateralStore(endorsements, registry, metrics)
        self.policies = Policies()
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._authenticator = Authenticator(settings.trust_anchors)
        self._results = Results(settings.registry_id)
        self._handover = Handover(registry)
        self._readers = ThreadPoolExecutor(_READERS, "attestd-reader")
        self._searchers = ThreadPoolExecutor(_SEARCHERS, "attestd-searcher")
        self._judges = ThreadPoolExecutor(_JUDGES, "attestd-judge")
        self._waiting = 0  # dry runs

    def close(self) -> None:
        """Give the threads up; nobody is served any more."""
        self._readers.shutdown()
        self._searchers.shutdown()
        self._judges.shutdown()

    def now(self) -> datetime:
        """Read the clock, once for each request. Raises `Unavailable` (`clock.before_build`, `clock.database`)."""
        at = self._clock()
        if at < BUILT:
            raise Unavailable(Reason.CLOCK, found=f"{at:%Y-%m-%d}", wanted=f"{BUILT:%Y-%m-%d} or later")
        shared = self.registry.clock()
        if shared is not None and abs(apart := at.timestamp() - shared) > _MAX_APART:
            found = f"{abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} it"
            raise Unavailable(Reason.CLOCK_APART, found=found, wanted=f"at most {_MAX_APART} s")
        return at

    async def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Read one thing from the registry: at once from a file beside us, in a thread from a server.

        Raises what the function raises, and `Unavailable` where the database does not answer in time.
        """
        if self.registry.embedded:
            return self.registry.read(function, *args, **kwargs)
        return await self._read_in(self._readers, partial(self.registry.read, function, *args, **kwargs))

    async def search(
        self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Read what may take long, such as a list: so that nobody waits for it but who asked. Raises as `read`."""
        return await self._read_in(self._searchers, partial(self.registry.read, function, *args, **kwargs))

    async def _read_in(self, threads: ThreadPoolExecutor, reading: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(_ANSWER):  # with the time in line for a thread
                return await asyncio.get_running_loop().run_in_executor(threads, reading)
        except TimeoutError:
            raise Unavailable(
                Reason.DATABASE_UNAVAILABLE, found=f"no answer within {_ANSWER} s", wanted="an answer"
            ) from None

    async def write(
        self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Write to the registry; returns when it is durable."""
        return await self._handover.write(function, *args, **kwargs)

    async def issue_challenge(self, provider: str) -> Challenge:
        """Issue 32 random bytes to one provider, to be answered once and soon."""
        at = self.now()
        expires_at = at + timedelta(seconds=self._settings.challenge_lifetime)
        value = secrets.token_bytes(CHALLENGE_SIZE)
        challenge = await self.write(challenges.issue, value, provider, expires_at=expires_at, at=at)
        self._metrics.challenges.labels(ChallengeEvent.ISSUED).inc()
        return challenge

    async def submit(self, raw: bytes, provider: str, *, cbor: bool) -> Recorded:
        """Take evidence to its verdict and record it; the same evidence again leads to the first result.

        Raises every `AttestdError` but `ConfigurationRefused`; then nothing was recorded.
        """
        tee = TeeLabel.UNKNOWN
        try:
            started = perf_counter()
            evidence = load_evidence_cbor(raw) if cbor else load_evidence_json(raw)
            self._took(Stage.DECODE, started)
            tee = TeeLabel(evidence.cpu.tee)
            recorded = await self._submit(evidence, raw, provider)
        except AttestdError as error:
            self._refused(tee, error)
            raise
        if recorded.created:
            self._metrics.challenges.labels(ChallengeEvent.CONSUMED).inc()
        self._judged(tee, recorded.result.tier)
        return recorded

    async def _submit(self, evidence: Evidence, raw: bytes, provider: str) -> Recorded:
        at = self.now()  # (3)
        default = self._settings.default_policy
        attestation, gpus = parse_evidence(evidence.cpu), tuple(map(parse_gpu, evidence.gpus))
        submission = submission_id(attestation, gpus, evidence)
        consulted = await self.read(  # (2)
            consult, self.policies, evidence, submission, attestation, provider=provider, default_policy=default, at=at
        )
        policy = consulted.policy
        started = perf_counter()
        models, images = consulted.approved_models, consulted.approved_images
        subject, devices = self._subject(attestation, evidence.cpu, policy, at), self._devices(gpus, at)  # (4), (5)
        result = self._appraise(subject, devices, evidence, policy, models, images, at)  # (6) - (8)
        self._took(Stage.VERIFY, started)
        new = self._new_result(result, evidence, submission, raw, provider, policy)
        started = perf_counter()
        most = self._settings.live_keys_per_platform
        marks = marks_of(subject, devices)
        recorded = await self.write(record, new, at, marks=marks, images=images, live_keys_per_platform=most)  # (9)
        self._took(Stage.RECORD, started)
        return recorded

    def _subject(self, attestation: Attestation, cpu: CpuEvidence, policy: AppraisalPolicy, at: datetime) -> Subject:
        """Join evidence with what is held for its platform."""
        match attestation:
            case Quote():
                key = self._authenticator.attestation_key(attestation, at)
                held = self.collateral.collateral(requirement(attestation, key.pck), at)
                return IntelSubject(attestation, cpu.event_log, key, held)
            case SnpAttestation():
                return self._authenticator.amd(attestation, self.collateral.snp(), at, crl_required=policy.requires_crl)
            case _:
                assert_never(attestation)

    def _devices(self, gpus: Sequence[GpuAttestation], at: datetime) -> tuple[GpuSubject, ...]:
        """Join what GPUs and NVSwitches say with what is held for them."""
        if not gpus:
            return ()
        held = self.collateral.gpu()
        return tuple(self._authenticator.gpu(gpu, held, at) for gpu in gpus)

    def _appraise(
        self,
        subject: Subject,
        gpus: Sequence[GpuSubject],
        evidence: Evidence | None,
        policy: AppraisalPolicy,
        models: frozenset[bytes],
        images: Mapping[bytes, frozenset[str]],
        at: datetime,
    ) -> AttestationResult:
        return appraise(
            subject,
            gpus=gpus,
            evidence=evidence,
            policy=policy,
            registry_id=self.registry_id,
            approved_models=models,
            approved_images=images,
            at=at,
        )

    def _new_result(
        self,
        result: AttestationResult,
        evidence: Evidence,
        submission: bytes,
        raw: bytes,
        provider: str,
        policy: AppraisalPolicy,
    ) -> NewResult:
        claims, bound = result.claims, result.bound
        if bound is None:
            raise ValueError("a result that binds no key")
        result_id = secrets.token_urlsafe(16)
        platform = platform_id(claims)
        document = self._results.recorded(
            result,
            result_id=result_id,
            provider=provider,
            challenge=evidence.challenge,
            platform=platform,
            policy=policy,
        )
        key = NewKey(
            spki=bound.spki,
            role=bound.role,
            image=claims.image_digest,
            models=bound.models,
            platform=platform,
            devices=tuple(gpu.device_id for gpu in result.verified.gpus),
            product_line=product_line(claims),
            valid_from=result.at,
            valid_until=result.not_after,
        )
        return NewResult(
            id=result_id,
            evidence_id=submission,
            provider=provider,
            challenge=evidence.challenge,
            tee=claims.tee,
            binding=bound.scheme.value,
            key_id=bound.key_id,
            tier=result.tier,
            policy_name=policy.name,
            policy_digest=policy.digest,
            document=document,
            evidence=raw,
            key=key if result.tier is Tier.AFFIRMING else None,
        )

    async def dry_run(self, raw: bytes, *, cbor: bool) -> bytes:
        """Take evidence to its verdict and record nothing; return the result's document.

        Time, policy and collateral may be the caller's own. Collateral that came along is refused as evidence is, with
        `NotAuthentic`: it is not the service's world that is bad. Because nothing of it was authenticated before, it
        takes milliseconds and a thread, and waits in line: `Unavailable` (`service.overloaded`) where that is long.
        """
        if self._waiting >= _MAX_WAITING:
            raise Unavailable(Reason.OVERLOADED, found=f"{self._waiting} dry runs in line", wanted="fewer at a time")
        self._waiting += 1
        try:
            judging = partial(self._judge, raw, cbor=cbor)
            return await asyncio.get_running_loop().run_in_executor(self._judges, judging)
        finally:
            self._waiting -= 1

    def _judge(self, raw: bytes, *, cbor: bool) -> bytes:
        tee = TeeLabel.UNKNOWN
        try:
            request = load_appraisal_request_cbor(raw) if cbor else load_appraisal_request_json(raw)
            tee = TeeLabel(request.cpu.tee)
            try:
                result, policy = self._dry_run(request)
            except (EndorsementRejected, Unavailable) as error:
                raise supplied.blamed(error, request) from None
        except AttestdError as error:
            self._refused(tee, error)
            raise
        self._judged(tee, result.tier)
        platform = platform_id(result.claims)
        return self._results.dry(result, platform=platform, policy=policy)

    def _dry_run(self, request: AppraisalRequest) -> tuple[AttestationResult, AppraisalPolicy]:
        at = request.at or self.now()
        if request.policy_toml is None:
            name = request.policy or self._settings.default_policy
            policy = self.registry.read(self.policies.in_force, name)
        else:
            policy = AppraisalPolicy.load(request.policy_toml.encode())
        models = () if request.evidence is None else request.evidence.models
        attestation = parse_evidence(request.cpu)
        subject = self._dry_subject(attestation, request, policy, at)
        gpus = self._dry_devices(request, at)
        approved = self.registry.read(approved_models, models)
        images = self.registry.read(approved_images, attestation.image_digest)
        result = self._appraise(subject, gpus, request.evidence, policy, approved, images, at)
        return result, policy

    def _dry_subject(
        self, attestation: Attestation, request: AppraisalRequest, policy: AppraisalPolicy, at: datetime
    ) -> Subject:
        """Join evidence with the endorsements that came with the request, or else with what is held."""
        documents = request.endorsements
        match attestation:
            case Quote() if documents:
                key = self._authenticator.attestation_key(attestation, at)
                anchors = self._settings.trust_anchors
                came = authenticate_collateral(supplied.intel_collateral(documents), anchors, at, key.pck)
                return IntelSubject(attestation, request.cpu.event_log, key, came)
            case SnpAttestation() if documents:
                attestation, held = with_certificates(attestation, documents), self.collateral.snp()
                if "crl" in documents:  # at a time of the caller's own, the newest need not be in force yet
                    held = replace(held, crls={}, rolled_back=frozenset())
                return self._authenticator.amd(attestation, held, at, crl_required=policy.requires_crl)
        return self._subject(attestation, request.cpu, policy, at)

    def _dry_devices(self, request: AppraisalRequest, at: datetime) -> tuple[GpuSubject, ...]:
        """Join GPUs with the RIMs and OCSP answers that came with the request, or else with what is held."""
        gpus = tuple(map(parse_gpu, request.gpus))
        if request.rims is None and request.ocsp is None:
            return self._devices(gpus, at)
        held = self.collateral.gpu()
        came = supplied.gpu_endorsements(request, held, self._settings.trust_anchors, at)
        return tuple(self._authenticator.gpu(gpu, came, at) for gpu in gpus)

    def reappraise(
        self, raw: bytes, policy: AppraisalPolicy, models: frozenset[bytes], images: Mapping[bytes, frozenset[str]]
    ) -> AttestationResult:
        """Judge stored evidence again, by what is known now. Raises as `submit` does."""
        evidence = load_evidence(raw)
        at = self.now()
        subject = self._subject(parse_evidence(evidence.cpu), evidence.cpu, policy, at)
        gpus = self._devices(tuple(map(parse_gpu, evidence.gpus)), at)
        return self._appraise(subject, gpus, evidence, policy, models, images, at)

    def report_damage(self, rows: int) -> None:
        """Raise the alarm over rows that something else than attestd has changed; they were left out."""
        if rows:
            self._metrics.damaged.inc(rows)
            _log.error("%d rows of the registry are not what was recorded", rows)

    def _took(self, stage: Stage, started: float) -> None:
        self._metrics.took(stage, perf_counter() - started)

    def _judged(self, tee: TeeLabel, tier: Tier) -> None:
        reason = None if tier is Tier.AFFIRMING else Reason.NOT_AFFIRMING
        self._metrics.judged(tee, Outcome(tier.value), reason)

    def _refused(self, tee: TeeLabel, error: AttestdError) -> None:
        if error.reason in _CHALLENGE_EVENTS:
            self._metrics.challenges.labels(_CHALLENGE_EVENTS[error.reason]).inc()
        self._metrics.judged(tee, _outcome(error), error.reason)


def _outcome(error: AttestdError) -> Outcome:
    match error:
        case Malformed():
            return Outcome.MALFORMED
        case EndorsementRejected() | Unavailable():
            return Outcome.UNAVAILABLE
        case NotAuthentic():
            return Outcome.REJECTED
        case _:
            return Outcome.REFUSED
