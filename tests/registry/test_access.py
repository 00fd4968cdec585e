from datetime import datetime, timedelta
from pathlib import Path

import pytest

from attestd.errors import Reason, RequestRefused
from attestd.registry import Registry, access, audit, revocations
from attestd.registry.values import Caller, IssuedApiKey, RevocationKind, Role
from tests.registry.samples import LATER, NOW, prepare

SECOND = timedelta(seconds=1)


def issue(registry: Registry, role: Role = Role.PROVIDER, provider: str | None = "alice") -> IssuedApiKey:
    return registry.write(access.issue, role, provider, label="ci", expires_at=LATER, by="admin", at=NOW).result()


def refused(registry: Registry, token: str, at: datetime = NOW) -> None:
    with pytest.raises(RequestRefused) as caught:
        registry.read(access.authenticate, token, at)
    assert caught.value.reason is Reason.UNAUTHENTICATED
    assert "attestd_" not in str(caught.value)


def test_a_token_stands_for_its_provider_until_it_expires(registry: Registry) -> None:
    issued = issue(registry)
    assert registry.read(access.authenticate, issued.token, NOW) == Caller(issued.api_key.id, Role.PROVIDER, "alice")
    assert registry.read(access.authenticate, issued.token, LATER).provider == "alice"
    refused(registry, issued.token, LATER + timedelta(microseconds=1))


def test_other_roles_belong_to_no_provider(registry: Registry) -> None:
    token = issue(registry, Role.AUDITOR, None).token
    caller = registry.read(access.authenticate, token, NOW)
    assert (caller.role, caller.provider) == (Role.AUDITOR, None)


@pytest.mark.parametrize(("role", "provider"), [(Role.PROVIDER, None), (Role.ADMIN, "alice")])
def test_role_and_provider_must_fit(registry: Registry, role: Role, provider: str | None) -> None:
    with pytest.raises(ValueError, match="API key of role"):
        issue(registry, role, provider)


def test_a_wrong_secret_an_unknown_id_and_other_forms_are_refused_alike(registry: Registry) -> None:
    token = issue(registry).token
    last = "A" if token[-2] != "A" else "B"
    refused(registry, token[:-2] + last + token[-1])
    refused(registry, token.replace(token[8:24], "0" * 16))
    for form in ("", "attestd_", token[:-1], token + "A", token.upper(), f" {token}", token + "\n", "x" * 100_000):
        refused(registry, form)


def test_the_database_holds_no_secret(registry: Registry, url: str, tmp_path: Path) -> None:
    issued = issue(registry)
    secret = issued.token[len("attestd_") + 17 :]
    assert len(secret) == 43
    assert issued.token not in repr(issued)
    assert secret not in repr(registry.read(access.list_api_keys, "alice"))
    assert secret not in repr(registry.read(audit.page))
    registry.close()
    if url.startswith("sqlite"):
        for file in tmp_path.iterdir():
            assert secret.encode() not in file.read_bytes()


def test_rotation_overlaps_and_never_prolongs_the_old_key(registry: Registry) -> None:
    old = issue(registry)
    overlap = timedelta(hours=1)
    new = registry.write(
        access.rotate, old.api_key.id, overlap=overlap, expires_at=LATER + overlap, by="admin", at=NOW
    ).result()
    assert (new.api_key.role, new.api_key.provider, new.api_key.label) == (Role.PROVIDER, "alice", "ci")
    for token in (old.token, new.token):
        assert registry.read(access.authenticate, token, NOW + overlap).provider == "alice"
    refused(registry, old.token, NOW + overlap + SECOND)
    assert registry.read(access.authenticate, new.token, LATER + overlap).provider == "alice"

    third = registry.write(
        access.rotate, new.api_key.id, overlap=timedelta(days=365), expires_at=LATER, by="admin", at=NOW
    ).result()
    refused(registry, new.token, LATER + overlap + SECOND)
    assert registry.read(access.authenticate, third.token, LATER).provider == "alice"


