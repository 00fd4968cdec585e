"""Every Prometheus collector, declared once.

Names follow Prometheus (prefix, base unit, `_total`); label values come from closed sets, never from input: no id, no
address, no measurement, no path. `tests/test_metrics.py` holds both.
"""

from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from attestd.errors import Reason
from attestd.signature import P384_LIBRARY

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

# From a cached answer to a cold verification with a slow disk.
_SECONDS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)

# A time series of how long ago it was created, next to each one, tells nobody anything.
disable_created_metrics()  # type: ignore[no-untyped-call]


class TeeLabel(StrEnum):
    """Which hardware, where it is known."""

    TDX = "tdx"
    SGX = "sgx"
    SNP = "snp"
    NVIDIA = "nvidia"
    UNKNOWN = "unknown"


class Outcome(StrEnum):
    """How an attempt to register evidence, or a dry run, ended."""

    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"
    REJECTED = "rejected"
    MALFORMED = "malformed"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


class Stage(StrEnum):
    """The parts of the journey that take time."""

    DECODE = "decode"
    VERIFY = "verify"
    RECORD = "record"


class ChallengeEvent(StrEnum):
    """What happens to challenges; a replay is worth an alert."""

    ISSUED = "issued"
    CONSUMED = "consumed"
    REPLAYED = "replayed"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class LimitScope(StrEnum):
    """Whose token bucket was empty."""

    KEY = "key"
    ADDRESS = "address"


class CutCause(StrEnum):
    """Why a connection was closed before its request was answered in the ordinary way."""

    DEADLINE = "deadline"
    HEAD_SIZE = "head_size"
    NOT_HTTP = "not_http"
    SLOW_READER = "slow_reader"
    TOO_MANY = "too_many"
    PIPELINED = "pipelined"


