"Rules beyond the paper against independent ones: what each minimises, brute force, general optimisers; joined pools."
from dataclasses import replace
from itertools import combinations
import numpy as np
import pytest
from fastcore.test import test_close as close
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import rel_entr, softmax
from ambiscale_nb.strategies.beyond import best_mixture, bounds, divergence, join
from ambiscale_nb.core import InputError, rng_of
from ambiscale_nb.metrics.metrics import jsd
from ambiscale_nb.strategies.pool import Pool, applicable, predict

def pool(U=6, N=5, K=3, mode='dist', seed=0, lost=.2):
    rng = rng_of('pools beyond', U, N, K, mode, seed)
    dist = rng.dirichlet(np.full(K, .6), (U, N))
    if mode=='label': dist = np.eye(K)[dist.argmax(-1)]
    parsed = rng.random((U, N))>lost
    return Pool([f'u{i}' for i in range(U)], tuple('abc')[:K], mode, 'direct', 'sample', dist*parsed[..., None], parsed,
                sum_logprob=-rng.exponential(2, (U, N)).round(2), n_tokens=np.ones((U, N)),
                label_verdict=rng.random((U, K)).round(2), confidence=rng.exponential(1, (U, N)),
                prompt=np.tile(np.arange(N)%2, (U, 1)))

def nearby(q, rng, n=200):
    "Distributions around q."
    return softmax(np.log(np.maximum(q, 1e-9))+rng.normal(0, .05, (n, len(q))), -1)

@given(seed=st.integers(0, 300))
def test_each_centre_is_the_least_of_what_it_claims(seed):
    p, rng = pool(U=1, N=4, seed=seed, lost=0), rng_of('nearby', seed)
    p = replace(p, dist=.98*p.dist+.02/3)
    w = np.full(4, .25)
    losses = {'mean': lambda q: (w*rel_entr(p.dist[0], q).sum(-1)).sum(),
              'log_pool': lambda q: (w*rel_entr(q, p.dist[0]).sum(-1)).sum(),
              'barycentre': lambda q: (w*divergence(np.tile(q, (4, 1)), p.dist[0])).sum()}
    for rule, loss in losses.items():
        q = predict(rule, p, **dict(eps=1e-12) if rule=='log_pool' else {}).dist[0]
        assert loss(q)<=min(map(loss, nearby(q, rng)))+1e-7, rule

def test_the_barycentre_is_what_a_general_optimiser_finds():
    p = pool(U=4, N=6, lost=0)
    for i, q in enumerate(predict('barycentre', p).dist):
        def far(z, i=i): return divergence(softmax(z), p.dist[i]).mean()
        assert far(np.log(np.maximum(q, 1e-300)))<=least(far, np.zeros(3))+1e-8

def least(loss, start): # The least loss that a general optimiser finds
    return minimize(loss, start, method='Nelder-Mead', options=dict(xatol=1e-9, fatol=1e-13, maxiter=4000)).fun

def test_divergence_is_that_of_the_metrics():
    rng = rng_of('divergence')
    p, q = rng.dirichlet(np.ones(4), (2, 50))
    close(divergence(p, q), jsd(p, q), eps=1e-9)

@given(seed=st.integers(0, 200))
def test_mbr_of_labels_with_equal_costs_is_the_majority(seed):
    p = pool(mode='label', seed=seed)
    close(predict('mbr', p).L, predict('majority', p).L)

def test_mbr_chooses_the_nearest_of_the_candidates_and_their_mean():
    p = pool(lost=0)
    for i, got in enumerate(predict('mbr', p).dist):
        candidates = [*p.dist[i], p.dist[i].mean(0)]
        far = [np.mean([jsd(c[None], o[None])[0] for o in p.dist[i]]) for c in candidates]
        close(got, candidates[int(np.argmin(far))])

