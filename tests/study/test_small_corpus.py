"""Six clips of one's own by three speakers, without a transcript: everything that needs more is said, and nothing else
breaks. Once with three raters a clip, once with one, from whom nobody learns how people disagree."""
import numpy as np
import pandas as pd
import pytest
from in_one import execute
from own_corpus import write_corpus
from test_study import SAMPLE, SCORE

from ambiscale_nb.study import results
from ambiscale_nb.corpora.ambiguity import Judgements, soft_labels
from ambiscale_nb.core import ROOT, rng_of
from ambiscale_nb.metrics.metrics import statistic
from ambiscale_nb.sampling.files import StoreLedger
from ambiscale_nb.study.report import call_table, grid, opening, planned_pairs
from ambiscale_nb.study.results import Study, summary
from ambiscale_nb.study.truth import correlation_ci, references
from ambiscale_nb.metrics.statistics import cluster_ci

FIGURES = {o.stem.partition('_')[0]: o for o in (ROOT/'nbs/figures').glob('fig*.ipynb')}
HEARD = ('angry', 'happy', 'sad', 'neutral', 'fear', 'disgust')

def corpus(folder, raters):
    "Tones with a list of who heard what; the last rater of every other clip disagrees."
    tones = [np.sin(np.arange(9600)*(.06+.02*i))*np.hanning(9600)*.37 for i in range(6)]
    said = [[o]*(raters-1)+[HEARD[i-1] if raters>1 and i%2 else o] for i, o in enumerate(HEARD)]
    more = 'c00.wav,R0,frustrated,s0', 'gone.wav,R1,sad,s1'  # a second emotion outside the set; a file that is not there
    return write_corpus(folder, tones, said, 3, more=more)

@pytest.fixture(scope='module')
def root(tmp_path_factory):
    "Both studies, sampled and scored."
    root = tmp_path_factory.mktemp('small')
    for name, raters in (('three', 3), ('one', 1)):
        run = dict(study=name, model='tiny-alm-nano', corpus='own', root=str(corpus(root/f'{name}_audio', raters)),
                   labels='six', limit=0, n=4, widths=[], verify=name=='three')
        execute(root, (SAMPLE, run), (SCORE, dict(study=name, ks=[1, 4], workers=1)))
    return root

@pytest.fixture
def studies(root, monkeypatch):
    monkeypatch.setattr(results, 'RESULTS', root/'results')
    return {o: Study(o) for o in ('three', 'one')}

@pytest.fixture(scope='module')
def drawn(root):
    "What went wrong with each figure of the first study, and with those of the other that need more than scores."
    cells = [('three', o) for o in sorted(FIGURES)]+[('one', o) for o in ('fig2', 'fig5', 'fig8')]
    steps = [(FIGURES[o], dict(study=s, out=str(root/f'{s}_figures'))) for s, o in cells]
    return dict(zip(cells, execute(root, *steps, stop=False), strict=True))

def test_every_figure_is_drawn_without_transcripts(drawn):
    assert {k: v for (s, k), v in drawn.items() if s=='three' and v}=={}

def test_where_each_clip_has_one_rater_two_figures_say_so(drawn):
    wrong = {k: v for (s, k), v in drawn.items() if s=='one' and v}
    assert set(wrong)=={'fig5', 'fig8'} and all('has one rater' in o for o in wrong.values()), wrong

def test_whole_numbers_stay_whole_where_calibration_is_refused(studies):
    for study in studies.values():
        assert study.read('refusals').reason.str.contains('Calibration needs 5 speakers').any()
        for table, columns in (('scores', ('k', 'n', 'speakers', 'failed')), ('costs', ('k',)), ('predictions', ('k',)),
                               ('settings', ('width', 'seed', 'failed'))):
            kinds = study.read(table).dtypes
            assert {o: kinds[o].kind for o in columns}==dict.fromkeys(columns, 'i'), table

def test_an_interval_that_is_not_known_is_a_dash(studies):
    for study in studies.values():
        shown = summary(study.read('scores'))
        texts = shown[[o for o in ('all', 'clear', 'ambiguous') if o in shown]].to_numpy().ravel()
        assert any(o.endswith('[–]') for o in texts) and not any('nan' in o for o in texts)

