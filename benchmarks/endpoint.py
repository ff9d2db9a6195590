"""How close to a server's limit the endpoint wrapper comes, and what finding the limit costs.

    python benchmarks/endpoint.py [--save] [--seconds 60] [--latency 0.2] [--most 32] [--ceiling 64] [--loop]

A server in a process of its own takes 200 ms for an answer and refuses, with 429, more than 32 requests
at a time. The wrapper knows neither. After ramp-up (by default 10 s) its answers per second are compared
with what the limit allows, 32/0.2 = 160. It fails under 90 %, or if more than 1 % of the requests after
ramp-up were refused. The last line of the output is JSON; `--save` keeps it in endpoint.json.

`--loop` compares it with what a user would write instead: an asyncio loop around the SDK's asynchronous client, which
repeats refused requests itself. Both are given the server's limit, run in a process of their own, and are measured from
their first line on: imports and ramp-up count. It fails where the wrapper gets less than 90 % of the loop's answers.
"""
import os
os.environ.setdefault('OMP_NUM_THREADS', '1')
import argparse
import asyncio
import json
import multiprocessing
import platform
import sys
import threading
import time
from base64 import b64encode
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import numpy as np
from ambiscale_nb.models.endpoint import EndpointALM
from ambiscale_nb.models.serving import Retry, wav_bytes
from ambiscale_nb.models.contract import CallError, in_flight
from ambiscale_nb.models.prompts import prompt

HERE, LABELS = Path(__file__).parent, ('angry', 'happy', 'neutral', 'sad')
ANSWER = json.dumps({'id': '1', 'object': 'chat.completion', 'created': 1, 'model': 'bench', 'choices': [
    {'index': 0, 'finish_reason': 'stop', 'message': {'role': 'assistant', 'content': 'sad'}}],
    'usage': {'prompt_tokens': 60, 'completion_tokens': 2, 'total_tokens': 62}}).encode()
BUSY = b'{"error": {"message": "too many requests", "type": "rate_limit", "code": 429}}'

