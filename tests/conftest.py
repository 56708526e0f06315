"""What all tests share: hypothesis without time limits, since others may use the machine, and the same examples each
time. ``pytest --hypothesis-profile=thorough`` looks for new ones."""

from hypothesis import settings

settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile("steady")
