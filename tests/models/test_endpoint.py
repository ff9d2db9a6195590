"""Models behind HTTP, against a server on this machine that speaks their protocol: every fault has its
outcome, no key is ever written, recordings replay byte for byte, and all routes to a number agree."""
import base64
import io
import json
import logging
import os
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from urllib.parse import quote
import numpy as np
import pandas as pd
import pytest
import soundfile
from loopback import END, WAITS, WORDS, Loopback, Time, files, ids_of, logprobs, total
from ambiscale_nb.models import gemini  # noqa: F401 (models and corpus register)
from ambiscale_nb.corpora import toyspeech  # noqa: F401 (models and corpus register)
from ambiscale_nb.corpora.audio import probe, wave_reader
from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.registry import load_corpus
from ambiscale_nb.models.endpoint import ENDPOINTS, EndpointALM, Gate, Retry, seconds_of, wav_of
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.models.contract import (MODELS, CallError, Retired, Tape, Unrecorded,
    check_options, cleaner, in_flight, load_model, places)
from ambiscale_nb.sampling.store import CANDIDATES, Draw, Limits, Store, plan_pool, sample_pool
from ambiscale_nb.models.parser import parse
from ambiscale_nb.models.prompts import STYLES, prompt
from ambiscale_nb.study.results import Study, score_study
from ambiscale_nb.sampling.verify import VERDICTS, Judge, plan_verdicts, verify_pool
from waiting import PATIENCE, until

LABELS = WORDS
DIRECT, COT = prompt('label', 'direct', LABELS), prompt('label', 'cot', LABELS)
CLIPS = pd.DataFrame(dict(corpus='demo', uid=['a', 'b', 'c'], speaker=['x', 'y', 'z'],
                          audio_sha=['s0', 's1', 's2']))
KEY = 'sk-Zq/7+x=9%Ab"cD-0123456789'

def wave_of(uid): return (.3*np.sin(np.arange(4000)*('abc'.index(uid)+1)*.05)).astype(np.float32)
WAVE = wave_of('a')

@pytest.fixture
def server():
    with Loopback() as s: yield s

def model(server, time=None, **options):
    options = {**dict(end=END, seconds=PATIENCE, retry=Retry(tries=3)), **(time or Time()).options, **options}
    return EndpointALM('demo', 'vllm', server.url, **options)

def sampled(alm, store, **options):
    "Sixteen samples of each clip, as a study takes them."
    draw = options.pop('draw', Draw(greedy=False))
    return sample_pool(alm, CLIPS, wave_of, [DIRECT], draw, store, progress=False, **options)

def heard(server):
    "What the server made of the clip and the question of its last request."
    import hashlib
    parts = server.asked[-1][1]['messages'][0]['content']
    return hashlib.blake2b(parts[0]['input_audio']['data'].encode()).hexdigest()[:16], parts[1]['text']

# P5: how long to wait. Fault -> what is slept before the second request

@pytest.mark.parametrize('fault', WAITS)
def test_p5_waits(fault, server):
    time, (least, most) = Time(), WAITS[fault]
    server.wall, server.faults = time.clock, [fault]
    assert model(server, time).greedy(WAVE, DIRECT).text in WORDS
    print(f'P5 {fault} -> waited {time.slept[0]:.1f} s, then answered')
    assert len(time.slept)==1 and least<=time.slept[0]<=most

def test_p5_backs_off_at_random_and_gives_up(server):
    time, server.always = Time(), '429'
    with pytest.raises(CallError, match='429: Slow down') as e:
        model(server, time, retry=Retry(tries=6)).greedy(WAVE, DIRECT)
    assert e.value.kind=='rate_limit' and len(server.asked)==6
    assert all(2**k/2<=o<=2**k for k, o in enumerate(time.slept)), time.slept
    assert len({o/2**k for k, o in enumerate(time.slept)})==5    # jitter

@pytest.mark.parametrize('text', ['nan', 'inf', '-inf', '', '1_0', '0', '0x10', 'Tue, 99 Foo 2026', '٣', ' ', '9'*999,
                                  'Fri, 31 Dec 99999 23:59:59 GMT', '1e999', '[]', 'None'])
def test_p5_garbage_says_nothing(text): assert seconds_of(text, 1e9) is None

def test_p5_seconds_are_read():
    assert [seconds_of(o, 0.) for o in ('7', ' 2.5 ', '34s', '1e2')]==[7, 2.5, 34, 100]

# P6: nothing, or nothing of use, was answered. Fault -> kind, requests for each call

LOST = {'500': ('server', 3), '503': ('server', 3), 'timeout': ('timeout', 3), 'reset': ('connection', 3),
        'slow headers': ('timeout', 3), 'slow body': ('timeout', 3), 'truncated JSON': ('truncated', 2),
        'short body': ('connection', 3), 'HTML body': ('not_json', 2), 'empty choices': ('empty', 2),
        'no choices': ('empty', 2), 'not an object': ('empty', 2), 'null content': ('empty', 2),
        'wrong n': ('wrong_n', 2), 'NaN logprob': ('nan_logprob', 2), 'null logprob': ('nan_logprob', 2)}

