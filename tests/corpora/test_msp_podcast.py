"""MSP-Podcast's loader on look-alike releases: one expected table from every layout from 1.6 to 2.0, encodings, free text,
repeated and unlisted rows, flags, refusals, the consensus rule against brute force, published counts."""
import os
import re
from collections import Counter
from dataclasses import replace
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from ambiscale_nb.corpora import msp_podcast as msp
from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.registry import load_corpus, set_aside, votes_of
from ambiscale_nb.corpora.labels import label_set
from trees_msp import CLIPS, LAYOUTS, WORKERS, Clip, large_release, write_release

UIDS = [f'MSP-PODCAST_{o.name}' for o in CLIPS]
RATED = [o for o in CLIPS if o.letter]
ENCODED = ['1.11', '2.0', '1.8 txt', '1.8 json']

def said(ratings):  # uid -> labels in the order of the table
    return {u: tuple(o.label.astype(str)) for u, o in ratings.groupby('uid', sort=False, observed=True)}

def check(root):  # What any loader must make of a tree of `CLIPS`
    clips, ratings = msp.load_msp_podcast(root)
    by_uid = clips.set_index('uid')
    assert sorted(clips.uid)==sorted(UIDS)
    assert by_uid.letter[UIDS].tolist()==[o.letter for o in CLIPS]
    assert by_uid.split[UIDS].tolist()==[o.part.lower().replace('na', '') for o in CLIPS]
    assert said(ratings)=={f'MSP-PODCAST_{o.name}': o.primary for o in RATED}
    assert ratings.rater.isin(WORKERS).all() and not ratings.duplicated(['uid', 'rater']).any()
    assert clips.attrs['dropped']['rater judged the clip before']==2
    lines = {o['check']: o for o in msp.check_msp_podcast(clips, ratings)}
    assert lines['letters that the votes contradict']['verdict']==lines['clips with a letter and no votes']['verdict']=='ok'
    rated = by_uid.loc[[f'MSP-PODCAST_{o.name}' for o in RATED]]
    assert rated.speaker.tolist()==[o.speaker if o.speaker!='Unknown' else f'podcast-{o.name[:4]}' for o in RATED]
    assert rated.gender.tolist()==[{'Male': 'm', 'Female': 'f'}.get(o.gender, '') for o in RATED]
    assert by_uid['flags'][UIDS].tolist()==['', '', 'unknown_speaker', '', 'repeated_rater;unknown_speaker', '', 'no_split',
                                            'no_audio', 'blind;unknown_speaker']
    second = msp.load_msp_podcast(root, emotions='secondary')[1]
    assert said(second)=={f'MSP-PODCAST_{o.name}': sum((msp.secondary_of(x) for _, x in o.answers), ()) for o in RATED}
    return clips, ratings

@pytest.fixture
def tree(tmp_path): return lambda layout='2.0', **options: write_release(tmp_path/'release', layout, **options)

# --- every layout ---------------------------------------------------------------------------------
@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_release_says_the_same(layout, tree):
    clips, ratings = check(tree(layout))
    assert clips.arousal.dropna().eq(4).all() and clips.valence.dropna().eq(3.5).all()
    assert clips.dominance.notna().sum()==len(RATED) and clips.speaker.map(type).eq(str).all()
    assert ratings.columns.tolist()==['corpus', 'uid', 'rater', 'label', 'order', 'named']
    assert str(ratings.rater.dtype)==str(ratings.label.dtype)=='category'

def test_a_release_that_is_spelt_differently_throughout(tree):
    "Upper case in every name, and the partitions beside the labels."
    root = tree('1.8')
    (root/'Labels').rename(root/'LABEL')
    for o in list((root/'LABEL').iterdir()): o.rename(o.with_name(o.name.upper()))
    (root/'Partitions.txt').rename(root/'LABEL'/'PARTITION.TXT')
    (root/'Audios').rename(root/'AUDIO')
    check(root)

@pytest.mark.parametrize('change', [
    lambda data: b'\xef\xbb\xbf'+data, lambda data: data.replace(b'\n', b'\r\n'),
    lambda data: data.replace(b'wry', 'wr\u00e9'.encode('latin-1'))], ids=['byte order mark', 'CRLF', 'Latin-1'])
@pytest.mark.parametrize('layout', ENCODED)
def test_other_encodings(layout, change, tree):
    root = tree(layout)
    for o in [*(root/LAYOUTS[layout].labels).iterdir(), *root.glob('*.txt')]: o.write_bytes(change(o.read_bytes()))
    check(root)

