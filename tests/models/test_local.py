"""The wrapper of local models: every route to an answer agrees with the library, and repeats."""
import inspect
import weakref
from itertools import combinations
import numpy as np
import pytest
import torch
from transformers.utils import logging
from ambiscale_nb.core import InputError
from ambiscale_nb.models.local import (LocalALM, byte_bpe, decoded_ends, read_prefix, repeatable,
    seeded, toy_processor, toy_qwen2_audio)
from ambiscale_nb.models.prompts import Prompt
from ambiscale_nb.strategies.paper import span_logprob

logging.set_verbosity_error()
PROCESSOR = toy_processor(byte_bpe(), mels=80, seconds=3, hop=320)
ASK = Prompt('label', 'direct', 'Which emotion?', 6)
OTHER = Prompt('label', 'cot', 'Describe the voice.', 9)
ANSWERS = ['sad', 'neutral', '', 'a very long answer', 'sadness']

def clip(i, seconds=.75):
    "Clip number i: noise, so that every clip is another."
    return np.random.default_rng(i).normal(0, .1, int(seconds*16_000)).astype(np.float32)

@pytest.fixture(autouse=True, scope='module')
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

def make(ends=(), own=None):
    """A random model with weights so large that sound and place matter (at their usual size its
    logits are nearly flat). Tokens in `ends` end its replies too, so that some come early; `own`
    are a checkpoint's own settings."""
    model = toy_qwen2_audio(PROCESSOR, width=32, layers=2, ffn=48, lm_ffn=48, heads=2)
    for name, p in model.named_parameters():
        if p.ndim>1 and 'embed_positions' not in name: p.data *= 12
    config = model.generation_config
    if len(ends): config.eos_token_id = [config.eos_token_id, *ends]
    for k, v in (own or {}).items(): setattr(config, k, v)
    return LocalALM(model, PROCESSOR, 'toy', 'random', max_seconds=3)

@pytest.fixture
def alm(): return make()

@pytest.fixture
def ender(): return make(range(6, 50))

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

def ids(replies): return [o.tokens for o in replies]

def cut(row, alm): # a row of `generate` up to its first end token
    "What the library returned, padding left out."
    n = next((i for i, t in enumerate(row) if t in alm.eos), len(row)-1)
    return row[:n+1]

def library(alm, wave, ask=ASK, **settings):
    "The plain route: raw inputs straight into `generate`."
    inputs = alm.inputs(wave, ask)
    with torch.inference_mode():
        out = alm.model.generate(**inputs, max_new_tokens=ask.max_new_tokens,
                                 return_dict_in_generate=True, output_scores=True,
                                 top_k=0, top_p=1., repetition_penalty=1., **settings)
    return [cut(r, alm) for r in out.sequences[:, inputs['input_ids'].shape[1]:].tolist()], out

def plain_steps(alm, wave, tokens, ask=ASK): # (len(tokens), V)
    "Log-probabilities at each token by a plain forward pass on the raw inputs."
    inputs = dict(alm.inputs(wave, ask))
    full = torch.cat([inputs.pop('input_ids'), torch.tensor([tokens])], 1)
    inputs['attention_mask'] = torch.ones_like(full)
    with torch.inference_mode(): logits = alm.model(input_ids=full, **inputs).logits[0]
    return logits[-len(tokens)-1:-1].log_softmax(-1)

def plain_logp(alm, wave, tokens, ask=ASK): # (len(tokens),)
    "Log-probability of each token."
    return plain_steps(alm, wave, tokens, ask)[range(len(tokens)), tokens].numpy()

class Spy:
    "Counts the encoder's rows, and keeps what the processor was given."
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

# --- the same answers as the library

@pytest.mark.parametrize('temperature', [.5, 1.5])
@pytest.mark.parametrize('ends', [(), range(6, 50)])
def test_samples_are_those_of_num_return_sequences(ends, temperature):
    alm = make(ends)
    for seed in range(2):
        torch.manual_seed(seed)
        expected, _ = library(alm, clip(seed), num_return_sequences=8, do_sample=True,
                              temperature=temperature)
        assert ids(alm.sample(clip(seed), ASK, 8, seed, temperature))==expected

def test_greedy_is_the_librarys(alm, ender):
    for model in (alm, ender):
        for i in range(2):
            expected, _ = library(model, clip(i), OTHER, do_sample=False)
            assert model.greedy(clip(i), OTHER).tokens==expected[0]

