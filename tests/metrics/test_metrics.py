"Metrics: bounds, symmetry, relabelling, SciPy and scikit-learn, brute force over ties and votes."
import itertools
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon
from sklearn import metrics as sk
from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.ambiguity import Judgements, expand_votes, soft_labels, top_labels
from ambiscale_nb.metrics.metrics import (METRICS, bhattacharyya, brier, hits, jsd, rater_noise, soft_accuracy, statistic, utterance_scores)

quick = settings(max_examples=80, deadline=None)
DIST, LABEL = ([o for o in METRICS if METRICS[o].kind==kind] for kind in ('dist', 'label'))
LINEAR = [o for o in LABEL if not o.endswith('f1')]   # a mean over clips or classes; F1 is a ratio of credits

@st.composite
def pairs(draw):
    "Two rows of distributions with zeros, equal rows and vanishing entries among them."
    k, n = draw(st.integers(2, 6)), draw(st.integers(1, 5))
    weight = st.sampled_from([0., 1., 2., 5., .1, 1e-12, 1e-300, 5e-324])
    row = st.lists(weight, min_size=k, max_size=k).filter(lambda o: sum(o)>.05)
    p, q = (np.array(draw(st.lists(row, min_size=n, max_size=n))) for _ in range(2))
    if draw(st.booleans()): q = p
    return p/p.sum(1, keepdims=True), q/q.sum(1, keepdims=True)

@st.composite
def labelled(draw):
    "Labels as credit, some of it without an answer, and votes with ties."
    k, n = draw(st.integers(2, 5)), draw(st.integers(1, 9))
    row = st.lists(st.integers(0, 4), min_size=k, max_size=k)
    votes = np.array(draw(st.lists(row.filter(any), min_size=n, max_size=n)))
    credit = np.array(draw(st.lists(row, min_size=n, max_size=n)), float)
    none = np.array(draw(st.lists(st.sampled_from([0, 0, 1, 3]), min_size=n, max_size=n)))
    return credit/np.maximum(credit.sum(1)+none, 1)[:, None], votes

def random_study(seed, n=40, k=4):
    "Outputs by kind, and votes."
    rng = np.random.default_rng(seed)
    votes = rng.multinomial(5, rng.dirichlet(np.full(k, .7), n))
    L = np.eye(k)[rng.integers(0, k, n)]
    L[rng.random(n)<.2] = 0
    return dict(dist=rng.dirichlet(np.full(k, .5), n), label=L), votes

def score(name, output, votes): return float(statistic(name, output, votes)())

# ---- distributions
@quick
@given(pairs())
def test_divergences_are_bounded_symmetric_and_ordered(pq):
    p, q = pq
    tv, bc, js = np.abs(p-q).sum(1)/2, bhattacharyya(p, q), jsd(p, q)
    for m in (jsd, bhattacharyya, brier): np.testing.assert_allclose(m(p, q), m(q, p), atol=1e-12)
    assert ((js>=0) & (js<=1) & (bc>=-1e-12) & (bc<=1+1e-12) & (brier(p, q)<=2+1e-12)).all() and (jsd(p, p)<1e-15).all()
    with np.errstate(all='ignore'): want = jensenshannon(p, q, base=2, axis=1)**2
    known = np.isfinite(want)
    np.testing.assert_allclose(js[known], want[known], atol=1e-9)
    assert (1-bc<=tv+1e-9).all() and (tv<=np.sqrt(np.maximum(1-bc**2, 0))+1e-6).all()   # Hellinger
    assert (js<=tv+1e-9).all()                                                          # Lin 1991

def test_brier_is_that_of_sklearn():
    rng = np.random.default_rng(0)
    p, label = rng.dirichlet([1, 1, 1], 50), rng.integers(0, 3, 50)
    want = sk.brier_score_loss(label, p, labels=[0, 1, 2], scale_by_half=False)
    assert np.isclose(brier(p, np.eye(3)[label]).mean(), want)