# --- traps, by name -------------------------------------------------------------------------------
def one_clip(letter, *answers, **more): return (Clip('9201_0001', letter, answers, (), '5', 'Male', **more),)
SAD = ('Sad', 'Sad')
FREE = ['Other-a, b', 'Other-a; b', 'Other-A: b; V: 3', 'Other(a,b,Sad)', 'Other-"so"', 'Other-; ', 'Other-Neutral; Neutral',
        "Other-it's", 'neutral', 'Hapy']

# Layouts, answers -> primary and secondary votes: free text is other, an empty field is no vote, a misspelling is the emotion
@pytest.mark.parametrize(('layout', 'answers', 'primary', 'secondary'), [
    *((k, (SAD, (o, 'Annoyed')), dict(sad=1, other=1), dict(sad=1, annoyed=1)) for k in ('1.11', '2.0') for o in FREE),
    ('2.0', (('Sad', ''), ('Sad', ' '), ('Neutral', 'Dissapointed,Disappointed')), dict(sad=2, neutral=1),
     dict(disappointed=1)),
    ('1.11', (('Sad', 'Annoyed,Other-well; now: then'),), dict(sad=1), dict(annoyed=1, other=1))])
def test_fields_of_answers(layout, answers, primary, secondary, tree):
    root = tree(layout, clips=one_clip('X', *answers))
    for o, votes in dict(primary=primary, secondary=secondary).items():
        assert Counter(msp.load_msp_podcast(root, emotions=o)[1].label.astype(str))==votes
    raters = load_corpus('msp_podcast', root, labels='sixteen', emotions='secondary')[0].n_raters
    assert raters.tolist()==[sum(o[1].strip()!='' for o in answers)]

def test_the_primary_emotion_may_be_repeated_and_counts_once(tree):
    root = tree(clips=one_clip('A', ('Angry', 'Annoyed,Angry,Annoyed')))
    _, ratings = msp.load_msp_podcast(root, emotions='both')
    assert [(o.label, o.order, o.named) for o in ratings.itertuples()]==[('angry', 0, 'primary'), ('annoyed', 1, 'secondary')]
    utts, _ = load_corpus('msp_podcast', root, labels='sixteen', emotions='both')
    assert (utts.votes_angry[0], utts.votes_annoyed[0])==(.5, .5)

@pytest.mark.parametrize('layout', ENCODED)
def test_the_first_of_two_answers_stays(layout, tree):
    root = tree(layout, clips=one_clip('S', ('Sad', 'Sad'), ('Fear', 'Fear'), ('Sad', 'Sad'),
                                       twice=(('Fear', 'Fear'), ('Fear', 'Sad'))))
    clips, ratings = msp.load_msp_podcast(root)
    assert Counter(ratings.label.astype(str))=={'sad': 2, 'fearful': 1} and clips['flags'].tolist()==['repeated_rater']
    assert clips.attrs['dropped']['rater judged the clip before']==2

@pytest.mark.parametrize('layout', ['1.11', '2.0'])
def test_workers_that_are_numbers_stay_apart(layout, tree):
    root = tree(layout, clips=one_clip('X', ('Sad', 'Sad'), ('Fear', 'Fear')))
    path = root/'Labels'/'labels_detailed.csv'
    path.write_text(path.read_text().replace('WORKER_K', '007').replace('WORKER_L', '7'))
    assert msp.load_msp_podcast(root)[1].rater.tolist()==['007', '7']

def test_na_is_a_word(tree):  # Of a split and of a speaker; a speaker's number may have become a fraction
    clips = [replace(CLIPS[0], speaker='NA', part='NA'), replace(CLIPS[1], speaker='7.0')]
    loaded, _ = msp.load_msp_podcast(tree(clips=clips))
    assert loaded['flags'].tolist()==['unknown_speaker;no_split', '']
    assert loaded.split.tolist()==['', 'train'] and loaded.speaker.tolist()==['podcast-9101', '7']

def test_letters_that_are_withheld(tree):
    root = tree()
    path = root/'Labels'/'labels_consensus.csv'
    rows = [f'MSP-PODCAST_{o}.wav,{letter},,,,Unknown,Unknown,{part}' for o, letter, part in
            (('t_1', '', 'Test3'), ('t_2', 'NA', 'Test3'), ('9301_0001', '', 'Train'))]
    path.write_text(path.read_text()+'\n'.join(rows)+'\n')
    clips, _ = msp.load_msp_podcast(root)
    flags = clips.set_index('uid')['flags'][[f'MSP-PODCAST_{o}' for o in ('t_1', 't_2', '9301_0001')]]
    assert [re.findall('blind|no_votes', o) for o in flags]==[['blind'], ['blind'], ['no_votes']]
    assert clips.arousal.isna().sum()==4 # and the one of Partitions.txt

