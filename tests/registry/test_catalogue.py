from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from attestd.errors import Reason, RequestRefused, Unavailable
from attestd.registry import Registry, audit, catalogue, revocations
from attestd.registry.values import Image, Model, Policy, RevocationKind
from tests.registry.alter import alter
from tests.registry.samples import LATER, NOW, digest, known

ONE = digest("model", 1)
HOUR = timedelta(hours=1)


def approve_model(
    registry: Registry, value: bytes = ONE, name: str = "Llama", at: datetime = NOW, expected_version: int | None = None
) -> Model:
    return registry.write(
        catalogue.approve_model, value, name=name, expected_version=expected_version, by="admin", at=at
    ).result()


def approve_image(
    registry: Registry,
    value: bytes = ONE,
    roles: tuple[str, ...] = ("worker",),
    at: datetime = NOW,
    expected_version: int | None = None,
) -> Image:
    return registry.write(
        catalogue.approve_image,
        value,
        name="cocoon",
        roles=roles,
        expected_version=expected_version,
        by="admin",
        at=at,
    ).result()


def approve_policy(registry: Registry, version: int, text: bytes, name: str = "strict", at: datetime = NOW) -> Policy:
    return registry.write(catalogue.approve_policy, name, version, text, by="admin", at=at).result()


def actions(registry: Registry) -> list[str]:
    return [entry.action for entry in registry.read(audit.page).items][1:]


def test_models_are_versioned_and_audited(registry: Registry) -> None:
    assert registry.read(catalogue.find_model, ONE) is None
    first = approve_model(registry)
    assert first == Model(digest=ONE, name="Llama", version=1, approved_by="admin", approved_at=NOW, revoked=False)
    assert registry.read(catalogue.find_model, ONE) == first
    assert approve_model(registry, at=LATER) == first
    second = approve_model(registry, name="Llama 3", at=NOW + HOUR)
    assert (second.version, second.approved_at) == (2, NOW + HOUR)
    assert registry.read(catalogue.find_model, ONE) == second
    assert actions(registry) == ["model.approve", "model.approve"]


def test_images_are_versioned_and_audited(registry: Registry) -> None:
    assert registry.read(catalogue.find_image, ONE) is None
    first = approve_image(registry, roles=("worker", "proxy", "worker"))
    assert (first.roles, first.version, first.revoked) == (("proxy", "worker"), 1, False)
    assert registry.read(catalogue.find_image, ONE) == first
    assert approve_image(registry, roles=("proxy", "worker"), at=LATER) == first
    second = approve_image(registry, roles=("proxy",), at=NOW + HOUR)
    assert (second.roles, second.version) == (("proxy",), 2)
    assert registry.read(catalogue.find_image, ONE) == second
    assert actions(registry) == ["image.approve", "image.approve"]


def test_changes_of_images_are_counted(registry: Registry) -> None:
    """A new image is none: no key can have rested on it."""
    assert registry.read(catalogue.image_changes) == 0
    approve_image(registry, roles=("worker",))
    approve_image(registry, digest("image", 2), roles=("worker",))
    assert registry.read(catalogue.image_changes) == 0
    approve_image(registry, roles=("proxy",), at=LATER)
    approve_image(registry, roles=("worker",), at=LATER)
    assert registry.read(catalogue.image_changes) == 2


@pytest.mark.parametrize("approve", [approve_model, approve_image])
def test_who_expects_another_version_is_refused(registry: Registry, approve: Callable[..., Any]) -> None:
    with pytest.raises(RequestRefused) as caught:
        approve(registry, expected_version=1)
    assert caught.value.reason is Reason.VERSION_CONFLICT
    assert approve(registry, expected_version=0).version == 1
    for expected in (0, 2):
        with pytest.raises(RequestRefused) as caught:
            approve(registry, expected_version=expected)
        assert caught.value.reason is Reason.VERSION_CONFLICT
    assert approve(registry, expected_version=1).version == 1


