"Every strategy on every sort of pool: a prediction or a stated refusal; degenerate pools; the Dirichlet's identities."
from dataclasses import replace
from itertools import product
import numpy as np
import pytest
from hypothesis import strategies as st
import ambiscale_nb.study.results  # noqa: F401  registers every strategy there is
from ambiscale_nb.metrics.metrics import brier as sq_error
from ambiscale_nb.strategies.budget import curves
from ambiscale_nb.core import InputError
from ambiscale_nb.strategies.pool import (KINDS, NEEDS, STRATEGIES, applicable, pool_of, predict, rows, take)
from ambiscale_nb.strategies.paper import with_verdicts
from test_strategies import NAMES, demo, pools, some

MODES, STYLES, WHAT = ('label', 'dist'), ('direct', 'cot'), ('everything', 'nothing')
BY_LIKELIHOOD, BY_VERDICT = ('bon', 'w_bon', 'mob'), ('alm_v', 'w_alm_v', 'mob_v', 'dirichlet_v')
NEVER_LOOKS = 'verifier_alone'

def pool_for(mode='label', style='direct', kind='sample', what='everything', U=5, N=6, seed=0):
    "A pool of any sort, about one in eight answers lost, with everything known of its answers or nothing."
    rng, N = np.random.default_rng(seed), {'greedy': 1, 'score': 4}.get(kind, N)
    lost = rng.random((U, N))<.125
    lost[:, 0] = False  # of every clip one can be read
    one = (lambda: NAMES[rng.integers(4)]) if mode=='label' else (lambda: tuple(rng.dirichlet(np.full(4, .7))))
    answers = [[None if o else one() for o in row] for row in lost]
    if kind=='score': answers = [[*NAMES] if mode=='label' else [tuple(o) for o in np.eye(4)]]*U
    known = dict(sum_logprob=-rng.gamma(4, 1, (U, N)), n_tokens=rng.integers(1, 6, (U, N)), label_verdict=rng.random((U, 4)),
                 text_id=rng.integers(0, 3, (U, N)), confidence=rng.random((U, N)), answer_logprob=-rng.random((U, N)),
                 answer_tokens=np.ones((U, N)), prompt=np.tile(np.arange(N)%2, (U, 1)))
    return pool_of(answers, NAMES, mode, style=style, kind=kind, **known if what=='everything' else {})

def defined(pool): return [o for o in STRATEGIES if not applicable(o, pool)]

def check_prediction(p, U, K):
    assert p.L.shape==p.dist.shape==(U, K) and p.n_eff.shape==p.ess.shape==p.empty.shape==p.fallback.shape==(U,)
    assert np.isfinite(p.L).all() and (p.L>=0).all() and np.isfinite(p.dist).all() and (p.dist>=0).all()
    assert np.isfinite(p.ess).all() and np.isfinite(p.n_eff).all()
    np.testing.assert_allclose(p.dist.sum(-1), 1, atol=1e-9)
    np.testing.assert_allclose(p.L.sum(-1), ~p.empty, atol=1e-9)
    assert set(p.flags.ravel()) <= {'', 'empty', 'fallback'}

# ---- everything with everything
@pytest.mark.parametrize('mode, style, kind, what', [*product(MODES, STYLES, KINDS, WHAT)])
def test_each_is_a_prediction_or_a_stated_refusal(mode, style, kind, what):
    pool = pool_for(mode, style, kind, what)
    for s, o in STRATEGIES.items():
        reason = applicable(s, pool)
        if reason:
            assert len(reason.split())>=8 and ':' in reason, (s, reason)  # what is wrong, and a remedy
            with pytest.raises(InputError) as e: predict(s, pool)
            assert str(e.value)==reason
        else: check_prediction(predict(s, pool), 5, 4)
        lacks = kind not in o.kinds or any(not NEEDS[n][0](pool, {}) for n in o.needs & {'logprobs', 'verdicts',
            'label_verdicts', 'confidence', 'prompts'})
        if lacks: assert reason, s
        elif what=='everything': assert not reason, (s, reason)

@pytest.mark.parametrize('kind, all_known, nothing_known', [
    ('greedy', {'greedy', 'dirichlet', 'verifier_alone'}, {'greedy', 'dirichlet'}),
    ('score', {'label_logprob', 'verifier_alone'}, set())])
def test_which_are_defined_where_there_is_no_pool_to_speak_of(kind, all_known, nothing_known):
    for mode, style in product(MODES, STYLES):
        assert set(defined(pool_for(mode, style, kind, 'everything')))==all_known
        assert set(defined(pool_for(mode, style, kind, 'nothing')))==nothing_known

