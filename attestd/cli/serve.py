"""`attestd serve`: run the service until it is told to stop."""

import os
from argparse import Namespace

from attestd.api import serve
from attestd.cli.screen import VERIFIED
from attestd.settings import Settings, now


def run(arguments: Namespace) -> int:
    """Read the settings, once, and serve."""
    serve(Settings.load(arguments.config, os.environ, now()))
    return VERIFIED
