"""A study that is run, changed and run again: after each change its numbers are those of a fresh study, every call is made
once, and the estimate had said how many there would be (`second_day.py` does it, in one process)."""
import json
import os
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from ambiscale_nb.core import ROOT, InputError
from ambiscale_nb.study.config import StudyConfig, read_study, run_name
from ambiscale_nb.study.run import sampling_waves
from test_studies import place
from waiting import PATIENCE

# What a step is, calls that it makes, and what is told. One clip: a greedy answer, two calls for twenty samples; of `mind`
# also four judgements and the scores of the labels. The second corpus shares three of its six clips with the first.
STEPS = {
    'the first day': (4*(7+2), ['scores and figures: computed: not done before']),
    'again': (0, ['28 of 28 calls are stored and reused\n', 'scores and figures: reused']),
    'more samples and clips': (4*2*2+2*(3+3+5), ['n: 4, now 20', 'limit: 4, now 6']),
    'other ratings': (0, ['scores of clinic_a-four: computed again: ratings changed (2 clips)']),
    'another strategy': (0, ['plugins changed (strategy.py)']),
    'a second corpus': (3*(3+3+5), ['answers changed']),
    'imported answers': (0, ['runs changed (guest--clinic_a-four--none)']),
    'rescored': (0, ['scores and figures: computed: as asked']),
    'a model less': (0, ['echo--clinic_a-four--none: not asked for by this file']),
    'back, and warmer': (2*9*2, ['temperature: 0.7, now 1.3']),
    'as before': (0, ['temperature: 1.3, now 0.7']),
    'another sound': (3+3+5, ['audio changed (1 clip)']),
    'a clip less': (0, ['list of clips changed (1 fewer)']),
    'all anew': (9*(3+3+5), ['is in results/s/superseded/', 'scores and figures: computed: as asked'])}
TWICE = {'back, and warmer': 2*2*3}  # calls that are missing in two runs: status counts them for each