@pytest.mark.parametrize('fault', LOST)
def test_p6_bounded_tries_then_a_named_row(fault, server, tmp_path):
    server.always, (kind, tries) = fault, LOST[fault]
    time, slow = Time(), dict(seconds=.15) if kind=='timeout' else {}
    report = sampled(model(server, time, **slow), Store(tmp_path))
    rows = Store(tmp_path).read(CANDIDATES)
    print(f'P6 {fault} -> {tries} requests, then rows of kind {set(rows.error)}')
    assert len(time.slept)==(tries-1)*len(CLIPS)
    until(lambda: len(server.asked)>=tries*len(CLIPS))  # it reads what timed out when it can
    assert len(server.asked)==tries*len(CLIPS)
    assert set(rows.error)=={kind} and len(rows)==16*len(CLIPS) and report.failed==len(CLIPS)
    assert rows.text.isna().all() and (rows.error_text!='').all()

@pytest.mark.parametrize('fault', [o for o in LOST if LOST[o][0]!='timeout'])
def test_p6_one_fault_changes_no_answer(fault, server, tmp_path):
    sampled(model(server), Store(tmp_path/'calm'))
    server.faults = [fault]
    report = sampled(model(server), Store(tmp_path/'stormy'))
    calm, stormy = (Store(tmp_path/o).read(CANDIDATES) for o in ('calm', 'stormy'))
    assert report.failed==0 and len(server.asked)==2*len(CLIPS)+1
    assert stormy.key.tolist()==calm.key.tolist()
    if fault=='500': assert stormy.downgrades.eq('seed changed after a server error').any() # It failed on its own answer
    else: assert stormy.text.tolist()==calm.text.tolist()

# P7: it would be refused again. Fault -> kind, whether it ends the run

REFUSED = {'bad_request': ('bad_request', False), 'unauthorized': ('auth', True), 'forbidden': ('forbidden', True),
           'not_found': ('not_found', True), 'context': ('context_too_long', False), 'quota': ('quota', True),
           'redirect': ('bad_request', False)}

@pytest.mark.parametrize('fault', REFUSED)
def test_p7_is_not_tried_again(fault, server, tmp_path):
    server.always, (kind, fatal), time = fault, REFUSED[fault], Time()
    store = Store(tmp_path)
    if fatal:
        with pytest.raises(CallError) as e: sampled(model(server, time), store)
        assert e.value.kind==kind and len(server.asked)==1 and not len(store.read(CANDIDATES))
    else:
        sampled(model(server, time), store)
        assert set(store.read(CANDIDATES).error)=={kind} and len(server.asked)==len(CLIPS)
    print(f'P7 {fault} -> {kind}, {"the run ends" if fatal else "a row"}, not tried again')
    assert not time.slept

def test_what_was_answered_before_a_wrong_key_is_kept(server, tmp_path):
    alm, store = model(server), Store(tmp_path)
    server.faults = [None, 'unauthorized']
    with pytest.raises(CallError, match='Incorrect API key'): sampled(alm, store)
    assert len(Store(tmp_path).read(CANDIDATES))==16

# Answers and what is missing from them

@pytest.mark.parametrize(('fault', 'finish'), [('refusal', 'refusal'), ('content filter', 'content_filter'),
                                               ('one null content', 'empty')])
def test_a_refusal_among_answers_is_named(fault, finish, server):
    server.faults = [fault]
    replies = model(server).sample(WAVE, DIRECT, 4, seed=1)
    assert [o.finish for o in replies]==[finish]+['stop']*3 and replies[0].text not in WORDS
    status = parse(replies[0].text, 'label', 'direct', LABELS, finish=replies[0].finish).status
    assert status==('empty' if finish=='empty' else 'refusal')

def test_all_routes_to_a_number_agree(server):
    alm = model(server)
    sound, question = (alm.greedy(WAVE, DIRECT), heard(server))[1]
    for o in [alm.greedy(WAVE, DIRECT), *alm.sample(WAVE, DIRECT, 5, 3), *alm.beams(WAVE, DIRECT, 3)]:
        assert o.sum_logprob==pytest.approx(total(sound, question, o.text), abs=1e-9)
        assert o.tokens[:-1]==ids_of(o.text) and o.usage['audio_tokens']==30
    assert alm.score(WAVE, DIRECT, list(WORDS))==pytest.approx([total(sound, question, o) for o in WORDS])
    best = alm.beams(WAVE, DIRECT, 4)
    assert [o.text for o in best]==[WORDS[i] for i in np.argsort(-alm.score(WAVE, DIRECT, list(WORDS)))]
    assert alm.greedy(WAVE, DIRECT).text==best[0].text

def test_no_end_no_scores(server):
    alm = model(server, end=None)
    assert not alm.capabilities.label_scoring and not alm.capabilities.verify
    with pytest.raises(InputError, match='no label_scoring'): alm.score(WAVE, DIRECT, ['sad'])

def test_a_wrong_end_is_seen(server):
    with pytest.raises(CallError, match='pass the text of the model.s own end token'):
        model(server, end='</s>').score(WAVE, DIRECT, ['sad'])

def test_openai_has_what_it_has(server):
    alm = EndpointALM('gpt-audio-1.5', 'openai', server.url, key='')
    for call in (lambda: alm.beams(WAVE, DIRECT, 2), lambda: alm.score(WAVE, DIRECT, ['sad'])):
        with pytest.raises(InputError, match='gpt-audio-1.5 has no'): call()
    assert not server.asked
    alm.greedy(WAVE, DIRECT)
    assert server.asked[-1][1]['modalities']==['text'] and 'top_k' not in server.asked[-1][1]

