"""The first API key: there is nobody yet who could issue it."""

from datetime import datetime, timedelta
from typing import Final

from attestd.registry import Registry, access
from attestd.registry.values import Role
from attestd.settings import Settings

_LIFETIME: Final = timedelta(days=365)


def bootstrap_admin(settings: Settings, at: datetime) -> str:
    """Issue an administrator's API key on the database itself, and return its token, which nothing shows again.

    Whoever may write the database may do so; it is audited like any other. A service may be running on it. Raises
    `ConfigurationRefused` and `Unavailable` as `Registry.open` does.
    """
    registry = Registry.open(settings.database_url, registry_id=settings.registry_id, at=at)
    try:
        issued = registry.write(
            access.issue, Role.ADMIN, None, label="bootstrap", expires_at=at + _LIFETIME, by="operator", at=at
        ).result()
    finally:
        registry.close()
    return issued.token
