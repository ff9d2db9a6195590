"""MSP-Podcast's loader on look-alike releases: every layout from 1.6 to 2.0, every trap of the worker lines,
and checks that notice when a trap is sprung (`Other-...` kept apart, commas split, ties cut by order)."""
import sys
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from ambiscale_nb.corpora import msp_podcast
from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.registry import load_corpus, votes_of
from ambiscale_nb.corpora.labels import label_set
sys.path.insert(0, str(Path(__file__).parents[1]))
from trees_msp import CLIPS, LAYOUTS, NO_AUDIO, large_release, write_release

RATED = {f'MSP-PODCAST_{o.name}': o for o in CLIPS if o.letter}
pytestmark = pytest.mark.filterwarnings('ignore:MSP')


def load(root, **options): return msp_podcast.load_msp_podcast(root, **options)


def named(letters): # Letters of a release as our emotions, '' for no agreement
    return [{**msp_podcast.EMOTIONS, 'O': 'other', 'X': ''}[o] for o in letters]


def primaries(ratings): # clip -> sorted emotions
    return ratings.astype({'label': str}).groupby('uid').label.agg(lambda o: tuple(sorted(o))).to_dict()


@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_layout_gives_the_same_votes(layout, tmp_path):
    clips, ratings = load(write_release(tmp_path, layout))
    uid = clips.set_index('uid')
    assert primaries(ratings)=={k: tuple(sorted(o.primary)) for k, o in RATED.items()}
    for k, o in RATED.items():
        assert [uid.consensus[k]]==named(o.letter)
    assert uid.gender['MSP-PODCAST_9101_0001'] in ('f', '') and uid.speaker.map(type).eq(str).all()


@pytest.mark.parametrize('layout', LAYOUTS)
def test_the_consensus_follows_from_the_votes(layout, tmp_path):
    clips, ratings = load(write_release(tmp_path, layout))
    found = pd.Series(msp_podcast.consensus_of(ratings, clips.uid), clips.uid.to_numpy())
    rated = clips[clips.uid.isin(RATED)]
    assert found.loc[rated.uid].tolist()==named(RATED[o].letter for o in rated.uid)


def test_splits_and_old_names(tmp_path):
    write_release(tmp_path, '1.8')
    count = lambda o: len(load_corpus('msp_podcast', tmp_path, split=o)[0])
    assert count('development')==count('validation')==1 and count('test1')==2 and count('train')==3
    with pytest.raises(InputError, match='split of msp_podcast'): count('dev')


def test_a_split_called_na_is_a_word(tmp_path):
    clips, _ = load(write_release(tmp_path, '1.10'))
    assert clips['split'].notna().all() and clips['split'].map(type).eq(str).all()


def test_a_clip_without_sound_is_flagged(tmp_path):
    clips, _ = load(write_release(tmp_path, '2.0'))
    flags = clips.set_index('uid')['flags']
    assert flags.index[flags.str.contains('no_audio')].tolist()==[NO_AUDIO]


def test_a_worker_counts_once_and_what_is_left_out_is_counted(tmp_path):
    clips, ratings = load(write_release(tmp_path, '2.0'))
    assert not ratings.duplicated(['uid', 'rater', 'order']).any()
    assert sum(clips.attrs['dropped'].values())>=2


@pytest.mark.parametrize('emotions, votes', [('primary', dict(happy=2, neutral=2, sad=1)),
                                             ('secondary', None), ('both', None)])
def test_primary_and_secondary(tmp_path, emotions, votes):
    root = write_release(tmp_path, '2.0')
    labels = 'eight' if emotions=='primary' else 'sixteen'
    u, ratings = load_corpus('msp_podcast', root, labels=labels, emotions=emotions)
    row = u.set_index('uid').loc['MSP-PODCAST_9101_0002']
    named = {o: row['votes_'+o] for o in label_set(labels).labels if row['votes_'+o]}
    assert np.isclose(sum(named.values())+row.out_of_set, row.n_raters)
    if votes: assert named==votes
    else: assert {'amused', 'excited', 'confused'}<=set(named)


@pytest.mark.parametrize('labels', ['eight', 'eight+other', 'four', 'four+other'])
def test_no_vote_is_lost(tmp_path, labels):
    u, _ = load_corpus('msp_podcast', write_release(tmp_path, '1.12'), labels=labels)
    assert np.allclose(votes_of(u, label_set(labels).labels).sum(1)+u.out_of_set, u.n_raters)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError): load(tmp_path/'none')


def test_releases_before_1_6_are_refused(tmp_path):
    (tmp_path/'Labels').mkdir()
    (tmp_path/'Labels/old_labels.txt').write_text('nothing that is known\n')
    with pytest.raises(InputError): load(tmp_path)


# --- larger, and wrong ------------------------------------------------------------------------------
@pytest.fixture(scope='module')
def large(tmp_path_factory):
    root = tmp_path_factory.mktemp('msp')
    made = large_release(root, n=3000, repeats=20)
    return (*load(root), made)


def test_many_clips(large):
    clips, ratings, made = large
    assert len(clips)==3000 and len(ratings)==made['answers']
    assert sum(clips.attrs['dropped'].values())==made['repeats']
    assert list(msp_podcast.consensus_of(ratings, clips.uid))==named(made['letter'])


@pytest.mark.parametrize('wrong', ['Other kept apart', 'Other left out', 'ties cut by order'])
def test_a_wrong_rule_is_found_out(large, wrong):
    clips, ratings, made = large
    ratings = ratings.astype({'label': str})
    if wrong=='Other kept apart':
        other = ratings.label=='other'
        ratings.loc[other, 'label'] = 'other'+(np.arange(other.sum())%1400).astype(str).astype(object)
    if wrong=='Other left out': ratings = ratings[ratings.label!='other']
    votes = ratings.groupby(['uid', 'label']).size().rename('n').reset_index()
    most = votes.groupby('uid').n.transform('max')
    top = votes[votes.n==most].groupby('uid').label.agg(list).reindex(clips.uid)
    back = {v: k for k, v in msp_podcast.EMOTIONS.items()}
    letter = lambda o: back.get(o, 'O')
    cut = wrong=='ties cut by order'
    found = [letter(o[0]) if isinstance(o, list) and (cut or len(o)==1) else 'X' for o in top]
    assert (np.array(found)!=made['letter']).sum()>30


def test_commas_inside_free_text_are_no_columns(tmp_path):
    "Splitting the file on commas loses answers; the loader does not."
    root = write_release(tmp_path, '1.12')
    text = next(Path(root).rglob('labels_detailed.csv')).read_text()
    naive = [o for o in text.splitlines()[1:] if len(o.split(','))==2]
    _, ratings = load(root)
    assert len(naive) < len(ratings)
