"""What the host of this app lets visitors do."""

from __future__ import annotations

import functools

from neuronxa_core.host import settings
from neuronxa_core.host.settings import Settings
from pages.access import addresses, sign_in


@functools.cache
def _host_settings(local: bool) -> Settings:
    return settings.of_host(local)


def host_settings() -> Settings:
    """What the host of this app lets visitors do. Raises SettingsError.

    Without a settings file, only the user of this machine gets all. A visitor is somebody else where people sign in,
    where the app is served below a path, and where the request came through a proxy; a visitor may make that last one
    up, and loses by it.
    """
    return _host_settings(sign_in.auth_section() is None and addresses.is_own_user())


def of_visitors() -> Settings:
    """What visitors may do who are not the user of this machine. Raises SettingsError."""
    return _host_settings(False)
