"""Models are compared on the clips that all of them could hear; long and broken clips are counted with their strata; a limit
counts the clips that can be heard; a long clip may be cropped, and answers say so."""
import json
import os

import numpy as np
import pandas as pd
import pytest
import soundfile
from in_one import execute
from own_corpus import write_corpus
from test_study import SAMPLE, SCORE

from ambiscale_nb.study import results
from ambiscale_nb.corpora.audio import RATE, AudioError, load_wave, probe, probe_some, wave_sha
from ambiscale_nb.core import rng_of
from ambiscale_nb.corpora.registry import limit
from ambiscale_nb.sampling.files import CANDIDATES
from ambiscale_nb.study.results import Study, lost_clips, lost_text, plain_scores
from ambiscale_nb.study.scoring import common_clips, score_study
from ambiscale_nb.study.config import StudyConfig, check_long, run_parameters

HEARD = ('angry', 'happy', 'sad', 'neutral')
LONG, BROKEN, CLIPS = (2, 7), (4, 9, 11), 16 # Of sixteen clips; the long ones are sad
MODELS = """
import numpy as np
from ambiscale_nb.models.contract import Capabilities, ModelInfo, Reply, register_model
for who, seconds in (('patient', 30.), ('hasty', 3.)):
    class Model:
        name, revision, n_params = who, '1', 0
        capabilities = Capabilities(logprobs=False, label_scoring=False, beams=False, verify=False, max_seconds=seconds)
        def greedy(self, wave, prompt): return Reply(['angry', 'happy', 'sad', 'neutral'][len(wave)//500%4], [], 'stop')
        def sample(self, wave, prompt, n, seed, temperature): return [self.greedy(wave, prompt)]*n
    register_model(ModelInfo(who, Model, 'local', 0, Model.capabilities, 'a test'))
"""

def noise(seconds, seed): return rng_of('clip', seed).uniform(-.3, .3, int(seconds*RATE))

def corpus(folder):
    "Sixteen clips of four speakers, three raters each; on every other one they are divided."
    said = [['sad' if i in LONG else HEARD[i%4]]*3 for i in range(CLIPS)]
    for o in said[1::2]: o[-1] = 'happy' if o[0]!='happy' else 'angry'
    write_corpus(folder, [noise(5 if i in LONG else 1+i/32, i) for i in range(CLIPS)], said, 4)
    for path in (folder/f'c{i:02d}.wav' for i in BROKEN): path.write_bytes(path.read_bytes()[:4000])
    return folder

def run(study, model, root, **more):
    return SAMPLE, dict(study=study, model=model, corpus='own', root=str(root), labels='four', modes=['label'],
                        styles=['direct'], n=2, widths=[], score=False, verify=False) | more

@pytest.fixture(scope='module')
def root(tmp_path_factory):
    "Studies by notebooks: the window of the study, without it, everything, and cropped."
    root = tmp_path_factory.mktemp('clips')
    (root/'mine.py').write_text(MODELS)
    clips = corpus(root/'audio')
    how = dict(window=[dict(limit=8, window=3.), dict(limit=8, window=0.)], apart=[dict(limit=8)]*2, every=[dict(limit=0)]*2,
               crop=[dict(limit=0), dict(limit=0, max_seconds='crop')])
    with pytest.MonkeyPatch.context() as m:
        m.setenv('AMBISCALE_PLUGINS', str(root/'mine.py'))
        steps = [run(name, model, clips, **more) for name, both in how.items()
                 for model, more in zip(('patient', 'hasty'), both, strict=True)]
        execute(root, *steps, *((SCORE, dict(study=o, ks=[1, 2])) for o in how))
    return root

@pytest.fixture
def study(root, monkeypatch):
    monkeypatch.setattr(results, 'RESULTS', root/'results')
    return Study

def asked(here, model): return {*here.read('plans', f'{model}--own-four--none').uid}

def scored(here):
    "Clips behind the scores, and what the predictions are about, by model."
    df = plain_scores(here.read('scores')).query("stratum=='all' and metric=='jsd' and strategy=='majority'")
    said = here.read('predictions').query("strategy=='majority'").groupby('model').uid.agg(set)
    return df.groupby('model').n.max().to_dict(), said

