"""What `make reproduce` says at its end: whether the data of its figures agree with the committed ones, and the answer on one
screen. A second processor may differ in the last digits, and nothing else."""
import shutil
from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ambiscale_nb.core import ROOT
from ambiscale_nb.study import cli, results, run
from ambiscale_nb.study.figures import rounded

COMMITTED = sorted((ROOT/'figures').glob('*.csv'))
SOME = [o for o in COMMITTED if o.stem in ('claims', 'fig1_budget', 'fig7_reliability')]
CSV = dict(index=False, lineterminator='\n')

@cache
def text(file): return rounded(pd.read_csv(file)).to_csv(**CSV)

@pytest.fixture
def here(tmp_path, monkeypatch):
    "A project with the study `embedded`: the data of some committed figures, and these figures."
    monkeypatch.setattr(run, 'ROOT', tmp_path)
    for o in ('figures', 'results/embedded/figures'):
        (tmp_path/o).mkdir(parents=True)
        for file in SOME: (tmp_path/o/file.name).write_text(text(file))
    return tmp_path

def compare(name='embedded'): return run.compare_figures(SimpleNamespace(name=name, figures=[o.stem for o in SOME]))

def change(here, stem, how):
    "Write a figure's data of the study in another way."
    path = here/'results/embedded/figures'/f'{stem}.csv'
    how(pd.read_csv(path)).to_csv(path, **CSV)

def nudged(df, units):
    "The same table with each number off by units of its last digit, as another processor might have it; counts as they are."
    def off(x): return x+units*np.maximum(10.**(np.floor(np.log10(np.abs(x.where(x%1!=0))))-3), 1e-6)
    return rounded(df.assign(**{o: off(df[o]).fillna(df[o]) for o in df.select_dtypes('float')}))

def test_committed_data_are_as_figures_write_them():
    for file in COMMITTED: assert text(file)==file.read_text(), f'draw it again: {file.stem}'

def test_equal_data_agree_to_the_last_digit(here):
    found = compare()
    assert len(found)==len(SOME) and set(map(str, found.values()))=={'(0.0, [])'}
    assert run.comparison_text(found)==f'Data of {len(found)} of {len(found)} figures agree with those in figures/.'
    assert compare('mine')=={}  # no other study is compared

@pytest.mark.parametrize('units', [1e-9, 1, -1, 3, -3])
def test_rounding_noise_agrees_and_is_stated_and_more_does_not_agree(here, units):
    "Three units of the fourth digit are more than 0.1 % of a number that begins with 1 or 2."
    for o in SOME: change(here, o.stem, lambda df: nudged(df, units))
    found = compare()
    assert {bool(lines) for _, lines in found.values()}=={abs(units)>1}
    tops = [largest for largest, _ in found.values()]
    if abs(units)<1: assert set(tops)=={0.}
    if abs(units)==1: assert min(tops)>0 and f'largest difference {max(tops):.0e}' in run.comparison_text(found)

def cell(df, name, row, value):
    df = df.astype({name: object} if isinstance(value, str) else {})
    df.loc[row, name] = value
    return df

CHANGES = dict(
    number=(lambda df: cell(df, 'value', 3, df.value[3]*1.002), ['value ', ' instead of ']),
    missing_number=(lambda df: cell(df, 'value', 3, np.nan), ['value nan instead of ']),
    count=(lambda df: cell(df, 'n', 3, df.n[3]+1), [': n ', ' instead of ']),
    text=(lambda df: cell(df, 'interval', 3, 'guessed'), ['interval guessed instead of ']),
    missing_row=(lambda df: df.drop(3), ['no row ']), more_rows=(lambda df: pd.concat([df, df.tail(1)]), ['new row ']),
    column=(lambda df: df.assign(more=1.), ['new column more']), no_column=(lambda df: df.drop(columns='low'), ['no column low']))

@pytest.mark.parametrize('name', CHANGES)
def test_whatever_else_differs_is_named_with_its_row(here, name):
    how, words = CHANGES[name]
    change(here, 'fig1_budget', how)
    found = compare()
    assert [k for k, (_, lines) in found.items() if lines]==['fig1_budget']
    (line,) = found['fig1_budget'][1]
    assert all(o in line for o in words), line
    if 'column' not in name: assert 'dist, cot, ' in line or name=='more_rows'  # mode, strategy, k
    told = run.comparison_text(found)
    assert f'fig1_budget: 1 difference\n  {line}' in told and f'{len(SOME)-1} of {len(SOME)}' in told

def test_the_order_of_rows_does_not_matter_and_many_differences_are_counted(here):
    change(here, 'fig1_budget', lambda df: df.iloc[::-1])
    assert compare()['fig1_budget']==(0., [])
    change(here, 'fig1_budget', lambda df: df.assign(value=df.value+.01))
    found, rows = compare(), len(pd.read_csv(ROOT/'figures/fig1_budget.csv'))
    assert len(found['fig1_budget'][1])==rows and f'and {rows-4:,} more' in run.comparison_text(found)

