"""A label set of one's own, from its file to the scores: votes, prompts, answers, the card and the report use one
definition, which the study keeps."""
import json

import numpy as np
import pandas as pd
import pytest
import yaml
from in_one import execute
from own_corpus import write_corpus
from sklearn.metrics import f1_score
from test_study import SAMPLE, SCORE

from ambiscale_nb.core import InputError, ROOT
from ambiscale_nb.corpora.ambiguity import expand_votes
from ambiscale_nb import load_corpus, parse
from ambiscale_nb.corpora.labels import LABEL_SETS, emotion_of, label_set, label_text, target_of
from ambiscale_nb.metrics.metrics import mean_f1, statistic
from ambiscale_nb.study.truth import one_more_rater, references
from ambiscale_nb.study.config import StudyConfig, read_study, run_name, run_parameters

MOOD = """
labels: [pleasant, unpleasant, neutral]
merges: {pleasant: [happy, excited], unpleasant: [angry, sadness]}
synonyms: {pleasant: lovely, unpleasant: [awful, Unhappy]}
"""
RATINGS = [  # three raters of each clip: in the words of the set, of its emotions, or outside it
    ('lovely', 'Joy', 'pleasant'), ('happy', 'excited', 'calm'), ('awful', 'sad', 'anger'),
    ('unhappy', 'surprised', 'neutral'), ('neutral', 'calm', 'lovely'), ('unpleasant', 'angry', 'happy')]
VOTES = [[0, 3, 0], [1, 2, 0], [0, 0, 3], [1, 0, 1], [2, 1, 0], [0, 1, 2]]  # neutral, pleasant, unpleasant
ANSWERS = ['Lovely.', 'joyful', 'It sounds unpleasant.', 'unhappy', 'excited', 'The speaker is surprised.']
READ = ['pleasant', 'pleasant', 'unpleasant', 'unpleasant', 'pleasant', None]
MODEL = f"""
from ambiscale_nb import Capabilities, ModelInfo, Reply, register_model
ANSWERS = {ANSWERS!r}
class Loud:
    name, revision, n_params = 'loud', '1', 0
    capabilities = Capabilities(logprobs=False, label_scoring=False, beams=False, verify=False)
    def greedy(self, wave, prompt):
        assert prompt.labels==('neutral', 'pleasant', 'unpleasant') and 'neutral, pleasant or unpleasant' in prompt.text
        return Reply(ANSWERS[round(float(abs(wave).max())*10)-1], [], 'stop')
    def sample(self, wave, prompt, n, seed, temperature): return [self.greedy(wave, prompt)]*n
register_model(ModelInfo('loud', Loud, 'local', 0, Loud.capabilities, 'answers by loudness'))
"""

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Six clips of three speakers, their ratings, the label set and the model."
    waves = [np.full(8000, (i+1)/10) for i in range(6)]
    folder = write_corpus(tmp_path_factory.mktemp('mood'), waves, RATINGS, 3, 'FLOAT')
    (folder/'mood.yaml').write_text(MOOD)
    (folder/'loud.py').write_text(MODEL)
    return folder

@pytest.fixture(scope='module')
def study(folder):
    "Sampled, scored and reported with the set; the file is gone before scoring."
    nbs, how = ROOT/'nbs', dict(corpus='own', root=str(folder), labels=str(folder/'mood.yaml'))
    run = dict(how, study='mood', model='loud', modes=['label'], n=2, styles=['direct'], limit=0, verify=False, progress=False)
    with pytest.MonkeyPatch.context() as m:
        m.setenv('AMBISCALE_PLUGINS', str(folder/'loud.py'))
        execute(folder, (SAMPLE, run), (nbs/'figures/corpus_card.ipynb', how))
        (folder/'mood.yaml').rename(folder/'elsewhere.yaml')
        execute(folder, (SCORE, dict(study='mood', ks=[1, 2], progress=False)),
                (nbs/'figures/report.ipynb', dict(study='mood', out='results/mood/report')))
    (folder/'elsewhere.yaml').rename(folder/'mood.yaml')
    return folder/'results/mood'

def test_votes_are_counted_in_its_words(study):
    votes = pd.read_parquet(study/'utterances/own-mood.parquet').sort_values('uid')
    found = votes[['votes_neutral', 'votes_pleasant', 'votes_unpleasant']].to_numpy()
    assert found.tolist() == VOTES and votes.out_of_set.tolist() == [0, 0, 0, 1, 0, 0]

