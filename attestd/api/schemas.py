"""The shapes of answers, as the OpenAPI document shows them; `bodies` has those of requests.

Answers are written elsewhere and only described here; the tests hold them to it.
"""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints

from attestd.binding import BindingGrade
from attestd.binding.keys import KeyAlgorithm
from attestd.claims import GpuArch, GpuMode
from attestd.evidence import Scheme, Tee
from attestd.registry.epochs import EpochState
from attestd.registry.published import PublicationState
from attestd.registry.values import KeyState, RevocationKind, Role
from attestd.result import Tier

# One canonical text per value: the last digit of base64 has no bits to spare.
_B64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$"
_B64URL_32 = r"^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$"
_TOKEN = r"^attestd_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$"  # noqa: S105 - a pattern

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Pdi = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Base64 = Annotated[str, StringConstraints(pattern=_B64, min_length=4)]
Challenge32 = Annotated[str, StringConstraints(pattern=_B64URL_32)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Token = Annotated[str, StringConstraints(pattern=_TOKEN)]
Time = AwareDatetime


class Document(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid")


class Problem(Document):
    """RFC 9457. `reason` is stable; the prose is for people."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    stage: str
    hint: str


class IssuedChallenge(Document):
    """What evidence must answer."""

    challenge: Challenge32
    registry_id: str
    expires_at: Time
    simulated: bool


class PolicyReference(Document):
    """Which policy it was."""

    name: Slug
    version: int
    digest: Digest


class Finding(Document):
    """One check of the policy."""

    check: str
    outcome: Tier
    got: Any
    want: Any


class Appraisal(Document):
    """The verdict of the policy: the worst outcome of all findings."""

    policy: Digest
    tier: Tier
    findings: list[Finding]


class BoundKey(Document):
    """What was verified to belong together.

    `binding` is how the GPUs belong to the CPU and to the key. It shows that CPU and GPUs answered for the same key and
    challenge; it does not show that they share a machine.
    """

    key_id: Hex32
    spki: Base64
    algorithm: KeyAlgorithm
    scheme: Scheme
    binding: BindingGrade
    proof_of_possession: bool
    report_is_fresh: bool
    models: list[Digest]
    role: Literal["worker", "proxy"] | None


class GpuTopology(Document):
    """GPUs and NVSwitches that go together, by the PDIs in their certificates, in the order of the evidence."""

    arch: GpuArch
    mode: GpuMode | None  # None: the firmware does not say
    gpus: list[Pdi]
    switches: list[Pdi]
    absent_switches: list[Pdi]


class ResultDocument(Document):
    """Everything that was verified and judged. It identifies the machine: for its provider and for auditors."""

    id: str | None
    dry_run: bool
    registry_id: str
    provider: str | None
    challenge: Challenge32 | None
    platform: Hex32
    policy: PolicyReference
    tee: Tee
    evidence_id: Digest
    tcb: dict[str, Any] | None  # of Intel
    claims: dict[str, Any]
    flags: list[str]
    endorsements: list[Digest]
    at: Time
    valid_until: Time
    tier: Tier
    simulated: bool
    appraisal: Appraisal
    key: BoundKey | None
    event_log: dict[str, Any] | None
    vtpm: dict[str, Any] | None  # of Azure
    gpus: list[dict[str, Any]]  # with NVIDIA's names for claims, in the order of the evidence
    topology: GpuTopology | None


class NotAffirming(Problem):
    """A refusal with the whole result."""

    result: ResultDocument


class KeyPolicy(Document):
    """Under which policy a key was registered."""

    name: Slug
    digest: Digest


class PublicationDocument(Document):
    """How far the last decision about a key is on its way to the chain.

    `log_index` is its record. Where the chain has it, `epoch` is the first that does, with block and transaction.
    """

    state: PublicationState
    log_index: int
    epoch: int | None
    block: int | None
    transaction: Hex32 | None


class KeyDocument(Document):
    """A key, and what it rests on. `active` is trusted until `valid_until`; every other state is not trusted."""

    key_id: Hex32
    state: KeyState
    spki: Base64
    tee: Tee
    binding: str
    role: Literal["worker", "proxy"] | None
    image: Digest
    models: list[Digest]
    provider: str
    policy: KeyPolicy
    result_id: str
    result_digest: Digest
    valid_from: Time
    valid_until: Time
    registered_at: Time
    changed_at: Time
    published: PublicationDocument | None
    registry_id: str
    simulated: bool


class EpochSignature(Document):
    """The signature of a verifier, by its Ed25519 public key, over the checkpoint for this network and contract."""

    verifier: Hex32
    signature: Base64


class _Epoch(Document):
    epoch: int
    state: EpochState
    tree_size: int
    log_root: Hex32
    map_root: Hex32 | None  # None: the map is empty
    policy_digest: Hex32
    issued_at: Time
    valid_until: Time
    block: int | None
    block_at: Time | None
    logical_time: str | None
    transaction: Hex32 | None


class EpochDocument(_Epoch):
    """What log, map and policies were at one moment, who has signed that, and where on chain it is, if it is there.

    `checkpoint` is the cell as a BoC, `note` the log's own signed note of the same size and root.
    """

    checkpoint: Base64
    signatures: list[EpochSignature]
    note: str


class Inclusion(Document):
    """The audit path of the record in the tree of a size (RFC 6962, 2.1.1)."""

    log_index: int
    tree_size: int
    hashes: list[Base64]


class ProofDocument(Document):
    """What proves by one epoch that a key is trusted, or that it is not: what `attestd chain verify --proof` takes.

    `checkpoint` and `proof` are BoCs; the proof is a Merkle proof that the key is in the map of that checkpoint, or
    that it is not, and null where that is empty. `record` is what the log says of this id last, byte for byte, and null
    where it says nothing.
    """

    key_id: Hex32
    checkpoint: Base64
    proof: Base64 | None
    signatures: list[EpochSignature]
    note: str
    record: str | None
    inclusion: Inclusion | None
    proved_by: _Epoch
    registry_id: str
    simulated: bool


class ProvedKeyDocument(KeyDocument, ProofDocument):
    """A key with what proves its standing by one epoch."""


class ChainReference(Document):
    """The contract, its verifiers by their index, and how many of them must sign: as pinned, or as seen on chain."""

    registry: str | None
    global_id: int | None
    code_hash: Hex32
    verifiers: dict[str, Hex32]
    threshold: int | None


class Trouble(Document):
    """Why publishing does not go on."""

    reason: str
    title: str


class ChainDocument(ChainReference):
    """Where this registry is published, and how far. Without a chain, `registry` is null and nothing is pending."""

    confirmed: EpochDocument | None
    log_size: int
    pending: int
    lag_seconds: int
    trouble: Trouble | None
    registry_id: str
    simulated: bool


class Page(Document):
    """Some of a list; `next` is the cursor of what follows, null at the end."""

    next: str | None
    registry_id: str
    simulated: bool


class KeyPage(Page):
    """Some keys."""

    items: list[KeyDocument]


class ModelDocument(Document):
    """An approved model."""

    digest: Digest
    name: str
    version: int
    approved_by: str
    approved_at: Time
    revoked: bool


class ModelPage(Page):
    """Some models."""

    items: list[ModelDocument]


class ImageDocument(ModelDocument):
    """An approved image, and which part of Cocoon it may play."""

    roles: list[Literal["worker", "proxy"]]


class ImagePage(Page):
    """Some images."""

    items: list[ImageDocument]


class PolicyDocument(PolicyReference):
    """A policy in force. Its text is under its name."""

    approved_by: str
    approved_at: Time


class PolicyPage(Page):
    """Some policies."""

    items: list[PolicyDocument]


class RevocationDocument(Document):
    """What was revoked, and how many keys fell with it."""

    kind: RevocationKind
    value: str
    reason: str
    revoked_by: str
    revoked_at: Time
    keys: int


class RevocationPage(Page):
    """Some revocations."""

    items: list[RevocationDocument]


class ProviderDocument(Document):
    """A provider."""

    id: str
    name: str
    registered_by: str
    registered_at: Time
    revoked: bool


class ProviderPage(Page):
    """Some providers."""

    items: list[ProviderDocument]


class ApiKeyDocument(Document):
    """An API key, without its secret."""

    id: str
    role: Role
    provider: str | None
    label: str
    issued_by: str
    issued_at: Time
    expires_at: Time
    revoked_at: Time | None


class IssuedApiKeyDocument(ApiKeyDocument):
    """A new API key. The token is shown this once."""

    token: Token


class ApiKeyPage(Page):
    """Some API keys."""

    items: list[ApiKeyDocument]


class AuditDocument(Document):
    """One act of an administrator, or of the service itself."""

    seq: int
    at: Time
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    previous: Hex32
    hash: Hex32


class AuditPage(Page):
    """Some of the audit trail, oldest first."""

    items: list[AuditDocument]


class EvidenceDocument(Document):
    """A result as it was recorded, and the evidence that it judges as it was sent: the bytes of both."""

    result: Base64
    evidence: Base64


class Cosignature(Document):
    """A verifier's Ed25519 public key, and its signature over a candidate."""

    verifier: Hex32
    signature: Base64


class TrustAnchor(Document):
    """A pinned root."""

    vendor: Literal["intel", "amd", "nvidia", "simulated"]
    sha256: Hex32


class LogReference(Document):
    """The name of the log, and the key of its notes in the form of C2SP signed-note."""

    origin: str
    key: str


class Discovery(Document):
    """What this service is, and what it trusts."""

    name: Literal["attestd"]
    version: str
    registry_id: str
    simulated: bool
    tees: list[Tee]
    bindings: list[str]
    trust_anchors: list[TrustAnchor]
    policies: list[PolicyReference]
    default_policy: str
    challenge_lifetime_seconds: int
    log: LogReference
    chain: ChainReference
    endpoints: dict[str, str]


class Health(Document):
    """Up, or ready."""

    status: Literal["up", "ready"]
