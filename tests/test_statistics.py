"Statistics: the unit is the speaker; against statsmodels, SciPy, brute force and simulation."
import itertools
import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings, strategies as st
from scipy import stats
from ambiscale_nb.core import InputError
from ambiscale_nb.metrics import hits, statistic
from ambiscale_nb.statistics import (FEW, MANY, Comparison, Estimate, cluster_ci, cluster_codes,
    group_mean, mean_ci, paired_difference, sign_flip)

def corpus(sizes, rng, icc=.05):
    "Values with mean 0 and variance 1, and their speakers."
    sizes = np.asarray(sizes)
    who = np.repeat(np.arange(len(sizes)), sizes)
    return rng.normal(0, np.sqrt(icc), len(sizes))[who]+rng.normal(0, np.sqrt(1-icc), len(who)), who

# ------------------------------------------------------------------ intervals
def test_equal_speakers_give_the_cluster_sandwich_of_statsmodels():
    x, who = corpus([30]*12, np.random.default_rng(0))
    fit = sm.OLS(x, np.ones(len(x))).fit(cov_type='cluster', cov_kwds={'groups': who}, use_t=True)
    low, high = fit.conf_int()[0]
    got = mean_ci(x, who)
    assert np.allclose([got.value, got.low, got.high], [fit.params[0], low, high])
    assert (got.method, got.n, got.clusters)==('cluster jackknife', 360, 12)

@pytest.mark.parametrize('level', [.9, .95])
def test_unequal_speakers_are_a_brute_force_jackknife(level):
    rng = np.random.default_rng(1)
    x, who = corpus([3, 40, 7, 100, 12, 5, 60], rng)
    left = np.array([x[who!=g].mean() for g in range(7)])
    half = stats.t.ppf((1+level)/2, 6)*np.sqrt(6/7*((left-x.mean())**2).sum())
    got = mean_ci(x, who, level=level)
    assert np.allclose([got.low, got.high], [x.mean()-half, x.mean()+half])

def test_uar_is_a_brute_force_jackknife():
    rng = np.random.default_rng(2)
    votes = rng.multinomial(5, [.5, .3, .2], 200)
    L, who = np.eye(3)[rng.integers(0, 3, 200)], rng.integers(0, 9, 200)
    got = cluster_ci(statistic('uar', L, votes), who)
    left = np.array([statistic('uar', L[who!=g], votes[who!=g])() for g in range(9)])
    half = stats.t.ppf(.975, 8)*np.sqrt(8/9*((left-got.value)**2).sum())
    assert np.isclose(got.high-got.value, half) and got.n==int(np.isfinite(hits(L, votes)).sum())

def test_many_speakers_are_bootstrapped_and_nearly_normal():
    x, who = corpus([20]*80, np.random.default_rng(3))
    got = mean_ci(x, who)
    means = x.reshape(80, 20).mean(1)
    half = 1.96*means.std()/np.sqrt(80)
    assert got.method=='cluster bootstrap'
    assert np.allclose([got.low, got.high], [x.mean()-half, x.mean()+half], atol=.15*half)
    assert mean_ci(x, who)==got                                        # seeded by the speakers
    assert mean_ci(x, who, rng=np.random.default_rng(0))!=got

@pytest.mark.parametrize('n_speakers', [8, MANY+5])
def test_nothing_depends_on_row_order_or_on_speakers_without_clips_that_count(n_speakers):
    rng = np.random.default_rng(4)
    x, who = corpus(rng.integers(2, 9, n_speakers), rng)
    order = rng.permutation(len(x))
    a, b = mean_ci(x, who), mean_ci(x[order], who[order])
    assert np.allclose([a.value, a.low, a.high], [b.value, b.low, b.high])
    c = mean_ci(np.r_[x, np.nan, np.nan], np.r_[who, 998, 999])
    assert np.allclose([a.low, a.high, a.n, a.clusters], [c.low, c.high, c.n, c.clusters])
    d = mean_ci(x, [f's{o:03}' for o in who])
    assert np.allclose(a.value, d.value) and a.clusters==d.clusters

