"""`attestd serve`: run the service until it is told to stop."""

import os
from argparse import Namespace

from attestd.api import serve
from attestd.cli.screen import VERIFIED
from attestd.errors import ConfigurationRefused, Reason
from attestd.settings import Settings, now


def run(arguments: Namespace) -> int:
    """Read the settings, once, and serve. Raises `ConfigurationRefused` where they are those of a co-signer."""
    settings = Settings.load(arguments.config, os.environ, now())
    if settings.cosign is not None:
        raise ConfigurationRefused(
            Reason.SETTINGS, found="cosign_of, which makes a co-signer of it", wanted="attestd cosign"
        )
    serve(settings)
    return VERIFIED
