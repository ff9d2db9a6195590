"Shares of what can be learnt, against a loop and known worlds; verdicts of 400 studies: `benchmarks/gain.py`."
import importlib.util
from functools import cache
from pathlib import Path
import numpy as np
import pytest
from ambiscale_nb.corpora.ambiguity import (entropy, expand_votes, fit_prior, shared_credit,
    soft_labels, strata, top_labels)
from ambiscale_nb.core import rng_of
from ambiscale_nb.metrics.gain import (RATERS, averaged, beyond_donors, gain_shares, gain_table,
    has_donors, information, odds_gain, perfect_predictor, prior_scale, raw_gains)
from ambiscale_nb.metrics.metrics import brier, jsd
from ambiscale_nb.metrics.statistics import clusters_of

HERE = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location('bench_gain', HERE/'benchmarks'/'gain.py')
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)
WHO = np.array([f's{o:02d}' for o in bench.WHO])

def table_of(base, dists, votes, who, panel=None, **given):
    "`gain_table`, with labels, scores and entropies of the distributions themselves."
    def of(f):
        read = {k: np.isfinite(o).all(1) for k, o in dists.items()}
        found = {k: f(np.where(read[k][:, None], o, 1/o.shape[1])) for k, o in dists.items()}
        return {k: np.where(read[k] if o.ndim==1 else read[k][:, None], o, np.nan) for k, o in found.items()}
    credit = given.get('credit') or of(shared_credit)
    scores = given.get('scores') or of(lambda p: -jsd(p, soft_labels(votes)))
    bits = given.get('bits') or {k: entropy(o) for k, o in dists.items()}
    return gain_table(base, dists, votes, who, panel, credit, scores, bits)

@cache
def study(base='one-hot', raters=10, share=.45, seed=0):
    "Truth, votes, base and strategies of a study of the benchmark."
    rng = rng_of('test gain', seed)
    truth, votes = bench.people(rng, bench.concentration_for(share, raters), raters)
    said = bench.heard(rng, truth, base)
    amb = np.isin(strata(votes), ['weak', 'tie'])
    return truth, votes, said, amb, bench.strategies(rng, said, truth, amb)

def both(found): return np.array([found.clear.value, found.ambiguous.value])

# ---- the plain loop
def by_hand(x, base, votes, who, keep=None, z=None):
    "Information of x in either stratum, by a loop over clips: own prediction less the mean of the donors'."
    y, amb, top = soft_labels(votes), np.isin(strata(votes), ['weak', 'tie']), top_labels(base)
    keep, out = np.ones(len(y), bool) if keep is None else keep, []
    for stratum in (~amb, amb):
        rows = []
        for u in np.flatnonzero(stratum & keep):
            alike = stratum & (top==top[u]).all(1) & (who!=who[u])
            others = np.unique(who[alike], return_counts=True)[1]
            if alike.sum()<5 or others.max()==alike.sum(): continue
            rows.append((u, *(None if o is None else o[u]-o[alike & keep].mean(0) for o in (x, z))))
        use, dx, dz = (np.array(o) for o in zip(*rows, strict=True))
        if z is not None: dx = dx-dz@np.linalg.solve(z[use].T@dz, z[use].T@dx) # instruments z: slope of dx on dz
        out.append((dx*y[use]).sum())
    return np.array(out)

def test_shares_are_those_of_a_loop_over_clips_and_donors():
    _, votes, base, _, made = study()
    alpha = fit_prior(votes)
    ideal = perfect_predictor(votes, base, alpha)
    found = gain_shares(base, made['both strata'], votes, WHO, alpha, perfect=ideal)
    scale = prior_scale(ideal.dist, base[:, :-1], votes, top_labels(base), bench.WHO)[0]
    want = by_hand(made['both strata'], base, votes, WHO)/by_hand(ideal.dist, base, votes, WHO)/scale
    assert np.allclose(both(found), want) and np.isclose(found.effect.value, want[1]-want[0])

@pytest.mark.parametrize('kind', ['stated', 'strong'])
def test_what_the_base_states_is_regressed_out(kind):
    _, votes, base, amb, made = study(kind)
    x, y, group = made['both strata'], soft_labels(votes), base.argmax(1)
    for stratum, want in zip((~amb, amb), by_hand(x, base, votes, WHO, z=base[:, :-1]), strict=True):
        use = has_donors(group*2+amb, bench.WHO) & stratum
        found = information([x], base[:, :-1], y*use[:, None], group*2+amb, bench.WHO)
        assert np.isclose(found[0, 0], want)

