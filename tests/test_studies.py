"""A study by the command: stopped by a limit and continued, in parts, and the same as a plain papermill loop."""
import base64
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest
import yaml

from ambiscale_nb.core import ROOT
from loopback import END, Loopback

SHARED = dict(n=8, temperature=1., widths=[3], limit=10, beam_limit=4)
RUNS = [dict(model='tiny-alm-nano', parts=2),
        dict(model='tiny-alm-nano', condition='swap', modes=['label'], n=0, widths=[], score=False, verify=False)]


def call(root, *words):
    "A command under `root`; what it said."
    env = os.environ | {'AMBISCALE_ROOT': str(root), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([*words], env=env, capture_output=True, text=True, timeout=400, cwd=root, check=False)
    return done.returncode, done.stdout+done.stderr


def place(folder):
    "A project's root with the notebooks and the package, and results of its own."
    for o in ('nbs', 'ambiscale_nb', 'conf'): (folder/o).symlink_to(ROOT/o)
    return folder


def tool(name): return str(Path(sys.executable).with_name(name))


@pytest.fixture(scope='module')
def commanded(tmp_path_factory):
    "`ambiscale run`, once with a limit that stops it and once more; the folder and what was said."
    root = place(tmp_path_factory.mktemp('commanded'))
    study = dict(SHARED, name='small', ks=[1, 4, 8], runs=RUNS)
    (root/'limited.yaml').write_text(yaml.safe_dump(study | dict(limits=dict(calls=60))))
    (root/'study.yaml').write_text(yaml.safe_dump(study))
    said = [call(root, tool('ambiscale'), 'run', 'limited.yaml'),
            call(root, tool('ambiscale'), 'status', 'limited.yaml'),
            call(root, tool('ambiscale'), 'estimate', 'study.yaml'),
            call(root, tool('ambiscale'), 'run', 'study.yaml'),
            call(root, tool('ambiscale'), 'status', 'study.yaml', '--verify')]
    return root, said


@pytest.fixture(scope='module')
def looped(tmp_path_factory):
    "The same by papermill alone."
    root = place(tmp_path_factory.mktemp('looped'))
    def papermill(notebook, **parameters):
        words = [o for k, v in parameters.items() for o in ('-y', yaml.safe_dump({k: v}))]
        code, said = call(root, tool('papermill'), '-k', 'python3', '--cwd', str(ROOT/'nbs/experiments'),
                          str(ROOT/'nbs/experiments'/notebook), str(root/notebook), *words)
        assert code == 0, said[-3000:]
    for run in RUNS:
        papermill('01_sample.ipynb', study='small', **SHARED | {k: v for k, v in run.items() if k != 'parts'})
    papermill('02_score.ipynb', study='small', ks=[1, 4, 8])
    return root


def test_a_limit_stops_the_study_and_says_how_to_go_on(commanded):
    _, ((code, said), (_, status), (_, rest), (again, _), _) = commanded
    assert (code, again) == (1, 0)
    assert 'stopped at the limit on calls' in said and 'calls remain' in said
    assert 'ambiscale run limited.yaml' in said
    assert 'missing' in status and 'Spent: 6' in status  # sixty calls, or those that were under way besides
    assert 'tiny-alm-nano--toyspeech--none' in rest


def test_the_finished_study_is_whole_and_sound(commanded):
    root, (*_, (code, said)) = commanded
    assert code == 0 and 'Every file is sound.' in said
    table = pd.read_parquet(root/'results/small/scores.parquet')
    assert set(table.condition) == {'none', 'swap'} and table.k.max() == 8
    done = sorted(o.name for o in (root/'results/small/runs').glob('*.ipynb'))
    assert done == ['02_score.ipynb', 'tiny-alm-nano--toyspeech--none--1of2.ipynb',
                    'tiny-alm-nano--toyspeech--none--2of2.ipynb', 'tiny-alm-nano--toyspeech--swap.ipynb']


@pytest.mark.parametrize('table', ['scores', 'predictions', 'settings', 'refusals', 'marginals', 'bounds', 'claims'])
def test_a_papermill_loop_gives_the_same_tables(commanded, looped, table):
    a, b = ((o/'results/small'/f'{table}.parquet').read_bytes() for o in (commanded[0], looped))
    assert a == b


def test_a_papermill_loop_gives_the_same_answers(commanded, looped):
    from ambiscale_nb.pool import CANDIDATES, Store
    from ambiscale_nb.verify import VERDICTS
    for table in (CANDIDATES, VERDICTS):
        ours, theirs = (Store(o/'results/small').read(table) for o in (commanded[0], looped))
        same = [c for c in ours if not c.endswith('_measured')]
        assert len(ours) >= 60
        pd.testing.assert_frame_equal(*(o[same].sort_values('key').reset_index(drop=True) for o in (ours, theirs)))


def test_no_folder_of_this_machine_is_in_an_executed_notebook(commanded):
    root = commanded[0]
    for o in (root/'results/small/runs').glob('*.ipynb'):
        assert str(root) not in o.read_text() and str(Path.home()) not in o.read_text(), o.name


# Verifiers: side by side, with other audio, and one that only judges

JUDGED = dict(SHARED, model='tiny-alm-nano', modes=['label'], n=6, score=False, listwise=2, listwise_limit=8, audit=6)


@pytest.fixture(scope='module')
def judged(tmp_path_factory):
    "One run in one piece, the same in two parts, and a run that only judges."
    root, said = place(tmp_path_factory.mktemp('judged')), []
    def papermill(study, **parameters):
        words = [o for k, v in (JUDGED | parameters | dict(study=study)).items() for o in ('-y', yaml.safe_dump({k: v}))]
        source = str(ROOT/'nbs/experiments/01_sample.ipynb')
        said.append(call(root, tool('papermill'), '-k', 'python3', '--cwd', str(ROOT/'nbs/experiments'), source,
                         str(root/f'{study}.ipynb'), *words))
    papermill('whole')
    for part in ('1/2', '2/2'): papermill('parts', part=part)
    papermill('external', modes=[], n=0, widths=[], listwise=0, audit=0)
    return root/'results', said


def test_a_run_in_parts_judges_the_same_lists(judged):
    from ambiscale_nb.pool import Store
    from ambiscale_nb.verify import VERDICTS
    root, said = judged
    for code, text in said: assert code == 0, text[-3000:]
    for folder in ('plans', 'verdict_plans', 'listwise_plans', 'listwise_clips', 'audit_plans'):
        a, b = (pd.read_parquet(next((root/o/folder).glob('*.parquet'))) for o in ('whole', 'parts'))
        pd.testing.assert_frame_equal(a, b)
    a, b = (Store(root/o).read(VERDICTS).sort_values('key', ignore_index=True) for o in ('whole', 'parts'))
    same = [c for c in a if not c.endswith('_measured')]
    pd.testing.assert_frame_equal(a[same], b[same])
    assert {*zip(a.verifier, a.condition, strict=True)} == {(o, c) for o in ('score', 'listwise') for c in ('none', 'swap')}
    assert len(list((root/'parts/plans').glob('*.json'))) == 1  # only the last part finds everything, and says so


def test_a_run_says_how_it_judged(judged):
    import json
    root = judged[0]
    whole, external = (json.loads(next((root/o/'plans').glob('*.json')).read_text()) for o in ('whole', 'external'))
    assert (whole['listwise'], whole['audited'], whole['lacks'], whole['modes']) == ('listwise', 6, [], ['label'])
    assert (external['listwise'], external['audited'], external['verified'], external['modes']) == ('', 0, True, [])
    assert not (root/'external/candidates').exists() and not (root/'external/listwise_plans').exists()


def test_stored_lists_become_pools_and_audits(judged, monkeypatch):
    from ambiscale_nb.audits import audit_rows, listwise_ledger, listwise_pool
    from ambiscale_nb.labels import label_set
    from ambiscale_nb.pool import pool_rows
    from ambiscale_nb.results import Study, make_pools
    from ambiscale_nb.verify import verdict_rows
    monkeypatch.setattr('ambiscale_nb.results.RESULTS', judged[0])
    study = Study('whole')
    run = study.runs()[0]
    rows, again = (verdict_rows(study.store, study.read(o, run['plan'])) for o in ('listwise_plans', 'audit_plans'))
    uids = study.read('listwise_clips', run['plan']).uid
    answers = pool_rows(study.store, study.read('plans', run['plan']))
    pools = make_pools(answers, label_set(run['label_set']).labels)
    speakers = study.read('utterances', run['corpus']).set_index('uid').speaker
    assert len(uids) == 8 and rows.error.eq('').all() and again[again.verifier.eq('listwise')].uid.nunique() <= 6
    for key, pool in pools.items():
        if key[2] not in ('sample', 'beam'): continue
        seen = listwise_pool(pool, rows, uids)
        known = pool.parsed[[o in set(uids) for o in pool.uids]]
        assert (pd.notna(seen.verdict) == known).all(), key  # whatever could be read was judged
        table = audit_rows(seen, speakers[seen.uids], dict(model=run['model']), None, again[again.verifier.eq('listwise')], rows)
        assert table.set_index(['audit', 'measure']).loc[('tie', 'missing'), 'value'] == 0
        paid = listwise_ledger(seen, rows)['calls']
        assert set(paid) <= {0, 2} and (paid == 2).any() == (rows.uid.isin(seen.uids[paid == 2]).any())


def test_the_state_of_a_study_counts_each_kind_of_judgement(judged, monkeypatch):
    from ambiscale_nb import studies
    for o in ('results', 'studies'): monkeypatch.setattr(f'ambiscale_nb.{o}.RESULTS', judged[0])
    table = studies.study_status('parts').set_index('asked')
    assert [*table.index] == ['audit', 'candidates', 'listwise', 'verdicts']
    assert (table.done == table.calls).all() and table.calls['verdicts'] == 60 and table.calls['listwise'] >= 16
    assert table.unparsed.drop('candidates').isna().all()


# A served model, by the command

KEY = 'sk-sentinel+0123/456789=abc'


@pytest.fixture(scope='module')
def served(tmp_path_factory):
    "A study of a model behind a server, and the same again from recordings, when the server is gone."
    root = place(tmp_path_factory.mktemp('served'))
    def study(name, **load):
        run = dict(model='vllm', load=dict(model='demo', key='DEMO_API_KEY', **load))
        text = yaml.safe_dump(dict(name=name, n=4, limit=5, ks=[1, 4], runs=[run],
                                   limits=dict(fail_on_error=3)))
        (root/f'{name}.yaml').write_text(text)
        return call(root, tool('ambiscale'), 'run', f'{name}.yaml')
    os.environ['DEMO_API_KEY'] = KEY
    try:
        with Loopback() as server:
            server.faults = ['429', None, 'bad_request', '500']
            live = study('live', base_urls=[server.url], end=END, max_seconds=30.)
        again = study('again', replay='live/recordings', end=END, max_seconds=30.)
    finally: del os.environ['DEMO_API_KEY']
    return root, live, again


def test_a_served_study_runs_and_is_repeated_from_its_recordings(served):
    root, *said = served
    for code, text in said: assert code == 0, text[-3000:]
    for table in ('scores', 'predictions', 'marginals', 'refusals'):
        a, b = ((root/f'results/{o}/{table}.parquet').read_bytes() for o in ('live', 'again'))
        assert a == b
    scores = pd.read_parquet(root/'results/live/scores.parquet')
    assert set(scores.model) == {'demo'} and scores.value.notna().any()
    lost = scores[scores.stratum.eq('all') & scores.metric.eq('jsd')]
    assert (lost.n+lost.failed == 5).all() and sorted(set(lost.failed)) == [0, 1]  # one call failed, and is told


def test_no_key_is_in_any_file(served):
    root = served[0]
    forms = [KEY, quote(KEY, safe=''), base64.b64encode(KEY.encode()).decode(), KEY.replace('/', '\\/')]
    files = [o for o in (root/'results').rglob('*') if o.is_file()]
    assert any('recordings' in o.parts for o in files) and len(files) > 10
    for o in files:
        data = o.read_bytes()
        assert not any(form.encode() in data for form in forms), o
    assert not any(form in text for form in forms for _, text in served[1:])
