"""MSP-Podcast's loader, trap by trap: one expected table from every layout, encodings, free text, repeated
and unlisted rows, flags, refusals, the consensus rule against brute force, published counts; and wrong
loaders, none of which may pass."""
import os
import re
from collections import Counter
from dataclasses import replace
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from trees_msp import CLIPS, LAYOUTS, WORKERS, Clip, large_release, write_release
from ambiscale_nb.corpora import msp_podcast as msp
from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.registry import load_corpus, set_aside, votes_of
from ambiscale_nb.corpora.labels import label_set

UIDS = [f'MSP-PODCAST_{o.name}' for o in CLIPS]
RATED = [o for o in CLIPS if o.letter]
CLEAN = [o for o in LAYOUTS if o!='1.6 unquoted'] # where both fields can be told apart in every row


def said(ratings):
    "uid -> labels in the order of the table."
    return {u: tuple(o.label.astype(str)) for u, o in ratings.groupby('uid', sort=False, observed=True)}


def secondary(clip): return tuple(msp.secondary_of(o) for _, o in clip.answers)


def check(root):
    "What any loader must make of a tree of `CLIPS`."
    clips, ratings = msp.load_msp_podcast(root)
    by_uid = clips.set_index('uid')
    assert sorted(clips.uid)==sorted(UIDS)
    assert [by_uid.letter[o] for o in UIDS]==[o.letter for o in CLIPS]
    assert [by_uid.split[o] for o in UIDS]==[o.part.lower().replace('na', '') for o in CLIPS]
    assert said(ratings)=={f'MSP-PODCAST_{o.name}': o.primary for o in RATED}
    assert ratings.rater.isin(WORKERS).all() and not ratings.duplicated(['uid', 'rater']).any()
    assert clips.attrs['dropped']['rater judged the clip before']==2
    lines = {o['check']: o for o in msp.published(clips, ratings)}
    assert lines['letters that the votes contradict']['verdict']=='ok'
    assert lines['clips with a letter and no votes']['verdict']=='ok'
    speakers = [by_uid.speaker[f'MSP-PODCAST_{o.name}'] for o in RATED]
    assert speakers==[o.speaker if o.speaker!='Unknown' else f'podcast-{o.name[:4]}' for o in RATED]
    genders = [by_uid.gender[f'MSP-PODCAST_{o.name}'] for o in RATED]
    assert genders==[{'Male': 'm', 'Female': 'f'}.get(o.gender, '') for o in RATED]
    assert by_uid['flags'][UIDS].tolist()==['', '', 'unknown_speaker', '', 'repeated_rater;unknown_speaker',
                                            '', 'no_split', 'no_audio', 'blind;unknown_speaker']
    return clips, ratings


def check_secondary(root):
    _, ratings = msp.load_msp_podcast(root, emotions='secondary')
    assert said(ratings)=={f'MSP-PODCAST_{o.name}': sum(secondary(o), ()) for o in RATED}


@pytest.fixture
def tree(tmp_path):
    return lambda layout='2.0', **options: write_release(tmp_path/'release', layout, **options)


# --- every layout ---------------------------------------------------------------------------------
@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_release_says_the_same(layout, tree):
    clips, ratings = check(tree(layout))
    assert clips.arousal.dropna().eq(4).all() and clips.valence.dropna().eq(3.5).all()
    assert clips.dominance.notna().sum()==len(RATED)
    assert ratings.columns.tolist()==['corpus', 'uid', 'rater', 'label', 'order', 'named']
    assert str(ratings.rater.dtype)==str(ratings.label.dtype)=='category'


@pytest.mark.parametrize('layout', CLEAN)
def test_every_release_has_the_same_secondary_emotions(layout, tree): check_secondary(tree(layout))


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
    lambda data: data.replace(b'wry', 'wr\u00e9'.encode('latin-1'))],
    ids=['byte order mark', 'CRLF', 'Latin-1'])
@pytest.mark.parametrize('layout', ['1.11', '2.0', '1.8 txt', '1.8 json'])
def test_other_encodings(layout, change, tree):
    root = tree(layout)
    for o in [*(root/LAYOUTS[layout].labels).iterdir(), *root.glob('*.txt')]:
        o.write_bytes(change(o.read_bytes()))
    check(root)


