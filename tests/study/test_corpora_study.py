"""An acted corpus without any vote, from a folder on disk to scores, and the floor of the embedded corpus against its known
truth. (A corpus of one's own is in `test_small_corpus`.)"""
import numpy as np
import pandas as pd
import pytest
import soundfile
from ambiscale_nb.corpora import toyspeech
from ambiscale_nb.corpora.ambiguity import fit_prior, noise_floor
from ambiscale_nb.corpora.registry import votes_of
from ambiscale_nb.core import rng_of
from ambiscale_nb import jsd, label_set, load_corpus
from in_one import execute
from test_study import SAMPLE, SCORE

RUN = dict(study='own', model='tiny-alm-nano', limit=0, beam_limit=2, n=4, widths=[3])

def test_an_acted_corpus_has_no_distribution_to_match(tmp_path):
    folder = tmp_path/'emov'
    for i in range(8):
        name = ('bea_Angry/anger', 'sam_Neutral/neutral', 'josh_Sleepy/sleepiness', 'jenie_Angry/anger')[i%4]
        path = folder/f'{name}_1-28_{i+1:04d}.wav'
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, toyspeech.clip_wave(toyspeech.clip('test', i)).astype(float), 16_000, subtype='DOUBLE')
    execute(tmp_path, (SAMPLE, RUN | dict(corpus='emov_db', root=str(folder), labels='six')),
            (SCORE, dict(study='own', ks=[1, 4])))
    scores = pd.read_parquet(tmp_path/'results/own/scores.parquet')
    assert set(scores.metric)=={'accuracy', 'uar', 'macro_f1'} and set(scores.stratum)=={'all'}
    assert set(scores.source)=={'acted'} and set(scores.corpus)=={'emov_db-six'}
    assert scores.one_more_rater.isna().all() and scores.noise_floor.isna().all()
    left_out = pd.read_parquet(next((tmp_path/'results/own/left_out').glob('*.parquet')))
    assert len(left_out)==2 and set(left_out.reason)=={'no vote in the label set'}

@pytest.mark.parametrize('raters', [3, 10])
def test_the_floor_of_toyspeech_is_near_its_truth(raters, tmp_path_factory):
    "The population of 400 is the perfect predictor: its divergence from fresh panels is the true floor."
    clips = [toyspeech.clip('test', i, reference=True) for i in range(432)]
    votes = np.array([np.bincount(c['said'], minlength=6) for c in clips])
    truth = np.array([c['reference'] for c in clips])
    rng = rng_of('floor', raters)
    panel = np.array([rng.multivariate_hypergeometric(v, raters) for v in votes])
    found = noise_floor(panel, jsd, fit_prior(panel), 200).mean()
    known = np.mean([jsd(truth, rng.multinomial(raters, truth)/raters).mean() for _ in range(20)])
    assert abs(found/known-1)<.25

def test_the_embedded_corpus_comes_like_any_other():
    utterances, ratings = load_corpus('toyspeech', n=12, labels='four+other')
    v = votes_of(utterances, label_set('four+other').labels)
    assert (v.sum(1)==10).all() and not utterances.out_of_set.any()
    assert len(ratings)==120 and set(ratings.label)<=set(label_set('four+other').labels)
