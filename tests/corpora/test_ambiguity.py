"Ambiguity: against brute force, closed forms and published examples; test_crema_d.py has the genuine votes of CREMA-D."
import itertools
from fractions import Fraction
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from scipy.special import gammaln
from ambiscale_nb.corpora.ambiguity import (LEVELS, Judgements, entropy, expand_votes,
    fit_prior, half_panels, judgements_of, krippendorff_alpha, leave_one_rater_out, noise_floor,
    posterior_draws, shared_credit, single_raters, soft_labels, strata, top_labels, vote_loglik)
from ambiscale_nb.core import InputError
from ambiscale_nb.metrics.metrics import bhattacharyya, brier, jsd

quick = settings(max_examples=60, deadline=None)

def plurality_accuracy(p, q): return (shared_credit(p)*shared_credit(q)).sum(-1)

@st.composite
def vote_tables(draw, whole=True):
    k = draw(st.integers(2, 6))
    row = st.lists(st.integers(0, 9), min_size=k, max_size=k).filter(any)
    votes = np.array(draw(st.lists(row, min_size=1, max_size=8)), float)
    return votes if whole else votes/draw(st.sampled_from([1., 3., 7.]))

@st.composite
def split_panels(draw):  # Raters who each name one to four of six labels: exact votes as fractions
    raters = draw(st.lists(st.sets(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=9))
    votes = [Fraction(0)]*6
    for said in raters:
        for k in said: votes[k] += Fraction(1, len(said))
    return raters, votes

def outcomes(n, k):  # Every way in which n votes fall on k labels
    for bars in itertools.combinations(range(n+k-1), k-1):
        edges = (-1, *bars, n+k-1)
        yield [b-a-1 for a, b in itertools.pairwise(edges)]

# ------------------------------------------------------------------ soft labels, entropy, strata
@quick
@given(vote_tables(whole=False))
def test_soft_labels_are_distributions(votes):
    y = soft_labels(votes)
    assert np.allclose(y.sum(1), 1) and (y>=0).all()
    h = entropy(y)
    assert (h>=0).all() and (h<=np.log2(votes.shape[1])+1e-9).all()
    assert np.allclose(h, stats.entropy(y, base=2, axis=1))
    assert np.allclose(entropy(y, normalised=True), h/np.log2(votes.shape[1]))

def test_refusals_name_how_many_and_which():
    votes = np.ones((30, 3))
    votes[[3, 5, 7, 11, 13, 17, 19]] = 0
    with pytest.raises(InputError, match=r'7 of 30 clips have no vote.*: rows 3, 5, 7, 11, 13, \.\.\.'):
        soft_labels(votes)
    for bad in ([[np.nan, 1]], [[np.inf, 1]], [[-1, 1]], [1, 2]):
        with pytest.raises(InputError, match='1 of 1|one column per label'): soft_labels(bad)

def exact_stratum(votes):
    most, n = max(votes), sum(votes)
    if sum(o==most for o in votes)>1: return 'tie'
    if most==n: return 'unanimous'
    return 'strong' if 3*most>2*n else 'weak'

@settings(max_examples=300, deadline=None)
@given(split_panels())
def test_strata_of_split_votes_agree_with_exact_fractions(panel):
    raters, votes = panel
    summed = np.zeros(6)
    for said in raters:
        for k in said: summed[k] += 1/len(said)   # rounding errors, as a loader makes them
    assert strata([summed])[0]==exact_stratum(votes)
    assert strata([np.round(summed, 4)])[0]==exact_stratum(votes)
    assert strata([summed/summed.sum()])[0]==exact_stratum(votes)

@quick
@given(vote_tables(), st.randoms(use_true_random=False))
def test_strata_are_integer_comparisons_and_ignore_label_order(votes, random):
    assert list(strata(votes))==[exact_stratum([int(o) for o in row]) for row in votes]
    order = random.sample(range(votes.shape[1]), votes.shape[1])
    assert (strata(votes[:, order])==strata(votes)).all()
    assert (top_labels(votes[:, order])==top_labels(votes)[:, order]).all()
    assert np.allclose(shared_credit(votes).sum(1), 1)
    large = 10_000*votes
    large[0, votes[0].argmax()] += 1
    assert list(strata(large))==[exact_stratum([int(o) for o in row]) for row in large]

# ------------------------------------------------------------------ prior and posterior
def test_loglik_is_scipys_without_the_coefficient():
    votes, alpha = np.array([[3, 1, 0], [2, 2, 2]]), np.array([.5, 1.2, .3])
    for v in votes:
        ways = gammaln(v.sum()+1)-gammaln(v+1).sum()
        assert np.isclose(vote_loglik(v, alpha)+ways,
                          stats.dirichlet_multinomial.logpmf(v, alpha, v.sum()))

@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 10))
def test_fitted_prior_is_a_maximum(seed, k, raters):
    rng = np.random.default_rng(seed)
    votes = rng.multinomial(raters, rng.dirichlet(rng.uniform(.1, 3, k), size=200))
    alpha = fit_prior(votes)
    best = vote_loglik(votes, alpha).sum()
    for j, step in itertools.product(range(k), (.97, 1.03)):
        other = alpha.copy()
        other[j] = np.clip(other[j]*step, 1e-3, 1e3)
        assert vote_loglik(votes, other).sum()<=best+.02
    order = rng.permutation(k)
    assert np.allclose(fit_prior(votes[:, order]), alpha[order], rtol=.05)