def test_information_is_half_of_what_a_prediction_scores_better_than_its_donors():
    "In the Brier score, where every clip is a donor as often as it has donors."
    rng = rng_of('identity')
    x, y, who = rng.dirichlet(np.ones(4), 60), rng.dirichlet(np.ones(4), 60), np.repeat(np.arange(12), 5)
    gain = sum(np.mean([brier(x[d], y[u]) for d in np.flatnonzero(who!=who[u])])-brier(x[u], y[u]) for u in range(60))
    info = beyond_donors(x, y, np.zeros(60, int), who)[0].trace()
    assert np.isclose(gain, 2*info)

# ---- what has no information
@pytest.mark.parametrize('kind', ['one-hot', 'stated'])
def test_changes_of_shape_are_refused_not_passed(kind):
    _, votes, base, _, _ = study(kind)
    made = {'uniform mix': .6*base+.4/6, 'the base': base, 'constant': np.full_like(base, 1/6)}
    if kind=='stated': made['linear'] = base@rng_of('mixed').dirichlet(np.ones(6), 6)
    for name, p in made.items():
        found = gain_shares(base, p, votes, WHO).effect
        assert found.reason=='changes nothing but the shape of the base' and found.value==0, name
        assert np.isnan([found.p, found.low]).all()
    if kind=='stated': # not linear, but as sharp as the base can be made by a power
        found = gain_shares(base, base**3/(base**3).sum(1, keepdims=True), votes, WHO)
        assert np.abs([found.clear.value, found.effect.value]).max()<1e-3

@pytest.mark.parametrize('kind', ['one-hot', 'stated'])
@pytest.mark.parametrize('name', bench.NULLS[1:])
def test_what_knows_nothing_has_no_share_although_its_raw_gains_differ(kind, name):
    shares, raw = [], []
    for seed in range(4):
        _, votes, base, _, made = study(kind, seed=seed)
        found, y = gain_shares(base, made[name], votes, WHO), soft_labels(votes)
        shares.append(both(found))
        assert bench.word_of(found.effect.low, found.effect.high)!='supported'
        gains = raw_gains(jsd(base, y)-jsd(made[name], y), votes)
        raw.append(np.nanmean(gains['ambiguous'])-np.nanmean(gains['clear']))
    assert np.abs(np.mean(shares, 0)).max()<.06
    if kind=='one-hot': assert min(raw)>.02 # bits, without any information

# ---- what has it
@pytest.mark.parametrize('kind', ['one-hot', 'stated'])
def test_a_mixture_of_the_truth_gets_its_weight_of_the_truths_share_in_both_strata(kind):
    truth, votes, base, _, _ = study(kind)
    whole = both(gain_shares(base, truth, votes, WHO))
    for w in (.2, .5, .9):
        p = (1-w)*(.7*base+.3/6)+w*truth
        if entropy(p).mean()<entropy(base).mean(): continue # another matched base
        assert np.allclose(both(gain_shares(base, p, votes, WHO)), w*whole, atol=.02, rtol=0)

@pytest.mark.parametrize('kind, raters, share', [('one-hot', 10, .2), ('one-hot', 10, .88), ('one-hot', 3, .45),
                                                 ('stated', 10, .45), ('stated', 3, .7)])
def test_the_truth_recovers_about_all_in_both_strata_and_is_never_opposite(kind, raters, share):
    values = []
    for seed in range(4):
        truth, votes, base, _, _ = study(kind, raters, share, seed)
        found = gain_shares(base, truth, votes, WHO)
        values.append(both(found))
        assert bench.word_of(found.effect.low, found.effect.high) in ('too small', 'inconclusive', 'size open')
    assert np.abs(np.mean(values, 0)-1).max()<.12

@pytest.mark.parametrize('kind', ['one-hot', 'stated', 'strong'])
@pytest.mark.parametrize('raters', [3, 10])
def test_an_effect_in_one_stratum_is_found_in_its_direction(kind, raters):
    _, votes, base, _, made = study(kind, raters)
    for name, words in (('ambiguous alone', ('supported', 'size open')), ('clear alone', ('opposite',))):
        e = gain_shares(base, made[name], votes, WHO).effect
        assert bench.word_of(e.low, e.high) in words
        assert (e.p<.05) and e.se>0 and 0<e.df<23

def test_sampling_noise_adds_no_bias():
    "One sampled label per clip has, on average, the share of the distribution it was drawn from."
    truth, votes, base, _, _ = study()
    p, rng = .5*base+.5*truth, rng_of('noise')
    found = np.array([both(gain_shares(base, bench.drawn(rng, p), votes, WHO)) for _ in range(40)])
    assert (np.abs(found.mean(0)-both(gain_shares(base, p, votes, WHO)))<4*found.std(0)/np.sqrt(40)).all()