def test_blind_clips_and_unknown_speakers(tree):
    root = tree()
    utts, ratings = load_corpus('msp_podcast', root)
    blind, unknown = utts[utts.split=='test3'], utts[utts['flags'].str.contains('unknown_speaker')]
    assert unknown.speaker.nunique()==3 and (unknown.speaker=='podcast-'+unknown.session).all()
    assert blind.n_raters.tolist()==[0] and not ratings.uid.isin(blind.uid).any()
    kept, aside = set_aside(utts, label_set('eight'), ('no_audio', 'blind', 'no_votes'))
    assert aside.set_index('uid').reason.to_dict()=={UIDS[-1]: 'blind', UIDS[-2]: 'no_audio'}
    assert (kept.letter=='X').sum()==3 and not any(kept[kept.letter=='X'].consensus)
    assert load_corpus('msp_podcast', root, split='test3')[0].uid.tolist()==[UIDS[-1]]

def test_audio_that_is_missing(tree, monkeypatch):
    "Files are listed and never asked for one by one; without any audio, only the known clip is flagged."
    root, real, asked = tree(), os.stat, []
    (root/'Audios'/f'{UIDS[0]}.wav').unlink()
    (root/'Audios'/'MSP-PODCAST_9999_0001.wav').touch()
    monkeypatch.setattr(os, 'stat', lambda path, *a, **k: asked.append(str(path)) or real(path, *a, **k))
    clips, _ = msp.load_msp_podcast(root)
    monkeypatch.undo()
    silent = lambda clips: clips.uid[clips['flags'].str.contains('no_audio')].tolist()
    assert silent(clips)==[UIDS[0], UIDS[-2]] and not [o for o in asked if o.endswith('.wav')]
    assert clips.attrs['dropped']['audio file is not listed']==1
    for o in (UIDS[0], UIDS[-2]): (root/'Audios'/f'{o}.wav').touch()
    assert silent(msp.load_msp_podcast(root)[0])==[]
    (root/'Audios').rename(root/'elsewhere')
    clips, _ = msp.load_msp_podcast(root)
    assert silent(clips)==[UIDS[-2]] and clips.path[0].endswith(os.path.join('Audios', f'{UIDS[0]}.wav'))

def test_rows_that_are_not_listed_or_listed_twice_are_counted(tree):
    root = tree('1.11', clips=CLIPS[:3])
    path, stated = (root/'Labels'/f'labels_{o}.csv' for o in ('detailed', 'consensus'))
    path.write_text(path.read_text()+path.read_text().splitlines()[1].replace('9101_0001', '9999_0001')+'\n')
    stated.write_text(stated.read_text()+stated.read_text().splitlines()[1]+'\n')
    clips, ratings = msp.load_msp_podcast(root)
    assert len(clips)==3 and len(ratings)==15
    assert clips.attrs['dropped']['clip is not listed']==clips.attrs['dropped']['clip is listed again']==1

def test_transcripts_are_read_when_asked_for(tree):
    root = tree('2.0', transcripts=True)
    assert 'transcript' not in msp.load_msp_podcast(root)[0]
    assert msp.load_msp_podcast(root, transcripts=True)[0].transcript.tolist()[:3]==[
        'words of 9101_0001', 'words of 9101_0002', '']

@pytest.mark.parametrize(('part', 'names', 'n'), [('train', 'train', 3), ('development', 'development', 1),
                                                  ('validation', 'development', 1), ('test1', 'test1', 2)])
@pytest.mark.parametrize('layout', ['1.6', '1.12'])
def test_parts(layout, part, names, n, tree):
    clips, ratings = msp.load_msp_podcast(tree(layout), part)
    assert set(clips.split)=={names} and set(ratings.uid)==set(clips.uid) and clips.index.tolist()==list(range(n))

