"""What is each server's own, beyond `test_endpoint`: what is sent (a system prompt, settings of sampling, as many answers as
are asked for, another seed after a server error); Gemini's blocks, thoughts and chunks; the ways of llama.cpp's server, as
`benchmarks/llamacpp.py` recorded them (a grammar scores, slots limit answers); what a person reads of the messages."""
import numpy as np
import pytest
import loopback
from loopback import DIRECT, WAVE, WORDS, Loopback, client, ids_of, logprobs, name_of, total, wave_of
from test_endpoint import CLIPS, SAID, model, sampled
from ambiscale_nb.study import plans
from ambiscale_nb.core import InputError
from ambiscale_nb.models.endpoint import PROFILES
from ambiscale_nb.models.contract import CallError, load_model
from ambiscale_nb.models.parser import parse
from ambiscale_nb.models.serving import CUT
from ambiscale_nb.models.transport import Recorder
from ambiscale_nb.sampling.estimate import stand_in
from ambiscale_nb.sampling.files import CANDIDATES, Store
from ambiscale_nb.sampling.store import Draw, most_said, sample_pool
from ambiscale_nb.sampling.verify import VERDICTS, Judge, verify_pool

NAMES = {'vllm': 'demo', 'openai': 'gpt-audio-1.5', 'llamacpp': 'demo', 'gemini': 'gemini-3.8-flash'}
KINDS = pytest.mark.parametrize('kind', NAMES)
SYSTEM = 'You listen closely.'

def served(server, kind, **more):
    own = {} if kind=='gemini' else dict(end=None)
    return client(kind, server, **dict(model=NAMES[kind])|own|more)

def said_by(request, kind):  # The system prompt and the seed of a request
    if kind=='gemini':
        told = request.get('systemInstruction') or request.get('system_instruction') or {}
        return ''.join(o['text'] for o in told.get('parts', ())), request['generationConfig'].get('seed')
    return ''.join(o['content'] for o in request['messages'] if o['role']=='system'), request.get('seed')

# What is sent
@KINDS
def test_a_system_prompt_is_sent_and_makes_another_pool(kind, server):
    plain, told = served(server, kind), served(server, kind, system=SYSTEM)
    for o in (plain, told): o.greedy(WAVE, DIRECT)
    assert [said_by(o, kind)[0] for _, o in server.asked]==['', SYSTEM]
    assert plain.revision==NAMES[kind] and told.revision.startswith(f'{NAMES[kind]}+')
    assert told.revision!=served(server, kind, system=SYSTEM+' Twice.').revision
    with pytest.raises(InputError, match='system must be text'): served(server, kind, system=['x'])

@pytest.mark.parametrize(('name', 'more'), [('gpt-audio-1.5', dict(system=SYSTEM)), ('gemini-3.8-flash', dict(system=SYSTEM)),
    ('gpt-audio-1.5', dict(extra_body=dict(reasoning_effort='low'))), ('ultravox-v0.4', {}),
    ('gemini-3.8-flash', dict(config=dict(thinking_config=dict(thinking_budget=0)), system=SYSTEM))])
def test_an_estimate_knows_the_pool_that_will_be_asked(name, more):
    assert stand_in(name, key='', **more).revision==load_model(name, key='', **more).revision

def test_scores_and_beams_have_the_system_prompt_too(server):
    alm = served(server, 'vllm', system=SYSTEM, end='<|eot_id|>')
    alm.score(WAVE, DIRECT, ['sad'])
    alm.beams(WAVE, DIRECT, 3)
    assert len(server.asked)==3 and {said_by(o, 'vllm')[0] for _, o in server.asked}=={SYSTEM}

WANTED = {'vllm': dict(n=4, top_p=1, top_k=-1, min_p=0, repetition_penalty=1), 'openai': dict(n=4, top_p=1),
    'llamacpp': dict(n=4, top_p=1, top_k=0, min_p=0, typical_p=1, repeat_penalty=1, cache_prompt=False),
    'gemini': dict(candidateCount=4, topP=1, maxOutputTokens=DIRECT.max_new_tokens, responseLogprobs=True)}

@KINDS
def test_each_profile_sends_the_settings_that_it_means(kind, server):
    "A server's own defaults (llama.cpp: top_k 40, min_p .05) would cut samples without a word."
    served(server, kind).sample(WAVE, DIRECT, 4, 1, .8)
    path, request = server.asked[0]
    sent = request['generationConfig'] if kind=='gemini' else request
    assert {k: sent.get(k) for k in WANTED[kind]}==WANTED[kind] and sent['temperature']==.8
    assert path.endswith('/models/gemini-3.8-flash:generateContent') if kind=='gemini' else (
        PROFILES[kind].request.items()<=sent.items())
    assert not any('ambiscale' in k.lower() for o in server.headers for k in o)       # the name of a call never leaves

