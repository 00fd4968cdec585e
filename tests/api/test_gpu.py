"""GPUs beside a CPU, through the service: one key that TDX or SEV-SNP and NVIDIA's devices vouch for together."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import cbor2
import httpx
import pytest

from attestd.api import bodies, schemas
from attestd.codec import dump_base64, dump_time
from attestd.evidence import Evidence, GpuEvidence, Scheme, dump_evidence_json
from attestd.settings import shipped
from attestd.simulator import (
    H100,
    NVSWITCH,
    Attester,
    GpuAttester,
    NvidiaVendor,
    SnpAttester,
    SnpReport,
    SpdmReport,
    TdReport,
    answers,
    flip,
    measured,
    other_spdm_s,
)
from attestd.simulator.gpu_attester import ASKED_ROLES
from attestd.simulator.ocsp import State
from tests.api.test_admin import put_policy
from tests.api.world import NOW, Clock, Provider, Start, World, new_key, reason_of, world

TDX: Final = "tdx-h100"
SNP: Final = "snp-h100"
# Takes every binding, and GPUs of any grade.
LAX: Final = "lax-h100"


def shipped_policy(name: str) -> str:
    return (shipped("policies") / f"{name}.toml").read_text()


def edited(text: str, **edits: str) -> str:
    """Replace the values of members, each where it stands first."""
    for name, value in edits.items():
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, count=1, flags=re.MULTILINE)
        assert count == 1, name
    return text


def tdx_policy(name: str = TDX, **edits: str) -> bytes:
    """The policy that is shipped, for the image that the simulated machine runs."""
    image = sha256(image_registers(TdReport())).hexdigest()
    return edited(
        shipped_policy("cocoon-tdx-h100"), image_digest=f'"{image}"', **({"name": f'"{name}"'} | edits)
    ).encode()


def image_registers(body: TdReport) -> bytes:
    names = ("mrtd", "mrconfigid", "mrowner", "mrownerconfig", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
    return b"".join(getattr(body, name) for name in names) + bytes(64)


def lax_policy(**edits: str) -> bytes:
    return tdx_policy(LAX, bindings='"any"', min_grade='"none"', **edits)


def prepared(running: World) -> World:
    for name, raw in (
        (TDX, tdx_policy()),
        (LAX, lax_policy()),
        (SNP, edited(shipped_policy("cocoon-snp-h100"), name=f'"{SNP}"').encode()),
    ):
        answer = put_policy(running, raw, name)
        assert answer.status_code == 200, answer.text
    image = sha256(SnpReport().measurement + bytes(64)).hexdigest()
    approved = running.admin.put(f"/v1/images/sha256:{image}", json={"name": "An image", "roles": ["worker"]})
    assert approved.status_code == 200, approved.text
    return running


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a service that these tests share: each with a provider of its own."""
    with world(tmp_path_factory.mktemp("gpu"), Clock(), nvidia_files=True) as running:
        yield prepared(running)


@pytest.fixture
def provider(gpu: World) -> Provider:
    return gpu.provider()


@pytest.fixture
def gpus(gpu: World, provider: Provider) -> tuple[GpuAttester, ...]:
    """Return two GPUs of the provider's, of which NVIDIA says that they are good."""
    return good(gpu, provider)


@pytest.fixture
def own(start: Start) -> World:
    return prepared(start(nvidia_files=True))


def good(running: World, provider: Provider, **which: Any) -> tuple[GpuAttester, ...]:
    made = provider.gpus(**which)
    running.supply_gpus(made)
    return made


def machines(provider: Provider) -> dict[str, Attester | SnpAttester]:
    return {TDX: provider.attester, SNP: provider.snp_machine()}


def composite(provider: Provider, gpus: Sequence[GpuAttester], policy: str = TDX, **how: Any) -> Evidence:
    """Make evidence that is good, for a new challenge and a new key."""
    return replace(provider.composite(gpus, attester=machines(provider).get(policy), **how), policy=policy)


def cbor(made: Evidence) -> bytes:
    body = {
        "challenge": made.challenge,
        "binding": made.binding.value,
        "key": asdict(made.key),
        "policy": made.policy,
        "cpu": asdict(made.cpu),
        "gpus": [asdict(one) for one in made.gpus],
    }
    return cbor2.dumps(body)


def body_of(made: Evidence) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(dump_evidence_json(made))
    return body


def unknown(running: World, *made: Evidence) -> bool:
    """Tell whether nobody has registered any of the keys."""
    ids = [sha256(one.key.spki).hexdigest() for one in made]
    return all(running.public.get(f"/v1/keys/{key_id}").status_code == 404 for key_id in ids)


def findings(result: dict[str, Any]) -> list[str]:
    """Return the checks that are not affirming."""
    return [one["check"] for one in result["appraisal"]["findings"] if one["outcome"] != "affirming"]


def require_refused(running: World, provider: Provider, made: Evidence, status: int, reason: str) -> str:
    """Require a refusal after which nothing is recorded."""
    answer = provider.post(made)
    assert (answer.status_code, reason_of(answer)) == (status, reason), answer.text
    assert unknown(running, made)
    return str(answer.json()["detail"])


