"""The acoustic probe as a reference of a study: fitted once on other speakers, its features reused, refused with a reason,
never ranked."""
import json
import re

import numpy as np
import pandas as pd
import pytest

from ambiscale_nb.core import InputError, rng_of
from ambiscale_nb import Study, label_set, soft_labels
from ambiscale_nb.metrics import probe
from ambiscale_nb.metrics.metrics import METRICS
from ambiscale_nb.study import results, truth
from ambiscale_nb.study.report import leaderboard, probe_note
from ambiscale_nb.study.scores import all_references
from ambiscale_nb.study.tables import REFERENCES, columns_of, marks, table_caption

FOUR = label_set('four').labels
CLIPS = 120

def clips_of(speakers=12, **more):
    rng = rng_of('probe', speakers)
    kind = rng.integers(0, 4, CLIPS)
    votes = pd.DataFrame(rng.multinomial(5, .7*np.eye(4)[kind]+.075), columns=[f'votes_{o}' for o in FOUR])
    clips = dict(corpus='mine', uid=[f'c{i}' for i in range(CLIPS)], path=[f'/nowhere/{o}.wav' for o in kind], flags='',
                 speaker=[f's{i%speakers}' for i in range(CLIPS)], ambiguity_source='votes', n_raters=5, out_of_set=0)
    return votes.assign(**clips | more)

@pytest.fixture
def study(tmp_path, monkeypatch):
    "A study of which only what the probe needs is stored; a 'sound' is the emotion in its file name and noise."
    monkeypatch.setattr(results, 'RESULTS', tmp_path)
    monkeypatch.setattr(truth, 'wave_reader', lambda clips, _: dict(zip(clips.uid, clips.path, strict=True)).get)
    monkeypatch.setattr(truth.Path, 'is_file', lambda o: 'nowhere' in str(o))
    made = []
    def features(path):
        made.append(path)
        return np.r_[np.eye(4)[int(re.search(r'(\d)\.wav', path)[1])], rng_of('noise', len(made)).normal(size=3)]
    monkeypatch.setattr(truth, 'acoustic_features', features)
    here = Study('one')
    object.__setattr__(here, 'made', made)
    return here

def store(here, clips, asked=None):
    here.write(clips, 'utterances', 'mine')
    plan = clips.iloc[asked if asked is not None else slice(None)]
    here.write(plan[['uid']].assign(audio_sha='sha '+plan.uid), 'plans', 'm--mine--none')
    run = dict(model='m', corpus='mine', condition='none', label_set='four', has_ratings=False)
    (here.root/'plans/m--mine--none.json').write_text(json.dumps(run))
    return [run | dict(plan='m--mine--none')]

def test_features_and_fits_are_reused(study, monkeypatch):
    runs = store(study, clips := clips_of())
    assert truth.write_probes(study, progress=False)=={} and len(study.made)==CLIPS
    first, fits = study.read('probe', 'mine'), []
    monkeypatch.setattr(truth, 'probe_predictions', lambda *o: fits.append(1) or probe.probe_predictions(*o))
    assert truth.write_probes(study, progress=False)=={} and not fits
    store(study, clips.assign(votes_sad=1+clips.votes_sad.to_numpy()[::-1]))
    assert truth.write_probes(study, progress=False)=={} # Other votes: fitted again, from stored features
    assert len(study.made)==CLIPS and len(fits)==1 and not study.read('probe', 'mine').equals(first)
    sha = study.read('plans', 'm--mine--none')
    study.write(sha.assign(audio_sha=sha.audio_sha.replace('sha c7', 'other')), 'plans', 'm--mine--none')
    truth.write_probes(study, progress=False) # One other recording
    assert len(study.made)==CLIPS+1 and len(fits)==2
    found = truth.truths_of(study, runs)['mine']
    assert all_references(found)['all', 'jsd']['probe']<all_references(found)['all', 'jsd']['prior']

def test_every_metric_has_the_probe_and_only_clips_that_were_asked_about_count(study):
    runs = store(study, clips := clips_of())
    truth.write_probes(study, progress=False)
    whole = all_references(truth.truths_of(study, runs)['mine'])
    assert {m for _, m in whole}=={o.name for o in METRICS.values() if o.scored}
    assert all(np.isfinite(o['probe']) for o in whole.values())
    shares = study.read('probe', 'mine')
    study.write(shares.iloc[:100], 'probe', 'mine')
    some, use = truth.truths_of(study, runs)['mine'], np.arange(CLIPS)<100
    want = METRICS['jsd'].fn(shares[list(FOUR)].to_numpy()[use], soft_labels(clips[[f'votes_{o}' for o in FOUR]].to_numpy())[use])
    assert np.isclose(truth.stratum_references('jsd', some)['probe'], want.mean())
    assert np.isfinite(truth.stratum_references('macro_f1', some, clips=use)['probe'])