def test_prior_of_unanimous_and_of_identical_clips_stays_in_bounds():
    lone, alike = fit_prior(np.eye(3)[[0, 1, 2]*20]*5), fit_prior(np.tile([2, 2, 2], (50, 1)))
    assert (lone>=.999e-3).all() and lone.max()<.1 and np.isfinite(alike).all() and alike.max()<=1000.1

# ------------------------------------------------------------------ floors
# Floors that were simulated elsewhere are held to their second digit, and to exact enumeration
@pytest.mark.parametrize('raters,floor', [(3, .154), (5, .094), (10, .046), (100, .004)])
def test_floor_of_a_perfect_predictor(raters, floor):
    p = np.array([.6, .3, .1])
    votes = np.array(list(outcomes(raters, 3)))
    weight = stats.multinomial.pmf(votes, raters, p)
    exact = weight@jsd(p, votes/raters)
    assert np.isclose(exact, floor, atol=.003)
    known = noise_floor(votes, jsd, p*1e7, 50)     # a prior that leaves no doubt
    assert np.isclose(weight@known, exact, atol=.001)

@settings(max_examples=15, deadline=None)
@given(vote_tables(), st.floats(.1, 2))
def test_floor_of_brier_has_a_closed_form(votes, alpha):
    a = votes+alpha
    n, y = a.sum(1, keepdims=True), votes/votes.sum(1, keepdims=True)
    exact = (a*(n-a)/n**2/(n+1)+(a/n-y)**2).sum(1)
    got = noise_floor(votes, brier, alpha, 4000, np.random.default_rng(1))
    assert np.allclose(got, exact, atol=.04)

@pytest.mark.parametrize('raters', [3, 5, 10])
@pytest.mark.parametrize('metric', [jsd, brier, plurality_accuracy])
def test_floor_is_that_of_the_known_population_in_every_stratum(raters, metric):
    rng = np.random.default_rng(raters)
    truth = rng.dirichlet([.2, .3, .1, .4], size=20_000)
    votes = rng.multinomial(raters, truth)
    true, got = metric(truth, votes/raters), noise_floor(votes, metric, fit_prior(votes), 1000)
    stratum = strata(votes)
    levels = np.array([LEVELS[o] for o in stratum])
    use = stratum!='tie' if metric is plurality_accuracy else stratum!=''
    for here in (use, use & (levels=='clear'), use & (levels=='ambiguous')):
        assert np.isclose(got[here].mean(), true[here].mean(), rtol=.03, atol=.001)

def test_posterior_draws_are_dirichlet_and_reproducible():
    votes, alpha = np.array([[3, 1, 0], [.5, 0, 1], [3, 1, 0]]), np.array([.2, .4, .3])
    drawn, a = posterior_draws(votes, alpha, 20_000), votes+alpha
    n = a.sum(1, keepdims=True)
    assert np.allclose(drawn.mean(0), a/n, atol=.01) and np.allclose(drawn.var(0), a*(n-a)/n**2/(n+1), atol=.005)
    assert (posterior_draws(votes, alpha, 7)==posterior_draws(votes, alpha, 7)).all()
    assert abs(np.corrcoef(drawn[:, 0, 0], drawn[:, 2, 0])[0, 1])<.05     # equal votes, independent draws

def test_floors_of_equal_votes_are_equal():
    votes = np.random.default_rng(0).multinomial(5, [.4, .3, .3], size=40)
    floor = noise_floor(votes, jsd, .5, 100)
    for row in np.unique(votes, axis=0): assert np.ptp(floor[(votes==row).all(1)])==0

# ------------------------------------------------------------------ judgements and single raters
def random_judgements(seed, n_clips=6, k=4, split=.4):
    rng = np.random.default_rng(seed)
    said, owner = [], []
    for u in range(n_clips):
        for _ in range(rng.integers(0, 7)):
            v = np.zeros(k)
            v[rng.choice(k, 2 if rng.random()<split else 1, replace=False)] = 1
            said.append(v/v.sum()); owner.append(u)
    return Judgements(np.array(said), np.array(owner), n_clips)

@pytest.mark.parametrize('n', [4, 5, 6])
def test_half_panels_are_the_mean_over_all_splits(n):
    said = np.eye(3)[[0, 0, 1, 2, 1, 0][:n]]
    js = Judgements(said, np.zeros(n, int), 1)
    half, want = n//2, []
    for a in itertools.combinations(range(n), half):
        rest = [i for i in range(n) if i not in a]
        want += [jsd(said[list(a)].mean(0), said[list(b)].mean(0))
                 for b in itertools.combinations(rest, half)]
    pairs = half_panels(js, 3000)
    assert np.isclose(pairs.by_clip(jsd(pairs.said, pairs.truth))[0], np.mean(want), atol=.01)

