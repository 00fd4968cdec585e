"""What is trusted falls with what it rests on: policies, collateral, time. And nothing else falls with it."""

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from attestd.api import Service
from attestd.cli.client import Client
from attestd.codec import dump_base64
from attestd.errors import Reason, Unavailable
from attestd.evidence import Evidence, Role, dump_evidence_json
from attestd.registrar import bootstrap_admin
from attestd.registry import catalogue
from attestd.settings import Settings, shipped
from attestd.simulator import TdReport, Vendor
from attestd.tdx.collateral import RawCollateral
from tests.acceptance.processes import until
from tests.api.world import Clock, Provider, World, environment, new_key, world, write_collateral

POLICY = "acceptance"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def own(tmp_path: Path, clock: Clock) -> Iterator[World]:
    with world(tmp_path, clock) as running:
        yield running


@pytest.fixture
def provider(own: World) -> Provider:
    return own.provider()


def body_of(name: str) -> TdReport:
    """Return the report of an image."""
    return TdReport(rtmr2=hashlib.sha384(name.encode()).digest())


def image_digest(name: str) -> str:
    """Return the image digest as Cocoon defines it: the measurements, and report data of zeros."""
    body = body_of(name)
    static = body.mrtd + body.mrconfigid + body.mrowner + body.mrownerconfig
    return hashlib.sha256(static + body.rtmr0 + body.rtmr1 + body.rtmr2 + body.rtmr3 + bytes(64)).hexdigest()


def policy(version: int, *images: str, not_after: str = '"any"', name: str = POLICY) -> bytes:
    """Take the strict policy and accept these images alone."""
    pins = [
        f'{{ name = "{image}", role = "any", not_after = {not_after}, image_digest = "{image_digest(image)}" }}'
        for image in images
    ]
    strict = (shipped("policies") / "strict-tdx.toml").read_text()
    text = strict.replace('name = "strict-tdx"', f'name = "{name}"', 1).replace(
        "version = 1", f"version = {version}", 1
    )
    return text.replace('images = "any"', f"images = [{', '.join(pins)}]", 1).encode()


def approve(world: World, text: bytes) -> dict[str, Any]:
    """Put a policy into force and wait until what is trusted was appraised under it."""
    path = f"/v1/policies/{POLICY}"
    answer = world.admin.put(path, content=text, headers={"content-type": "application/toml"})
    assert answer.status_code == 200, answer.text
    world.service.keep_up()
    document: dict[str, Any] = answer.json()
    return document