@pytest.mark.parametrize('bad', [[.5, .6], [-.1, 1.1], [np.nan, 1], [np.inf, 0], [0, 0]])
@pytest.mark.parametrize('name', DIST)
def test_what_is_no_distribution_is_refused(name, bad):
    with pytest.raises(InputError, match='no distribution'): statistic(name, [bad], [[2, 1]])

def test_single_precision_leading_axes_and_single_clips():
    p = np.random.default_rng(0).dirichlet(np.ones(8), 50).astype(np.float32)
    assert np.isfinite(jsd(p, p[::-1])).all()
    outputs, votes = random_study(0)
    many = np.stack([outputs['dist'], outputs['dist'][::-1]])
    for name in (o for o in DIST if METRICS[o].scope=='utterance'):
        got, one = (utterance_scores(name, o, votes) for o in (many, outputs['dist']))
        assert got.shape==(2, 40) and np.allclose(got[0], one)
    assert np.ndim(jsd([1, 0], [.5, .5]))==0 and np.ndim(soft_accuracy([1, 0], [.5, .5]))==0
    assert hits([1, 0], [3, 1])==1 and np.isnan(hits([1, 0], [1, 1]))

# ---- debiased Brier
def debiased(guess, votes, noise=None): return utterance_scores('brier_debiased', guess, votes, noise)

@pytest.mark.parametrize('raters', [2, 3, 5])
def test_debiased_brier_is_unbiased_over_all_votes(raters):
    p, guess = np.array([.6, .3, .1]), np.array([.2, .5, .3])
    votes = np.array([o for o in itertools.product(range(raters+1), repeat=3) if sum(o)==raters])
    weight, known = stats.multinomial.pmf(votes, raters, p), ((guess-p)**2).sum()
    assert np.isclose(weight@debiased(guess, votes), known)
    assert np.isclose(weight@brier(guess, soft_labels(votes)), known+(1-(p**2).sum())/raters)

@pytest.mark.parametrize('raters', [2, 3])
def test_rater_noise_is_unbiased_where_raters_split_votes(raters):
    says, chance = np.array([[1, 0, 0], [0, 1, 0], [.5, .5, 0], [0, .5, .5]]), np.array([.4, .2, .3, .1])
    guess, fair, plain = np.array([.2, .5, .3]), 0, 0
    for picks in itertools.product(range(4), repeat=raters):
        v, weight = says[list(picks)], chance[list(picks)].prod()
        total = v.sum(0)[None]
        fair += weight*debiased(guess[None], total, rater_noise(Judgements(v, np.zeros(raters, int), 1)))[0]
        plain += weight*(brier(guess, total[0]/raters)-(1-(total[0]**2).sum()/raters**2)/(raters-1))
    assert np.isclose(fair, ((guess-chance@says)**2).sum())
    assert plain<fair-.02         # the formula for counts takes off too much

@pytest.mark.parametrize('raters', [3, 4, 10])
def test_debiased_brier_is_unbiased_where_raters_are_partly_out_of_the_set(raters):
    "Each rater counts alike; counted by the mass inside the set, the soft label is a ratio and the score biased."
    rng = np.random.default_rng(raters)
    U, K, truth = 40_000, 3, np.array([.6, .3, .1])
    who, label = np.repeat(np.arange(U), raters), rng.choice(K, U*raters, p=truth)
    inside = np.where((label==0) & (rng.random(U*raters)<.6), .5, 1)      # half of the vote is outside
    js = Judgements(np.eye(K)[label]*inside[:, None], who, U)
    guess = np.tile([.2, .5, .3], (U, 1))
    got, exact = debiased(guess, js.equal_votes, rater_noise(js)), ((guess[0]-truth)**2).sum()
    assert abs(got.mean()-exact)<4*got.std()/U**.5
    if raters==3: assert abs(debiased(guess, js.sums(js.said), rater_noise(js)).mean()-exact)>.005

