"Statistics: the unit is the speaker; against statsmodels, SciPy, brute force and simulation."
import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings, strategies as st
from scipy import stats
from ambiscale_nb.metrics.metrics import hits, mean_of, of_sums, statistic
from ambiscale_nb.metrics.statistics import (Estimate, at_level, cluster_ci,
    holm, mean_ci, paired_difference, paired_statistics, proportion_ci, tied_ranks)

def corpus(sizes, rng, icc=.05):
    "Values with mean 0 and variance 1, and their speakers."
    sizes = np.asarray(sizes)
    who = np.repeat(np.arange(len(sizes)), sizes)
    return rng.normal(0, np.sqrt(icc), len(sizes))[who]+rng.normal(0, np.sqrt(1-icc), len(who)), who

# ---- intervals
def test_equal_speakers_give_the_cluster_sandwich_of_statsmodels():
    x, who = corpus([30]*12, np.random.default_rng(0))
    fit = sm.OLS(x, np.ones(len(x))).fit(cov_type='cluster', cov_kwds={'groups': who}, use_t=True)
    low, high = fit.conf_int()[0]
    got = mean_ci(x, who)
    assert np.allclose([got.value, got.low, got.high], [fit.params[0], low, high])
    assert (got.method, got.n, got.clusters)==('cluster jackknife', 360, 12)

def ends_of_a_jackknife(score, who, share, level=.95):
    "The ends of the interval of a score of clips, by leaving out one speaker after the other."
    value, G = score(np.ones(len(who), bool)), who.max()+1
    error = np.sqrt((G-1)/G*sum((score(who!=g)-value)**2 for g in range(G)))
    half = stats.t.ppf((1+level)/2, share.sum()**2/(share**2).sum()-1)*error
    return [value-half, value+half]

@pytest.mark.parametrize('level', [.9, .95])
def test_unequal_speakers_are_a_brute_force_jackknife(level):
    x, who = corpus([3, 40, 7, 100, 12, 5, 60], np.random.default_rng(1))
    got = at_level(mean_ci(x, who), level)
    assert np.allclose([got.low, got.high], ends_of_a_jackknife(lambda o: x[o].mean(), who, np.bincount(who), level))

def test_uar_is_a_brute_force_jackknife():
    rng = np.random.default_rng(2)
    votes = rng.multinomial(5, [.5, .3, .2], 200)
    L, who = np.eye(3)[rng.integers(0, 3, 200)], rng.integers(0, 9, 200)
    got, count = cluster_ci(statistic('uar', L, votes), who), np.isfinite(hits(L, votes))
    want = ends_of_a_jackknife(lambda o: statistic('uar', L[o], votes[o])(), who, np.bincount(who[count]))
    assert np.allclose([got.low, got.high], want) and got.n==count.sum()

@pytest.mark.parametrize('n_speakers', [8, 45])
def test_nothing_depends_on_row_order_on_names_or_on_speakers_without_clips_that_count(n_speakers):
    rng = np.random.default_rng(4)
    x, who = corpus(rng.integers(2, 9, n_speakers), rng)
    order, a = rng.permutation(len(x)), mean_ci(x, who)
    for b in (mean_ci(x[order], who[order]), mean_ci(x, [f's{o:03}' for o in who]),
              mean_ci(np.r_[x, np.nan, np.nan], np.r_[who, 998, 999])):
        assert np.allclose([a.value, a.low, a.high, a.n, a.clusters], [b.value, b.low, b.high, b.n, b.clusters])

@pytest.mark.parametrize('speakers,sd', [(10, .5), (10, 1), (30, 1)])
def test_coverage_with_unequal_speakers(speakers, sd):
    rng, held = np.random.default_rng(77), []
    while len(held)<1500:
        x, who = corpus(np.maximum(2, rng.lognormal(3, sd, speakers)).astype(int), rng, icc=.1)
        got = mean_ci(x, who)
        if not got.reason: held.append(got.low<=0<=got.high)
    assert np.mean(held)>=.93

