"""The fixtures of walks/places.py for every walk."""

import pytest

pytest.register_assert_rewrite("walks.places")

from walks.places import place, scenes, weights  # noqa: E402, F401