def test_audio_within_audio(tree):
    root = tree()
    (root/'Audios').rename(root/'Audio')
    (root/'Audios').mkdir()
    (root/'Audio').rename(root/'Audios'/'Audio')
    clips, _ = check(root)
    assert clips.path[0]==str(root/'Audios'/'Audio'/f'{UIDS[0]}.wav')


# --- traps, by name -------------------------------------------------------------------------------
def one_clip(letter, *answers, **more):
    return (Clip('9201_0001', letter, answers, (), '5', 'Male', **more),)


def votes(root, **options):
    return Counter(msp.load_msp_podcast(root, **options)[1].label.astype(str))


@pytest.mark.parametrize('layout', ['1.11', '2.0'])
@pytest.mark.parametrize('text', ['Other-a, b', 'Other-a; b', 'Other-A: b; V: 3', 'Other(a,b,Sad)',
                                  'Other-"so"', 'Other-; ', 'Other-Neutral; Neutral', "Other-it's",
                                  'neutral', 'Hapy'])
def test_free_text_is_other(layout, text, tree):
    root = tree(layout, clips=one_clip('X', ('Sad', 'Sad'), (text, 'Annoyed')))
    assert votes(root)=={'sad': 1, 'other': 1}
    assert votes(root, emotions='secondary')=={'sad': 1, 'annoyed': 1}


def test_semicolons_in_secondary_free_text(tree):
    root = tree('1.11', clips=one_clip('S', ('Sad', 'Annoyed,Other-well; now: then')))
    assert votes(root, emotions='secondary')=={'annoyed': 1, 'other': 1}


def test_a_field_left_empty_is_no_vote(tree):
    "A worker without a secondary emotion has a primary one; a misspelling is the same emotion."
    root = tree(clips=one_clip('S', ('Sad', ''), ('Sad', ' '), ('Neutral', 'Dissapointed,Disappointed')))
    assert votes(root, emotions='secondary')=={'disappointed': 1}
    assert votes(root, emotions='both')=={'sad': 2, 'neutral': 1, 'disappointed': 1}
    few, _ = load_corpus('msp_podcast', root, labels='sixteen', emotions='secondary')
    assert few.n_raters.tolist()==[1]


def test_secondary_emotions_may_repeat_the_primary_one(tree):
    root = tree(clips=one_clip('A', ('Angry', 'Annoyed,Angry,Annoyed')))
    _, ratings = msp.load_msp_podcast(root, emotions='both')
    assert [(o.label, o.order, o.named) for o in ratings.itertuples()]==[
        ('angry', 0, 'primary'), ('annoyed', 1, 'secondary')]
    utts, _ = load_corpus('msp_podcast', root, labels='sixteen', emotions='both')
    assert (utts.votes_angry[0], utts.votes_annoyed[0])==(.5, .5)


@pytest.mark.parametrize('layout', ['1.11', '2.0', '1.8 txt', '1.8 json'])
def test_the_first_of_two_answers_stays(layout, tree):
    root = tree(layout, clips=one_clip('S', ('Sad', 'Sad'), ('Fear', 'Fear'), ('Sad', 'Sad'),
                                       twice=(('Fear', 'Fear'), ('Fear', 'Sad'))))
    clips, ratings = msp.load_msp_podcast(root)
    assert Counter(ratings.label.astype(str))=={'sad': 2, 'fearful': 1}
    assert clips.attrs['dropped']['rater judged the clip before']==2
    assert clips['flags'].tolist()==['repeated_rater']


@pytest.mark.parametrize('layout', ['1.11', '2.0'])
def test_workers_that_are_numbers_stay_apart(layout, tree):
    root = tree(layout, clips=one_clip('X', ('Sad', 'Sad'), ('Fear', 'Fear')))
    path = root/'Labels'/'labels_detailed.csv'
    path.write_text(path.read_text().replace('WORKER_K', '007').replace('WORKER_L', '7'))
    assert msp.load_msp_podcast(root)[1].rater.tolist()==['007', '7']


