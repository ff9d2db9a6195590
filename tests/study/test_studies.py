"""A study by the command: stopped by a limit and continued, in parts, and the same as a plain papermill loop."""
import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest
import yaml

from ambiscale_nb.core import ROOT, InputError
from ambiscale_nb.corpora import registry
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.sampling.audits import audit_rows, listwise_ledger, listwise_pool
from ambiscale_nb.sampling.files import CANDIDATES, Store
from ambiscale_nb.sampling.store import pool_rows
from ambiscale_nb.sampling.verify import VERDICTS, verdict_rows
from ambiscale_nb.study.scores import make_pools
from ambiscale_nb.study import changes, config, fanout, notebooks, plans, results, run
from in_one import execute
from loopback import END, Loopback
from waiting import PATIENCE, until

KEY = 'sk-sentinel+0123/456789=abc'
SHARED = dict(n=8, temperature=1., widths=[3], limit=10, beam_limit=4)
RUNS = [dict(model='tiny-alm-nano', parts=2),
        dict(model='tiny-alm-nano', condition='swap', modes=['label'], n=0, widths=[], score=False, verify=False)]


def call(root, *words, **more):
    "A command under `root`; what it said."
    env = os.environ | {'AMBISCALE_ROOT': str(root), 'OMP_NUM_THREADS': '1'} | more
    done = subprocess.run([*words], env=env, capture_output=True, text=True, timeout=PATIENCE, cwd=root, check=False)
    return done.returncode, done.stdout+done.stderr


def place(folder):
    "A project's root with the notebooks and the package, and results of its own."
    for o in ('nbs', 'ambiscale_nb', 'conf'): (folder/o).symlink_to(ROOT/o)
    return folder


def ask(root, words, **more): return call(root, tool('ambiscale'), *words.split(), **more)


def study_in(root, name, runs=(), file='', **fields):
    "Write a study; its file."
    path = root/f'{file or name}.yaml'
    path.write_text(yaml.safe_dump(dict(fields, name=name, runs=list(runs) or RUNS)))
    return path


def papermill(root, notebook, target, **parameters):
    words = [o for k, v in parameters.items() for o in ('-y', yaml.safe_dump({k: v}))]
    source = ROOT/'nbs/experiments'
    return call(root, tool('papermill'), '-k', 'python3', '--cwd', str(source), str(source/notebook), str(root/target), *words,
                AMBISCALE_TOYSPEECH='')  # as on a machine that has no sound yet


def tool(name): return str(Path(sys.executable).with_name(name))


@pytest.fixture(scope='module')
def commanded(tmp_path_factory):
    "`ambiscale run`, once with a limit that stops it and once more; the folder and what was said."
    root = place(tmp_path_factory.mktemp('commanded'))
    study_in(root, 'small', file='limited', ks=[1, 4, 8], workers=1, limits=dict(calls=60), **SHARED)
    study_in(root, 'small', file='study', ks=[1, 4, 8], **SHARED)
    steps = ('run limited.yaml', 'status limited.yaml', 'estimate study.yaml', 'run study.yaml', 'status small --verify')
    return root, [ask(root, o) for o in steps]


@pytest.fixture(scope='module')
def looped(tmp_path_factory):
    "The same by papermill alone."
    root = place(tmp_path_factory.mktemp('looped'))
    steps = [('01_sample.ipynb', SHARED | {k: v for k, v in o.items() if k != 'parts'}) for o in RUNS]
    for notebook, told in (*steps, ('02_score.ipynb', dict(ks=[1, 4, 8]))):
        code, said = papermill(root, notebook, notebook, study='small', **told)
        assert code == 0, said[-3000:]
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


