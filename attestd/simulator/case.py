"""What the fixtures of all vendors have in common."""

import json
from datetime import datetime
from typing import Any

from attestd.simulator.collateral import timestamp


def describe(name: str, what: str, root: str, at: datetime, tee: str) -> dict[str, Any]:
    """Return how each expected.json begins; `root` is a path below the fixtures."""
    return {
        "case": name,
        "kind": "simulated",
        "notes": what,
        "trust_root": f"simulated (../../{root})",
        "verification_time": int(at.timestamp()),
        "verification_time_iso": timestamp(at),
        "tee": tee,
    }


def show(fields: dict[str, Any]) -> dict[str, str | int]:
    """Return the fields of a report for JSON, but for the reserved ones."""
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in fields.items()
        if "reserved" not in name
    }


def dump(document: dict[str, Any]) -> bytes:
    """Return the file."""
    return json.dumps(document, indent=1).encode() + b"\n"