def test_what_is_missing_on_one_side(here):
    (here/'figures/fig1_budget.csv').unlink()
    (here/'results/embedded/figures/claims.csv').unlink()  # was not drawn
    found = compare()
    assert found['fig1_budget'][1]==['there is no figures/fig1_budget.csv'] and 'claims' not in found
    shutil.rmtree(here/'results')
    assert compare()=={}

@pytest.mark.parametrize(('failed', 'lines', 'status'), [([], [], 0), ([], ['no row a'], 1), ([('fig3_size', 'broke')], [], 1)])
def test_the_status_says_whether_it_was_reproduced(monkeypatch, capsys, failed, lines, status):
    monkeypatch.setattr(run, 'compare_figures', lambda study: dict(claims=(0., lines)))
    monkeypatch.setattr(cli, 'print_summary', lambda *_: None)
    monkeypatch.setattr('ambiscale_nb.study.plans.failures_text', lambda name: '')
    assert cli.end_run(SimpleNamespace(name='embedded', figures=['claims', 'fig3_size']), failed, 383.)==status
    told = capsys.readouterr().out
    assert told.endswith('It took 6 min.\n') and ('agree' in told)==(not failed)

# --- the answer on one screen
MODES = ('dist', 'label')

def scores(unparsed=0., low=.1):
    row = dict(model='tiny', corpus='c', condition='none', style='direct', strategy='greedy', k=1, decoding='greedy', width=0,
               reading='plain', calibration='', verifier='', wording='0', metric='jsd', low=low, high=low+.2, n=432,
               unparsed=unparsed, noise_floor=.06, one_more_rater=.35, prior=np.nan, reason='')
    rows = [row | dict(mode=m, model=o, value=.2+.01*i) for m in MODES for i, o in enumerate(('tiny', 'nano', 'small'))]
    many = [dict(row, mode=m, strategy=s, decoding='sample', k=16, value=.15+.01*i) for m in MODES
            for i, s in enumerate(('majority', 'mean', 'bon', 'w_bon'))]
    return pd.DataFrame([o | dict(stratum=s) for o in rows+many for s in ('all', 'clear', 'ambiguous')])

@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    "A function that prints the answer of a study with these scores, and so large a share of unread answers."
    for where in ('results', 'cli'): monkeypatch.setattr(f'ambiscale_nb.study.{where}.RESULTS', tmp_path/'results')
    monkeypatch.setattr(cli, 'ROOT', tmp_path)
    monkeypatch.setattr(run, 'figure_folder', lambda *_: 'results/mine/figures')
    verdicts = {'1a': ['supported']*2, '1b': ['supported', 'opposite'], '2': ['not testable']*2, '5a': ['not testable']*2}
    def show(table, unread=0.):
        claims = [dict(claim=k, says=f'What is claimed {k}', mode=m, verdict=v, unread=unread)
                  for k, both in verdicts.items() for m, v in zip(MODES, both, strict=True)]
        results.Study('mine').write(table, 'scores')
        results.Study('mine').write(pd.DataFrame(claims), 'claims')
        cli.print_summary('mine')
        return capsys.readouterr().out
    return show

def test_the_answer_fits_on_a_screen(told):
    text = told(scores())
    lines = text.splitlines()
    assert len(lines)<=24 and max(map(len, lines))<=100
    assert 'supported: What is claimed 1a (1a).' in lines and sum('What is claimed' in o for o in lines)==3
    assert 'supported (shares of all labels), opposite (one label): What is claimed 1b (1b).' in lines
    assert 'not testable: What is claimed 2 (2); What is claimed 5a (5a).' in text
    table = [o.split() for o in lines if o.startswith(('tiny', 'nano', 'small'))]
    assert len(table)==10 and table[0][:3]==['tiny', 'shares', 'majority'] and 'W-BoN' in text and 'single' in text
    assert {o[1] for o in table}=={'shares', 'one'} and text.count('0.200 [0.100, 0.300]')==2
    assert 'one more rater 0.350, perfect predictor 0.060.' in text and 'nan' not in text and '[–]' not in text
    for o in ('results/mine/scores.parquet', 'ambiscale figure 1 mine', 'ambiscale report mine', 'ambiscale claims mine'): assert o in text

def test_unread_answers_are_stated_once_and_rank_nothing(told):
    text = told(scores(unparsed=1.), 1.)
    assert text.count('100 %')==1 and 'supported †' in text and not any(o.startswith('tiny') for o in text.splitlines())

def test_a_row_without_an_interval_says_why(told):
    text = told(scores(low=np.nan).assign(reason='2 speakers, 3 are needed'))
    assert '[–]: no interval: 2 speakers, 3 are needed.' in text
