"""Answers that could not be read are in view: a sign and the share in every figure, table and verdict that rests on more than
5 % of them; above 50 % no claim is tested, and figures show another prompt that could be read."""
import json
from dataclasses import replace

import numpy as np
import pytest
from test_figures import FIGS, clips, figures_of, keep, tables

from ambiscale_nb.study.cells import BASE, PLAIN, cells_of, main_cell
from ambiscale_nb.study.effects import STRONG
from ambiscale_nb.study.claims import claim_text, claims_of, verdict_table, verdict_words
from ambiscale_nb.core import ROOT
from ambiscale_nb.metrics.equivalence import NOT_TESTABLE
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.study.report import claims_page, grid, grid_page, leaderboard, leaderboard_page, planned_pairs
from ambiscale_nb.study.results import MARK, Study, summary
from ambiscale_nb.study.truth import truth_of

LOST = dict(few=3, some=15, most=60) # Of 72 clips: 4, 21 and 83 % of the answers
NOTE = dict(some='21 % unread', most='83 % unread')

@pytest.fixture(scope='module')
def studies(tmp_path_factory):
    "A study for each share, and a function that draws a figure of one."
    p, utterances = clips()
    truth = truth_of(utterances, None, label_set('four'))
    made = {name: tables(p, truth, ks=(1, 8), swapped='dist', lost=lost) for name, lost in LOST.items()}
    with figures_of(tmp_path_factory.mktemp('unread'), {name: pools for name, (_, pools) in made.items()}) as draw:
        for name, (found, _) in made.items(): keep(name, found, utterances)
        yield lambda stem, name: draw(stem, name)[1]

def written(fig):
    "All that a figure says."
    texts = [o.get_text() for ax in fig.axes for o in ax.texts]+[ax.get_title() for ax in fig.axes]
    return texts, ' '.join(' '.join(o.get_title().get_text() for o in fig.legends).split()).replace(chr(160), ' ')

@pytest.mark.parametrize('stem', [*(o for o in FIGS if o!='fig10_utterance'), 'claims'])
def test_every_figure_says_what_could_not_be_read(studies, stem):
    space = studies(stem, 'some')
    marks, said = written(space['fig'])
    prompt = space.get('mode', 'dist')
    if prompt=='label':  # figure 3 asks for one label
        assert MARK not in said and not any(MARK in o for o in marks)
        return
    assert any(MARK in o for o in marks), marks
    assert f'{MARK} Many answers could not be read' in said and NOTE['some'] in said

@pytest.mark.parametrize('stem', ['fig1_budget', 'fig2_strategies', 'fig9_confusion', 'claims'])
def test_where_few_answers_are_lost_nothing_is_marked(studies, stem):
    marks, said = written(studies(stem, 'few')['fig'])
    assert MARK not in said and not any(MARK in o for o in marks)

@pytest.mark.parametrize('stem', ['fig2_strategies', 'fig6_pareto', 'fig7_reliability', 'fig8_human', 'fig9_confusion',
                                  'fig10_utterance'])
def test_a_figure_shows_a_prompt_that_could_be_read(studies, stem):
    space = studies(stem, 'most')
    assert 'one label' in space['fig'].get_suptitle()
    assert 'shares of all labels' in studies(stem, 'some')['fig'].get_suptitle()

def test_a_clip_without_an_answer_has_no_bars(studies):
    "The uniform distribution that is scored there was said by nobody."
    space = studies('fig10_utterance', 'some')
    lost = {o: np.isnan(v).all() for o, v in space['bars'].items() if o!='people'}
    unread = space['uid'] in {f'u{i:02d}' for i in range(LOST['some'])}
    assert set(lost.values())=={unread}
    bars = drawn_bars(space, 'u03')
    assert all(np.isnan(v).all() for k, v in bars.items() if k!='people')
    assert all(np.isfinite(v).all() for v in drawn_bars(space, 'u40').values())

