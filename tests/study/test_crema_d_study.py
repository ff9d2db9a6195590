"""The whole path on genuine speech: conf/crema_d_part.yaml with fewer clips and answers, from recordings to figures, claims,
card and report. The recordings are found through AMBISCALE_CREMA_D; without them these tests are skipped and say so."""
import html
import os
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile
from in_one import execute
from test_study import SAMPLE, SCORE
from typer.testing import CliRunner

from ambiscale_nb import label_set, strata
from ambiscale_nb.study import results
from ambiscale_nb.study.cli import app
from ambiscale_nb.study.report import listening_page, skill_of
from ambiscale_nb.core import ROOT
from ambiscale_nb.corpora.registry import load_corpus, votes_of
from ambiscale_nb.study.config import read_study, run_parameters

CORPUS = os.environ.get('AMBISCALE_CREMA_D', '')
MISSING = 'AMBISCALE_CREMA_D names no recordings of CREMA-D: the study of genuine speech was NOT run'
recordings = pytest.mark.skipif(not list(Path(CORPUS or '/nowhere').glob('AudioWAV/*.wav')), reason=MISSING)
SIX = label_set('six').labels
LIMIT, FIGURES = 8, ROOT/'nbs/figures'
DRAWN = ('fig4_audio', 'fig10_utterance', 'claims')

@pytest.fixture(scope='module')
def heard():
    "The clips whose audio is there."
    clips, _ = load_corpus('crema_d', CORPUS)
    return clips[~clips['flags'].str.contains('no_audio')]

@recordings
def test_the_recordings_are_those_that_the_notebook_describes(heard):
    if len(heard)!=300: pytest.skip(f'{len(heard)} recordings, not the 300 that are described')
    assert heard.acted.value_counts().to_dict()==dict.fromkeys([o for o in SIX if o!='neutral'], 60)
    assert heard.speaker.nunique()==87
    votes, seconds = votes_of(heard, SIX), [soundfile.info(o).duration for o in heard.path]
    level = pd.Series(strata(votes)).map(dict(unanimous='clear', strong='clear')).fillna('ambiguous')
    assert level.value_counts().to_dict()==dict(ambiguous=202, clear=98)
    assert round(votes[:, SIX.index('neutral')].sum()/votes.sum(), 2)==.34
    assert 1.75<min(seconds)<1.85 and 4.05<max(seconds)<4.15
    cut = load_corpus('crema_d', CORPUS, longest=3)[0]
    assert cut['flags'].str.contains('cut').sum()==(np.array(seconds)>3).sum()==65

@recordings
def test_a_part_of_the_corpus_is_called_partial(heard):
    found = CliRunner().invoke(app, ['corpora', 'validate', 'crema_d', '--root', CORPUS])
    if len(heard)==7442: assert found.exit_code==0 and 'Complete.' in found.stdout; return
    assert found.exit_code==0, found.stdout
    assert f'Partial: {len(heard):,} audio files are there and sound; missing: {7442-len(heard):,}.' in found.stdout
    assert 'differs' not in found.stdout

@recordings
def test_a_damaged_file_makes_a_part_wrong(heard, tmp_path):
    (tmp_path/'processedResults').symlink_to(Path(CORPUS)/'processedResults')
    (tmp_path/'AudioWAV').mkdir()
    for o in heard.path.head(3): (tmp_path/'AudioWAV'/Path(o).name).write_bytes(Path(o).read_bytes())
    (tmp_path/'AudioWAV'/Path(heard.path.iloc[0]).name).write_bytes(Path(heard.path.iloc[0]).read_bytes()[:20_000])
    found = CliRunner().invoke(app, ['corpora', 'validate', 'crema_d', '--root', str(tmp_path)])
    assert found.exit_code==1 and 'truncated' in found.stdout and 'Not what it should be' in found.stdout

@pytest.fixture(scope='module')
def study(tmp_path_factory):
    "The study of the file, with few clips and answers; its folder."
    config, root = read_study(ROOT/'conf/crema_d_part.yaml'), tmp_path_factory.mktemp('crema_d')
    few = dict(limit=LIMIT, root=CORPUS, widths=[], audit=0, threads=1, modes=['label'], verify=False)
    asked = [run_parameters(config, o) | few for o in config.runs]
    for o in asked: o.pop('limits')
    execute(root, *((SAMPLE, o | dict(n=2*bool(o['n']))) for o in asked),
            (SCORE, dict(study=config.name, ks=[1, 2], workers=1, progress=False)),
            *((FIGURES/f'{o}.ipynb', dict(study=config.name, out='figures')) for o in DRAWN),
            (FIGURES/'corpus_card.ipynb', dict(corpus='crema_d', root=CORPUS, labels='', out='cards')),
            (FIGURES/'report.ipynb', dict(study=config.name, out='report')))
    return root

@recordings
def test_the_study_of_genuine_speech_runs_from_recordings_to_figures(study):
    scores = pd.read_parquet(study/'results/crema_d_part/scores.parquet')
    assert set(scores.model)=={'tiny-alm-tiny', 'tiny-alm-nano'} and set(scores.condition)=={'none', 'swap', 'transcript'}
    plain = scores.query("stratum=='all' and metric=='jsd' and reading=='plain' and condition=='none'")
    assert plain.n.eq(LIMIT).all() and plain.prior.between(.1, .5).all() and plain.noise_floor.between(.01, .2).all()
    left = pd.concat(map(pd.read_parquet, (study/'results/crema_d_part/left_out').glob('*.parquet')))
    assert left.reason.str.contains('no_audio|no_sound|rated_media_broken').all()  # nothing was too long to be heard
    for o in DRAWN: assert (study/f'figures/{o}.png').stat().st_size>10_000
    assert list((study/'cards').glob('*'))

@recordings
def test_the_artifact_says_by_itself_that_these_models_are_no_better_than_no_audio(study, monkeypatch):
    monkeypatch.setattr(results, 'RESULTS', study/'results')
    here = results.Study('crema_d_part')
    skill = skill_of(here.read('scores'))
    page = html.unescape(re.sub(r'<[^>]+>', ' ', listening_page(here, here.read('scores'))))
    assert len(skill)==4 and skill.skill.max()<.2 and not skill.votes.eq('better than no audio').any()
    assert '4 of 4 single answers predict the votes no better than the class prior' in page
    assert re.search(r'\d of 4 are not shown to listen', page)
    drawn = pd.read_csv(study/'figures/fig4_audio.csv').query("stratum=='all' and condition!='prior'")
    assert drawn.verdict.notna().all() and drawn.condition.value_counts().to_dict()==dict(none=4, swap=4, transcript=4)

def test_the_committed_notebook_has_no_picture_of_a_recording():
    cells = nbformat.read(ROOT/'nbs/1_corpora/05_crema_d.ipynb', as_version=4).cells
    real = [o for o in cells if 'two_real(root_of' in o.source]
    assert len(real)==1 and real[0].outputs==[]
