"""The acoustic probe on genuine recordings, where they are at hand, and on data of a known answer."""
import os
from pathlib import Path
import numpy as np
import pytest
from ambiscale_nb import jsd, load_corpus, soft_labels
from ambiscale_nb.corpora.audio import wave_reader
from ambiscale_nb.metrics.probe import acoustic_features, fit_probe, probe_predictions, probe_shares

@pytest.mark.skipif(not os.getenv('AMBISCALE_CREMA_D'), reason='CREMA-D IS NOT TESTED: set AMBISCALE_CREMA_D')
def test_genuine_recordings():
    "On the recordings of CREMA-D: JSD near .22 and accuracy near 60 %, far from the class prior of other speakers."
    clips, _ = load_corpus('crema_d')
    clips = clips[[Path(o).exists() for o in clips.path]]
    if len(clips)!=300: pytest.skip('THE PROBE IS NOT TESTED: another selection of recordings')
    truth, hear = soft_labels(clips.filter(like='votes_').to_numpy()), wave_reader(clips)
    shares = probe_predictions(np.array([acoustic_features(hear(o)) for o in clips.uid]), truth, clips.speaker)
    top = truth==truth.max(1, keepdims=True)
    alone = top.sum(1)==1
    accuracy = top[alone, shares[alone].argmax(1)].mean()
    assert abs(jsd(shares, truth).mean()-.22)<.02 and abs(accuracy-.60)<.03

def test_a_linear_truth_is_found():
    "Votes that follow the softmax of a line in the features are predicted; shuffled features give the prior at best."
    rng = np.random.default_rng(0)
    x, who = rng.normal(size=(600, 5)), np.arange(600)%20
    odds = np.exp(x@rng.normal(size=(5, 3)))
    truth = odds/odds.sum(1, keepdims=True)
    assert jsd(probe_predictions(x, truth, who), truth).mean()<.01
    prior = jsd(np.tile(truth.mean(0), (600, 1)), truth).mean()
    assert jsd(probe_predictions(rng.permutation(x), truth, who), truth).mean()>prior-.01

def test_a_label_that_training_lacks_gets_nothing():
    truth = np.eye(3)[[0, 1]*20]
    shares = probe_shares(fit_probe(np.random.default_rng(0).normal(size=(40, 2)), truth, .1), np.zeros((4, 2)), 3)
    assert (shares[:, 2]==0).all() and np.allclose(shares.sum(1), 1)
