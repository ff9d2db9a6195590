"""What servers are sent and what they say: a system prompt, the sampling settings of each profile, as many answers as are
asked for, another seed after a server error; and the most frequent messages in `run`, `status` and the notebook."""
import pytest
from loopback import Loopback, client
from test_endpoint import CLIPS, DIRECT, WAVE, wave_of

from ambiscale_nb.study import plans
from ambiscale_nb.core import InputError
from ambiscale_nb.models.endpoint import PROFILES
from ambiscale_nb.sampling.estimate import stand_in
from ambiscale_nb.models.contract import load_model
from ambiscale_nb.sampling.files import CANDIDATES, Store
from ambiscale_nb.sampling.store import Draw, most_said, sample_pool

NAMES = {'vllm': 'demo', 'openai': 'gpt-audio-1.5', 'llamacpp': 'demo', 'gemini': 'gemini-3.8-flash'}
SYSTEM = 'You listen closely.'

def served(server, kind, **more):
    own = {} if kind == 'gemini' else dict(end=None)
    return client(kind, server, **dict(model=NAMES[kind])|own|more)

def said_by(request, kind):
    "The system prompt and the seed of a request."
    if kind == 'gemini':
        told = request.get('systemInstruction') or request.get('system_instruction') or {}
        return ''.join(o['text'] for o in told.get('parts', ())), request['generationConfig'].get('seed')
    return ''.join(o['content'] for o in request['messages'] if o['role'] == 'system'), request.get('seed')

@pytest.mark.parametrize('kind', NAMES)
def test_a_system_prompt_is_sent_and_makes_another_pool(kind):
    with Loopback() as server:
        plain, told = served(server, kind), served(server, kind, system=SYSTEM)
        for o in (plain, told): o.greedy(WAVE, DIRECT)
        assert [said_by(o, kind)[0] for _, o in server.asked] == ['', SYSTEM]
    assert plain.revision == NAMES[kind] and told.revision.startswith(f'{NAMES[kind]}+')
    assert told.revision != served(server, kind, system=SYSTEM+' Twice.').revision
    with pytest.raises(InputError, match='system must be text'): served(server, kind, system=['x'])

@pytest.mark.parametrize(('name', 'more'), [('gpt-audio-1.5', dict(system=SYSTEM)), ('gemini-3.8-flash', dict(system=SYSTEM)),
    ('gpt-audio-1.5', dict(extra_body=dict(reasoning_effort='low'))), ('ultravox-v0.4', {}),
    ('gemini-3.8-flash', dict(config=dict(thinking_config=dict(thinking_budget=0)), system=SYSTEM))])
def test_an_estimate_knows_the_pool_that_will_be_asked(name, more):
    assert stand_in(name, key='', **more).revision == load_model(name, key='', **more).revision

def test_scores_and_beams_have_the_system_prompt_too():
    with Loopback() as server:
        alm = served(server, 'vllm', system=SYSTEM, end='<|eot_id|>')
        alm.score(WAVE, DIRECT, ['sad']); alm.beams(WAVE, DIRECT, 3)
        assert len(server.asked) == 3 and {said_by(o, 'vllm')[0] for _, o in server.asked} == {SYSTEM}

WANTED = {'vllm': dict(top_p=1, top_k=-1, min_p=0, repetition_penalty=1), 'openai': dict(top_p=1),
          'llamacpp': dict(top_p=1, top_k=0, min_p=0, typical_p=1, repeat_penalty=1, cache_prompt=False), 'gemini': dict(topP=1)}

@pytest.mark.parametrize('kind', NAMES)
def test_each_profile_sends_the_settings_that_it_means(kind):
    "A server's own defaults (llama.cpp: top_k 40, min_p .05) would cut samples without a word."
    with Loopback() as server:
        served(server, kind).sample(WAVE, DIRECT, 4, 1, .8)
        request = server.asked[0][1]
    sent = request['generationConfig'] if kind == 'gemini' else request
    assert {k: sent.get(k) for k in WANTED[kind]} == WANTED[kind] and sent['temperature'] == .8
    assert sent['candidateCount' if kind == 'gemini' else 'n'] == 4
    assert kind == 'gemini' or PROFILES[kind].request.items() <= sent.items()

@pytest.mark.parametrize(('n', 'asked'), [(1, [1]), (4, [4]), (16, [16]), (20, [16, 4]), (32, [16, 16])])
def test_no_more_answers_are_asked_for_than_wanted(n, asked, tmp_path):
    with Loopback() as server:
        alm = served(server, 'openai')
        sample_pool(alm, CLIPS[:1], wave_of, [DIRECT], Draw(n, greedy=False), Store(tmp_path), progress=False)
        assert sorted((o.get('n', 1) for _, o in server.asked), reverse=True) == asked
    assert len(Store(tmp_path).read(CANDIDATES)) == n

@pytest.mark.parametrize('kind', NAMES)
def test_the_seed_changes_after_a_server_error_and_only_then(kind):
    def seeds(faults):
        with Loopback() as server:
            server.faults = [*faults]
            replies = served(server, kind).sample(WAVE, DIRECT, 4, 7, 1.)
            return [said_by(o, kind)[1] for _, o in server.asked], replies[0].downgrades
    first, _ = seeds([])
    assert seeds(['429', '503', 'reset']) == ([*first]*4, '')  # nothing was generated yet
    found, notes = seeds(['500', '500'])
    assert found[0] == first[0] and len(set(found)) == 3 and all(0 <= o < 2**31 for o in found)
    assert 'seed changed after a server error' in notes
    assert seeds(['500', '500'])[0] == found  # the same again: a resumed run asks the same

def test_the_most_frequent_messages_are_counted():
    texts = ['503: busy (request req_8f2a77)']*3+['503: busy (request req_77c01b)']*4+['timeout']*2+['a', 'b', 'c']
    assert most_said(texts) == "'503: busy (request req_8f2a77)' (7 times), 'timeout' (2 times), 'a' (1 time), 2 others"
    assert most_said([]) == ''

def test_what_the_server_said_reaches_the_person(tmp_path, monkeypatch):
    monkeypatch.setattr('ambiscale_nb.study.results.RESULTS', tmp_path)
    with Loopback() as server:
        server.always = '503'
        store = Store(tmp_path/'mine')
        report = sample_pool(served(server, 'openai', retry=dict(tries=1)), CLIPS, wave_of, [DIRECT], Draw(4), store,
                             progress=False)
        assert report.failed and "'503: Overloaded' (" in report.rest
        text = plans.failures_text('mine')
        assert text == f"gpt-audio-1.5: {report.failed} calls failed: '503: Overloaded' ({report.failed} times)"
        server.always = None
        sample_pool(served(server, 'openai'), CLIPS, wave_of, [DIRECT], Draw(4), store, progress=False)
    assert plans.failures_text('mine') == ''  # all were answered since
