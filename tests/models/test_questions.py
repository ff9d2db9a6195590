"Questions of one's own: those whose answers the parser can read are accepted, the others refused; files of prompts."
from pathlib import Path

import pytest
import yaml

from ambiscale_nb.core import InputError
from ambiscale_nb.models.prompts import OURS, check_question, prompt_set, prompt_text

TABLE = yaml.safe_load((Path(__file__).parent/'questions.yaml').read_text())

def rows(kind):
    "Every question of the table with its mode and style."
    return [(*name.split('-'), text) for name, texts in TABLE[kind].items() for text in texts]

@pytest.mark.parametrize(('mode', 'style', 'text'), rows('right'))
def test_what_can_be_read_is_accepted(mode, style, text): check_question('mine', mode, style, text)

@pytest.mark.parametrize(('mode', 'style', 'text'), rows('wrong'))
def test_what_cannot_be_read_is_refused(mode, style, text):
    with pytest.raises(InputError, match=r'^mine: the parser could not know the form of the answers, since .*\. Ask for .*; got '):
        check_question('mine', mode, style, text)

def test_own_wordings_pass():
    for texts in OURS.wordings.values():
        for how, text in texts.items(): check_question('ours', *how, text)

@pytest.mark.parametrize(('question', 'told'), [
    ('Answer with a digit: {labels}.', r"a number \('digit'\)"), ('{labels}? {clip}', r'placeholders \{labels\}, \{clip\}, but'),
    ('Is it {labels}? Yes or no.', r"yes or no \('Yes'\)"), ('Answer with a colour: {labels}.', r"another form \('a colour'\)")])
def test_an_error_names_what_was_found(question, told):
    with pytest.raises(InputError, match=f'wordings.mine.label-direct: .*{told}.*one of {{labels}} in words'):
        prompt_set(dict(wordings=dict(mine={'label-direct': question})))

LISTED = "How does it sound: {labels}?"

@pytest.mark.parametrize('fields', [dict(order=['sad', 'happy']), dict(system='Listen.')])
def test_built_in_wordings_are_asked_where_none_are_given(fields):
    found = prompt_set(fields)
    assert found.wordings == OURS.wordings and (list(found.order), found.system) == (
        fields.get('order', []), fields.get('system', ''))
    assert prompt_set(prompt_text(found)) == found

@pytest.mark.parametrize('texts', [
    dict(a={'label-direct': LISTED}, b={'label-direct': ' How  does it\nsound: {labels}? '}),
    dict(a={'label-direct': 'Write "Answer:" and {labels}.', 'label-cot': 'Write "Answer:" and {labels}.'})])
def test_questions_of_one_text_are_refused(texts):
    names = [f'wordings.{o}.{k}' for o in texts for k in texts[o]]
    with pytest.raises(InputError, match=f'^{names[0]} and {names[1]} have the same text'): prompt_set(dict(wordings=texts))

def test_a_file_is_looked_for_next_to_the_study_first(tmp_path, monkeypatch):
    here, other = tmp_path/'study', tmp_path/'other'
    for folder, name in ((here, 'mine'), (other, 'others')):
        folder.mkdir()
        (folder/'own.yaml').write_text(f'wordings: {{{name}: {{label-direct: "{LISTED}"}}}}')
    monkeypatch.chdir(other)
    assert prompt_set('own.yaml').first(1) == ['others'] and prompt_set('own.yaml', here).first(1) == ['mine']
    (here/'own.yaml').unlink()
    assert prompt_set('own.yaml', here).first(1) == ['others']
    with pytest.raises(InputError, match=f'No prompts at none.yaml.*{here}/none.yaml'): prompt_set('none.yaml', here)