@pytest.mark.parametrize('width', [2, 5])
def test_beams_are_the_librarys_distinct_and_best_first(alm, ender, width):
    for model in (alm, ender):
        for i in range(2):
            found = model.beams(clip(i), ASK, width)
            expected, out = library(model, clip(i), num_beams=width, num_return_sequences=width,
                                    do_sample=False, length_penalty=0., early_stopping=True)
            assert ids(found)==expected
            assert len(set(map(tuple, expected)))==width
            scores = [o.sum_logprob for o in found]
            assert scores==sorted(scores, reverse=True)
            np.testing.assert_allclose(scores, out.sequences_scores, atol=1e-4)

def test_a_checkpoints_own_settings_have_no_say(alm):
    "As in the published Qwen2-Audio, and worse."
    other = make(own=dict(do_sample=True, top_k=2, top_p=.5, temperature=.2, repetition_penalty=5.,
                          num_beams=3, min_p=.5, typical_p=.2, no_repeat_ngram_size=1,
                          max_time=1e-3, length_penalty=3.,
                          bad_words_ids=[[alm.greedy(clip(0), ASK).tokens[0]]]))
    assert everything(alm, 0)==everything(other, 0)

# --- log-probabilities

def test_token_logprobs_are_the_models_own_and_stop_at_the_end(ender):
    "Before temperature, as from a plain pass; nothing behind the first end token."
    replies = ender.sample(clip(0), OTHER, 16, 1, temperature=.5)
    replies += [*ender.beams(clip(0), OTHER, 4), ender.greedy(clip(0), OTHER)]
    assert len({len(o.tokens) for o in replies})>2 # some ended early
    for o in replies:
        assert len(o.token_logprobs)==len(o.tokens)==o.usage['output_tokens']
        assert not set(o.tokens[:-1]) & ender.eos
        np.testing.assert_allclose(o.token_logprobs, plain_logp(ender, clip(0), o.tokens, OTHER),
                                   atol=1e-4)

def test_confidence_is_that_of_a_forward_pass(ender):
    "Mean negative log-probability of the five likeliest tokens, up to the end; beams change rows on their way."
    found = [*ender.sample(clip(0), ASK, 6, 3), *ender.beams(clip(0), ASK, 5), ender.greedy(clip(0), ASK)]
    assert len({round(o.confidence, 4) for o in found}) > 6
    for o in found:
        want = -plain_steps(ender, clip(0), o.tokens).topk(5).values.mean()
        assert abs(o.confidence-float(want)) < 1e-4

def test_finish_is_stop_or_length(ender):
    for ask in (ASK, OTHER):
        replies = ender.sample(clip(0), ask, 64, 3)
        assert {o.finish for o in replies}=={'stop', 'length'}
        full = [o for o in replies if len(o.tokens)==ask.max_new_tokens]
        assert {o.finish for o in full}=={'stop', 'length'} # the last token may be the end
        for o in replies:
            assert (o.finish=='stop')==(o.tokens[-1] in ender.eos)
            assert o in full or o.finish=='stop'

def test_text_holds_no_special_tokens(ender):
    for o in ender.sample(clip(0), OTHER, 16, 5): assert '<|' not in o.text

def test_scores_are_those_of_a_forward_pass_with_the_end_token(alm):
    for i in range(2):
        expected = [plain_logp(alm, clip(i), alm.tokenizer(a+'<|im_end|>')['input_ids']).sum()
                    for a in ANSWERS]
        np.testing.assert_allclose(alm.score(clip(i), ASK, ANSWERS), expected, atol=1e-4)

def test_scores_do_not_depend_on_the_other_answers(alm):
    together = alm.score(clip(0), ASK, ANSWERS)
    alone = [alm.score(clip(0), ASK, [a])[0] for a in ANSWERS]
    order = [3, 0, 4, 2, 1, 0]
    np.testing.assert_allclose(alone, together, atol=1e-4)
    shuffled = alm.score(clip(0), ASK, [ANSWERS[i] for i in order])
    np.testing.assert_allclose(shuffled, together[order], atol=1e-4)

def test_scores_are_natural_logarithms_of_probabilities(alm):
    "Answers of one letter are different continuations: their probabilities sum to less than one."
    letters = [chr(o) for o in range(97, 123)]
    total = np.exp(alm.score(clip(0), ASK, ['', *letters])).sum()
    assert 0<total<1

# --- the same again

