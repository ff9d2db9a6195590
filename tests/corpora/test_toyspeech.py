"The splits of toyspeech share neither voices nor sentences, and the registered label set is what its raters chose from."
from itertools import combinations
import numpy as np
from ambiscale_nb.corpora.toyspeech import SPLITS, load_toyspeech, sentences, speakers

def test_splits_share_neither_voices_nor_sentences():
    for a, b in combinations(SPLITS, 2):
        assert not set(sentences(a)) & set(sentences(b))
        assert not {o.name for o in speakers(a)} & {o.name for o in speakers(b)}
        sound = [{(o.f0, o.tract, o.tempo, o.tilt, o.level) for o in speakers(s)} for s in (a, b)]
        assert not sound[0] & sound[1]

def test_clips_of_two_splits_differ_and_do_not_depend_on_how_many_are_loaded(tmp_path):
    few, more = (load_toyspeech(tmp_path, 'val', n)[0] for n in (2, 4))
    assert few.equals(more[:2])
    other = load_toyspeech(tmp_path, 'test', 4)[0]
    assert not set(other.speaker) & set(more.speaker) and not set(other.uid) & set(more.uid)
    assert np.allclose(more.filter(like='reference_').sum(axis=1), 1)