def test_no_speaker_is_in_training_and_test(study, monkeypatch):
    "Where speakers meet, no session is: the ten speakers of five dialogues are predicted dialogue by dialogue."
    clips, fit, predicted = clips_of(10), probe.fit_probe, []
    clips['session'] = session = clips.speaker.str[1:].astype(int)//2
    x = np.arange(CLIPS, dtype=float)[:, None]
    monkeypatch.setattr(probe, 'fit_probe', lambda f, *o: (f[:, 0], fit(f, *o)))
    monkeypatch.setattr(probe, 'probe_shares', lambda p, f, K: predicted.append((p[0], f[:, 0])) or np.full((len(f), K), 1/K))
    probe.probe_predictions(x, np.eye(4)[np.arange(CLIPS)%4], truth.fold_groups(clips), clips.speaker)
    assert len(predicted)>5
    for train, test in predicted: assert not {*session[train.astype(int)]} & {*session[test.astype(int)]}

@pytest.mark.parametrize(('more', 'why'), [
    (dict(speakers=4), 'needs 6 speakers, found 4'), (dict(ambiguity_source='acted'), 'nobody voted'),
    (dict(path='/gone/1.wav'), 'no audio of 120 of 120 clips'), (dict(on=False), 'probe: false')])
def test_what_has_no_probe_says_why(study, more, why):
    on = more.pop('on', True)
    runs = store(study, clips_of())
    truth.write_probes(study, progress=False)
    for o in ('acoustic_features', 'probe'): study.table(o, 'mine').unlink()
    store(study, clips_of(**more))
    assert why in truth.write_probes(study, on, progress=False)['mine'] and not study.has('probe', 'mine')
    if 'acted' not in str(more): assert np.isnan(all_references(truth.truths_of(study, runs)['mine'])['all', 'jsd']['probe'])
    lost = pd.DataFrame([dict(strategy=truth.PROBE, corpus='mine', reason=why)])
    assert probe_note(pd.DataFrame(dict(corpus=['mine'])), lost)==f' No acoustic probe: {why}.'

def test_few_clips_are_refused():
    with pytest.raises(InputError, match='needs 100 clips, found 60'): probe.check_speakers(np.arange(60)%6, np.arange(60)%6)
    with pytest.raises(InputError, match='3 groups'): probe.check_speakers(np.arange(120)%6, np.arange(120)%2)

def test_references_are_never_ranked():
    "The probe is a column beside the settings: no row, no rank, no mark, however good it is."
    cell = dict(corpus='mine', condition='none', mode='dist', style='direct', decoding='sample', width=0, wording='0', k=4,
                reading='plain', calibration='', verifier='', stratum='all', metric='jsd', low=.1, high=.3, n=120, noise_floor=.05,
                one_more_rater=.4, prior=.3, uniform=.3, probe=.001, unparsed=0., calls=4, tokens=9.)
    cells = ('a', 'majority', .2), ('a', 'greedy', .3), ('b', 'greedy', .25)
    scores = pd.DataFrame([cell | dict(model=m, strategy=s, value=v) for m, s, v in cells])
    board = leaderboard(scores, 'mine')
    assert board['rank'].tolist()==[1, 2, 3] and board[truth.PROBE].eq(.001).all()
    assert truth.PROBE not in set(board.model)|set(board.strategy) and 'no rank' in probe_note(scores, None)
    assert truth.PROBE not in leaderboard(scores.drop(columns='probe'), 'mine')
    row = dict(model=('a', '', ''), majority=('.2', '', 'best'), probe=('.001', '', ''), prior=('.3', '', ''))
    assert columns_of([row])==['model', 'majority', 'prior', 'probe'] and 'not ranked' in table_caption([row | dict(corpus=('x', '', ''))], 'jsd', 'csv')
    assert set(REFERENCES.values()).isdisjoint(marks(dict(single=np.ones(9), BoN=np.zeros(9)), np.arange(9)))
