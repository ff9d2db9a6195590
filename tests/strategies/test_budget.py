"Budget estimators against brute force over all subsets, and what must hold for every curve."
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, product
from math import comb
import numpy as np
import pytest
from hypothesis import strategies as st
from ambiscale_nb.strategies import budget
from ambiscale_nb.strategies.budget import (average, brier_at_k, brier_parts, budgets,
    by_label, curve, curves, distinct, oracle_loss, select_at_k, shuffles, subset_count, subsets, vote_at_k)
from ambiscale_nb.metrics.metrics import brier as sq_error
from ambiscale_nb.core import InputError
from simulate import simulate
from ambiscale_nb.strategies import beyond  # noqa: F401 (registers its rules)
from ambiscale_nb.strategies.pool import STRATEGIES, Pool, applicable, predict, rows, take
from test_strategies import NAMES, clip, defined, demo, pools, reference, some

def jsd(p, y):
    h = lambda x: -(x*np.log2(np.where(x>0, x, 1))).sum(-1)
    return h((p+y)/2)-(h(p)+h(y))/2

METRICS = {'brier': sq_error, 'jsd': jsd}
def truth(pool, seed=0): return np.random.default_rng(seed).dirichlet(np.ones(len(pool.labels)), len(pool.uids))

def subset_means(pool, k, of):
    "Mean over all subsets of k answers of what `of(u, idx)` gives, clip by clip."
    every = [*combinations(range(pool.n), k)]
    return np.array([np.mean([of(u, list(o)) for o in every], 0) for u in range(len(pool.uids))])

def brute(pool, s, k, y):
    "Every subset, the plain reference on each, and the mean."
    def one(u, idx):
        credit, outcomes = reference(s, clip(pool, u, idx), len(pool.labels))
        return np.r_[credit, [sum(w*f(d, y[u]) for w, d in outcomes) for f in METRICS.values()]]
    found = subset_means(pool, k, one)
    return found[:, :-2], dict(zip(METRICS, found[:, -2:].T, strict=True))

def predict_subset(pool, s, idx): return STRATEGIES[s].aggregate(take(pool, list(idx)))
FIELDS = 'L', 'n_eff', 'ess', 'empty', 'fallback'

@pytest.mark.parametrize('S', [2, 200])
@some(15, pool=pools(min_n=3, max_n=7, max_u=2), seed=st.integers(0, 9))
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
            for o in FIELDS[1:]:
                want = np.mean([getattr(e, o) for e in each], 0)
                np.testing.assert_allclose(getattr(point, o), want, atol=1e-9, err_msg=f'{s} {o}')

# ---- the estimators by themselves
@some(25, st.lists(st.integers(0, 3), min_size=2, max_size=4), st.integers(0, 3))
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

def test_vote_at_k_is_safe_for_large_pools():
    for k in (1, 2, 32, 63, 64): assert abs(vote_at_k([[20, 20, 10, 5, 4, 3, 1, 1]], 64, k)[0].sum()-1)<1e-9, k
    np.testing.assert_allclose(vote_at_k([[900, 700, 400]], 2000, 1)[0], [.45, .35, .2])
    assert abs(vote_at_k([[900, 700, 400]], 2000, 2)[0].sum()-1)<1e-9

@some(30, st.lists(st.sampled_from([0., 1., 2., 3., np.nan]), min_size=1, max_size=7))
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

@some(25, pools(min_n=2, max_n=7, max_u=2), st.integers(0, 9))
def test_brier_and_the_oracle_equal_brute_force(pool, seed):
    y, K = truth(pool, seed), len(pool.labels)
    def one(u, idx):
        p = pool.dist[u, idx][pool.parsed[u, idx]]
        p = p if len(p) else np.full((1, K), 1/K)
        return sq_error(p.mean(0), y[u]), jsd(p, y[u]).min()
    for k in range(1, pool.n+1):
        mean, best = subset_means(pool, k, one).T
        np.testing.assert_allclose(brier_at_k(pool.dist, pool.parsed, y, k), mean, atol=1e-12)
        np.testing.assert_allclose(oracle_loss(pool, y, jsd, k), best, atol=1e-12)

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
        for part in (order, [7, 3]):
            b, = curve(rows(pool, part), s, [5], y[part], METRICS, n_subsets=30)
            np.testing.assert_allclose(a.L[part], b.L)
            for m in METRICS: np.testing.assert_allclose(a.metrics[m][part], b.metrics[m])

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
@pytest.mark.parametrize('mode', ['label', 'dist'])
def test_together_is_the_same_as_one_by_one(mode):
    pool = big(mode=mode)
    y, jobs = truth(pool), {s: (s, {}) for s in defined(pool)} | {'sharp': ('w_bon', {'tau': .1})}
    for name, points in curves(pool, jobs, (1, 4, 12), y, METRICS, n_subsets=20).items():
        alone = curve(pool, jobs[name][0], (1, 4, 12), y, METRICS, n_subsets=20, **jobs[name][1])
        for a, b in zip(points, alone, strict=True):
            assert a.se.keys()==b.se.keys()
            for o in FIELDS: np.testing.assert_array_equal(getattr(a, o), getattr(b, o))
            for m in METRICS: np.testing.assert_array_equal(a.metrics[m], b.metrics[m])

