"""Local models on a GPU: the same answers as the library's plain route there and, within rounding, as on the
CPU; nothing left on the wrong device. Skipped without one; with one: `pytest tests/models/test_cuda.py`."""
import copy
import gc
import numpy as np
import pandas as pd
import pytest
import torch
from test_families import ANSWERS, ASK, ENDS, VERIFY, clip, everything, ids, library
from toy_families import PROCESSORS, toy
from transformers.utils import logging
from ambiscale_nb.corpora.audio import wave_sha
from ambiscale_nb.models.check import check_clips, check_model, passed
from ambiscale_nb.core import InputError
from ambiscale_nb.models.families import check_device
from ambiscale_nb.models.local import LocalALM, toy_qwen2_audio
from ambiscale_nb.models.contract import load_model
from ambiscale_nb.sampling.files import CANDIDATES, Store
from ambiscale_nb.sampling.store import Draw, sample_pool
from ambiscale_nb.sampling.verify import VERDICTS, verify_pool

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
logging.set_verbosity_error()
CARD = torch.device('cuda', 0)
NEAR = 2e-3 # nats; these toys have weights so large that rounding is enlarged as well

@pytest.fixture(autouse=True, scope='module')
def full_precision():  # The factors of convolutions are rounded to TF32 by default, which no comparison could survive
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before

def moved(alm, *where): # The same weights on another device or in another precision
    model = copy.deepcopy(alm.model).to(*where)
    model.generation_config.eos_token_id = sorted(alm.eos)
    return LocalALM(model, alm.processor, alm.name, 'random', alm.capabilities.max_seconds, alm.render)

@pytest.fixture(params=PROCESSORS)
def name(request): return request.param

@pytest.fixture
def cpu(name): return toy(name, ENDS)

@pytest.fixture
def alm(cpu): return moved(cpu, CARD)

def test_samples_are_the_cpus_greedy_and_beams_the_librarys(alm, cpu):
    ours, theirs = (ids(o.sample(clip(0), ASK, 8, 3, 1.5)) for o in (alm, cpu)) # rounding may part one
    assert sum(a==b for a, b in zip(ours, theirs, strict=True))>=7 and len(set(map(tuple, ours)))>1
    assert alm.greedy(clip(0), ASK).tokens==library(alm, clip(0), do_sample=False)[0][0]
    expected, out = library(alm, clip(0), num_beams=4, num_return_sequences=4, do_sample=False,
                            length_penalty=0., early_stopping=True)
    found = alm.beams(clip(0), ASK, 4)
    assert ids(found)==expected
    np.testing.assert_allclose([o.sum_logprob for o in found], out.sequences_scores.cpu(), atol=NEAR)

def test_scores_and_verdicts_are_the_cpus(alm, cpu):
    for ask, answers in ((ASK, ANSWERS), (VERIFY, ['yes', 'no'])):
        ours, theirs = (o.score(clip(0), ask, answers) for o in (alm, cpu))
        assert ours.dtype==theirs.dtype==np.float64
        np.testing.assert_allclose(ours, theirs, atol=NEAR)

def test_the_same_bits_again(alm):  # Nor does it matter what was asked in between
    expected = [everything(alm, i) for i in range(2)]
    logp = [o.token_logprobs for o in alm.sample(clip(0), ASK, 8, 7)]
    assert [everything(alm, i) for i in (1, 0)]==expected[::-1]
    assert [o.token_logprobs for o in alm.sample(clip(0), ASK, 8, 7)]==logp

def test_the_same_bits_again_in_bfloat16():
    """Sixteen rows, heads of the published width: torch's first choice of attention there, cuDNN's, gave
    other bits in every run of a model of published size (benchmarks/gpu.py)."""
    processor = PROCESSORS['qwen2-audio']()
    model = toy_qwen2_audio(processor, width=1024, layers=8, ffn=1024, lm_ffn=2048, heads=8)
    alm = LocalALM(model.to(CARD, torch.bfloat16), processor, 'wide', 'random', 3.)
    def bits(): return [(o.tokens, o.token_logprobs) for o in
                        (*alm.sample(clip(0), ASK, 16, 1), *alm.beams(clip(0), ASK, 8))]
    first = bits()
    for _ in range(4):
        alm._memo = (None, None)
        assert bits()==first

