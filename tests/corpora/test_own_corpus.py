"""Your own list of judgements, as people and spreadsheets write it: it is read, or refused in one line that says what
is wrong and what to do; a list that `ambiscale corpora validate` lets pass can be studied."""
import numpy as np
import pytest
import soundfile
from ambiscale_nb.corpora import own as own_corpus  # noqa: F401 (registers itself)
from ambiscale_nb.study.cli import app
from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.registry import load_corpus
from ambiscale_nb.corpora.labels import SYNONYMS, WORDS
from typer.testing import CliRunner

PLAIN = 'file,rater,label\none.wav,Ann,angry\ntwo.wav,Ann,sad\n'
FINE = {
    'as asked for': PLAIN.encode(), 'a mark before the first letter': PLAIN.encode('utf-8-sig'),
    'the lines of Windows': PLAIN.replace('\n', '\r\n').encode(), 'those of old Macs': PLAIN.replace('\n', '\r').encode(),
    'blank lines': f'\n \n{PLAIN}\n\n'.replace('\ntwo', '\n\n   \ntwo').encode(),
    'rows of empty cells': f'{PLAIN},,\n'.replace('\ntwo', '\n,,\n , , \ntwo').encode(),
    'capitals and blanks': PLAIN.replace('file,rater,label', ' File, RATER ,Label').encode(),
    'everything in quotes': '\n'.join(','.join(f'"{o}"' for o in line.split(',')) for line in PLAIN.split()).encode(),
    'no end of the last line': PLAIN.strip().encode(),
    'a name for all columns but one': PLAIN.replace('label\n', 'label,\n').replace('angry', 'angry,sure').encode(),
    'text with semicolons': PLAIN.replace('label\n', 'label,transcript\n').replace('sad', 'sad,so; it; goes').encode()}
BAD = {
    'the names of the columns alone': (b'file,rater,label\n', 'names its columns and has no line below them: add one'),
    'those and blank lines': (b'file,rater,label\n\n,,\n', 'has no line below them'),
    'nothing': (b'', 'ratings.csv is empty: begin with a line file,rater,label'),
    'a mark and nothing': (b'\xef\xbb\xbf', 'is empty'), 'blank lines alone': (b'\n  \n,,\n', 'is empty'),
    'semicolons': (PLAIN.replace(',', ';').encode(), "has ';' between its columns: save it with commas"),
    'semicolons and commas': (b'file;rater;label;transcript\none.wav;Ann;sad;so, it goes\n', "has ';' between"),
    'semicolons and quotes': (b'"file";"rater";"label"\n"one.wav";"Ann";"sad"\n', "has ';' between"),
    'tabs': (PLAIN.replace(',', '\t').encode(), r"has '\t' between its columns"),
    'a column too few': (PLAIN.replace('label', 'emotion').encode(),
                         'needs one column label, it has file, rater, emotion: rename them'),
    'a column twice': (b'file,rater,label,speaker,speaker\none.wav,Ann,sad,a,b\n', 'needs one column speaker, it has'),
    'no names of columns': (PLAIN.split('\n', 1)[1].encode(), 'or begin with a line file,rater,label'),
    'UTF-16': (PLAIN.encode('utf-16'), 'is no CSV file in UTF-8'),
    'an absolute path': (PLAIN.replace('two', '/data/two').encode(), "line 3: '/data/two.wav' is an absolute path: write it relative to"),
    'one of Windows': (PLAIN.replace('two', 'C:\\data\\two').encode(), "'C:/data/two.wav' is an absolute path"),
    'an empty cell': (PLAIN.replace('Ann,sad', ',sad').encode(), 'line 3: an empty cell'),
    'a judgement twice': (f'{PLAIN}one.wav,Ann, Anger\n'.encode(), "line 4: 'Ann' has named 'angry' for this file before")}

@pytest.fixture
def folder(tmp_path):
    for o in ('one.wav', 'two.wav'): soundfile.write(tmp_path/o, np.sin(np.arange(8000)/20), 16_000)
    return tmp_path

def said(folder): return CliRunner().invoke(app, ['corpora', 'validate', 'own', '--root', str(folder)])

@pytest.mark.parametrize('case', FINE)
def test_a_list_is_read(folder, case):
    (folder/'ratings.csv').write_bytes(FINE[case])
    found = load_corpus('own', folder)[0]
    assert found.uid.tolist()==['one.wav', 'two.wav']
    assert found.votes_angry.tolist()==[1, 0] and found.votes_sad.tolist()==[0, 1] and (found.n_raters==1).all()

@pytest.mark.parametrize('case', BAD)
def test_a_list_is_refused_in_one_line(folder, case):  # By the loader and by the command alike
    content, message = BAD[case]
    (folder/'ratings.csv').write_bytes(content)
    with pytest.raises(InputError) as e: load_corpus('own', folder)
    assert 'ratings.csv' in str(e.value) and message in str(e.value) and '\n' not in str(e.value)
    found = said(folder)
    assert found.exit_code==2 and found.stderr==f'Error: {e.value}\n'

def test_a_folder_in_place_of_the_list_is_refused(tmp_path):
    (tmp_path/'ratings.csv').mkdir()
    with pytest.raises(InputError, match='No file .*ratings.csv: give a CSV file with the columns file, rater, label'):
        load_corpus('own', tmp_path)

@pytest.mark.parametrize(('word', 'meant'), [('angri', 'angry'), ('hapiness', 'happy'), ('wutend', 'angry'), ('xyzzy', None)])
def test_a_misspelt_emotion_is_answered_with_the_emotions_and_not_with_every_word(folder, word, meant):
    (folder/'ratings.csv').write_text(PLAIN.replace('sad', word))
    with pytest.raises(InputError) as e: load_corpus('own', folder)
    text = str(e.value)
    assert text.startswith(f"ratings.csv, line 3: Unknown emotion '{word}'.") and '01_labels.ipynb' in text
    assert (f"Did you mean '{meant}'?" in text) if meant else 'Did you mean' not in text
    assert all(o in text for o in SYNONYMS) and not any(f' {o},' in text for o in {*WORDS}-{*SYNONYMS})
    assert len(text.split())<40

@pytest.mark.parametrize(('name', 'variable'), [('own', 'AMBISCALE_OWN'), ('crema_d', 'AMBISCALE_CREMA_D')])
def test_a_corpus_without_a_folder_says_how_to_give_it(monkeypatch, name, variable):
    monkeypatch.delenv(variable, raising=False)
    found = CliRunner().invoke(app, ['corpora', 'validate', name])
    assert found.exit_code==2 and f'or set {variable}, ' in found.stderr and '--root' in found.stderr
    assert '<' not in found.stderr

def test_the_variable_that_is_named_is_the_one_that_is_read(monkeypatch, folder):
    (folder/'ratings.csv').write_text(PLAIN)
    assert said(folder).exit_code==0
    monkeypatch.setenv('AMBISCALE_OWN', str(folder))
    assert len(load_corpus('own')[0])==2
