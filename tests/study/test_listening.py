"""A model that reads only words, and one that listens, from their answers to figure 4, the report and the notes of
claims; and what nobody can read."""
import html
import json
import re

import numpy as np
import pandas as pd
import pytest
from test_figures import drawn

from ambiscale_nb.core import InputError, rng_of
from ambiscale_nb import Capabilities, Reply, label_set, load_model, prompt
from ambiscale_nb.corpora.registry import load_corpus, votes_of
from ambiscale_nb.corpora.ambiguity import top_labels
from ambiscale_nb.sampling.files import Store
from ambiscale_nb.sampling.store import CONDITIONS, Draw, plan_pool, played, sample_pool
from ambiscale_nb.study import results, scoring
from ambiscale_nb.study.claims import with_notes
from ambiscale_nb.study.listening import listening, verdict_of, words_notes
from ambiscale_nb.study.plans import read_clips
from ambiscale_nb.study.config import RunConfig
from ambiscale_nb.study.report import listening_page
from ambiscale_nb.study.truth import best_constant

FOUR = label_set('four').labels
ASK = prompt('label', 'direct', FOUR)
N = 720
TRUTH = rng_of('what people hear').integers(0, 4, N)
SAID = np.where(rng_of('what is said').random(N)<.75, TRUTH, rng_of('other words').integers(0, 4, N))

def clips():
    "Clips of twelve speakers with five votes each; the words name an emotion, mostly the one that people hear."
    votes = 4*np.eye(4)[TRUTH]+np.eye(4)[rng_of('the fifth rater').integers(0, 4, N)]
    df = pd.DataFrame(dict(corpus='demo', uid=[f'u{i}' for i in range(N)], path='', speaker=[f's{i%12}' for i in range(N)],
                           audio_sha=[f'sha{i}' for i in range(N)], n_raters=5, out_of_set=0., flags='', duration=1.,
                           ambiguity_source='votes', transcript=[f'{i%97}: how {FOUR[o]} I am' for i, o in enumerate(SAID)]))
    return df.assign(**{f'votes_{o}': votes[:, i] for i, o in enumerate(FOUR)})

def wave_of(uid): return np.full(1600, (1+int(uid[1:]))/1000, np.float32)

class Ears:
    "`reader` knows the words, of sound too, as one that transcribes; `listener` hears the emotion and cannot read."
    revision, capabilities = 'r1', Capabilities(beams=False, label_scoring=False, verify=False, text=True)
    def __init__(self, name): self.name = name
    def greedy(self, wave, prompt):
        clip = None if isinstance(wave, str) or abs(wave).max()<1e-3 else round(float(wave[0])*1000)-1
        guess = rng_of('guess', wave if isinstance(wave, str) else clip).integers(4)
        if self.name=='reader':
            words = wave if isinstance(wave, str) else '' if clip is None else FOUR[SAID[clip]]
            label = next((o for o in FOUR if o in words), FOUR[guess])
        else: label = FOUR[guess if clip is None or clip%4==0 else TRUTH[clip]]
        return Reply(label, [1], 'stop', None, dict(prompt_tokens=5, output_tokens=1))

@pytest.fixture(scope='module')
def study(tmp_path_factory):
    "Both models, asked under every condition, and scored."
    with pytest.MonkeyPatch.context() as m:
        m.setattr(results, 'RESULTS', tmp_path_factory.mktemp('listening'))
        here, items = results.Study('ears'), clips()
        here.write(items.drop(columns='audio_sha'), 'utterances', 'demo')
        for name in ('reader', 'listener'):
            for condition in CONDITIONS:
                draw, stem = Draw(None, condition=condition), f'{name}--demo--{condition}'
                assert not sample_pool(Ears(name), items, wave_of, [ASK], draw, Store(here.root), progress=False).rest
                here.write(plan_pool(Ears(name), items, [ASK], draw), 'plans', stem)
                run = dict(model=name, revision='r1', n_params=None, corpus='demo', condition=condition, limit=0, seed=0,
                           label_set='four', convention='rater', has_ratings=False, verified=False, n=0, clips=N)
                (here.root/f'plans/{stem}.json').write_text(json.dumps(run))
        scoring.score_study(here, (1,), progress=False)
        yield here

