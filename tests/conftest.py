"What every test may rely on: no network, one thread, the same random cases in every run."
import os
import shutil
import signal
import tempfile
from pathlib import Path
import pytest
from hypothesis import HealthCheck, settings
import faults
import in_one

OFFLINE = Path(__file__).parent/'offline'
NET_LOG = Path(tempfile.mkdtemp(prefix='ambiscale-tests-'))/'network.log'

os.environ.update(AMBISCALE_NET_LOG=str(NET_LOG), HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1',
                  PYTHONPATH=os.pathsep.join(filter(None, [str(OFFLINE), os.getenv('PYTHONPATH')])))
for _name, _value in (('OMP_NUM_THREADS', '1'), ('TOKENIZERS_PARALLELISM', 'false'),
                      ('MPLBACKEND', 'Agg')): os.environ.setdefault(_name, _value)
os.environ.pop('AMBISCALE_ROOT', None)
if 'AMBISCALE_TOYSPEECH' not in os.environ: # The sound of 432 clips, which takes seconds to make, once for all tests
    (NET_LOG.parent/'toyspeech').mkdir()
    os.environ['AMBISCALE_TOYSPEECH'] = str(NET_LOG.parent/'toyspeech')
# A job in the background of a shell ignores Ctrl-C, and so would all that a test starts to send it one.
signal.signal(signal.SIGINT, signal.default_int_handler)
exec(compile((OFFLINE/'sitecustomize.py').read_text(), str(OFFLINE/'sitecustomize.py'), 'exec'), {})

settings.register_profile('ci', derandomize=True, deadline=None, print_blob=True,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('ci')


def pytest_configure(config):
    "One server of forks for all processes that run tests."
    if not hasattr(config, 'workerinput'): os.environ['AMBISCALE_FORKS'] = in_one.server(os.getpid())


@pytest.fixture
def real_processes(monkeypatch):
    "Kernels and commands of a test are what a user starts, not forks."
    monkeypatch.delenv('AMBISCALE_FORKS', raising=False)


def pytest_unconfigure(config): shutil.rmtree(NET_LOG.parent, ignore_errors=True)


# Files that run whole studies come first: where tests run side by side, the quick ones fill what is left.
STUDIES = ('test_studies', 'test_readings', 'test_study', 'test_notebooks', 'test_fanout', 'test_second_day', 'test_paper_grid',
           'test_same_clips', 'test_small_corpus', 'test_crema_d_study', 'test_endpoint', 'test_server_faults')


def pytest_collection_modifyitems(items):
    rank = {o: i for i, o in enumerate(STUDIES)}
    items.sort(key=lambda o: rank.get(o.path.stem, len(rank)))


@pytest.fixture(autouse=True)
def no_network():
    "A test fails if it, or a process that it started, wanted to reach another machine."
    NET_LOG.unlink(missing_ok=True)
    yield NET_LOG
    if NET_LOG.exists():
        wanted = sorted(set(NET_LOG.read_text().split()))
        NET_LOG.unlink()
        pytest.fail(f"tried to reach {', '.join(wanted)}")


# The tables of faults: what pytest said of the tests behind each line, and what tests measured of servers

OUTCOMES, SERVERS = {}, []


def pytest_runtest_logreport(report):
    if report.when=='call' and report.passed:
        SERVERS.extend(value for name, value in report.user_properties if name=='server_fault')
    if report.when=='call' or report.outcome!='passed':
        OUTCOMES.setdefault(faults.test_of(report.nodeid), []).append(report.outcome)


def pytest_sessionfinish(session):
    if not os.getenv('AMBISCALE_WRITE_FAULTS') or hasattr(session.config, 'workerinput'): return
    text = '# What can go wrong, and what then happens\n\nWritten by a run of the tests, see `faults.py`.\n\n'
    (Path(__file__).parent/'faults.md').write_text(text+faults.table(OUTCOMES))
    if SERVERS: (Path(__file__).parent/'server_faults.md').write_text(faults.server_table(SERVERS))
