"""The test of gain on ambiguous speech: donors are who they should be, the numbers are those of a plain
loop, strategies that know nothing do not pass, one that knows something does, and whatever cannot be
tested says why. How often each happens at 1,000 studies is measured in `benchmarks/gain.py`."""
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from ambiscale_nb.ambiguity import expand_votes, soft_labels, strata
from ambiscale_nb.core import InputError, rng_of
from ambiscale_nb.gain import (FEW_DOSES, MOST, Setting, bends, curve, dealt, donor_test, donors_of, gain_table,
                               gap_of, halves, information, matched_mix, natural_basis, odds_gap, odds_test,
                               over_donors, per_clip, response, shuffled_levels, slope_of, split_test, welch)
from ambiscale_nb.gain import tested as by_speaker
from ambiscale_nb.metrics import jsd

HERE = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location('bench_gain', HERE/'benchmarks'/'gain.py')
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)


def made(name, seed=0):
    "A study of the benchmark, with one of its strategies."
    rng = rng_of('test gain', seed)
    who, truth, votes, single = bench.people(rng)
    if name in bench.NULLS: dist = bench.knows_nothing(name, single, who, votes, rng)
    else: dist = bench.knows(.6, single, truth, votes, rng)
    return Setting(single, dist/dist.sum(1, keepdims=True), votes, who)


def test_donors_gave_the_same_answer_and_are_of_the_same_speaker_where_five_are():
    s = made('random-lambda mix')
    donors, answer = donors_of(s.base, s.speakers), s.base.argmax(1)
    for i in range(0, len(answer), 37):
        own = [j for j in donors[:, i] if j>=0]
        mine = np.flatnonzero((answer==answer[i]) & (s.speakers==s.speakers[i]) & (np.arange(len(answer))!=i))
        assert own and i not in own and len(set(own))==len(own)
        assert (answer[own]==answer[i]).all()
        if len(mine)>=5: assert set(own)<=set(mine) and len(own)==min(len(mine), MOST)
        else: assert len(own)>=20


@pytest.mark.parametrize('n', [1, 2, 5, 6, 7, 40, 41, 42, 43, 100])
def test_everybody_gives_equally_often(n):
    donors = dealt(np.zeros(n, int), rng_of(n))
    if n<6: assert (donors<0).all(); return
    given = np.bincount(donors[donors>=0], minlength=n)
    assert (given==min(n-1, MOST)).all()
    assert not (donors==np.arange(n)).any()
    assert all(len({*o[o>=0]})==(o>=0).sum() for o in donors.T)


def test_the_test_is_the_plain_loop():
    s = made('random-lambda mix', 3)
    donors, y = donors_of(s.base, s.speakers), soft_labels(s.votes)
    h = np.array([np.mean([jsd(s.scaled[j], y[i]) for j in donors[:, i] if j>=0])-jsd(s.scaled[i], y[i])
                  for i in range(60)])
    assert np.allclose(information(s)[:60], h)
    amb = np.isin(strata(s.votes), ['weak', 'tie'])
    full = information(s)
    assert np.isclose(donor_test(s).value, full[amb].mean()-full[~amb].mean())
    base = per_clip('jsd', s.base, s.votes) # the base cancels
    did = gap_of(per_clip('jsd', s.scaled, s.votes)-base, amb)()-gap_of(over_donors('jsd', s, donors)-base, amb)()
    assert np.isclose(did, donor_test(s).value)


@pytest.mark.parametrize('name', bench.NULLS)
def test_what_knows_nothing_passes_the_naive_test_and_not_this_one(name):
    p, naive = [], []
    for seed in range(5):
        s = made(name, seed)
        p.append(donor_test(s).p)
        gain = per_clip('jsd', s.scaled, s.votes)-per_clip('jsd', s.base, s.votes)
        naive.append(by_speaker(gap_of(gain, s.level=='ambiguous'), s.speakers).p)
    assert max(naive)<.01
    assert sum(o<=.05 for o in p)<=2


def test_what_knows_something_is_found():
    for seed in range(3):
        found = donor_test(made('real', seed))
        assert found.value>0 and found.p<.001