def test_a_comma_too_many_in_the_first_row_is_seen(tree):
    "pandas raises for later rows and cuts the first, where it learns how many columns there are."
    root = tree('1.6 unquoted', clips=one_clip('X', ('Other(a,b)', 'Sad,Amused'), ('Sad', 'Sad')))
    assert votes(root, emotions='secondary')=={'sad': 2, 'amused': 1}


def test_na_is_a_word(tree):
    "Of a split and of a speaker."
    clips = [replace(CLIPS[0], speaker='NA', part='NA'), CLIPS[1]]
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


def test_speakers_are_strings(tree):
    clips, _ = msp.load_msp_podcast(tree('1.8 json')) # where numbers are numbers
    assert all(isinstance(o, str) for o in clips.speaker)
    assert {'7', '12', '30', 'podcast-9101', 'podcast-9102', 'podcast-unknown'}<=set(clips.speaker)


def test_a_number_that_became_a_fraction():
    df = pd.DataFrame(dict(file=['MSP-PODCAST_0001_0001.wav'], speaker=['30.0'], gender=['male']))
    assert msp.voices(df).speaker.tolist()==['30']


def test_unknown_speakers_are_not_one(tree):
    clips, _ = msp.load_msp_podcast(tree())
    unknown = clips[clips['flags'].str.contains('unknown_speaker')]
    assert unknown.speaker.nunique()==3 and not set(unknown.speaker)&{'Unknown', ''}
    assert (unknown.speaker=='podcast-'+unknown.session).all()


def test_blind_clips_stay_and_are_set_aside(tree):
    root = tree()
    utts, ratings = load_corpus('msp_podcast', root)
    blind = utts[utts.split=='test3']
    assert len(blind)==1 and blind.n_raters.tolist()==[0] and not ratings.uid.isin(blind.uid).any()
    kept, aside = set_aside(utts, label_set('eight'), ('no_audio', 'blind', 'no_votes'))
    assert aside.set_index('uid').reason.to_dict()=={UIDS[-1]: 'blind', UIDS[-2]: 'no_audio'}
    assert (kept.letter=='X').sum()==3 and not any(kept[kept.letter=='X'].consensus)
    assert load_corpus('msp_podcast', root, split='test3')[0].uid.tolist()==[UIDS[-1]]


def test_audio_that_is_missing(tree):
    root = tree()
    (root/'Audios'/f'{UIDS[0]}.wav').unlink()
    (root/'Audios'/'MSP-PODCAST_9999_0001.wav').touch()
    clips, _ = msp.load_msp_podcast(root)
    silent = clips.uid[clips['flags'].str.contains('no_audio')]
    assert set(silent)=={UIDS[0], 'MSP-PODCAST_1909_1017'}
    assert clips.attrs['dropped']['audio file is not listed']==1


def test_without_any_audio_only_the_known_clip_is_flagged(tree):
    clips, _ = msp.load_msp_podcast(tree(audio=False))
    assert clips.uid[clips['flags'].str.contains('no_audio')].tolist()==['MSP-PODCAST_1909_1017']
    assert clips.path[0].endswith(os.path.join('Audios', f'{UIDS[0]}.wav'))


def test_the_known_clip_is_not_flagged_where_its_audio_is(tree):
    root = tree()
    (root/'Audios'/'MSP-PODCAST_1909_1017.wav').touch()
    assert not msp.load_msp_podcast(root)[0]['flags'].str.contains('no_audio').any()


def test_files_are_not_asked_for_one_by_one(tree, monkeypatch):
    root = tree()
    real, asked = os.stat, []
    monkeypatch.setattr(os, 'stat', lambda path, *a, **k: asked.append(str(path)) or real(path, *a, **k))
    msp.load_msp_podcast(root)
    assert not [o for o in asked if o.endswith('.wav')]


