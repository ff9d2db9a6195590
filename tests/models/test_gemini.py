"What is Gemini's own: blocks, thoughts, candidates in chunks, fields of a request (the rest is in `test_endpoint`)."
import base64
import pytest
from loopback import WORDS, Loopback, client, ids_of, logprobs, name_of
from test_endpoint import DIRECT, WAVE
from ambiscale_nb.models.contract import CallError
from ambiscale_nb.models.parser import parse
from ambiscale_nb.models.serving import CUT

@pytest.fixture
def server():
    with Loopback() as s: yield s

def model(server, **options): return client('gemini', server, **options)

def test_a_bad_key_is_recognised_by_its_reason(server, monkeypatch):
    monkeypatch.setitem(__import__('loopback').REFUSALS, 'bad key', (400, 'API key not valid', {
        'status': 'INVALID_ARGUMENT', 'details': [{'reason': 'API_KEY_INVALID'}]}, {}))
    server.always = 'bad key'
    with pytest.raises(CallError, match='API key not valid') as e: model(server).greedy(WAVE, DIRECT)
    assert e.value.kind=='auth' and e.value.fatal

OUTCOMES = {'prompt blocked': (['safety']*3, 'prompt blocked: SAFETY', 'refusal'),
            'all safety': (['safety']*3, 'blocked: SAFETY', 'refusal'),
            'safety': (['safety', 'stop', 'stop'], 'blocked: SAFETY', 'refusal'),
            'max tokens': (['length', 'stop', 'stop'], f'{CUT} (`config`)', 'truncated')}

@pytest.mark.parametrize('fault', OUTCOMES)
def test_blocks_and_empty_parts_are_named(fault, server):
    server.always, (finish, note, status) = fault, OUTCOMES[fault]
    replies = model(server).sample(WAVE, DIRECT, 3, seed=1)
    assert [o.finish for o in replies]==finish and replies[0].downgrades==note and replies[0].text==''
    assert parse('', 'label', 'direct', WORDS, finish=replies[0].finish).status==status
    assert len(server.asked)==1

def test_an_unknown_reason_is_passed_on_and_thoughts_are_no_answer(server):
    server.always = 'unknown reason'
    with pytest.warns(UserWarning): reply = model(server).greedy(WAVE, DIRECT)
    assert reply.finish=='tired' and reply.text in WORDS
    server.always = 'thoughts'
    assert model(server).greedy(WAVE, DIRECT).text in WORDS

def test_candidates_come_in_chunks(server):
    replies = model(server).sample(WAVE, DIRECT, 19, seed=1)
    sent = [o['generationConfig'] for _, o in server.asked]
    assert [o.get('candidateCount', 1) for o in sent]==[8, 8, 3] and len(replies)==19
    assert len({o['seed'] for o in sent})==3 and all(0<=o['seed']<2**31 for o in sent)
    assert replies[0].usage['prompt_tokens']==3*replies[1].usage['prompt_tokens']
    assert len({o.text for o in replies})>1

def test_what_is_asked(server):
    model(server, config=dict(thinking_config=dict(thinking_budget=0))).sample(WAVE, DIRECT, 2, 5, .7)
    path, ask = server.asked[0]
    config = ask['generationConfig']
    assert path.endswith('/models/demo:generateContent') and config['temperature']==.7 and config['topP']==1
    assert config['maxOutputTokens']==DIRECT.max_new_tokens and config['responseLogprobs'] is True
    assert list(config['thinkingConfig'].values())==[0]
    assert not any('ambiscale' in k.lower() for o in server.headers for k in o)

def test_logprobs_are_those_of_the_tokens(server):
    reply = model(server).greedy(WAVE, DIRECT)
    data = server.asked[0][1]['contents'][0]['parts'][0]
    data = (data.get('inlineData') or data['inline_data'])['data']
    ids = ids_of(reply.text)
    assert reply.tokens==ids and reply.token_logprobs==pytest.approx(logprobs(name_of(data), DIRECT.text, ids))
    assert base64.urlsafe_b64decode(data)[:4]==b'RIFF'