def test_a_seed_decides_the_samples(alm):
    one, same, other = (ids(alm.sample(clip(0), ASK, 8, s)) for s in (1, 1, 2))
    assert one==same
    assert one!=other
    assert len(set(map(tuple, one)))>1 # the samples of one call differ too

def everything(alm, i):
    "All kinds of answers about a clip."
    return (ids(alm.sample(clip(i), ASK, 4, 7)), alm.greedy(clip(i), OTHER).tokens,
            ids(alm.beams(clip(i), ASK, 3)), alm.score(clip(i), ASK, ANSWERS).tolist())

def test_answers_do_not_depend_on_what_was_asked_before(alm):
    "A fresh wrapper, a used one, and clips in another order."
    expected = [everything(make(), i) for i in range(2)]
    assert [everything(alm, i) for i in range(2)]==expected
    assert [everything(alm, i) for i in (1, 0)]==[expected[i] for i in (1, 0)]
    for i in (1, 0): # samples, scores and beams of one prefix, in another order
        alm.score(clip(i), ASK, ['x'])
        alm.beams(clip(i), ASK, 2)
        assert everything(alm, i)==expected[i]

def test_the_memo_goes_by_content(alm):
    "The same sound in another array is remembered, one changed sample is not."
    spy = Spy(alm)
    wave = clip(0)
    alm.greedy(wave, ASK)
    alm.sample(wave.copy(), ASK, 4, 1)
    alm.beams(wave, ASK, 2)
    alm.score(wave, ASK, ['x'])
    assert spy.rows==[1] # one row through the encoder for all of it
    wave[100] += .01
    alm.greedy(wave, ASK)
    alm.greedy(wave, OTHER)
    assert spy.rows==[1, 1, 1]

def test_random_states_are_left_alone(alm):
    torch.manual_seed(3); np.random.seed(3)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    everything(alm, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1]==numpy_before).all()

@pytest.mark.parametrize('cards', [1, 4])
def test_a_model_on_the_cpu_leaves_gpus_alone(alm, monkeypatch, cards):
    "To seed them all would take memory on each; here any touch fails."
    def touched(*args): raise AssertionError('a GPU was touched')
    monkeypatch.setattr('torch.cuda.device_count', lambda: cards)
    for o in ('get_rng_state', 'set_rng_state', 'manual_seed', 'manual_seed_all'):
        monkeypatch.setattr(f'torch.cuda.{o}', touched)
    everything(alm, 0)

class Cards:
    "A pretended torch.cuda of two cards: their random states, and which were read or set."
    def __init__(self): self.states, self.read, self.set = {0: 'a', 1: 'b'}, [], []
    def get_rng_state(self, device): self.read.append(device.index); return self.states[device.index]
    def set_rng_state(self, state, device): self.set.append(device.index); self.states[device.index] = state

@pytest.mark.parametrize('number', [0, 1])
def test_only_the_models_own_card_is_seeded(monkeypatch, number):
    cards, real = Cards(), torch.Generator
    monkeypatch.setattr('torch.get_device_module', lambda device=None: cards)
    monkeypatch.setattr('torch.Generator', lambda device: real())
    before = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(torch.device('cuda', number), 5):
        assert torch.equal(cards.states[number], real().manual_seed(5).get_state())
        raise KeyError
    assert cards.states=={0: 'a', 1: 'b'} and set(cards.read+cards.set)=={number}
    assert torch.equal(torch.get_rng_state(), before)

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

def test_one_clips_cache_is_let_go_before_the_next_is_read(alm):
    "On a GPU two of them may not fit."
    old, alive = weakref.ref(alm.prefix(clip(0), ASK)), []
    hook = alm.model.register_forward_pre_hook(lambda m, args: alive.append(old() is not None))
    alm.prefix(clip(1), ASK)
    hook.remove()
    assert alive==[False]

def test_the_callers_array_is_left_alone(alm):
    wave = clip(0)
    wave.setflags(write=False)
    everything(alm, 0); alm.greedy(wave, ASK)
    np.testing.assert_array_equal(wave, clip(0))

# --- what is heard

def test_audio_tokens_are_counted(alm):
    counts = []
    for seconds in (.15, .5, 1., 2., 3.):
        use = alm.greedy(clip(0, seconds), ASK).usage
        tokens = alm.inputs(clip(0, seconds), ASK)['input_ids'][0].tolist()
        assert use['audio_tokens']==tokens.count(alm.model.config.audio_token_id)
        assert use['prompt_tokens']==len(tokens)
        counts.append(use['audio_tokens'])
    assert counts==sorted(set(counts)) and counts[0]>0 # longer clips, more tokens

