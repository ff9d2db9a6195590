"Components of variance: by hand, statsmodels' analysis of variance and REML, a textbook, simulated studies; refusals."
import warnings
from dataclasses import replace
import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, f
from ambiscale_nb.core import InputError, rng_of
from ambiscale_nb.metrics.variance import (SHARES, components, design_of, squares_of, terms_of, williams)
from ambiscale_nb.study.readings import below_wording

def made(rng, G=8, each=6, shape=(3, 2), sd=None, sizes=None, normal=True):
    "Values with known components: sd maps (level, part) to a standard deviation."
    n = np.full(G, each) if sizes is None else np.asarray(sizes)
    who = np.repeat(np.arange(len(n)), n)
    x = np.zeros((len(who), *shape))
    for (level, part), size in (sd or {}).items():
        dims = [m if i in part else 1 for i, m in enumerate(shape)]
        rows = {'mean': 1, 'speaker': len(n), 'clip': len(who)}[level]
        e = rng.standard_normal((rows, *dims)) if normal else rng.exponential(1, (rows, *dims))-1
        x = x+size*{'mean': e, 'speaker': e[who] if level=='speaker' else e, 'clip': e}[level]
    at = [o.ravel() for o in np.indices(x.shape)]
    frame = pd.DataFrame(dict(uid=at[0], speaker=who[at[0]], value=x.ravel()))
    return frame.assign(**{o: a for o, a in zip(('prompt', 'seed', 'verifier'), at[1:], strict=False)})

def got(frame, factors=None): return components(frame, factors).set_index('source')

def test_by_hand():
    "Two speakers of two clips, two wordings: means 1 and 3 (s), 2 and 6 (t)."
    frame = pd.DataFrame(dict(uid=list('aabbccdd'), speaker=list('sssstttt'), prompt=[0, 1]*4,
                              value=[0, 2, 2, 4, 1, 3, 3, 9.]))
    # speaker means by wording: s 1, 3; t 2, 6; over speakers 1.5, 4.5
    # wordings differ by d = 2, 2, 2, 6 on the clips, 2, 4 by speaker, 3 over speakers; their square is d^2/2
    ms_prompt = 3**2/2
    ms_speaker_prompt = ((2-3)**2+(4-3)**2)/2/1
    ms_clip_prompt = ((2-2)**2+(2-2)**2+(2-4)**2+(6-4)**2)/2/2
    t = got(frame)
    assert np.isclose(t.variance['prompt'], ms_prompt-ms_speaker_prompt/2)
    assert np.isclose(t.variance['speaker × prompt'], ms_speaker_prompt-ms_clip_prompt/2)
    assert np.isclose(t.variance['uid × prompt'], ms_clip_prompt)
    # clip means: 1, 3, 2, 6; speakers 2, 4; squares are of two cells
    clip = 2*((1-2)**2+(3-2)**2+(2-4)**2+(6-4)**2)/2
    speaker = 2*((2-3)**2+(4-3)**2)/1
    assert np.isclose(t.variance['uid'], (clip-ms_clip_prompt)/2)
    assert np.isclose(t.variance['speaker'], ((speaker-clip/2)-(ms_speaker_prompt-ms_clip_prompt/2))/2)
    assert np.isclose(t.of_mean['uid × prompt'], np.sqrt(ms_clip_prompt/4))

SD = {('mean', (0,)): .5, ('clip', ()): 1., ('clip', (0,)): .4}

def test_one_factor_is_the_analysis_of_variance_of_statsmodels():
    import statsmodels.formula.api as smf
    from statsmodels.stats.anova import anova_lm
    frame = made(rng_of('anova'), 1, 12, (4,), SD).drop(columns='speaker')
    ms = anova_lm(smf.ols('value ~ C(uid)+C(prompt)', frame).fit()).eval('sum_sq/df')
    t = got(frame)
    assert np.isclose(t.variance['prompt'], (ms['C(prompt)']-ms['Residual'])/12)
    assert np.isclose(t.variance['uid'], (ms['C(uid)']-ms['Residual'])/4)
    assert np.isclose(t.variance['uid × prompt'], ms['Residual'])
    assert t.note['speaker']=='no speakers: clips stand alone'

def test_where_no_component_is_negative_it_is_reml():
    import statsmodels.formula.api as smf
    frame = made(rng_of('reml'), 1, 12, (4,), SD).drop(columns='speaker')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        fit = smf.mixedlm('value ~ 1', frame, groups=np.ones(len(frame)), re_formula='0',
                          vc_formula={'prompt': '0+C(prompt)', 'uid': '0+C(uid)'}).fit(reml=True)
    known = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True))
    t = got(frame)
    assert (t.variance.dropna()>0).all()
    assert np.allclose([known['prompt'], known['uid'], fit.scale],
                       [t.variance[o] for o in ('prompt', 'uid', 'uid × prompt')], rtol=1e-3)