def test_revoked_models_and_images_say_so(registry: Registry) -> None:
    approve_model(registry)
    approve_image(registry)
    other = digest("model", 2)
    approve_model(registry, other)
    for kind in (RevocationKind.MODEL, RevocationKind.IMAGE):
        registry.write(revocations.revoke, kind, ONE.hex(), reason="", by="admin", at=NOW).result()
    assert known(registry.read(catalogue.find_model, ONE)).revoked
    assert known(registry.read(catalogue.find_image, ONE)).revoked
    assert {model.digest: model.revoked for model in registry.read(catalogue.list_models).items} == {
        ONE: True,
        other: False,
    }
    assert [image.revoked for image in registry.read(catalogue.list_images).items] == [True]
    assert approve_model(registry, name="again").revoked
    assert approve_image(registry, roles=("proxy",)).revoked


def test_models_and_images_revoked_beforehand_say_so(registry: Registry) -> None:
    for kind in (RevocationKind.MODEL, RevocationKind.IMAGE):
        registry.write(revocations.revoke, kind, ONE.hex(), reason="", by="admin", at=NOW).result()
    assert approve_model(registry).revoked
    assert approve_image(registry).revoked


@pytest.mark.parametrize(
    ("approve", "listing"), [(approve_model, catalogue.list_models), (approve_image, catalogue.list_images)]
)
def test_models_and_images_are_listed_in_pages(
    registry: Registry, approve: Callable[..., Any], listing: Callable[..., Any]
) -> None:
    digests = sorted(approve(registry, digest("one", number)).digest for number in range(3))
    first = registry.read(listing, limit=2)
    rest = registry.read(listing, limit=2, cursor=first.next)
    assert [item.digest for item in first.items + rest.items] == digests
    assert rest.next is None


def test_a_policy_is_found_by_name(registry: Registry) -> None:
    assert registry.read(catalogue.find_policy, "strict") is None
    assert registry.read(catalogue.policy_digest, "strict") is None
    first = approve_policy(registry, 3, b"three")
    assert first == Policy(
        name="strict",
        version=3,
        digest=sha256(b"three").digest(),
        text=b"three",
        approved_by="admin",
        approved_at=NOW,
    )
    assert approve_policy(registry, 3, b"three", at=LATER) == first
    second = approve_policy(registry, 5, b"five", at=NOW + HOUR)
    assert registry.read(catalogue.find_policy, "strict") == second
    assert registry.read(catalogue.policy_digest, "strict") == second.digest
    assert actions(registry) == ["policy.approve", "policy.approve"]


@pytest.mark.parametrize(("version", "text"), [(4, b"five"), (4, b"four"), (5, b"other"), (1, b"five")])
def test_a_policy_never_goes_back(registry: Registry, version: int, text: bytes) -> None:
    """Attacks P12."""
    current = approve_policy(registry, 5, b"five")
    with pytest.raises(RequestRefused) as caught:
        approve_policy(registry, version, text)
    assert caught.value.reason is Reason.POLICY_ROLLBACK
    assert registry.read(catalogue.find_policy, "strict") == current
    approve_policy(registry, 1, text, name="another")


def test_the_policies_in_force_are_listed(registry: Registry) -> None:
    for name, version in (("b", 1), ("a", 1), ("a", 2), ("c", 9)):
        approve_policy(registry, version, b"text", name=name)
    first = registry.read(catalogue.list_policies, limit=2)
    rest = registry.read(catalogue.list_policies, limit=2, cursor=first.next)
    listed = [(policy.name, policy.version) for policy in first.items + rest.items]
    assert listed == [("a", 2), ("b", 1), ("c", 9)]
    assert rest.next is None


@pytest.mark.parametrize("column", ["text", "digest"])
def test_an_altered_policy_is_found_out(registry: Registry, url: str, column: str) -> None:
    approve_policy(registry, 1, b"text")
    with alter(url, "policies", column), pytest.raises(Unavailable) as caught:
        registry.read(catalogue.find_policy, "strict")
    assert caught.value.reason is Reason.REGISTRY_INTEGRITY