def test_memory_chunks_do_not_change_the_bootstrap():
    x, who = corpus([3]*50, np.random.default_rng(5))
    reps = 40                                           # more clips: smaller chunks, same speakers
    a, b = mean_ci(x, who), mean_ci(np.tile(x, reps), np.tile(who, reps))
    assert np.allclose([a.low, a.high], [b.low, b.high])

@pytest.mark.parametrize('size,by_speaker,low', [((40,)*10, True, .92), ((20,)*24, True, .92),
                                                 ((12,)*50, True, .91), ((40,)*10, False, 0)])
def test_coverage(size, by_speaker, low):
    rng, held, runs = np.random.default_rng(6), 0, 300 if by_speaker else 80
    for _ in range(runs):
        x, who = corpus(size, rng)
        got = mean_ci(x, who if by_speaker else np.arange(len(x)), draws=300)
        held += got.low<=0<=got.high
    assert held/runs>=low if by_speaker else held/runs<.85       # clip by clip: too narrow

def test_coverage_with_unequal_speakers():
    rng, held = np.random.default_rng(7), 0
    for _ in range(400):
        x, who = corpus(np.maximum(2, rng.lognormal(3, 1, 10)).astype(int), rng, icc=.1)
        got = mean_ci(x, who)
        held += got.low<=0<=got.high
    assert held/400>=.88

def test_coverage_of_uar_with_ten_speakers():
    rng, held = np.random.default_rng(8), 0
    recall = np.array([.8, .5, .3])
    for _ in range(300):
        who, heard = np.repeat(np.arange(10), 40), rng.choice(3, 400, p=[.6, .3, .1])
        skill = np.clip(recall[heard]+rng.normal(0, .08, 10)[who], 0, 1)
        right = rng.random(400)<skill
        L = np.eye(3)[np.where(right, heard, (heard+1)%3)]
        got = cluster_ci(statistic('uar', L, np.eye(3)[heard]), who)
        held += got.low<=recall.mean()<=got.high
    assert held/300>=.91

# ------------------------------------------------------------------ refusals
def test_five_speakers_have_an_interval_but_no_p_value():
    x, who = corpus([20]*5, np.random.default_rng(9))
    got = paired_difference(x+1, np.zeros(100), who)
    assert got.low<1<got.high and got.method=='cluster jackknife'
    assert np.isnan(got.p) and '5 speakers' in got.p_reason and '0.0625' in got.p_reason
    six = paired_difference(x[:96]+5, np.zeros(96), np.repeat(range(6), 16))
    assert six.p==2/64 and FEW==6

@pytest.mark.parametrize('values,who,why', [
    ([1, 2, 3], ['a']*3, 'one speaker'), ([np.nan]*3, ['a', 'b', 'c'], 'no score: 0 of 3'),
    ([1, 1, 1], ['a', 'b', 'c'], 'no spread'), ([], [], 'no score: 0 of 0'),
    ([1.]*MANY, range(MANY), 'no spread')])
def test_no_interval_without_a_reason(values, who, why):
    got = mean_ci(values, list(who))
    assert why in got.reason and np.isnan(got.low) and got.method=='none'
    pair = paired_difference(values, np.zeros(len(values)), list(who))
    assert pair.reason and (pair.p_reason or np.isfinite(pair.p))

def test_a_resample_without_a_score_is_refused():
    def score(weights): return np.where(weights[:, 0]>0, weights.mean(1), np.nan)
    assert '1 of 6 resamples' in cluster_ci(score, list('abcdef')).reason

@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0., 1., .5, 1e-300, -3., np.nan]),
                          st.sampled_from([0., 1., np.nan]), st.integers(0, 8)), max_size=20))
def test_never_a_nan_without_a_reason(rows):
    a, b, who = (np.array(o) for o in zip(*rows, strict=True)) if rows else (np.array([]),)*3
    got = paired_difference(a, b, who)
    assert got.reason or np.isfinite([got.value, got.low, got.high]).all()
    assert got.p_reason or 0<got.p<=1
    assert not got.low>got.value and not got.high<got.value
    assert str(got)

def test_classes_refuse_a_nan_without_a_reason():
    with pytest.raises(ValueError, match='reason'): Estimate(np.nan, 0, 1, 1, 1, 'none')
    with pytest.raises(ValueError, match='reason'): Comparison(0, 0, 1, 1, 1, 'none', p=np.nan)