def test_every_setting_is_sent_to_vllm(server):
    model(server).sample(WAVE, DIRECT, 2, seed=5, temperature=.7)
    sent = server.asked[-1][1]
    wanted = dict(n=2, seed=5, temperature=.7, top_p=1, top_k=-1, min_p=0, repetition_penalty=1,
                  max_completion_tokens=DIRECT.max_new_tokens)
    assert {o: sent[o] for o in wanted}==wanted and 'modalities' not in sent

def test_a_pick_is_checked(server):
    assert {o.text for o in model(server).pick(WAVE, DIRECT, ['yes', 'no'], n=9)}=={'yes', 'no'}
    assert server.asked[-1][1]['structured_outputs']=={'choice': ['yes', 'no']}
    assert all(o.token_logprobs is None for o in model(server).pick(WAVE, DIRECT, ['yes'], n=2))

def test_a_pick_from_a_server_that_ignores_it_is_refused(server, monkeypatch):
    monkeypatch.setattr('loopback.answers', lambda *args: ['something'])
    with pytest.raises(CallError, match='ignores structured_outputs'): model(server).pick(WAVE, DIRECT, ['yes'])

@pytest.mark.parametrize('thought', [(), ('<think>', 'sad?', '</think>', '\n')])
def test_a_reply_says_where_its_tokens_end(server, thought):
    said = [b'Ans', b'wer:', b' n', b'\xc3', b'\xa9', b'<|im_end|>']  # a character in two tokens, an end token
    steps = [dict(token='?', bytes=[*o], logprob=-float(i)) for i, o in enumerate([*(t.encode() for t in thought), *said])]
    made = dict(choices=[dict(message=dict(content='Answer: né'), finish_reason='stop', logprobs=dict(content=steps))])
    reply, = model(server).replies(made, 1.)
    assert reply.token_ends==[3, 7, 9, 10, 11, 11] and reply.token_logprobs==[-float(i+len(thought)) for i in range(6)]
    made['choices'][0]['message']['content'] = 'Something else'
    assert model(server).replies(made, 1.)[0].token_ends is None

def test_how_sure_it_was_is_asked_for_on_demand(server, tmp_path):
    plain = model(server).greedy(WAVE, DIRECT)
    assert 'top_logprobs' not in server.asked[-1][1] and np.isnan(plain.confidence)
    alm = model(server, confidence=True)
    for o in [alm.greedy(WAVE, DIRECT), *alm.sample(WAVE, DIRECT, 4, seed=1)]:
        assert server.asked[-1][1]['top_logprobs']==6
        steps = [sorted([p, *(-.25*(i+1) for i in range(5))], reverse=True)[:5] for p in o.token_logprobs]
        assert o.confidence==pytest.approx(-np.mean(steps))
    sampled(alm, Store(tmp_path))
    rows = Store(tmp_path).read(CANDIDATES)
    assert rows.confidence.notna().all() and rows.confidence.nunique()>1

@pytest.mark.parametrize('lacks', [('top_logprobs',), ('logprobs',)], ids=','.join)
def test_a_server_that_does_not_tell_how_sure_it_was(lacks, server, tmp_path):
    server.lacks = lacks
    sampled(model(server, confidence=True), Store(tmp_path))
    rows = Store(tmp_path).read(CANDIDATES)
    assert len(rows)==48 and set(rows.error)=={''} and rows.confidence.isna().all()
    assert rows.downgrades.str.contains('top_logprobs refused').all()
    assert rows.sum_logprob.isna().all()==('logprobs' in lacks)

@pytest.mark.parametrize('lacks', [('n',), ('logprobs',), ('seed',), ('n', 'logprobs', 'seed')], ids=','.join)
def test_what_is_refused_is_recorded(lacks, server, tmp_path):
    server.lacks = lacks
    sampled(model(server), Store(tmp_path))
    rows = Store(tmp_path).read(CANDIDATES)
    assert len(rows)==48 and set(rows.error)=={''}
    assert all(set(o.split('; '))=={f'{p} refused' for p in lacks} for o in rows.downgrades)
    assert rows.sum_logprob.isna().all()==('logprobs' in lacks)
    refused = len(lacks)                                 # each is learnt once
    assert len(server.asked)==refused+(48 if 'n' in lacks else 3)

def test_samples_without_n_differ_and_are_paid_for_each(server):
    server.lacks = ('n',)
    replies = model(server).sample(WAVE, DIRECT, 16, seed=1)
    sent = [o['seed'] for _, o in server.asked[1:]]
    assert len(set(sent))==16 and len({o.text for o in replies})>1
    once = replies[1].usage['prompt_tokens']
    assert replies[0].usage['prompt_tokens']==16*once

def test_a_known_lack_costs_no_request(server):
    model(server, without=('n',)).sample(WAVE, DIRECT, 3, seed=1)
    assert len(server.asked)==3 and not any('n' in o for _, o in server.asked)

def test_the_name_that_answered_is_kept(server):
    server.serves = 'another-model'
    reply = model(server).greedy(WAVE, DIRECT)
    assert (reply.served, reply.downgrades)==('another-model', 'answered by another-model')
    server.serves = 'demo-2026-01-31'
    reply = model(server).greedy(WAVE, DIRECT)
    assert (reply.served, reply.downgrades)==('demo-2026-01-31', '')