def test_coverage_of_uar_with_ten_speakers():
    rng, rates, held = np.random.default_rng(5), np.array([.7, .5, .4]), []
    label, who = np.tile([0, 1, 2], 100), np.repeat(range(10), 30)
    for _ in range(600):
        right = rng.random(300) < rates[label]*np.repeat(rng.uniform(.8, 1.2, 10), 30)
        L = np.eye(3)[np.where(right, label, (label+1)%3)]
        got = cluster_ci(statistic('uar', L, 9*np.eye(3)[label]), who)
        held.append(got.low<=rates.mean()<=got.high)
    assert .92<=np.mean(held)<=.98

# ---- refusals
@pytest.mark.parametrize('values,who,why', [
    ([1, 2, 3], ['a']*3, 'one speaker: an'), ([np.nan]*3, ['a', 'b', 'c'], 'no score: 0 of 3'),
    ([1, 1, 1], ['a', 'b', 'c'], '3 speakers'), ([], [], 'no score: 0 of 0'),
    ([1.]*40, range(40), 'no spread'), ([.5]*6, range(6), 'no spread'),
    (range(20), [*range(5)]*4, '5 speakers: an interval needs 6')])
def test_no_interval_without_a_reason(values, who, why):
    got = mean_ci(values, list(who))
    assert why in got.reason and np.isnan(got.low) and got.method=='none'
    pair = paired_difference(values, np.zeros(len(values)), list(who))
    assert pair.reason and np.isnan(pair.p)

def test_a_speaker_without_whom_there_is_no_score_is_named():
    def score(weights): return np.where(weights[:, 0]>0, weights.mean(1), np.nan)
    assert 'no score without 1 of 6 speakers' in cluster_ci(score, list('abcdef')).reason

@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from([0., 1., .5, 1e-300, -3., np.nan]),
                          st.sampled_from([0., 1., np.nan]), st.integers(0, 8)), max_size=20))
def test_never_a_nan_without_a_reason(rows):
    a, b, who = (np.array(o) for o in zip(*rows, strict=True)) if rows else (np.array([]),)*3
    got = paired_difference(a, b, who)
    assert got.reason or np.isfinite([got.value, got.low, got.high]).all()
    assert got.reason and np.isnan(got.p) or 0<got.p<=1
    assert not got.low>got.value and not got.high<got.value
    assert str(got)

def test_classes_refuse_a_nan_without_a_reason():
    with pytest.raises(ValueError, match='reason'): Estimate(np.nan, 0, 1, 1, 1, 'none')

# ---- tests and intervals are one procedure
@settings(max_examples=100)
@given(st.integers(6, 30), st.floats(0, 1.2), st.floats(-1, 1), st.integers(0, 10**6))
def test_p_is_below_a_level_exactly_where_the_interval_leaves_out_zero(speakers, sd, shift, seed):
    rng = np.random.default_rng(seed)
    x, who = corpus(np.maximum(1, rng.lognormal(2, sd, speakers)).astype(int), rng)
    got = paired_difference(x+shift, np.zeros(len(x)), who)
    if got.reason: return
    for level in (.5, .9, .95, .999):
        e = at_level(got, level)
        assert (got.p<1-level)==(not e.low<=0<=e.high)
        assert e.value==got.value and np.isclose(at_level(e, .95).low, got.low)
    touching = at_level(got, 1-got.p)
    if got.p>1e-6: assert np.isclose(touching.low if got.value>0 else touching.high, 0, atol=1e-6)

@pytest.mark.parametrize('sd', [0, 1])
def test_size_and_power_of_the_paired_test(sd):
    rng, found, power, runs = np.random.default_rng(12), 0, 0, 0
    while runs<400:
        x, who = corpus(np.maximum(2, rng.lognormal(2.7, sd, 10)).astype(int), rng, icc=.2)
        null = mean_ci(x, who)
        if null.reason: continue
        runs += 1; found += null.p<=.05; power += mean_ci(x+2, who).p<=.05
    assert found/runs<.08 and power/runs>.95

def test_tied_means_not_significantly_worse_than_the_best():
    rng = np.random.default_rng(15)
    base, who = corpus([30]*12, rng)
    scores = {o: mean_of(base+by+rng.normal(0, .2, len(base))) for o, by in (('a', 0), ('b', .01), ('c', .5))}
    table = tied_ranks(scores, who, 'lower').set_index('strategy')
    best = table.value.idxmin()
    for o in scores:
        worse = paired_statistics(scores[o], scores[best], who)
        assert table.tied[o]==(o==best or not (worse.value>0 and 3*worse.p<=.05))
    assert table.tied.to_dict()==dict(a=True, b=True, c=False) and (table.n==360).all()