def test_answers_about_clips_that_are_not_listed_are_counted(tree):
    root = tree('1.11', clips=CLIPS[:3])
    path = root/'Labels'/'labels_detailed.csv'
    line = path.read_text().splitlines()[1].replace('9101_0001', '9999_0001')
    path.write_text(path.read_text()+line+'\n')
    clips, ratings = msp.load_msp_podcast(root)
    assert clips.attrs['dropped']['clip is not listed']==1 and len(ratings)==15


def test_a_clip_listed_twice_is_one_clip(tree):
    root = tree(clips=CLIPS[:3])
    path = root/'Labels'/'labels_consensus.csv'
    path.write_text(path.read_text()+path.read_text().splitlines()[1]+'\n')
    clips, _ = msp.load_msp_podcast(root)
    assert len(clips)==3 and clips.attrs['dropped']['clip is listed again']==1


def test_transcripts_are_read_when_asked_for(tree):
    root = tree('2.0', transcripts=True)
    assert 'transcript' not in msp.load_msp_podcast(root)[0]
    clips, _ = msp.load_msp_podcast(root, transcripts=True)
    assert clips.transcript.tolist()[:3]==['words of 9101_0001', 'words of 9101_0002', '']


@pytest.mark.parametrize(('part', 'names'), [('train', 'train'), ('development', 'development'),
                                             ('validation', 'development'), ('test1', 'test1')])
@pytest.mark.parametrize('layout', ['1.6', '1.12'])
def test_parts(layout, part, names, tree):
    clips, ratings = msp.load_msp_podcast(tree(layout), part)
    assert set(clips.split)=={names} and set(ratings.uid)==set(clips.uid)
    assert clips.index.tolist()==list(range(len(clips)))


# --- refusals -------------------------------------------------------------------------------------
@pytest.mark.parametrize('release', ['1.0', '1.3', 1.5])
def test_early_releases_are_refused(release, tree):
    with pytest.raises(InputError, match='get release 1.6 or later'):
        msp.load_msp_podcast(tree(), release=release)


@pytest.mark.parametrize(('file', 'text', 'message'), [
    ('detailed', None, 'lacks labels_detailed'), ('consensus', None, 'lacks labels_consensus'),
    ('detailed', 'FileName,Emo\na.wav,N\n', r'releases up to 1\.5'),
    ('detailed', 'FileName,EmoDetail\na.wav,W; Sad; Sad\n', "no worker's lines, first 'W; Sad; Sad'"),
    ('consensus', 'FileName,EmoClass\na.wav,neu\n', "first 'neu'"),
    ('consensus', 'FileName,EmoClass\na.wav,N,1\n', 'too many fields'),
    ('consensus', 'File,Emotion\na.wav,N\n', 'lacks FileName')])
def test_damaged_files_are_refused(file, text, message, tree):
    root = tree()
    path = root/'Labels'/f'labels_{file}.csv'
    if text is None: path.unlink()
    else: path.write_text(text)
    with pytest.raises(InputError, match=message): msp.load_msp_podcast(root)


def test_what_is_no_release_is_refused(tmp_path, tree):
    with pytest.raises(InputError, match='give `root`'): msp.load_msp_podcast(None)
    with pytest.raises(InputError, match='No folder'): msp.load_msp_podcast(tmp_path/'nowhere')
    with pytest.raises(InputError, match='does not look like MSP-Podcast'): msp.load_msp_podcast(tmp_path)
    with pytest.raises(InputError, match="Did you mean 'test1'"): msp.load_msp_podcast(tree(), 'test_1')
    with pytest.raises(InputError, match='this release has development, test1'):
        msp.load_msp_podcast(tree(), 'test')


# --- the consensus rule ---------------------------------------------------------------------------
def letter_of(emotion): return next(k for k, v in msp.EMOTIONS.items() if v==emotion)


def rule(primaries):
    "The rule, spelt out for one clip."
    lumped = Counter(msp.PRIMARY.get(o.strip(), 'other') for o in primaries)
    top = [o for o, n in lumped.items() if n==max(lumped.values())]
    return 'X' if len(top)>1 else letter_of(top[0])


def apart(primaries):
    "Every kind of other for itself."
    top = Counter(o.strip() for o in primaries).most_common()
    return 'X' if len(top)>1 and top[0][1]==top[1][1] else rule([top[0][0]])


