"What a score is compared with: in every stratum, on simulated panels and on the genuine votes of CREMA-D."
import os
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ambiscale_nb.corpora.ambiguity import Judgements, expand_votes, strata
from ambiscale_nb import label_set, load_corpus, pool_of
from ambiscale_nb.metrics.metrics import METRICS, brier, hits, jsd, rater_noise, statistic
from ambiscale_nb.study.scores import all_references, score_pool
from ambiscale_nb.study.truth import (Truth, best_constant, fold_groups, interval, one_more_rater, references,
                                      stratum_references, truth_of)
from ambiscale_nb.metrics.statistics import cluster_ci, proportion_ci

SIX = label_set('six')
LABEL_METRICS = [o for o, m in METRICS.items() if m.scored and m.kind=='label']

def truth_from(votes, who, groups=None):
    said = expand_votes(votes)
    return Truth(np.arange(len(votes)).astype(str).astype(object), votes.astype(float), who, SIX.labels[:votes.shape[1]],
                 references(votes, who if groups is None else groups, said), rater_noise(said),
                 raters=one_more_rater(said), groups=groups)

def in_order(truth, clips=''):
    "One more rater is below the perfect predictor in every stratum and metric where both are known."
    seen = 0
    for (level, metric), o in all_references(truth).items():
        if not np.isfinite(o['one_more_rater']): continue
        gap = o['one_more_rater']-o['noise_floor']
        assert (-gap if METRICS[metric].higher else gap)>0, (clips, level, metric, o)
        seen += 1
    return seen

def test_references_of_crema_d_are_in_order():
    root = os.environ.get('AMBISCALE_CREMA_D')
    if not root:
        warnings.warn('References of CREMA-D NOT checked: set AMBISCALE_CREMA_D to its folder', stacklevel=1)
        pytest.skip('AMBISCALE_CREMA_D is not set')
    utterances, ratings = load_corpus('crema_d', root)
    there = utterances.path.map(os.path.exists).to_numpy()
    for name, part in (('all', utterances), ('with audio', utterances[there])):
        part = part[part.filter(like='votes_').sum(axis=1)>0]
        if len(part)<100: continue
        truth = truth_of(part, ratings, SIX)
        assert in_order(truth, name)==18  # six metrics, three strata
        found = all_references(truth)
        print(name, pd.DataFrame(found).T.round(3), sep='\n')
        assert all(o['prior']>=o['uniform']-1e-12 for (_, m), o in found.items() if m in LABEL_METRICS)

@pytest.mark.parametrize('raters', [3, 4, 6, 10])
def test_references_of_simulated_panels_are_in_order(raters):
    rng = np.random.default_rng(raters)
    votes = rng.multinomial(raters, rng.dirichlet([.4, .3, .2, .3], 1500))
    truth = truth_from(votes, np.arange(1500)%20)
    assert in_order(truth)>=13           # with three raters no stratum of two is ambiguous and untied
    debiased = stratum_references('brier_debiased', truth)['noise_floor']
    assert abs(debiased)<.005            # a perfect predictor, up to the fit of the prior

def test_one_more_rater_by_hand():
    votes = np.array([[2, 1, 0], [3, 0, 0], [1, 1, 1]])
    truth = truth_from(votes, np.arange(3))
    # others of the first clip: (1, 1), (1, 1) and (2, 0); of the second: three times (2, 0); of the third: ties of two
    clear = stratum_references('accuracy', truth, 'clear')['one_more_rater']
    assert np.isclose(clear, (0*1/3+3*1/3)/(4/3))
    assert np.isnan(stratum_references('accuracy', truth, 'ambiguous')['one_more_rater'])
    assert np.isclose(stratum_references('jsd', truth, 'clear')['one_more_rater'], (1/3*1+3*1/3*0)/(4/3))
    pairs = one_more_rater(expand_votes(np.array([[3, 1, 0]])))
    y, v = np.array([2, 1, 0])/3, np.eye(3)
    noise = (1-(y**2).sum())/2
    assert np.allclose(pairs.brier_debiased[:3], ((v[0]-y)**2).sum()-noise)
    assert np.isclose(pairs.brier_debiased[3], ((v[1]-v[0])**2).sum())

def test_references_follow_the_clips_of_a_pool():
    rng = np.random.default_rng(5)
    votes = rng.multinomial(6, rng.dirichlet([.4, .3, .2], 200))
    truth = truth_from(votes, np.arange(200)%10)
    order = rng.permutation(200)[:120]
    some, pairs = truth.rows(truth.uids[order]), truth.raters[truth.raters.owner.isin(order)]
    for level in ('all', 'clear', 'ambiguous'):
        here, found = pairs[(pairs.level==level) | (level=='all')], stratum_references('jsd', some, level)
        assert np.isclose(found['one_more_rater'], (here.jsd*here.weight).sum()/here.weight.sum())
        kept = stratum_references('jsd', truth, level, np.isin(np.arange(200), order))
        assert kept==pytest.approx(found, nan_ok=True) # Without a probe

