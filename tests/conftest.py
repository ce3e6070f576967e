"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# A deadline is a timed assertion: on a loaded machine it fails a test that is right.
settings.register_profile("distfd", deadline=None)
settings.load_profile("distfd")
