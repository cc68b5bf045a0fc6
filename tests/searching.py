"""A plugin of pytest for `make search`: many more examples of what properties are tried on, others in every run."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "search", max_examples=3000, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