@pytest.mark.parametrize(('n', 'asked'), [(1, [1]), (4, [4]), (16, [16]), (20, [16, 4]), (32, [16, 16])])
def test_no_more_answers_are_asked_for_than_wanted(n, asked, server, tmp_path):
    alm = served(server, 'openai')
    sample_pool(alm, CLIPS[:1], wave_of, [DIRECT], Draw(n, greedy=False), Store(tmp_path), progress=False)
    assert sorted((o.get('n', 1) for _, o in server.asked), reverse=True)==asked
    assert len(Store(tmp_path).read(CANDIDATES))==n

@KINDS
def test_the_seed_changes_after_a_server_error_and_only_then(kind):
    def seeds(faults):
        with Loopback() as server:
            server.faults = [*faults]
            replies = served(server, kind).sample(WAVE, DIRECT, 4, 7, 1.)
            return [said_by(o, kind)[1] for _, o in server.asked], replies[0].downgrades
    first, _ = seeds([])
    assert seeds(['429', '503', 'reset'])==([*first]*4, '')  # nothing was generated yet
    found, notes = seeds(['500', '500'])
    assert found[0]==first[0] and len(set(found))==3 and all(0<=o<2**31 for o in found)
    assert 'seed changed after a server error' in notes
    assert seeds(['500', '500'])[0]==found  # the same again: a resumed run asks the same

# What a person reads
def test_the_most_frequent_messages_are_counted():
    texts = ['503: busy (request req_8f2a77)']*3+['503: busy (request req_77c01b)']*4+['timeout']*2+['a', 'b', 'c']
    assert most_said(texts)=="'503: busy (request req_8f2a77)' (7 times), 'timeout' (2 times), 'a' (1 time), 2 others"
    assert most_said([])==''

def test_what_the_server_said_reaches_the_person(server, tmp_path, monkeypatch):
    monkeypatch.setattr('ambiscale_nb.study.results.RESULTS', tmp_path)
    def ask(**options): return sample_pool(served(server, 'openai', **options), CLIPS, wave_of, [DIRECT], Draw(4),
                                           Store(tmp_path/'mine'), progress=False)
    server.always = '503'
    report = ask(retry=dict(tries=1))
    assert report.failed and "'503: Overloaded' (" in report.rest
    assert plans.failures_text('mine')==(
        f"gpt-audio-1.5: {report.failed} calls failed: '503: Overloaded' ({report.failed} times)")
    server.always = None
    ask()
    assert plans.failures_text('mine')==''  # all were answered since

# Gemini
def test_a_bad_key_is_recognised_by_its_reason(server, monkeypatch):
    fields = {'status': 'INVALID_ARGUMENT', 'details': [{'reason': 'API_KEY_INVALID'}]}
    monkeypatch.setitem(loopback.REFUSALS, 'bad key', (400, 'API key not valid', fields))
    server.always = 'bad key'
    with pytest.raises(CallError, match='API key not valid') as e: client('gemini', server).greedy(WAVE, DIRECT)
    assert e.value.kind=='auth' and e.value.fatal

OUTCOMES = {'prompt blocked': (['safety']*3, 'prompt blocked: SAFETY', 'refusal'),
            'all safety': (['safety']*3, 'blocked: SAFETY', 'refusal'),
            'safety': (['safety', 'stop', 'stop'], 'blocked: SAFETY', 'refusal'),
            'max tokens': (['length', 'stop', 'stop'], f'{CUT} (`config`)', 'truncated')}

@pytest.mark.parametrize('fault', OUTCOMES)
def test_blocks_and_empty_parts_are_named(fault, server):
    server.always, (finish, note, status) = fault, OUTCOMES[fault]
    replies = client('gemini', server).sample(WAVE, DIRECT, 3, seed=1)
    assert [o.finish for o in replies]==finish and replies[0].downgrades==note and replies[0].text==''
    assert parse('', 'label', 'direct', WORDS, finish=replies[0].finish).status==status
    assert len(server.asked)==1

def test_an_unknown_reason_is_passed_on_and_thoughts_are_no_answer(server):
    server.always = 'unknown reason'
    with pytest.warns(UserWarning): reply = client('gemini', server).greedy(WAVE, DIRECT)
    assert reply.finish=='tired' and reply.text in WORDS
    server.always = 'thoughts'
    assert client('gemini', server).greedy(WAVE, DIRECT).text in WORDS

def test_candidates_come_in_chunks(server):
    replies = client('gemini', server).sample(WAVE, DIRECT, 19, seed=1)
    sent = [o['generationConfig'] for _, o in server.asked]
    assert [o.get('candidateCount', 1) for o in sent]==[8, 8, 3] and len(replies)==19
    assert len({o['seed'] for o in sent})==3 and all(0<=o['seed']<2**31 for o in sent)
    assert replies[0].usage['prompt_tokens']==3*replies[1].usage['prompt_tokens']
    assert len({o.text for o in replies})>1