def test_the_interval_of_a_share_allows_for_an_unknown_prior():
    "With three raters what can be learnt is known less well than with ten."
    def width(raters):
        truth, votes, base, _, _ = study(raters=raters)
        e = gain_shares(base, truth, votes, WHO).ambiguous
        return e.high-e.low
    assert width(3)>2*width(10)

# ---- invariance
def test_neither_order_of_clips_nor_of_labels_nor_names_of_speakers_matter():
    _, votes, base, _, made = study('stated')
    rows, columns, p = rng_of('rows').permutation(len(votes)), [3, 0, 5, 1, 2, 4], made['both strata']
    a, b, c, d = (gain_shares(*o).effect for o in (
        (base, p, votes, WHO), [o[rows] for o in (base, p, votes, WHO)],
        (base, p, votes, np.array([f'x{24-o}' for o in bench.WHO])), (*(o[:, columns] for o in (base, p, votes)), WHO)))
    for o in (b, c): assert np.allclose([o.value, o.se], [a.value, a.se])
    assert np.isclose(d.value, a.value, atol=.02) # draws differ

def test_clips_without_predictions_or_donors_are_counted():
    _, votes, base, _, made = study()
    p = made['both strata'].copy()
    p[::7] = np.nan
    found, read = gain_shares(base, p, votes, WHO), ~np.isnan(p).any(1)
    assert found.effect.n==found.clear.n+found.ambiguous.n==len(votes)-found.lost and found.lost>=(~read).sum()
    whole = gain_shares(*(o[read] for o in (base, p, votes, WHO)), alpha=fit_prior(votes))
    assert np.isclose(found.effect.value, whole.effect.value)

def test_speakers_with_clips_of_one_stratum_alone_count_in_the_difference():
    "The standard error of the difference is that of the jackknife over all speakers; the rarer stratum limits df."
    _, votes, base, amb, made = study()
    only = np.isin(bench.WHO, [0, 1, 2, 3])
    keep = ~(only & amb) # four speakers have clear clips alone
    use = [o[keep] for o in (base, made['both strata'], votes, WHO)]
    found = gain_shares(*use)
    assert (found.effect.clusters, found.ambiguous.clusters)==(24, 20) and found.effect.df==found.ambiguous.df
    alpha, b, v, who = fit_prior(use[2]), *use[::2], bench.WHO[keep]
    ideal = perfect_predictor(v, b, alpha).dist
    scale = prior_scale(ideal, b[:, :-1], v, top_labels(b), who)
    def effect(s):
        at = np.ones(len(v), bool) if s is None else who!=s
        share = by_hand(use[1], b, v, use[3], at)/by_hand(ideal, b, v, use[3], at)/scale[0 if s is None else 1+s]
        return share[1]-share[0]
    left = np.array([effect(s) for s in range(24)])-effect(None)
    alone = np.sqrt(23/24*(left**2).sum())
    assert alone<found.effect.se<1.6*alone # the rest is how well what can be learnt is known

# ---- what cannot be computed
def test_what_cannot_be_computed_says_why():
    _, votes, base, amb, made = study()
    given = base, made['both strata'], votes
    few = gain_shares(*(o[bench.WHO<5] for o in (*given, WHO)))
    assert '5 speakers' in few.effect.reason and np.isfinite(few.clear.value) and np.isnan(few.clear.low)
    for use, said in ((~amb, 'no ambiguous clips'), (amb, 'no clear clips')):
        assert said in gain_shares(*(o[use] for o in (*given, WHO))).effect.reason
    lone = gain_shares(*given, np.arange(len(votes)).astype(str)).effect # every clip its own speaker
    assert np.isfinite(lone.value) and lone.clusters>700

@pytest.mark.parametrize('speakers', [2, 6, 10])
def test_small_studies_have_numbers_or_reasons(speakers):
    _, votes, base, _, made = study(share=.7)
    b, p, v, who = (o[bench.WHO<speakers] for o in (base, made['both strata'], votes, WHO))
    for o in table_of('base', {'base': b, 'both': p}, v, who, expand_votes(v)).itertuples():
        assert o.reason or np.isfinite([o.value, o.low, o.high]).all()