def test_money_is_counted_and_limited(server, tmp_path):
    prices = {'demo': dict(text_in=1., audio_in=2., text_out=3.)}
    alm = model(server, names=prices)
    read, written = 30+len(DIRECT.text), 0
    sampled(alm, Store(tmp_path), limits=Limits(usd=1))
    rows = Store(tmp_path).read(CANDIDATES)
    written = sum(len(o)+1 for o in rows.text)
    assert rows.cost_measured.sum()==pytest.approx((3*((read-30)*1+30*2)+3*written)/1e6)
    with pytest.raises(InputError, match='has no price'): sampled(model(server), Store(tmp_path), limits=Limits(usd=1))

def test_usage_may_be_missing(server):
    server.always = 'no usage'
    assert model(server).greedy(WAVE, DIRECT).usage=={}

def test_no_tokens_of_audio_mean_deafness_only_where_the_server_counts_them(server, tmp_path):
    alm, server.always = model(server), 'unheard'
    assert alm.greedy(WAVE, DIRECT).usage['audio_tokens'] is None            # it may count none ever
    server.always = None
    assert alm.greedy(WAVE, DIRECT).usage['audio_tokens']==30
    server.always = 'unheard'
    requests = len(server.asked)
    sampled(alm, Store(tmp_path))
    assert set(Store(tmp_path).read(CANDIDATES).error)=={'unheard'} and len(server.asked)==requests+len(CLIPS)

def test_audio_goes_over_as_it_is(server):
    model(server).greedy(WAVE, DIRECT)
    sent = server.asked[-1][1]['messages'][0]['content'][0]['input_audio']
    got, rate = soundfile.read(io.BytesIO(base64.b64decode(sent['data'])), dtype='float32')
    assert rate==16_000 and np.abs(got-WAVE).max()<1/32767 and sent['format']=='wav'
    loud = np.array([1., -1., 0.]*2000, np.float32)
    assert np.abs(soundfile.read(io.BytesIO(wav_of(loud)))[0]-loud).max()<1e-4
    every = (np.arange(-2**15, 2**15)/2**15).astype(np.float32)         # what a file of 16 bits can hold
    assert (soundfile.read(io.BytesIO(wav_of(every)), dtype='float32')[0]==every).all()

@pytest.mark.parametrize('wave', [WAVE[:100], WAVE*np.nan, WAVE*9, WAVE.astype(float), np.tile(WAVE, 150)])
def test_what_cannot_be_heard_is_not_sent(wave, server):
    with pytest.raises(InputError): model(server).greedy(wave, DIRECT)
    assert not server.asked

def test_the_name_of_a_call_never_leaves(server):
    model(server).sample(WAVE, DIRECT, 2, seed=1)
    assert not any('ambiscale' in k.lower() for o in server.headers for k in o)

# P11: secrets

def forms_of(secret):
    "A key as it may be written, by other means than those under test."
    raw = secret.encode()
    yield from (secret, quote(secret, safe=''), quote(secret), json.dumps(secret)[1:-1], raw.hex(),
                quote(secret, safe='').lower(), ''.join(f'%{o:02X}' for o in raw))
    for before in (b'', b'u', b'us', b'user:', b'Bearer '):
        for code in (base64.b64encode, base64.urlsafe_b64encode):
            yield code(before+raw+b'\n').decode()

