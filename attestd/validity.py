"""The window in which something holds."""

from datetime import datetime
from typing import NamedTuple


class Validity(NamedTuple):
    """The window in which everything holds that the claims rest on, both ends included."""

    not_before: datetime
    not_after: datetime

    def narrowed(self, other: "Validity") -> "Validity":
        """Return the window in which both hold; it may be empty."""
        return Validity(max(self.not_before, other.not_before), min(self.not_after, other.not_after))