def test_an_exact_function_of_the_answer_is_refused_not_passed():
    found = donor_test(made('uniform mix'))
    assert np.isnan(found.p) and found.value==0 and 'no spread' in found.p_reason


@pytest.mark.parametrize('speakers', [1, 2, 5])
def test_few_speakers_get_no_p(speakers):
    s = made('real')
    use = np.isin(s.speakers, np.arange(speakers))
    part = Setting(*(o[use] for o in (s.base, s.scaled, s.votes, s.speakers)))
    table = gain_table(part, expand_votes(part.votes))
    assert table.p.isna().all() and (table.reason!='').all()
    assert f'{speakers} speaker' in table.reason[0] or 'one speaker' in table.reason[0]


def test_an_empty_stratum_is_named():
    s = made('real')
    use = s.level=='clear'
    part = Setting(*(o[use] for o in (s.base, s.scaled, s.votes, s.speakers)))
    found = donor_test(part)
    assert np.isnan(found.value) and np.isnan(found.p) and 'one of the levels' in found.p_reason
    assert 'clips of one level' in shuffled_levels(information(part), part.level=='ambiguous', part.speakers)[1]
    assert not ((gain_table(part).p.isna()) & (gain_table(part).reason=='')).any()


def test_swapping_the_levels_turns_the_sign_and_order_of_clips_does_not_matter():
    s = made('real')
    h, amb = information(s), s.level=='ambiguous'
    a, b = by_speaker(gap_of(h, amb), s.speakers), by_speaker(gap_of(h, ~amb), s.speakers)
    assert np.isclose(a.value, -b.value) and np.isclose(a.p, b.p) and np.isclose(a.low, -b.high)
    order = rng_of('order').permutation(len(h))
    c = by_speaker(gap_of(h[order], amb[order]), s.speakers[order])
    assert np.isclose(a.p, c.p) and np.isclose(a.value, c.value)


def test_plain_differences_are_fooled_by_a_noisy_small_stratum_and_studentised_ones_are_not():
    hits, plain = 0, 0
    for seed in range(80):
        rng = rng_of('noisy stratum', seed)
        amb = np.arange(240)<40
        who = np.tile(np.arange(8), 30)
        gain = np.where(amb, 3, 1)*rng.standard_normal(240)
        hits += shuffled_levels(gain, amb, who, 99, rng)[0]<=.05
        seen = abs(gain[amb].mean()-gain[~amb].mean())
        null = [abs(gain[o].mean()-gain[~o].mean()) for o in (rng.permutation(amb) for _ in range(99))]
        plain += (1+sum(o>=seen for o in null))/100<=.05
    assert plain>=12 and hits<=9


def test_welch_is_scipys():
    from scipy.stats import ttest_ind
    rng = rng_of('welch')
    g, amb = rng.standard_normal(90), rng.random(90)<.3
    n = amb.sum(), (~amb).sum()
    ours, theirs = welch(g, amb), ttest_ind(g[amb], g[~amb], equal_var=False).statistic
    assert np.isclose(ours, theirs) and min(n)>5


def test_the_slope_is_least_squares_with_covariates():
    rng = rng_of('slope')
    dose, more = rng.random(200), rng.standard_normal((200, 2))
    gain = 3*dose+more@[1, -2]+rng.standard_normal(200)
    w = rng.integers(0, 3, 200)
    X = np.c_[np.ones(200), dose, more]
    known = np.linalg.lstsq(X*np.sqrt(w)[:, None], gain*np.sqrt(w), rcond=None)[0][1]
    assert np.isclose(slope_of(gain, dose, more)(w), known)
    bins = response(gain, dose, rng.integers(0, 9, 200), 4)
    assert bins.n.sum()==200 and bins.dose.is_monotonic_increasing and bins.value.iloc[-1]>bins.value.iloc[0]


def test_halves_share_no_rater_and_few_raters_are_left_out():
    votes = np.array([[3, 3, 1], [2, 2, 1], [6, 0, 0]])
    a, b = halves(expand_votes(votes), rng_of(0))
    assert ((a+b)[[0, 2]]==votes[[0, 2]]).all() and (a+b)[1].sum()==0
    assert list(a.sum(1))==[3, 0, 3]


