"""Gemini, against a server on this machine that speaks its protocol: faults, blocks, candidates in
chunks, keys that are never written, recordings that replay byte for byte."""
import base64
import hashlib
import math
import numpy as np
import pandas as pd
import pytest
from loopback import WAITS, WORDS, Loopback, Time, files, ids_of, logprobs
from ambiscale_nb.core import InputError
from ambiscale_nb.models.endpoint import CUT, Retry
from ambiscale_nb.models.gemini import GEMINIS, GeminiALM
from ambiscale_nb.models.contract import CallError, Retired, Tape, Unrecorded, load_model
from ambiscale_nb.sampling.store import CANDIDATES, Draw, Limits, Store, sample_pool
from ambiscale_nb.models.parser import parse
from ambiscale_nb.models.prompts import prompt
from waiting import PATIENCE, until

DIRECT = prompt('label', 'direct', WORDS)
CLIPS = pd.DataFrame(dict(corpus='demo', uid=['a', 'b'], speaker=['x', 'y'], audio_sha=['s0', 's1']))
KEY = 'AIza-Zq/7+x=9%Ab"cD-0123456789'

def wave_of(uid): return (.3*np.sin(np.arange(4000)*('ab'.index(uid)+1)*.05)).astype(np.float32)
WAVE = wave_of('a')

@pytest.fixture
def server():
    with Loopback() as s: yield s

def model(server, time=None, **options):
    options = {**dict(key='', seconds=PATIENCE, retry=Retry(tries=3)), **(time or Time()).options, **options}
    return GeminiALM('demo', server.gemini, **options)

def sampled(alm, folder, **options):
    sample_pool(alm, CLIPS, wave_of, [DIRECT], Draw(greedy=False), Store(folder), progress=False, **options)
    alm.close()
    return Store(folder).read(CANDIDATES)

@pytest.mark.parametrize('fault', WAITS)
def test_p5_waits(fault, server):
    time, (least, most) = Time(), WAITS[fault]
    server.wall, server.faults = time.clock, [fault]
    assert model(server, time).greedy(WAVE, DIRECT).text in WORDS
    assert len(time.slept)==1 and least<=time.slept[0]<=most

# Fault -> kind, requests; Sixteen samples are two requests, of which the first is never answered
LOST = {'500': ('server', 3), '503': ('server', 3), 'timeout': ('timeout', 3), 'reset': ('connection', 3),
        'slow headers': ('timeout', 3), 'slow body': ('timeout', 3), 'truncated JSON': ('truncated', 2),
        'short body': ('connection', 3), 'HTML body': ('not_json', 2), 'empty choices': ('empty', 2),
        'not an object': ('empty', 2), 'null content': ('empty', 2), 'wrong n': ('wrong_n', 2),
        'NaN logprob': ('nan_logprob', 2), 'bad_request': ('bad_request', 1),
        'context': ('context_too_long', 1)}

@pytest.mark.parametrize('fault', LOST)
def test_p6_p7_bounded_tries_then_a_named_row(fault, server, tmp_path):
    server.always, (kind, tries) = fault, LOST[fault]
    time = Time()
    rows = sampled(model(server, time, **dict(seconds=.15) if kind=='timeout' else {}), tmp_path)
    assert len(time.slept)==(tries-1)*len(CLIPS)
    until(lambda: len(server.asked)>=tries*len(CLIPS))  # it reads what timed out when it can
    print(f'{fault} -> {tries} requests, then rows of kind {set(rows.error)}')
    assert set(rows.error)=={kind} and rows.text.isna().all() and len(rows)==32
    assert len(server.asked)==tries*len(CLIPS)

@pytest.mark.parametrize(('fault', 'kind'), [('unauthorized', 'auth'), ('forbidden', 'forbidden'),
                                             ('not_found', 'not_found')])
def test_p7_ends_the_run(fault, kind, server, tmp_path):
    server.always = fault
    with pytest.raises(CallError) as e: sampled(model(server), tmp_path)
    assert e.value.kind==kind and len(server.asked)==1

def test_a_bad_key_is_told_by_its_reason(server, monkeypatch):
    monkeypatch.setitem(__import__('loopback').REFUSALS, 'bad key', (400, 'API key not valid', {
        'status': 'INVALID_ARGUMENT', 'details': [{'reason': 'API_KEY_INVALID'}]}, {}))
    server.always = 'bad key'
    with pytest.raises(CallError, match='API key not valid') as e: model(server).greedy(WAVE, DIRECT)
    assert e.value.kind=='auth' and e.value.fatal

# Outcomes that are answers

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

def test_an_unknown_reason_is_passed_on(server):
    server.always = 'unknown reason'
    with pytest.warns(UserWarning): reply = model(server).greedy(WAVE, DIRECT)
    assert reply.finish=='tired' and reply.text in WORDS

def test_no_tokens_of_audio_mean_deafness_only_where_the_server_counts_them(server):
    alm, server.always = model(server), 'unheard'
    assert alm.greedy(WAVE, DIRECT).usage['audio_tokens'] is None            # it may count none ever
    server.always = None
    assert alm.greedy(WAVE, DIRECT).usage['audio_tokens']==32
    server.always = 'unheard'
    with pytest.raises(CallError, match='0 tokens of audio'): alm.greedy(WAVE, DIRECT)