def require_not_affirming(running: World, provider: Provider, made: Evidence | bytes, *checks: str) -> dict[str, Any]:
    answer = provider.post(made)
    assert answer.status_code == 403, answer.text
    schemas.NotAffirming.model_validate(answer.json(), strict=False)
    result: dict[str, Any] = answer.json()["result"]
    assert findings(result) == [*checks]
    assert running.public.get(f"/v1/keys/{result['key']['key_id']}").status_code == 404
    return result


# ---------------------------------------------------------------------------------------------------------------------
# Evidence that is good


@pytest.mark.parametrize("policy", [TDX, SNP])
def test_a_key_is_registered(gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...], policy: str) -> None:
    made = composite(provider, gpus, policy)
    answer = provider.post(made)
    assert answer.status_code == 201, answer.text
    result = answer.json()
    schemas.ResultDocument.model_validate(result, strict=False)
    assert (result["tee"], result["tier"], result["simulated"]) == (policy[:3], "affirming", True)
    assert (result["key"]["binding"], result["key"]["scheme"]) == ("mutual", "attestd/v1")
    key, nonce = made.key.spki, sha256(lp(b"gpu-nonce") + context(gpu, made)).hexdigest()
    assert [one["eat_nonce"] for one in result["gpus"]] == [nonce, nonce]
    assert [one["pdi"] for one in result["gpus"]] == [one.gpu.pdi.hex() for one in gpus]
    assert [(one["arch"], one["measres"], one["revocation"]) for one in result["gpus"]] == [
        ("HOPPER", "success", ["good"])
    ] * 2
    assert result["topology"] == {
        "arch": "HOPPER",
        "mode": "SPT",
        "gpus": [one.gpu.pdi.hex() for one in gpus],
        "switches": [],
        "absent_switches": [],
    }
    document = gpu.key(result["key"]["key_id"])
    schemas.KeyDocument.model_validate(document, strict=False)
    assert (document["state"], document["policy"]["name"]) == ("active", policy)
    assert sha256(key).hexdigest() == document["key_id"]
    # What tells machines apart is not for everybody.
    assert not any(one.gpu.pdi.hex() in json.dumps(document) for one in gpus)
    assert provider.http.get(answer.headers["location"]).content == answer.content


def lp(part: bytes) -> bytes:
    return len(part).to_bytes(8, "big") + part


def context(running: World, made: Evidence) -> bytes:
    """Write down what binding.md has, once more."""
    parts = (b"attestd/v1", running.settings.registry_id.encode(), made.challenge, made.key.spki, b"".join(made.models))
    return b"".join(map(lp, parts))


@pytest.mark.parametrize("policy", [TDX, SNP])
def test_both_encodings_are_one_submission(provider: Provider, gpus: tuple[GpuAttester, ...], policy: str) -> None:
    made = composite(provider, gpus, policy)
    first = provider.post(cbor(made), **{"content-type": "application/cbor"})
    assert first.status_code == 201, first.text
    again = provider.post(made)
    assert (again.status_code, again.content) == (200, first.content)


def test_models_and_gpus_together(gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...]) -> None:
    model = sha256(provider.id.encode()).digest()
    require_not_affirming(gpu, provider, composite(provider, gpus, models=(model,)), "models")
    assert gpu.admin.put(f"/v1/models/sha256:{model.hex()}", json={"name": "A model"}).status_code == 200
    result = provider.post(composite(provider, gpus, models=(model,))).json()
    assert (result["key"]["models"], result["key"]["binding"]) == ([f"sha256:{model.hex()}"], "mutual")


def test_a_key_is_renewed_with_the_same_gpus(gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...]) -> None:
    key = new_key()
    first, second = (provider.post(composite(provider, gpus, key=key)).json() for _ in range(2))
    assert gpu.key(first["key"]["key_id"])["result_id"] == second["id"] != first["id"]


@pytest.mark.parametrize(
    ("scheme", "asked_with", "grade"),
    [
        (Scheme.SPKI_SHA256, "key", "key-bound"),
        (Scheme.NONCE_AND_KEY, "key", "key-bound"),
        (Scheme.NONCE_AND_KEY, "challenge", "same-challenge"),
        (Scheme.SPKI_SHA256, "challenge", "none"),  # whose report data here leaves the challenge out
    ],
)
def test_weaker_bindings_are_told(
    gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...], scheme: Scheme, asked_with: str, grade: str
) -> None:
    made = weaker(provider, gpus, scheme, asked_with)
    answer = provider.post(made)
    assert (answer.status_code, answer.json()["key"]["binding"]) == (201, grade)
    strict = replace(weaker(provider, gpus, scheme, asked_with), policy=TDX)
    require_not_affirming(gpu, provider, strict, "binding", "gpu_grade")


