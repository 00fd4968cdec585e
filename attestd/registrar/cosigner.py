"""A verifier of another registry: signs what that would publish, once it has verified all of it itself.

Of a candidate for the next epoch:

    (1) candidate   the registry's own verifier has signed it, for this contract on this network; the note is of its log
    (2) again       what was signed before is answered with the same; no two of one number could both land
    (3) window      it is of now, and for no longer than is co-signed
    (4) policies    those in force are those that there are copies of here
    (5) history     the log goes on from the one held here: the new records lead to its root
    (6) map         with them, the map held here has its root
    (7) evidence    of each key that comes into the map: nothing that the log said of it before forbids that; its
                    evidence is appraised here, by the copy of its policy, with own endorsements, trust anchors and
                    clock; the entry says what was found, and no more
    (8) record      records, candidate and signature, in one transaction; only then does the signature leave

That a key is taken out of the map needs no proof: nobody is harmed who does not trust it. After a refusal nothing here
has changed.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self, TypeAlias, get_args

from attestd.chain.wallet import load_key
from attestd.errors import (
    AttestdError,
    ConfigurationRefused,
    EndorsementRejected,
    Malformed,
    NotAuthentic,
    Reason,
    RequestRefused,
    Unavailable,
)
from attestd.evidence import Role
from attestd.metrics import Metrics
from attestd.peer import Peer
from attestd.policy import AppraisalPolicy
from attestd.registrar.following import Followed, Grounds
from attestd.registrar.policies import PolicyCopies
from attestd.registrar.publishing import contract
from attestd.registrar.registrar import Registrar
from attestd.registry import catalogue, cosigned, keymap, log
from attestd.registry.database import Transaction
from attestd.registry.epochs import Signature
from attestd.result import Tier
from attestd.settings import CosignSettings, Settings, read_secret
from attestd.signature import SigningKey, ed25519_public_key, ed25519_verifies, sign_ed25519
from attestd.transparency.checkpoint import Checkpoint, signing_hash
from attestd.transparency.note import NoteKey, load_checkpoint_body, load_note_key, open_note
from attestd.transparency.record import (
    Approve,
    Expire,
    Image,
    Model,
    Record,
    Renew,
    Resume,
    Revoke,
    Suspend,
    changes,
)
from attestd.tvm.address import Address
from attestd.verifier import AttestationResult

_log: Final = logging.getLogger(__name__)

# How far a clock may be ahead of ours; the contract takes as much (exit code 414).
_AHEAD: Final = 60
# The records of a candidate are in memory at once: 1.3 KiB each, and up to 6 KiB with as many models as there may be.
_MOST: Final = 250_000
_Put: TypeAlias = Approve | Renew | Resume
_Removed: TypeAlias = Suspend | Revoke | Expire
# The log does not say for which roles an image is approved, nor does the map have roles: what is signed says none.
_ANY_ROLE: Final = frozenset(get_args(Role))


@dataclass(frozen=True, slots=True)
class Asked:
    """A candidate that is to be signed."""

    checkpoint: Checkpoint
    note: bytes  # of the log, signed with its key
    signature: bytes  # by the registry's own verifier


@dataclass(frozen=True, slots=True)
class Terms:
    """Whose candidates are signed, for which contract, and for how long they may say that they hold."""

    leader: bytes  # Ed25519 public key of the registry's own verifier
    log_key: NoteKey
    global_id: int
    registry: Address
    validity: int  # seconds


class CosigningService:
    """The one verifier of a process. Candidates are looked at one at a time, in a thread of its own."""

    def __init__(
        self,
        registrar: Registrar,
        metrics: Metrics,
        followed: Followed,
        policies: PolicyCopies,
        key: SigningKey,
        terms: Terms,
    ) -> None:
        """Take everything; `assemble` does so by the settings."""
        self.verifier = ed25519_public_key(key)
        self._registrar = registrar
        self._metrics = metrics
        self._followed = followed
        self._policies = policies
        self._key = key
        self._terms = terms
        self._thread = ThreadPoolExecutor(1, "attestd-cosigner")
        self._busy = False

    @classmethod
    def assemble(cls, settings: Settings, cosign: CosignSettings, registrar: Registrar, metrics: Metrics) -> Self:
        """Make it as the settings say. Raises `ConfigurationRefused`."""
        network, address = contract(cosign.network, cosign.registry)
        key = load_key(cosign.verifier_key)
        try:
            log_key = load_note_key(cosign.log_key)
        except Malformed as error:
            raise _refused("cosign_log_key", error.found, error.wanted) from None
        if log_key.name != settings.registry_id:
            # Evidence is bound to the registry that it is for, and is verified as evidence for that one.
            raise _refused("registry_id", "another name than in cosign_log_key", "the registry that is co-signed")
        if ed25519_public_key(key) == cosign.verifier:
            raise _refused("chain_verifier_key", "the key of the registry itself", "a key of this verifier's own")
        if network.verifiers and ed25519_public_key(key) not in dict(network.verifiers).values():
            raise _refused("chain_verifier_key", "no verifier of the network file", "one of those pinned there")
        policies = PolicyCopies(settings.policies)
        policies.load()
        peer = Peer("cosign_of", cosign.leader, read_secret("cosign_token", cosign.token))
        terms = Terms(cosign.verifier, log_key, network.global_id, address, settings.checkpoint_validity)
        return cls(registrar, metrics, Followed(peer), policies, key, terms)

    def close(self) -> None:
        """End what was begun: to catch up with a long log takes longer than a stop may."""
        self._followed.stop()
        self._thread.shutdown()

    async def sign(self, asked: Asked) -> Signature:
        """Return the signature over a candidate.

        Raises `NotAuthentic` and `RequestRefused` (`cosign.*`) where it is not signed, `Unavailable` where that cannot
        be found out now; `service.overloaded` while another is looked at, which goes on if nobody waits for it any
        more.
        """
        with self._counting(asked):
            self._require_candidate(asked)  # (1): nobody else is to keep the registry waiting
        if self._busy:
            raise Unavailable(Reason.OVERLOADED, found="a candidate that is looked at", wanted="this one in a moment")
        self._busy = True
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._counted, asked)
        work.add_done_callback(self._idle)
        return await asyncio.shield(work)

    def _idle(self, work: "asyncio.Future[Signature]") -> None:
        self._busy = False
        if not work.cancelled():
            work.exception()  # somebody may have gone who would have heard of it

    @contextmanager
    def _counting(self, asked: Asked) -> Iterator[None]:
        try:
            yield
        except AttestdError as error:
            self._metrics.cosign_refusals.labels(error.reason.value).inc()
            _log.warning("epoch %d is not co-signed: %s", asked.checkpoint.epoch, error)
            raise

    def _counted(self, asked: Asked) -> Signature:
        try:
            with self._counting(asked):
                signature = self._sign(asked)
        finally:
            self._followed.close()
        self._metrics.cosignatures.inc()
        return signature

    def _sign(self, asked: Asked) -> Signature:
        checkpoint, at, registry = asked.checkpoint, self._registrar.now(), self._registrar.registry
        known = registry.read(cosigned.signed, checkpoint, self.verifier, at)  # (2)
        if known is not None:
            return known
        self._require_window(checkpoint, at)  # (3)
        policies = self._policies.load()
        _require_policies(checkpoint, policies)  # (4)
        held = registry.read(cosigned.state)
        _require_growth(held.size, checkpoint.tree_size)
        hashes, records = self._followed.records(held.size, checkpoint.tree_size)
        registry.read(_require_roots, held.map_root, held.size, hashes, records, checkpoint)  # (5), (6)
        for index, said, before in _trusted(held.size, records):  # (7)
            registry.read(_require_not_revived, index, said, before)
            self._require_grounds(index, said, records, policies)
        signed = signing_hash(checkpoint, self._terms.global_id, self._terms.registry)
        signature = Signature(self.verifier, sign_ed25519(self._key, signed))
        write = registry.write(cosigned.adopt, held.size, records, checkpoint, asked.note, signature, at)  # (8)
        return write.result()

    def _require_candidate(self, asked: Asked) -> None:
        terms, checkpoint = self._terms, asked.checkpoint
        signed = signing_hash(checkpoint, terms.global_id, terms.registry)
        if not ed25519_verifies(terms.leader, asked.signature, signed):
            raise NotAuthentic(
                Reason.COSIGN_CANDIDATE,
                found="another's signature, or one for another contract or network",
                wanted=f"one by {terms.leader.hex()} for {terms.registry} on {terms.global_id}",
            )
        head = load_checkpoint_body(open_note(asked.note, [terms.log_key]))
        if (head.origin, head.size, head.root) != (terms.log_key.name, checkpoint.tree_size, checkpoint.log_root):
            raise NotAuthentic(
                Reason.COSIGN_CANDIDATE,
                found=f"a note of {head.size} records with the root {head.root.hex()}",
                wanted=f"the log of the checkpoint: {checkpoint.tree_size} with {checkpoint.log_root.hex()}",
            )

    def _require_window(self, checkpoint: Checkpoint, at: datetime) -> None:
        now, validity = at.timestamp(), self._terms.validity
        if checkpoint.issued_at > now + _AHEAD:
            raise _outside(f"issued {checkpoint.issued_at - int(now)} s from now", f"at most {_AHEAD} s")
        if checkpoint.valid_until <= now:
            raise _outside(f"expired {int(now) - checkpoint.valid_until} s ago", "a candidate that can still land")
        if checkpoint.valid_until > checkpoint.issued_at + validity:
            raise _outside(f"for {checkpoint.valid_until - checkpoint.issued_at} s", f"at most {validity} s")

    def _require_grounds(
        self,
        index: int,
        said: _Put,
        records: Sequence[Record],
        policies: Mapping[str, AppraisalPolicy],
    ) -> None:
        """Require that a record which has a key trusted rests on evidence that is affirming here."""
        grounds = self._followed.grounds(index, said.result)
        policy = _policy(index, grounds, policies)
        models, images = self._registrar.registry.read(_approved, said, records)
        try:
            result = self._registrar.reappraise(grounds.evidence, policy, models, images)
        except (EndorsementRejected, Unavailable):
            raise  # the world is bad, and the evidence may be good
        except (Malformed, NotAuthentic) as error:
            raise NotAuthentic(
                Reason.COSIGN_APPRAISAL,
                found=f"record {index}: {error.reason.value}, {error.found}",
                wanted=f"evidence that is authentic: {error.wanted}",
            ) from None
        _require_entry(index, said, grounds, result)
        if result.tier is not Tier.AFFIRMING:
            raise NotAuthentic(
                Reason.COSIGN_APPRAISAL,
                found=f"record {index}: {result.tier} under {policy.name} version {policy.version}",
                wanted=Tier.AFFIRMING.value,
            )


def _require_policies(checkpoint: Checkpoint, policies: Mapping[str, AppraisalPolicy]) -> None:
    own = catalogue.digest_of_policies((policy.name, policy.digest) for policy in policies.values())
    if own != checkpoint.policy_digest:
        raise RequestRefused(
            Reason.COSIGN_POLICY,
            found=f"policies of the digest {checkpoint.policy_digest.hex()}",
            wanted=f"{own.hex()}: {', '.join(sorted(policies))}",
        )


def _require_growth(held: int, size: int) -> None:
    if size < held:
        raise NotAuthentic(Reason.COSIGN_HISTORY, found=f"{size} records", wanted=f"at least the {held} held here")
    if size - held > _MOST:
        raise Unavailable(Reason.COSIGN_BEHIND, found=f"{size - held} new records", wanted=f"at most {_MOST}")


def _require_roots(
    transaction: Transaction,
    map_root: bytes,
    held: int,
    hashes: Sequence[bytes],
    records: Sequence[Record],
    checkpoint: Checkpoint,
) -> None:
    """Require that both roots of a candidate are what the records make of the log and the map held here."""
    found = log.root_with(transaction, held, hashes)
    if found != checkpoint.log_root:
        raise NotAuthentic(
            Reason.COSIGN_HISTORY,
            found=f"records from {held} to {checkpoint.tree_size} that lead to {found.hex()}",
            wanted=f"the root of the candidate, {checkpoint.log_root.hex()}",
        )
    found, wanted = keymap.root_with(transaction, map_root, changes(records)), checkpoint.map_root or keymap.NO_KEYS
    if found != wanted:
        raise NotAuthentic(
            Reason.COSIGN_MAP, found=f"the root {wanted.hex()}", wanted=f"{found.hex()}, as the records make it"
        )


def _trusted(first: int, records: Sequence[Record]) -> Iterator[tuple[int, _Put, list[Record]]]:
    """Go through the records by which keys come into the map and are there in the end.

    With each of them, its index and what those before it say of the key.
    """
    listed = {key for key, entry in changes(records).items() if entry is not None}
    before: defaultdict[bytes, list[Record]] = defaultdict(list)
    last: dict[bytes, tuple[int, _Put]] = {}
    for index, said in enumerate(records, first):
        if isinstance(said, _Put | _Removed) and said.key in listed:
            before[said.key].append(said)
            if isinstance(said, _Put):
                last[said.key] = index, said
    for key, (index, said) in last.items():
        yield index, said, before[key][:-1]


def _require_not_revived(transaction: Transaction, index: int, said: _Put, new: Sequence[Record]) -> None:
    """Require that the key was never revoked, and that its result is good for no longer than it was before."""
    before = [*cosigned.said_before(transaction, said.key), *new]
    if any(isinstance(one, Revoke) for one in before):
        raise NotAuthentic(
            Reason.COSIGN_REVIVED, found=f"record {index}: a key that was revoked", wanted="one that was not"
        )
    ends = [one.entry.not_after for one in before if isinstance(one, _Put) and one.result == said.result]
    if (end := min(ends, default=said.entry.not_after)) < said.entry.not_after:
        raise NotAuthentic(
            Reason.COSIGN_REVIVED,
            found=f"record {index}: trusted until {said.entry.not_after}",
            wanted=f"at most until {end}, as before by this result",
        )


def _policy(index: int, grounds: Grounds, policies: Mapping[str, AppraisalPolicy]) -> AppraisalPolicy:
    """Return the copy to judge by. What an older version has let pass is judged by the one that is in force now."""
    policy = policies.get(grounds.policy_name)
    if (
        policy is None
        or policy.version < grounds.policy_version
        or (policy.version == grounds.policy_version and policy.digest != grounds.policy_digest)
    ):
        raise RequestRefused(
            Reason.COSIGN_POLICY,
            found=f"record {index}: {grounds.policy_name!a} version {grounds.policy_version}",
            wanted="a policy that there is a copy of here",
        )
    return policy


def _approved(
    transaction: Transaction, said: _Put, records: Sequence[Record]
) -> tuple[frozenset[bytes], dict[bytes, frozenset[str]]]:
    """Return which models and image of an entry the log approves, at the end of what is to be signed."""
    entry = said.entry
    models = frozenset(one for one in entry.models if cosigned.is_approved(transaction, one, Model, records))
    image = cosigned.is_approved(transaction, entry.image, Image, records)
    return models, {entry.image: _ANY_ROLE} if image else {}


def _require_entry(index: int, said: _Put, grounds: Grounds, result: AttestationResult) -> None:
    """Require that the record speaks of this very evidence, and says no more than it proves."""
    if result.verified.evidence_id != grounds.evidence_id:
        raise NotAuthentic(
            Reason.COSIGN_EVIDENCE,
            found=f"record {index}: evidence {result.verified.evidence_id.hex()}",
            wanted=f"{grounds.evidence_id.hex()}, as its result says",
        )
    entry, claims, bound = said.entry, result.claims, result.bound
    if bound is None:
        raise NotAuthentic(Reason.COSIGN_ENTRY, found=f"record {index}: evidence of no key", wanted=said.key.hex())
    models = b"".join(sorted(set(bound.models)))
    for name, found, wanted in (
        ("key", said.key.hex(), bound.key_id.hex()),
        ("TEE", entry.tee, claims.tee),
        ("image", entry.image.hex(), claims.image_digest.hex()),
        ("models", b"".join(entry.models).hex(), models.hex()),
    ):
        if found != wanted:
            raise NotAuthentic(
                Reason.COSIGN_ENTRY, found=f"record {index}: {name} {found or 'none'}", wanted=wanted or "none"
            )
    if entry.not_after > result.not_after.timestamp():
        raise NotAuthentic(
            Reason.COSIGN_ENTRY,
            found=f"record {index}: trusted until {entry.not_after}",
            wanted=f"at most until {int(result.not_after.timestamp())}",
        )


def _outside(found: str, wanted: str) -> RequestRefused:
    return RequestRefused(Reason.COSIGN_WINDOW, found=f"a candidate {found}", wanted=wanted)


def _refused(name: str, found: str, wanted: str) -> ConfigurationRefused:
    return ConfigurationRefused(Reason.SETTINGS, found=f"{name}: {found}", wanted=wanted)