def middle(text): return text[len(text)//3:2*len(text)//3]

def test_no_form_of_a_key_survives():
    clean = cleaner([KEY])
    for o in forms_of(KEY):
        assert middle(o) not in clean(f'<{o}>') and '[redacted]' in clean(f'<{o}>'), o
    assert clean(KEY[:-1])==KEY[:-1]                     # part of a key is not the key

def test_no_key_in_anything_that_is_written(server, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv('SENTINEL_KEY', KEY)
    server.key = KEY
    tape = Tape(tmp_path/'tape')
    alm = model(server, key='SENTINEL_KEY', tape=tape)
    sampled(alm, Store(tmp_path/'store'))                # the key is right and is used
    assert all(f'Bearer {KEY}' in o.values() for o in server.headers)
    server.key = 'another'                               # it is wrong, and the server says it back
    with pytest.raises(CallError) as e: sampled(alm, Store(tmp_path/'store'), draw=Draw(seed=1))
    spoken = [*forms_of(KEY)]
    for o in spoken:                                     # the server says it back in every form
        monkeypatch.setitem(__import__('loopback').REFUSALS, 'echo', (400, f'you sent {o} !', {}, {}))
        server.faults = ['echo']
        with pytest.raises(CallError) as other: alm.greedy(WAVE, COT)
        assert '[redacted]' in str(other.value)
    (tmp_path/'log.txt').write_text(caplog.text+''.join(traceback.format_exception(e.value))+repr(alm.__dict__))
    alm.close()
    written = {o: o.read_bytes() for o in tmp_path.rglob('*') if o.is_file()}
    assert len(written)>=3 and b'[redacted]' in b''.join(written.values())
    for path, data in written.items():
        for o in spoken: assert middle(o).encode() not in data, (path.name, o)
        assert KEY.encode() not in data.replace(b'\\\\', b'\\').replace(b'\\"', b'"')

def test_a_key_is_named_never_given(server, monkeypatch):
    with pytest.raises(InputError) as e: model(server, key='sk-secret-value-123')
    assert 'secret-value' not in str(e.value)
    with pytest.raises(InputError, match='NO_SUCH_KEY is not set'): model(server, key='NO_SUCH_KEY')
    monkeypatch.setenv('SHORT_KEY', 'abc')
    with pytest.raises(InputError, match='3 characters'): model(server, key='SHORT_KEY')
    with pytest.raises(InputError) as e: EndpointALM('demo', 'vllm', 'http://u:hunter22@127.0.0.1/v1')
    assert 'hunter22' not in str(e.value)

# Options of registered models

@pytest.mark.parametrize(('name', 'options', 'said'), [
    ('ultravox-v0.4', dict(base_url='http://127.0.0.1/v1'), "Did you mean 'base_urls'"),
    ('gpt-audio-1.5', dict(model='gpt-5'), "Unknown option of gpt-audio-1.5 'model'"),
    ('gpt-audio-1.5', dict(key='sk-secret-value-123'), 'is not repeated here'),
    ('gpt-audio-1.5', dict(key='AKIASECRETVALUE123'), 'is not repeated here'),
    ('gpt-audio-1.5', dict(base_urls=['https://u:secret-value@h/v1']), 'password or a query'),
    ('gpt-audio-1.5', dict(base_urls='https://h/v1?key=secret-value'), 'password or a query'),
    ('gemini-3.8-flash', dict(temperature=1), 'Unknown option of gemini-3.8-flash'),
    ('vllm', dict(profile='openai'), "Unknown option of vllm 'profile'")])
def test_options_are_checked_before_anything_is_loaded(name, options, said, server):
    with pytest.raises(InputError, match=said) as e: check_options(name, options)
    assert 'secret-value' not in str(e.value) and 'SECRETVALUE' not in str(e.value)

@pytest.mark.parametrize(('options', 'said'), [
    (dict(retry={'trys': 3}), "Did you mean 'tries'"), (dict(without=['nn']), "Unknown parameter to do without"),
    (dict(ceiling=0), 'ceiling must be 1 or more'), (dict(seconds=-1), 'seconds over 0'),
    (dict(record='a', replay='b'), 'Either record, or replay'), (dict(tape='here'), 'as `record` or as `replay`'),
    (dict(replay='nowhere'), 'No recordings in nowhere'), (dict(names={'demo': {'price': 1}}), 'field of demo'),
    (dict(base_urls=[]), 'Which model')])
def test_wrong_options_name_what_is_wrong(options, said, tmp_path, monkeypatch):
    monkeypatch.setattr('ambiscale_nb.models.contract.RESULTS', tmp_path)
    model = {} if said=='Which model' else dict(model='demo')
    with pytest.raises(InputError, match=said): load_model('vllm', **model, **options)

def test_options_as_a_study_writes_them(server, tmp_path, monkeypatch):
    monkeypatch.setattr('ambiscale_nb.models.contract.RESULTS', tmp_path)
    options = dict(model='demo', base_urls=[server.url], end=END, record='study/tape', revision='abc', name='mine',
                   retry={'tries': 2}, ceiling=4, seconds=5, without=['seed'], names={'demo': {'text_in': 1}})
    alm = load_model('vllm', **options)
    assert (alm.name, alm.revision, alm.model, alm.ahead)==('mine', 'abc', 'demo', 4)
    live = alm.greedy(WAVE, DIRECT)
    alm.close()
    assert live.downgrades=='seed refused' and list((tmp_path/'study'/'tape').glob('*.jsonl'))
    again = load_model('vllm', **{k: v for k, v in options.items() if k!='record'}, replay='study/tape')
    assert again.greedy(WAVE, DIRECT)==live and len(server.asked)==1

# Recordings

def same_but_for_scores(one, two):
    "Whether two stores agree in everything; how long scores took is measured outside the model."
    for table in (CANDIDATES, VERDICTS):
        a, b = (Store(o).read(table) for o in (one, two))
        timed = a.decode!='score' if 'decode' in a else a.key==''
        assert len(a) and timed.sum() in (0, len(a)-3*len(LABELS))
        pd.testing.assert_frame_equal(a.assign(latency_measured=a.latency_measured.where(timed)),
                                      b.assign(latency_measured=b.latency_measured.where(timed)))

@pytest.mark.parametrize('lacks', [(), ('n',), ('n', 'logprobs')], ids=['all', 'no n', 'no n, no logprobs'])
def test_a_study_replays_byte_for_byte(lacks, server, tmp_path):
    server.lacks, draw = lacks, Draw(n=20, widths=(3,), score=LABELS)
    if lacks: draw = Draw(n=20)
    def study(alm, folder):
        sampled(alm, Store(folder), draw=draw)
        if not lacks: verify_pool(alm, CLIPS, wave_of, LABELS, Store(folder), progress=False)
        alm.close()
        return files(folder)
    server.faults = ['500', None, 'truncated JSON', None, '429']
    first = study(model(server, tape=Tape(tmp_path/'tape')), tmp_path/'live')
    requests, time = len(server.asked), Time()
    again = study(model(server, time, tape=Tape(tmp_path/'tape', 'replay')), tmp_path/'replayed')
    if lacks: assert again==first and len(first)==1
    else: same_but_for_scores(tmp_path/'live', tmp_path/'replayed')
    assert len(server.asked)==requests and not time.slept
    rows = Store(tmp_path/'live').read(CANDIDATES)
    assert (rows.error=='').all() and rows.latency_measured.gt(0).any()

def test_a_replay_is_the_same_whatever_the_order(server, tmp_path):
    server.lacks = ('n', 'logprobs')
    tape = Tape(tmp_path/'tape')
    first = [model(server, tape=tape).sample(wave_of(o), DIRECT, 3, seed=2) for o in 'abc']   # each learns anew
    alm = model(server, tape=tape)
    alm.greedy(WAVE, DIRECT); first += [alm.sample(wave_of(o), COT, 3, seed=2) for o in 'abc']
    tape.close()
    alm = model(server, tape=Tape(tape.folder, 'replay'))
    late = [alm.sample(wave_of(o), COT, 3, seed=2) for o in 'cba'][::-1]
    assert [alm.sample(wave_of(o), DIRECT, 3, seed=2) for o in 'abc']+late==first

def test_failures_replay_as_failures(server, tmp_path):
    server.faults = ['timeout']*3+['500']*3+['bad_request']
    tape = Tape(tmp_path/'tape')
    alm = model(server, tape=tape, seconds=.2)
    def wave(uid):
        if uid!='a':  # only the first call is in a hurry
            until(lambda: len(server.asked)>=3)
            for o in alm.wires.values(): o.seconds = PATIENCE
        return wave_of(uid)
    sample_pool(alm, CLIPS, wave, [DIRECT], Draw(greedy=False), Store(tmp_path/'live'), progress=False)
    tape.close()
    sampled(model(server, tape=Tape(tape.folder, 'replay')), Store(tmp_path/'replayed'))
    assert files(tmp_path/'live')==files(tmp_path/'replayed')
    assert Store(tmp_path/'live').read(CANDIDATES).groupby('uid').error.first().tolist()==[
        'timeout', 'server', 'bad_request']

def test_an_unrecorded_request_ends_the_run_clearly(server, tmp_path):
    tape = Tape(tmp_path/'tape')
    model(server, tape=tape).sample(WAVE, DIRECT, 4, seed=1)
    tape.close()
    alm = model(server, tape=Tape(tape.folder, 'replay'))
    for ask in (lambda: alm.sample(WAVE, DIRECT, 5, seed=1), lambda: alm.sample(WAVE, DIRECT, 4, seed=2),
                lambda: alm.sample(WAVE, COT, 4, seed=1), lambda: alm.sample(WAVE*.5, DIRECT, 4, seed=1),
                lambda: alm.sample(WAVE, DIRECT, 4, seed=1, temperature=.5), lambda: alm.greedy(WAVE, DIRECT)):
        with pytest.raises(Unrecorded, match='Not in the recordings tape: /chat/completions') as e: ask()
        assert e.value.fatal
    assert len(server.asked)==1

def test_a_replay_needs_no_key_and_no_server(server, tmp_path, monkeypatch):
    monkeypatch.setenv('SOME_KEY', KEY)
    tape = Tape(tmp_path/'tape')
    live = model(server, key='SOME_KEY', tape=tape).greedy(WAVE, DIRECT)
    tape.close(); monkeypatch.delenv('SOME_KEY')
    alm = EndpointALM('demo', 'vllm', 'https://elsewhere.example/other/v1', key='SOME_KEY',
                      tape=Tape(tape.folder, 'replay'))
    assert alm.greedy(WAVE, DIRECT)==live

def test_recordings_hold_no_audio(server, tmp_path):
    tape = Tape(tmp_path/'tape')
    model(server, tape=tape).greedy(WAVE, DIRECT); tape.close()
    line = json.loads(next(tape.folder.iterdir()).read_text())
    assert line['request']['messages'][0]['content'][0]['input_audio']['data'].startswith('blake2b:')
    assert {'key', 'path', 'call', 'request', 'status', 'headers', 'response', 'seconds', 'at'}==set(line)

def test_many_threads_and_processes_share_a_tape(tmp_path):
    tapes = [Tape(tmp_path/'tape') for _ in 'ab']
    keys = [f'{i:032x}' for i in range(200)]
    list(in_flight(lambda i: tapes[i%2].keep(keys[i], text='x'*i, i=i), range(200), 8))
    for o in tapes: o.close()
    with open(sorted(tapes[0].folder.iterdir())[0], 'ab') as f: f.write(b'{"key": "'+b'f'*32+b'", "i"')
    replay = Tape(tmp_path/'tape', 'replay')
    assert [replay.find(o)['i'] for o in keys]==list(range(200)) and len(places(tmp_path/'tape'))==200

def test_nothing_is_written_behind_half_a_line(tmp_path, monkeypatch):
    tape, keys, write = Tape(tmp_path/'tape'), [o*32 for o in 'ab'], os.write
    with monkeypatch.context() as m:
        m.setattr('ambiscale_nb.models.contract.os.write', lambda fd, line: write(fd, line[:50])) # the disk is full
        with pytest.raises(OSError, match='Disk full'): tape.keep(keys[0], i=0)
    tape.keep(keys[1], i=1); tape.close()                                              # and has room again
    replay = Tape(tmp_path/'tape', 'replay')
    assert replay.find(keys[1])['i']==1
    with pytest.raises(Unrecorded): replay.find(keys[0])

# Names that have died

def test_a_retired_name_sends_nothing(server):
    with pytest.raises(Retired, match='gpt-4o-audio-preview was shut down on 2026-05-07.*choose gpt-audio-1.5'):
        EndpointALM('gpt-4o-audio-preview', 'openai', server.url, key='')
    with pytest.raises(Retired): load_model('gpt-4o-audio', base_urls=server.url, key='')
    assert not server.asked and Retired.fatal and Retired.kind=='retired'

def test_a_retired_name_replays(server, tmp_path):
    tape, alive = Tape(tmp_path/'tape'), {'gpt-4o-audio-preview': {'status': 'live'}}
    live = load_model('gpt-4o-audio', base_urls=server.url, key='', names=alive, tape=tape).greedy(WAVE, DIRECT)
    tape.close()
    assert load_model('gpt-4o-audio', tape=Tape(tape.folder, 'replay')).greedy(WAVE, DIRECT)==live
    assert live.served=='gpt-4o-audio-preview'

def test_names_may_come_from_a_file(server, tmp_path):
    (tmp_path/'names.yaml').write_text('gpt-audio-1.5: {status: retired, successor: gpt-audio-2, since: 2027-01-20}\n')
    with pytest.raises(Retired, match='on 2027-01-20.*choose gpt-audio-2'):
        EndpointALM('gpt-audio-1.5', 'openai', server.url, key='', names=tmp_path/'names.yaml')
    (tmp_path/'names.yaml').write_text('m: 3\n')
    with pytest.raises(InputError, match='names.m: found 3, wanted fields'):
        EndpointALM('gpt-audio-1.5', 'openai', server.url, key='', names=tmp_path/'names.yaml')

def test_the_study_is_registered():
    assert {'gpt-4o-audio', 'ultravox-v0.3', 'ultravox-v0.4'}<={o.name for o in ENDPOINTS}
    status = next(o.status for o in ENDPOINTS if o.name=='gpt-4o-audio')
    assert status.startswith('retired 2026-05-07: take gpt-audio-1.5')
    alm = load_model('ultravox-v0.4')
    assert alm.model=='fixie-ai/ultravox-v0_4' and alm.capabilities.label_scoring and not alm.priced

# Whole studies, from clips to scores

STUDIES = {'ultravox-v0.4': 'score', 'gpt-audio-1.5': 'text', 'gemini-3.8-flash': 'text'}   # -> how it judges

@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
    "Ten clips with votes, and their sound."
    utterances, ratings = load_corpus('toyspeech', str(tmp_path_factory.mktemp('toyspeech')), n=10)
    return probe(utterances)[0], ratings, wave_reader(utterances)

def run_study(name, corpus, root, **options):
    "Sample, verify, write what the notebook writes, and score."
    (clips, ratings, wave_of), labels = corpus, label_set('six').labels
    study, prompts, judge = Study(name), [prompt('label', o, labels) for o in STYLES], Judge(STUDIES[name])
    alm = load_model(name, key='', retry={'tries': 3, 'first': .001}, **options)
    draw = Draw(n=4, widths=(3,), score=labels)
    reports = [sample_pool(alm, clips, wave_of, prompts, draw, study.store, progress=False),
               verify_pool(alm, clips, wave_of, labels, study.store, judge, progress=False)]
    alm.close()
    study.write(plan_pool(alm, clips, prompts, draw), 'plans', 'run')
    study.write(plan_verdicts(alm, clips, labels, judge), 'verdict_plans', 'run')
    study.write(clips, 'utterances', 'toyspeech'); study.write(ratings, 'ratings', 'toyspeech')
    run = dict(model=alm.name, revision=alm.revision, corpus='toyspeech', condition='none', label_set='six',
               convention='rater', has_ratings=True, verified=True)
    (root/name/'plans'/'run.json').write_text(json.dumps(run))
    score_study(study, (1, 4), progress=False)
    return study, reports

def table_of(study, table): return study.store.read(table).drop(columns=['latency_measured'])

@pytest.mark.parametrize('name', STUDIES)
def test_a_study_from_clips_to_scores_and_again_offline(name, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr('ambiscale_nb.models.contract.RESULTS', tmp_path)             # recordings are kept there
    monkeypatch.setattr('ambiscale_nb.study.results.RESULTS', tmp_path/'live')
    with Loopback(lacks=('n',) if name=='gpt-audio-1.5' else ()) as server:
        server.faults = ['429', None, '500', None, 'truncated JSON', 'reset']
        url = server.gemini if 'gemini' in name else server.url
        live, reports = run_study(name, corpus, tmp_path/'live', base_urls=url, record='tape')
    assert all(o.made==o.planned and not o.failed for o in reports)
    monkeypatch.setattr('ambiscale_nb.study.results.RESULTS', tmp_path/'offline')
    offline, again = run_study(name, corpus, tmp_path/'offline', replay='tape')           # no server any more
    assert [o.made for o in again]==[o.made for o in reports]
    for table in (CANDIDATES, VERDICTS):
        pd.testing.assert_frame_equal(table_of(live, table), table_of(offline, table))
    for table in ('scores', 'predictions', 'marginals', 'refusals'):
        pd.testing.assert_frame_equal(live.read(table), offline.read(table))
    rows, scores = live.store.read(CANDIDATES), live.read('scores')
    assert set(rows.model)=={name} and set(rows.error)=={''} and scores.value.notna().any()
    assert set(rows.decode)==({'greedy', 'sample', 'beam', 'score'} if name=='ultravox-v0.4' else {'greedy', 'sample'})
    assert set(scores.strategy)>={'greedy', 'majority', 'bon', 'alm_v'}
    assert (rows.cost_measured.sum()>0)==(name=='gpt-audio-1.5')     # nobody sells Ultravox; Gemini's price is unknown
    served = {'ultravox-v0.4': 'fixie-ai/ultravox-v0_4'}.get(name, name)
    assert set(rows.revision)=={served} and name in MODELS
    if name=='gpt-audio-1.5': assert rows[rows.decode.eq('sample')].downgrades.eq('n refused').all()

# Many at once

def test_many_in_flight_within_the_limit_of_a_server():
    with Loopback(most=6) as server:
        server.pause = lambda: (until(lambda: server.refused), time.sleep(.02))  # answers come once the server was full
        alm = EndpointALM('demo', 'vllm', server.url, ceiling=16, retry=Retry(tries=6, first=.05), seconds=PATIENCE)
        gate = next(iter(alm.gates.values()))
        gate.wait = np.inf  # it never asks for more again, however slow this machine is
        seeds = range(150)
        found = list(in_flight(lambda i: (i, alm.sample(WAVE, DIRECT, 1, seed=i)[0].text), seeds, alm.ahead))
        alm.close()
        assert len(found)==150 and server.served==150 and server.peak==6
        assert server.refused<=15, server.refused         # it learns, rather than storms
        assert 4<=gate.edge<=7

def test_many_in_flight_give_the_same_answers(server):
    alm = model(server)
    def one(i): return i, alm.sample(WAVE, DIRECT, 2, seed=i)[1].text
    assert sorted(in_flight(one, range(40), 8))==list(in_flight(one, range(40), 1))

def test_copies_of_a_server_share_the_work():
    with Loopback() as one, Loopback() as two, ThreadPoolExecutor(8) as pool:
        alm, go, calls = EndpointALM('demo', 'vllm', [one.url, two.url], ceiling=4, seconds=PATIENCE), threading.Event(), []
        one.pause = two.pause = go.wait
        assert alm.ahead==8
        for i in range(alm.ahead):
            calls.append(pool.submit(alm.greedy, WAVE, DIRECT))
            until(lambda i=i: len(one.asked)+len(two.asked)>i)
        shares = len(one.asked), len(two.asked)
        go.set()
        assert shares==(4, 4) and all(o.result().text in WORDS for o in calls)
        alm.close()

def test_a_dead_copy_is_passed_over(server, tmp_path):
    with Loopback() as gone: pass
    time, tape = Time(), Tape(tmp_path/'tape')
    alm = EndpointALM('demo', 'vllm', [gone.url, server.url], tape=tape, **time.options)
    found = [alm.greedy(wave_of(o), DIRECT).text for o in 'abc']
    assert len(server.asked)==3 and len(time.slept)<=3
    alm.close()
    replay = EndpointALM('demo', 'vllm', gone.url, tape=Tape(tape.folder, 'replay'))
    assert [replay.greedy(wave_of(o), DIRECT).text for o in 'abc']==found

@pytest.fixture
def failed(monkeypatch):
    "An event that is set once the error of a task is known to the thread that begins tasks."
    known = threading.Event()
    class Told(SimpleQueue):
        def put(self, task): super().put(task); task.exception() and known.set()
    monkeypatch.setattr('ambiscale_nb.models.contract.SimpleQueue', Told)
    return known

def test_after_an_error_nothing_is_begun_and_all_is_kept(failed):
    begun, kept = [], []
    def work(i):
        begun.append(i)
        if i==2: raise CallError('auth', 'wrong key')
        failed.wait()
        return i
    with pytest.raises(CallError, match='wrong key'): kept.extend(in_flight(work, range(99), 6))
    assert sorted(begun)==[0, 1, 2, 3, 4, 5] and sorted(kept)==[0, 1, 3, 4, 5]

def test_a_gate_halves_at_most_and_recovers():
    clock = Time()
    gate = Gate(ceiling=32, limit=32., clock=clock.clock, sleep=clock.sleep)
    for _ in range(32): gate.enter()
    for _ in range(32): gate.leave('rate_limit', None)          # a limit on the rate: all are refused
    assert gate.edge==16 and gate.flying==0
    for _ in range(40):
        clock.now += 5
        gate.enter(); gate.leave('')
    assert gate.edge>=32                                          # calm for minutes: all is allowed again

def test_a_storm_with_word_on_when_to_come_back_stops_everybody():
    clock = Time()
    gate = Gate(clock=clock.clock, sleep=clock.sleep)
    for _ in range(2): gate.enter()
    for _ in range(2): gate.leave('rate_limit', 30.)
    gate.enter()
    assert clock.slept==[30.]

def test_logprobs_of_the_server_depend_on_everything():
    "The checks above would mean little if they did not."
    base = logprobs('s', 'q', [1, 2])
    assert len({*base, *logprobs('t', 'q', [1, 2]), *logprobs('s', 'r', [1, 2]), *logprobs('s', 'q', [3, 2])})==8
