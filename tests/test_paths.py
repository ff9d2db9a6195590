"Where audio is: behind links, under names that look alike, in projects that were moved; what is left out is counted."
import os
import shutil
import sys
import unicodedata
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import soundfile
from ambiscale_nb.corpora import registry as corpora
from ambiscale_nb.corpora.registry import audio_path, load_corpus, stored_path
from ambiscale_nb.core import InputError
sys.path.insert(0, str(Path(__file__).parent/'study'))
from test_studies import call, place, tool  # noqa: E402

NFC, NFD = (unicodedata.normalize(o, 'Amélie') for o in ('NFC', 'NFD'))
CLIPS = [('bea', 'Amused', 'amused_1-28_0001'), ('bea', 'Neutral', 'neutral_1-28_0002'), ('sam', 'Angry', 'anger_1-28_0003')]
WHOLE = [f'{speaker}/{manner.lower()}/{name}' for speaker, manner, name in CLIPS]

def tree(root, name='{0}_{1}'):
    for speaker, manner, file in CLIPS:
        folder = root/name.format(speaker, manner)
        folder.mkdir(parents=True, exist_ok=True)
        (folder/f'{file}.wav').touch()
    return root

def uids(root): return sorted(load_corpus('emov_db', root)[0].uid)

def linked(root):
    store = tree(root/'elsewhere'/'emov')
    (root/'emov').mkdir()
    return store, root/'emov'

def link_all(store, root):
    for o in store.iterdir(): (root/o.name).symlink_to(o)

@pytest.mark.parametrize('how', ['root', 'folders', 'outside under other names', 'inside under other names', 'speakers', 'files'])
def test_linked_folders_are_followed(tmp_path, how):
    store, root = linked(tmp_path)
    if how == 'root':
        root.rmdir()
        root.symlink_to(store)
    if how == 'speakers': store = tree(tmp_path/'sorted', name='{0}/{1}')
    if how in ('folders', 'speakers'): link_all(store, root)
    if 'other names' in how:
        place = root/'store' if 'inside' in how else tmp_path/'blobs'
        place.mkdir()
        for i, o in enumerate(sorted(store.iterdir())): (root/o.name).symlink_to(o.rename(place/f'b{i}'))
    if how == 'files':
        for o in store.rglob('*.wav'):
            (root/o.parent.name).mkdir(exist_ok=True)
            (root/o.parent.name/o.name).symlink_to(o)
    assert uids(root) == WHOLE
    assert load_corpus('emov_db', root)[0].attrs['dropped'] == {}

def test_each_real_folder_is_used_once_and_loops_end(tmp_path):
    root = tree(tmp_path/'emov')
    for name, to in (('up', tmp_path), ('self', root), ('bea_Amused/back', root), ('copy', root/'bea_Amused'),
                     ('a/bea_Amused', root/'bea_Amused')):
        (root/name).parent.mkdir(exist_ok=True)
        (root/name).symlink_to(to)
    clips = load_corpus('emov_db', root)[0]
    assert sorted(clips.uid) == WHOLE and clips.attrs['dropped'] == {}
    assert not any(os.path.islink(os.path.dirname(o)) for o in clips.path)  # real folders come first

def test_what_cannot_be_read_and_what_is_no_clip_is_counted(tmp_path, monkeypatch):
    root, scan = tree(tmp_path/'emov'), os.scandir
    (root/'bea_Sleepy').symlink_to(tmp_path/'gone')
    (root/'sam_Angry'/'noise.wav').touch()
    (root/'more').symlink_to(root/'sam_Angry')  # the same file under another name is counted once
    counts = {'WAV files that are no clips of the corpus': 1, 'folders or links that cannot be read': 1}
    assert load_corpus('emov_db', root)[0].attrs['dropped'] == counts
    def scandir(path):
        if str(path).endswith('sam_Angry'): raise PermissionError(13, 'no')
        return scan(path)
    monkeypatch.setattr(corpora.os, 'scandir', scandir)
    (root/'more').unlink()
    clips = load_corpus('emov_db', root)[0]
    assert len(clips) == 2 and clips.attrs['dropped'] == {'folders or links that cannot be read': 2}

def test_judgements_name_clips_through_links(tmp_path):
    store, root = linked(tmp_path)
    link_all(store, root)
    (root/'again').symlink_to(store/'bea_Amused')
    (tmp_path/'heard.csv').write_text('file,rater,label\nbea_Amused/amused_1-28_0001.wav,me,happy\n'
                                      'again/amused_1-28_0001.wav,you,happy\nsam_Angry\\anger_1-28_0003.wav,me,angry\n')
    heard = load_corpus('emov_db', root, labels='six', ambiguity_source='ratings_csv', ratings_csv=tmp_path/'heard.csv')[0]
    assert heard.set_index('uid').n_raters.to_dict() == dict(zip(WHOLE, (2, 0, 1), strict=True))

def own(root, names, lines):
    for o in names:
        (root/o).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root/o, .1*np.sin(np.arange(8000)*.05), 16_000)
    (root/'ratings.csv').write_text('file,rater,label\n'+'\n'.join(lines), encoding='utf-8')
    return load_corpus('own', root)

@pytest.mark.parametrize(('on_disk', 'in_list'), [
    (f'{NFD}.wav', f'{NFC}.wav'), (f'{NFC}.wav', f'{NFD}.wav'), (f'{NFD}/a/{NFD}.wav', f'{NFC}/a/{NFC}.wav'),
    ('a/b/c.wav', 'a\\b\\c.wav'), (f'{NFD}/c.wav', f'{NFC}\\c.wav'), ('한국.wav', unicodedata.normalize('NFD', '한국.wav')),
    ('a/c.wav', './a/c.wav')])
