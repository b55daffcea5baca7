"""What all tests share: hypothesis profiles."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("laptop", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("headway-ci", parent=settings.get_profile("laptop"), derandomize=True, print_blob=True)
settings.load_profile("headway-ci" if os.environ.get("CI") else "laptop")
