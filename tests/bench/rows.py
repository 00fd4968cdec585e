"""Every row of the table: what is divided by what, and the goal."""

from typing import Final

from tests.bench.client import CONNECTIONS
from tests.bench.measure import Goal, Row

ROWS: Final = (
    Row(
        name="warm",
        over="warm TDX verification with TCB and policy verdict (PCK chain and collateral authenticated before)",
        under="two bare P-256 verifications: the QE report's and the quote's signature, with loaded keys",
        needs=("warm", "two_bare"),
        value=lambda warm, two_bare: warm.cpu / two_bare.cpu,
        goal=Goal("≤", 1.35),
    ),
    Row(
        name="repeated_two",
        over="the same with the attestation key authenticated before, as the service does for a platform it has seen",
        under="two bare P-256 verifications, though it makes only one",
        needs=("repeated", "two_bare"),
        value=lambda repeated, two_bare: repeated.cpu / two_bare.cpu,
    ),
    Row(
        name="repeated_one",
        over="the same with the attestation key authenticated before",
        under="one bare P-256 verification: the quote's signature",
        needs=("repeated", "one_bare"),
        value=lambda repeated, one_bare: repeated.cpu / one_bare.cpu,
        goal=Goal("≤", 1.6),
    ),
    Row(
        name="peer_warm",
        over="rate of warm TDX verification",
        under="rate of dcap-qvl, whose only mode is cold: it authenticates chain and collateral every time",
        needs=("peer", "warm"),
        value=lambda peer, warm: peer.cpu / warm.cpu,
        goal=Goal("≥", 4.0),
    ),
    Row(
        name="peer_cold",
        over="time of cold TDX verification with policy verdict: nothing known but the trust anchor",
        under="time of dcap-qvl, which gives no policy verdict",
        needs=("cold", "peer"),
        value=lambda cold, peer: cold.cpu / peer.cpu,
        goal=Goal("≤", 1.25),
    ),
    Row(
        name="get_key",
        over="server CPU of GET /v1/keys/{id}",
        under="server CPU of a raw ASGI answer of the same bytes, by the same server with the same settings",
        needs=("get", "raw_get"),
        value=lambda get, raw_get: get.cpu / raw_get.cpu,
        goal=Goal("≤", 1.3),
    ),
    Row(
        name="post_evidence",
        over="server CPU of POST /v1/evidence, warm and durable",
        under="server CPU of a raw ASGI answer to the same body, read and not parsed, plus CPU of a warm verification",
        needs=("post", "raw_post", "warm"),
        value=lambda post, raw_post, warm: post.cpu / (raw_post.cpu + warm.cpu),
        goal=Goal("≤", 1.5),
    ),
    Row(
        name="post_parts",
        over="the same",
        under="the sum of what it cannot do without: the raw ASGI answer, verification of quote and key with the "
        "attestation key known, and a durable recording; with an Ed25519 key",
        needs=("post", "raw_post", "with_key", "records"),
        value=lambda post, raw_post, with_key, records: post.cpu / (raw_post.cpu + with_key.cpu + records.cpu),
    ),
    Row(
        name="inserts",
        over="rate of durable inserts: challenges, in a group commit",
        under="rate of SQLModel with the same row and one session and commit each, at synchronous=FULL",
        needs=("sqlmodel_inserts", "inserts"),
        value=lambda sqlmodel, attestd: sqlmodel.elapsed / attestd.elapsed,
        goal=Goal("≥", 8.0),
    ),
    Row(
        name="records",
        over="rate of durable recordings: result, challenge, key and its history, in a group commit",
        under="rate of SQLModel with the same rows and one session and commit each, asking nothing before it writes",
        needs=("sqlmodel_records", "records"),
        value=lambda sqlmodel, attestd: sqlmodel.elapsed / attestd.elapsed,
        goal=Goal("≥", 8.0),
    ),
    Row(
        name="verifications",
        over="warm TDX verifications with policy verdict, one thread",
        needs=("warm",),
        value=lambda warm: 1 / warm.elapsed,
        unit="/s",
    ),
    Row(
        name="posts",
        over=f"POST /v1/evidence, one process, {CONNECTIONS} connections, this client beside it",
        needs=("post",),
        value=lambda post: 1 / post.elapsed,
        unit="/s",
    ),
    Row(
        name="get_p50",
        over=f"GET /v1/keys/{{id}}, half of the answers within, {CONNECTIONS} connections",
        needs=("get",),
        value=lambda get: get.p50 * 1000,
        unit="ms",
    ),
    Row(
        name="get_p99",
        over="and 99 of 100 within",
        needs=("get",),
        value=lambda get: get.p99 * 1000,
        unit="ms",
    ),
)