def test_levels_and_truth_from_different_raters():
    s = made('real')
    found = split_test(s, expand_votes(s.votes), splits=3)
    assert found.value>0 and found.p<.01 and found.n<=len(s.votes)
    dull = split_test(made('random-lambda mix'), expand_votes(made('random-lambda mix').votes), splits=3)
    assert dull.p>.01


def test_a_mixture_as_smooth_as_asked():
    s = made('random second label')
    mix, w = matched_mix(s)
    from ambiscale_nb.ambiguity import entropy
    assert 0<w<1 and np.isclose(entropy(mix).mean(), entropy(s.scaled).mean())
    sharp = Setting(s.base, s.base, s.votes, s.speakers)
    assert matched_mix(sharp)[1]==0


def test_wrong_input_is_refused():
    s = made('real')
    with pytest.raises(InputError, match='same clips'): Setting(s.base[:5], s.scaled, s.votes, s.speakers)
    with pytest.raises(InputError, match='no better side'): per_clip('entropy', s.scaled, s.votes)
    with pytest.raises(InputError, match='no better side'): per_clip('uar', s.scaled, s.votes)
    with pytest.raises(InputError): per_clip('jsdd', s.scaled, s.votes)


# --- what has learned from votes ------------------------------------------------------------------
def fitted(seed):
    "Settings of the benchmark whose tables were fitted, and donors of any speaker."
    rng = rng_of('test gain', seed)
    who, truth, votes, single = bench.people(rng)
    return bench.tables(rng_of('test tables', seed), single, who, votes)


def test_donors_of_other_speakers_have_seen_the_votes_of_the_clip():
    "Information is below 0 where tables of the same study are tried, and about 0 for those of another."
    for seed in range(6):
        s = fitted(seed)
        same, apart = (s[o+', donors of any speaker'] for o in ('fitted table', 'table of another study'))
        h, control = (information(o, donors=d) for o, d in (same, apart))
        assert h.mean()<-.002 and abs(control.mean())<.001
        amb = same[0].level=='ambiguous'
        assert h[~amb].mean()<h[amb].mean()<0


def test_the_tables_of_clip_and_donor_differ_by_the_votes_of_their_speakers_alone():
    "The donor's table holds the clip's own speaker, and lies nearer to what people heard of that speaker."
    who, _, votes, single = bench.people(rng_of('whose votes'))
    answer, y, nearer = single.argmax(1), soft_labels(votes), []
    for a in range(bench.K):
        each = np.stack([y[(answer==a) & (who==s)].sum(0) for s in range(bench.SPEAKERS)])
        n = each.sum(1, keepdims=True)
        tables = (each.sum(0)-each)/(n.sum()-n) # by the speaker that is left out
        for s, t in np.ndindex(bench.SPEAKERS, bench.SPEAKERS):
            if s==t or not n[s]: continue
            own, donor = (np.square(each[s]/n[s]-o).sum() for o in (tables[s], tables[t]))
            nearer.append(donor<own)
    assert np.mean(nearer)>.8


def test_what_was_fitted_gets_donors_of_its_own_speaker_alone():
    s = fitted(0)['fitted table and habit, said'][0]
    donors = donors_of(s.base, s.speakers, own=True)
    has = donors>=0
    assert (s.speakers[donors]==s.speakers)[has].all()
    answer, alone = s.base.argmax(1), ~has.any(0)
    mates = [((answer==answer[i]) & (s.speakers==s.speakers[i])).sum()-1 for i in range(len(answer))]
    assert (alone==(np.array(mates)<5)).all() and 0<alone.mean()<.2
    h = information(s)
    assert (np.isnan(h)==alone).all() and donor_test(s).n==(~alone).sum()
    assert split_test(s, expand_votes(s.votes), splits=2).n==(~alone).sum()


def test_a_fitted_table_that_says_so_is_refused():
    for seed in range(3):
        found = donor_test(fitted(seed)['fitted table, said'][0])
        assert np.isnan(found.p) and found.value==0 and 'no spread' in found.p_reason