# --- refusals -------------------------------------------------------------------------------------
@pytest.mark.parametrize(('file', 'text', 'message'), [
    ('detailed', None, 'lacks labels_detailed'), ('consensus', None, 'lacks labels_consensus'),
    ('detailed', 'FileName,Emo\na.wav,N\n', r'releases up to 1\.5'),
    ('detailed', 'FileName,EmoDetail\na.wav,W; Sad; Sad\n', "no worker's lines, first 'W; Sad; Sad'"),
    ('detailed', 'FileName,EmoDetail\na.wav,W; Other-a, b; Sad; A:1; V:1; D:1;\n', 'too many fields'), # in the first row,
    ('detailed', 'FileName,EmoDetail\na.wav,W; Sad; Sad; A:1; V:1; D:1;\nb.wav,W; a, b; Sad; A:1; V:1; D:1;\n', 'many fields'),
    ('consensus', 'FileName,EmoClass\na.wav,neu\n', "first 'neu'"),
    ('consensus', 'FileName,EmoClass\na.wav,N,1\n', 'too many fields'),
    ('consensus', 'File,Emotion\na.wav,N\n', 'lacks FileName')])
def test_damaged_files_are_refused(file, text, message, tree):
    path = tree()/'Labels'/f'labels_{file}.csv'
    if text is None: path.unlink()
    else: path.write_text(text)
    with pytest.raises(InputError, match=message): msp.load_msp_podcast(path.parents[1])

@pytest.mark.parametrize(('options', 'message'), [
    (dict(root=None), 'give `root`'), (dict(root='nowhere'), 'No folder'), (dict(root='.'), 'does not look like MSP-Podcast'),
    (dict(split='test_1'), "Did you mean 'test1'"), (dict(split='test'), 'this release has development, test1'),
    *((dict(release=o), 'get release 1.6 or later') for o in ('1.0', '1.3', 1.5))])
def test_what_is_no_release_is_refused(options, message, tree):
    with pytest.raises(InputError, match=message): msp.load_msp_podcast(**{'root': tree(), **options})

# --- the consensus rule ---------------------------------------------------------------------------
def rule(primaries):  # The rule, spelt out for one clip
    lumped = Counter(msp.PRIMARY.get(o.strip(), 'other') for o in primaries)
    top = [o for o, n in lumped.items() if n==max(lumped.values())]
    return top[0] if len(top)==1 else ''

@given(st.lists(st.lists(st.sampled_from([*msp.PRIMARY, 'Other-a', 'Other-b', 'Other-']), max_size=9), min_size=1, max_size=6))
def test_consensus_of_is_the_rule(clips):
    rows = [(str(i), msp.primary_of(o), 'primary') for i, c in enumerate(clips) for o in c]
    ratings = pd.DataFrame(rows, columns=['uid', 'label', 'named'])
    found = msp.consensus_of(ratings.sample(frac=1, random_state=0), [str(i) for i in range(len(clips))])
    assert found.tolist()==[rule(c) for c in clips]
    assert [rule([p for p, _ in o.answers]) for o in RATED]==[msp.LETTERS_MSP[o.letter] for o in RATED]

TEXT = st.text(st.characters(exclude_categories=['C'], exclude_characters='\x85'), max_size=20)

@given(worker=st.from_regex(r'[A-Za-z0-9_]{1,12}', fullmatch=True), text=TEXT,
       second=st.sampled_from([*msp.SECONDARY, 'Neutral,Confused', '']),
       numbers=st.lists(st.sampled_from(['1.000000', 'NaN', '', '7']), min_size=3, max_size=3))
def test_a_line_is_read_from_both_ends(worker, text, second, numbers):
    line = '{}; Other-{}; {}; A:{}; V:{}; D:{};'.format(worker, text, second, *numbers)
    read = msp.judgements(['a.wav'], [line]).iloc[0]
    assert (read.rater, msp.primary_of(read.primary), read.secondary)==(worker, 'other', second)
    known = msp.judgements(['a.wav'], [line.replace('; Other-', '; Sad; Other-', 1)]).iloc[0]
    assert known.primary=='Sad' and known.secondary.startswith('Other-')

@pytest.mark.parametrize('labels', ['eight', 'eight+other', 'four', 'four+other'])
def test_no_vote_is_lost_and_votes_follow_the_letters(tree, labels):
    utts, _ = load_corpus('msp_podcast', tree(), labels=labels)
    names = label_set(labels).labels
    v = votes_of(utts, names)
    assert np.allclose(v.sum(1)+utts.out_of_set, utts.n_raters) and (not utts.out_of_set.any() if 'other' in labels else
        utts.set_index('uid').out_of_set[UIDS[2]]==3)
    for row, own in zip(utts.itertuples(), v if labels=='eight+other' else (), strict=False):
        top = [o for o, n in zip(names, own, strict=True) if n==own.max()]
        assert row.consensus==('' if len(top)>1 else top[0])

