"""The wrapper of local models: what `test_families` does not ask of every family."""
import inspect
import weakref
from itertools import combinations
from types import SimpleNamespace
import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare, kstest
from test_families import ASK, ENDS, clip, everything, ids, plain_logits
from toy_families import toy
from ambiscale_nb.core import InputError
from ambiscale_nb.models.local import (LocalALM, byte_bpe, clip_bytes, decoded_ends, gumbel, read_prefix,
    repeatable, row_starts)
from ambiscale_nb.models.prompts import Prompt
from ambiscale_nb.strategies.paper import span_logprob

OTHER = Prompt('label', 'cot', 'Describe the voice.', 9)

@pytest.fixture
def alm(): return toy('qwen2-audio')

@pytest.fixture
def ender(): return toy('qwen2-audio', ENDS)

TEXTS = ['très gaie et née à l’été 😀😀 très', 'angry, happy and sad. Answer: angry', '怒り 悲しみ 怒り', ' a  b\n\nc ', 'x'*99]

@pytest.mark.parametrize('vocabulary', [0, 300, 500])
@pytest.mark.parametrize('text', TEXTS)
def test_a_span_has_the_tokens_that_hold_a_byte_of_it(vocabulary, text):
    tok = byte_bpe(TEXTS*9 if vocabulary else (), vocabulary or 640)
    raw = [*tok(text)['input_ids'], tok.eos_token_id]
    size = [len(o) for o in tok.convert_ids_to_tokens(raw)[:-1]]+[0]  # a letter of the alphabet is a byte
    decode = lambda o: tok.decode(o, skip_special_tokens=True)
    found, true = decoded_ends(decode, raw, text), np.cumsum(size)
    assert found[-1]==true[-1] and (vocabulary or found==true.tolist())
    for a, b in combinations(range(len(text)+1), 2):  # a token may hold several bytes of an unfinished character
        assert span_logprob(found, 2.**np.arange(len(raw)), text, (a, b))==span_logprob(
            true, 2.**np.arange(len(raw)), text, (a, b))
    assert decoded_ends(decode, raw, text+'!') is None and decoded_ends(decode, [], '')==[]

def test_replies_say_where_their_tokens_end(alm):
    for o in alm.sample(clip(0), OTHER, 4, 1):
        assert len(o.token_ends)==len(o.token_logprobs) and o.token_ends==sorted(o.token_ends)

class Spy:  # Counts the encoder's rows, and keeps what the processor was given
    def __init__(self, alm):
        self.rows, self.given, real = [], [], alm.processor.apply_chat_template
        tower = alm.model.model.audio_tower
        tower.register_forward_hook(lambda m, args, out: self.rows.append(len(out[0])))
        class Watched:
            tokenizer = alm.processor.tokenizer
            def apply_chat_template(_, *args, **kwargs):
                self.given.append((args, kwargs))
                return real(*args, **kwargs)
        alm.processor = Watched()

def test_confidence_is_that_of_a_forward_pass(ender):
    "Mean -log P of the five likeliest tokens, up to the end; beams change rows on their way."
    replies = [*ender.sample(clip(0), ASK, 6, 3), *ender.beams(clip(0), ASK, 5), ender.greedy(clip(0), ASK)]
    assert len({round(o.confidence, 4) for o in replies})>6 and not any('<|' in o.text for o in replies)
    for o in replies:
        want = -plain_logits(ender, clip(0), o.tokens)[:-1].topk(5).values.mean()
        assert abs(o.confidence-float(want))<1e-4

# --- noise from a hash
def test_draws_have_the_distribution_of_sampling():
    "Chi-square over 10^6 draws; against torch's own; rows, steps and seeds are independent of each other."
    torch.manual_seed(0)
    p = torch.tensor([.4, .25, .2, .1, .04, .01]).double()
    starts = row_starts([3], 10**6, 'cpu')
    one, two = ((p.log()+gumbel(starts, step, 6)).argmax(-1) for step in (0, 1))
    assert chisquare(one.bincount(), (p*10**6).numpy()).pvalue>1e-3
    theirs = torch.multinomial(p, 10**6, replacement=True).bincount()
    assert chi2_contingency(np.stack([one.bincount(), theirs])).pvalue>1e-3
    other = (p.log()+gumbel(row_starts([4], 10**6, 'cpu'), 0, 6)).argmax(-1)
    for x, y in ((one, two), (one[:-1], one[1:]), (one, other)): # steps, rows, seeds
        assert chi2_contingency((x*6+y).bincount(minlength=36).reshape(6, 6)).pvalue>1e-3

