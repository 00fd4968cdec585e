"""`attestd cosign`: run a verifier of another registry until it is told to stop."""

import os
from argparse import Namespace

from attestd.api import serve
from attestd.cli.screen import VERIFIED
from attestd.errors import ConfigurationRefused, Reason
from attestd.settings import Settings, now


def run(arguments: Namespace) -> int:
    """Read the settings, once, and serve. Raises `ConfigurationRefused` where they are those of a registry."""
    settings = Settings.load(arguments.config, os.environ, now())
    if settings.cosign is None:
        raise ConfigurationRefused(
            Reason.SETTINGS, found="cosign_of: nothing", wanted="the URL of the registry that is co-signed"
        )
    serve(settings)
    return VERIFIED
