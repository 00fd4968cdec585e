"""Where the vendors' endorsements come from.

Raw documents are untrusted, wherever they were found; what leaves this package has been authenticated to a pinned root.
"""

from attestd.endorsements.archive import read_archive
from attestd.endorsements.bundle import Bundle, Problem, bundles_in
from attestd.endorsements.disk import read_file, read_folder, write_bundle
from attestd.endorsements.folder import FolderEndorsements
from attestd.endorsements.source import Endorsements, HighWater, high_water

__all__ = [
    "Bundle",
    "Endorsements",
    "FolderEndorsements",
    "HighWater",
    "Problem",
    "bundles_in",
    "high_water",
    "read_archive",
    "read_file",
    "read_folder",
    "write_bundle",
]