def test_a_speaker_with_few_clips_of_an_answer_leaves_nothing_to_test():
    s = made('real')
    lone = Setting(s.base, s.scaled, s.votes, np.arange(len(s.votes)), fitted=True)
    found = donor_test(lone)
    assert np.isnan(found.p) and found.p_reason and found.n==0
    assert np.isfinite(donor_test(Setting(s.base, s.scaled, s.votes, np.arange(len(s.votes)))).p)


# --- curves ---------------------------------------------------------------------------------------
def test_the_curve_is_the_natural_spline_of_patsy():
    import statsmodels.api as sm
    from patsy import dmatrix
    rng = rng_of('spline')
    dose, more = rng.random(300), rng.standard_normal(300)
    gain, who = np.sin(5*dose)+more+rng.standard_normal(300), rng.integers(0, 12, 300)
    k = np.quantile(dose, (.05, .35, .65, .95))
    X = dmatrix('cr(x, knots=i, lower_bound=a, upper_bound=b)-1',
                dict(x=np.clip(dose, k[0], k[-1]), i=k[1:-1], a=k[0], b=k[-1]))
    inside = (dose>=k[0]) & (dose<=k[-1])
    assert np.allclose(natural_basis(dose, k)[inside], np.asarray(X)[inside])
    known = sm.OLS(gain, np.c_[natural_basis(dose, k), more-more.mean()]).fit().params
    found = curve(gain, dose, who, more[:, None])
    assert np.allclose(found.value, natural_basis(found.dose.to_numpy(), k)@known[:4])
    assert (found.low<found.value).all() and (found.value<found.high).all() and (found.reason=='').all()


def test_a_straight_line_bends_as_often_as_the_level_says_and_a_curve_is_found():
    straight, bent, held = [], [], []
    for seed in range(200):
        rng = rng_of('bends', seed)
        who, dose = np.repeat(np.arange(12), 30), rng.beta(2, 2, 360)
        own = rng.standard_normal((2, 12))[:, who]
        gain = .1*own[0]+(.2+.3*own[1])*dose+.3*rng.standard_normal(360)
        straight.append(bends(gain, dose, who)['p'])
        bent.append(bends(gain-4*(dose-.5)**2, dose, who)['p'])
        if seed<60:
            found = curve(gain, dose, who, points=3)
            held.append((found.low<=.2*found.dose) & (.2*found.dose<=found.high))
    assert .015<=np.mean(np.array(straight)<=.05)<=.08 and np.mean(np.array(bent)<=.05)>.9
    assert np.mean(held)>.9


def test_curves_that_cannot_be_drawn_say_why():
    s = made('real')
    h = information(s)
    few = curve(h, np.round(s.votes.max(1)/8), s.speakers)
    assert len(few)==1 and few.reason[0]==FEW_DOSES and few.value.isna().all()
    assert curve(h*np.nan, h, s.speakers).reason[0]==FEW_DOSES
    one = curve(h, rng_of('dose').random(len(h)), np.zeros(len(h)), points=4)
    assert one.low.isna().all() and one.reason.str.contains('one speaker').all() and one.value.notna().all()
    same = np.zeros((len(h), 1))
    assert curve(h, rng_of('dose').random(len(h)), s.speakers, same).reason.str.contains('does not vary').all()
    for p, reason in ((bends(h, h*0, s.speakers), FEW_DOSES), (bends(h, h, s.speakers%5), '5 speakers')):
        assert np.isnan(p['p']) and reason in p['reason']


# --- log odds -------------------------------------------------------------------------------------
def answered(seed, gain=0., each=40, again=False):
    "Clips with unanimous or split votes; single answers, and others that are right more often, or drawn again."
    rng = rng_of('odds', seed)
    who = np.repeat(np.arange(12), each)
    amb = rng.random(len(who))<.5
    votes = np.where(amb[:, None], [5, 3, 2], [10, 0, 0])
    skill = 1/(1+np.exp(-(.8-.6*amb+.4*rng.standard_normal(12)[who])))
    right = rng.random(len(who))<skill
    better = rng.random(len(who))<skill if again else right | (rng.random(len(who))<gain)
    said = [np.eye(3)[np.where(o, 0, 2)] for o in (right, better)]
    return Setting(said[0], said[1], votes, who), amb


