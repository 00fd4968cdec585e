"""`attestd keys bootstrap`: the first admin API key, for a registry that nobody can ask for one yet."""

import os
from argparse import Namespace

from attestd.cli.screen import VERIFIED, show
from attestd.codec import Json
from attestd.registrar import bootstrap_admin
from attestd.settings import Settings, now


def run(arguments: Namespace) -> int:
    """Create an admin API key in the database of the settings and print its secret, which is not kept anywhere."""
    at = now()
    settings = Settings.load(arguments.config, os.environ, at)
    document: dict[str, Json] = {
        "registry_id": settings.registry_id,
        "role": "admin",
        "token": bootstrap_admin(settings, at),
    }
    show(
        arguments,
        document,
        lambda: [str(document["token"]), "", "Shown this once; send it as: Authorization: Bearer <token>"],
    )
    return VERIFIED