@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_goes_through_every_route(alm, dtype):
    half = moved(alm, dtype)
    samples, greedy, beams, scores = everything(half, 0)
    assert len(samples)==4 and len(beams)==3 and greedy
    if dtype==torch.bfloat16: assert np.isfinite(scores).all()
    logp = half.sample(clip(0), ASK, 2, 1)[0].token_logprobs
    assert all(type(o) is float for o in logp)

@pytest.mark.parametrize('name', ['qwen2-audio'])
def test_random_states_are_left_alone(alm):
    torch.manual_seed(3)
    before, on_card = torch.get_rng_state(), torch.cuda.get_rng_state(CARD)
    everything(alm, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(torch.cuda.get_rng_state(CARD), on_card)

@pytest.mark.parametrize('name', ['qwen2-audio', 'qwen2.5-omni'])
def test_memory_does_not_grow_from_clip_to_clip(alm):
    held = []
    for i in range(6):
        everything(alm, i)
        gc.collect()
        held.append(torch.cuda.memory_allocated(CARD))
    assert set(held[1:])=={held[1]}

@pytest.mark.parametrize('name', ['qwen2-audio'])
def test_a_model_passes_its_check(alm):  # What `ambiscale models check` tries
    short = LocalALM(alm.model, alm.processor, 'toy', 'random', 3., alm.render)
    table = check_model(short, *check_clips(1.5))
    assert passed(table), table[table.ok.eq(False)].to_string()

@pytest.fixture
def folder(tmp_path):  # A checkpoint on disk
    alm = toy('qwen2-audio')
    for part in (alm.model, alm.processor): part.save_pretrained(tmp_path/'checkpoint')
    return tmp_path/'checkpoint'

def test_a_model_is_loaded_onto_the_card(folder):
    "As under `load` of a study; in bfloat16 unless another type is named."
    for options, dtype in ((dict(), 'bfloat16'), (dict(device='cuda'), 'bfloat16'),
                           (dict(device='cuda:0', dtype='float32'), 'float32'),
                           (dict(device='cpu'), 'float32')):
        alm = load_model('qwen2-audio', folder=folder, **options)
        assert alm.model.dtype is getattr(torch, dtype)
        assert {o.device.type for o in alm.model.parameters()}=={options.get('device', 'cuda').partition(':')[0]}
        assert alm.greedy(clip(0), ASK).tokens

def test_a_card_that_is_not_there_is_refused():
    with pytest.raises(InputError, match='No device'): check_device(f'cuda:{torch.cuda.device_count()}')
    assert torch.ones(2, device=CARD).sum().item()==2 # and the others still work

def test_a_study_runs_on_the_card(folder, tmp_path):
    "Samples, greedy, beams, scores and verdicts, stored as from the CPU."
    alm = load_model('qwen2-audio', folder=folder, device='cuda')
    items = pd.DataFrame([dict(corpus='x', uid=f'u{i}', audio_sha=wave_sha(clip(i))) for i in range(2)])
    def wave_of(uid): return clip(int(uid[1:]))
    store, labels = Store(tmp_path/'store'), ('sad', 'happy')
    draw = Draw(n=8, widths=(4,), score=labels)
    sample_pool(alm, items, wave_of, [ASK], draw, store, progress=False)
    rows = store.read(CANDIDATES)
    assert set(rows.finish)<={'stop', 'length', 'score'} and len(rows)==2*(16+1+4+2)
    assert np.isfinite(rows.sum_logprob).all()
    verify_pool(alm, items, wave_of, labels, store, progress=False)
    assert store.read(VERDICTS).status.eq('ok').all()