def weaker(provider: Provider, gpus: Sequence[GpuAttester], scheme: Scheme, asked_with: str = "key") -> Evidence:
    key, registry = new_key(), provider.challenge()
    nonce = registry.gpu_nonce(key) if asked_with == "key" else registry.challenge
    made = provider.attester.evidence(key, registry, scheme=scheme, gpus=answers(gpus, nonce))
    return replace(made, policy=LAX)


# ---------------------------------------------------------------------------------------------------------------------
# The binding


@pytest.mark.parametrize("policy", [TDX, SNP])
def test_a_gpu_of_another_host_that_answered_its_own_nonce(gpu: World, provider: Provider, policy: str) -> None:
    """X01: both are genuine and fresh, and the quote commits to both. The challenge stays good."""
    mine, other = good(gpu, provider), good(gpu, provider, name="elsewhere")
    key, registry = new_key(), provider.challenge()
    of_other = answers(other[:1], provider.challenge().gpu_nonce(new_key()))
    said = (*answers(mine[:1], registry.gpu_nonce(key)), *of_other)
    attester = machines(provider)[policy]
    detail = require_refused(
        gpu, provider, replace(attester.evidence(key, registry, gpus=said), policy=policy), 422, "gpu.nonce"
    )
    assert of_other[0].report[4:36].hex() in detail
    assert registry.gpu_nonce(key).hex() in detail
    all_others = replace(attester.evidence(key, registry, gpus=of_other), policy=policy)
    require_refused(gpu, provider, all_others, 422, "gpu.nonce")
    right = attester.evidence(key, registry, gpus=answers(mine, registry.gpu_nonce(key)))
    assert provider.post(replace(right, policy=policy)).status_code == 201


@pytest.mark.parametrize("nonce", ["challenge", "of another key", "of another registry", "without the models"])
def test_a_nonce_that_is_nearly_right(
    gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...], nonce: str
) -> None:
    key, registry = new_key(), provider.challenge()
    models = (sha256(b"a model").digest(),)
    asked = {
        "challenge": registry.challenge,
        "of another key": registry.gpu_nonce(new_key(), models),
        "of another registry": replace(registry, registry_id="simulated:another").gpu_nonce(key, models),
        "without the models": registry.gpu_nonce(key),
    }[nonce]
    made = provider.attester.evidence(key, registry, models, gpus=answers(gpus, asked))
    require_refused(gpu, provider, replace(made, policy=TDX), 422, "gpu.nonce")


@pytest.mark.parametrize("policy", [TDX, SNP])
def test_report_data_that_leaves_the_gpus_out(
    gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...], policy: str
) -> None:
    """X02: a quote of a machine without GPUs, beside GPUs that answered for its key."""
    key, registry = new_key(), provider.challenge()
    alone = machines(provider)[policy].evidence(key, registry)
    said = answers(gpus, registry.gpu_nonce(key))
    made = replace(alone, gpus=tuple(one.evidence for one in said), policy=policy)
    require_refused(gpu, provider, made, 422, "binding.report_data")


CHANGED: Final[dict[str, Callable[..., tuple[GpuEvidence, ...]]]] = {
    "swapped": lambda one, _two, stranger: (one, stranger),
    "all swapped": lambda _one, _two, stranger: (stranger,),
    "added": lambda one, two, stranger: (one, two, stranger),
    "removed": lambda one, _two, _stranger: (one,),
    "all removed": lambda _one, _two, _stranger: (),
    "another order": lambda one, two, _stranger: (two, one),
}


@pytest.mark.parametrize("how", CHANGED)
@pytest.mark.parametrize("policy", [TDX, SNP])
def test_gpus_that_change_after_the_quote(gpu: World, provider: Provider, policy: str, how: str) -> None:
    """Each device is genuine, good, and has answered the right nonce."""
    *mine, third = good(gpu, provider, count=3)
    key, registry = new_key(), provider.challenge()
    nonce = registry.gpu_nonce(key)
    made = replace(machines(provider)[policy].evidence(key, registry, gpus=answers(mine, nonce)), policy=policy)
    others = CHANGED[how](*made.gpus, third.answer(nonce).evidence)
    require_refused(gpu, provider, replace(made, gpus=others), 422, "binding.report_data")
    assert provider.post(made).status_code == 201


# ---------------------------------------------------------------------------------------------------------------------
# What policies want


@pytest.mark.parametrize("members", [{}, {"gpus": []}, {"gpus": None}], ids=["missing", "empty", "null"])
@pytest.mark.parametrize("policy", [TDX, SNP])
def test_gpus_that_are_missing(gpu: World, provider: Provider, policy: str, members: dict[str, Any]) -> None:
    """X03."""
    body = body_of(composite(provider, (), policy))
    del body["gpus"]
    result = require_not_affirming(gpu, provider, json.dumps(body | members).encode(), "gpu_count", "gpu_grade")
    assert (result["gpus"], result["topology"], result["key"]["binding"]) == ([], None, "none")