def test_only_a_key_in_force_is_rotated(registry: Registry) -> None:
    issued = issue(registry)

    def rotate(api_key_id: str, at: datetime = NOW) -> None:
        registry.write(access.rotate, api_key_id, overlap=SECOND, expires_at=LATER + SECOND, by="admin", at=at).result()

    registry.write(access.revoke_api_key, issued.api_key.id, by="admin", at=NOW).result()
    for api_key_id, at in ((issued.api_key.id, NOW), (issue(registry).api_key.id, LATER + SECOND), ("0" * 16, NOW)):
        with pytest.raises(RequestRefused) as caught:
            rotate(api_key_id, at)
        assert caught.value.reason is Reason.REQUEST_PATH


def test_a_revoked_key_is_refused_at_once_and_keeps_its_first_time(registry: Registry) -> None:
    issued = issue(registry)
    for at in (NOW + SECOND, NOW + 2 * SECOND):
        revoked = registry.write(access.revoke_api_key, issued.api_key.id, by="admin", at=at).result()
        assert revoked.revoked_at == NOW + SECOND
    refused(registry, issued.token)
    actions = [entry.action for entry in registry.read(audit.page).items]
    assert actions == ["provider.register", "api_key.issue", "api_key.revoke"]
    with pytest.raises(RequestRefused) as caught:
        registry.write(access.revoke_api_key, "0" * 16, by="admin", at=NOW).result()
    assert caught.value.reason is Reason.REQUEST_PATH


def test_revoking_a_provider_revokes_its_keys_and_lets_it_have_no_others(registry: Registry) -> None:
    prepare(registry, "bob")
    token, other = issue(registry).token, issue(registry, provider="bob").token
    registry.write(revocations.revoke, RevocationKind.PROVIDER, "alice", reason="left", by="admin", at=NOW).result()
    refused(registry, token)
    assert registry.read(access.authenticate, other, NOW).provider == "bob"
    assert [known.revoked for known in registry.read(access.list_providers).items] == [True, False]
    with pytest.raises(RequestRefused) as caught:
        issue(registry)
    assert caught.value.reason is Reason.KEY_REVOKED


def test_a_key_is_issued_to_a_registered_provider_only(registry: Registry) -> None:
    with pytest.raises(RequestRefused) as caught:
        issue(registry, provider="nobody")
    assert caught.value.reason is Reason.REQUEST_PATH


def test_a_provider_is_registered_once(registry: Registry) -> None:
    first = registry.read(access.find_provider, "alice")
    again = registry.write(access.register_provider, "alice", "Alice", by="other", at=LATER).result()
    assert again == first
    assert again.registered_by == "admin"
    with pytest.raises(RequestRefused) as caught:
        registry.write(access.register_provider, "alice", "Mallory", by="admin", at=NOW).result()
    assert caught.value.reason is Reason.VERSION_CONFLICT
    assert registry.read(access.find_provider, "nobody") is None


def test_api_keys_are_listed_by_provider(registry: Registry) -> None:
    prepare(registry, "bob")
    ids = sorted(issue(registry).api_key.id for _ in range(3))
    admin = issue(registry, Role.ADMIN, None).api_key
    first = registry.read(access.list_api_keys, "alice", limit=2)
    assert first.next is not None
    rest = registry.read(access.list_api_keys, "alice", limit=2, cursor=first.next)
    assert [key.id for key in first.items + rest.items] == ids
    assert rest.next is None
    assert registry.read(access.list_api_keys, "bob").items == ()
    assert registry.read(access.list_api_keys, None).items == (admin,)


def test_admins_in_force_are_counted(registry: Registry) -> None:
    assert registry.read(access.count_admins, NOW) == 0
    issue(registry, Role.AUDITOR, None)
    admins = [issue(registry, Role.ADMIN, None) for _ in range(3)]
    registry.write(access.revoke_api_key, admins[0].api_key.id, by="admin", at=NOW).result()
    assert registry.read(access.count_admins, NOW) == 2
    assert registry.read(access.count_admins, LATER + SECOND) == 0
