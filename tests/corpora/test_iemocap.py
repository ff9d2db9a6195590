"""IEMOCAP's loader on look-alike trees: every known trap of the real layout, and checks that notice when a
trap is sprung (the mocap letter for the speaker, self-reports counted, ties cut by order)."""
import sys
import warnings
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from ambiscale_nb.corpora import iemocap
from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.registry import load_corpus, votes_of
from ambiscale_nb.corpora.labels import label_set
sys.path.insert(0, str(Path(__file__).parents[1]))
from trees_iemocap import write_dialog, write_full, write_small, block

NINE = label_set('nine').labels
pytestmark = pytest.mark.filterwarnings('ignore:IEMOCAP')


@pytest.fixture(scope='module')
def small(tmp_path_factory): return write_small(tmp_path_factory.mktemp('iemocap'))


@pytest.fixture(scope='module')
def full(tmp_path_factory):
    clips, ratings = iemocap.load_iemocap(write_full(tmp_path_factory.mktemp('full')))
    return clips, ratings


def said(uid, ratings):
    "Rater -> emotions in the order named."
    mine = ratings[ratings.uid==uid].sort_values('order')
    return mine.groupby('rater').label.agg(list).to_dict()


# --- votes ----------------------------------------------------------------------------------------
def test_only_observers_vote(small):
    _, ratings = iemocap.load_iemocap(small)
    assert set(ratings.rater.str[0])=={'E'}
    assert said('Ses01F_impro08b_M001', ratings)==dict(E1=['sad'], E2=['neutral'], E4=['frustrated'])


def test_several_emotions_keep_their_order_and_notes_are_no_votes(small):
    _, ratings = iemocap.load_iemocap(small)
    assert said('Ses01F_impro08b_M000', ratings)==dict(E1=['angry', 'frustrated'], E2=['angry'],
                                                       E4=['frustrated'])
    assert said('Ses01M_script03_3b_M000', ratings)==dict(E1=['other'], E2=['other'], E4=['neutral'])
    assert said('Ses03M_impro08a_F000', ratings)['E4']==['excited', 'surprised']


def test_both_words_for_neutral(small):
    _, ratings = iemocap.load_iemocap(small)
    assert said('Ses01F_impro08b_F000', ratings)==dict(E1=['neutral'], E2=['neutral'], E4=['neutral'])


@pytest.mark.parametrize('convention, votes', [
    ('rater', dict(angry=1.5, frustrated=1.5)), ('label', dict(angry=2, frustrated=2)),
    ('first', dict(angry=2, frustrated=1))])
def test_conventions(small, convention, votes):
    u, _ = load_corpus('iemocap', small, convention=convention)
    row = u.set_index('uid').loc['Ses01F_impro08b_M000']
    assert {o: row['votes_'+o] for o in NINE if row['votes_'+o]}==votes and row.n_raters==3


def test_four_classes_merge_excited_and_count_the_rest(small):
    u, _ = load_corpus('iemocap', small, labels='four')
    u = u.set_index('uid')
    assert u.votes_happy['Ses01M_script03_3b_F000']==4 and u.n_raters['Ses01M_script03_3b_F000']==4
    assert u.out_of_set['Ses01F_impro08b_M000']==1.5
    assert np.allclose(votes_of(u, label_set('four').labels).sum(1)+u.out_of_set, u.n_raters)
    assert not load_corpus('iemocap', small, labels='four+other')[0].out_of_set.any()


def test_no_agreement_is_kept_and_the_code_is_never_recomputed(small):
    clips, _ = iemocap.load_iemocap(small)
    assert len(clips)==7
    code = clips.set_index('uid').consensus
    assert code['Ses01F_impro08b_M001']=='' and code['Ses01M_script03_3b_M000']=='other'
    assert code['Ses01F_impro08b_M000']=='angry'


# --- names, sound, words --------------------------------------------------------------------------
def test_the_speaker_is_the_last_letter(small):
    clips, _ = iemocap.load_iemocap(small)
    by = clips.set_index('uid')
    assert by.speaker['Ses01F_impro08b_M000']=='Ses01M' and by.gender['Ses01F_impro08b_M000']=='m'
    assert by.speaker['Ses03M_impro08a_F000']=='Ses03F'
    assert (by.speaker.str[-1]==by.index.str[-4]).all() and (by.session==[f'session{o[4]}' for o in by.index]).all()


