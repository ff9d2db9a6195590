"""Every figure notebook has its picture and its data; rows that are not plain change no figure; the marks of the grid
follow the tests. (That each notebook runs by itself is tested in `test_notebooks.py`.)"""
import json
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ambiscale_nb.core import ROOT, rng_of
from ambiscale_nb import Study, label_set
from ambiscale_nb.strategies.pool import STRATEGIES, pool_of
from ambiscale_nb.study import results
from ambiscale_nb.study.figures import CORE, STYLE, in_order, rank_cell, strategy_grid
from ambiscale_nb.study.scores import predictions_of, score_pool
from ambiscale_nb.study.truth import truth_of

STEMS = sorted(o.stem for o in (ROOT/'nbs/figures').glob('*.ipynb') if o.stem.startswith('fig') or o.stem=='claims')
FIGS = [o for o in STEMS if o.startswith('fig') and o!='fig11_real'] # Which belongs to no study
FOUR = label_set('four').labels
SIZES = {'little': 1e6, 'large': 9e6}
FORMS = {'.pdf', '.svg', '.png', '.csv'}

def test_each_figure_is_committed_with_its_data():
    assert {o.stem for o in (ROOT/'figures').glob('[!.]*')}=={*STEMS}, 'draw it: make figures, make claims'
    for stem in STEMS:
        files = {o.suffix: o for o in (ROOT/'figures').glob(f'{stem}.*')}
        assert set(files)==FORMS and len(pd.read_csv(files['.csv']))>=2, stem

# --- a small study: real scores of invented answers ------------------------------------------------------------------
def clips():
    "Seventy-two clips of twelve speakers, ten raters each; half of them divide people."
    rng = rng_of('clips of a figure')
    p = rng.dirichlet(np.full(4, .25), 72)
    p[::2] = .25*p[::2]+.75*rng.dirichlet(np.full(4, 3.), 36)
    votes = pd.DataFrame(rng.multinomial(10, p), columns=[f'votes_{o}' for o in FOUR]).astype(float)
    who = [f's{i//6:02d}' for i in range(72)]
    return p, votes.assign(corpus='demo', uid=[f'u{i:02d}' for i in range(72)], speaker=who, path='nowhere.wav',
                           n_raters=10., transcript='one', ambiguity_source='votes', flags='')

def pool(p, rng, mode, style, kind, N=8, worded=False):
    "Answers near the truth; in tenths and with yes/no verdicts if `worded`."
    if mode=='label': said = [[FOUR[rng.choice(4, p=o/o.sum())] for _ in range(N)] for o in p]
    elif worded: said = [list(rng.multinomial(10, o/o.sum(), N)/10) for o in p]
    else: said = [list(rng.dirichlet(9*o+.3, N)) for o in p]
    verdicts = .6*p+.4*rng.random(p.shape)
    return pool_of(said, FOUR, mode, [f'u{i:02d}' for i in range(72)], style, kind, n_tokens=np.full((72, N), 4.),
                   sum_logprob=-rng.gamma(2., 1., (72, N)), text_id=np.tile(np.arange(N), (72, 1)),
                   label_verdict=(verdicts>.2).astype(float) if worded else verdicts)

OWN = dict(width=0, reading='plain', calibration='', verifier='')  # A pool without another reading

def tables(p, truth, corpus='demo', worded=False, ks=(1, 2, 4, 8), swapped='label', lost=0):
    "Scores and predictions of two models, and their pools; no distribution that is stated of the first clips can be read."
    out, pools = {'scores': [], 'predictions': []}, {}
    prompts = [(m, s, k, 'none') for m in ('label', 'dist') for s in ('direct', 'cot') for k in ('sample', 'greedy')]
    for model, blur in (('little', .5), ('large', .2)):
        for mode, style, kind, condition in [*prompts, (swapped, 'direct', 'greedy', 'swap')]:
            near = (1-blur)*(p if condition=='none' else p[::-1])+blur/4
            one = pool(near, rng_of(model, mode, style, kind, condition), mode, style, kind, 8 if kind=='sample' else 1, worded)
            if lost and mode=='dist':
                seen = np.arange(len(p))>=lost
                one = replace(one, dist=one.dist*seen[:, None, None], parsed=one.parsed & seen[:, None], verdict=None)
            pools[model, mode, style, kind] = one
            who = dict(model=model, corpus=corpus, condition=condition, decoding=kind, **OWN)
            out['scores'].append(score_pool(one, truth, ks)[0].assign(**who, source=truth.source))
            out['predictions'].append(predictions_of(one).assign(**who))
    found = {k: pd.concat(v, ignore_index=True) for k, v in out.items()}
    found['scores'] = found['scores'].assign(answers=lambda o: o.k.astype(float), calls=1., tokens=1.)
    return found, pools