NAMES, GONE, BAD = ({f'c{i:02d}' for i in o} for o in (range(CLIPS), LONG, BROKEN))

def stems(uids): return {os.path.basename(o).partition('.')[0] for o in uids}

def test_a_limit_counts_clips_that_can_be_heard_and_scores_are_of_those_that_all_heard(study):
    "Eight are asked for, three of sixteen files are broken and two are too long for one model: eight are there."
    here, other = study('window'), study('apart')
    for model in ('patient', 'hasty'): assert len(asked(here, model))==len(asked(other, model))==8
    assert stems(asked(here, 'patient')) & (GONE | BAD)==set() and asked(here, 'patient')==asked(here, 'hasty')
    n, said = scored(here)
    assert n==dict(patient=8, hasty=8) and said['patient']==said['hasty']
    both, (n, said) = asked(other, 'patient') & asked(other, 'hasty'), scored(other)
    assert 0<len(both)<8 and set(n.values())=={len(both)} and said['patient']==said['hasty']==both
    assert 'are not compared: other models could not hear them' in lost_text(other)

def test_common_false_scores_what_each_heard(study):
    here, whole = study('every'), CLIPS-len(BROKEN)
    n, said = scored(here)
    assert set(n.values())=={whole-len(LONG)} and stems(said['patient'])==NAMES-GONE-BAD
    score_study(here, (1, 2), progress=False, common=False)
    assert scored(here)[0]==dict(patient=whole, hasty=whole-len(LONG)) and here.read('settings').uncommon.eq(0).all()
    score_study(here, (1, 2), progress=False)
    assert scored(here)[0]==n and here.read('settings').groupby('model').uncommon.max().to_dict()==dict(hasty=0, patient=2)

def test_what_is_left_out_is_counted_with_its_strata(study):
    "Both long clips are sad: c02 is clear, c07 is not."
    lost = lost_clips(study('every')).set_index(['run', 'reason'])
    assert lost.loc[('hasty--own-four--none', 'too long')].to_dict()==dict(clips=2, clear=1, ambiguous=1, labels='sad 2')
    for model in ('hasty', 'patient'):
        broken = lost.loc[(f'{model}--own-four--none', 'truncated')]
        assert (broken.clips, broken.clear, broken.ambiguous)==(3, 1, 2)
    assert ('patient--own-four--none', 'too long') not in lost.index
    assert 'hasty--own-four--none: 2 clips, too long (1 clear, 1 ambiguous; sad 2)' in lost_text(study('every'))

def test_a_cropped_clip_says_so(study):
    here = study('crop')
    rows = here.store.read(CANDIDATES)
    mine = rows[rows.model.eq('hasty')]
    assert stems(asked(here, 'hasty'))==NAMES-BAD and rows[rows.model.eq('patient')].cropped_from.isna().all()
    assert set(stems(mine.uid[mine.cropped_from.notna()]))==GONE and mine.cropped_from.dropna().eq(5).all()
    assert scored(here)[0]==dict.fromkeys(('patient', 'hasty'), CLIPS-len(BROKEN))
    assert here.read('plans', 'hasty--own-four--none').seconds.max()==3
    row = lost_clips(here).query("run.str.startswith('hasty') and reason.str.startswith('cropped')")
    assert row[['clips', 'clear', 'ambiguous', 'labels']].to_numpy().tolist()==[[2, 1, 1, 'sad 2']]
    record = json.loads((here.root/'plans/hasty--own-four--none.json').read_text())
    assert record['cropped']==2 and record['max_seconds']=='crop' and record['limit']==0

