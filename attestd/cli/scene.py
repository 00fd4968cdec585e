"""What a demonstration is played with: who calls the service, and what must come of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from attestd.cli.client import Answer, Client
from attestd.cli.screen import coloured, say, table
from attestd.codec import load_base64url
from attestd.evidence import Evidence, dump_evidence_json
from attestd.simulator import KeyPair, Registry


class Unexpected(Exception):
    """A step of the demonstration gave something else than it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The three who call the service."""

    operator: Client
    provider: Client
    anyone: Client

    def challenge(self) -> Registry:
        """Ask for a challenge; return what an attester has to know of the registry."""
        issued = expect(self.provider.post("/v1/challenges"), 201)
        return Registry(issued["registry_id"], load_base64url(issued["challenge"]))

    def submit(self, evidence: Evidence, policy: str) -> Answer:
        """Send evidence, to be appraised under a policy."""
        return self.provider.post("/v1/evidence", dump_evidence_json(replace(evidence, policy=policy)))

    def refuse_forged(self, evidence: Evidence, policy: str, key: KeyPair, reason: str) -> None:
        """Send evidence that is not authentic."""
        problem = expect(self.submit(evidence, policy), 422)
        require("reason", problem["reason"], wanted=reason)
        say(f"   {problem['detail']}")
        self.require_unknown(key)

    def refuse_unacceptable(self, evidence: Evidence, policy: str, key: KeyPair, check: str) -> None:
        """Send evidence that is authentic, but for which one check of the policy is amiss."""
        problem = expect(self.submit(evidence, policy), 403)
        require("reason", problem["reason"], wanted="policy.not_affirming")
        bad = [finding["check"] for finding in _findings(problem["result"]) if finding["outcome"] != "affirming"]
        require("amiss", ", ".join(bad), wanted=check)
        show_findings(problem["result"], only_bad=True)
        self.require_unknown(key)

    def require_unknown(self, key: KeyPair) -> None:
        """Require that a key was not registered."""
        expect(self.anyone.get(f"/v1/keys/{key_id(key)}"), 404)


def key_id(key: KeyPair) -> str:
    """Return what a key is asked for by."""
    return sha256(key.spki).hexdigest()


def expect(answer: Answer, status: int) -> Any:  # noqa: ANN401 - as the service answered
    """Return the document of an answer that has the status which it should have."""
    if answer.status != status:
        raise Unexpected(f"{answer.request}: {answer.status} in place of {status}: {answer.body[:500]!r}")
    say(f"   {answer.request}: {status}")
    return answer.document


def require(what: str, got: object, *, wanted: object) -> None:
    """Say what came of a step, if it is what should."""
    if got != wanted:
        raise Unexpected(f"{what}: {got} in place of {wanted}")
    say(f"   {what}: {coloured(str(got))}")


def heading(text: str) -> None:
    """Begin a step."""
    say("", f"== {text}")


def show_findings(result: Mapping[str, Any], *, only_bad: bool = False) -> None:
    """Show what a policy says of evidence."""
    columns = ("check", "outcome", "got", "want")
    rows = [
        [finding[column] for column in columns]
        for finding in _findings(result)
        if not only_bad or finding["outcome"] != "affirming"
    ]
    say("", *table(columns, rows))


def _findings(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(result["appraisal"]["findings"])
