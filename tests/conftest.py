"""For all tests: hypothesis draws the same examples each time, so that a run says the same everywhere."""

from hypothesis import settings

settings.register_profile("attestd", derandomize=True, database=None, deadline=None, print_blob=True)
settings.load_profile("attestd")
