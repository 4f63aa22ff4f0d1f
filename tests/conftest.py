"""What holds for every test: property tests are judged by their examples, never by the clock of a busy machine.

What tests log may hold half a surrogate pair; their processes tell each other of it in UTF-8.
"""

from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.stores import parametrize, postgres_server, sampled, store

__all__ = ["postgres_server", "store"]

settings.register_profile(
    "inturn", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("inturn")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have tests of journals run on both stores."""
    parametrize(metafunc)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to the cluster what is not in the sample of the tests on PostgreSQL."""
    items[:], left = sampled(items)
    config.hook.pytest_deselected(items=left)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report what was captured as text that can be sent."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