def test_half_panels_leave_small_panels_out():
    pairs = half_panels(expand_votes([[2, 1], [3, 1], [4, 4]]))
    assert list(np.isnan(pairs.by_clip(jsd(pairs.said, pairs.truth))))==[True, False, False]
    assert set(pairs.owner)=={1, 2} and set(pairs.panel)=={2, 4} and len(pairs.owner)==40

@pytest.mark.parametrize('raters', [3, 5, 10])
@pytest.mark.parametrize('metric', [jsd, brier])
def test_one_more_rater_is_a_fresh_rater_in_every_stratum(raters, metric):
    "A rater who was not asked, against as many others, in the strata of those others."
    rng = np.random.default_rng(raters)
    truth = rng.dirichlet([.5, .4, .3, .2], 30_000)
    pairs = single_raters(expand_votes(rng.multinomial(raters, truth)))
    fresh, panel = rng.multinomial(1, truth), rng.multinomial(raters-1, truth)
    value, want = metric(pairs.said, pairs.truth), metric(fresh, panel/(raters-1))
    level = np.array([LEVELS[o] for o in strata(panel)])
    for o in ('clear', 'ambiguous'):
        assert np.isclose(value[pairs.level==o].mean(), want[level==o].mean(), atol=.012)
    assert (pairs.panel==raters-1).all() and np.isclose(value.mean(), want.mean(), atol=.01)

@pytest.mark.parametrize('seed', range(5))
def test_single_raters_are_brute_force(seed):  # Pairs, and their means for three metrics
    js = random_judgements(seed)
    pairs = single_raters(js)
    metrics = {o: leave_one_rater_out(js, o) for o in (jsd, bhattacharyya, plurality_accuracy)}
    for u in range(js.n_clips):
        votes, rows = js.said[js.owner==u], np.flatnonzero(pairs.owner==u)
        assert len(rows)==(len(votes) if len(votes)>1 else 0)
        rest = [np.delete(votes, r, 0) for r in range(len(votes))]
        for r, j in enumerate(rows):
            assert np.allclose(pairs.said[j], votes[r]/votes[r].sum()) and np.allclose(pairs.votes[j], rest[r].sum(0))
            assert pairs.level[j]==(LEVELS[strata(rest[r].sum(0)[None])[0]] if len(votes)>2 else '')
        for metric, got in metrics.items():
            if not len(rows): assert np.isnan(got[u]); continue
            assert np.isclose(got[u], np.mean([metric(v, o.mean(0)) for v, o in zip(votes, rest, strict=True)]))

def test_judgements_do_not_depend_on_the_order_of_ratings():
    rng = np.random.default_rng(0)
    ratings = pd.DataFrame([(f'u{u}', f'r{r}', 'abc'[rng.integers(3)], 1.)
                            for u in range(8) for r in range(5)], columns=['uid', 'rater', 'label', 'weight'])
    uids = [f'u{u}' for u in range(8)]
    a, b = (judgements_of(o, uids, 'abc') for o in (ratings, ratings.sample(frac=1, random_state=1)))
    assert (a.said==b.said).all() and (a.owner==b.owner).all()
    assert np.allclose(leave_one_rater_out(a, jsd), leave_one_rater_out(expand_votes(a.sums(a.said)), jsd))
    some = judgements_of(ratings, uids[:3], 'ab')      # other clips and labels are left out
    kept = ratings.uid.isin(uids[:3]) & ratings.label.isin(['a', 'b'])
    assert some.n_clips==3 and some.raters.sum()==kept.sum()
    with pytest.raises(InputError, match='weight'): judgements_of(ratings.drop(columns='weight'), uids, 'abc')

# ------------------------------------------------------------------ agreement
def test_krippendorffs_four_observer_example():
    rows = ['123321412000', '123322412503', '033323422510', '123324412510']   # 0: not rated
    votes = np.zeros((12, 5))
    for row in rows:
        for u, o in enumerate(row):
            if o!='0': votes[u, int(o)-1] += 1
    assert np.isclose(krippendorff_alpha(expand_votes(votes)), .743, atol=5e-4)

def test_alpha_of_split_votes_is_the_expected_disagreement():
    js = random_judgements(2)
    n = js.raters
    keep = n[js.owner]>1
    v, who = js.said[keep], js.owner[keep]
    observed = sum((1-v[i]@v[j])/(n[u]-1) for u in np.unique(who)
                   for i, j in itertools.permutations(np.flatnonzero(who==u), 2))/len(v)
    expected = np.mean([1-v[i]@v[j] for i, j in itertools.permutations(range(len(v)), 2)])
    assert np.isclose(krippendorff_alpha(js), 1-observed/expected)