def without_other(primaries): return rule([o for o in primaries if o.strip() in msp.PRIMARY])


def by_order(primaries):
    return letter_of(Counter(msp.primary_of(o) for o in primaries).most_common(1)[0][0])


def strict(primaries):
    "More than half of the raters."
    top, n = Counter(msp.primary_of(o) for o in primaries).most_common(1)[0]
    return letter_of(top) if 2*n>len(primaries) else 'X'


def test_the_rule_gives_every_letter():
    assert [rule([p for p, _ in o.answers]) for o in RATED]==[o.letter for o in RATED]


@pytest.mark.parametrize('wrong', [apart, without_other, by_order, strict], ids=lambda o: o.__name__)
def test_other_rules_do_not(wrong):
    "The trees would show it."
    assert [wrong([p for p, _ in o.answers]) for o in RATED]!=[o.letter for o in RATED]


@given(st.lists(st.lists(st.sampled_from([*msp.PRIMARY, 'Other-a', 'Other-b', 'Other-']), max_size=9),
                min_size=1, max_size=6))
def test_consensus_of_is_the_rule(clips):
    rows = [(str(i), msp.primary_of(o), 'primary') for i, c in enumerate(clips) for o in c]
    ratings = pd.DataFrame(rows, columns=['uid', 'label', 'named'])
    found = msp.consensus_of(ratings.sample(frac=1, random_state=0), [str(i) for i in range(len(clips))])
    assert found.tolist()==[{**msp.EMOTIONS, 'X': ''}[rule(c)] if c else '' for c in clips]


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


# --- through the registry -------------------------------------------------------------------------
def test_votes_follow_the_letters(tree):
    utts, _ = load_corpus('msp_podcast', tree(), labels='eight+other')
    names = label_set('eight+other').labels
    v = votes_of(utts, names)
    assert (v.sum(1)==utts.n_raters).all() and not utts.out_of_set.any()
    for row, mine in zip(utts.itertuples(), v, strict=True):
        top = [o for o, n in zip(names, mine, strict=True) if n==mine.max()]
        assert row.consensus==('' if len(top)>1 else top[0])


def test_votes_for_other_are_outside_of_the_eight(tree):
    eight, _ = load_corpus('msp_podcast', tree())
    assert np.allclose(votes_of(eight, label_set('eight').labels).sum(1)+eight.out_of_set, eight.n_raters)
    assert eight.set_index('uid').out_of_set[UIDS[2]]==3


# --- published counts -----------------------------------------------------------------------------
def release_1_8():
    "A clips table with the published letters and splits of release 1.8."
    table, rows = msp.LETTER_COUNTS, []
    for part in ('test1', 'development', 'train'):
        n = table[part] if part!='train' else table['all']-table.test1-table.development
        rows += [(part, o) for o in table.index for _ in range(n[o])]
    clips = pd.DataFrame(rows, columns=['split', 'letter']).assign(uid=lambda o: o.index.astype(str))
    return clips.assign(speaker=(clips.index%1273).astype(str), release='1.8', **{'flags': ''})


def test_published_figures_of_1_8():
    clips = release_1_8()
    assert {o['verdict'] for o in msp.published(clips)}=={'ok'}
    assert len(msp.published(clips))==1+2+1+10
    clips.loc[0, 'letter'] = 'F'
    wrong = [o['check'] for o in msp.published(clips) if o['verdict']!='ok']
    assert wrong==['letter N of all', 'letter F of all']
    part = msp.published(release_1_8().query("split=='test1'"))
    assert len(part)==1+10 and {o['verdict'] for o in part}=={'ok'}


def test_an_unknown_copy_is_said_to_be_one(tree):
    lines = msp.published(*msp.load_msp_podcast(tree()))
    assert (lines[0]['check'], lines[0]['verdict'])==('clips', 'differs')
    assert msp.published(*msp.load_msp_podcast(tree(), release='1.9'))[0]['check']!='clips'


