# SPDX-License-Identifier: GPL-3.0-or-later
"""How hypothesis runs here: no deadline, since a machine may be busy, and no memory of earlier runs in a folder."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def load() -> None:
    """Make it the profile of every test that is loaded from now on."""
    settings.register_profile(
        "evenkeel", deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("evenkeel")
