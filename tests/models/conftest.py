"A server on this machine, for the tests of all models behind HTTP."
import pytest
from loopback import Loopback


@pytest.fixture
def server():
    with Loopback() as s: yield s