def test_names_that_look_alike_are_the_same(tmp_path, on_disk, in_list):
    clips, ratings = own(tmp_path, [on_disk], [f'{in_list},A,sad', f'{in_list},B,happy'])
    assert clips['flags'].tolist() == ['speaker_unknown'] and Path(clips.path[0]).samefile(tmp_path/on_disk)
    assert len(ratings) == 2 and clips.n_raters.tolist() == [2]

def test_names_of_one_file_and_of_several(tmp_path):
    "A list may spell one file in two ways; files that differ stay two, and a name that matches nothing is flagged."
    clips, _ = own(tmp_path/'one', [f'x/{NFD}.wav'], [f'x/{NFC}.wav,A,sad', f'x\\{NFD}.wav,B,happy'])
    assert clips.uid.tolist() == [f'x/{NFC}.wav'] and clips.n_raters.tolist() == [2]
    clips, _ = own(tmp_path, ['a.wav', 'b/a.wav'], ['a.wav,A,sad', 'b\\a.wav,A,happy', 'c.wav,A,sad'])
    flags = clips.set_index('uid')['flags']
    assert flags['c.wav'].endswith('no_audio') and not flags[['a.wav', 'b/a.wav']].str.contains('no_audio').any()
    with pytest.raises(InputError, match='None of the 1 files'): own(tmp_path/'x', ['d.wav'], ['e.wav,A,sad'])
    (tmp_path/'home').mkdir()
    (tmp_path/'home/wav').symlink_to(tmp_path)
    clips, _ = own(tmp_path/'home', ['wav/a.wav'], ['wav/a.wav,A,sad'])  # behind a link
    assert not clips['flags'].str.contains('no_audio').any()

@pytest.mark.parametrize('other', ['./x/a.wav', 'x//a.wav', 'x/../x/a.wav', 'y/a.wav', 'b.wav', 'loop/x/a.wav', '../own/x/a.wav'])
def test_two_names_of_one_file_are_refused(tmp_path, other):
    "Whether they differ in spelling alone, or one of them goes through a link."
    (tmp_path/'own/x').mkdir(parents=True)
    for name, to in (('y', 'x'), ('loop', '.'), ('b.wav', 'x/a.wav')): (tmp_path/'own'/name).symlink_to(to)
    with pytest.raises(InputError, match='are one file'): own(tmp_path/'own', ['x/a.wav'], ['x/a.wav,A,sad', f'{other},B,sad'])

def test_paths_of_a_study_are_relative_to_the_project_or_the_corpus(tmp_path, monkeypatch):
    for o in ('project/results', 'data', 'moved'): (tmp_path/o).mkdir(parents=True)
    monkeypatch.setattr(corpora, 'ROOT', tmp_path/'project')
    monkeypatch.setenv('AMBISCALE_OWN', str(tmp_path/'data'))
    inside, outside, far = tmp_path/'project/results/a.wav', tmp_path/'data/x/b.wav', tmp_path/'c.wav'
    stored = [stored_path(o, 'own') for o in (inside, outside, far)]
    assert stored == ['results/a.wav', '$AMBISCALE_OWN/x/b.wav', str(far)]
    assert [audio_path(o, 'own') for o in stored] == [inside, outside, far]
    monkeypatch.setattr(corpora, 'ROOT', tmp_path/'copy')
    monkeypatch.setenv('AMBISCALE_OWN', str(tmp_path/'moved'))
    assert [audio_path(o, 'own') for o in stored] == [tmp_path/'copy/results/a.wav', tmp_path/'moved/x/b.wav', far]
    (tmp_path/'data/x').mkdir()
    outside.touch()
    assert audio_path(stored[1], 'own', tmp_path/'data') == outside  # the folder that the run was given, where it is still there
    monkeypatch.delenv('AMBISCALE_OWN')
    assert stored_path(outside, 'own', tmp_path/'data') == stored[1]

def test_figure_10_keeps_the_sound_that_it_has(tmp_path):
    "Drawn with sound from a project that was moved; without sound it is drawn only where no figure has it."
    (tmp_path/'first').mkdir()
    root, moved = place(tmp_path/'first'), tmp_path/'second'
    for name, more in (('01_sample', ['-p', 'limit', '6', '-p', 'n', '4']), ('02_score', [])):
        code, said = call(root, tool('papermill'), '-k', 'python3', '--cwd', str(corpora.ROOT/'nbs/experiments'), '-r', 'study',
                          'small', str(corpora.ROOT/f'nbs/experiments/{name}.ipynb'), str(root/f'{name}.ipynb'), *more,
                          AMBISCALE_TOYSPEECH='')
        assert code == 0, said[-2000:]
    stored = pd.read_parquet(root/'results/small/utterances/toyspeech.parquet').path
    assert stored.str.startswith('results/corpora/toyspeech/').all()
    root.rename(moved)
    figure = moved/'results/small/figures/fig10_utterance.png'
    def draw(): return call(moved, tool('ambiscale'), 'figure', '10', '--study', 'small', AMBISCALE_TOYSPEECH='')
    code, said = draw()
    assert code == 0 and 'Without' not in said and 'Written' in said, said
    before = figure.read_bytes()
    shutil.rmtree(moved/'results/corpora')
    code, said = draw()
    assert code == 2 and 'are kept' in said and 'Written' not in said and figure.read_bytes() == before
    shutil.rmtree(figure.parent)
    for _ in range(2):  # a figure without sound may be drawn again
        code, said = draw()
        assert code == 0 and 'Without its sound' in said and figure.exists()
