"Budget estimators against brute force over all subsets, and what must hold for every curve."
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, product
from math import comb
import time
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from ambiscale_nb.strategies import budget
from ambiscale_nb.metrics.metrics import brier as sq_error
from ambiscale_nb.strategies.budget import (average, brier_at_k, brier_parts, budgets,
    by_label, curve, curves, distinct, expected, oracle_loss, select_at_k, shuffles, subset_count,
    subsets, vote_at_k, within)
from ambiscale_nb.core import InputError
from simulate import simulate
from ambiscale_nb.strategies import beyond  # noqa: F401 (registers its rules)
from ambiscale_nb.strategies.pool import STRATEGIES, Pool, applicable, predict, rows, take
from test_strategies import NAMES, clip, defined, demo, pools, reference

def jsd(p, y):
    h = lambda x: -(x*np.log2(np.where(x>0, x, 1))).sum(-1)
    return h((p+y)/2)-(h(p)+h(y))/2

METRICS = {'brier': sq_error, 'jsd': jsd}

def truth(pool, seed=0): return np.random.default_rng(seed).dirichlet(np.ones(len(pool.labels)), len(pool.uids))

def brute(pool, s, k, y):
    "Every subset, the plain reference on each, and the mean."
    L, out = np.zeros((len(pool.uids), len(pool.labels))), {m: np.zeros(len(pool.uids)) for m in METRICS}
    for u in range(len(pool.uids)):
        for idx in combinations(range(pool.n), k):
            credit, outcomes = reference(s, clip(pool, u, idx), len(pool.labels))
            L[u] += credit/comb(pool.n, k)
            for m, f in METRICS.items(): out[m][u] += sum(w*f(d, y[u]) for w, d in outcomes)/comb(pool.n, k)
    return L, out