# ---- the perfect predictor
@pytest.mark.parametrize('kind', ['one-hot', 'stated'])
def test_the_perfect_predictor_agrees_with_the_base_as_the_votes_do(kind):
    truth, votes, base, _, _ = study(kind, 3)
    ideal, alpha = perfect_predictor(votes, base), fit_prior(votes)
    assert np.isclose((ideal.dist*base).sum(), (soft_labels(votes)*base).sum(), rtol=1e-6)
    assert np.allclose(ideal.dist.sum(1), 1) and np.allclose(ideal.credit.sum(1), 1)
    plain = (votes+alpha)/(3+alpha.sum()) # that ignores the base
    assert jsd(ideal.dist, truth).mean()<jsd(plain, truth).mean()

def test_a_base_without_information_adds_nothing():
    _, votes, _, _, _ = study(raters=3)
    alpha = fit_prior(votes)
    blind = perfect_predictor(votes, np.full((len(votes), 6), 1/6), alpha, draws=4000)
    assert np.abs(blind.dist-(votes+alpha)/(3+alpha.sum())).max()<.03

def test_the_scale_is_that_of_pairs_of_raters():
    "Two raters agree as far as the truth varies: by hand, without donors of one's own speaker."
    _, votes, base, _, _ = study()
    ideal, y, n, top = perfect_predictor(votes, base).dist, soft_labels(votes), votes.sum(1), base.argmax(1)
    agree, want, model = ((votes**2).sum(1)-n)/(n*(n-1)), 0., 0.
    for u in range(len(y)):
        donors = (top==top[u]) & (WHO!=WHO[u])
        want += agree[u]-y[donors].mean(0)@y[u]
        model += (ideal[u]-ideal[donors].mean(0))@y[u]
    def scale(votes): return prior_scale(ideal, base[:, :-1], votes, top_labels(base), bench.WHO)
    assert np.isclose(scale(votes)[0], want/model) and len(scale(votes))==25
    assert (scale(votes/2)==1).all() and (scale(base)==1).all() # divided votes, one rater

# ---- accuracy
def test_the_reading_in_accuracy_looks_at_labels_alone():
    truth, votes, base, _, made = study()
    a, whole, one = (gain_shares(base, shared_credit(o), votes, WHO, metric='accuracy')
                     for o in (made['both strata'], truth, base))
    tied = shared_credit(votes).max(1)<1
    assert a.lost>=tied.sum() and a.effect.n<=(~tied).sum() and 'shape' in one.effect.reason
    assert abs(whole.clear.value-1)<.15 and abs(whole.ambiguous.value-1)<.3

def answered(seed, gain=0., each=40, again=False):
    "Clips with unanimous or split votes; single answers, and others that are right more often, or drawn again."
    rng = rng_of('odds', seed)
    who = np.repeat(np.arange(12), each)
    amb = rng.random(len(who))<.5
    votes = np.where(amb[:, None], [5, 3, 2], [10, 0, 0])
    skill = 1/(1+np.exp(-(.8-.6*amb+.4*rng.standard_normal(12)[who])))
    right = rng.random(len(who))<skill
    better = rng.random(len(who))<skill if again else right | (rng.random(len(who))<gain)
    return *(np.eye(3)[np.where(o, 0, 2)] for o in (right, better)), votes, who, amb

def test_log_odds_are_the_interaction_of_a_logistic_regression():
    import statsmodels.api as sm
    base, better, votes, who, amb = answered(0, .3)
    rows = [(a, t, hit, .5+((amb==a) & (o.argmax(1)==(0 if hit else 2))).sum())
            for a in (0, 1) for t, o in enumerate((base, better)) for hit in (0, 1)]
    a, t, hit, n = np.array(rows).T
    fit = sm.GLM(hit, np.c_[np.ones(8), a, t, a*t], family=sm.families.Binomial(), freq_weights=n).fit()
    assert np.isclose(odds_gain(base, better, votes, who, 'accuracy').value, fit.params[3])

def test_the_ceiling_is_what_raters_themselves_would_earn():
    "Of split votes a right answer earns .5 and a wrong one .2: odds are against .5, of unanimous ones against 1."
    base, better, votes, who, amb = answered(1, .3)
    def odds(o, here, right, wrong, best):
        hit = (o.argmax(1)==0)[here]
        got, best = (hit*right+~hit*wrong).sum(), best*hit.size
        return np.log((got+.5)/(best-got+.5))
    want = [odds(better, *o)-odds(base, *o) for o in ((amb, .5, .2, .5), (~amb, 1, 0, 1))]
    assert np.isclose(odds_gain(base, better, votes, who).value, want[0]-want[1])