@some(15, pools(min_n=4, max_n=8, max_u=2, mode='label'), st.integers(0, 9))
def test_what_looks_at_labels_alone_is_exact_for_every_metric(pool, seed):
    "Every registered strategy for which equal labels are equal, against all subsets one by one."
    y, k, split = truth(pool, seed), pool.n//2, ((pool.dist>0) & (pool.dist<1)).any((1, 2))
    def same(got, each, what): np.testing.assert_allclose(got[~split], np.mean(each, 0)[~split], atol=1e-9, err_msg=what)
    for s in [o for o in STRATEGIES if not applicable(o, pool) and by_label(pool, STRATEGIES[o].needs)]:
        point, = curve(pool, s, [k], y, METRICS, n_subsets=2)
        every = [predict_subset(pool, s, idx) for idx in combinations(range(pool.n), k)]
        if STRATEGIES[s].exact=='constant': every = [predict(s, pool)]
        for o in FIELDS: same(getattr(point, o), [getattr(e, o) for e in every], f'{s} {o}')
        if STRATEGIES[s].exact=='select': continue  # a metric of each candidate, see `brute`
        assert split.any() or not point.se, s
        for m, f in METRICS.items(): same(point.metrics[m], [f(e.dist, y) for e in every], f'{s} {m}')

@some(40, st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(1, 8))
def test_distinct_sub_pools_equal_brute_force(counts, k):
    counts = tuple(sorted((o for o in counts if o), reverse=True))
    if sum(counts)<k: return
    kind = np.repeat(np.arange(len(counts)), counts)
    want = Counter(tuple(kind[list(idx)]) for idx in combinations(range(len(kind)), k))
    at, chance = distinct(counts, k, len(want))
    found = {tuple(kind[o]): c for o, c in zip(at, chance, strict=True)}
    assert len(at)==len(want)==len(found) and distinct(counts, k, len(want)-1) is None
    for o, n in want.items(): np.testing.assert_allclose(found[o], n/comb(len(kind), k))

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
    pytest.raises(InputError, oracle_loss, beam, np.ones((1, 4))/4, jsd, 1)

def test_settings_reach_the_exact_estimator():
    pool = demo([['sad', 'angry', 'happy', 'sad']], sum_logprob=[[-3, -4, -9, -8]], n_tokens=[[2, 4, 10, 1]])
    for score in ('mean', 'sum'):
        point = curve(pool, 'bon', [4], score=score)[0]
        np.testing.assert_allclose(point.L, predict('bon', pool, score=score).L)

def test_refusals_and_defaults():
    pool = big()
    for args, how, words in ((('mean', [13]), {}, 'from 1 to N=12'), (('mean', [0]), {}, 'from 1 to N=12'),
                             (('mean', [4]), dict(n_subsets=1), 'at least 2'), (('greedy', [1]), {}, 'greedy pools'),
                             (('mean', [1]), dict(metrics=METRICS), 'soft labels of shape'),
                             (('mean', [1], truth(pool), {'L': jsd}), {}, 'cannot be called'),
                             (('bon', [1]), dict(taw=2), 'setting of bon')):
        with pytest.raises(InputError, match=words): curve(pool, *args, **how)
    assert [o.low_resolution for o in curve(pool, 'mean', [1, 6, 7, 12], n_subsets=5)]==[False, False, True, True]
    assert [*curves(pool, ks=[1])]==[s for s in STRATEGIES if not applicable(s, pool)]
    assert [subset_count(o) for o in (1, 60, 10**6)]==[1100, 1042, 20]
