"""`attestd policy check`: read a policy as the service would, and say what in it is lax."""

from argparse import Namespace

from attestd.cli.inputs import policy
from attestd.cli.screen import VERIFIED, pairs, show
from attestd.codec import Json, dump_digest
from attestd.policy import lint


def run(arguments: Namespace) -> int:
    """Print the policy's name, version and digest, and the lint. What does not load is refused as misuse."""
    checked = policy(arguments.file)
    warnings = lint(checked)
    document: dict[str, Json] = {
        "name": checked.name,
        "version": checked.version,
        "description": checked.description,
        "digest": dump_digest(checked.digest),
        "tees": list(checked.tees),
        "warnings": list(warnings),
    }
    lines = pairs({name: value for name, value in document.items() if name != "warnings"})
    show(arguments, document, lambda: [*lines, *(f"warning: {warning}" for warning in warnings)])
    return VERIFIED