def more(df):
    "Further rows that no figure may show, each with numbers that would be seen."
    if 'metric' in df: strange = df.assign(value=.001, low=0., high=.002, noise_floor=.0005)
    else: strange = df.assign(**{o: [np.eye(4)[0]]*len(df) for o in ('dist', 'credit')}, tied=[[]]*len(df),
                             chance=[[]]*len(df))
    sampled = strange[strange.decoding=='sample']
    extra = [strange.assign(reading='calibrated', calibration=o) for o in ('temperature', 'prior', 'dirichlet')]
    extra += [sampled.assign(reading='other verifier', verifier=o) for o in ('little', 'large')]
    extra += [sampled.assign(decoding='beam', width=5)]
    extra += [sampled[sampled.strategy=='mean'].assign(style='both', strategy='prompt_ensemble')]
    return pd.concat([*extra[:3], df, *extra[3:]], ignore_index=True)

@contextmanager
def figures_of(root, pools):
    "A function that draws a figure of a study, from its tables and its pools."
    now = []
    def asked(store, plan):  # the pools of a model; `others` has beams, which fig10 must leave out
        rows = [dict(model=k[0], mode=k[1], style=k[2], decode=k[3], wording='0') for k in pools[now[-1]] if k[0]==plan.model[0]]
        odd = [o | dict(decode='beam') for o in rows if o['decode']=='sample'] if plan.others[0] else []
        return pd.DataFrame(odd+rows)
    def laid(rows, labels, verdicts=None):
        return {(*o[1:], 0): pools[now[-1]][tuple(o)] for o in rows[['model', 'mode', 'style', 'decode']].to_numpy()}
    @cache
    def draw(stem, name):
        now.append(name)
        return drawn(stem, name, root/name)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(results, 'RESULTS', root)
        m.setattr('ambiscale_nb.study.listening.pool_rows', lambda store, plan: pd.DataFrame())  # who listens
        m.setattr('ambiscale_nb.sampling.store.pool_rows', asked)
        m.setattr('ambiscale_nb.study.scores.make_pools', laid)
        yield draw

@pytest.fixture(scope='module')
def study(tmp_path_factory):
    """A function that draws a figure of a study: `plain`; `more`, with further rows; `worded`, with yes/no verdicts;
    `acted`, with a second corpus on which nobody voted."""
    root, (p, utterances) = tmp_path_factory.mktemp('figures'), clips()
    truth = truth_of(utterances, None, label_set('four'))
    found, pools = tables(p, truth)
    acted = utterances.assign(ambiguity_source='acted', acted=[FOUR[o] for o in p.argmax(1)], corpus='stage')
    acted = acted.drop(columns=[f'votes_{o}' for o in FOUR])
    stage, worded = tables(p, truth_of(acted, None, label_set('four')), 'stage')[0], tables(p, truth, worded=True)[0]
    with figures_of(root, dict.fromkeys(('plain', 'more', 'worded', 'acted'), pools)) as draw:
        keep('plain', found, utterances)
        keep('more', {k: more(df) for k, df in found.items()}, utterances)
        keep('worded', worded, utterances)
        keep('acted', {k: pd.concat([df, stage[k]], ignore_index=True) for k, df in found.items()}, utterances, acted)
        yield draw

def keep(name, found, *corpora):
    "Store the tables of a study, and what it knows of its runs."
    here = Study(name)
    for k, df in found.items(): here.write(df, k)
    for table, corpus in ((o, o.corpus[0]) for o in corpora):
        here.write(table, 'utterances', corpus)
        for model, condition in [(m, c) for m in SIZES for c in ('none', 'swap')]:
            stem = f'{model}--{corpus}--{condition}'
            here.write(pd.DataFrame(dict(model=[model], others=[name=='more'])), 'plans', stem)
            (here.root/f'plans/{stem}.json').write_text(json.dumps(dict(
                model=model, corpus=corpus, condition=condition, label_set='four', has_ratings=False,
                n_params=SIZES[model], clips=72, verified=True)))

def drawn(stem, name, out):
    "Execute a figure's notebook in this process; its files and its variables."
    space = {}
    for cell in json.loads((ROOT/f'nbs/figures/{stem}.ipynb').read_text())['cells']:
        if cell['cell_type']=='code': exec(compile(''.join(cell['source']), stem, 'exec'), space)
        if 'parameters' in cell['metadata'].get('tags', ()): space |= dict(study=name, out=str(out))
    plt.close('all')
    return {o.suffix: o.read_bytes() for o in out.glob(f'{stem}.*')}, space

KEYS = dict(fig1_budget=['mode', 'metric', 'stratum', 'strategy', 'k'], fig6_pareto=['strategy', 'k'],
            fig2_strategies=['model', 'stratum', 'strategy'], fig3_size=['model', 'metric', 'strategy'],
            fig8_human=['model', 'stratum', 'strategy'])

@pytest.mark.parametrize('stem', FIGS)
def test_rows_that_are_not_plain_change_no_figure(study, stem):
    (plain, _), (others, space) = study(stem, 'plain'), study(stem, 'more')
    assert set(plain)==FORMS and [o for o in plain if plain[o]!=others[o]]==[]
    if stem in KEYS: assert not space.get('table', space.get('rows')).duplicated(KEYS[stem]).any()  # a point is a row

