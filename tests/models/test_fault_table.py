"Every promise about faults has a line in the table, every line has tests, and twenty kills lose nothing."
import pytest
from faults import COLUMNS, FAULTS, HERE, table, test_of
from kills import PROMISES, campaign

test_of.__test__ = False  # a function, not a test

def test_every_promise_has_a_line_and_every_line_its_tests():
    assert {o[0] for o in FAULTS} == {f'P{i}' for i in range(1, 15)}
    for *_, tests in FAULTS:
        for name in tests.split():
            file, test = name.split('::')
            assert f'def {test}(' in next(HERE.rglob(f'{file}.py')).read_text(), name

def test_the_table_is_that_of_these_faults_and_all_held():
    text = (HERE/'faults.md').read_text()
    rows = [o.strip('| ').split(' | ') for o in text[text.index(COLUMNS)+len(COLUMNS):].strip().splitlines()]
    assert [tuple(o[:3]) for o in rows] == [o[:3] for o in FAULTS]
    for *fault, cases, held in rows: assert cases == held and int(cases) > 0, fault

def test_the_table_counts_what_was_said():
    name = FAULTS[0][3].split()[0]
    first = table({name: ['passed', 'failed']}).splitlines()[2]
    assert first.endswith('| 2 | 1 |')
    assert test_of('tests/test_store.py::test_x[a/b.c]') == 'test_store::test_x'

def test_twenty_kills(tmp_path):
    found = campaign(20, seed=1, root=tmp_path)
    assert found['kills'] == 20 and found['acknowledged'] > 0
    assert not any(found[o] for o in PROMISES), found

@pytest.mark.parametrize('harm, column', [('again', 'changed'), ('gone', 'lost')])
def test_the_campaign_notices(tmp_path, monkeypatch, harm, column):
    "A store that forgets, or lets a clock that was set back overtake, does not pass."
    from ambiscale_nb.sampling import files
    if harm == 'again':
        monkeypatch.setattr(files, 'newest', lambda folder: 0)
        monkeypatch.setattr(files.Store, 'have', lambda *o, **how: set())
    else: monkeypatch.setattr(files.os, 'fsync', lambda fd: files.os.ftruncate(fd, 0))
    try: found = campaign(20, seed=2, root=tmp_path)  # where kills fall depends on the machine: six may harm nothing
    except Exception: return  # it does not even finish
    assert found[column] or found['missing in the end'] or found['failed by themselves'], found