@pytest.mark.parametrize('mode', MODES)
def test_along_the_budget_credit_and_no_answer_add_up_to_one(mode):
    pool = pool_for(mode, U=4, N=5)
    lost = np.array([[False]*2+[True]*3, [True]*5, [False]*5, [False]+[True]*4])
    pool = replace(pool, parsed=~lost, dist=np.where(lost[..., None], 0, np.where(pool.parsed[..., None], pool.dist, .25)),
                   verdict=None)
    y = np.full((4, 4), .25)
    none = {1: [3/5, 1, 0, 4/5], 2: [3/10, 1, 0, 6/10], 4: [0, 1, 0, 1/5]}  # C(lost, k)/C(5, k)
    for s, points in curves(pool, defined(pool), (1, 2, 4), y, {'brier': sq_error}).items():
        for p in points:
            np.testing.assert_allclose(p.L.sum(-1)+p.empty, 1, atol=1e-9, err_msg=s)
            assert np.isfinite(p.L).all() and np.isfinite(p.metrics['brier']).all(), s
            if STRATEGIES[s].exact in ('vote', 'mean', 'select'):
                np.testing.assert_allclose(p.empty, none[p.k], atol=1e-12, err_msg=s)

# ---- degenerate pools, by hand
def close(p, want, s): np.testing.assert_allclose(p.dist, [want]*len(p.dist), atol=1e-6, err_msg=s)

@pytest.mark.parametrize('n, prior', [(1, 1/6), (5, .5/7)])
def test_one_answer_or_five_times_the_same(n, prior):
    "Every strategy gives it back; a prior of two votes makes (.5, .5, .5, n+.5)/(n+2) of it, epsilon (.01, .01, .01, 1.01)."
    pool = demo([['sad']*n])
    assert ('two prompts' in applicable('prompt_ensemble', pool))==(n==1)
    want = {NEVER_LOOKS: [.25]*4, 'log_pool': [.01/1.04]*3+[1.01/1.04]} | dict.fromkeys(
        ('dirichlet', 'dirichlet_v'), [prior]*3+[1-3*prior])
    for s in defined(pool):
        p = predict(s, pool)
        close(p, want.get(s, [0, 0, 0, 1]), s)
        np.testing.assert_allclose(p.L, [[.25]*4 if s==NEVER_LOOKS else [0, 0, 0, 1]], err_msg=s)
        if s!=NEVER_LOOKS and n==1: assert p.n_eff==1 and p.flags=='', s

def test_nothing_could_be_read():
    "Even where nothing is known of it: an unread clip is an empty one, no refusal of the whole pool."
    unread = [demo([[None]*(1 if kind=='greedy' else 4)]*2, mode, kind=kind)
              for mode, kind in product(MODES, ('sample', 'beam', 'greedy', 'score'))]
    for pool in (*unread, replace(pool_of([[None, None]]*2, NAMES), text_id=np.zeros((2, 2), int))):
        for s in defined(pool):
            p = predict(s, pool)
            check_prediction(p, 2, 4)
            close(p, [.25]*4, s)
            if s==NEVER_LOOKS: continue  # it looks at no answer
            assert p.flags.tolist()==['empty']*2 and not p.L.any() and not p.n_eff.any() and not p.ess.any(), s
    assert {'majority', 'mean', 'bon', 'w_bon', 'alm_v', 'w_alm_v', 'dirichlet', 'dirichlet_v'}<={*defined(pool)}

def test_all_tied():
    "Four answers, four labels, one score: everybody gets a quarter."
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        pool = demo([[NAMES[i] for i in order]])
        for s in defined(pool):
            p = predict(s, pool)
            np.testing.assert_allclose(p.L, [[.25]*4], atol=1e-6, err_msg=s)
            close(p, [.25]*4, s)

def falls_back(pool, names):
    "The first clip has its scores, the second has none: the majority of its answers, 2 of 3 sad, and a flag."
    for s in names:
        p = predict(s, pool)
        assert p.flags.tolist()==['', 'fallback'] and p.n_eff[1]==3 and p.L[1].tolist()==[0, 0, 0, 1], s
        np.testing.assert_allclose(p.dist[1], [1/3, 0, 0, 2/3], err_msg=s)
        check_prediction(p, 2, 4)

SAY = [['sad', 'angry', 'sad']]*2

def test_scores_that_are_not_numbers():
    for lost in (np.nan, np.inf, -np.inf): falls_back(demo(SAY, sum_logprob=[[-1, -2, -1], [lost]*3]), BY_LIKELIHOOD)
    one = demo([['sad', 'angry', 'sad']], sum_logprob=[[np.nan, -9, np.nan]])
    for s in BY_LIKELIHOOD: np.testing.assert_allclose(predict(s, one).dist, [[1, 0, 0, 0]], err_msg=s)

def test_verdicts_that_are_missing():
    falls_back(demo(SAY, label_verdict=[[.2, .5, .5, .4], [np.nan]*4]), BY_VERDICT)
    one = demo(SAY[:1], label_verdict=[[.1, .9, .9, np.nan]])  # sad was not judged: it is left out, and is not 0 or .5
    for s in BY_VERDICT: np.testing.assert_allclose(predict(s, one).L, [[1, 0, 0, 0]], err_msg=s)
    alone = predict(NEVER_LOOKS, demo([[None]*3]*2, label_verdict=[[.2, .5, .5, np.nan], [np.nan]*4]))  # needs no answers
    assert alone.flags.tolist()==['', 'empty']
    np.testing.assert_allclose(alone.dist, [[1/6, 5/12, 5/12, 0], [.25]*4])
    np.testing.assert_allclose(alone.L, [[0, .5, .5, 0], [0]*4])