# --- the parts ---------------------------------------------------------------------------------------------------------
def test_a_crop_is_the_beginning(tmp_path):
    soundfile.write(tmp_path/'long.wav', noise(4, 0), RATE)
    with pytest.raises(AudioError, match='4.00 s is over the model') as e: load_wave(tmp_path/'long.wav', 3.)
    assert e.value.verdict=='too long'
    part = load_wave(tmp_path/'long.wav', 3., crop=True)
    assert np.array_equal(part, load_wave(tmp_path/'long.wav', 30., 0, 3)) and len(part)==3*RATE
    kept, lost = probe(pd.DataFrame(dict(uid=['a'], path=[str(tmp_path/'long.wav')])), 3., False, True)
    assert kept.audio_sha[0]==wave_sha(part) and kept.cropped_from[0]==4 and kept.duration[0]==3 and lost.empty

@pytest.mark.parametrize('n', range(1, 15))
def test_enough_clips_are_found_whatever_is_broken(tmp_path, n):
    "As many as are wanted, by the order of `limit` over those that can be heard; a larger number keeps them."
    rng = rng_of('broken', n)
    bad = set(rng.choice(12, rng.integers(0, 6), replace=False).tolist())
    for i in range(12): soundfile.write(tmp_path/f'{i}.wav', noise(.2, i), RATE)
    for i in bad: (tmp_path/f'{i}.wav').write_bytes(b'RIFF')
    clips = pd.DataFrame([dict(uid=f'u{i}', path=str(tmp_path/f'{i}.wav'), speaker=f's{i%3}') for i in range(12)])
    whole = clips[[i not in bad for i in range(12)]]
    kept, lost = probe_some(clips, n, 30., False)
    assert kept.uid.tolist()==limit(whole, n).uid.tolist() and set(lost.uid)<={f'u{i}' for i in bad}
    assert set(kept.uid)<=set(probe_some(clips, n+1, 30., False)[0].uid)
    assert set(lost.columns)=={'uid', 'path', 'reason', 'kind'} and kept.audio_sha.notna().all()
    everything, lost = probe_some(clips, 0, 30., False)
    assert set(everything.uid)==set(whole.uid) and len(lost)==len(bad)

@pytest.mark.parametrize('seed', range(12))
def test_common_clips_by_brute_force(tmp_path, monkeypatch, seed):
    "A clip counts if no run of its corpus lost it, and if each run that was asked for as many has it."
    monkeypatch.setattr(results, 'RESULTS', tmp_path)
    rng, here, runs = rng_of('common', seed), Study('one'), []
    for i in range(4):
        uids = [f'u{j}' for j in range(12) if rng.random()<.8]
        lost = [o for o in (f'u{j}' for j in range(12)) if o not in uids and rng.random()<.5]
        here.write(pd.DataFrame(dict(uid=np.repeat(uids, 2))), 'plans', f'r{i}')
        here.write(pd.DataFrame(dict(uid=[*lost, 'x'], reason='r', kind=['too long']*len(lost)+[''])), 'left_out', f'r{i}')
        runs.append(dict(plan=f'r{i}', corpus='ab'[i==3 and seed%2], limit=int(rng.integers(0, 3))*8, uids=uids, lost=lost))
    found = common_clips(here, [*runs, dict(plan='gone', corpus='a', limit=0)])  # refused elsewhere
    for r in runs:
        same = [o for o in runs if o['corpus']==r['corpus']]
        size = lambda o: o['limit'] or 99  # noqa: E731
        want = {u for u in r['uids'] if all(u not in o['lost'] and (u in o['uids'] or size(o)<size(r)) for o in same)}
        keep, gone = found.get(r['plan'], (set(r['uids']), 0))
        assert keep==want and gone==len(r['uids'])-len(want)

def test_the_window_of_a_study_is_that_of_its_model_that_hears_least():
    def study(**more): return StudyConfig(name='s', **more, runs=[
        dict(model='tiny-alm-nano'), dict(model='qwen2-audio'), dict(model='qwen2-audio', alias='q', max_seconds='crop')])
    windows = [run_parameters(study(), o)['window'] for o in study().runs]
    assert windows==[0, 3, 3] and all(run_parameters(study(common=False), o)['window']==0 for o in study().runs)
    assert [run_parameters(study(), o)['max_seconds'] for o in study().runs]==['drop', 'drop', 'crop']
    with pytest.raises(ValueError, match='write drop'): study(max_seconds='cut')
    assert check_long('crop')=='crop'