def test_thoughts_are_switched_off_and_logprobs_are_those_of_the_tokens(server):
    reply = client('gemini', server, config=dict(thinking_config=dict(thinking_budget=0))).greedy(WAVE, DIRECT)
    ask, ids = server.asked[0][1], ids_of(reply.text)
    assert list(ask['generationConfig']['thinkingConfig'].values())==[0]
    data = ask['contents'][0]['parts'][0]
    sound = name_of((data.get('inlineData') or data['inline_data'])['data'])
    assert reply.tokens==ids and reply.token_logprobs==pytest.approx(logprobs(sound, DIRECT.text, ids))

# llama.cpp
@pytest.fixture
def slots():
    with Loopback(slots=4) as s: yield s

def llama(slots, **options): return model(slots, 'llamacpp', end=None, **options)
def samples(n): return Draw(n, greedy=False)

def test_an_answer_has_ids_ends_and_its_own_log_probabilities(slots):
    reply = llama(slots).greedy(SAID, DIRECT)
    assert reply.tokens[:-1]==ids_of(reply.text) and reply.token_ends[-1]==len(reply.text)
    assert reply.sum_logprob==pytest.approx(total('', SAID+DIRECT.text, reply.text))
    assert reply.usage['audio_tokens']==0 and reply.usage['output_tokens']==len(reply.text)+1 # Asked in writing
    assert slots.asked[0][1]['top_logprobs']==1

def test_a_grammar_scores_and_restricts_answers(slots):
    alm, odd = llama(slots), ['sad', 'say "no"', 'é']
    assert alm.capabilities.label_scoring and alm.capabilities.verify and not alm.capabilities.beams
    want = [total('', SAID+DIRECT.text, o) for o in odd]
    assert alm.score(SAID, DIRECT, odd)==pytest.approx(want) and len(slots.asked)==3
    assert {o.text for o in alm.pick(SAID, DIRECT, ['yes', 'no'], n=4)}=={'yes', 'no'}
    assert stand_in('llamacpp', model='demo').capabilities.label_scoring
    with pytest.raises(InputError, match='no beams'): alm.beams(WAVE, DIRECT, 2)

def test_a_score_without_a_grammar_or_an_end_is_none(slots, monkeypatch):
    monkeypatch.setattr('loopback.answers', lambda *args: ['happy'])
    with pytest.raises(CallError, match='ignores grammar'): llama(slots).score(SAID, DIRECT, ['sad'])
    monkeypatch.setattr('loopback.Handler.as_llama', lambda self, out, ask: [
        o['logprobs']['content'].pop() for o in out['choices']])
    with pytest.raises(CallError, match='without that of the end'): llama(slots).score(SAID, DIRECT, ['happy'])

def test_it_is_asked_for_as_many_answers_as_it_has_slots(slots, tmp_path):
    recorder = Recorder(tmp_path/'tape')
    _, rows = sampled(llama(slots, recorder=recorder), tmp_path/'live', samples(10))
    assert [o.get('n', 1) for _, o in slots.asked]==[10, 4, 4, 2, *[4, 4, 2]*2]  # learnt once
    assert set(rows.error)=={''} and rows.downgrades.eq('').all() and len(rows)==30
    asked = len(slots.asked)
    again = llama(slots, recorder=Recorder(tmp_path/'tape', 'replay'))
    sample_pool(again, CLIPS[::-1], wave_of, [DIRECT], samples(10), Store(tmp_path/'again'), progress=False)
    assert Store(tmp_path/'again').read(CANDIDATES).sort_values('key').text.tolist()==rows.sort_values('key').text.tolist()
    assert len(slots.asked)==asked  # also where the clip that learnt it comes last

def test_answers_that_it_cannot_read_are_asked_for_one_by_one(slots, tmp_path):
    slots.always = lambda ask: 'peg-native' if ask.get('n', 1)>1 else None
    _, rows = sampled(llama(slots), tmp_path, samples(4))
    assert set(rows.error)=={''} and len(rows)==12 and rows.downgrades.str.contains('n refused').all()
    assert len(slots.asked)==3*(2+4)  # the seed was changed once, then each answer is a call of its own
    slots.always = 'peg-native'
    _, rows = sampled(llama(slots), tmp_path/'never', samples(4))
    assert set(rows.error)=={'bad_format'}

def test_sound_without_a_projector_ends_the_run_and_says_why(slots, tmp_path):
    slots.hears = 0
    with pytest.raises(CallError, match='mmproj') as e: sampled(llama(slots), tmp_path, samples(4))
    assert e.value.fatal and e.value.kind=='no_audio' and len(slots.asked)==1

@pytest.mark.parametrize('how', ['score', 'text'])
def test_it_judges_from_words(how, slots, tmp_path):
    store = Store(tmp_path)
    report = verify_pool(llama(slots), CLIPS, lambda uid: SAID, WORDS, store, Judge(how), progress=False)
    rows = store.read(VERDICTS)
    assert report.failed==0 and set(rows.status)=={'ok'} and len(rows)==len(CLIPS)*len(WORDS)
    assert len(slots.asked)==len(rows)*(2 if how=='score' else 1) and not np.isnan(rows.score).any()
