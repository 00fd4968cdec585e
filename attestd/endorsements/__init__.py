"""Where the vendors' endorsements come from.

Raw documents are untrusted, wherever they were found; what leaves this package has been authenticated to a pinned root.
"""

from attestd.endorsements.archive import read_archive
from attestd.endorsements.bundle import Bundle, Files, Problem, amd_documents, bundles_in, nvidia_documents
from attestd.endorsements.disk import read_file, read_folder, write_bundle, write_files
from attestd.endorsements.folder import FolderEndorsements
from attestd.endorsements.source import Endorsements, HighWater, crl_newness, high_water, rim_newness

__all__ = [
    "Bundle",
    "Endorsements",
    "Files",
    "FolderEndorsements",
    "HighWater",
    "Problem",
    "amd_documents",
    "bundles_in",
    "crl_newness",
    "high_water",
    "nvidia_documents",
    "read_archive",
    "read_file",
    "read_folder",
    "rim_newness",
    "write_bundle",
    "write_files",
]
