"A metric of one's own, a function and a decorator in a file: scores, the report and figures have it with no other edit."
import base64
import gzip
import re
import numpy as np
import pandas as pd
import pytest
from in_one import execute
from ambiscale_nb import metric
from ambiscale_nb.core import ROOT, InputError
from ambiscale_nb.corpora.ambiguity import soft_labels
from ambiscale_nb.metrics import metrics
from ambiscale_nb.study.cells import cells_of
from ambiscale_nb.study.report import search_page
from ambiscale_nb.study.results import Study
from ambiscale_nb.study.tables import paper_rows
from ambiscale_nb.study.truth import references

OWN = """
import numpy as np
from ambiscale_nb import metric

@metric(higher=False, bounds=(0, 1), source='Gibbs and Su 2002', title='total variation')
def total_variation(p, y):
    "Half the sum of absolute differences."
    return np.abs(p-y).sum(-1)/2

@metric(higher=True, bounds=(0, 1), source='own', kind='label', needs='label')
def happy(L, y):
    "Whether the answer is right on clips heard as happy."
    return np.where(y[..., 2]>.5, L[..., 2], np.nan)

@metric(higher=True, bounds=(0, 1), source='own')
def broken(p, y):
    "Of another shape."
    return p
"""
NBS, SMALL = ROOT/'nbs', dict(study='own', model='tiny-alm-nano', limit=40, n=4, modes=['dist'], styles=['direct'],
                              widths=[], verify=False, progress=False)

@pytest.fixture(scope='module')
def study(tmp_path_factory):
    "A small study with these metrics, and a figure of the first."
    root = tmp_path_factory.mktemp('own')
    (root/'own.py').write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('AMBISCALE_PLUGINS', 'own.py')
        execute(root, (NBS/'experiments/01_sample.ipynb', SMALL),
                (NBS/'experiments/02_score.ipynb', dict(study='own', ks=[1, 4], progress=False)),
                (NBS/'figures/fig2_strategies.ipynb', dict(study='own', metric='total_variation', out='results/own/figures')))
    return root/'results/own'

def test_it_is_scored_like_any_other(study):
    scores = pd.read_parquet(study/'scores.parquet')
    own = scores[scores.metric.eq('total_variation')]
    assert len(own) == scores.metric.eq('jsd').sum()
    known = own[['value', 'low', 'high', 'noise_floor', 'one_more_rater', 'prior', 'uniform']]
    assert known.notna().all().all() and known.min().min() >= 0 and known.max().max() <= 1
    assert (own.noise_floor < own.one_more_rater).all() and {'dirichlet', ''} <= set(own.calibration)
    said = pd.read_parquet(study/'predictions.parquet').query("strategy=='mean'").set_index('uid')
    votes = pd.read_parquet(study/'utterances/toyspeech.parquet').set_index('uid').loc[said.index].filter(like='votes_')
    want = np.abs(np.stack(said.dist)-soft_labels(votes.to_numpy(float))).sum(1).mean()/2
    got = own.query("strategy=='mean' and k==4 and stratum=='all' and reading=='plain'").value
    assert got.to_numpy() == pytest.approx(want)

def test_a_table_for_a_paper_has_the_values_of_scores(study, monkeypatch):
    monkeypatch.setattr('ambiscale_nb.study.results.RESULTS', study.parent)
    scores = pd.read_parquet(study/'scores.parquet').query("reading=='plain' and stratum=='all'")
    for name_, factor, digits in (('jsd', 1, 3), ('accuracy', 100, 1), ('bc', 1, 3)):
        row, = paper_rows(cells_of(Study('own')), scores, name_)
        for name, query in dict(single="strategy=='greedy'", majority="strategy=='majority' and k==4").items():
            want = scores.query(f"{query} and metric=='{name_}'").value.item()*factor
            assert abs(float(row[name][0])-want) <= .51*10**-digits, (name_, name)
    with pytest.raises(InputError, match='no value per clip'): paper_rows([], scores, 'uar')

def test_a_metric_of_labels_counts_only_its_clips(study):
    scores = pd.read_parquet(study/'scores.parquet').query("metric=='happy' and stratum=='all'")
    assert scores.n.between(1, 20).all() and scores.value.between(0, 1).all()
    assert (scores.prior >= scores.uniform).all()

def test_one_that_fails_is_refused_and_stops_nothing(study):
    refused = pd.read_parquet(study/'refusals.parquet').query("strategy=='metric broken'")
    assert refused.reason.str.contains('must take (..., U, K) and return (..., U)', regex=False).all() and len(refused)
    assert 'broken' not in set(pd.read_parquet(study/'scores.parquet').metric)

def test_the_report_and_a_figure_show_it(study):
    packed = re.search(r'id="cell-data"[^>]*>([^<]+)<', search_page(pd.read_parquet(study/'scores.parquet')))[1]
    assert b'total_variation' in gzip.decompress(base64.b64decode(packed))
    shown = pd.read_csv(study/'figures/fig2_strategies.csv')
    assert set(shown.metric) == {'total_variation'} and shown.value.between(0, 1).all()

@pytest.mark.parametrize(('how', 'match'), [
    (dict(kind='text'), "Unknown kind of metric 'text'"), (dict(needs='ratings'), "Unknown need of a metric 'ratings'"),
    (dict(bounds=(1, 0)), 'least and largest'), (dict(finish=np.sum), "needs kind='label'"),
    (dict(name='jsd'), "There is a metric 'jsd' already")])
def test_a_declaration_that_cannot_be_is_refused(how, match):
    with pytest.raises(InputError, match=match):
        metric(**dict(higher=True, bounds=(0, 1), source='x') | how)(lambda p, y: p)

def test_values_out_of_bounds_are_refused(monkeypatch):
    monkeypatch.setattr(metrics, 'METRICS', registered := dict(metrics.METRICS))
    monkeypatch.setattr('ambiscale_nb.study.truth.METRICS', registered)
    @metric(higher=True, bounds=(0, 1), source='own')
    def twice(p, y): return 2*p.sum(-1)
    lost, votes = {}, np.tile([[3, 1], [1, 3.]], (6, 1))
    assert 'twice' not in references(votes, np.arange(12)%6, lost=lost) and 'declares (0, 1)' in lost['twice']