@pytest.mark.parametrize('S', [2, 200])
@given(pool=pools(min_n=3, max_n=7, max_u=2), seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_what_is_called_exact_equals_brute_force(S, pool, seed):
    "By formulas where only two subsets would be drawn, by enumeration with 200; flags and counts too."
    y, split = truth(pool, seed), ((pool.dist>0) & (pool.dist<1)).any() and pool.mode=='label'
    for s in defined(pool):
        for point in curve(pool, s, range(1, pool.n+1), y, METRICS, n_subsets=S):
            L, out = brute(pool, s, point.k, y)
            exact = S==200 or comb(pool.n, point.k)<=pool.n
            formula = s in ('bon', 'alm_v') or (s in ('majority', 'mean') and pool.mode=='label' and not split)
            if exact or (formula and not point.fallback.any()): assert point.method('L')==point.method('brier')=='exact'
            if exact: assert not point.se
            if s in ('bon', 'alm_v') and not point.fallback.any(): assert not point.se
            if point.method('L')=='exact': np.testing.assert_allclose(point.L, L, atol=1e-9, err_msg=f'{s} {point.k}')
            for m in METRICS:
                if point.method(m)=='exact': np.testing.assert_allclose(point.metrics[m], out[m], atol=1e-9, err_msg=s)
            np.testing.assert_allclose(point.L.sum(-1), 1-point.empty, atol=1e-9)
            if point.se: continue
            each = [predict_subset(pool, s, idx) for idx in combinations(range(pool.n), point.k)]
            for o in ('n_eff', 'ess', 'empty', 'fallback'):
                np.testing.assert_allclose(getattr(point, o), np.mean([getattr(e, o) for e in each], 0), atol=1e-9, err_msg=f'{s} {o}')

def predict_subset(pool, s, idx): return STRATEGIES[s].aggregate(take(pool, list(idx)))

# ---- the estimators by themselves

def test_within_is_a_ratio_of_binomials():
    for N, k in ((7, 3), (12, 12), (5, 1)):
        np.testing.assert_allclose(within(np.arange(N+1), k, N), [comb(n, k)/comb(N, k) for n in range(N+1)], atol=1e-15)

@given(st.lists(st.integers(0, 3), min_size=2, max_size=4), st.integers(0, 3))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_vote_at_k_equals_brute_force(m, lost):
    if not 0<sum(m)+lost<=9: return
    answers = [c for c, n in enumerate(m) for _ in range(n)]+[None]*lost
    for k in range(1, len(answers)+1):
        want = np.zeros(len(m))
        for idx in combinations(answers, k):
            votes = np.array([sum(a==c for a in idx) for c in range(len(m))])
            if votes.max(): want += (votes==votes.max())/(votes==votes.max()).sum()
        np.testing.assert_allclose(vote_at_k([m], len(answers), k)[0], want/comb(len(answers), k), atol=1e-12)

@pytest.mark.parametrize('m', [(30, 20, 9), (22, 21, 21), (64, 0, 0), (1, 1, 0)])
def test_the_vote_of_8_of_64_answers_is_the_sum_over_all_counts(m):
    "Hypergeometric weights in whole numbers; what is left of 64 could not be read."
    want, k = [Fraction(0)]*3, 8
    for x in product(range(k+1), repeat=3):
        if sum(x)>k or not any(x): continue
        ways = comb(64-sum(m), k-sum(x))*comb(m[0], x[0])*comb(m[1], x[1])*comb(m[2], x[2])
        first = [i for i in range(3) if x[i]==max(x)]
        for i in first: want[i] += Fraction(ways, len(first)*comb(64, k))
    np.testing.assert_allclose(vote_at_k([m], 64, k)[0], np.array(want, float), atol=1e-12)

def test_a_pool_says_what_fresh_answers_would():
    "Over many pools, the vote and the best of k among N answers are those of k new answers."
    rng, p, N, k, n = np.random.default_rng(3), [.45, .3, .15], 12, 4, 20_000
    def drawn(size): return rng.multinomial(size, [*p, .1], n)[:, :3]
    fresh = drawn(k)
    top = (fresh==fresh.max(1, keepdims=True)) & (fresh>0)
    credit = (top/np.maximum(top.sum(1, keepdims=True), 1)).mean(0)
    assert np.abs(vote_at_k(drawn(N), N, k).mean(0)-credit).max()<.01
    score = rng.normal(size=(n, N))
    best = (select_at_k(score, k)[0]*score).sum(1).mean()
    assert abs(best-rng.normal(size=(n, k)).max(1).mean())<.02

def test_vote_at_k_is_safe_for_large_pools():
    for N, m in ((64, [20, 20, 10, 5, 4, 3, 1, 1]), (2000, [900, 700, 400])):
        for k in (1, 2, N//2, N-1, N):
            if N>64 and k>4 and k<N-1: continue
            L = vote_at_k([m], N, min(k, N))[0] if N==64 or k<=4 else None
            if L is not None: assert np.isfinite(L).all() and abs(L.sum()-1)<1e-9, (N, k)
    np.testing.assert_allclose(vote_at_k([[900, 700, 400]], 2000, 1)[0], [.45, .35, .2])

@given(st.lists(st.sampled_from([0., 1., 2., 3., np.nan]), min_size=1, max_size=7))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_select_at_k_equals_brute_force(score):
    s = np.array(score)
    for k in range(1, len(s)+1):
        want, tied = np.zeros(len(s)), 0
        for idx in combinations(range(len(s)), k):
            best = [i for i in idx if np.isfinite(s[i]) and s[i]==np.nanmax(s[list(idx)])]
            for i in best: want[i] += 1/len(best)
            tied += len(best)
        w, first = select_at_k(s[None], k)
        np.testing.assert_allclose(w[0], want/comb(len(s), k), atol=1e-12)
        np.testing.assert_allclose(first[0], tied/comb(len(s), k), atol=1e-12)

@given(pools(min_n=2, max_n=7, max_u=2), st.integers(0, 9))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_brier_and_the_oracle_equal_brute_force(pool, seed):
    y, K = truth(pool, seed), len(pool.labels)
    for k in range(1, pool.n+1):
        mean, best = (np.zeros(len(pool.uids)) for _ in range(2))
        for u in range(len(pool.uids)):
            for idx in map(list, combinations(range(pool.n), k)):
                p = pool.dist[u, idx][pool.parsed[u, idx]]
                blank = np.full((1, K), 1/K)
                mean[u] += sq_error((p if len(p) else blank).mean(0), y[u])
                best[u] += jsd(p if len(p) else blank, y[u]).min()
        n = comb(pool.n, k)
        np.testing.assert_allclose(brier_at_k(pool.dist, pool.parsed, y, k), mean/n, atol=1e-12)
        np.testing.assert_allclose(oracle_loss(pool, y, jsd, k), best/n, atol=1e-12)

def test_brier_parts_predict_fresh_samples():
    rng = np.random.default_rng(0)
    q, y = np.array([.6, .3, .1]), np.array([[.3, .4, .3]])
    pool = rng.dirichlet(q*4, (4000, 8))
    a, b = brier_parts(pool, np.ones((4000, 8), bool), np.repeat(y, 4000, 0))
    for k in (1, 4, 100):
        fresh = sq_error(rng.dirichlet(q*4, (4000, k)).mean(1), y).mean()
        assert abs((a+b/k).mean()-fresh)<.01
    assert np.isnan(brier_parts(pool[:1], np.zeros((1, 8), bool), y)[0]).all()

# ---- Monte Carlo

def big(U=40, N=12, K=4, seed=0, mode='dist', holes=.1):
    rng = np.random.default_rng(seed)
    dist = rng.dirichlet(np.ones(K)*.7, (U, N))
    if mode=='label': dist = np.eye(K)[dist.argmax(-1)]
    ok = rng.random((U, N))>holes
    v = rng.random((U, K)); v[rng.random((U, K))<holes] = np.nan
    lp = rng.normal(-2, 1, (U, N)); lp[rng.random((U, N))<holes] = np.nan
    return Pool([f'c{i}' for i in range(U)], NAMES[:K], mode, 'direct', 'sample', dist*ok[..., None], ok, lp,
                np.ones((U, N)), label_verdict=v, text_id=rng.integers(0, 5, (U, N)))

@pytest.mark.parametrize('mode', ['label', 'dist'])
def test_monte_carlo_is_within_its_error_of_all_subsets(mode):
    pool = big(mode=mode)
    y, k = truth(pool), 4
    for s in defined(pool):
        mc, = curve(pool, s, [k], y, METRICS, n_subsets=100)
        full, = curve(pool, s, [k], y, METRICS, n_subsets=comb(12, k))
        assert not full.se
        for m in METRICS:
            if m in mc.se: assert abs(mc.metrics[m].mean()-full.metrics[m].mean())<4*mc.mc_se(m)+1e-12, (s, m)
            else: np.testing.assert_allclose(mc.metrics[m], full.metrics[m], atol=1e-9)
        if 'L' in mc.se: assert (abs(mc.L.mean(0)-full.L.mean(0))<4*mc.mc_se('L')+1e-12).all(), s
        else: np.testing.assert_allclose(mc.L, full.L, atol=1e-9)
        np.testing.assert_allclose(mc.empty, full.empty, atol=.1)

@pytest.mark.parametrize('U', [60, 400])
def test_so_many_subsets_that_the_error_of_a_mean_is_small(U):
    sim = simulate(np.random.default_rng(U), n_speakers=U//20, per_speaker=20, wordings=3)
    for pool in sim.pools.values():
        able = [s for s in STRATEGIES if not applicable(s, pool)]
        for points in curves(pool, able, (2, 4, 8), sim.y, METRICS).values():
            for point in points: assert max([point.mc_se(m) for m in METRICS])<=.001

def test_results_depend_neither_on_row_order_nor_on_the_other_rows():
    pool = big()
    y, order = truth(pool), np.random.default_rng(1).permutation(40)
    for s in defined(pool):
        a, = curve(pool, s, [5], y, METRICS, n_subsets=30)
        b, = curve(rows(pool, order), s, [5], y[order], METRICS, n_subsets=30)
        c, = curve(rows(pool, [7, 3]), s, [5], y[[7, 3]], METRICS, n_subsets=30)
        np.testing.assert_allclose(a.L[order], b.L)
        np.testing.assert_allclose(a.L[[7, 3]], c.L)
        for m in METRICS:
            np.testing.assert_allclose(a.metrics[m][order], b.metrics[m])
            np.testing.assert_allclose(a.metrics[m][[7, 3]], c.metrics[m])

def test_strategies_share_their_subsets():
    "In label mode mean is majority: on common subsets the difference is zero, not noise."
    pool = big(mode='label')
    y = truth(pool)
    a, b = (curve(pool, s, [5], y, {'jsd': jsd}, n_subsets=30)[0] for s in ('mean', 'majority'))
    np.testing.assert_array_equal(a.metrics['jsd'], b.metrics['jsd'])
    assert (shuffles(('a', 'b'), 9, 4, 0)!=shuffles(('a', 'b'), 9, 4, 1)).any()
    assert (shuffles(('a',), 9, 4, 0)!=shuffles(('b',), 9, 4, 0)).any()

def test_subsets_of_a_round_share_no_answer_and_every_one_is_a_random_subset():
    pool = big(U=200)
    for k in (2, 4, 5, 8):
        idx, parts = subsets(pool, k, 60)
        assert parts==12//k and len(idx)>=60 and not len(idx)%parts
        rounds = np.moveaxis(idx.reshape(-1, parts, 200, k), 1, 2).reshape(-1, 200, parts*k)
        assert (np.diff(np.sort(rounds, -1), axis=-1)>0).all()
        share = np.bincount(idx.ravel(), minlength=12)/idx.size
        assert np.allclose(share, 1/12, atol=4*np.sqrt(1/12/idx.size*k))

def test_rounds_estimate_the_same_with_an_error_that_is_true():
    "Against all subsets: the error that is reported is that of repetitions with other seeds."
    pool = big(U=12)
    y = truth(pool)
    every = np.array(list(combinations(range(12), 4)))[:, None]
    exact = average(pool, every, {'a': (STRATEGIES['w_bon'], {}, METRICS)}, y, 1)['a'][0]['jsd'].mean()
    runs = [curve(pool, 'w_bon', [4], y, METRICS, n_subsets=60, seed=o)[0] for o in range(60)]
    means = np.array([o.metrics['jsd'].mean() for o in runs])
    error = np.mean([o.mc_se('jsd') for o in runs])
    assert abs(means.mean()-exact)<4*error/60**.5 and .7<means.std()/error<1.4

def test_memory_is_bounded_in_parts(monkeypatch):
    "However many utterances, a stack of sub-pools stays small; and the parts make no difference."
    pool, seen = big(U=120), []
    y = truth(pool)
    whole = curve(pool, 'w_bon', [4], y, METRICS, n_subsets=50)[0]
    measure = budget.measure
    monkeypatch.setattr(budget, 'measure', lambda p, *a: (seen.append(p.dist.size), measure(p, *a))[1])
    idx, parts = subsets(pool, 4, 50)
    mean, _ = average(pool, idx, {'a': (STRATEGIES['w_bon'], {}, METRICS)}, y, parts)['a']
    np.testing.assert_allclose(mean['jsd'], whole.metrics['jsd'])
    average(big(U=900), np.concatenate([idx]*8, 1)[:, :900], {'b': (STRATEGIES['mean'], {}, {})}, np.zeros((900, 4)), 1)
    assert max(seen)<=200_000

# ---- many strategies at once, and sub-pools that are alike

def test_together_is_the_same_as_one_by_one():
    for mode in ('label', 'dist'):
        pool = big(mode=mode)
        y = truth(pool)
        jobs = {s: (s, {}) for s in defined(pool)} | {'sharp': ('w_bon', {'tau': .1})}
        for name, points in curves(pool, jobs, (1, 4, 12), y, METRICS, n_subsets=20).items():
            alone = curve(pool, jobs[name][0], (1, 4, 12), y, METRICS, n_subsets=20, **jobs[name][1])
            for a, b in zip(points, alone, strict=True):
                assert a.se.keys()==b.se.keys()
                for o in ('L', 'n_eff', 'ess', 'empty', 'fallback'):
                    np.testing.assert_array_equal(getattr(a, o), getattr(b, o))
                for m in METRICS: np.testing.assert_array_equal(a.metrics[m], b.metrics[m])

@given(pools(min_n=4, max_n=8, max_u=2, mode='label'), st.integers(0, 9))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_what_looks_at_labels_alone_is_exact_for_every_metric(pool, seed):
    "Every registered strategy for which equal labels are equal, against all subsets one by one."
    y, k = truth(pool, seed), pool.n//2
    for s in [o for o in STRATEGIES if not applicable(o, pool) and by_label(pool, STRATEGIES[o].needs)]:
        point, = curve(pool, s, [k], y, METRICS, n_subsets=2)
        every = [predict_subset(pool, s, idx) for idx in combinations(range(pool.n), k)]
        if STRATEGIES[s].exact=='constant': every = [predict(s, pool)]
        split = ((pool.dist>0) & (pool.dist<1)).any((1, 2))
        if not split.any() and STRATEGIES[s].exact!='select': assert not point.se, s
        for o in ('L', 'n_eff', 'ess', 'empty', 'fallback'):
            want = np.mean([getattr(e, o) for e in every], 0)
            np.testing.assert_allclose(getattr(point, o)[~split], want[~split], atol=1e-9, err_msg=f'{s} {o}')
        for m, f in METRICS.items():
            if STRATEGIES[s].exact=='select': continue  # a metric of each candidate, see `brute`
            want = np.mean([f(e.dist, y) for e in every], 0)
            np.testing.assert_allclose(point.metrics[m][~split], want[~split], atol=1e-9, err_msg=f'{s} {m}')

@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(1, 8))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_distinct_sub_pools_equal_brute_force(counts, k):
    counts = tuple(sorted((o for o in counts if o), reverse=True))
    if sum(counts)<k: return
    kind = np.repeat(np.arange(len(counts)), counts)
    want = {}
    for idx in combinations(range(len(kind)), k):
        got = tuple(kind[list(idx)])
        want[got] = want.get(got, 0)+1/comb(len(kind), k)
    at, chance = distinct(counts, k, len(want))
    found = {tuple(kind[o]): c for o, c in zip(at, chance, strict=True)}
    assert len(at)==len(want)==len(found) and distinct(counts, k, len(want)-1) is None
    for o, c in want.items(): np.testing.assert_allclose(found[o], c)

def test_clips_with_too_many_sub_pools_are_drawn_and_the_others_are_not():
    rng = np.random.default_rng(0)
    few = np.eye(6)[np.repeat([0, 1], [30, 10])][None]
    pool = Pool(['few', 'many'], tuple('abcdef'), 'label', 'direct', 'sample',
                np.concatenate([few, np.eye(6)[rng.integers(0, 6, (1, 40))]]), np.ones((2, 40), bool))
    y = truth(pool)
    point, = curve(pool, 'majority', [20], y, METRICS, n_subsets=100)
    assert point.se['jsd'][0]==0<point.se['jsd'][1] and 'brier' not in point.se and 'L' not in point.se
    more, = curve(pool, 'majority', [20], y, METRICS, n_subsets=4000)
    np.testing.assert_allclose(point.metrics['jsd'], more.metrics['jsd'], atol=4*point.se['jsd'][1]+1e-12)
    assert abs(point.metrics['jsd']-more.metrics['jsd'])[0]<1e-12

def test_verdicts_on_rationales_are_not_verdicts_on_labels():
    pool = big(mode='label', holes=0)
    assert by_label(pool, frozenset({'verdicts'})) and not by_label(pool, frozenset({'logprobs'}))
    own = replace(pool, verdict=np.random.default_rng(0).random((40, 12)))
    assert not by_label(own, frozenset({'verdicts'})) and by_label(own, frozenset())
    assert not by_label(replace(pool, mode='dist'), frozenset())

# ---- what holds for every curve

@given(pools(min_n=2, max_n=6))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_the_ends_of_the_curve(pool):
    y = truth(pool)
    for s in defined(pool):
        one, full = curve(pool, s, [1, pool.n], y, METRICS)
        p = predict(s, pool)
        np.testing.assert_allclose(full.L, p.L, atol=1e-9)
        for m, f in METRICS.items(): np.testing.assert_allclose(full.metrics[m], expected(p, f, y), atol=1e-9)
        np.testing.assert_allclose(one.L, pool.credit.mean(1), atol=1e-9)
        np.testing.assert_allclose(full.n_eff, p.n_eff, atol=1e-9)
        np.testing.assert_allclose(full.ess, p.ess, atol=1e-9)
        np.testing.assert_allclose(full.fallback, p.fallback, atol=1e-9)

@given(pools(min_n=3, max_n=7))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_no_selector_beats_the_oracle(pool):
    for s in [o for o in ('bon', 'alm_v') if o in defined(pool)]:
        for point in curve(pool, s, range(1, pool.n+1), truth(pool), METRICS, n_subsets=500):
            if point.fallback.any(): continue
            for m, f in METRICS.items():
                assert (point.metrics[m]>=oracle_loss(pool, truth(pool), f, point.k)-1e-9).all()

def test_a_pool_where_every_vote_is_split_is_left_to_subsets():
    pool = demo([[('sad', 'angry'), ('happy', 'sad')]*4])
    point, = curve(pool, 'majority', [4], n_subsets=20)
    assert point.method('L')=='mc' and abs(point.L.sum()-1)<1e-9
    mixed = demo([[('sad', 'angry'), 'happy']*4, ['sad', 'angry']*4])
    point, = curve(mixed, 'majority', [4], n_subsets=60)
    assert point.se['L'][0].any() and not point.se['L'][1].any()
    np.testing.assert_allclose(point.L[1], [.5, 0, 0, .5])

def test_beams_have_one_budget_and_are_not_low_resolution():
    beam = replace(demo([['sad', 'angry', 'sad']]), kind='beam')
    assert budgets(beam)==[3]
    for s in ('mean', 'majority', 'bon', 'w_bon', 'alm_v', 'w_alm_v'):
        point, = curve(beam, s)
        np.testing.assert_allclose(point.L, predict(s, beam).L)
        assert not point.low_resolution and not point.se
        with pytest.raises(InputError, match='width 2'): curve(beam, s, [2])
    for f in (oracle_loss, ): pytest.raises(InputError, f, beam, np.ones((1, 4))/4, jsd, 1)

def test_settings_reach_the_exact_estimator():
    pool = demo([['sad', 'angry', 'happy', 'sad']], sum_logprob=[[-3, -4, -9, -8]], n_tokens=[[2, 4, 10, 1]])
    for score in ('mean', 'sum'):
        point = curve(pool, 'bon', [4], score=score)[0]
        np.testing.assert_allclose(point.L, predict('bon', pool, score=score).L)

def test_refusals_and_defaults():
    pool = big()
    with pytest.raises(InputError, match='from 1 to N=12'): curve(pool, 'mean', [13])
    with pytest.raises(InputError, match='from 1 to N=12'): curve(pool, 'mean', [0])
    with pytest.raises(InputError, match='at least 2'): curve(pool, 'mean', [4], n_subsets=1)
    assert [o.low_resolution for o in curve(pool, 'mean', [1, 6, 7, 12], n_subsets=5)]==[False, False, True, True]
    assert [*curves(pool, ks=[1])]==[s for s in STRATEGIES if not applicable(s, pool)]
    assert [subset_count(o) for o in (1, 60, 10**6)]==[1100, 1042, 20]
    with pytest.raises(InputError, match='soft labels of shape'): curve(pool, 'mean', [1], metrics=METRICS)
    with pytest.raises(InputError, match='cannot be called'): curve(pool, 'mean', [1], truth(pool), {'L': jsd})
    with pytest.raises(InputError, match='greedy pools'): curve(pool, 'greedy', [1])
    with pytest.raises(InputError, match='setting of bon'): curve(pool, 'bon', [1], taw=2)

def test_speed():
    "400 clips x 16 answers x 6 labels: all strategies and budgets in about two seconds."
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(6), (400, 16))
    pool = Pool(range(400), tuple('abcdef'), 'dist', 'direct', 'sample', p, np.ones((400, 16), bool),
                rng.normal(-2, 1, (400, 16)), np.ones((400, 16)), label_verdict=rng.random((400, 6)),
                text_id=np.tile(np.arange(16), (400, 1)))
    start = time.process_time()
    for s in defined(pool): curve(pool, s, (1, 2, 4, 8, 16), truth(pool), METRICS)
    assert time.process_time()-start<30  # a loaded machine; what it guards against is a loop over clips