def test_missing_sound_and_words(small):
    clips, _ = iemocap.load_iemocap(small)
    flags = clips.set_index('uid')['flags']
    assert sorted(flags.index[flags.str.contains('no_audio')])==['Ses01F_impro08b_M001', 'Ses03M_impro08a_F000']
    assert 'no_transcript' in flags['Ses01F_impro08b_M001']
    words = clips.set_index('uid').transcript
    assert words['Ses01F_impro08b_F000']=='words: of [F000], spoken'
    assert not words.str.contains('Hm|coughs').any()


def test_cut_from_dialogs(small):
    clips, _ = iemocap.load_iemocap(small, audio='dialog')
    row = clips.set_index('uid').loc['Ses01F_impro08b_M000']
    assert Path(row.path).name=='Ses01F_impro08b.wav' and (row.start, row.end)==(4., 6.5)


def test_an_unknown_emotion_is_refused_with_its_place(tmp_path):
    uid = 'Ses01F_impro01_F000'
    write_dialog(tmp_path/'IEMOCAP_full_release', uid[:-5], [block(uid, 'neu', {'E1': 'Bored;'})])
    with pytest.raises(InputError, match='Ses01F_impro01.txt.*Bored'): iemocap.load_iemocap(tmp_path)


def test_odd_lines_are_counted(tmp_path):
    uid = 'Ses01F_impro01_F000'
    text = block(uid, 'neu', {'E1': 'Neutral;', 'E2': 'Neutral;', 'E3': 'Neutral;'})+'what is this\n'
    write_dialog(tmp_path/'IEMOCAP_full_release', uid[:-5], [text])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        clips, ratings = iemocap.load_iemocap(tmp_path)
    assert len(ratings)==3 and sum(clips.attrs['dropped'].values())>=1
    assert any('what is this' in str(o.message) for o in told)


def test_wrong_folders(tmp_path):
    with pytest.raises(InputError): iemocap.load_iemocap(tmp_path)
    with pytest.raises(InputError, match='give `root`'): iemocap.load_iemocap(None)
    with pytest.raises(InputError, match='split of iemocap'): load_corpus('iemocap', tmp_path, split='test')


# --- all of it ------------------------------------------------------------------------------------
def counted(clips, ratings):
    "Published lines that do not depend on how votes spread."
    return pd.DataFrame(iemocap.check_iemocap(clips, ratings)).set_index('check')


def test_published_counts_of_the_full_tree(full):
    report = counted(*full)
    assert (report.verdict=='ok').all(), report[report.verdict!='ok'].to_string()


@pytest.mark.parametrize('split, n', [('session1', 1819), ('session2', 1811), ('session3', 2136),
                                      ('session4', 2103), ('session5', 2170), ('improvised', 4784),
                                      ('scripted', 5255), ('not-session1', 8220)])
def test_splits(full, split, n):
    assert len(iemocap.select_split(full[0], split, ''))==n


@pytest.mark.parametrize('wrong, line', [('mocap letter', 'women'), ('self-reports counted', 'observers, most'),
                                         ('ties cut by order', 'tied'), ('no agreement lost', 'code xxx'),
                                         ('three observers', 'observers, most')])
def test_a_wrong_loader_is_found_out(full, monkeypatch, wrong, line):
    clips, ratings = full[0].copy(), full[1].copy()
    clips.attrs = dict(full[0].attrs)
    if wrong=='mocap letter':
        clips['speaker'] = clips.uid.str[:6]
        clips['gender'] = clips.uid.str[5].str.lower()
    if wrong=='self-reports counted': ratings = pd.concat([ratings, extra_self(clips)], ignore_index=True)
    if wrong=='ties cut by order':
        lead = iemocap.leaders
        def first(*args):
            out = lead(*args)
            return np.eye(out.shape[1], dtype=bool)[out.argmax(1)]
        monkeypatch.setattr(iemocap, 'leaders', first)
    if wrong=='no agreement lost': clips = clips[clips.consensus!='']
    if wrong=='three observers': ratings = ratings[ratings.rater!='E4']
    report = counted(clips, ratings)
    assert report.verdict[line]=='differs'


def extra_self(clips):
    "Self-reports as if they were votes."
    some = clips.uid[::5]
    return pd.DataFrame(dict(corpus='iemocap', uid=some, rater='F1', label='surprised', order=0))
