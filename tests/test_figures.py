"""Every figure notebook has its picture and the data behind it, drawn from the embedded study. (That each can be
executed is tested in `test_notebooks.py`.)"""
import pandas as pd
import pytest

from ambiscale_nb.core import ROOT

STEMS = sorted(o.stem for o in (ROOT/'nbs/figures').glob('*.ipynb') if o.stem.startswith('fig') or o.stem=='claims')


@pytest.mark.parametrize('stem', STEMS)
def test_each_figure_is_there_in_three_forms_with_its_data(stem):
    files = {o.suffix: o for o in (ROOT/'figures').glob(f'{stem}.*')}
    assert set(files)=={'.pdf', '.svg', '.png', '.csv'}, 'draw it: make figures, make claims'
    assert len(pd.read_csv(files['.csv']))>=2


def test_no_picture_is_without_its_notebook():
    assert {o.stem for o in (ROOT/'figures').glob('[!.]*')}=={*STEMS}