def wrong_consensus(rule):
    "`consensus_of` with another rule: a function of a clip's votes and the nine names gives the answer."
    def of(ratings, uids):
        nine, first = label_set('eight+other').labels, ratings[ratings.named=='primary']
        votes = [np.array([(first.label[first.uid==u]==o).sum() for o in nine]) for u in uids]
        return np.array([rule(o, nine) if o.any() else '' for o in votes])
    return of

FAULTS = {'part_said': lambda text: (text.rpartition(';')[0].strip(), text.rpartition(';')[2].strip()),
          'primary_of': lambda text: msp.PRIMARY.get(text.strip(), 'neutral'),
          'emotions_named': lambda primary, secondary, emotions='primary': (msp.primary_of(primary),),
          'one_answer_each': lambda said, files, right=msp.one_answer_each: right(said.iloc[::-1], files),
          'extra_facts': lambda folders: pd.DataFrame(columns=['file', 'split', 'speaker', 'gender'], dtype=str),
          'voices': lambda df, right=msp.voices: right(df).assign(speaker=df.speaker),
          'OPEN': ('', 'NA', 'nan', 'None')}
RULES = {'no tie': lambda votes, names: names[votes.argmax()],
         'absolute majority': lambda votes, names: names[votes.argmax()] if 2*votes.max()>votes.sum() else '',
         'without other': lambda votes, names: names[votes[:-1].argmax()] if votes[:-1].any() else names[-1],
         'reversed': lambda votes, names: names[len(names)-1-votes[::-1].argmax()]}

@pytest.mark.parametrize('layout', ['1.8 txt', '1.11'])
@pytest.mark.parametrize('fault', [*FAULTS, *RULES])
def test_a_wrong_loader_is_noticed(fault, layout, tree, monkeypatch):
    root, name = tree(layout), fault if fault in FAULTS else 'consensus_of'
    monkeypatch.setattr(msp, name, FAULTS[fault] if fault in FAULTS else wrong_consensus(RULES[fault]))
    with pytest.raises((AssertionError, KeyError)): check(root)

# --- published counts -----------------------------------------------------------------------------
def test_published_figures_of_1_8():
    table = msp.LETTER_COUNTS
    parts = dict(test1=table.test1, development=table.development, train=table['all']-table.test1-table.development)
    rows = [(part, o) for part, n in parts.items() for o in table.index for _ in range(n[o])]
    clips = pd.DataFrame(rows, columns=['split', 'letter']).assign(uid=lambda o: o.index.astype(str))
    clips = clips.assign(speaker=(clips.index%1273).astype(str), release='1.8', **{'flags': ''})
    part = msp.check_msp_podcast(clips.query("split=='test1'"))
    assert len(part)==1+10 and {o['verdict'] for o in part}=={'ok'}
    whole = msp.check_msp_podcast(clips)
    assert len(whole)==1+2+1+10 and {o['verdict'] for o in whole}=={'ok'}
    clips.loc[0, 'letter'] = 'F'
    assert [o['check'] for o in msp.check_msp_podcast(clips) if o['verdict']!='ok']==['letter N of all', 'letter F of all']

def test_releases_are_told_by_their_size_and_an_unknown_copy_is_said_to_be_one(tree):
    for release, n in msp.CLIP_COUNTS.items(): assert msp.release_of(None, n, n+2347)==release
    lines = msp.check_msp_podcast(*msp.load_msp_podcast(tree()))
    assert (lines[0]['check'], lines[0]['verdict'])==('clips', 'differs')
    assert msp.check_msp_podcast(*msp.load_msp_podcast(tree(), release='1.9'))[0]['check']!='clips'

# --- size -----------------------------------------------------------------------------------------
@pytest.mark.parametrize('layout', ['1.12', '2.0'])
def test_a_large_release_in_small(layout, tmp_path):
    made = large_release(tmp_path, layout, n=4000, repeats=20)
    clips, ratings = msp.load_msp_podcast(tmp_path)
    assert (clips.letter.to_numpy()==made['letter']).all() and len(ratings)==made['answers']
    assert [clips.attrs['dropped'][o] for o in ('rater judged the clip before', 'clip is not listed')]==[20, 0]
    assert {o['check']: o['found'] for o in msp.check_msp_podcast(clips, ratings)}['letters that the votes contradict']=='0'
    assert .1<(clips.letter=='X').mean()<.3
