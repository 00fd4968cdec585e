"""The collectors: apart for each service, and there before anything has happened."""

from prometheus_client.parser import text_string_to_metric_families

from attestd.errors import Reason
from attestd.metrics import ChallengeEvent, Metrics, Outcome, Stage, TeeLabel


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = metrics.exposition().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_services_do_not_share_collectors() -> None:
    one, two = Metrics("1", simulated=False), Metrics("1", simulated=True)
    one.judged(TeeLabel.TDX, Outcome.AFFIRMING, None)
    name = ("attestd_verifications_total", frozenset({("tee", "tdx"), ("outcome", "affirming")}))
    assert (samples(one)[name], samples(two)[name]) == (1, 0)
    simulated = ("attestd_simulated", frozenset[tuple[str, str]]())
    assert (samples(one)[simulated], samples(two)[simulated]) == (0, 1)


def test_what_may_happen_is_there_before_it_happens() -> None:
    found = samples(Metrics("1", simulated=False))
    for event in ChallengeEvent:
        assert found["attestd_challenges_total", frozenset({("event", event.value)})] == 0
    for tee in TeeLabel:
        for outcome in Outcome:
            labels = frozenset({("tee", tee.value), ("outcome", outcome.value)})
            assert found["attestd_verifications_total", labels] == 0


def test_a_refusal_is_counted_by_its_reason() -> None:
    metrics = Metrics("1", simulated=False)
    metrics.judged(TeeLabel.SGX, Outcome.REJECTED, Reason.TDX_QUOTE_SIGNATURE)
    labels = frozenset({("tee", "sgx"), ("reason", "tdx.quote_signature")})
    assert samples(metrics)["attestd_verification_refusals_total", labels] == 1


def test_requests_are_counted_by_class_of_status() -> None:
    metrics = Metrics("1", simulated=False)
    for status in (200, 201, 404):
        metrics.answered("/v1/keys", status, 0.01)
    found = samples(metrics)
    assert found["attestd_http_requests_total", frozenset({("route", "/v1/keys"), ("status", "2xx")})] == 2
    assert found["attestd_http_requests_total", frozenset({("route", "/v1/keys"), ("status", "4xx")})] == 1
    assert found["attestd_http_request_duration_seconds_count", frozenset({("route", "/v1/keys")})] == 3


def test_time_is_counted_by_stage() -> None:
    metrics = Metrics("1", simulated=False)
    metrics.took(Stage.VERIFY, 0.5)
    metrics.took(Stage.VERIFY, 0.25)
    found = samples(metrics)
    name = "attestd_verification_duration_seconds"
    assert found[f"{name}_sum", frozenset({("stage", "verify")})] == 0.75
    assert [found[f"{name}_count", frozenset({("stage", stage.value)})] for stage in Stage] == [0, 2, 0]