def test_speakers_with_clips_are_the_nested_analysis_of_variance():
    frame = made(rng_of('nested'), 9, 5, (), {('speaker', ()): 1, ('clip', ()): 1})
    x, t = frame.value.to_numpy().reshape(9, 5), got(frame)
    within = x.var(1, ddof=1).mean()
    assert np.isclose(t.variance['uid'], within) and list(t.index)==['speaker', 'uid']
    assert np.isclose(t.variance['speaker'], x.mean(1).var(ddof=1)-within/5)

def test_two_factors_are_the_expected_mean_squares_of_a_textbook():
    "Speakers of one clip, prompt and seed: every mean square by its definition."
    frame = made(rng_of('two'), 10, 1, (3, 4), {('clip', (0, 1)): 1, ('mean', (0,)): 1, ('clip', (1,)): .5})
    x, ms = frame.value.to_numpy().reshape(10, 3, 4), {}
    for part in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)): # 0 clips, 1 prompts, 2 seeds
        ms[part] = x.mean(tuple({0, 1, 2}-{*part}), keepdims=True)-sum(e for p, e in ms.items() if {*p}<{*part})
    ms = {p: (e**2).sum()*120/e.size/np.prod([x.shape[i]-1 for i in p]) for p, e in ms.items()}
    u, p, s, up, us, ps, rest = (ms[o] for o in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)))
    want = {'prompt': (p-up-ps+rest)/40, 'seed': (s-us-ps+rest)/30, 'prompt × seed': (ps-rest)/10,
            'uid': (u-up-us+rest)/12, 'uid × prompt': (up-rest)/4, 'uid × seed': (us-rest)/3, 'uid × prompt × seed': rest}
    assert np.allclose(got(frame).variance[[*want]], [*want.values()])

TRUE = {('mean', (0,)): .3, ('mean', (0, 1)): .15, ('speaker', ()): .4, ('speaker', (0,)): .2, ('clip', ()): .6,
        ('clip', (0,)): .3, ('clip', (0, 1)): .5}
NAMES = {('mean', (0,)): 'prompt', ('mean', (1,)): 'seed', ('mean', (0, 1)): 'prompt × seed',
         ('speaker', ()): 'speaker', ('speaker', (0,)): 'speaker × prompt', ('clip', ()): 'uid',
         ('clip', (0,)): 'uid × prompt', ('clip', (1,)): 'uid × seed', ('clip', (0, 1)): 'uid × prompt × seed'}

@pytest.mark.parametrize('normal', [True, False], ids=['normal', 'skewed'])
@pytest.mark.parametrize('sizes', [[6]*12, [2, 2, 3, 3, 4, 4, 5, 6, 8, 10, 15, 20]], ids=['equal', 'unequal'])
def test_simulated_components_are_unbiased_and_normal_ones_are_covered(normal, sizes):
    "A hundred and twenty studies of 12 speakers, 4 wordings and 3 seeds; components that are 0 among them."
    rng = rng_of('simulated components', normal, *sizes)
    many = [got(made(rng, shape=(4, 3), sd=TRUE, sizes=sizes, normal=normal)) for _ in range(120)]
    for key, name in NAMES.items():
        truth, v = TRUE.get(key, 0)**2, np.array([o.variance[name] for o in many])
        assert abs(v.mean()-truth)<4*v.std()/np.sqrt(len(v)), (name, truth, v.mean())
        held = np.mean([o.low[name]<=truth<=o.high[name] for o in many])
        if normal: assert .91<=held<=1, (name, held)

def test_a_sum_over_sources_is_the_variance_of_the_mean():
    "What one run's mean varies by, over simulated studies, is what the sources give it, squared and summed."
    rng, truth = rng_of('of the mean'), np.array([4, 7, 1, 9, 3, 12])
    first = [made(rng, shape=(3, 2), sd=TRUE, sizes=truth).query('prompt==0 and seed==0').value.mean()
             for _ in range(400)]
    n = truth.sum()
    kept = {'mean': 1, 'speaker': (truth**2).sum()/n**2, 'clip': 1/n}
    want = sum(v**2*kept[level] for (level, _), v in TRUE.items())
    assert abs(np.var(first)/want-1)<.2
    t = components(made(rng, shape=(3, 2), sd=TRUE, sizes=truth))
    for row in t.itertuples():
        level = row.source.split(' ')[0]
        assert np.isclose(row.of_mean, row.sd*np.sqrt(kept.get({'uid': 'clip'}.get(level, level), 1)))