@pytest.fixture(scope='module')
def days(tmp_path_factory):
    "The steps as they went, and the project's root."
    root = place(tmp_path_factory.mktemp('days'))
    for o in ('models.py', 'strategy.py'): (root/o).touch()
    env = os.environ | dict(AMBISCALE_ROOT=str(root), AMBISCALE_PLUGINS=os.pathsep.join(['models.py', 'strategy.py']),
                            TQDM_DISABLE='1', OMP_NUM_THREADS='1')
    done = subprocess.run([sys.executable, ROOT/'tests/second_day.py'], env=env, capture_output=True, text=True,
                          timeout=2*PATIENCE, cwd=root, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {o['what']: o for o in json.loads(done.stdout.splitlines()[-1])}, root


@pytest.mark.parametrize('what', STEPS)
def test_a_change_costs_what_it_must_and_gives_the_numbers_of_a_fresh_study(days, what):
    found, (calls, said) = days[0][what], STEPS[what]
    assert found['failed'] == [] and found['differs'] == []
    assert found['made'] == calls and found['estimate'] == (0 if what == 'all anew' else calls)
    assert found['to_ask'] == found['estimate']+TWICE.get(what, 0)
    assert found['twice'] == found['again'] == found['left'] == 0
    for o in said: assert o in found['said']


def test_what_is_stored_and_not_asked_for_is_listed(days):
    "Blocks of four that blocks of sixteen replaced; the answers of a model that the file had no more; warmer ones."
    steps = days[0]
    assert steps['again']['unasked'] == 0 and steps['more samples and clips']['unasked'] == 2
    assert steps['a model less']['unasked'] > steps['rescored']['unasked'] == 2 < steps['as before']['unasked']
    assert steps['all anew']['unasked'] == 0


def test_no_answer_is_lost_when_all_is_asked_anew(days):
    steps, root = days
    aside = [*(root/'results/s/superseded').rglob('shard-*.parquet')]
    calls = pd.concat([pd.read_parquet(o, columns=['group', 'index']) for o in aside])
    assert len(calls.drop_duplicates('group')) == sum(o['made'] for o in steps.values())-steps['all anew']['made']


def test_the_manifest_says_what_the_results_rest_on(days):
    root = days[1]
    told = json.loads((root/'results/s/manifest.json').read_text())
    assert set(told) == {'study', 'runs', 'imported', 'commit', 'versions', 'plugins'}
    assert set(told['plugins']) == {'models.py', 'strategy.py'} and [*told['imported']] == ['guest--clinic_a-four--none']
    one = told['runs']['mind--clinic_b-four--none']
    assert one['corpus']['clips'] == 5 and {'ratings', 'uids', 'facts', 'audio'} <= set(one['corpus'])
    assert one['model']['revision'] == '1' and one['parameters']['seed'] == 0 and one['prompts'][0]['text']
    a = told['runs']['mind--clinic_a-four--none']['corpus']
    assert all(a[o] != one['corpus'][o] for o in ('ratings', 'uids', 'audio'))


def test_two_corpora_keep_their_own_votes(days):
    "The same file names, and half of the same sounds: each is scored on its own list."
    scores = pd.read_parquet(days[1]/'results/s/scores.parquet')
    assert set(scores.corpus) == {'clinic_a-four', 'clinic_b-four'}
    tables = {o: pd.read_parquet(days[1]/f'results/s/utterances/{o}-four.parquet') for o in ('clinic_a', 'clinic_b')}
    for o, table in tables.items():
        votes = pd.read_csv(days[1]/o/'ratings.csv').groupby('file').label.apply(lambda x: (x == 'sad').sum())
        assert table.set_index('uid').votes_sad.to_dict() == votes.to_dict() and set(table.corpus) == {o}


# Names

def read(folder, *runs):
    (folder/'s.yaml').write_text(yaml.safe_dump(dict(name='s', runs=[dict(model='tiny-alm-nano', corpus='own') | o for o in runs])))
    return read_study(folder/'s.yaml')


@pytest.mark.parametrize(('runs', 'match'), [
    ([dict(root='a'), dict(root='b', model='tiny-alm-tiny')], 'own is read from two folders, .*a and .*b: give each of them a `name`'),
    ([dict(name='x', root='a'), dict(name='x', root='b', model='tiny-alm-tiny')], 'x is read from two folders'),
    ([dict(corpus='crema_d', root='a'), dict(corpus='crema_d', root='b', model='tiny-alm-tiny')], 'two folders.*keep one'),
    ([dict(name='crema_d')], 'crema_d is a registered corpus'), ([dict(name='own')], 'own is a registered corpus'),
    ([dict(name='Clinic A')], 'small letters'), ([dict(name='1a')], 'small letters'), ([dict(name='a-b')], 'small letters'),
    ([dict(corpus='toyspeech', name='x')], "for a corpus of one's own"), ([dict(corpus='clinic')], 'Unknown corpus')])
def test_a_wrong_name_is_refused(tmp_path, monkeypatch, runs, match):
    monkeypatch.chdir(tmp_path)
    for o in 'ab': (tmp_path/o).mkdir()
    with pytest.raises(InputError, match=match): read(tmp_path, *runs)


def test_named_corpora_are_told_apart_and_asked_one_after_the_other(tmp_path):
    for o in 'ab': (tmp_path/o).mkdir()
    study = read(tmp_path, *(dict(name=f'clinic_{o}', root=str(tmp_path/o)) for o in 'ab'), dict(corpus='toyspeech'))
    a, b, toy = map(run_name, study.runs)
    assert (a, b) == ('tiny-alm-nano--clinic_a--none', 'tiny-alm-nano--clinic_b--none')
    assert [[o[1].stem for o in wave] for wave in sampling_waves(study)] == [[a, toy], [b]]
    apart = [o.model_copy(update=dict(labels=x)) for o, x in zip(study.runs[:2], ('four', 'six'), strict=True)]
    assert len(sampling_waves(StudyConfig(name='s', runs=apart))) == 1  # other labels are other questions


def test_a_named_corpus_is_listed_and_needs_its_folder(tmp_path, monkeypatch):
    from ambiscale_nb.study.cli import app
    from ambiscale_nb.corpora.registry import load_corpus
    from typer.testing import CliRunner
    monkeypatch.setenv('AMBISCALE_OWN_CLINIC_Z', str(tmp_path))
    listed = {o['corpus']: o['configured'] for o in json.loads(CliRunner().invoke(app, ['corpora', '--json']).output)}
    assert listed['clinic_z'] == str(tmp_path)
    assert 'does not look like your corpus' in CliRunner().invoke(app, ['corpora', 'validate', 'clinic_z']).output
    monkeypatch.delenv('AMBISCALE_OWN_CLINIC_Z')
    with pytest.raises(InputError, match='clinic_z needs its folder: give `root` or set AMBISCALE_OWN_CLINIC_Z'):
        load_corpus('clinic_z')
    monkeypatch.setenv('AMBISCALE_OWN_1', str(tmp_path))
    wrong = CliRunner().invoke(app, ['corpora'])
    assert wrong.exit_code == 2 and 'a letter first' in wrong.output


def test_the_answers_of_an_earlier_version_are_not_asked_for_again(tmp_path):
    "Its runs wrote no record; what a model's revision was is known from what they did write."
    from ambiscale_nb.sampling.estimate import stand_in
    from ambiscale_nb.sampling.inputs import as_it_was
    model = stand_in('tiny-alm-nano')
    assert as_it_was(model, tmp_path) == model
    (tmp_path/'plans').mkdir()
    (tmp_path/'plans/a.json').write_text(json.dumps(dict(model=model.name, revision='r7')))
    assert as_it_was(model, tmp_path).revision == 'r7'
    (tmp_path/'inputs').mkdir()
    for planned, known in ((model.revision, 'r8'), ('other', 'r9')):
        (tmp_path/f'inputs/{known}.json').write_text(json.dumps(dict(model=dict(name=model.name, planned=planned, revision=known))))
    assert as_it_was(model, tmp_path).revision == 'r8'