def test_noise_is_finite_and_of_its_distribution():
    noise = gumbel(row_starts([1, 2], 500, 'cpu'), 7, 1000)
    assert noise.dtype==torch.float64 and noise.isfinite().all() and noise.flatten().unique().numel()==10**6
    assert kstest(noise.flatten().numpy(), 'gumbel_r').pvalue>1e-3
    assert torch.equal(gumbel(row_starts([2], 500, 'cpu'), 7, 900), noise[500:, :900]) # whatever is beside it

def test_precision_changes_near_ties_alone():
    torch.manual_seed(0)
    logp = torch.randn(20_000, 50).double().log_softmax(-1)
    noise = gumbel(row_starts([1], 20_000, 'cpu'), 0, 50)
    full, half = ((o+noise).topk(2) for o in (logp, logp.float().double()))
    parted = full.indices[:, 0]!=half.indices[:, 0]
    assert parted.sum()<3 and (full.values.diff()[parted].abs()<1e-5).all()

def test_a_sample_depends_on_its_content_alone(alm):
    "On the seed, the sound, the prompt and its place; not on how many are drawn, nor on what is beside it."
    few, many, other = (ids(alm.sample(clip(0), ASK, n, seed)) for n, seed in ((3, 5), (8, 5), (8, 6)))
    assert many[:3]==few and many!=other and len(set(map(tuple, many)))>1
    calls = [(clip(i), ask, 4, 5, 1.) for i in range(3) for ask in (ASK, Prompt('label', 'direct', 'Now?', 5))]
    together = [ids(o) for o in alm.many('sample', calls)]
    assert together==[ids(o) for o in alm.many('sample', calls[::-1])][::-1]==[ids(alm.sample(*o)) for o in calls]
    assert len({str(o) for o in together})==6
    with pytest.raises(InputError, match=r'one number of answers a call, got \[2, 4\]'):
        alm.many('sample', [(clip(0), ASK, n, 5, 1.) for n in (4, 2)])

def test_a_batch_is_as_large_as_the_memory_allows(alm, monkeypatch):
    free = lambda n: monkeypatch.setattr('psutil.virtual_memory', lambda: SimpleNamespace(available=n))
    for n, clips in ((0, 1), (10*clip_bytes(alm.model), 5), (2**60, 16)):
        free(n)
        alm.most = 0
        assert alm.batch==clips
    assert LocalALM(alm.model, alm.processor, 'x', 'y', batch=3).batch==3

def test_the_memo_goes_by_content(alm):  # The same sound in another array is remembered, one changed sample is not
    spy, wave = Spy(alm), clip(0)
    alm.greedy(wave, ASK)
    alm.score(wave.copy(), ASK, ['x'])
    assert spy.rows==[1] # one row through the encoder
    wave[100] += .01
    for ask in (ASK, OTHER): alm.greedy(wave, ask)
    assert spy.rows==[1, 1, 1]

@pytest.mark.parametrize('cards', [1, 4])
def test_random_states_gpus_and_the_callers_array_are_left_alone(alm, monkeypatch, cards):
    "To seed all GPUs would take memory on each; here any touch fails."
    def touched(*args): raise AssertionError('a GPU was touched')
    monkeypatch.setattr('torch.cuda.device_count', lambda: cards)
    for o in ('get_rng_state', 'set_rng_state', 'manual_seed', 'manual_seed_all'):
        monkeypatch.setattr(f'torch.cuda.{o}', touched)
    torch.random.default_generator.manual_seed(3)
    np.random.seed(3)
    before, numpy_before, wave = torch.get_rng_state(), np.random.get_state()[1].copy(), clip(0)
    wave.setflags(write=False)
    everything(alm, 0)
    alm.greedy(wave, ASK)
    np.testing.assert_array_equal(wave, clip(0))
    assert torch.equal(torch.get_rng_state(), before) and (np.random.get_state()[1]==numpy_before).all()

