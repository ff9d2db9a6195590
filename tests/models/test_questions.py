"Questions of one's own: those whose answers the parser can read are accepted, the others refused; files of prompts."
from pathlib import Path

import pytest
import yaml

from ambiscale_nb.core import InputError
from ambiscale_nb.models.prompts import OURS, check_question, prompt_set

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
    ('Answer with a digit: {labels}.', r"a number \('digit'\)"), ('{labels}? {clip}', r'placeholders \{labels\}, \{clip\}, and'),
    ('Is it {labels}? Yes or no.', r"yes or no \('Yes'\)"), ('Answer with a colour: {labels}.', r"another form \('a colour'\)")])
def test_an_error_names_what_was_found(question, told):
    with pytest.raises(InputError, match=f'wordings.mine.label-direct: .*{told}.*one of {{labels}} in words'):
        prompt_set(dict(wordings=dict(mine={'label-direct': question})))
