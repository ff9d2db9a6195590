"""Every number that README's section on real models and figure 11's note state is in the figure's CSV."""
import json
import re

import pandas as pd
import pytest

from ambiscale_nb.core import ROOT, InputError
from ambiscale_nb.study.reanalysis import check_clips

REAL = pd.read_csv(ROOT/'figures/fig11_real.csv')

def known():
    "The texts of the numbers of the CSV, as they are written in prose."
    values = [*REAL.value, *REAL.low.dropna(), *REAL.high.dropna()]
    found = {f'{abs(o):.3f}' for o in values} | {f'{100*o:.1f}' for o in values}
    return found | {f'{o:,.0f}' for o in REAL[['clips', 'questions', 'speakers']].to_numpy().ravel() if o==o}

def test_numbers_of_readme_and_figure_11_come_from_the_csv():
    readme = (ROOT/'README.md').read_text().partition('## Two real models, re-analysed')[2].partition('\n## ')[0]
    cells = json.loads((ROOT/'nbs/figures/fig11_real.ipynb').read_text())['cells']
    for text in (readme, ''.join(cells[0]['source'])):
        text = re.sub(r'(?<!`)`[^`\n]+`(?!`)|\]\([^)]*\)|\w*[A-Za-z][\w.]*|95 %', ' ', text)
        stated = [o.rstrip('.,') for o in re.findall(r'\d[\d.,]*', text)]
        assert len(stated)>3 and not {*stated}-known()

def test_the_csv_has_every_element_and_no_row_of_the_source():
    want = {'single answer', 'vote over wordings', 'class prior', 'acoustic probe', 'one more rater', 'perfect predictor'}
    for level in ('clear', 'ambiguous'):
        assert {*REAL[REAL.level.eq(level) & REAL.metric.eq('accuracy')].predictor}>=want
    assert REAL.predictor.str.fullmatch(r'wording [1-8]').sum()==16
    assert {'wordings agree', 'no option: refusal', 'published: W-BoN'} <= {*REAL.predictor}
    assert len(REAL)<150 and not REAL.astype(str).apply(lambda o: o.str.contains(r'\d{4}_[A-Z]{3}_')).any().any()

def test_a_part_of_the_recordings_does_not_replace_the_figure(tmp_path):
    answers = pd.DataFrame(dict(uid=range(290)))
    REAL.to_csv(tmp_path/'fig11_real.csv', index=False)
    check_clips(answers, tmp_path/'fig11_real.csv')
    check_clips(answers[1:], tmp_path/'none.csv')
    said = 'fig11_real.* show answers to 290 clips and are kept: here are answers and recordings of 289. Put .*AMBISCALE_CREMA_D'
    with pytest.raises(InputError, match=said): check_clips(answers[1:], tmp_path/'fig11_real.csv')
    cells = json.loads((ROOT/'nbs/figures/fig11_real.ipynb').read_text())['cells']
    source = '\n'.join(''.join(o['source']) for o in cells)
    assert 0<source.index('check_clips(answers, ROOT/out')<source.index('question_scores(answers')<source.index('save_figure(fig')