@pytest.mark.parametrize('wordings', [3, 6])
def test_gains_are_marked_at_nominal_rates(wordings):
    "A gain of one standard deviation between wordings is unmarked in 2.5 % of studies, a tenth of it never; a large one always."
    rng, sd, cell = rng_of('marks', wordings), .03, dict(corpus='c', mode='label', style='direct', metric='jsd')
    parts = {('mean', (0,)): sd, ('speaker', ()): .1, ('clip', ()): .1, ('clip', (0,)): .05, ('clip', (0, 1)): .1}
    study, gains = (rng, 12, 5, (wordings, 2), parts), dict(greedy=0, small=.1, same=1, large=50)
    layout, split, rows = design_of(made(*study)), [], []
    for model in range(300): # Each in a study of its own
        design = replace(layout, values=made(*study).value.to_numpy().reshape(60, -1))
        high = williams(terms_of(squares_of(design), 'mean', (0,)))[1]
        split.append(dict(cell, model=model, strategy='majority', source='prompt', high=high))
        rows += [dict(cell, model=model, strategy=k, value=.5-g*sd) for k, g in gains.items()]
    rows = pd.DataFrame(rows).assign(reading='plain', stratum='all', condition='none')
    _, small, same, large = below_wording(rows, pd.DataFrame(split)).reshape(300, 4).mean(0)
    assert small > .99 and .95 <= same <= 1 and large < .05, (small, same, large)

def test_units_order_and_names_do_not_matter():
    frame = made(rng_of('units'), sd=TRUE)
    a, b = got(frame), got(frame.assign(value=5-2*frame.value).sample(frac=1, random_state=3))
    assert np.allclose(b.variance, 4*a.variance) and np.allclose(b.high, 4*a.high) and np.allclose(a.share, b.share)
    c, d = got(frame.rename(columns=dict(prompt='style')), ('style', 'seed')), got(frame, ('seed', 'prompt'))
    assert np.allclose(c.variance, a.variance) and 'speaker × style' in c.index
    assert np.allclose(d.variance[['prompt', 'seed × prompt']], a.variance[['prompt', 'prompt × seed']])

def test_three_factors_and_any_subset():
    frame = made(rng_of('three'), shape=(3, 2, 2), sd={('mean', (2,)): 1, ('clip', (0, 1, 2)): .1})
    t, part = got(frame), frame[frame.seed.eq(0) & frame.verifier.eq(1)]
    assert len(t)==7+8+8 and t.variance.idxmax()=='verifier'
    assert got(part).note[['seed', 'verifier']].eq('one level: nothing to compare').all()
    assert got(part).variance['prompt']==got(part, ('prompt',)).variance['prompt']

def test_nothing_is_missing_without_a_note():
    frame = made(rng_of('notes'), sd=TRUE)
    cases = [frame, frame.assign(verifier='v'), frame.drop(columns='speaker'), frame.assign(value=1.), frame[:0],
             frame[frame.prompt.ne(0) | frame.seed.ne(1)], frame[frame.speaker.eq(0)], frame.assign(value=np.nan),
             frame[frame.uid.eq(3)], frame.assign(speaker=frame.uid), frame.assign(value=frame.prompt*1.),
             frame[['uid', 'speaker', 'value']][:1], frame[['uid', 'value']][:1]]
    for case in cases:
        t = components(case)
        assert list(t)==SHARES
        lost = t[['variance', 'low', 'high', 'sd', 'of_mean']].isna().any(axis=1)
        assert len(t) and (t.note[lost]!='').all(), case
        assert (t.variance.dropna()<0).eq(t.note[t.variance.notna()].str.contains('below 0')).all()
        assert (t.low.dropna()>=0).all() and (t.high.dropna()>=t.low.dropna()).all()

def test_clips_with_a_hole_are_left_out_and_counted():
    frame = made(rng_of('holes'), sd=TRUE)
    holes = frame.assign(value=frame.value.mask(frame.uid.eq(5) & frame.seed.eq(1)))[3:]
    t, want = components(holes), components(frame[~frame.uid.isin([0, 5])])
    assert (t.left_out==2).all() and (t.n==46).all()
    assert t.drop(columns='left_out').equals(want.drop(columns='left_out'))

@pytest.mark.parametrize(('change', 'said'), [
    (lambda o: o.drop(columns='value'), r"no columns \['value'\]"),
    (lambda o: pd.concat([o, o[:2]]), '2 rows repeat a combination of uid, prompt, seed'),
    (lambda o: o.assign(prompt=o.prompt.mask(o.uid.eq(0))), '6 rows have no prompt'),
    (lambda o: o.assign(speaker=o.speaker+o.prompt), 'more than one speaker'),
    (lambda o: o.assign(speaker=o.speaker.astype(object).mask(o.uid.eq(0))), 'have no speaker')])
def test_a_frame_that_cannot_be_read_is_refused(change, said):
    with pytest.raises(InputError, match=said): components(change(made(rng_of('wrong'), sd=TRUE)))

def test_intervals_of_a_single_mean_square_are_chi_squared():
    low, high = williams(np.array([[.5, 6., 7]]), .9)
    assert np.allclose([low, high], 7*3/chi2.ppf([.95, .05], 7))
    both = np.array([[.5, 6., 7], [-.5, 1., 21]])
    assert np.isclose(williams(both)[0], (3-.5*f.ppf(.975, 7, 21))*7/chi2.ppf(.975, 7))
    sq = squares_of(design_of(made(rng_of('terms'), sd=TRUE)))
    assert [len(terms_of(sq, *o)) for o in (('mean', (0, 1)), ('mean', (0,)), ('clip', (0, 1)), ('speaker', ()))]==[2, 4, 1, 8]