def test_the_last_error_may_be_of_one_speaker_but_there_has_to_be_one():
    base, better, votes, who, amb = answered(3, .3)
    right, wrong = (np.tile(np.eye(3)[i], (len(amb), 1)) for i in (0, 2))
    one = right.copy()
    one[[np.flatnonzero(~amb)[0], np.flatnonzero(amb)[0]]] = np.eye(3)[2]
    found = odds_gain(base, one, votes, who)
    assert np.isfinite([found.value, found.low, found.high, found.p]).all()
    for b, s, said in ((base, right, 'strategy earns all'), (right, better, 'base earns all'), (base, wrong, 'earns nothing on')):
        lost = odds_gain(b, s, votes, who, 'accuracy')
        assert said in lost.reason and np.isnan(lost.value) and np.isnan(lost.p) and lost.reason

@pytest.mark.parametrize('metric', ['soft_accuracy', 'accuracy'])
def test_intervals_of_log_odds_hold_the_truth(metric):
    "A strategy that draws again with the same skill: the true difference is 0, for either way to count."
    found = [odds_gain(*answered(seed, again=True)[:4], metric) for seed in range(200)]
    assert .91<=np.mean([o.low<=0<=o.high for o in found])<=.99 and .01<=np.mean([o.p<=.05 for o in found])<=.09

# ---- more raters and the table
def test_an_average_of_splits_keeps_the_error_of_one():
    _, votes, base, _, made = study()
    one, refused = (gain_shares(base, o, votes, WHO).effect for o in (made['both strata'], base))
    same = averaged([one, one])
    assert (same.value, same.n)==(one.value, one.n) and np.allclose([same.se, same.p], [one.se, one.p])
    assert averaged([one, refused]) is refused

def test_the_table_has_both_shares_their_difference_and_raw_gains():
    _, votes, base, amb, made = study(share=.7)
    p = made['both strata'].copy()
    p[:9] = np.nan
    dists, y = {'base': base, 'half': p}, soft_labels(votes)
    table = table_of('base', dists, votes, WHO, expand_votes(votes))
    half = table[table.strategy.eq('half')]
    own, found = half.set_index(['role', 'metric', 'stratum']), gain_shares(base, p, votes, WHO)
    def value(*at): return own.value[at]
    assert np.isclose(value('share', 'brier', 'clear'), found.clear.value, atol=.01)
    assert np.isclose(value('effect', 'brier', 'ambiguous less clear'), found.effect.value, atol=.02)
    gain = jsd(base[9:], y[9:])-jsd(p[9:], y[9:])
    assert np.isclose(value('raw gain', 'jsd', 'ambiguous'), gain[amb[9:]].mean())
    assert own.index.is_unique and len(own)==9 and set(table.strategy)=={'half', RATERS}
    assert not (table.value.isna() & table.reason.eq('')).any()
    assert table_of('base', dists, votes, clusters_of(WHO)).equals(half.reset_index(drop=True))
    other = table_of('base', dists, votes, WHO, credit={k: np.roll(o, 1, 1) for k, o in dists.items()}, scores={
        'base': np.zeros(len(p)), 'half': np.ones(len(p))}).set_index(['role', 'metric', 'stratum']).value
    assert np.isclose(other['raw gain', 'jsd', 'clear'], 1)
    assert np.isclose(other['share', 'brier', 'clear'], value('share', 'brier', 'clear'))
    assert not np.isclose(other['share', 'accuracy', 'clear'], value('share', 'accuracy', 'clear'))

def test_the_information_of_a_tied_pick_is_what_fair_draws_have_on_average():
    truth, votes, base, *_ = study('stated')
    rng = rng_of('two picks')
    one, two = (.7*np.eye(bench.K)[(rng.random((len(base), 1))>o.cumsum(1)[:, :-1]).sum(1)]+.3*truth for o in (truth, base))
    bits, pick = (entropy(one)+entropy(two))/2, (one+two)/2
    a, b, mean = (gain_shares(base, o, votes, WHO, bits=bits) for o in (one, two, pick))
    assert np.allclose(both(mean), (both(a)+both(b))/2, rtol=1e-9, atol=0)
    assert np.isclose(mean.effect.value, (a.effect.value+b.effect.value)/2, rtol=1e-9)
    assert not np.isclose(gain_shares(base, pick, votes, WHO).clear.value, mean.clear.value, rtol=1e-8)
    table = table_of('direct', dict(direct=base, pick=pick), votes, WHO, bits=dict(pick=bits))
    assert np.isclose(table.query("metric=='brier' and stratum=='clear'").value.iloc[0], mean.clear.value, rtol=1e-9)