def test_answers_are_read_in_its_words(study):
    said = pd.read_parquet(study/'predictions.parquet').query("strategy=='greedy'").sort_values('uid')
    assert said.pick.astype(object).where(said.pick.notna(), None).tolist() == READ
    scores = pd.read_parquet(study/'scores.parquet').query("strategy=='greedy' and stratum=='all'").set_index('metric')
    names = ('neutral', 'pleasant', 'unpleasant')
    counted = [(names[o.index(max(o))], read or 'none') for o, read in zip(VOTES, READ, strict=True) if o.count(max(o)) == 1]
    truth, read = zip(*counted, strict=True)
    assert scores.value['accuracy'] == pytest.approx(np.mean([a == b for a, b in counted]))
    assert scores.value['macro_f1'] == pytest.approx(f1_score(truth, read, average='macro', labels=names, zero_division=0))
    assert set(scores.label_set) == {'mood'} and np.allclose(scores.unparsed, 1/6)

def test_the_card_and_the_report_use_it(folder, study):
    shares = pd.read_csv(next((folder/'results/cards').glob('corpus_card_own-mood*.csv')))
    assert set(shares.label) == {'neutral', 'pleasant', 'unpleasant', 'out of set'}
    text = ''.join(json.dumps(o) for o in json.loads((study/'label_sets/mood.json').read_text()).values())
    assert 'lovely' in text and label_set((study/'label_sets/mood.json').read_text()) == label_set(str(folder/'mood.yaml'))

def test_a_study_has_it_by_path_or_by_field(folder, monkeypatch):
    def read(labels, **more):
        runs = [dict(model='tiny-alm-nano', corpus='own', root=str(folder), labels=labels), *more.get('runs', ())]
        (folder/'study.yaml').write_text(yaml.safe_dump(dict(name='x', runs=runs)))
        return read_study(folder/'study.yaml')
    fields = yaml.safe_load(MOOD) | dict(name='mood')
    for labels in (str(folder/'mood.yaml'), fields):
        found = read(labels)
        told = run_parameters(found, found.runs[0])['labels']
        assert label_set(told) == label_set(str(folder/'mood.yaml')) and isinstance(told, str)
        assert run_name(found.runs[0]).endswith('--own-mood--none')
        assert StudyConfig.model_validate_json(found.model_dump_json()).runs[0].labels == labels
    for labels, match in ((fields | dict(labels=['a', False]), "line 1?.*labels: A label is False, which is not text"),
                          (str(folder/'gone.yaml'), 'No label set at'), ('sevn', "Unknown label set 'sevn'"),
                          (fields | dict(merges=dict(pleasant=['hapy'])), "Did you mean 'happy'"),
                          (dict(fields, name='six'), 'There is a label set .six. already')):
        with pytest.raises(InputError, match=match): read(labels)
    other = dict(model='tiny-alm-nano', corpus='own', root=str(folder), labels=fields | dict(synonyms={}), condition='swap')
    with pytest.raises(InputError, match="runs.1..labels: Two label sets of this study are called 'mood'"):
        read(fields, runs=[other])

def test_a_changed_definition_is_a_changed_run(folder, tmp_path):
    def told(text):
        (tmp_path/'mood.yaml').write_text(text)
        study = StudyConfig(name='x', runs=[dict(model='tiny-alm-nano', labels=str(tmp_path/'mood.yaml'))])
        return run_parameters(study, study.runs[0])
    assert told(MOOD) == told('# a comment\n'+MOOD) != told(MOOD.replace('awful', 'terrible'))

@pytest.mark.parametrize(('text', 'match'), [
    ('labels: [a]', 'needs two labels'), ('labels: a', 'needs two labels'), ('[a, b]', 'A label set has `labels'),
    ('labels: [a, A]', 'Labels must differ'), ('labels: [a, "b, c"]', 'use letters'), ('labels: [a, ""]', 'use letters'),
    ('labels: [a, "{b}"]', 'use letters'), ('labels: [a, b]\nlabels: [c, d]', "'labels' twice"), ('labels: [a, b', 'mine.yaml'),
    ('labels: [a, b]\nmerges: {c: [happy]}', "Unknown label under merges 'c'"),
    ('labels: [a, b]\nmerges: {happy: a}', "Unknown label under merges 'happy'"),
    ('labels: [a, b]\nmerges: [happy]', 'merges needs the words of each label'),
    ('labels: [a, b]\nmerges: {a: happy, b: joy}', "'happy' is for 'b' and for 'a'"),
    ('labels: [a, b]\nsynonyms: {a: b}', "'b' is for 'a' and for 'b'"),
    ('labels: [a, none]', 'means no label'), ('labels: [a, b]\nsynonym: {a: c}', "Did you mean 'synonyms'"), ('', 'A label set has `labels')])