def test_log_odds_are_the_interaction_of_a_logistic_regression():
    import statsmodels.api as sm
    s, amb = answered(0, .3)
    rows = [(a, t, hit, .5+((amb==a) & (o.argmax(1)==(0 if hit else 2))).sum())
            for a in (0, 1) for t, o in enumerate((s.base, s.scaled)) for hit in (0, 1)]
    a, t, hit, n = np.array(rows).T
    fit = sm.GLM(hit, np.c_[np.ones(8), a, t, a*t], family=sm.families.Binomial(), freq_weights=n).fit()
    assert np.isclose(odds_test(s, 'accuracy').value, fit.params[3])


def test_the_ceiling_is_what_people_themselves_would_earn():
    "Of split votes a right answer earns .5 and a wrong one .2: odds are against .5, of unanimous ones against 1."
    s, amb = answered(1, .3)
    def odds(o, here, right, wrong, best):
        hit = (o.argmax(1)==0)[here]
        got, best = (hit*right+~hit*wrong).sum(), best*hit.size
        return np.log((got+.5)/(best-got+.5))
    want = [odds(s.scaled, *o)-odds(s.base, *o) for o in ((amb, .5, .2, .5), (~amb, 1, 0, 1))]
    assert np.isclose(odds_test(s).value, want[0]-want[1])


def test_log_odds_do_not_move_when_answers_are_smoothed_and_turn_with_the_levels():
    s, amb = answered(2, .3)
    dull = Setting(s.base, .7*s.scaled+.1, s.votes, s.speakers)
    a, b = odds_test(s), odds_test(dull)
    assert (a.value, a.low, a.p)==(b.value, b.low, b.p)
    back = odds_test(Setting(s.scaled, s.base, s.votes, s.speakers))
    assert np.isclose(a.value, -back.value) and np.isclose(a.p, back.p)


def test_equal_odds_ratios_are_no_gap_although_accuracies_gain_unequally():
    "Odds double in both levels: of 100 from 50 to 2/3, of 100 from 90 to 18/19."
    parts = np.zeros((2, 2, 3))
    parts[0, 0], parts[1, 1] = (5e5, 2e6/3, 1e6), (9e5, 18e6/19, 1e6)
    assert abs(odds_gap(parts, np.ones(2, bool))())<1e-5


def test_the_last_error_may_be_of_one_speaker_but_there_has_to_be_one():
    s, amb = answered(3, .3)
    perfect = np.tile(np.eye(3)[0], (len(amb), 1))
    one = perfect.copy()
    one[np.flatnonzero(~amb)[0]] = np.eye(3)[2]
    one[np.flatnonzero(amb)[0]] = np.eye(3)[2]
    found = odds_test(Setting(s.base, one, s.votes, s.speakers))
    assert np.isfinite([found.value, found.low, found.high, found.p]).all()
    for base, scaled, said in ((s.base, perfect, 'strategy earns all'), (perfect, s.scaled, 'base earns all'),
                               (s.base, np.tile(np.eye(3)[2], (len(amb), 1)), 'strategy earns nothing on clear')):
        lost = odds_test(Setting(base, scaled, s.votes, s.speakers), 'accuracy')
        assert said in lost.reason or 'nothing on ambiguous' in lost.reason
        assert np.isnan(lost.value) and np.isnan(lost.p) and lost.p_reason
    with pytest.raises(InputError, match='soft_accuracy or accuracy'): odds_test(s, 'brier')


def test_intervals_of_log_odds_hold_the_truth():
    "A strategy that draws again with the same skill: the true gap is 0, for either way to count."
    for metric in ('soft_accuracy', 'accuracy'):
        found = [odds_test(answered(seed, again=True)[0], metric) for seed in range(200)]
        assert .91<=np.mean([o.low<=0<=o.high for o in found])<=.99
        assert .01<=np.mean([o.p<=.05 for o in found])<=.09