@pytest.mark.parametrize("policy", ["strict-tdx", "strict-snp"])
def test_a_policy_that_knows_no_gpus(
    gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...], policy: str
) -> None:
    """X04: good ones are not acceptable, and bad ones are not passed over."""
    attester = provider.attester if policy == "strict-tdx" else provider.snp_machine()
    made = replace(provider.composite(gpus, attester=attester), policy=policy)
    result = require_not_affirming(gpu, provider, made, "gpu")
    assert (len(result["gpus"]), result["key"]["binding"]) == (2, "mutual")
    key, registry = new_key(), provider.challenge()
    said = answers(gpus, registry.gpu_nonce(key))
    forged = (said[0], said[1]._replace(report=flip(-1)(said[1].report)))
    made = replace(attester.evidence(key, registry, gpus=forged), policy=policy)
    require_refused(gpu, provider, made, 422, "gpu.report_signature")
    malformed = replace(made, gpus=(made.gpus[0], replace(made.gpus[1], report=b"report")))
    require_refused(gpu, provider, malformed, 400, "gpu.report_size")
    no_chain = replace(made, gpus=(made.gpus[0], replace(made.gpus[1], certificates=b"certificates")))
    require_refused(gpu, provider, no_chain, 400, "pem.malformed")


@pytest.mark.parametrize(("count", "is_enough"), [(1, False), (2, True), (3, False)])
def test_how_many_gpus_there_must_be(own: World, count: int, is_enough: bool) -> None:
    """N25: seven for eight, or nine."""
    assert put_policy(own, tdx_policy(version="2", min_count="2", max_count="2"), TDX).status_code == 200
    provider = own.provider()
    made = composite(provider, good(own, provider, count=count))
    if is_enough:
        assert provider.post(made).status_code == 201
    else:
        require_not_affirming(own, provider, made, "gpu_count")


def test_an_older_driver(gpu: World, provider: Provider) -> None:
    older = good(gpu, provider, gpu=replace(H100, driver_version="575.57.08"))
    gpu.supply_nvidia({f"{rim_id}.swidtag": raw for rim_id, raw in older[0].rims().items()})
    require_not_affirming(gpu, provider, composite(provider, older), "gpu_driver_version")


# ---------------------------------------------------------------------------------------------------------------------
# Which devices


@pytest.mark.parametrize("policy", [TDX, SNP])
def test_the_same_device_twice(gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...], policy: str) -> None:
    """N25: one report, or two reports of one device."""
    key, registry = new_key(), provider.challenge()
    said = answers(gpus[:1], registry.gpu_nonce(key))
    again = answers(gpus[:1], registry.gpu_nonce(key), SpdmReport(responder_nonce=bytes(32)))
    for twice in ((*said, *said), (*said, *again)):
        made = replace(machines(provider)[policy].evidence(key, registry, gpus=twice), policy=policy)
        require_refused(gpu, provider, made, 422, "gpu.duplicate_device")


def test_a_switch_that_is_given_as_a_gpu(gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...]) -> None:
    """N26: by itself, under either name, and beside a GPU."""
    switch = GpuAttester.of(NvidiaVendor.of("LS10", at=NOW), NVSWITCH)
    key, registry = new_key(), provider.challenge()
    nonce = registry.gpu_nonce(key)
    said = switch.answer(nonce)
    for answered, reason in (
        ((said,), "gpu.topology_architecture"),
        ((said._replace(arch="HOPPER"),), "gpu.topology_architecture"),
        ((*answers(gpus, nonce), said._replace(arch="HOPPER")), "gpu.topology_mode"),
    ):
        made = replace(provider.attester.evidence(key, registry, gpus=answered), policy=TDX)
        require_refused(gpu, provider, made, 422, reason)


def test_a_device_under_another_architecture(gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...]) -> None:
    key, registry = new_key(), provider.challenge()
    said = [one._replace(arch="BLACKWELL") for one in answers(gpus, registry.gpu_nonce(key))]
    made = replace(provider.attester.evidence(key, registry, gpus=said), policy=TDX)
    require_refused(gpu, provider, made, 422, "gpu.device_kind")


def test_devices_of_a_vendor_whom_nobody_trusts(gpu: World, provider: Provider) -> None:
    """Under NVIDIA's names."""
    mallory = NvidiaVendor.of(seed="mallory", at=NOW)
    forged = [GpuAttester.of(mallory, replace(H100, pdi=one.gpu.pdi)) for one in good(gpu, provider)]
    require_refused(gpu, provider, composite(provider, forged), 422, "gpu.untrusted_root")


def test_a_report_beside_the_chain_of_another_device(
    gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...]
) -> None:
    """N06."""
    key, registry = new_key(), provider.challenge()
    one, two = answers(gpus, registry.gpu_nonce(key))
    crossed = (
        one._replace(certificates=two.certificates, chain=two.chain),
        two._replace(certificates=one.certificates, chain=one.chain),
    )
    made = replace(provider.attester.evidence(key, registry, gpus=crossed), policy=TDX)
    require_refused(gpu, provider, made, 422, "gpu.report_signature")