def test_input_errors_name_value_and_remedy():
    with pytest.raises(InputError, match='2 clips have no speaker, first row 0'):
        cluster_codes([np.nan, '', 'a'])
    with pytest.raises(InputError, match='one a clip'): mean_ci([1, 2], ['a'])
    with pytest.raises(InputError, match='same clips'): paired_difference([1, 2], [1], ['a', 'b'])

# ------------------------------------------------------------------ sign flips
@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([-2., -1., -.5, 0., .3, 1., 2., 4.]), min_size=6, max_size=9))
def test_exact_sign_flips_are_brute_force(sums):
    p, how, why = sign_flip(sums)
    if not any(sums): assert np.isnan(p) and 'no difference' in why; return
    flips = np.array(list(itertools.product([-1, 1], repeat=len(sums))))
    want = (np.abs(flips@sums)>=abs(sum(sums))-1e-9).mean()
    assert np.isclose(p, want) and how=='exact sign flips'

def test_sign_flips_are_scipys_paired_permutation():
    sums = np.random.default_rng(10).normal(.4, 1, 10)
    want = stats.permutation_test((sums, np.zeros(10)), lambda x, y, axis: (x-y).mean(axis=axis),
                                  permutation_type='samples', vectorized=True, n_resamples=np.inf)
    assert np.isclose(sign_flip(sums)[0], want.pvalue)

def test_random_sign_flips_come_close_to_exact_ones():
    sums = np.random.default_rng(11).normal(.3, 1, 20)
    flips = 1-2*(np.arange(2**20)[:, None]>>np.arange(20)&1).astype(np.int8)
    exact = (np.abs(flips@sums.astype(np.float32))>=abs(sums.sum())-1e-5).mean()
    got, how, _ = sign_flip(sums)
    assert how=='random sign flips' and abs(got-exact)<4*np.sqrt(exact*(1-exact)/9999)
    assert sign_flip(sums)==sign_flip(sums)

def test_size_and_power_of_the_paired_test():
    rng, found, power = np.random.default_rng(12), 0, 0
    for _ in range(300):
        x, who = corpus([15]*10, rng, icc=.2)
        sums = np.bincount(who, x)
        found += sign_flip(sums)[0]<=.05
        power += sign_flip(sums+15)[0]<=.05
    assert found/300<.085 and power/300>.95

def test_swapping_the_strategies_flips_the_sign():
    rng = np.random.default_rng(13)
    a, who = corpus(rng.integers(3, 20, 25), rng)
    b, groups = a+rng.normal(.2, 1, len(a)), rng.integers(0, 3, len(a))
    for g in (None, groups):
        one, two = paired_difference(a, b, who, g), paired_difference(b, a, who, g)
        assert np.isclose(one.value, -two.value) and np.isclose(one.low, -two.high)
        assert one.p==two.p

def test_class_balanced_permutation_is_swapping_the_strategies_outputs():
    rng = np.random.default_rng(14)
    votes = rng.multinomial(5, [.5, .3, .2], 90)
    who = np.repeat(range(6), 15)
    A, B = (np.eye(3)[rng.integers(0, 3, 90)] for _ in range(2))
    A[:60] = np.eye(3)[votes.argmax(1)[:60]]
    def gap(swap):
        s = np.array(swap)[who][:, None]
        return (statistic('uar', np.where(s, B, A), votes)()-statistic('uar', np.where(s, A, B), votes)())
    real = gap([False]*6)
    all_gaps = np.array([gap(o) for o in itertools.product([False, True], repeat=6)])
    got = paired_difference(hits(A, votes), hits(B, votes), who, groups=votes.argmax(1))
    assert np.isclose(got.value, real)
    assert np.isclose(got.p, (np.abs(all_gaps)>=abs(real)-1e-9).mean())

def test_group_mean_is_the_mean_of_group_means():
    values, groups = np.array([1, 3, 10, np.nan, 5]), np.array(['a', 'a', 'b', 'b', 'c'])
    score = group_mean(values, groups)
    assert np.allclose(score(np.array([[1., 1, 1, 1, 1], [1, 1, 1, 1, 0]])), [17/3, 6])
    assert np.isnan(score(np.zeros((1, 5)))[0])