def test_thoughts_are_no_answer(server):
    server.always = 'thoughts'
    assert model(server).greedy(WAVE, DIRECT).text in WORDS

# Candidates, log-probabilities, names, money

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
    sound, ids = hashlib.blake2b(data.encode()).hexdigest()[:16], ids_of(reply.text)
    assert reply.tokens==ids and reply.token_logprobs==pytest.approx(logprobs(sound, DIRECT.text, ids))
    assert base64.urlsafe_b64decode(data)[:4]==b'RIFF'

@pytest.mark.parametrize('lacks', [('n',), ('logprobs',), ('n', 'logprobs')], ids=','.join)
def test_what_is_refused_is_recorded(lacks, server, tmp_path):
    server.lacks = lacks
    rows = sampled(model(server), tmp_path)
    assert len(rows)==32 and set(rows.error)=={''}
    assert all(set(o.split('; '))=={f'{p} refused' for p in lacks} for o in rows.downgrades)
    assert rows.sum_logprob.isna().all()==('logprobs' in lacks)
    assert len(server.asked)==len(lacks)+(32 if 'n' in lacks else 4)

def test_the_name_that_answered_is_kept(server):
    server.serves = 'gemini-other'
    reply = model(server).greedy(WAVE, DIRECT)
    assert (reply.served, reply.downgrades)==('gemini-other', 'answered by gemini-other')
    server.serves = 'demo-001'
    assert model(server).greedy(WAVE, DIRECT).downgrades==''

def test_money_is_counted(server, tmp_path):
    alm = model(server, names={'demo': dict(text_in=1., audio_in=2., text_out=3.)})
    rows = sampled(alm, tmp_path, limits=Limits(usd=1))
    spent = 4*(len(DIRECT.text)*1+32*2)+3*rows.text.str.len().sum()     # four requests
    assert math.isclose(rows.cost_measured.sum(), spent/1e6)

def test_what_it_cannot_do_is_refused(server):
    alm = model(server)
    for call in (lambda: alm.beams(WAVE, DIRECT, 3), lambda: alm.score(WAVE, DIRECT, ['sad'])):
        with pytest.raises(InputError, match='demo has no'): call()
    assert not server.asked

# Retired, recorded, secret

def test_a_retired_name_sends_nothing_and_replays(server, tmp_path):
    with pytest.raises(Retired, match='shut down on 2026-06-01.*choose gemini-3.8-flash'):
        load_model('gemini-2-flash', base_urls=server.gemini, key='')
    assert not server.asked and 'gemini-2-flash' in {o.name for o in GEMINIS}
    alive, tape = {'gemini-2.0-flash': {'status': 'live'}}, Tape(tmp_path/'tape')
    alm = load_model('gemini-2-flash', base_urls=server.gemini, key='', names=alive, tape=tape)
    live = alm.greedy(WAVE, DIRECT)
    alm.close()
    again = load_model('gemini-2-flash', tape=Tape(tmp_path/'tape', 'replay'))
    assert again.greedy(WAVE, DIRECT)==live and live.served=='gemini-2.0-flash'
    with pytest.raises(Unrecorded): again.sample(WAVE, DIRECT, 2, seed=1)

@pytest.mark.parametrize('lacks', [(), ('n', 'logprobs')], ids=['all', 'no n, no logprobs'])
def test_a_study_replays_byte_for_byte(lacks, server, tmp_path):
    server.lacks, server.faults = lacks, ['500', None, 'truncated JSON', 'safety', '429 RetryInfo', 'reset']
    sampled(model(server, tape=Tape(tmp_path/'tape')), tmp_path/'live')
    requests, time = len(server.asked), Time()
    sampled(model(server, time, tape=Tape(tmp_path/'tape', 'replay'), key='NO_SUCH_KEY'), tmp_path/'replayed')
    assert files(tmp_path/'live')==files(tmp_path/'replayed') and len(files(tmp_path/'live'))==1
    assert len(server.asked)==requests and not time.slept

def test_no_key_in_anything_that_is_written(server, tmp_path, monkeypatch, caplog):
    caplog.set_level('DEBUG')
    monkeypatch.setenv('SENTINEL_KEY', KEY)
    alm = model(server, key='SENTINEL_KEY', tape=Tape(tmp_path/'tape'))
    sampled(alm, tmp_path/'store')
    assert all(KEY in o.values() for o in server.headers)
    server.key = 'another'
    with pytest.raises(CallError, match='redacted'): alm.greedy(WAVE, DIRECT)
    alm.close()
    (tmp_path/'log.txt').write_text(caplog.text)
    data = b''.join(o.read_bytes() for o in tmp_path.rglob('*') if o.is_file()).replace(b'\\', b'')
    assert b'[redacted]' in data and KEY.encode() not in data and base64.b64encode(KEY.encode())[:-4] not in data