def test_what_cannot_be_is_refused(tmp_path, text, match):
    (tmp_path/'mine.yaml').write_text(text)
    with pytest.raises(InputError, match=match): label_set(str(tmp_path/'mine.yaml'))

def own(*labels, **more): return label_set(dict(name='own', labels=[*labels], **more))

def test_every_value_of_a_file_is_text(tmp_path):
    (tmp_path/'mine.yaml').write_text('labels: [no, yes, one   10, true, traurig sehr]\nsynonyms: {no: off, yes: [on, 2024-01-01]}')
    found = label_set(str(tmp_path/'mine.yaml'))
    assert found.labels == ('no', 'one 10', 'traurig sehr', 'true', 'yes') and dict(found.merged)['off'] == 'no'
    assert dict(found.merged)['2024-01-01'] == 'yes'

NOUNS, BOTH = own('anger', 'joy', 'sadness', 'neutral'), own('happy', 'joy')
TAKEN, REST = own('gloomy', 'sad', synonyms={'gloomy': ['unhappy', 'tired']}), own('happy', 'other')

@pytest.mark.parametrize(('chosen', 'emotions', 'targets'), [
    (NOUNS, ('angry', 'happy', 'sad', 'neutral', 'fearful'), ['anger', 'joy', 'sadness', 'neutral', None]),
    (BOTH, ('happy', 'joy'), ['happy', 'joy']),  # happy is a label: joy means itself alone
    (REST, ('happy', 'sad', 'excited'), ['happy', 'other', 'other'])], ids=['its noun', 'itself', 'the rest'])
def test_a_label_stands_for_the_emotion_that_it_names(chosen, emotions, targets):
    assert [target_of(o, chosen) for o in emotions] == targets

@pytest.mark.parametrize(('chosen', 'text', 'label'), [
    *((NOUNS, *o) for o in (('Angry', 'anger'), ('anger', 'anger'), ('wütend', 'anger'), ('happiness', 'joy'), ('sad', 'sadness'))),
    *((TAKEN, *o) for o in (('unhappy', 'gloomy'), ('sorrow', 'sad'), ('I think tired.', 'gloomy')))])
def test_answers_name_labels_by_their_words(chosen, text, label):
    assert parse(text, 'label', 'direct', chosen.labels, chosen.merged).label == (label,)
    if chosen is TAKEN: assert target_of(emotion_of(text.removeprefix('I think ').strip('.'), chosen), chosen) == label

def test_registered_sets_are_text_as_they_are():
    for name in (*LABEL_SETS, 'four+other'): assert label_text(name) == label_text(label_set(name)) == name
    assert load_corpus('toyspeech', n=3, labels=label_set('six'))[0].equals(load_corpus('toyspeech', n=3, labels='six')[0])

def test_references_of_macro_f1_are_those_of_their_predictors():
    rng = np.random.default_rng(0)
    votes = rng.multinomial(5, [.4, .3, .2, .1], 60)
    refs, pairs = references(votes, np.arange(60)%6)['macro_f1'], one_more_rater(expand_votes(votes))
    uniform = np.full((60, 4), .25)
    assert mean_f1(refs['uniform'].sum(0)) == pytest.approx(statistic('macro_f1', uniform, votes)())
    hits = np.zeros((3, 4))  # one more rater, by hand: each rater against the plurality of the others
    for row in votes:
        for k in np.flatnonzero(row):
            rest = row-np.eye(4, dtype=int)[k]
            if (rest == rest.max()).sum() > 1: continue
            t, w = rest.argmax(), row[k]/5
            hits[:, t] += (w*(t == k), w, 0)
            hits[2, k] += w
    f1 = np.mean([2*h/(t+s) for h, t, s in hits.T if t > 0])
    counts = pairs.weight.to_numpy() @ pairs.filter(like='macro_f1:').to_numpy()
    assert mean_f1(counts) == pytest.approx(f1)
    assert f1 < mean_f1(refs['noise_floor'].sum(0)) < 1