@pytest.mark.parametrize('name', ['more', 'worded'])
def test_the_grid_agrees_with_the_scores(study, name):
    "Also where verdicts are yes or no and most choices are ties: one value per cell."
    space = study('fig2_strategies', name)[1]
    assert len(space['both'])==len(space['table'])==2*2*len(CORE)  # models, strata, strategies
    assert set(space['table'].strategy)==set(CORE)
    assert (space['both'].value-space['both'].value_there).abs().max()<1e-9

@pytest.mark.parametrize('stem', FIGS)
def test_a_corpus_without_votes(study, stem):
    "It changes no figure of another corpus, is named, and leaves every title and caption on the page."
    out, space = study(stem, 'acted')
    fig = space['fig']
    said = ' '.join(' '.join(o.get_title().get_text() for o in fig.legends).split())
    if stem=='fig8_human': assert 'Nobody voted on stage' in said
    elif stem=='fig2_strategies': assert 'because nobody voted: stage' in said
    elif stem!='fig4_audio': assert out['.csv']==study(stem, 'plain')[0]['.csv']
    fig.set_dpi(160)
    fig.draw_without_rendering()
    inside, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    assert inside.x0>=0 and inside.x1<=width+.02 and inside.y0>=-.02 and inside.y1<=height+.02, inside

def test_where_nobody_voted_the_grid_has_accuracy(study):
    space = study('fig2_strategies', 'acted')[1]
    table, stage = space['table'], space['table'].query("corpus=='stage'")
    assert table.groupby('corpus').metric.unique().map(list).to_dict()=={'demo': ['jsd'], 'stage': ['accuracy']}
    assert set(stage.stratum)=={'all'} and len(space['both'])==len(table)
    assert stage.noise_floor.isna().all() and stage.prior.notna().all()
    assert {ax.get_xlabel() for ax in space['fig'].axes}=={'JSD, bits', 'accuracy'}
    assert sum('is the vote'==o.get_text() for ax in space['fig'].axes for o in ax.texts)==len(SIZES)

# --- the marks of the grid -------------------------------------------------------------------------------------------
def cell(gap, speakers=20, each=30, by_speaker=0., world=()):
    "The first two differ by noise alone, the third is worse by `gap`."
    rng = rng_of('a made-up cell', gap, speakers, *world)
    base = rng.uniform(.1, .5, speakers*each)
    who = np.repeat([f's{i:02d}' for i in range(speakers)], each)
    lean = np.repeat(rng.normal(0, by_speaker, speakers), each)
    return {o: base+by+rng.normal(0, .05, len(base))+lean*(o=='bon') for o, by in
            (('mean', 0.), ('majority', 0.), ('bon', gap))}, who

def ties(values, who, **how):
    return rank_cell(values, who, ['all']*len(who), **how).set_index('strategy').tied.map(bool).to_dict()

def test_direction_clusters_and_strata_of_ties():
    values, who = cell(.1)
    turned = {k: -v for k, v in values.items()}
    assert ties(turned, who, direction='higher')==ties(values, who)==dict(mean=True, majority=True, bon=False)
    assert ties(values, who, direction='higher')==dict(mean=False, majority=False, bon=True)
    # the unit is the speaker: .02 on average that leans each way by .1 is nothing, whatever the number of clips
    worlds = [cell(.02, speakers=8, each=400, by_speaker=.1, world=[i]) for i in range(60)]
    assert np.mean([ties(*o)['bon'] for o in worlds])>.9 and not ties(*cell(.02, speakers=40, each=400))['bon']
    clear = np.arange(len(who))%2==0
    values['bon'] = np.where(clear, values['bon'], values['mean'])
    found = rank_cell(values, who, np.where(clear, 'clear', 'ambiguous')).set_index(['stratum', 'strategy'])
    assert found.tied['ambiguous'].all() and not found.tied['clear', 'bon']

def test_intervals_that_overlap_do_not_make_a_tie():
    values, who = cell(.012)
    found = rank_cell(values, who, ['all']*len(who)).set_index('strategy')
    assert found.low['bon']<found.high['mean'] and not found.tied['bon']

def test_marks_in_the_picture_are_those_of_the_table():
    values, who = cell(.1)
    table = rank_cell(values, who, ['clear']*len(who)).assign(model='m', corpus='c', metric='jsd')
    ax = strategy_grid(table, ['mean', 'majority', 'bon', 'alm_v']).axes[0]
    names = [o.get_text() for o in ax.get_yticklabels()]
    seen = {names[round(y)]: o.get_markerfacecolor()!='white' for o in ax.lines if o.get_marker() not in ('None', '')
            for y in o.get_ydata()}
    assert seen=={STYLE['mean'][2]: True, STYLE['majority'][2]: True, STYLE['bon'][2]: False}
    assert 'not applicable' in [o.get_text() for o in ax.texts] and len(names)==4
    plt.close('all')

def test_every_strategy_has_a_look_of_its_own():
    assert set(STRATEGIES)<=set(STYLE), 'name it in STYLE of 06_figures'
    assert len({o[:2] for o in STYLE.values()})==len({o[2] for o in STYLE.values()})==len(STYLE)
    assert in_order(STYLE)==[*STYLE]