def test_a_correlation_has_no_end_beyond_one():
    "Six speakers of two clips: an error of plain size reaches beyond 1 on one side."
    rng, who = rng_of('entropies of a few'), np.repeat([*'abcdef'], 2)
    p = rng.dirichlet(np.ones(4), 12)
    votes = rng.multinomial(10, p)
    score = statistic('entropy_correlation', p, votes)
    e, naive = correlation_ci(score, who), cluster_ci(score, who)
    assert max(-naive.low, naive.high)>1 and -1<e.low<e.value<e.high<1 and e.value==naive.value
    same, flat = (correlation_ci(statistic('entropy_correlation', o, votes), who)
                  for o in (soft_labels(votes), np.full((12, 4), .25)))
    assert same.value==pytest.approx(1) and np.isnan([same.low, same.high]).all() and 'no interval' in same.reason
    assert np.isnan([flat.value, flat.low, flat.high]).all() and 'same entropy' in flat.reason
    p, votes = rng.dirichlet(np.ones(4), 240), rng.multinomial(6, np.ones(4)/4, 240)
    a, b = (o(statistic('entropy_correlation', p, votes), np.arange(240)%60) for o in (correlation_ci, cluster_ci))
    assert (a.low, a.high)==pytest.approx((b.low, b.high), abs=.02) and a.method=='cluster jackknife'

def test_the_figure_says_no_interval_where_there_is_none(root, drawn):
    found = pd.read_csv(root/'three_figures/fig7_reliability.csv').query("panel=='rank correlation of entropies'")
    known = found.low.notna()
    assert len(found) and found[~known].reason.ne('').all() and found[known][['low', 'high']].abs().le(1).all(axis=None)

def test_three_raters_have_every_metric_and_what_is_not_there_is_listed(studies):
    scores = studies['three'].read('scores')
    left_out = pd.concat(map(pd.read_parquet, (studies['three'].root/'left_out').glob('*.parquet')))
    assert set(scores.metric)=={'jsd', 'bc', 'brier_debiased', 'accuracy', 'uar', 'macro_f1'}
    assert set(scores.label_set)=={'six'} and set(scores.convention)=={'rater'}
    whole = scores.query("stratum=='all' and decoding=='sample' and reading=='plain'")
    assert whole[whole.metric.eq('jsd')].n.eq(6).all() and whole[whole.metric.eq('brier_debiased')].value.notna().all()
    assert left_out.uid.tolist()==['gone.wav'] and left_out.reason.tolist()==['no_audio']

def test_one_rater_a_clip_is_scored_beside_what_is_known(studies):
    three, one = (studies[o].read('scores') for o in ('three', 'one'))
    assert set(three.stratum)=={'all', 'clear', 'ambiguous'} and set(one.stratum)=={'all'}
    assert one[['noise_floor', 'one_more_rater']].isna().all().all() and one[one.metric=='jsd'].value.notna().all()
    assert one[one.metric=='jsd'].prior.notna().all() and three[three.metric=='jsd'].noise_floor.notna().any()
    debiased = one[one.metric=='brier_debiased']
    assert debiased.value.isna().all() and debiased.reason.ne('').all()
    noted = {k: set(o.read('refusals').query("decoding==''").strategy) for k, o in studies.items()}
    assert noted==dict(three={'acoustic probe'}, one={'acoustic probe', 'noise_floor', 'one_more_rater', 'clear and ambiguous'})
    assert set(grid(one, planned_pairs(studies['one'])).stratum)=={'all'}

def test_one_rater_who_names_two_emotions_is_one_rater():
    "Two labels of one rater are two votes under the convention `label`, and still nobody disagrees."
    votes = np.array([[1., 1, 0], [0, 1, 0], [0, 0, 1]])
    found = references(votes, np.array(['a', 'b', 'c']), Judgements(votes, np.arange(3), 3))
    assert np.isnan(found['jsd']['noise_floor']).all() and np.isfinite(found['jsd']['prior']).all()

def test_the_report_adds_up_what_the_store_adds_up(studies):
    "Answers without a number of tokens do not swallow those of the others."
    for study in studies.values():
        calls, spent = call_table(study), StoreLedger(study.root).total()
        assert calls.calls.sum()==spent['calls']>0
        assert calls.tokens_in.sum()+calls.tokens_out.sum()==spent['tokens']>0
        assert calls[calls.part.str.startswith('label-direct')].tokens_out.notna().all()
        assert ': . ' not in opening(study, study.read('scores'), calls)