def test_a_gpu_belongs_to_one_provider(gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...]) -> None:
    """X11: lent to a machine of somebody else, which only says that it answered for the key."""
    assert provider.post(composite(provider, gpus)).status_code == 201
    other = gpu.provider()
    lent = composite(other, (*good(gpu, other, count=1), gpus[1]))
    require_refused(gpu, other, lent, 409, "platform.conflict")
    assert other.post(composite(other, good(gpu, other))).status_code == 201
    # Another machine of the same provider's may have it.
    moved = provider.composite(gpus[1:], attester=provider.machine("second"))
    assert provider.post(replace(moved, policy=TDX)).status_code == 201


def test_a_gpu_that_was_not_taken_belongs_to_nobody(
    gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...]
) -> None:
    require_not_affirming(gpu, provider, replace(composite(provider, gpus), policy="strict-tdx"), "gpu")
    other = gpu.provider()
    assert other.post(composite(other, gpus)).status_code == 201


# ---------------------------------------------------------------------------------------------------------------------
# Repetitions


def rewrapped(one: GpuEvidence) -> GpuEvidence:
    return replace(one, certificates=one.certificates.rstrip(b"\n") + b"\n\n\0")


def with_other_s(one: GpuEvidence) -> GpuEvidence:
    return replace(one, report=other_spdm_s(one.report))


@pytest.mark.parametrize("policy", [TDX, SNP])
def test_the_same_evidence_again_returns_the_first_result(
    provider: Provider, gpus: tuple[GpuAttester, ...], policy: str
) -> None:
    """X05, X06: the text around certificates says nothing."""
    made = composite(provider, gpus, policy)
    first = provider.post(made)
    for again in (made, replace(made, gpus=tuple(map(rewrapped, made.gpus)))):
        answer = provider.post(again)
        assert (first.status_code, answer.status_code, answer.content) == (201, 200, first.content)


def test_another_signature_of_a_gpu_over_the_same(
    gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...]
) -> None:
    """X06: the report data commits to the bytes; where it does not, (r, n - s) is the same evidence."""
    made = composite(provider, gpus)
    assert provider.post(made).status_code == 201
    answer = provider.post(replace(made, gpus=tuple(map(with_other_s, made.gpus))))
    assert (answer.status_code, reason_of(answer)) == (422, "binding.report_data")
    made = weaker(provider, gpus, Scheme.NONCE_AND_KEY)
    first = provider.post(made)
    answer = provider.post(replace(made, gpus=tuple(map(with_other_s, made.gpus))))
    assert (first.status_code, answer.status_code, answer.content) == (201, 200, first.content)


def test_other_gpus_are_no_repetition(gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...]) -> None:
    """X05: not even where the report leaves them out."""
    key, registry = new_key(), provider.challenge()
    nonce = registry.gpu_nonce(key)
    made = provider.attester.evidence(key, registry, scheme=Scheme.NONCE_AND_KEY, gpus=answers(gpus, nonce))
    made = replace(made, policy=LAX)
    assert provider.post(made).status_code == 201
    (stranger,) = good(gpu, provider, count=1, name="elsewhere")
    for others in (made.gpus[:1], made.gpus[::-1], (made.gpus[0], stranger.answer(nonce).evidence)):
        answer = provider.post(replace(made, gpus=others))
        assert (answer.status_code, reason_of(answer)) == (409, "challenge.used")


# ---------------------------------------------------------------------------------------------------------------------
# What NVIDIA says


def test_a_rim_that_is_missing(gpu: World, provider: Provider) -> None:
    """It is named, nothing is recorded, and the same evidence does once it is there."""
    state = replace(H100, driver_version="590.12.01", vbios_version="96.00.DA.00.16")
    gpus = good(gpu, provider, gpu=state)
    rims = gpus[0].rims()
    made = composite(provider, gpus)
    left = dict(rims)
    while left:
        answer = provider.post(made)
        assert (answer.status_code, reason_of(answer)) == (503, "gpu.rim_missing")
        assert int(answer.headers["retry-after"]) > 0
        detail = answer.json()["detail"]
        assert {name: name in detail for name in rims} == {name: name in left for name in rims}
        assert unknown(gpu, made)
        name, raw = left.popitem()
        gpu.supply_nvidia({f"{name}.swidtag": raw})
    answer = provider.post(made)
    assert answer.status_code == 201, answer.text
    assert answer.json()["gpus"][0]["x-nvidia-gpu-vbios-version"] == "96.00.DA.00.16"


@pytest.mark.parametrize("place", [0, 1])
def test_a_measurement_that_is_not_golden(
    gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...], place: int
) -> None:
    """N18: named by its index, with both values."""
    key, registry = new_key(), provider.challenge()
    wrong = b"\xab" * 48
    said = list(answers(gpus, registry.gpu_nonce(key)))
    form = SpdmReport(edit_blocks=measured({9: wrong}))
    said[place] = gpus[place].answer(registry.gpu_nonce(key), form)
    made = replace(provider.attester.evidence(key, registry, gpus=said), policy=TDX)
    detail = require_refused(gpu, provider, made, 422, "gpu.measurements")
    assert f"9: {wrong[:8].hex()}" in detail
    assert f"9: {H100.golden('vbios')[9][0][:8].hex()}" in detail