@pytest.mark.parametrize('balanced', [True, False])
def test_the_best_constant_answer_is_never_below_a_uniform_guess(balanced):
    "In a balanced corpus, leaving a speaker out turns the most frequent label against that speaker."
    rng = np.random.default_rng(1)
    heard = np.tile(np.arange(4), 30) if balanced else rng.choice(4, 120, p=[.28, .24, .24, .24])
    votes, who = 5*np.eye(4)[heard], rng.integers(0, 8, 120)
    truth = truth_from(votes.astype(int), who)
    for metric in LABEL_METRICS:
        o = stratum_references(metric, truth)
        assert o['prior']>=o['uniform']
        assert metric=='macro_f1' or o['uniform']==pytest.approx(.25)
    own = best_constant(votes, who)
    for s in range(8):
        n = np.bincount(heard[who!=s], minlength=4)
        assert np.allclose(own[who==s], (n==n.max())/(n==n.max()).sum())

def test_nothing_is_learnt_from_the_other_speaker_of_a_dialogue():
    "The prior of a clip does not change when the votes of its own session do."
    rng = np.random.default_rng(2)
    votes, who = rng.multinomial(5, [.5, .3, .2], 120), np.arange(120)%10
    groups = np.array([f'session {o//2}' for o in who])
    other = votes.copy()
    other[groups=='session 0'] = [0, 0, 5]
    mine, one = who==0, references(votes, groups)['jsd']['prior']
    assert not np.allclose(references(votes, who)['jsd']['prior'], one)
    two = references(np.where(mine[:, None], votes, other), groups)['jsd']['prior']
    assert np.allclose(one[mine], two[mine]) and np.isfinite(references(other, groups)['jsd']['prior']).all()
    constant = pd.DataFrame(dict(speaker=list('abcdab'), session=['one']*6))
    for session in (['one']*6, [None]*6): assert fold_groups(constant.assign(session=session)).tolist()==list('abcdab')

def test_debiased_brier_of_a_study_counts_raters_alike():
    rng = np.random.default_rng(3)
    U, K = 300, 3
    who, label = np.repeat(np.arange(U), 4), rng.integers(0, K, U*4)
    said = np.eye(K)[label]*np.where(rng.random(U*4)<.4, .5, 1)[:, None]
    js = Judgements(said, who, U)
    votes = js.sums(said)
    truth = Truth(np.arange(U).astype(str).astype(object), votes, np.arange(U)%12, SIX.labels[:K],
                  references(votes, np.arange(U)%12, js), rater_noise(js), even=js.equal_votes, raters=one_more_rater(js))
    answers = [[SIX.labels[i] for i in rng.integers(0, K, 4)] for _ in range(U)]
    pool = pool_of(answers, SIX.labels[:K], uids=truth.uids)
    scores = score_pool(pool, truth, (2, 4))[0]
    y = js.equal_votes/js.equal_votes.sum(1, keepdims=True)
    got = scores.query("strategy=='majority' and k==4 and stratum=='all'").set_index('metric').value
    want = (brier(pool.dist.mean(1), y)-rater_noise(js)).mean()
    assert np.isclose(got['brier_debiased'], want, atol=1e-12)
    assert np.isclose(got['jsd'], jsd(pool.dist.mean(1), votes/votes.sum(1, keepdims=True)).mean())

def test_an_accuracy_of_one_has_an_interval_and_few_speakers_have_none():
    rng = np.random.default_rng(4)
    votes = np.eye(3)[rng.integers(0, 3, 60)]*5
    for speakers, known in ((12, True), (5, False)):
        truth = truth_from(votes.astype(int), np.arange(60)%speakers)
        for right, ends in ((votes/5, 'high'), (np.roll(votes, 1, 1)/5, 'low')):
            for metric in LABEL_METRICS:
                e = interval(metric, SimpleNamespace(L=right, metrics={}), truth, strata(votes)!='')
                assert e.value==pytest.approx(float(ends=='high')) and e.n==60 and e.clusters==speakers
                assert (e.method=='Wilson')==known and bool(e.reason)!=known
                if known: assert getattr(e, ends)==e.value and .01<e.high-e.low<.3
                else: assert np.isnan([e.low, e.high]).all() and '5 speakers' in e.reason
    part = rng.random(60)<.9  # some wrong answers
    L, truth = np.where(part[:, None], votes/5, np.roll(votes, 1, 1)/5), truth_from(votes.astype(int), np.arange(60)%12)
    e, f1 = (interval(o, SimpleNamespace(L=L, metrics={}), truth, part | True) for o in ('accuracy', 'macro_f1'))
    want = proportion_ci(cluster_ci(statistic('accuracy', L, votes), truth.who), part, np.ones(60), truth.who)
    assert e.value==np.nanmean(hits(L, votes)) and [e.low, e.high]==pytest.approx([want.low, want.high])
    assert f1.method=='cluster jackknife' and e.method=='Wilson' and np.isnan(e.se)
