"""What a verifier writes down: all that leads to a signature, or nothing."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from attestd.errors import NotAuthentic, Reason, Unavailable
from attestd.registry import Registry, cosigned, epochs, log, sequencing
from attestd.registry.epochs import Signature
from attestd.transparency.checkpoint import Checkpoint
from attestd.transparency.merkle import Frontier, leaf_hash
from attestd.transparency.record import Image, Model, Record, dump_record
from tests.refusals import refused
from tests.registry.samples import NOW, REGISTRY_ID, digest

RECORDS: list[Record] = [Model(at=NOW, digest=digest("model", number), state="approved") for number in range(5)]
SIGNATURE = Signature(digest("verifier"), digest("signature") * 2)
ISSUED = int(NOW.timestamp())


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry.open(f"sqlite:///{tmp_path}/copy.db", registry_id=REGISTRY_ID, at=NOW)
    yield made
    made.close()


def checkpoint(records: list[Record] = RECORDS) -> Checkpoint:
    frontier = Frontier()
    frontier.extend(leaf_hash(dump_record(record)) for record in records)
    return Checkpoint(
        epoch=1,
        tree_size=len(records),
        log_root=frontier.root(),
        map_root=None,
        policy_digest=digest("policies"),
        issued_at=ISSUED,
        valid_until=ISSUED + 900,
    )


def adopt(
    registry: Registry, said: Checkpoint, *, held: int = 0, records: list[Record] = RECORDS, by: Signature = SIGNATURE
) -> Signature:
    return registry.write(cosigned.adopt, held, records, said, b"note", by, NOW).result()


def test_all_of_it_is_there_at_once(registry: Registry) -> None:
    assert adopt(registry, checkpoint()) == SIGNATURE
    assert registry.read(cosigned.state).log_root == checkpoint().log_root
    newest = registry.read(epochs.newest)
    assert newest is not None
    assert (newest.checkpoint, newest.note) == (checkpoint(), b"note")
    assert registry.read(cosigned.signed, checkpoint(), SIGNATURE.verifier, NOW) == SIGNATURE
    assert registry.read(cosigned.signed, checkpoint(), digest("another verifier"), NOW) is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [({"log_root": bytes(32)}, Reason.COSIGN_HISTORY), ({"map_root": bytes(31) + b"m"}, Reason.COSIGN_MAP)],
)
def test_records_that_lead_elsewhere(registry: Registry, changed: dict[str, bytes], reason: Reason) -> None:
    said = replace(checkpoint(), **changed)  # type: ignore[arg-type]
    with refused(NotAuthentic, reason):
        adopt(registry, said)
    assert (registry.read(log.size), registry.read(epochs.newest)) == (0, None)


def test_the_first_signature_counts(registry: Registry) -> None:
    """Where two processes looked at one candidate, or the one that wrote it down was not heard of."""
    adopt(registry, checkpoint())
    other = replace(SIGNATURE, signature=bytes(64))
    assert adopt(registry, checkpoint(), by=other) == SIGNATURE
    assert registry.read(log.size) == len(RECORDS)


def test_somebody_else_was_faster(registry: Registry) -> None:
    adopt(registry, checkpoint())
    with refused(Unavailable, Reason.VERSION_CONFLICT):
        adopt(registry, replace(checkpoint(), epoch=2))


def test_records_that_somebody_else_has_written(registry: Registry) -> None:
    """The log would be as long as it is held to be, and lead to the roots; but nobody has verified its first record."""
    registry.write(log.append, RECORDS[0]).result()
    with refused(Unavailable, Reason.VERSION_CONFLICT):
        adopt(registry, checkpoint(), held=1, records=RECORDS[1:])


def test_more_than_is_sequenced_at_once(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = sequencing.advance
    monkeypatch.setattr(sequencing, "advance", lambda transaction, epoch: advance(transaction, epoch, most=2))
    adopt(registry, checkpoint())
    assert registry.read(cosigned.state).size == len(RECORDS)


def test_a_copy_that_somebody_else_has_written_to(registry: Registry) -> None:
    registry.write(log.append, RECORDS[0]).result()
    with refused(Unavailable, Reason.REGISTRY_INTEGRITY):
        registry.read(cosigned.state)


def test_the_last_word_on_a_model_counts_and_that_on_an_image_does_not(registry: Registry) -> None:
    adopt(registry, checkpoint())
    model = digest("model", 0)
    withdrawn: list[Record] = [Model(at=NOW, digest=model, state="withdrawn")]
    image: list[Record] = [Image(at=NOW, digest=model, state="withdrawn")]

    def is_approved(kind: type[Model | Image], new: list[Record], of: bytes = model) -> bool:
        return registry.read(cosigned.is_approved, of, kind, new)

    assert is_approved(Model, [])
    assert is_approved(Model, image)
    assert not is_approved(Model, withdrawn)
    assert not is_approved(Model, [], digest("unknown"))
    assert not is_approved(Model, RECORDS, digest("unknown"))
    assert not is_approved(Image, [])
    assert is_approved(Model, [*withdrawn, RECORDS[0]])


def test_what_is_held_has_a_last_word_too(registry: Registry) -> None:
    records = [*RECORDS, Model(at=NOW, digest=digest("model", 0), state="withdrawn")]
    adopt(registry, checkpoint(records), records=records)
    assert not registry.read(cosigned.is_approved, digest("model", 0), Model, [])
    assert registry.read(cosigned.is_approved, digest("model", 1), Model, [])
