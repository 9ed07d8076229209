"""How property tests are run: a busy machine makes no example wrong."""

from hypothesis import HealthCheck, settings

settings.register_profile("passback", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("passback")