def register(provider: Provider, image: str = "a", **how: Any) -> str:
    """Register a key under the policy of these tests; return its id."""
    key = new_key()
    evidence = provider.evidence(key, body=body_of(image), **how)
    answer = provider.http.post(
        "/v1/evidence",
        content=dump_evidence_json(evidence).replace(b'"policy":null', b'"policy":"%b"' % POLICY.encode()),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 201, answer.text
    return hashlib.sha256(key.spki).hexdigest()


def state(world: World, key_id: str) -> str:
    """Return the state of a key as anybody sees it, twice: read, and kept in memory."""
    first, second = world.key(key_id), world.key(key_id)
    assert first == second
    return str(first["state"])


def newer(vendor: Vendor, status: str, number: int = 21) -> RawCollateral:
    """Return newer collateral, in which the level of the simulator's machines has another status."""

    def edit(document: dict[str, Any]) -> None:
        document["tcbEvaluationDataNumber"] = number
        document["tcbLevels"][0]["tcbStatus"] = status

    return vendor.collateral(tcb_info=vendor.tcb_info(edit))


# Time


def test_a_key_expires_by_the_clock_alone(own: World, provider: Provider, clock: Clock) -> None:
    """R05, F12: no job is needed, and no answer that was kept outlives the key."""
    result = provider.register()
    key_id = result["key"]["key_id"]
    assert state(own, key_id) == "active"
    until_then = (own.service.site.clock(), result["valid_until"])
    clock.at += timedelta(days=1) - timedelta(seconds=1)
    assert state(own, key_id) == "active", until_then
    clock.at += timedelta(seconds=2)
    assert state(own, key_id) == "expired"
    assert own.public.get("/v1/keys").json()["items"] == []
    answer = own.public.get(f"/v1/keys/{key_id}")
    assert answer.headers["cache-control"] == "no-cache"


def test_caching_ends_with_the_key(own: World, provider: Provider, clock: Clock) -> None:
    key_id = provider.register()["key"]["key_id"]
    clock.at += timedelta(days=1) - timedelta(seconds=4)
    for path in (f"/v1/keys/{key_id}", f"/v1/keys/{key_id}", "/v1/keys"):
        control = own.public.get(path).headers["cache-control"]
        assert int(control.removeprefix("public, max-age=")) <= 4


# Policies


def test_a_policy_that_drops_an_image_drops_its_keys(own: World, provider: Provider) -> None:
    """P15."""
    approve(own, policy(1, "a", "b"))
    dropped, kept = register(provider, "a"), register(provider, "b")
    assert (state(own, dropped), state(own, kept)) == ("active", "active")
    approve(own, policy(2, "b"))
    assert state(own, dropped) != "active"
    assert state(own, kept) == "active"
    listed = own.public.get("/v1/keys").json()["items"]
    assert [item["key_id"] for item in listed] == [kept]


def test_a_policy_takes_effect_without_anybody_waiting_for_it(own: World, provider: Provider) -> None:
    """P15, as an operator sees it: nothing but the PUT."""
    approve(own, policy(1, "a", "b"))
    dropped = register(provider, "a")
    headers = {"content-type": "application/toml"}
    assert own.admin.put(f"/v1/policies/{POLICY}", content=policy(2, "b"), headers=headers).status_code == 200
    until("the key is still trusted", lambda: state(own, dropped) != "active")


def test_an_older_policy_is_refused(own: World) -> None:
    """P12."""
    approve(own, policy(2, "a"))
    headers = {"content-type": "application/toml"}
    for text in (policy(1, "a"), policy(2, "b")):
        answer = own.admin.put(f"/v1/policies/{POLICY}", content=text, headers=headers)
        assert (answer.status_code, answer.json()["reason"]) == (409, "policy.rollback")
    assert own.public.get(f"/v1/policies/{POLICY}").content == policy(2, "a")


def test_a_result_names_the_policy_that_it_was_judged_by(own: World, provider: Provider) -> None:
    """P11: by digest, whatever is in force later."""
    first = approve(own, policy(1, "a"))
    key_id = register(provider, "a")
    second = approve(own, policy(2, "a", "b"))
    assert first["digest"] != second["digest"]
    key = own.key(key_id)
    assert key["policy"]["digest"] == first["digest"]
    assert key["policy"]["digest"] == "sha256:" + hashlib.sha256(policy(1, "a")).hexdigest()
    recorded = provider.http.get(f"/v1/results/{key['result_id']}").json()
    assert recorded["policy"] == {"name": POLICY, "version": 1, "digest": first["digest"]}


@contextmanager
def between(monkeypatch: pytest.MonkeyPatch, target: object, name: str, act: Callable[[], None]) -> Iterator[None]:
    """Let something happen once, just before a step of the journey."""
    genuine = getattr(target, name)
    pending = [act]

    def step(*args: Any, **kwargs: Any) -> Any:
        if pending:
            pending.pop()()
        return genuine(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(target, name, step)
        yield
    assert not pending


def elsewhere(work: Callable[[], None]) -> None:
    """Do something in another thread while this one waits: it may be the loop of the service that waits."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(30)


def test_a_policy_that_is_swapped_while_a_verification_runs(
    own: World, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P11: what was judged by the old policy is not trusted under the new one, however the two interleave."""
    approve(own, policy(1, "a"))
    registrar, upkeep = own.service.site.registrar, own.service.site.upkeep

    def swap() -> None:
        at = registrar.now()
        registrar.registry.write(catalogue.approve_policy, POLICY, 2, policy(2, "b"), by="test", at=at).result()
        # The upkeep of this very change is over before the verification is.
        elsewhere(lambda: asyncio.run(upkeep.once()))

    key = new_key()
    evidence = dump_evidence_json(provider.evidence(key, body=body_of("a"))).replace(
        b'"policy":null', b'"policy":"%b"' % POLICY.encode()
    )
    with between(monkeypatch, registrar, "_appraise", swap):
        answer = provider.post(evidence)
    own.service.keep_up()
    key_id = hashlib.sha256(key.spki).hexdigest()
    seen = own.public.get(f"/v1/keys/{key_id}")
    assert seen.status_code == 404 or seen.json()["state"] != "active", answer.text


def test_a_policy_that_ends_an_image_ends_its_keys_at_that_time(own: World, provider: Provider, clock: Clock) -> None:
    """P14, of keys that were registered before: affirming now, and no longer after `not_after`."""
    approve(own, policy(1, "a"))
    key_id = register(provider, "a")
    end = clock.at + timedelta(hours=1)
    approve(own, policy(2, "a", not_after=end.isoformat().replace("+00:00", "Z")))
    assert state(own, key_id) == "active"
    clock.at = end + timedelta(seconds=1)
    own.service.keep_up()
    assert state(own, key_id) != "active"


# Images of the registry


def registered_images(version: int = 1) -> bytes:
    """Take the strict policy and accept the images that the registry approves."""
    return policy(version).replace(b"images = []", b'images = "registered"', 1)


def approve_image(world: World, name: str, *roles: str) -> None:
    """Approve an image, and wait until what rests on that was appraised again."""
    path = f"/v1/images/sha256:{image_digest(name)}"
    answer = world.admin.put(path, json={"name": name, "roles": roles or ("worker",)})
    assert answer.status_code == 200, answer.text
    world.service.keep_up()


def submit(provider: Provider, evidence: Evidence) -> tuple[str, dict[str, Any], list[str]]:
    """Post evidence under the policy of these tests; return the key's id, the result and which checks failed."""
    answer = provider.post(replace(evidence, policy=POLICY))
    document = answer.json()
    result = document if answer.status_code in (200, 201) else document["result"]
    bad = [finding["check"] for finding in result["appraisal"]["findings"] if finding["outcome"] != "affirming"]
    assert (answer.status_code == 403) == bool(bad)
    return result["key"]["key_id"], result, bad


def test_an_image_is_accepted_once_it_is_approved(own: World, provider: Provider) -> None:
    approve(own, registered_images())
    _, result, bad = submit(provider, provider.evidence(body=body_of("a")))
    assert (result["tier"], bad) == ("contraindicated", ["image"])
    approve_image(own, "b")
    assert submit(provider, provider.evidence(body=body_of("a")))[2] == ["image"]
    approve_image(own, "a")
    key_id, result, bad = submit(provider, provider.evidence(body=body_of("a")))
    assert (result["tier"], bad, state(own, key_id)) == ("affirming", [], "active")


def test_a_dry_run_knows_what_is_approved(own: World, provider: Provider) -> None:
    approve(own, registered_images())
    request = {"cpu": {"tee": "tdx", "quote": dump_base64(provider.attester.quote(body_of("a")))}, "policy": POLICY}
    assert provider.http.post("/v1/appraisals", json=request).json()["tier"] == "contraindicated"
    approve_image(own, "a")
    assert provider.http.post("/v1/appraisals", json=request).json()["tier"] == "affirming"


def test_an_image_that_is_revoked_takes_its_keys_along(own: World, provider: Provider) -> None:
    """P15: at once, and no later approval brings it back."""
    approve(own, registered_images())
    approve_image(own, "a")
    approve_image(own, "b")
    fallen, kept = register(provider, "a"), register(provider, "b")
    value = f"sha256:{image_digest('a')}"
    answer = own.admin.post("/v1/revocations", json={"kind": "image", "value": value, "reason": "a flaw"})
    assert (answer.status_code, answer.json()["keys"]) == (201, 1)
    assert (state(own, fallen), state(own, kept)) == ("revoked", "active")
    approve_image(own, "a")
    approve_image(own, "a", "proxy", "worker")
    assert submit(provider, provider.evidence(body=body_of("a")))[2] == ["image"]
    assert (state(own, fallen), state(own, kept)) == ("revoked", "active")


def test_an_image_is_approved_for_a_role(own: World, provider: Provider) -> None:
    """A key falls with the role that its image loses, without anybody waiting for it, and comes back with it."""
    approve(own, registered_images())
    approve_image(own, "a", "worker")
    attester = provider.attester

    def evidence(role: Role) -> Evidence:
        return attester.cocoon_evidence(new_key(), provider.challenge(), role, body=body_of("a"))

    assert submit(provider, evidence("proxy"))[2] == ["image_role"]
    worker, silent = submit(provider, evidence("worker"))[0], register(provider, "a")
    assert (state(own, worker), state(own, silent)) == ("active", "active")
    path = f"/v1/images/sha256:{image_digest('a')}"
    assert own.admin.put(path, json={"name": "a", "roles": ["proxy"]}).status_code == 200
    until("the key is still trusted", lambda: state(own, worker) != "active")
    assert state(own, silent) == "active"
    proxy = submit(provider, evidence("proxy"))[0]
    approve_image(own, "a", "worker", "proxy")
    assert {state(own, key_id) for key_id in (worker, silent, proxy)} == {"active"}


def test_an_approval_that_changes_while_a_verification_runs(
    own: World, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P11: a role that was taken away a moment ago registers no key, however the two interleave."""
    approve(own, registered_images())
    approve_image(own, "a", "worker")
    registrar, upkeep = own.service.site.registrar, own.service.site.upkeep
    digest = bytes.fromhex(image_digest("a"))

    def change() -> None:
        at = registrar.now()
        registrar.registry.write(catalogue.approve_image, digest, name="a", roles=("proxy",), by="test", at=at).result()
        elsewhere(lambda: asyncio.run(upkeep.once()))

    key = new_key()
    evidence = provider.attester.cocoon_evidence(key, provider.challenge(), "worker", body=body_of("a"))
    with between(monkeypatch, registrar, "_appraise", change):
        answer = provider.post(replace(evidence, policy=POLICY))
    assert (answer.status_code, answer.json()["reason"]) == (409, "request.version_conflict")
    assert own.public.get(f"/v1/keys/{hashlib.sha256(key.spki).hexdigest()}").status_code == 404
    # Nothing was recorded, so that the same evidence may be sent again.
    assert submit(provider, evidence)[2] == ["image_role"]


# Collateral


@pytest.mark.parametrize("status", ["OutOfDate", "SWHardeningNeeded", "Revoked"])
def test_new_collateral_takes_a_platform_down(own: World, provider: Provider, status: str) -> None:
    """R05, F31: a day of TCB recovery; machines of another product line stay."""
    fmspc = b"\xf0\x51\x6e\x00\x00\x01"
    other = own.vendor.tcb_info(lambda document: document.update(fmspc=fmspc.hex().upper()))
    own.supply(own.vendor.collateral(tcb_info=other), "other")
    falling = provider.register()["key"]["key_id"]
    staying = provider.register(attester=provider.machine("other", fmspc=fmspc))["key"]["key_id"]
    own.supply(newer(own.vendor, status))
    assert state(own, falling) != "active"
    assert state(own, staying) == "active"
    answer = provider.post(provider.evidence())
    assert answer.status_code == (422 if status == "Revoked" else 403)


def test_a_revoked_machine_falls(own: World, provider: Provider) -> None:
    """R05, C30."""
    key_id = provider.register()["key"]["key_id"]
    other = provider.register(attester=provider.machine("other"))["key"]["key_id"]
    serial = provider.attester.pck.serial_number
    revoked = own.vendor.pck_crl(revoked=[serial], edit=lambda form: form.numbered(1000))
    own.supply(own.vendor.collateral(pck_crl=revoked))
    assert (state(own, key_id), state(own, other)) == ("revoked", "active")
    answer = provider.post(provider.evidence())
    assert (answer.status_code, answer.json()["reason"]) == (422, "tdx.pck_revoked")


def test_older_collateral_never_comes_back(own: World, provider: Provider, tmp_path: Path, clock: Clock) -> None:
    """C19: neither while the service runs nor after a restart."""
    older = own.vendor.collateral()
    own.supply(newer(own.vendor, "OutOfDate"))
    own.supply(older)
    answer = provider.post(provider.evidence())
    assert answer.status_code == 403
    with second(own, clock, tmp_path) as restarted:
        caller = Client(restarted.public_url, provider.token)
        refused = caller.post("/v1/evidence", dump_evidence_json(provider.evidence()))
        assert (refused.status, refused.document["reason"]) == (503, "tdx.collateral_rollback")


@contextmanager
def second(own: World, clock: Clock, tmp_path: Path, **settings: str) -> Iterator[Service]:
    """Run a second service on the same database, with a folder of collateral of its own."""
    directory = tmp_path / "second"
    directory.mkdir(mode=0o700)
    named = environment(
        directory,
        own.vendor,
        database_url=f"sqlite:///{own.settings.state_dir}/attestd.db",
        registry_id=own.settings.registry_id,
        **settings,
    )
    with Service.started(Settings.load(None, named, clock()), clock=clock) as service:
        service.until_ready()
        yield service


def test_what_one_process_knows_to_be_broken_no_other_takes(
    own: World, provider: Provider, clock: Clock, tmp_path: Path
) -> None:
    """C19 with two processes: one has seen newer collateral, the other has not looked yet."""
    with second(own, clock, tmp_path, endorsements_refresh="3600") as other:
        own.supply(newer(own.vendor, "OutOfDate"))
        assert provider.post(provider.evidence()).status_code == 403
        caller = Client(other.public_url, provider.token)
        key = new_key()
        answer = caller.post("/v1/evidence", dump_evidence_json(provider.evidence(key)))
        own.service.keep_up()
        seen = own.public.get(f"/v1/keys/{hashlib.sha256(key.spki).hexdigest()}")
        assert seen.status_code == 404 or seen.json()["state"] != "active"
        assert (answer.status, answer.document["reason"]) == (503, "tdx.collateral_rollback")


def test_collateral_is_renewed_without_a_gap(own: World, provider: Provider, clock: Clock) -> None:
    """While newer collateral is being taken, what is in force stays in use."""
    auditor = own.auditor()
    request = {"cpu": {"tee": "tdx", "quote": dump_base64(provider.attester.quote())}}
    assert auditor.post("/v1/appraisals", json=request).status_code == 200
    source = own.service.site.registrar.collateral._source
    before = {collateral.digests for collateral in source.held()}
    write_collateral(own.settings.endorsements / "platform", newer(own.vendor, "UpToDate"))
    with closing(sqlite3.connect(own.settings.state_dir / "attestd.db", isolation_level=None)) as database:
        # The marks cannot be written for a moment: another process is writing.
        database.execute("BEGIN IMMEDIATE")
        refreshing = Thread(target=own.service.site.registrar.collateral.refresh, args=(clock(),))
        refreshing.start()
        try:
            until("nothing new is read", lambda: {collateral.digests for collateral in source.held()} != before)
            answer = auditor.post("/v1/appraisals", json=request)
        finally:
            database.execute("ROLLBACK")
            refreshing.join(30)
    assert answer.status_code == 200, answer.text
    assert auditor.post("/v1/appraisals", json=request).status_code == 200


def test_one_record_that_cannot_be_read_keeps_no_other_alive(own: World, provider: Provider) -> None:
    """F22, F35: the evidence of one key is damaged on the disk; the others fall all the same."""
    ids = [provider.register()["key"]["key_id"] for _ in range(4)]
    with closing(sqlite3.connect(own.settings.state_dir / "attestd.db")) as database, database:
        lowest = min(ids)
        result = own.key(lowest)["result_id"]
        assert database.execute("UPDATE results SET evidence = x'00' WHERE id = ?", (result,)).rowcount == 1
    own.supply(newer(own.vendor, "OutOfDate"))
    assert [state(own, key_id) for key_id in ids if state(own, key_id) == "active" and key_id != lowest] == []
    # What cannot be appraised again is not trusted either.
    assert state(own, lowest) != "active"


def test_a_service_starts_with_a_record_that_cannot_be_read(
    own: World, provider: Provider, clock: Clock, tmp_path: Path
) -> None:
    key_id = provider.register()["key"]["key_id"]
    with closing(sqlite3.connect(own.settings.state_dir / "attestd.db")) as database, database:
        database.execute("UPDATE results SET evidence = x'00'")
    with second(own, clock, tmp_path) as service:
        assert Client(service.public_url).get(f"/v1/keys/{key_id}").status == 200


def test_what_could_not_be_appraised_again_is_tried_again(
    own: World, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F07: the database was away for the moment in which a key should have fallen."""
    approve(own, policy(1, "a", "b"))
    key_id = register(provider, "a")
    registrar = own.service.site.registrar

    def away() -> None:
        raise Unavailable(Reason.DATABASE_UNAVAILABLE, found="nothing", wanted="a database that answers")

    with between(monkeypatch, registrar, "reappraise", away):
        approve(own, policy(2, "b"))
    own.service.keep_up()
    assert state(own, key_id) != "active"


def test_a_key_that_is_renewed_meanwhile_does_not_fall(
    own: World, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old evidence of a key is judged, and not the key: by now it rests on evidence that is good."""
    approve(own, policy(1, "a", "b"))
    key = new_key()

    def post(image: str) -> int:
        evidence = dump_evidence_json(provider.evidence(key, body=body_of(image)))
        return provider.post(evidence.replace(b'"policy":null', b'"policy":"%b"' % POLICY.encode())).status_code

    assert post("a") == 201
    renewed: list[int] = []
    registrar, upkeep = own.service.site.registrar, own.service.site.upkeep
    at = registrar.now()
    registrar.registry.write(catalogue.approve_policy, POLICY, 2, policy(2, "b"), by="test", at=at).result()
    with between(monkeypatch, registrar, "reappraise", lambda: renewed.append(post("b"))):
        asyncio.run(upkeep.once())
    assert renewed == [201]
    assert state(own, hashlib.sha256(key.spki).hexdigest()) == "active"


def test_tokens_of_the_first_administrator_are_his_own(own: World, clock: Clock) -> None:
    """A20: there is no default administrator, and each bootstrap makes another key."""
    tokens = {own.admin_token, bootstrap_admin(own.settings, clock()), bootstrap_admin(own.settings, clock())}
    assert len(tokens) == 3
    assert own.client(own.service.admin_url).get("/v1/providers").status_code == 401


def test_our_own_trouble_is_not_blamed_on_the_collateral_of_the_caller(
    own: World, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F07: the database is away; the evidence, and what came with it, may be good."""
    collateral = own.vendor.collateral()
    request = {
        "cpu": {"tee": "tdx", "quote": dump_base64(provider.attester.quote())},
        "endorsements": {one.name: dump_base64(getattr(collateral, one.name)) for one in fields(collateral)},
    }
    auditor = own.auditor()
    assert auditor.post("/v1/appraisals", json=request).status_code == 200

    def away(*_: object) -> None:
        raise Unavailable(Reason.DATABASE_UNAVAILABLE, found="nothing", wanted="a database that answers")

    monkeypatch.setattr("attestd.registrar.policies.Policies.in_force", away)
    answer = auditor.post("/v1/appraisals", json=request)
    assert (answer.status_code, answer.json()["reason"]) == (503, "service.database_unavailable")