def test_a_papermill_loop_gives_the_same_tables_and_answers(commanded, looped):
    for o in ('scores', 'predictions', 'settings', 'refusals', 'bounds', 'claims'):
        a, b = ((root/f'results/small/{o}.parquet').read_bytes() for root in (commanded[0], looped))
        assert a == b, o
    for table in (CANDIDATES, VERDICTS):
        ours, theirs = (Store(o/'results/small').read(table) for o in (commanded[0], looped))
        same = [c for c in ours if not c.endswith('_measured')]
        assert len(ours) >= 60
        pd.testing.assert_frame_equal(*(o[same].sort_values('key').reset_index(drop=True) for o in (ours, theirs)))


def test_no_folder_of_this_machine_is_in_an_executed_notebook(commanded):
    root = commanded[0]
    for o in (root/'results/small/runs').glob('*.ipynb'):
        assert str(root) not in o.read_text() and str(Path.home()) not in o.read_text(), o.name


# Before it runs, and when it is stopped

def test_status_lists_runs_that_have_not_begun(commanded):
    root = commanded[0]
    study_in(root, 'small', [*RUNS, dict(model='tiny-alm-tiny')], file='more', **SHARED)
    code, said = ask(root, 'status more.yaml')
    assert code == 0 and 'Spent' in said
    line, = (o.split() for o in said.splitlines() if 'not begun' in o)
    # ten clips, four prompts: greedy, samples; beams of four clips; scores of the labels; six judgements of each clip
    calls = 10*4*2+4*4+10+10*6
    assert line == ['tiny-alm-tiny--toyspeech--none', 'not', 'begun', str(calls), '0', '0', str(calls), '-']
    new = json.loads(ask(root, 'status more.yaml --json')[1])[-1]
    assert (new['asked'], new['done'], new['calls'], new['missing']) == ('not begun', 0, calls, calls)
    study_in(root, 'new', **SHARED)
    code, said = ask(root, 'status new.yaml')
    assert code == 0 and said.count('not begun') == 2 and 'Spent: 0 calls' in said
    assert not (root/'results/new').exists()  # asking makes nothing


def test_a_study_is_given_by_its_name_or_its_file(commanded, monkeypatch):
    "To every command alike; by the name of a folder it is what was last run."
    root = commanded[0]
    for o in ('claims small', 'claims study.yaml', 'claims --study small', 'export small', 'status small --json'):
        assert ask(root, o)[0] == 0, o
    assert 'All of it is stored' in ask(root, 'estimate small')[1]
    code, said = ask(root, 'status nothing')
    assert code == 2 and 'No study at nothing: there are conf/' in said
    monkeypatch.setattr(results, 'RESULTS', root/'results')
    assert config.read_study('small') == config.read_study(root/'study.yaml')
    (root/'results/imported').mkdir(exist_ok=True)
    with pytest.raises(InputError, match="'imported' was imported"): config.read_study('imported')