def test_rater_noise_of_whole_votes_is_that_of_counts_and_scales_with_mass():
    votes = np.random.default_rng(0).multinomial(4, [.4, .3, .3], size=20)
    js, y = expand_votes(votes), soft_labels(votes)
    np.testing.assert_allclose(rater_noise(js), (1-(y**2).sum(1))/3)
    np.testing.assert_allclose(rater_noise(Judgements(js.said/2, js.owner, 20)), rater_noise(js))

def test_one_rater_is_left_out_and_counted():
    got = statistic('brier_debiased', np.full((3, 2), .5), np.array([[1, 0], [2, 1], [0, 1]]))
    assert got.used.tolist()==[False, True, False] and np.isfinite(got())
    assert np.isnan(rater_noise(Judgements(np.array([[1., 0]]), np.array([1]), 3))).all()

# ---- labels
def test_accuracy_uar_and_f1_are_sklearns():
    "An answer that could not be read is wrong, never neutral."
    outputs, votes = random_study(1, 200)
    L, clear = outputs['label'], top_labels(votes).sum(1)==1
    human, said = votes.argmax(1)[clear], np.where(L.sum(1)>0, L.argmax(1), 4)[clear]   # 4: no answer
    assert np.isclose(score('accuracy', L, votes), sk.accuracy_score(human, said))
    for name, m in (('uar', sk.recall_score), ('macro_f1', sk.f1_score)):
        for weights in (np.ones(200), np.random.default_rng(0).integers(0, 4, 200)):
            want = m(human, said, labels=range(4), average='macro', sample_weight=weights[clear])
            assert np.isclose(statistic(name, L, votes)(weights), want)

@pytest.mark.parametrize('name', LINEAR)
def test_a_tie_earns_the_mean_over_its_resolutions(name):
    votes, sets = np.array([[3, 1, 0], [0, 2, 1], [1, 0, 4], [2, 1, 0]]), [(0, 1), (1, 2), (0, 1, 2), (2,)]
    L = np.array([np.eye(3)[list(s)].mean(0) for s in sets])
    want = np.mean([score(name, np.eye(3)[list(o)], votes) for o in itertools.product(*sets)])
    assert np.isclose(score(name, L, votes), want)

@quick
@given(labelled())
def test_label_scores_are_bounded_and_leave_out_human_ties_alone(data):
    L, votes = data
    unique = top_labels(votes).sum(1)==1
    for name in LABEL:
        got = statistic(name, L, votes)
        assert got.used.tolist()==(unique | (name=='soft_accuracy')).tolist()
        assert -1e-12<=got()<=1+1e-12 if got.used.any() else np.isnan(got())

# ---- for every registered metric
@pytest.mark.parametrize('name', METRICS)
def test_a_metric_is_a_function_of_weighted_clips_that_the_truth_does_best_in(name):
    outputs, votes = random_study(6)
    m, out = METRICS[name], outputs[METRICS[name].kind]
    rng, stat = np.random.default_rng(7), statistic(name, out, votes)
    order, weights = rng.permutation(4), rng.integers(0, 3, (5, 40))
    assert np.isclose(score(name, out[:, order], votes[:, order]), stat())  # relabelling changes nothing
    for w, value in zip(weights, stat(weights), strict=True):               # a weight of two is the clip twice
        rows = np.repeat(np.arange(40), w)
        assert np.isclose(value, score(name, out[rows], votes[rows]))
    np.testing.assert_allclose(stat(2*weights), stat(weights))
    for w in (stat.used*1., np.where(stat.used, 1., 99.), np.ones(40)):     # clips that do not count do not matter
        assert np.isclose(stat(w), stat())
    y, top = soft_labels(votes), top_labels(votes)
    best = score(name, y if m.kind=='dist' else top/top.sum(1, keepdims=True), votes)
    assert best>stat() if m.higher else best<stat()
    assert m.bounds[0]-1e-9<=stat()<=m.bounds[1] and m.source and m.better in m.axis