# ---- accuracies
def proportion(hits, who, weights=None):
    weights = np.ones(len(hits)) if weights is None else np.asarray(weights)
    parts = np.stack([weights*hits, weights], 1)
    score = of_sums('accuracy', parts, lambda s: s[..., 0]/s[..., 1], weights>0)
    return proportion_ci(cluster_ci(score, who), hits, weights, who)

@pytest.mark.parametrize('n', [6, 20, 40])
def test_certain_answers_have_the_wilson_interval_of_single_clips(n):
    for hit, ends in ((1., lambda e: (e.low, e.high)), (0., lambda e: (1-e.high, 1-e.low))):
        e, t = proportion(np.full(n, hit), np.arange(n)), stats.t.ppf(.975, n-1)
        assert np.allclose(ends(e), [n/(n+t**2), 1]) and e.method=='Wilson' and not e.reason and np.isnan(e.se)

@pytest.mark.parametrize('seed', range(4))
def test_a_wilson_interval_has_the_accuracies_that_a_t_test_does_not_reject(seed):
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(14), rng.integers(4, 30, 14))
    hits = (rng.random(len(who))<rng.beta(9, 2, 14)[who]).astype(float)
    e, plain = proportion(hits, who), cluster_ci(mean_of(hits), who)
    v, t = hits.mean(), stats.t.ppf(.975, plain.df)
    size, missed = np.bincount(who), np.bincount(who, 1-hits)
    m, G = missed.sum()**2/(missed**2).sum(), size.sum()**2/(size**2).sum()
    share, U = max(0, 1-m/G)*6/(6+m), len(hits)
    assumed = U**2/(U+.05*((size**2).sum()-U))
    n = (v*(1-v)/plain.se**2)**(1-share)*assumed**share
    for p in (e.low, e.high): assert np.isclose(abs(v-p), t*np.sqrt(p*(1-p)/n))
    back = proportion(1-hits, who)
    assert np.allclose([back.low, back.high], [1-e.high, 1-e.low]) and 0<e.low<v<e.high<1

def test_intervals_of_accuracies_are_wider_with_fewer_speakers_and_unequal_weights():
    def low(who, weights=None): return proportion(np.ones(len(who)), np.asarray(who), weights).low
    assert low(np.arange(120)%6)<low(np.arange(120)%24)<low(np.arange(120))
    assert low(np.arange(120), np.r_[np.full(100, 1/100), np.full(20, 1/20)])<low(np.arange(120))

def test_what_has_no_interval_of_a_mean_has_none_of_an_accuracy():
    for who in (np.arange(60)%5, np.r_[np.arange(6), np.full(54, 6)]):
        e = proportion(np.arange(60)%3/2, who)
        assert np.isnan([e.low, e.high]).all() and e.reason
    same = proportion(np.tile([1., 1, 1, 0], 12), np.repeat(np.arange(12), 4))  # no spread, and not certain
    assert same.value==.75 and 0<same.low<.75<same.high<1 and not same.reason

@pytest.mark.parametrize('speakers, per', [(10, 20), (91, 5)])
@pytest.mark.parametrize('p', [.9, .98])
def test_coverage_of_accuracies_near_one(speakers, per, p):
    rng, held = np.random.default_rng(7), []
    for _ in range(300):
        who = np.repeat(np.arange(speakers), np.maximum(1, np.rint(per*rng.lognormal(-.125, .5, speakers))).astype(int))
        e = proportion((rng.random(len(who))<rng.beta(p*19, (1-p)*19, speakers)[who]).astype(float), who)
        held.append(e.low<=p<=e.high)
    assert np.mean(held)>.92

# ---- comparisons
@pytest.mark.parametrize('n', [1, 2, 7, 60])
def test_holm_is_that_of_statsmodels(n):
    "Ties and refused tests included, in any order."
    from statsmodels.stats.multitest import multipletests
    for seed in range(8):
        rng = np.random.default_rng(seed)
        p = rng.choice([*rng.uniform(size=n)**3, .04, np.nan], n)
        want = multipletests(np.nan_to_num(p, nan=1.), method='holm')[1]
        np.testing.assert_allclose(holm(p), np.where(np.isnan(p), np.nan, want), rtol=1e-12)
