"""`pytest tests/faults/test_any_damage.py --hypothesis-profile thorough` tries a hundred times as many damaged files."""

from hypothesis import settings

settings.register_profile("thorough", max_examples=3000, deadline=None)