@pytest.mark.parametrize(
    ("state", "status", "reason"), [("revoked", 422, "gpu.revoked"), ("unknown", 422, "gpu.revocation_unknown")]
)
def test_a_device_that_is_revoked(gpu: World, provider: Provider, state: Any, status: int, reason: str) -> None:
    """N09."""
    gpus = provider.gpus()
    gpu.supply_gpus(gpus[:1])
    gpu.supply_gpus(gpus[1:], state)
    require_refused(gpu, provider, composite(provider, gpus), status, reason)


@pytest.mark.parametrize("answered", ["hold", "not at all"])
def test_a_device_of_which_nvidia_says_nothing_good(gpu: World, provider: Provider, answered: str) -> None:
    """N09: for the policy to accept, and this one does not."""
    gpus = provider.gpus()
    gpu.supply_gpus(gpus[:1])
    if answered == "hold":
        gpu.supply_gpus(gpus[1:], "hold")
    require_not_affirming(gpu, provider, composite(provider, gpus), "gpu_revocation")


def test_a_key_lasts_as_long_as_what_nvidia_says(gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...]) -> None:
    """An OCSP answer of an hour ago, good for a day, ends before all else."""
    result = provider.post(composite(provider, gpus)).json()
    until = datetime.fromisoformat(result["valid_until"])
    assert NOW < until < NOW + timedelta(days=1)
    alone = provider.post(replace(provider.evidence(), policy="strict-tdx")).json()
    assert datetime.fromisoformat(alone["valid_until"]) > until


def test_keys_fall_with_a_device_that_is_revoked(own: World) -> None:
    """For good: NVIDIA has withdrawn its word. Machines with other devices keep theirs."""
    provider = own.provider()
    gpus, others = good(own, provider), good(own, provider, name="others")
    fallen, stays = (provider.post(composite(provider, ones)).json() for ones in (gpus, others))
    own.supply_gpus(gpus[1:], "revoked")
    assert own.key(fallen["key"]["key_id"])["state"] == "revoked"
    assert own.key(stays["key"]["key_id"])["state"] == "active"


@pytest.mark.parametrize("place", [0, 1])
def test_keys_fall_with_a_device_that_an_admin_revokes(own: World, place: int) -> None:
    """By the id that results show; whoever has it, nobody's key rests on it again."""
    provider = own.provider()
    gpus, others = good(own, provider), good(own, provider, name="others")
    fallen, stays = (provider.post(composite(provider, ones)).json() for ones in (gpus, others))
    body = {"kind": "platform", "value": fallen["gpus"][place]["device_id"], "reason": "sold"}
    revoked = own.admin.post("/v1/revocations", json=body)
    assert (revoked.status_code, revoked.json()["keys"]) == (201, 1)
    assert own.key(fallen["key"]["key_id"])["state"] == "revoked"
    assert own.key(stays["key"]["key_id"])["state"] == "active"
    require_refused(own, provider, composite(provider, gpus), 403, "key.revoked")
    require_refused(own, provider, composite(provider, (others[0], gpus[place])), 403, "key.revoked")
    other = own.provider()
    require_refused(own, other, composite(other, gpus[place : place + 1]), 403, "key.revoked")
    assert other.post(composite(other, good(own, other))).status_code == 201


def test_keys_are_judged_again_by_another_policy(own: World) -> None:
    provider = own.provider()
    key_id = provider.post(composite(provider, good(own, provider))).json()["key"]["key_id"]
    floor = tdx_policy(version="2", HOPPER='"590.0"')
    assert put_policy(own, floor, TDX).status_code == 200
    own.service.keep_up()
    assert own.key(key_id)["state"] == "suspended"
    assert put_policy(own, tdx_policy(version="3"), TDX).status_code == 200
    own.service.keep_up()
    assert own.key(key_id)["state"] == "active"


# ---------------------------------------------------------------------------------------------------------------------
# The dry run


@pytest.mark.parametrize("policy", [TDX, SNP])
def test_whole_evidence_registers_nothing_and_spends_nothing(
    gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...], policy: str
) -> None:
    made = composite(provider, gpus, policy)
    told = [
        provider.http.post("/v1/appraisals", content=raw, headers={"content-type": kind})
        for raw, kind in ((dump_evidence_json(made), "application/json"), (cbor(made), "application/cbor"))
    ]
    assert [answer.status_code for answer in told] == [200, 200]
    assert told[0].json() == told[1].json()
    assert (told[0].json()["dry_run"], told[0].json()["key"]["binding"]) == (True, "mutual")
    assert unknown(gpu, made)
    wet = provider.post(made)
    assert wet.status_code == 201
    dry, kept = told[0].json(), wet.json()
    assert {name for name in kept if kept[name] != dry[name]} == {"id", "dry_run", "provider", "challenge"}