class Metrics:
    """The collectors of one service."""

    def __init__(self, version: str, *, simulated: bool) -> None:
        """Declare them in a registry of their own: nothing is shared with another service in this process."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        build = Info("attestd_build", "The release that runs, and what verifies P-384 in it", registry=registry)
        build.info({"version": version, "p384": P384_LIBRARY})
        Gauge("attestd_simulated", "1 where simulated hardware is trusted", registry=registry).set(int(simulated))

        self.verifications = Counter(
            "attestd_verifications",
            "Evidence that was judged, by hardware and how it ended",
            ["tee", "outcome"],
            registry=registry,
        )
        self.refusals = Counter(
            "attestd_verification_refusals",
            "Evidence that was refused, by hardware and reason",
            ["tee", "reason"],
            registry=registry,
        )
        self.verification_seconds = Histogram(
            "attestd_verification_duration_seconds",
            "Time that evidence takes, by stage",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.reappraisals = Counter(
            "attestd_reappraisals",
            "Stored evidence that was judged again, by how it ended",
            ["outcome"],
            registry=registry,
        )
        self.challenges = Counter(
            "attestd_challenges", "Challenges, by what happened to them", ["event"], registry=registry
        )
        self.collateral_expiry = Gauge(
            "attestd_collateral_expiry_timestamp_seconds",
            "When the first of Intel's documents, AMD's CRLs or NVIDIA's RIMs in use expires (Unix time); 0 for none",
            ["tee"],
            registry=registry,
        )
        self.collateral_refused = Gauge(
            "attestd_collateral_refused_files",
            "Files in the endorsements folder that are refused now",
            registry=registry,
        )
        self.evaluation_data_number = Gauge(
            "attestd_tcb_evaluation_data_number",
            "Intel's lowest tcbEvaluationDataNumber among the collateral in use; 0 where there is none",
            ["tee"],
            registry=registry,
        )
        self.entries = Gauge("attestd_registry_entries", "Keys, by state", ["state"], registry=registry)
        self.next_expiry = Gauge(
            "attestd_registry_next_expiry_timestamp_seconds",
            "When the next trusted key expires (Unix time); 0 where there is none",
            registry=registry,
        )
        self.damaged = Counter(
            "attestd_registry_damaged_rows",
            "Rows that were not what was recorded, each time one was met; should always be zero",
            registry=registry,
        )
        self.log_records = Gauge("attestd_log_records", "Records in the log, sequenced or not", registry=registry)
        self.map_keys = Gauge("attestd_map_keys", "Keys in the map", registry=registry)
        self.epoch = Gauge("attestd_epoch", "The last epoch that is on chain; 0 before the first", registry=registry)
        self.publication_lag = Gauge(
            "attestd_publication_lag_seconds",
            "Age of the oldest record that is not on chain; 0 where all are, or none has to be",
            registry=registry,
        )
        self.publication_success = Gauge(
            "attestd_publication_last_success_timestamp_seconds",
            "When the last epoch was confirmed (Unix time); 0 before the first",
            registry=registry,
        )
        self.publication_stopped = Gauge(
            "attestd_publication_stopped", "1 while publishing waits for somebody to see to it", registry=registry
        )
        self.publication_failures = Counter(
            "attestd_publication_failures",
            "Rounds in which no epoch was built, or none could be published, by reason",
            ["reason"],
            registry=registry,
        )
        self.cosigner_failures = Counter(
            "attestd_cosigner_failures",
            "Times that a co-signer was asked and did not sign, by reason",
            ["reason"],
            registry=registry,
        )
        self.cosignatures = Counter(
            "attestd_cosignatures", "Candidates of another registry that were signed here", registry=registry
        )
        self.cosign_refusals = Counter(
            "attestd_cosign_refusals",
            "Candidates of another registry that were not signed here, by reason",
            ["reason"],
            registry=registry,
        )
        self.wallet_balance = Gauge("attestd_wallet_balance_ton", "What the wallet has, in TON", registry=registry)
        self.change_streams = Gauge("attestd_change_streams", "Streams of changes that are open", registry=registry)
        self.rate_limited = Counter(
            "attestd_rate_limited", "Requests refused for their number, by whose limit", ["scope"], registry=registry
        )
        self.requests = Counter(
            "attestd_http_requests",
            "Requests, by route template and class of status",
            ["route", "status"],
            registry=registry,
        )
        # Bound once: it is on the shortest way there is.
        self.from_memory = self.requests.labels("/v1/keys/{key_id}", "2xx")
        self.request_seconds = Histogram(
            "attestd_http_request_duration_seconds",
            "Time from the head of a request to the end of its answer",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.connections_cut = Counter(
            "attestd_http_connections_cut",
            "Connections closed before an ordinary answer, by cause",
            ["cause"],
            registry=registry,
        )
        # What every request counts, by labels: these are closed sets, and each look-up takes as long as the counting.
        self._verification = cache(self.verifications.labels)
        self._stage = cache(self.verification_seconds.labels)
        self._request = cache(self.requests.labels)
        self._request_seconds = cache(self.request_seconds.labels)
        self._start_at_zero()

    def _start_at_zero(self) -> None:
        """Expose what may happen before it happens, so that a rate over the first occurrence is right."""
        for tee in TeeLabel:
            for outcome in Outcome:
                self.verifications.labels(tee, outcome)
        for event in ChallengeEvent:
            self.challenges.labels(event)
        for scope in LimitScope:
            self.rate_limited.labels(scope)
        for cause in CutCause:
            self.connections_cut.labels(cause)
        for stage in Stage:
            self.verification_seconds.labels(stage)

    def took(self, stage: Stage, seconds: float) -> None:
        """Count the time that one piece of evidence took in one part of the journey."""
        self._stage(stage).observe(seconds)

    def judged(self, tee: TeeLabel, outcome: Outcome, reason: Reason | None) -> None:
        """Count one piece of evidence, and the reason where it was not affirmed."""
        self._verification(tee, outcome).inc()
        if reason is not None:
            self.refusals.labels(tee, reason.value).inc()

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one request; `route` is a template of the API reference, or `unmatched`."""
        self._request(route, f"{status // 100}xx").inc()
        self._request_seconds(route).observe(seconds)

    def count_entries(self, states: Iterable[tuple[str, int]], next_expiry: float) -> None:
        """Set how many keys are in which state, and when the next trusted one expires (Unix time, 0 for never)."""
        for state, number in states:
            self.entries.labels(state).set(number)
        self.next_expiry.set(next_expiry)

    def exposition(self) -> bytes:
        """Return everything in the text format 0.0.4."""
        return generate_latest(self.registry)