def test_cudnns_attention_is_kept_out_of_every_route(alm):
    "It does not repeat itself on a GPU (benchmarks/gpu.py). What a caller chose is put back, come what may."
    seen = []
    hook = alm.model.register_forward_pre_hook(
        lambda m, args: seen.append(torch.backends.cuda.cudnn_sdp_enabled()))
    routes = (lambda: alm.greedy(clip(0), ASK), lambda: alm.sample(clip(1), ASK, 2, 1),
              lambda: alm.beams(clip(2), ASK, 2), lambda: alm.score(clip(3), ASK, ['x']))
    for chosen in (True, False):
        torch.backends.cuda.enable_cudnn_sdp(chosen)
        for route in routes:
            alm._memo = (None, None)
            seen.clear(); route()
            assert len(seen)>1 and not any(seen) # the prefix, then what follows it
            assert torch.backends.cuda.cudnn_sdp_enabled() is chosen
    torch.backends.cuda.enable_cudnn_sdp(True)
    hook.remove()
    with pytest.raises(KeyError), repeatable(): raise KeyError
    assert torch.backends.cuda.cudnn_sdp_enabled()

def test_one_clips_cache_is_let_go_before_the_next_is_read(alm):  # On a GPU two of them may not fit
    old, alive = weakref.ref(alm.prefix([clip(0)], [ASK])), []
    hook = alm.model.register_forward_pre_hook(lambda m, args: alive.append(old() is not None))
    alm.prefix([clip(1)], [ASK])
    hook.remove()
    assert alive==[False]

def test_a_model_sees_the_wave_and_the_text_and_nothing_else(alm):
    "No file name, no label, no transcript: there is no way in for them."
    allowed = {'self', 'wave', 'prompt', 'n', 'seed', 'temperature', 'width', 'answers'}
    for f in (LocalALM.greedy, LocalALM.sample, LocalALM.beams, LocalALM.score):
        assert set(inspect.signature(f).parameters)<=allowed
    spy, wave = Spy(alm), clip(0)
    alm.sample(wave, ASK, 2, 1)
    (talk,), settings = spy.given[0]
    (turn,) = talk
    assert turn['role']=='user' and set(turn)=={'role', 'content'}
    sound, text = turn['content']
    assert set(sound)=={'type', 'audio'} and set(text)=={'type', 'text'}
    assert type(sound['audio']) is np.ndarray
    np.testing.assert_array_equal(sound['audio'], wave)
    assert text['text']==ASK.text
    assert not any(isinstance(v, (np.ndarray, list, dict)) for v in settings.values())

def test_a_cache_of_the_whole_prompt_and_a_padded_prompt_are_refused(alm):
    "The library would take such a cache silently and read the prompt twice."
    class Greedy:
        def generate(self, **kwargs):
            return alm.model.generate(**{**kwargs, 'max_new_tokens': 2, 'min_new_tokens': 2})
    sound, inputs = alm.model.config.audio_token_id, alm.inputs(clip(0), ASK)
    good = read_prefix(alm.model, inputs, sound)
    assert good.cache.get_seq_length()==inputs['input_ids'].shape[1]-1
    with pytest.raises(AssertionError, match='lack exactly the last token'): read_prefix(Greedy(), inputs, sound)
    inputs['attention_mask'][:, -1] = 0
    with pytest.raises(AssertionError, match='end in padding'): read_prefix(alm.model, inputs, sound)

@pytest.mark.parametrize(('settings', 'said'), [
    (dict(n=0), 'at least 1, got 0'), (dict(n=-3), 'got -3'), (dict(temperature=0), 'over 0, got 0.*`greedy`'),
    (dict(temperature=-.5), 'got -0.5'), (dict(temperature=float('nan')), 'got nan'),
    (dict(width=1), 'at least 2, got 1.*`greedy`'), (dict(width=0), 'at least 2, got 0')])
def test_wrong_settings_are_refused(alm, settings, said):
    spy = Spy(alm)
    with pytest.raises(InputError, match=said):
        if 'width' in settings: alm.beams(clip(0), ASK, **settings)
        else: alm.sample(clip(0), ASK, **{'n': 2, 'seed': 1, **settings})
    assert not spy.rows