def test_confidence_that_is_missing(): falls_back(demo(SAY, confidence=[[1, 2, 1], [np.nan]*3]), ['deepconf'])

def test_what_is_missing_altogether_is_refused_by_name():
    nan = np.full((2, 3), np.nan)
    no_logprobs, no_verdicts = demo(SAY, sum_logprob=nan), demo(SAY, label_verdict=np.full((2, 4), np.nan))
    for s in BY_LIKELIHOOD: assert 'log-probabilities' in applicable(s, no_logprobs) and not applicable(s, no_verdicts)
    for s in BY_VERDICT: assert 'verdicts' in applicable(s, no_verdicts) and not applicable(s, no_logprobs)
    assert 'verdict' in applicable(NEVER_LOOKS, no_verdicts)

@pytest.mark.parametrize('mode, kind', [*product(MODES, ('sample', 'beam', 'greedy', 'score'))])
def test_order_of_answers_of_clips_and_of_labels_does_not_matter(mode, kind):
    pool = pool_for(mode, kind=kind, U=6, N=6, seed=1)
    rng, perm = np.random.default_rng(2), [2, 0, 3, 1]
    answers, clips = rng.permutation(pool.n), rng.permutation(6)
    other = replace(pool, labels=tuple(NAMES[i] for i in perm), dist=pool.dist[..., perm], verdict=None,
                    label_verdict=pool.label_verdict[..., perm])
    forms = [('dirichlet', dict(form=o)) for o in ('D1', 'D2')] if kind!='score' else []
    for s, how in [(o, {}) for o in defined(pool)]+forms:
        p, a, c, one, named = (predict(s, o, **how) for o in (pool, take(pool, answers), rows(pool, clips), rows(pool, [4]), other))
        np.testing.assert_allclose(p.L[..., perm], named.L, atol=1e-6, err_msg=s)
        np.testing.assert_allclose(p.dist[..., perm], named.dist, atol=1e-6, err_msg=s)
        for field in ('L', 'dist', 'ess', 'n_eff'):
            want = getattr(p, field)
            np.testing.assert_allclose(getattr(a, field), want, atol=1e-6, err_msg=s)
            np.testing.assert_allclose(getattr(c, field), want[clips], atol=1e-9, err_msg=s)
            np.testing.assert_allclose(getattr(one, field), want[[4]], atol=1e-9, err_msg=s)

# ---- the Dirichlet
def read(pool): return pool.parsed.any(-1)
def assert_same(a, b): np.testing.assert_allclose(a, b, atol=1e-9)

@some(40, pools(mode='label'), st.floats(1e-9, 1e12), st.randoms(use_true_random=False))
def test_d1_is_votes_on_top_of_a_prior(pool, alpha0, random):
    prior = np.array([random.random()+.1 for _ in pool.labels])
    prior = prior/prior.sum()
    p = predict('dirichlet', pool, alpha0=alpha0, prior=prior)
    for u in np.flatnonzero(read(pool)):
        votes = pool.dist[u].sum(0)
        np.testing.assert_allclose(p.dist[u], (alpha0*prior+votes)/(alpha0+pool.parsed[u].sum()))
    assert (p.flags[~read(pool)]=='empty').all()
    np.testing.assert_allclose(predict('dirichlet', pool).L, predict('majority', pool).L)  # a flat prior changes no label

@some(40, pools(mode='dist'))
def test_d2_without_epsilon_is_the_linear_pool(pool):
    assert_same(predict('dirichlet', pool, eps=1e-9).L, predict('mean', pool).L)
    assert_same(predict('dirichlet', pool, form='D2', eps=0.).dist, predict('mean', pool).dist)
    if applicable('w_alm_v', pool) or not read(pool).any(): return
    a, b = predict('dirichlet_v', pool, form='D2'), predict('w_alm_v', pool)
    assert (a.flags==b.flags).all()
    ok = a.flags==''  # kappa 10 and epsilon .01 shrink it towards the uniform distribution
    assert_same(a.dist[ok], (10*b.dist[ok]+.01)/(10+.01*len(pool.labels)))

@some(40, pools(mode='dist'), st.floats(.5, 50), st.floats(0, .5))
def test_d2_is_the_mean_of_a_mixture(pool, kappa, eps):
    two = predict('dirichlet', pool, form='D2', kappa=kappa, eps=eps)
    for u in np.flatnonzero(read(pool)):
        parts = pool.dist[u, pool.parsed[u]]
        np.testing.assert_allclose(two.dist[u], ((kappa*parts+eps)/(kappa+eps*len(pool.labels))).mean(0))

@some(40, pools(missing=False), st.sampled_from([.2, .5, 1.]))
def test_equal_verdicts_make_dirichlet_v_the_dirichlet(pool, v):
    judged = with_verdicts(pool, np.full((len(pool.uids), len(pool.labels)), v))
    for o in ('auto', 'D1', 'D2'):
        a, b = predict('dirichlet_v', judged, form=o), predict('dirichlet', judged, form=o)
        assert_same(a.dist, b.dist)
        assert_same(a.L, b.L)