@pytest.fixture(scope='module')
def stopped(commanded):
    "A study on one worker, stopped by Ctrl-C in its first run; what was said."
    root = commanded[0]
    study_in(root, 'stopped', [dict(model='tiny-alm-nano'), dict(model='tiny-alm-tiny')],
             **SHARED | dict(workers=1, limit=0, beam_limit=0))
    env = os.environ | {'AMBISCALE_ROOT': str(root), 'OMP_NUM_THREADS': '1', 'AMBISCALE_TEST_HOLD': '5', 'AMBISCALE_FORKS': ''}
    process = subprocess.Popen([tool('ambiscale'), 'run', 'stopped.yaml'], env=env, cwd=root, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        def sampled(): return sum(o.read_bytes().count(b'\n') for o in (root/'results/stopped').rglob('*.jsonl')) == 5
        until(sampled, 'nothing was sampled', process)
        os.killpg(process.pid, signal.SIGINT)
        return root, process.communicate(timeout=PATIENCE)[0], process.returncode
    finally:
        if process.poll() is None: os.killpg(process.pid, signal.SIGKILL)


def test_ctrl_c_is_no_error_and_says_what_is_left(stopped):
    root, said, code = stopped
    assert code == 130 and 'Traceback' not in said and 'WARNING' not in said, said
    assert 'Stopped: 2 of 2 runs are not finished' in said
    assert said.rstrip().endswith('To continue: ambiscale run stopped.yaml')
    code, said = ask(root, 'status stopped.yaml')
    assert code == 0 and 'tiny-alm-tiny--toyspeech--none not begun' in ' '.join(said.split())
    rows = [o.replace(',', '').split() for o in said.splitlines()]
    first = next(o for o in rows if o[:2]==['tiny-alm-nano--toyspeech--none', 'candidates'])
    assert 0 < int(first[3]) and int(first[2]) == sum(map(int, first[3:6]))


# Corpora that are not there

def without_corpora(monkeypatch):
    for o in ('CREMA_D', 'IEMOCAP', 'MSP_PODCAST', 'EMOV_DB', 'OWN'): monkeypatch.delenv(f'AMBISCALE_{o}', raising=False)


def test_the_papers_grid_is_estimated_by_published_sizes_and_says_so(commanded, monkeypatch):
    without_corpora(monkeypatch)
    code, said = ask(commanded[0], 'estimate paper --json')
    assert code == 1 and said.count('needs its folder') == 4  # each once, not once a run
    for o in ('CREMA_D', 'IEMOCAP', 'MSP_PODCAST', 'EMOV_DB'): assert f'AMBISCALE_{o}' in said
    runs, seen = pd.DataFrame(json.loads(said[said.index('['):said.rindex(']')+1])).set_index('run'), said[said.rindex(']'):]
    for o in ('iemocap: 10,039 clips of 4.46 s', 'crema_d: 7,442 clips of 2.54 s', 'emov_db: 7,000 clips of 4.88 s',
              'msp_podcast: 46,000 clips of 5.56 s on average (split test1 of release 2.0)'): assert o in seen
    assert len(runs) == 1+len(yaml.safe_load((ROOT/'conf/paper.yaml').read_text())['runs']) and runs.calls.notna().all()
    # four prompts: greedy, two blocks of 16, beams of four widths; scores of the labels for one; six or four verdicts
    assert runs.calls['qwen2-audio--crema_d--none'] == 7442*(4*(1+2+4)+1+6)
    assert runs.calls['qwen2-audio--iemocap-four--none'] == 10_039*(4*(1+2+4)+1+4)
    assert runs.calls['gpt-audio-1.5--crema_d--none'] == 7442*(4*(1+2)+6)  # no beams and no scores there
    assert runs.calls['gpt-audio-1.5--crema_d--swap'] == 7442*2
    assert 900 < runs.usd['gpt-audio-1.5--crema_d--none'] < runs.usd_most['gpt-audio-1.5--crema_d--none']


@pytest.mark.parametrize('run', [
    dict(), dict(condition='swap', verify=False), dict(limit=5), dict(modes=['label'], score=False), dict(modes=[], n=0),
    dict(model='gpt-audio-1.5')], ids=str)
def test_an_estimate_by_size_is_that_of_clips_of_one_length(run, monkeypatch):
    "Against planning every clip of a corpus that is there: the same counts, in every kind of call."
    n = 23
    clips = pd.DataFrame(dict(corpus='flat', uid=[f'c{i}' for i in range(n)], speaker=[f's{i}' for i in range(n)], path='x',
                              duration=3., flags='', ambiguity_source='votes'))
    judged = pd.DataFrame(dict(uid=clips.uid, rater='r', label='sad', order=0))
    monkeypatch.setitem(registry.CORPORA, 'flat', registry.Corpus(
        'flat', lambda root, split: (clips, judged), 'six', '1', 'none', 'flat',
        size=lambda split: (n, 3., 'all')))
    study = config.StudyConfig(name='s', n=20, widths=[2, 3], beam_limit=9, listwise=2, listwise_limit=7, audit=7,
                                runs=[dict(model='qwen2-audio', corpus='flat') | run])
    whole = pd.concat(plans.estimate_one(study, study.runs[0])[0])
    parts, source = plans.estimate_published(study, study.runs[0])
    by = ['mode', 'style', 'decode']
    a, b = (o.groupby(by).sum(numeric_only=True, min_count=1).drop(columns='hours') for o in (whole, pd.concat(parts)))
    pd.testing.assert_frame_equal(a, b, check_dtype=False)
    assert len(a) and source == 'flat: 23 clips of 3.00 s on average (all)'


def test_the_others_are_estimated_and_no_sum_leaves_a_run_out(commanded, monkeypatch):
    without_corpora(monkeypatch)
    runs = [dict(model='tiny-alm-nano', limit=12), dict(model='gpt-audio-1.5', corpus='iemocap'),
            dict(model='gpt-audio-1.5', corpus='own', root='/nowhere')]
    root, seen = commanded[0], {}
    for name, some in (('half', runs), ('known', runs[:2])):
        study_in(root, name, some)
        code, said = ask(root, f'estimate {name}.yaml')
        seen[name] = said
        assert code == 1 and 'iemocap: IEMOCAP needs' in said and max(map(len, said.split('Estimated')[0].splitlines())) <= 100
    assert 'own: No folder /nowhere' in seen['half']
    lines = [o for o in seen['half'].splitlines() if '--' in o or o[:3] == 'all']
    rows = {o.split('  ')[0]: o.split('  ', 1)[1].split() for o in lines}
    assert {*rows['all']} == {*rows['gpt-audio-1.5--own--none']} == {'?'}
    assert int(rows['gpt-audio-1.5--iemocap--none'][0].replace(',', '')) == 10_039*(4*2+9)
    assert rows['all that are known'][0] == f'{180+10_039*17:,}' and 'all that are known' not in seen['known']
    last = next(o for o in seen['known'].splitlines() if o.split()[:1] == ['all'])
    assert last.split()[1:] == rows['all that are known']


# Mistakes in a study

def mistakes(tmp_path, text):
    (tmp_path/'s.yaml').write_text(text)
    with pytest.raises(InputError) as e: config.read_study(tmp_path/'s.yaml')
    return str(e.value)


RUN = 'name: s\nruns:\n  - {model: tiny-alm-nano}\n'


@pytest.mark.parametrize(('text', 'told'), [
    (RUN+'  - {modle: tiny-alm-tiny}', "s.yaml, line 4: runs[1].modle: Unknown field 'modle'. Did you mean 'model'?"),
    ('name: s', 's.yaml, line 1: runs: This field is missing'),
    (RUN+'  - model: tiny-alm-tiny\n    limitt: 3', "s.yaml, line 5: runs[1].limitt: Unknown field 'limitt'. Did you mean"),
    (RUN+'limits: {cals: 3}', "s.yaml, line 4: limits.cals: Unknown field 'cals'. Did you mean 'calls'?"),
    (RUN+'1: 3', 's.yaml, line 4: [1]: Keys should be strings, got 1'),
    (RUN+'xyz: 3', "s.yaml, line 4: xyz: Unknown field 'xyz'. Choose from: name, about, runs,"),
    (RUN+'n: many', "s.yaml, line 4: n: Input should be a valid integer, unable to parse string as an integer, got 'many'"),
    (RUN+'n: 0', 's.yaml, line 4: n: Input should be greater than or equal to 1, got 0'),
    (RUN+'  - {model: tiny-alm-tiny, listwise: 1}', 'runs[1].listwise: one order is judged partly by place: take 2 or'),
    (RUN+'  - {model: tiny-alm-tinny}', "line 4: runs[1].model: Unknown model 'tiny-alm-tinny'. Did you mean 'tiny-alm-tiny'?"),
    (RUN+'  - {model: tiny-alm-tiny, corpus: creama_d}', "runs[1].corpus: Unknown corpus 'creama_d'. Did you mean 'crema_d'?"),
    (RUN+'  - {model: tiny-alm-tiny, labels: sixx}', "runs[1].labels: Unknown label set 'sixx'. Did you mean 'six'?"),
    (RUN+'  - {model: tiny-alm-tiny, modes: [labl]}', "runs[1].modes: Unknown mode 'labl'. Did you mean 'label'?"),
    (RUN+'  - {model: tiny-alm-tiny, options: {m: 3}}', "runs[1].options: Unknown option of toyspeech 'm'. Choose from: n."),
    (RUN+'  - {model: qwen2-audio, load: {devise: cuda}}', "runs[1].load: Unknown option of qwen2-audio 'devise'. Did you mean"),
    (RUN+'figures: [fig1_bugdet]', "line 4: figures[0]: Unknown figure 'fig1_bugdet'. Did you mean 'fig1_budget'?"),
    (RUN+'n: 4\nseed: 1\nn: 8', 's.yaml, line 6: n occurs in line 4 already: leave one out'),
    (RUN+'  - {model: tiny-alm-tiny, n: 1, n: 2}', 's.yaml, line 4: runs[1].n occurs in line 4 already: leave one out'),
    (RUN+'  - {model: tiny-alm-tiny', "s.yaml, line 4: expected ',' or '}', but got '<stream end>'"),
    ('- model: x', 's.yaml is no study: it needs `name: ...` and `runs: ...`'),
    ('', 's.yaml is no study'), ('name: s\nruns: &a [*a]', 's.yaml'),
])
def test_a_mistake_is_reported_with_its_place_and_what_was_meant(tmp_path, text, told):
    said = mistakes(tmp_path, text)
    assert told in said and '\n' not in said


def test_all_mistakes_are_reported_at_once(tmp_path):
    said = mistakes(tmp_path, RUN+'  - {modle: a, corpsu: b}\nn: 0').splitlines()
    assert said[0] == '3 mistakes in s.yaml:' and len(said) == 4
    assert [o.split(': ')[0] for o in said[1:]] == ['  line 4', '  line 4', '  line 5']
    said = mistakes(tmp_path, RUN+'  - {model: a, corpus: b, labels: c}\nfigures: [d]').splitlines()
    assert [o.split(': ')[1] for o in said[1:]] == ['runs[1].model', 'runs[1].corpus', 'figures[0]']


@pytest.mark.parametrize('field', ['api_key: {0}', 'load: {{key: {0}}}', 'load: [{0}]', 'load: {0}', 'options: {0}', 'corpus: [{0}]',
                                   'load: {{api_kee: {0}}}', 'options: {{a: {0}}}', 'widths: {{a: {0}}}'])
def test_a_key_in_a_study_is_refused_and_not_shown(tmp_path, field):
    said = mistakes(tmp_path, f'name: s\nruns:\n  - {{model: gpt-audio-1.5, {field.format(KEY)}}}')
    assert KEY not in said and 's.yaml, line 3: runs[0].' in said


# Models that judge each other come when all have answered

@pytest.fixture
def waves(tmp_path, monkeypatch):
    "A study whose notebooks are not executed: the study, what is done, what came in which wave, and who fails."
    runs = [dict(model='tiny-alm-nano', lists_of=['tiny-alm-tiny']), dict(model='tiny-alm-tiny')]
    path = study_in(tmp_path, 's', runs, listwise=2)
    done, came, failing = set(), [], set()
    def run_shards(tasks, *args, **options):
        came.append([o[1].stem for o in tasks])
        found = [fanout.Outcome(o, 'failed' if o in failing else 'had' if o in done else 'done', 'broke') for o in came[-1]]
        done.update(o.name for o in found if o.status != 'failed')
        return found
    monkeypatch.setattr(results, 'RESULTS', tmp_path)
    monkeypatch.setattr(run, 'run_shards', run_shards)
    monkeypatch.setattr(run, 'is_done', lambda source, target, parameters: target.stem in done)
    monkeypatch.setattr(run, 'score_and_draw', lambda study, whole, progress: [])
    return config.read_study(path), done, came, failing


NANO, TINY = (f'tiny-alm-{o}--toyspeech--none' for o in ('nano', 'tiny'))


def test_models_judge_each_other_when_all_have_answered(waves, tmp_path):
    study, done, came, _ = waves
    stamp = notebooks.stamp_of(tmp_path/'s/runs'/f'{NANO}--lists.ipynb')
    stamp.parent.mkdir(parents=True)
    stamp.write_text('{}')
    assert run.run_study(study, progress=False) == []
    assert came == [[NANO, TINY], [f'{NANO}--lists']] and not stamp.exists()  # new answers make new lists
    stamp.write_text('{}')
    assert run.run_study(study, progress=False) == [] and stamp.exists()
    done.remove(TINY)
    run.run_study(study, progress=False)
    assert not stamp.exists()


def test_nobody_is_judged_where_somebody_has_not_answered(waves):
    study, _, came, failing = waves
    failing.add(TINY)
    late = (f'{NANO}--lists', 'not begun: it waits for all other runs')
    assert run.run_study(study, progress=False) == [(TINY, 'broke'), late]
    assert came == [[NANO, TINY]]


def test_figures_of_some_runs_leave_those_of_all_alone(tmp_path, monkeypatch):
    study = config.StudyConfig(name='s', runs=[dict(model='tiny-alm-nano')], figures=['fig1_budget'])
    here, drawn = tmp_path/'results/s', []
    (here/'plans').mkdir(parents=True)
    (here/'plans/run.json').write_text('{}')
    def run_notebook(source, target, parameters, **how):
        for o in ('scores', 'settings'): (here/f'{o}.parquet').touch()
    def draw(stem, study, out, kernel):
        drawn.append(out)
        (tmp_path/out).mkdir(parents=True, exist_ok=True)
        (tmp_path/out/f'{stem}.png').write_text(str(len(drawn)))
    for o, x in dict(ROOT=tmp_path, run_notebook=run_notebook, draw=draw, is_done=lambda *_: True,
                     code_fingerprint=str).items():
        monkeypatch.setattr(run, o, x)
    monkeypatch.setattr(changes, 'ROOT', tmp_path)
    monkeypatch.setattr(results, 'RESULTS', tmp_path/'results')
    whole, partial = 'results/s/figures', 'results/s/figures-partial'
    for complete in (True, True, False): assert run.score_and_draw(study, complete) == []
    assert drawn == [whole, partial] and (tmp_path/whole/'fig1_budget.png').read_text() == '1'
    assert run.score_and_draw(study, True) == [] and drawn[2:] == [whole] and not (tmp_path/partial).exists()


# Verifiers: side by side, with other audio, and one that only judges

LIMITS = ('beam_limit', 'listwise_limit')
JUDGED = dict(SHARED, model='tiny-alm-nano', modes=['label'], n=6, score=False, listwise=2, listwise_limit=8, audit=6)


@pytest.fixture(scope='module')
def judged(tmp_path_factory):
    "One run in one piece, the same in two parts, and a run that only judges."
    root = tmp_path_factory.mktemp('judged')
    def judge(study, **more): return ROOT/'nbs/experiments/01_sample.ipynb', JUDGED | more | dict(study=study)
    execute(root, judge('whole'), *(judge('parts', part=o) for o in ('1/2', '2/2')),
            judge('external', modes=[], n=0, widths=[], listwise=0, audit=0))
    return root/'results'


def test_a_run_in_parts_judges_the_same_lists(judged):
    root = judged
    for folder in ('plans', 'verdict_plans', 'listwise_plans', 'listwise_clips', 'audit_plans'):
        a, b = (pd.read_parquet(next((root/o/folder).glob('*.parquet'))) for o in ('whole', 'parts'))
        pd.testing.assert_frame_equal(a, b)
    a, b = (Store(root/o).read(VERDICTS).sort_values('key', ignore_index=True) for o in ('whole', 'parts'))
    same = [c for c in a if not c.endswith('_measured')]
    pd.testing.assert_frame_equal(a[same], b[same])
    assert {*zip(a.verifier, a.condition, strict=True)} == {(o, c) for o in ('score', 'listwise') for c in ('none', 'swap')}
    assert len(list((root/'parts/plans').glob('*.json'))) == 1  # only the last part finds everything, and says so

    whole, external = (json.loads(next((root/o/'plans').glob('*.json')).read_text()) for o in ('whole', 'external'))
    assert (whole['listwise'], whole['audited'], whole['lacks'], whole['modes']) == ('listwise', 6, [], ['label'])
    assert (external['listwise'], external['audited'], external['verified'], external['modes']) == ('', 0, True, [])
    assert not (root/'external/candidates').exists() and not (root/'external/listwise_plans').exists()


def test_stored_lists_become_pools_and_audits(judged, monkeypatch):
    monkeypatch.setattr(results, 'RESULTS', judged)
    study = results.Study('whole')
    run = study.runs()[0]
    rows, again = (verdict_rows(study.store, study.read(o, run['plan'])) for o in ('listwise_plans', 'audit_plans'))
    uids = study.read('listwise_clips', run['plan']).uid
    answers = pool_rows(study.store, study.read('plans', run['plan']))
    pools = make_pools(answers, label_set(run['label_set']))
    speakers = study.read('utterances', run['corpus']).set_index('uid').speaker
    assert len(uids) == 8 and rows.error.eq('').all() and again[again.verifier.eq('listwise')].uid.nunique() <= 6
    for key, pool in pools.items():
        if key[2] not in ('sample', 'beam'): continue
        seen = listwise_pool(pool, rows, uids)
        known = pool.parsed[[o in set(uids) for o in pool.uids]]
        assert (pd.notna(seen.verdict) == known).all(), key  # whatever could be read was judged
        swapped = again[again.verifier.eq('listwise')]
        table = audit_rows(seen, speakers[seen.uids], dict(model=run['model']), None, swapped, rows)
        assert table.set_index(['audit', 'measure']).loc[('tie', 'missing'), 'value'] == 0
        paid = listwise_ledger(seen, rows)['calls']
        assert set(paid) <= {0, 2} and (paid == 2).any() == (rows.uid.isin(seen.uids[paid == 2]).any())


def test_the_state_of_a_study_counts_each_kind_of_judgement(judged, monkeypatch):
    monkeypatch.setattr(results, 'RESULTS', judged)
    asked = {k: v for k, v in JUDGED.items() if k not in LIMITS}
    study = config.StudyConfig(name='parts', beam_limit=4, listwise_limit=8, runs=[asked])
    table = plans.study_status(study).set_index('asked')
    assert [*table.index] == ['audit', 'candidates', 'listwise', 'verdicts']
    assert (table.done == table.calls).all() and table.calls['verdicts'] == 60 and table.calls['listwise'] >= 16
    assert table.unparsed.drop('candidates').isna().all()


# A served model, by the command

@pytest.fixture(scope='module')
def served(tmp_path_factory):
    "A study of a model behind a server, and the same again from recordings, when the server is gone."
    root = place(tmp_path_factory.mktemp('served'))
    def study(name, **load):
        asked = dict(model='vllm', load=dict(model='demo', key='DEMO_API_KEY', **load))
        study_in(root, name, [asked], n=4, limit=5, ks=[1, 4], limits=dict(fail_on_error=3))
        return ask(root, f'run {name}.yaml')
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
    for table in ('scores', 'predictions', 'refusals'):
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