def test_the_sound_matters(alm):
    "Or else nothing above would tell a wrapper that drops it from one that does not."
    scores = np.array([alm.score(clip(i), ASK, ANSWERS) for i in range(4)])
    assert (scores.std(0)>.01).all()
    assert len({tuple(alm.greedy(clip(i), OTHER).tokens) for i in range(4)})>1

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

def test_mode_and_style_are_not_told_to_the_model(alm):
    relabelled = Prompt('dist', 'cot', ASK.text, ASK.max_new_tokens)
    assert ids(alm.sample(clip(0), ASK, 4, 1))==ids(alm.sample(clip(0), relabelled, 4, 1))

# --- refusals

def test_a_cache_that_holds_the_whole_prompt_is_refused(alm):
    "The library would take it silently and read the prompt twice."
    class Greedy:
        def generate(self, **kwargs):
            return alm.model.generate(**{**kwargs, 'max_new_tokens': 2, 'min_new_tokens': 2})
    sound, inputs = alm.model.config.audio_token_id, alm.inputs(clip(0), ASK)
    good = read_prefix(alm.model, inputs, sound)
    assert good.cache.get_seq_length()==inputs['input_ids'].shape[1]-1
    with pytest.raises(AssertionError, match='lack exactly the last token'):
        read_prefix(Greedy(), inputs, sound)

def test_a_prompt_that_ends_in_padding_is_refused(alm):
    inputs = alm.inputs(clip(0), ASK)
    inputs['attention_mask'][:, -1] = 0
    with pytest.raises(AssertionError, match='end in padding'):
        read_prefix(alm.model, inputs, alm.model.config.audio_token_id)

def test_a_prompt_without_sound_is_refused(alm):
    with pytest.raises(InputError, match='gave 0 audio tokens'):
        read_prefix(alm.model, dict(alm.tokenizer('hello', return_tensors='pt')),
                    alm.model.config.audio_token_id)

def spoilt(n, value): # a clip whose first n samples are no numbers
    return np.where(np.arange(12_000)<n, value, clip(0)).astype(np.float32)

WRONG = {'integers': ((clip(0)*9000).astype(np.int16), 'int16'),
         'double': (clip(0).astype(float), 'float64'),
         'list': ([0., .1], 'list'),
         'stereo': (np.stack([clip(0), clip(1)]), r'\(2, 12000\)'),
         'NaN': (spoilt(7, np.nan), '7 samples are NaN'),
         'infinite': (spoilt(2, np.inf), '2 samples are NaN or infinite'),
         'empty': (clip(0)[:0], '0 samples'),
         'too short': (clip(0)[:800], '0.050 s is under 0.1 s'),
         'too long': (clip(0, 3.5), r"3.50 s is over the model's 3 s"),
         'too loud': (clip(0)*0+9, 'peak 9 is over 1')}

@pytest.mark.parametrize('wave, why', WRONG.values(), ids=WRONG)
def test_a_wrong_wave_is_refused_before_the_model_runs(alm, wave, why):
    spy = Spy(alm)
    for ask in (lambda: alm.greedy(wave, ASK), lambda: alm.sample(wave, ASK, 2, 1),
                lambda: alm.beams(wave, ASK, 2), lambda: alm.score(wave, ASK, ['x'])):
        with pytest.raises(InputError, match=why): ask()
    assert not spy.rows and not spy.given

@pytest.mark.parametrize('settings, why', [
    (dict(n=0), 'at least 1, got 0'), (dict(n=-3), 'got -3'),
    (dict(temperature=0), 'over 0, got 0.*`greedy`'), (dict(temperature=-.5), 'got -0.5'),
    (dict(temperature=float('nan')), 'got nan')])
def test_wrong_sampling_settings_are_refused(alm, settings, why):
    spy = Spy(alm)
    with pytest.raises(InputError, match=why):
        alm.sample(clip(0), ASK, **{'n': 2, 'seed': 1, **settings})
    assert not spy.rows

def test_a_clip_of_one_audio_token_is_refused(alm):
    "The library takes a lone audio token for a placeholder of old, and fails."
    with pytest.raises(InputError, match='gave 1 audio tokens'):
        alm.greedy(clip(0, .1), ASK)

@pytest.mark.parametrize('width', [1, 0])
def test_too_few_beams_are_refused(alm, width):
    with pytest.raises(InputError, match=f'at least 2, got {width}.*`greedy`'):
        alm.beams(clip(0), ASK, width)
