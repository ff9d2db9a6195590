"""IEMOCAP's loader on look-alike trees: every known trap of the real layout, and checks that notice when a trap is sprung
(the mocap letter for the speaker, self-reports counted, ties cut by order)."""
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from ambiscale_nb.corpora import iemocap
from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.registry import load_corpus, votes_of
from ambiscale_nb.corpora.labels import label_set
from trees_iemocap import write_dialog, write_full, write_small, block

NINE = label_set('nine').labels
pytestmark = pytest.mark.filterwarnings('ignore:IEMOCAP')
UID = 'Ses01F_impro01_F000'

@pytest.fixture(scope='module')
def small(tmp_path_factory): return write_small(tmp_path_factory.mktemp('iemocap'))

@pytest.fixture(scope='module')
def loaded(small): return iemocap.load_iemocap(small)

@pytest.fixture(scope='module')
def full(tmp_path_factory): return iemocap.load_iemocap(write_full(tmp_path_factory.mktemp('full')))

# --- votes ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(('uid', 'votes'), [
    ('Ses01F_impro08b_F000', dict(E1=['neutral'], E2=['neutral'], E4=['neutral'])), # both words for neutral
    ('Ses01F_impro08b_M001', dict(E1=['sad'], E2=['neutral'], E4=['frustrated'])), # only observers
    ('Ses01F_impro08b_M000', dict(E1=['angry', 'frustrated'], E2=['angry'], E4=['frustrated'])), # in order, notes are no votes
    ('Ses01M_script03_3b_M000', dict(E1=['other'], E2=['other'], E4=['neutral'])),
    ('Ses03M_impro08a_F000', dict(E4=['excited', 'surprised'], E3=['excited'], E1=['happy']))])
def test_who_votes_for_what(loaded, uid, votes):
    _, ratings = loaded
    assert set(ratings.rater.str[0])=={'E'}
    one = ratings[ratings.uid==uid].sort_values('order')
    assert one.groupby('rater', observed=True).label.agg(list).to_dict()==votes

@pytest.mark.parametrize('convention, votes', [
    ('rater', dict(angry=1.5, frustrated=1.5)), ('label', dict(angry=2, frustrated=2)), ('first', dict(angry=2, frustrated=1))])
def test_conventions(small, convention, votes):
    u, _ = load_corpus('iemocap', small, convention=convention)
    row = u.set_index('uid').loc['Ses01F_impro08b_M000']
    assert {o: row['votes_'+o] for o in NINE if row['votes_'+o]}==votes and row.n_raters==3

def test_four_classes_merge_excited_and_count_the_rest(small):
    u = load_corpus('iemocap', small, labels='four')[0].set_index('uid')
    assert u.votes_happy['Ses01M_script03_3b_F000']==4 and u.n_raters['Ses01M_script03_3b_F000']==4
    assert u.out_of_set['Ses01F_impro08b_M000']==1.5
    assert np.allclose(votes_of(u, label_set('four').labels).sum(1)+u.out_of_set, u.n_raters)
    assert not load_corpus('iemocap', small, labels='four+other')[0].out_of_set.any()

# --- names, sound, words --------------------------------------------------------------------------
def test_facts_about_clips(small, loaded):
    "No agreement is kept and the code never recomputed; the speaker is the last letter; missing sound and words are flagged."
    by = loaded[0].set_index('uid')
    assert len(by)==7 and by.consensus.loc[['Ses01F_impro08b_M001', 'Ses01M_script03_3b_M000', 'Ses01F_impro08b_M000']].tolist()==[
        '', 'other', 'angry']
    assert by.speaker['Ses01F_impro08b_M000']=='Ses01M' and by.gender['Ses01F_impro08b_M000']=='m'
    assert (by.speaker.str[-1]==by.index.str[-4]).all() and (by.session==[f'session{o[4]}' for o in by.index]).all()
    flags, words = by['flags'], by.transcript
    assert sorted(flags.index[flags.str.contains('no_audio')])==['Ses01F_impro08b_M001', 'Ses03M_impro08a_F000']
    assert 'no_transcript' in flags['Ses01F_impro08b_M001'] and not words.str.contains('Hm|coughs').any()
    assert words['Ses01F_impro08b_F000']=='words: of [F000], spoken'
    row = iemocap.load_iemocap(small, audio='dialog')[0].set_index('uid').loc['Ses01F_impro08b_M000']
    assert Path(row.path).name=='Ses01F_impro08b.wav' and (row.start, row.end)==(4., 6.5)

def test_an_unknown_emotion_is_refused_with_its_place(tmp_path):
    write_dialog(tmp_path/'IEMOCAP_full_release', UID[:-5], [block(UID, 'neu', {'E1': 'Bored;'})])
    with pytest.raises(InputError, match='Ses01F_impro01.txt.*Bored'): iemocap.load_iemocap(tmp_path)

def test_odd_lines_are_counted(tmp_path):
    text = block(UID, 'neu', {'E1': 'Neutral;', 'E2': 'Neutral;', 'E3': 'Neutral;'})+'what is this\n'
    write_dialog(tmp_path/'IEMOCAP_full_release', UID[:-5], [text])
    with pytest.warns(match='what is this'): clips, ratings = iemocap.load_iemocap(tmp_path)
    assert len(ratings)==3 and sum(clips.attrs['dropped'].values())>=1

def test_wrong_folders(tmp_path):
    with pytest.raises(InputError, match='does not look like IEMOCAP'): iemocap.load_iemocap(tmp_path)
    with pytest.raises(InputError, match='give `root`'): iemocap.load_iemocap(None)
    with pytest.raises(InputError, match='split of iemocap'): load_corpus('iemocap', tmp_path, split='test')

# --- all of it ------------------------------------------------------------------------------------
def counted(clips, ratings): return pd.DataFrame(iemocap.check_iemocap(clips, ratings)).set_index('check')

def test_published_counts_of_the_full_tree(full):
    report = counted(*full)
    assert (report.verdict=='ok').all(), report[report.verdict!='ok'].to_string()
    for split, n in dict(session1=1819, session2=1811, session3=2136, session4=2103, session5=2170, improvised=4784,
                         scripted=5255).items(): assert len(iemocap.select_split(full[0], split))==n
    assert len(iemocap.select_split(full[0], 'not-session1'))==8220

@pytest.mark.parametrize('wrong, line', [('mocap letter', 'women'), ('self-reports counted', 'observers, most'),
                                         ('ties cut by order', 'tied'), ('no agreement lost', 'code xxx'),
                                         ('three observers', 'observers, most')])
def test_a_wrong_loader_is_found_out(full, monkeypatch, wrong, line):
    clips, ratings, lead = full[0].copy(), full[1].copy(), iemocap.leaders
    clips.attrs = dict(full[0].attrs)
    if wrong=='mocap letter': clips['speaker'], clips['gender'] = clips.uid.str[:6], clips.uid.str[5].str.lower()
    if wrong=='self-reports counted':
        own = dict(corpus='iemocap', uid=clips.uid[::5], rater='F1', label='surprised', order=0)
        ratings = pd.concat([ratings, pd.DataFrame(own)], ignore_index=True)
    if wrong=='ties cut by order':
        monkeypatch.setattr(iemocap, 'leaders', lambda *args: np.eye(9, dtype=bool)[lead(*args).argmax(1)])
    if wrong=='no agreement lost': clips = clips[clips.consensus!='']
    if wrong=='three observers': ratings = ratings[ratings.rater!='E4']
    assert counted(clips, ratings).verdict[line]=='differs'