def test_devices_by_themselves(gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...]) -> None:
    """Nothing is bound, so that they may have answered anything; all the same each of them is verified."""
    said = answers(gpus, b"n" * 32)
    body: dict[str, Any] = {
        "cpu": {"tee": "tdx", "quote": dump_base64(provider.attester.quote())},
        "gpus": [
            {"arch": one.arch, "report": dump_base64(one.report), "certificates": dump_base64(one.certificates)}
            for one in said
        ],
        "policy": TDX,
    }
    bodies.AppraisalBody.model_validate(body)
    answer = provider.http.post("/v1/appraisals", json=body)
    assert answer.status_code == 200, answer.text
    result = answer.json()
    schemas.ResultDocument.model_validate(result, strict=False)
    assert (result["tier"], result["key"], len(result["gpus"])) == ("affirming", None, 2)
    assert result["gpus"][0]["eat_nonce"] == (b"n" * 32).hex()
    body["gpus"][1]["report"] = dump_base64(flip(-1)(said[1].report))
    answer = provider.http.post("/v1/appraisals", json=body)
    assert (answer.status_code, reason_of(answer)) == (422, "gpu.report_signature")


def test_a_swap_is_refused_in_a_dry_run_too(gpu: World, provider: Provider) -> None:
    *mine, third = good(gpu, provider, count=3)
    made = composite(provider, mine)
    nonce = sha256(lp(b"gpu-nonce") + context(gpu, made)).digest()
    changed = replace(made, gpus=(made.gpus[0], third.answer(nonce).evidence))
    raw = dump_evidence_json(changed)
    answer = provider.http.post("/v1/appraisals", content=raw, headers={"content-type": "application/json"})
    assert (answer.status_code, reason_of(answer)) == (422, "binding.report_data")


# RIMs and OCSP answers of the caller's own


def request_of(provider: Provider, gpus: Sequence[GpuAttester], **endorsements: Any) -> dict[str, Any]:
    """Return a quote and reports that are bound to nothing, with these documents."""
    body = {
        "cpu": {"tee": "tdx", "quote": provider.attester.quote()},
        "gpus": [asdict(one.evidence) for one in answers(gpus, b"n" * 32)],
        "policy": TDX,
    }
    return body | ({"endorsements": endorsements} if endorsements else {})


def rims_of(gpus: Sequence[GpuAttester]) -> list[bytes]:
    return list(gpus[0].rims().values())


def ocsp_of(gpus: Sequence[GpuAttester], **states: State) -> list[bytes]:
    return [gpu.ocsp(role, states.get(role, "good")) for gpu in gpus for role in ASKED_ROLES]


def dry(provider: Provider, body: dict[str, Any], *, as_cbor: bool = False) -> httpx.Response:
    """Ask in CBOR, or in JSON, which the schema has to take as well."""
    if as_cbor:
        kind = {"content-type": "application/cbor"}
        return provider.http.post("/v1/appraisals", content=cbor2.dumps(body), headers=kind)
    written = json.dumps(body, default=dump_base64)
    bodies.AppraisalBody.model_validate_json(written)
    return provider.http.post("/v1/appraisals", content=written, headers={"content-type": "application/json"})


def enveloped(rim_id: str, raw: bytes) -> bytes:
    document = {"id": rim_id, "rim": dump_base64(raw), "sha256": sha256(raw).hexdigest(), "rim_format": "TCG"}
    return json.dumps(document).encode()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a service that holds nothing of NVIDIA's."""
    with world(tmp_path_factory.mktemp("bare"), Clock(), nvidia_files=False) as running:
        yield prepared(running)


def test_rims_and_answers_of_the_caller_s_own(bare: World) -> None:
    """They are judged as strictly, and for this answer alone."""
    provider = bare.provider()
    gpus = provider.gpus()
    rims, ocsp = rims_of(gpus), ocsp_of(gpus)
    missing = dry(provider, request_of(provider, gpus))
    assert (missing.status_code, reason_of(missing)) == (503, "gpu.rim_missing")
    body = request_of(provider, gpus, rims=rims, ocsp=ocsp)
    told = [dry(provider, body, as_cbor=as_cbor) for as_cbor in (False, True)]
    for answer in told:
        assert answer.status_code == 200, answer.text
        result = answer.json()
        assert (result["tier"], result["dry_run"]) == ("affirming", True)
        assert [one["revocation"] for one in result["gpus"]] == [["good"]] * 2
    assert told[0].content == told[1].content
    by_service = [enveloped(rim_id, raw) for rim_id, raw in gpus[0].rims().items()]
    assert dry(provider, request_of(provider, gpus, rims=by_service, ocsp=ocsp)).content == told[0].content
    again = dry(provider, request_of(provider, gpus))
    assert (again.status_code, reason_of(again)) == (503, "gpu.rim_missing")
    assert bare.public.get("/v1/keys").json()["items"] == []


# The certificate of a signer of RIMs lasts for two years.
LONG_AGO: Final = (GpuAttester.of(NvidiaVendor.of(at=NOW - timedelta(days=900))),)


def altered(documents: list[bytes], place: int, edit: Callable[[bytes], bytes]) -> list[bytes]:
    return [edit(raw) if index == place else raw for index, raw in enumerate(documents)]