def drawn_bars(space, uid):
    "The bars of another clip, by the cell of the notebook that makes them."
    cells = json.loads((ROOT/'nbs/figures/fig10_utterance.ipynb').read_text())['cells']
    cell = next(''.join(o['source']) for o in cells if 'bars = {' in ''.join(o['source']))
    space = {**space, 'uid': uid, 'clip': space['clips'].set_index('uid').loc[uid]}
    exec(compile(cell, 'bars', 'exec'), space)
    return space['bars']

@pytest.mark.parametrize('name', LOST)
def test_claims_rest_on_what_was_read(studies, name):
    claims = claims_of(cells_of(Study(name)), STRONG)[0].set_index(['claim', 'mode'])
    share = LOST[name]/72
    stated, label = claims.xs('dist', level='mode'), claims.xs('label', level='mode')
    assert label.unread.eq(0).all() and not label.verdict.map(str).str.contains('unread').any()
    assert stated.unread.loc[['1b', '2', '6a']].to_numpy()==pytest.approx(share)
    words = verdict_words(stated.loc['6a'])
    if name=='most':
        assert set(stated.verdict)=={NOT_TESTABLE} and set(map(verdict_words, stated.itertuples()))=={
            'not testable: 83 % unread'}
        assert stated.note.str.startswith('83 % unread').all() and 'large on demo' in stated.note['6a']
        assert 'not testable: 83 % unread' in claims_page(claims.reset_index())
    elif name=='some': assert words==f"{stated.verdict['6a']} {MARK} (21 % unread)"
    else: assert words==stated.verdict['6a']
    table = verdict_table(claims.reset_index()).set_index('claim')
    assert table['shares of all labels']['6a']==words
    text = claim_text(claims.reset_index().query("claim=='6a'"))
    assert (NOTE.get(name, 'unread') in text)==(name in NOTE)

def test_one_unread_cell_of_three_is_left_out_and_named(studies):
    good, bad = cells_of(Study('few')), cells_of(Study('most'))
    mixed = [o for o in good if o.mode=='dist']+[replace(o, model='deaf') for o in bad if o.mode=='dist'][:1]
    row = claims_of(mixed)[0].set_index(['claim', 'mode']).loc['6a', 'dist']
    alone = claims_of(mixed[:-1])[0].set_index(['claim', 'mode']).loc['6a', 'dist']
    assert row.verdict==alone.verdict and row.effect==alone.effect and row.unread==alone.unread==pytest.approx(3/72)
    assert '1 of 3 cells left out: 83 % unread' in row.note and 'deaf on demo' in row.note

def test_the_main_cell_is_one_that_could_be_read(studies):
    cells = cells_of(Study('most'))
    assert main_cell(cells).mode=='label' and main_cell(cells_of(Study('some'))).mode=='dist'
    assert {o.unread[BASE] for o in cells if o.mode=='dist'}=={60/72} and all(PLAIN in o.unread for o in cells)

@pytest.mark.parametrize('name', LOST)
def test_tables_say_what_could_not_be_read(studies, name):
    scores = Study(name).read('scores')
    table, board = summary(scores), leaderboard(scores, 'demo', 99)
    cells = grid(scores, planned_pairs(Study(name)))
    page = leaderboard_page(scores)+grid_page(cells)
    stated = cells[cells.asked.str.startswith('dist')]
    if name not in NOTE:
        assert 'unread' not in table and MARK not in page and not board.jsd.str.contains(MARK).any()
        return
    marked = table.unread.eq(f'{MARK} {NOTE[name]}')
    assert marked.eq(table['mode'].eq('dist')).all() and table.unread[~marked].eq('').all()
    assert board.jsd.str.endswith(MARK).eq(board.asked.str.startswith('dist')).all()
    assert stated.majority.str.endswith(MARK).all() and not cells.drop(stated.index).majority.str.contains(MARK).any()
    assert page.count('could not be read')==2