def serve(latency, most, pipe):
    "A server with a limit; sends (time, status) of all its responses when it is asked to."
    lock, log, flying = threading.Lock(), [], [0]
    class Handler(BaseHTTPRequestHandler):
        protocol_version, disable_nagle_algorithm, wbufsize = 'HTTP/1.1', True, -1
        def log_message(self, *args): pass
        def do_POST(self):
            self.rfile.read(int(self.headers['Content-Length']))
            with lock:
                full = flying[0]>=most
                flying[0] += not full
            if not full: time.sleep(latency)
            with lock:
                flying[0] -= not full
                log.append((time.monotonic(), 429 if full else 200))
            status, data = (429, BUSY) if full else (200, ANSWER)
            self.wfile.write(b'HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n'
                             % (status, len(data))+data)
    class Server(ThreadingHTTPServer): daemon_threads, request_queue_size = True, 256
    server = Server(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(server.server_port)
    pipe.recv(); pipe.send(log); server.shutdown()

WAVE = np.random.default_rng(0).normal(0, .1, 16_000).clip(-1, 1).astype(np.float32)

def load(port, ceiling, seconds):
    "Keep asking for so many seconds; calls that failed are counted."
    end, cpu = time.monotonic()+seconds, time.process_time()
    alm = EndpointALM('bench', 'vllm', f'http://127.0.0.1:{port}/v1', ceiling=ceiling,
                      retry=Retry(tries=8))
    ask = prompt('label', 'direct', LABELS)
    def one(i):
        try: return alm.sample(WAVE, ask, 1, seed=i)[0].finish
        except CallError as e: return e.kind
    kinds = list(in_flight(one, iter(range(10**9)), ceiling, go=lambda flying: time.monotonic()<end))
    gate = next(iter(alm.limits.values()))
    alm.close()
    return kinds, gate, (time.process_time()-cpu)/len(kinds)

def loop(port, most, seconds):
    "The same by hand: so many workers, each with one request at a time."
    end, cpu = time.monotonic()+seconds, time.process_time()
    import openai
    kinds, numbers, text = [], iter(range(10**9)), prompt('label', 'direct', LABELS).text
    async def work(client):
        while time.monotonic()<end:
            data = b64encode(wav_bytes(WAVE)).decode()
            content = [{'type': 'input_audio', 'input_audio': {'data': data, 'format': 'wav'}}, {'type': 'text', 'text': text}]
            try:
                got = await client.chat.completions.create(
                    model='bench', messages=[{'role': 'user', 'content': content}], max_completion_tokens=16,
                    temperature=1., seed=next(numbers), logprobs=True, top_logprobs=20)
                kinds.append(got.choices[0].finish_reason)
            except openai.APIError as e: kinds.append(type(e).__name__)
    async def run():
        async with openai.AsyncOpenAI(api_key='none', base_url=f'http://127.0.0.1:{port}/v1', max_retries=8) as client:
            await asyncio.gather(*(work(client) for _ in range(most)))
    asyncio.run(run())
    return kinds, None, (time.process_time()-cpu)/len(kinds)

def measured(route, port, most, seconds, pipe):
    kinds, _, cpu = route(port, most, seconds)
    pipe.send((kinds.count('stop'), len(kinds)-kinds.count('stop'), cpu))

def beside_a_loop(latency, most, seconds):
    "Answers, failures and CPU seconds a call of both, one after the other."
    spawn, out = multiprocessing.get_context('spawn'), {}
    for route in (load, loop):
        here, there = spawn.Pipe()
        server = spawn.Process(target=serve, args=(latency, most, there))
        server.start()
        mine, its = spawn.Pipe()
        client = spawn.Process(target=measured, args=(route, here.recv(), most, seconds, its))
        client.start()
        answers, failed, cpu = mine.recv()
        here.send('log'); log = here.recv(); server.join(); client.join()
        out[route.__name__] = dict(answers=answers, failed=failed, refused=sum(s==429 for _, s in log),
                                   cpu_ms_a_call=round(cpu*1000, 2))
    return dict(out, latency=latency, limit=most, seconds=seconds, ratio=round(out['load']['answers']/out['loop']['answers'], 3))

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument('--save', action='store_true', help='keep the figures')
    p.add_argument('--seconds', type=float, default=60., help='window that is measured')
    p.add_argument('--ramp', type=float, default=10., help='seconds before it')
    p.add_argument('--latency', type=float, default=.2)
    p.add_argument('--most', type=int, default=32, help='requests that the server takes at a time')
    p.add_argument('--ceiling', type=int, default=64, help='requests that the wrapper may try')
    p.add_argument('--loop', action='store_true', help='beside a loop by hand, instead')
    a = p.parse_args()
    kept = HERE/'endpoint.json'
    if a.loop:
        out = json.loads(kept.read_text())|dict(loop=beside_a_loop(a.latency, a.most, a.seconds))
        if a.save: kept.write_text(json.dumps(out, indent=1)+'\n')
        print(json.dumps(out['loop']))
        sys.exit(0 if out['loop']['ratio']>=.9 else 1)
    here, there = multiprocessing.get_context('spawn').Pipe()
    server = multiprocessing.get_context('spawn').Process(target=serve, args=(a.latency, a.most, there))
    server.start()
    start = time.monotonic()
    kinds, gate, cpu = load(here.recv(), a.ceiling, a.ramp+a.seconds)
    here.send('log'); log = here.recv(); server.join()
    first = min(t for t, _ in log)
    seen = [(t-first, s) for t, s in log]
    window = [s for t, s in seen if a.ramp<=t<a.ramp+a.seconds]
    allowed, answered = a.most/a.latency*a.seconds, window.count(200)
    out = dict(benchmark='endpoint', limit=a.most, latency=a.latency, ceiling=a.ceiling, seconds=a.seconds,
               ratio=dict(of_the_limit=round(answered/allowed, 3),
                          refused_after_ramp_up=round(window.count(429)/max(len(window), 1), 5)),
               refused_in_ramp_up=sum(s==429 for t, s in seen if t<a.ramp), refused=window.count(429),
               failed=sum(o!='stop' for o in kinds), edge=gate.edge, cpu_ms_a_call=round(cpu*1000, 2),
               device=f'{os.cpu_count()}-core {platform.machine()} CPU', date=str(date.today()))
    print(f"{answered/a.seconds:.1f} answers a second of {a.most/a.latency:.0f} that the limit allows; "
          f"{out['refused']} refused after ramp-up, {out['refused_in_ramp_up']} before; "
          f"{time.monotonic()-start:.0f} s")
    if a.save: kept.write_text(json.dumps(json.loads(kept.read_text())|out, indent=1)+'\n')
    print(json.dumps(out))
    good = out['ratio']['of_the_limit']>=.9 and out['ratio']['refused_after_ramp_up']<=.01
    sys.exit(0 if good and not out['failed'] else 1)

if __name__=='__main__': main()