@pytest.mark.parametrize(
    ("rims", "ocsp", "status", "reason"),
    [
        (lambda rims: altered(rims, 0, lambda raw: raw.replace(b"Entity", b"Entite")), None, 422, "gpu.rim_digest"),
        (lambda rims: altered(rims, 1, lambda raw: raw[:-3]), None, 422, "gpu.rim_malformed"),
        (lambda rims: rims[:1], None, 422, "gpu.rim_missing"),
        (lambda _rims: [], None, 422, "gpu.rim_missing"),
        (lambda _rims: rims_of(LONG_AGO), None, 422, "gpu.rim_expired"),
        (lambda rims: [*rims, enveloped("x", b"<") + b"}"], None, 422, "json.malformed"),
        (lambda rims: [*rims, b"0"], None, 400, "evidence.kind"),
        (None, lambda ocsp: altered(ocsp, 0, flip(-1)), 422, "gpu.ocsp_responder"),
        (None, lambda ocsp: [*ocsp, b"0"], 422, "gpu.ocsp_malformed"),
        (None, lambda ocsp: [*ocsp, b"<"], 400, "evidence.kind"),
    ],
)
def test_documents_of_the_caller_s_own_are_refused_as_evidence_is(
    gpu: World, provider: Provider, gpus: tuple[GpuAttester, ...], rims: Any, ocsp: Any, status: int, reason: str
) -> None:
    """Nothing of it is put right by what the service holds, which is good."""
    changed = {}
    if rims is not None:
        changed["rims"] = rims(rims_of(gpus))
    if ocsp is not None:
        changed["ocsp"] = ocsp(ocsp_of(gpus))
    answer = dry(provider, request_of(provider, gpus, **changed))
    assert (answer.status_code, reason_of(answer)) == (status, reason), answer.text
    assert dry(provider, request_of(provider, gpus)).json()["tier"] == "affirming"


def test_each_kind_stands_for_itself(bare: World, gpu: World) -> None:
    """What did not come along is the service's, and so is the blame for it."""
    provider = bare.provider()
    gpus = provider.gpus()
    answer = dry(provider, request_of(provider, gpus, ocsp=ocsp_of(gpus)))
    assert (answer.status_code, reason_of(answer)) == (503, "gpu.rim_missing")
    collateral = asdict(bare.vendor.collateral())
    answer = dry(provider, request_of(provider, gpus, ocsp=ocsp_of(gpus), **collateral))
    assert (answer.status_code, reason_of(answer)) == (503, "gpu.rim_missing")
    body = request_of(provider, gpus, rims=rims_of(gpus), ocsp=ocsp_of(gpus), **collateral)
    assert dry(provider, body).json()["tier"] == "affirming"
    # No answers are none, though the service has them: for this policy that is not enough.
    mine = gpu.provider()
    held = good(gpu, mine)
    result = dry(mine, request_of(mine, held, ocsp=[])).json()
    assert result["tier"] == "contraindicated"
    assert {one["check"] for one in result["appraisal"]["findings"] if one["outcome"] != "affirming"} == {
        "gpu_revocation",
        "gpu_rim_revocation",
    }
    answer = dry(mine, request_of(mine, held, ocsp=ocsp_of(held, brom="revoked")))
    assert (answer.status_code, reason_of(answer)) == (422, "gpu.revoked")


def test_beside_documents_of_amd_s(bare: World) -> None:
    provider = bare.provider()
    gpus, machine = provider.gpus(), provider.snp_machine()
    body = request_of(provider, gpus, rims=rims_of(gpus), ocsp=ocsp_of(gpus), vcek=machine.chain[0])
    body |= {"cpu": {"tee": "snp", "report": machine.report()}, "policy": SNP}
    assert dry(provider, body).json()["tier"] == "affirming"
    body["endorsements"]["rims"] = []
    answer = dry(provider, body)
    assert (answer.status_code, reason_of(answer)) == (422, "gpu.rim_missing")


def test_documents_of_nvidia_s_without_a_gpu(provider: Provider) -> None:
    for name in ("rims", "ocsp"):
        answer = dry(provider, request_of(provider, (), **{name: []}))
        assert (answer.status_code, reason_of(answer)) == (400, "evidence.kind")


def test_at_a_time_of_the_caller_s_own(bare: World) -> None:
    provider = bare.provider()
    gpus = provider.gpus()
    body = request_of(provider, gpus, rims=rims_of(gpus), ocsp=ocsp_of(gpus))
    answer = dry(provider, body | {"at": dump_time(NOW - timedelta(days=1))})
    assert (answer.status_code, reason_of(answer)) == (422, "gpu.ocsp_not_yet_valid")


# ---------------------------------------------------------------------------------------------------------------------
# The schemas


def test_the_schema_takes_what_the_loader_takes(provider: Provider, gpus: tuple[GpuAttester, ...]) -> None:
    for policy in (TDX, SNP):
        raw = dump_evidence_json(composite(provider, gpus, policy))
        bodies.EvidenceBody.model_validate_json(raw)
        bodies.AppraisalBody.model_validate_json(raw)