@pytest.mark.parametrize(('release', 'n'), list(msp.SIZES.items()))
def test_releases_are_told_by_their_size(release, n): assert msp.release_of(None, n, n+2347)==release


# --- wrong loaders --------------------------------------------------------------------------------
VOICES, COMPLETE = msp.voices, msp.complete


def split_on_commas(path):
    rows = [o.split(',') for o in path.read_text().splitlines()]
    df = pd.DataFrame([o[:len(rows[0])] for o in rows[1:]], columns=rows[0])
    if 'EmoDetail' in df: return msp.judgements(df.FileName, df.EmoDetail)
    return df.iloc[:, :4].set_axis(['file', 'rater', 'primary', 'secondary'], axis=1).astype('category')


def split_on_semicolons(text): return tuple([o.strip() for o in text.split(';')]+[''])[:2]


def keep_other_apart(text):
    "Different words, different emotions: as many as there are names for here."
    text, names = text.strip(), ['concerned', 'amused', 'confused', 'annoyed']
    return msp.PRIMARY.get(text) or names[len(text)%4]


def take_words_for_emotions(text):
    return next((v for k, v in msp.SECONDARY.items() if k.lower() in text.lower()), 'other')


def ties_by_order(ratings, uids):
    first = {u: Counter(o.label.astype(str)).most_common(1)[0][0]
             for u, o in ratings.groupby('uid', sort=False, observed=True)}
    return np.array([first.get(o, '') for o in uids])


def every_answer(said, files):
    place = pd.Index(files).get_indexer(said.file.astype(str))
    return said.assign(place=place), {'rater judged the clip before': 2}, np.array([], int)


def one_unknown(df):
    who = VOICES(df)
    return who.assign(speaker=who.speaker.where(~who.unknown, 'Unknown'))


def only_stated(stated, extra): return COMPLETE(stated, extra[extra.file.isin(stated.file)])


def exact(folder, pattern):
    return next((folder/o for o in sorted(os.listdir(folder)) if re.fullmatch(pattern, o)), None)


@pytest.mark.parametrize(('name', 'wrong', 'layouts'), [
    ('read_detailed_csv', split_on_commas, ('1.11', '2.0', '1.6')),
    ('part_said', split_on_semicolons, ('1.11', '1.8 txt')),
    ('primary_of', keep_other_apart, ('1.11', '2.0', '1.8 json')),
    ('primary_of', take_words_for_emotions, ('1.11', '2.0')),
    ('consensus_of', ties_by_order, ('1.11', '2.0')),
    ('one_answer_each', every_answer, ('1.11', '2.0')),
    ('voices', one_unknown, ('1.11', '2.0')),
    ('complete', only_stated, ('1.11', '2.0')),
    ('find', exact, ('1.6', '1.7', '2.0')),
    ('READ', {**msp.READ, 'na_filter': True}, ('2.0',)),
    ('NO_AUDIO', (), ('2.0 without audio',)),
], ids=lambda o: o if isinstance(o, str) else getattr(o, '__name__', ''))
def test_a_wrong_loader_does_not_pass(name, wrong, layouts, tmp_path, monkeypatch):
    for layout in layouts:
        kind, _, silent = layout.partition(' without ')
        root = write_release(tmp_path/layout, kind, audio=not silent)
        check(root), check_secondary(root) # the right one passes
        with monkeypatch.context() as m:
            m.setattr(msp, name, wrong)
            with pytest.raises((AssertionError, InputError)):
                check(root), check_secondary(root)


# --- size -----------------------------------------------------------------------------------------
@pytest.mark.parametrize('layout', ['1.12', '2.0'])
def test_a_large_release_in_small(layout, tmp_path):
    made = large_release(tmp_path, layout, n=4000, repeats=20)
    clips, ratings = msp.load_msp_podcast(tmp_path)
    assert (clips.letter.to_numpy()==made['letter']).all() and len(ratings)==made['answers']
    assert clips.attrs['dropped']['rater judged the clip before']==20
    lines = {o['check']: o['found'] for o in msp.published(clips, ratings)}
    assert lines['letters that the votes contradict']=='0'
    assert .1<(clips.letter=='X').mean()<.3
