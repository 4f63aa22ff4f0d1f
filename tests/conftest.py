"""What holds for every test: property tests are judged by their examples, never by the clock of a busy machine."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "inturn", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("inturn")