@pytest.mark.parametrize(('rule', 'score'), [('mob', 'sum_logprob'), ('mob_v', 'verdict')])
@pytest.mark.parametrize('m', [1, 2, 3, 5])
def test_majority_of_the_bests_against_all_sub_pools(rule, score, m):
    p = pool(mode='label', U=8, lost=.3)
    got = predict(rule, p, m=m)
    for i in range(8):
        ok, s, total = p.parsed[i], getattr(p, score)[i], np.zeros(3)
        for idx in combinations(range(5), m):
            some = [j for j in idx if ok[j]]
            if not some: continue
            top = [j for j in some if abs(s[j]-max(s[o] for o in some))<1e-9]
            total += p.dist[i, top].mean(0)
        if total.sum(): close(got.dist[i], total/total.sum())
        else: assert got.empty[i]

def test_confidence_that_is_equal_is_the_vote_and_the_share_kept_is_kept():
    p = replace(pool(mode='label'), confidence=np.ones((6, 5)))
    close(predict('deepconf', p, keep=1).dist, predict('majority', p).dist)
    q = pool(mode='label', lost=0)
    for keep, n in ((.2, 1), (.5, 3), (.9, 5)): assert (predict('deepconf', q, keep=keep).n_eff==n).all()
    close(predict('deepconf', q, keep=.2).dist, q.dist[np.arange(6), q.confidence.argmax(-1)])
    for keep in (0, -1, 1.1):
        with pytest.raises(InputError, match='keep must be'): predict('deepconf', pool(), keep=keep)

def test_joined_pools_keep_every_answer_and_who_gave_it():
    a, b = pool(N=4), pool(N=3, seed=1)
    got, three, two = join([a, b]), pool(N=3, lost=0), pool(N=2, lost=0)
    close(got.dist, np.concatenate([a.dist, b.dist], 1))
    assert got.n==7 and got.prompt[0].tolist()==[0]*4+[1]*3
    assert join([a, b], share=2).n==4 and join([replace(a, confidence=None), b]).confidence is None
    assert 'at least two prompts' in applicable('prompt_ensemble', replace(got, prompt=np.zeros((6, 7), int)))
    close(predict('prompt_ensemble', join([three, two])).dist, (three.dist.mean(1)+two.dist.mean(1))/2)
    for other in (replace(b, uids=b.uids[::-1]), replace(b, labels=tuple('xyz')), pool(mode='label')):
        with pytest.raises(InputError, match='same clips'): join([a, other])

def test_answers_without_a_score_do_not_win_and_none_at_all_is_a_vote():
    p = pool(mode='label', lost=0)
    s = p.sum_logprob.copy(); s[0] = np.nan; s[1, :4] = np.nan
    got = predict('mob', replace(p, sum_logprob=s))
    assert got.flags[0]=='fallback' and got.dist[1].tolist()==p.dist[1, 4].tolist()

def test_the_best_mixture_is_what_a_general_optimiser_finds():
    p, rng = pool(U=12, N=4, lost=.1), rng_of('people')
    y = rng.dirichlet(np.ones(3), 12)
    got = divergence(best_mixture(p, y), y)
    for i in np.flatnonzero(p.parsed.any(1)):
        d = p.dist[i, p.parsed[i]]
        def far(z, d=d, i=i): return divergence(softmax(z)@d, y[i])
        assert abs(got[i]-min(least(far, rng.normal(0, 1, len(d))) for _ in range(3)))<2e-3

@given(seed=st.integers(0, 100))
def test_bounds_are_bounds(seed):
    p = pool(seed=seed, U=8)
    y = rng_of('people', seed).dirichlet(np.ones(3), 8)
    b = bounds(p, y)
    assert (b.oracle<=b.random+1e-12).all() and (b.mixture<=b.oracle+1e-9).all()
    for rule in ('bon', 'alm_v'):  # selectors lie between the oracle and anything
        assert (divergence(predict(rule, p).dist, y)>=b.oracle-1e-9)[~predict(rule, p).fallback].all()
    for rule in ('mean', 'w_bon', 'mob'):  # poolers between the best mixture and anything
        far = divergence(predict(rule, replace(p, text_id=np.arange(5)+np.zeros((8, 1), int))).dist, y)
        assert (far>=b.mixture-2e-3).all()