def test_figure_and_report_say_who_reads_and_who_listens(study):
    _, space = drawn('fig4_audio', 'ears', study.root/'figures')
    rows = pd.read_csv(study.root/'figures/fig4_audio.csv')
    assert rows.groupby('model').verdict.unique().map(list).to_dict()==dict(listener=['listens'], reader=['reads'])
    assert {*rows.condition}=={*CONDITIONS, 'prior'} and {*rows.stratum}=={'all', 'clear', 'ambiguous'}
    assert len(rows)==2*5*3 and not rows.duplicated(['model', 'condition', 'stratum']).any()
    said = [o.get_text() for o in space['fig'].axes[0].get_yticklabels()]
    assert [o.split('\n')[-1] for o in said]==['listens', 'reads']
    page = html.unescape(re.sub(r'<[^>]+>', ' ', listening_page(study, study.read('scores'))))
    assert '1 of 2 are not shown to listen' in page
    assert 'reader on demo (label, direct): reads; words alone: 100 [–] % of its gain over the class prior' in page
    assert re.search(r'listener on demo \(label, direct\): listens; words alone: -?\d \[', page)

def test_the_differences_are_those_of_the_clips(study):
    found = listening(study).set_index(['model', 'stratum', 'condition'])
    own, words = (np.array([FOUR.index(Ears('listener').greedy(f(u), ASK).text)==t for u, t in zip(clips().uid, TRUTH, strict=True)])
                  for f in (wave_of, played(clips(), 'transcript', wave_of)))
    row = found.loc['listener', 'all', 'transcript']
    assert np.isclose([row.own, row.other, row.gap], [own.mean(), words.mean(), own.mean()-words.mean()]).all()
    assert row.gap_low<row.gap<row.gap_high and row.pairs==N
    prior = found.loc['listener', 'all', 'prior']
    assert np.isclose([row.beyond, row.share], [row.other-prior.other, (row.other-prior.other)/prior.gap]).all()
    reader = found.loc['reader', 'all']
    assert reader.loc['transcript', ['gap', 'gap_low', 'gap_high']].eq(0).all()
    # it needs the right sound, to transcribe: another speaker's audio alone would have called it a listener
    assert verdict_of(reader.reset_index().query("condition!='transcript'"))=='listens'

def test_claims_note_what_the_words_alone_give(study):
    claims = pd.DataFrame([dict(claim=c, mode=m, note=n) for c, m, n in
                           (('1a', 'label', ''), ('1b', 'label', 'first'), ('1b', 'dist', ''))])
    noted = with_notes(claims, study).note
    assert noted[0]==noted[2]=='' and noted[1]=='first; '+'; '.join(words_notes(listening(study)).says)

def test_words_without_meaning_are_at_the_class_prior():
    "toyspeech has six sentences of syllables; an embedded model that is given them answers no better than without."
    clips, _ = load_corpus('toyspeech')
    labels, alm = label_set('six').labels, load_model('tiny-alm-nano')
    ask, given = prompt('label', 'direct', labels), played(clips, 'transcript', None)
    said = {o.transcript: alm.greedy(given(o.uid), ask).text for o in clips.drop_duplicates('transcript').itertuples()}
    assert len(said)==6 and {*said.values()}<={*labels}
    top = top_labels(votes_of(clips, labels))
    use = top.sum(1)==1
    hits = np.array([t[labels.index(said[o])] for t, o in zip(top, clips.transcript, strict=True)])[use]
    prior = (best_constant(votes_of(clips, labels), clips.speaker.to_numpy())*top).sum(1)[use]
    assert abs(hits.mean()-prior.mean())<.05

def test_a_corpus_without_transcripts_is_refused_when_it_is_planned(monkeypatch):
    from ambiscale_nb.study import plans
    from ambiscale_nb.study.config import StudyConfig
    run = RunConfig(model='tiny-alm-nano', condition='transcript', modes=['label'], n=0, verify=False)
    clips, ratings, chosen, kept = read_clips(run, {})
    monkeypatch.setattr(plans, 'read_clips', lambda *o: (clips, ratings, chosen, kept.drop(columns='transcript')))
    with pytest.raises(InputError, match='toyspeech has no transcripts'):
        plans.plan_run(StudyConfig(name='x', runs=[run]), run)
