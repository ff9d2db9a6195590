"""A server on this machine that speaks the wire protocols of OpenAI, vLLM and Gemini, and fails on command.

    with Loopback(most=32) as server: ... server.url, server.gemini, server.asked

Answers depend on the audio, the text and the seed alone. A token is a character, and its log-probability
depends on the audio and on everything before it, so that what different routes report can be compared.
`server.faults` is a list of names that the next requests meet, one each; `server.always` is met by all, or is a
function of the request that names what it meets. `server.pause` is called before each answer.
With `server.echo` every error quotes the key that was sent. `client` is a model of this project at the server."""
import base64
import hashlib
import json
import math
import socket
import struct
import threading
import time
from email.utils import formatdate
from urllib.parse import quote
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import numpy as np
import pandas as pd
from ambiscale_nb.core import rng_of
from ambiscale_nb.models.endpoint import EndpointALM
from ambiscale_nb.models.gemini import GeminiALM
from ambiscale_nb.models.prompts import prompt
from waiting import PATIENCE

END, END_ID = '<|eot_id|>', 100_257
WORDS = ('angry', 'happy', 'neutral', 'sad')
KNOWN = ('demo', 'gpt-audio-1.5', 'gemini-3.8-flash', 'gpt-4o-audio-preview', 'gemini-2.0-flash',
         'fixie-ai/ultravox-v0_3', 'fixie-ai/ultravox-v0_4')

DIRECT, COT = (prompt('label', o, WORDS) for o in ('direct', 'cot'))
CLIPS = pd.DataFrame(dict(corpus='demo', uid=[f'clip{i}' for i in range(12)], audio_sha=[f's{i}' for i in range(12)]))

def wave_of(uid): return (.3*np.sin(np.arange(4000)*(int(uid[4:])+1)*.05)).astype(np.float32)
WAVE = wave_of('clip0')

class Time:  # A clock that moves when somebody sleeps
    def __init__(self): self.now, self.slept = 1e6, []
    def clock(self): return self.now
    def sleep(self, seconds): self.slept.append(seconds); self.now += seconds
    @property
    def options(self): return dict(clock=self.clock, sleep=self.sleep, wall=self.clock, rng=rng_of(0))

def client(kind, server, time=None, **options):
    "A model of a profile ('vllm', 'openai', 'llamacpp') or of Gemini; waiting costs it no time."
    options = dict(seconds=PATIENCE, key='') | (time or Time()).options | options
    if kind=='gemini': return GeminiALM(options.pop('model', 'demo'), server.gemini, **options)
    return EndpointALM(options.pop('model', 'demo'), kind, options.pop('base_urls', server.url), **dict(end=END)|options)

def forms_of(secret):  # A key as it may be written, by other means than those under test
    raw = secret.encode('utf-8', 'surrogatepass')
    yield from (secret, quote(secret, safe=''), quote(secret, safe='').lower(), quote(secret), json.dumps(secret)[1:-1],
                raw.hex(), repr(secret)[1:-1], ascii(secret)[1:-1], repr(raw)[2:-1], repr(repr(raw))[3:-2],
                json.dumps(json.dumps(secret))[3:-3], ''.join(f'\\x{o:02x}' for o in raw), ''.join(f'%{o:02X}' for o in raw),
                ''.join(json.dumps(o)[1:-1] if ord(o)>127 else f'\\u{ord(o):04x}' for o in secret),
                ''.join(f'&#{ord(o)};' for o in secret), raw.decode('latin-1'), f'{secret[:9]}****{secret[-4:]}')
    for before in (b'', b'u', b'us', b'user:', b'Bearer '):
        for code in (base64.b64encode, base64.urlsafe_b64encode): yield code(before+raw+b'\n').decode()
    for plain in (True, False):
        yield base64.b64encode(json.dumps(dict(key=secret), ensure_ascii=plain).encode()).decode()
    for before in (b'', b'user:', b'Bearer '):
        yield from (o.decode().rstrip('=') for o in (base64.b32encode(before+raw), base64.b32encode(before+raw).lower(),
            base64.b64encode(base64.b64encode(before+raw)), base64.b64encode(base64.b32encode(before+raw))))
    yield from (o.join(secret) for o in (' ', '  ', '\n'))

def leaks(data, secret):  # Forms of a key, or the middle of one, in some bytes
    text = data.decode('utf-8', 'replace')
    plain = text.replace('\\', '')
    parts = (*forms_of(secret), secret[:12], secret[-12:], f'***{secret[-4:]}')
    return [o for o in parts if o in text or o in plain]

def files(root):  # Folder -> all that is stored in it but the time of storing, as text
    return {str(o.parent.relative_to(root)): pd.read_parquet(o, partitioning=None).drop(columns='stored_measured').to_csv()
            for o in sorted(root.rglob('*.parquet'))}

def chance(*parts):  # A number from 0 to 1 that depends on `parts` alone
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'big')/2**64

def logprobs(sound, question, ids):  # The log-probability of each token of an answer
    return [-.05-2*chance(sound, question, ids[:i+1]) for i in range(len(ids))]

def name_of(data): return hashlib.blake2b(data.encode()).hexdigest()[:16]
def ids_of(text): return [ord(o) for o in text]

def retry_info(delay): return [{'@type': 'type.googleapis.com/google.rpc.RetryInfo', 'retryDelay': delay}]

def google_quota(period):
    failure = {'@type': 'type.googleapis.com/google.rpc.QuotaFailure',
               'violations': [{'quotaId': f'GenerateRequestsPer{period}PerProjectPerModel-FreeTier'}]}
    return {'status': 'RESOURCE_EXHAUSTED', 'details': [failure, *retry_info('34s')]}

PLAN = 'You exceeded your current quota, please check your plan and billing details'
REFUSALS = { # Name -> status, message, further fields of the error, headers
    'bad_request': (400, 'Invalid value for messages'),
    'unauthorized': (401, 'Incorrect API key provided', {'code': 'invalid_api_key'}),
    'forbidden': (403, 'Country not supported'),
    'not_found': (404, 'The model does not exist', {'code': 'model_not_found'}),
    'context': (400, "This model's maximum context length is 2048 tokens", {'param': 'messages'}),
    'quota': (429, 'You exceeded your current quota', {'type': 'insufficient_quota'}),
    '429': (429, 'Slow down'), '429 RetryInfo': (429, 'Slow down', {'details': retry_info('12.5s')}),
    'redirect': (302, 'Elsewhere', {}, {'Location': 'http://127.0.0.1:9/v1/chat/completions'}),
    '500': (500, 'Internal error'), '503': (503, 'Overloaded'),
    'a quota of the day': (429, 'Rate limit reached: Limit 200, Used 200 requests per day (RPD)'),
    'a quota of the day, as Google says it': (429, PLAN, google_quota('Day')),
    'a quota of the minute, as Google says it': (429, PLAN, google_quota('Minute')),
    'a billing limit': (429, 'Billing hard limit has been reached', {'code': 'billing_hard_limit_reached'}),
    'no credit': (402, 'Insufficient credits. Add more at https://example.org/credits'),
    'no audio': (500, 'audio input is not supported - hint: if this is unexpected, you may need to provide the mmproj'),
    'no endpoint with audio': (404, 'No endpoints found that support input audio'),
    'content_filter': (400, 'The response was filtered due to the prompt triggering the content management policy',
                       {'code': 'content_filter', 'innererror': {'code': 'ResponsibleAIPolicyViolation'}}),
    'data_inspection_failed': (400, 'Input data may contain inappropriate content.', {'code': 'data_inspection_failed'}),
    'content_policy_violation': (400, 'Your request was rejected', {'code': 'content_policy_violation'}),
    'flagged': (403, 'Your chosen model requires moderation and your input was flagged'),
    'unavailable for legal reasons': (451, 'Not in this country'),
    'peg-native': (500, 'The model produced output that does not match the expected peg-native format',
                   {'type': 'server_error'})}

# What is slept before the second request: least, most; with a header Retry-After: its text and the same
WAITS = {'429': (.5, 1), '429 RetryInfo': (12.5, 12.8)}
for _name, _text, *_wait in (('429 for 7 s', '7', 7, 7.3), ('429 until a date', 'date', 19, 20.3),
                             ('429 for 1e9 s', '1e9', 60, 60), ('429 for -1 s', '-1', .5, 1),
                             ('429 garbage', 'a while', .5, 1)):
    WAITS[_name], REFUSALS[_name] = _wait, (429, 'Slow down', {}, {'Retry-After': _text})

BODIES = { # Errors in the body of a success: name -> the error
    '429 in a 200': {'message': 'Rate limit exceeded: 20 requests per minute', 'code': 429},
    '503 in a 200': {'message': 'Provider returned error', 'code': 503, 'metadata': {'raw': 'overloaded'}},
    '401 in a 200': {'message': 'No auth credentials found', 'code': 401},
    '402 in a 200': {'message': 'This request needs more credits', 'code': '402'},
    'an error in words in a 200': {'message': 'The model is overloaded', 'type': 'overloaded_error'},
    'an error of no kind in a 200': 'Something went wrong',
    'an error of Tencent in a 200': {'message': 'Credential expired', 'code': 'AuthFailure.SignatureExpire'},
    'a filter in a 200': {'message': 'Blocked', 'code': 'content_filter'}}

# Servers that give fewer answers than were asked for
GIVES = {'n ignored': 1, 'two at most': 2}

USAGES = {'usage is null': None, 'usage is {}': {}, 
          'usage has other names': {'input_tokens': 40, 'output_tokens': 9, 'inputTokens': 40}}
THINKING = ['<think>', 'sad', ' or', ' happy', '?', '</think>', '\n']

class Loopback:  # The server, and what it has seen
    def __init__(self, most=None, lacks=(), key=None, serves=None, hears=1e9, slots=0):
        self.most, self.lacks, self.key, self.pause = most, lacks, key, None
        self.serves = serves                     # the name under which it answers; as asked if None
        self.slots = slots                       # of llama.cpp's server, whose ways it then has
        self.hears = hears                       # seconds of a clip that it hears; the rest is cut
        self.faults, self.always, self.asked, self.headers = [], None, [], []
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self.flying = self.peak = self.served = self.refused = 0
        self.wall, self.echo = time.time, False

    def __enter__(self):
        handler = type('Bound', (Handler,), {'home': self})
        self.http = Http(('127.0.0.1', 0), handler)
        threading.Thread(target=self.http.serve_forever, kwargs={'poll_interval': .02}, daemon=True).start()
        self.gemini = f'http://127.0.0.1:{self.http.server_port}'
        self.url = f'{self.gemini}/v1'
        return self

    def __exit__(self, *error):
        self.stopped.set()
        self.http.shutdown()
        self.http.server_close()

class Http(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 128
    def handle_error(self, request, client_address): pass    # clients that hang up are part of the tests

class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize, disable_nagle_algorithm = 'HTTP/1.1', -1, True

    def log_message(self, *args): pass

    def send(self, status, text, headers=(), kind='application/json'):
        data = text if isinstance(text, bytes) else text.encode()
        self.count(status)
        self.send_response(status)
        for k, v in {'Content-Type': kind, 'Content-Length': len(data), **dict(headers)}.items():
            self.send_header(k, str(v))
        self.end_headers()
        self.wfile.write(data)

    def count(self, status):  # A request is over before its last byte is sent, so that the next one finds room
        with self.home.lock:
            if status==200: self.home.served += 1
            elif status==429: self.home.refused += 1
            if self.counted: self.home.flying -= 1
            self.counted = False

    def refuse(self, status, message, fields=(), headers=()):
        headers = {k: formatdate(self.home.wall()+20, usegmt=True) if v=='date' else v
                   for k, v in dict(headers).items()}
        error = {'message': self.quoting(message), 'code': status, 'type': 'error', 'param': None, **dict(fields)}
        self.send(status, json.dumps({'error': error}), headers)

    def quoting(self, message):
        sent = self.headers.get('Authorization', self.headers.get('x-goog-api-key', ''))
        return f'{message} (sent: {sent}, {sent.encode()!r}, {quote(sent)}, {sent[:9]}****{sent[-4:]})' if (
            self.home.echo) else message

    def do_POST(self):
        home, self.counted = self.home, False
        body = self.rfile.read(int(self.headers['Content-Length']))
        ask = json.loads(body)
        with home.lock:
            home.asked.append((self.path, ask))
            home.headers.append(dict(self.headers.items()))
            fault = home.faults.pop(0) if home.faults else home.always
            if callable(fault): fault = fault(ask)
            full = home.most is not None and home.flying>=home.most
            if not full: home.flying += 1; self.counted = True
            home.peak = max(home.peak, home.flying)
        try: self.answer(ask, fault, full)
        finally:
            with home.lock: home.flying -= self.counted

    def answer(self, ask, fault, full):
        home = self.home
        if full: return self.refuse(*REFUSALS['429'])
        if home.pause: home.pause()
        if fault in REFUSALS: return self.refuse(*REFUSALS[fault])
        sent = self.headers.get('Authorization', self.headers.get('x-goog-api-key', ''))
        if home.key and home.key not in sent:
            return self.refuse(401, f'Incorrect API key provided: {sent}')
        route = self.gemini if ':generateContent' in self.path else self.openai
        if fault not in BODIES: return route(ask, fault)
        error = BODIES[fault]
        text = self.quoting(error if isinstance(error, str) else error['message'])
        body = {'error': text if isinstance(error, str) else {**error, 'message': text}}
        if 'Tencent' in fault: body = {'Response': {'RequestId': 'r1', 'Error': {
            'Code': error['code'], 'Message': text}}}
        self.send(200, json.dumps(body))

    def broken(self, fault, text):  # Faults below the protocol; False if this is none of them
        if fault=='timeout': self.home.stopped.wait()
        elif fault=='reset':
            self.count(0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            self.connection.close()
        elif fault in ('slow headers', 'slow body'):
            head = f'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n'
            cut = 20 if fault=='slow headers' else len(head)+5
            self.wfile.write((head+text)[:cut].encode()); self.wfile.flush()
            for o in (head+text)[cut:]:
                if self.home.stopped.wait(.02): break
                self.wfile.write(o.encode()); self.wfile.flush()
        elif fault=='truncated JSON': self.send(200, text[:len(text)//2])
        elif fault=='short body':
            self.send(200, text[:len(text)//2], {'Content-Length': len(text), 'Connection': 'close'})
        elif fault=='HTML body': self.send(200, '<html><body>Welcome</body></html>', kind='text/html')
        elif fault=='not an object': self.send(200, '"fine"')
        else: return False
        self.close_connection = fault not in ('truncated JSON', 'HTML body', 'not an object')  # those are whole
        return True

    def deliver(self, out, fault, answers, usage):
        "Send an answer, after the faults that both protocols share: what is missing, and counts of tokens."
        if fault=='empty choices': out[answers] = []
        elif fault=='no choices': del out[answers]
        elif fault=='wrong n': out[answers] = out[answers][:-1] or out[answers]*2
        elif fault=='no usage': del out[usage]
        elif fault=='usage is zero': out[usage] = {k: 0 for k in out[usage] if k!='promptTokensDetails'}
        elif fault in USAGES: out[usage] = USAGES[fault]
        text = json.dumps(out)
        if not self.broken(fault, text): self.send(200, text)

    def do_GET(self):
        self.counted = False
        self.send(200, json.dumps({'object': 'list', 'data': [{'id': o, 'object': 'model'} for o in KNOWN]}))

    # --- OpenAI and vLLM --------------------------------------------------------------------------
    def openai(self, ask, fault):
        if self.path!='/v1/chat/completions': return self.refuse(404, 'Not Found')
        if ask['model'] not in KNOWN: return self.refuse(*REFUSALS['not_found'])
        for o in self.home.lacks:
            if o in ask: return self.refuse(400, f"Unsupported parameter: '{o}'", {'param': o})
        n, beam = min(ask.get('n', 1), GIVES.get(fault, math.inf)), ask.get('use_beam_search')
        if self.home.slots and n>self.home.slots: return self.refuse(400, f"Field 'n': Value must be between "
            f"1 <= value <= {self.home.slots}, but got {n}", {'type': 'invalid_request_error'})
        if n<1 or (n>1 and ask.get('temperature')==0 and not beam):
            return self.refuse(400, 'n must be 1 when using greedy sampling')
        parts = next(o['content'] for o in ask['messages'] if o['role']=='user')
        clip = next((o['input_audio']['data'] for o in parts if o['type']=='input_audio'), None)
        if clip is not None and self.home.slots and not self.home.hears: return self.refuse(*REFUSALS['no audio'])
        sound, seconds = self.heard(clip or '')
        question = next(o['text'] for o in parts if o['type']=='text')
        choices = [self.choice(i, o, sound, question, ask)
                   for i, o in enumerate(answers(sound, question, ask, n, beam))]
        written = sum(len(o['message']['content'])+1 for o in choices)
        out = {'id': 'chatcmpl-1', 'object': 'chat.completion', 'created': 1, 'choices': choices,
               'model': self.home.serves or ask['model'], 'usage': {
                   'prompt_tokens': 30+len(question), 'completion_tokens': written,
                   'total_tokens': 30+len(question)+written,
                   'prompt_tokens_details': {'audio_tokens': round(120*seconds), 'cached_tokens': 0}}}
        if self.home.slots: self.as_llama(out, ask)
        elif 'prompt_logprobs' in ask: out['prompt_logprobs'] = prompt_logprobs(sound, question, ask)
        self.damage(out, fault)
        self.deliver(out, fault, 'choices', 'usage')

    def as_llama(self, out, ask):
        "As llama.cpp's server answers: ids beside log-probabilities, an empty end token, no count of audio."
        for o in out['choices']:
            o.pop('token_ids', None)
            for t in o.get('logprobs', {}).get('content', ()):
                end = t['token']==END
                t.update(id=END_ID if end else ord(t['token']), token='' if end else t['token'],
                         bytes=[] if end else [*t['token'].encode()])
        one = out['choices'][0]['message']['content']
        out['usage'] = {'prompt_tokens': 30, 'completion_tokens': len(one)+1, 'total_tokens': 31+len(one),
                        'prompt_tokens_details': {'cached_tokens': 0}}

    def heard(self, data):  # What stands for the sound of a clip, and how many seconds of it were heard
        if not data: return '', 0.
        clip = base64.b64decode(data.replace('-', '+').replace('_', '/')+'==')
        assert clip[:4]==b'RIFF' and clip[36:40]==b'data'
        seconds = min(self.home.hears, (len(clip)-44)/32_000)
        if seconds==(len(clip)-44)/32_000: return name_of(data), seconds
        return name_of(clip[44:44+int(seconds*32_000)].hex()), seconds

    def choice(self, index, text, sound, question, ask):
        ids = [*ids_of(text), END_ID]
        out = {'index': index, 'finish_reason': 'stop', 'message': {'role': 'assistant', 'content': text}}
        if ask.get('logprobs'): out['logprobs'] = {'content': [
            {'token': chr(t) if t!=END_ID else END, 'logprob': p, 'bytes': None, 'top_logprobs': likeliest(p, ask)}
            for t, p in zip(ids, logprobs(sound, question, ids), strict=True)]}
        if ask.get('return_token_ids'): out['token_ids'] = ids
        return out

    def damage(self, out, fault):  # Faults inside an answer that is well-formed otherwise
        first = out['choices'][0]
        if fault=='null content':
            for o in out['choices']: o['message']['content'] = None
        elif fault=='one null content': first['message']['content'] = None
        elif fault=='refusal': first['message'].update(content=None, refusal="I can't judge emotions.")
        elif fault=='one declined choice': first.update(error=BODIES['a filter in a 200'], message={'content': None})
        elif fault=='content filter': first['message']['content'] = None; first['finish_reason'] = 'content_filter'
        elif fault=='NaN logprob': first['logprobs']['content'][0]['logprob'] = math.nan
        elif fault=='null logprob': first['logprobs']['content'][0]['logprob'] = None
        elif fault=='unheard': out['usage']['prompt_tokens_details']['audio_tokens'] = 0
        elif fault=='finish: error': [o.update(finish_reason='error') for o in out['choices']]
        elif fault=='one choice failed':
            first.update(finish_reason='error', error={'code': 502, 'message': self.quoting('Provider failed')})
            first['message']['content'] = ''
        elif fault=='content is a list':
            for o in out['choices']: o['message']['content'] = [
                {'type': 'thinking', 'thinking': [{'type': 'text', 'text': 'happy?'}]},
                *({'type': 'text', 'text': c} for c in o['message']['content'])]
        elif fault=='thoughts used up the budget':
            for o in out['choices']: o.update(finish_reason='length', message={
                'role': 'assistant', 'content': None, 'reasoning_content': 'Angry or sad? The pitch'})
        elif fault=='log-probabilities of thoughts':
            for o in out['choices']:
                o['logprobs']['content'][:0] = [{'token': t, 'logprob': -9., 'bytes': None} for t in THINKING]
                o.pop('token_ids', None)
        elif fault=='log-probabilities of something else':
            for o in out['choices']:
                o['message']['reasoning_content'] = 'hm'
                o['logprobs']['content'] = [{'token': t, 'logprob': -9., 'bytes': None} for t in THINKING]

    # --- Gemini -----------------------------------------------------------------------------------
    def gemini(self, ask, fault):  # Accepts camelCase and snake_case, as the SDK sends both
        model = self.path.rpartition('/models/')[2].partition(':')[0]
        if model not in KNOWN: return self.refuse(404, f'models/{model} is not found', {'status': 'NOT_FOUND'})
        config = ask.get('generationConfig', {})
        n, wants = config.get('candidateCount', 1), config.get('responseLogprobs')
        n = min(n, GIVES.get(fault, n))
        if 'n' in self.home.lacks and n>1: return self.refuse(400, 'Multiple candidates is not enabled for this model')
        if n>8: return self.refuse(400, 'candidate_count must be between 1 and 8')
        if 'logprobs' in self.home.lacks and wants: return self.refuse(400, 'Logprobs is not enabled for this model')
        parts = [p for o in ask['contents'] for p in o['parts']]
        data = next((p for p in parts if 'inlineData' in p or 'inline_data' in p), {})
        data = data.get('inlineData') or data.get('inline_data') or dict(data='')
        sound, seconds = self.heard(data['data'])
        question = next(p['text'] for p in parts if 'text' in p)
        found = answers(sound, question, dict(config, seed=config.get('seed', 0)), n, False)
        out = {'candidates': [self.candidate(i, o, sound, question, wants) for i, o in enumerate(found)],
               'modelVersion': self.home.serves or model, 'responseId': 'r1', 'usageMetadata': {
                   'promptTokenCount': 32+len(question), 'candidatesTokenCount': sum(map(len, found)),
                   'totalTokenCount': 32+len(question)+sum(map(len, found)), 'promptTokensDetails': [
                       {'modality': 'AUDIO', 'tokenCount': round(128*seconds)}, {'modality': 'TEXT', 'tokenCount': len(question)}]}}
        self.spoil(out, fault)
        self.deliver(out, fault, 'candidates', 'usageMetadata')

    def candidate(self, index, text, sound, question, wants):
        out = {'index': index, 'finishReason': 'STOP', 'content': {'role': 'model', 'parts': [{'text': text}]}}
        if not wants: return out
        ids = ids_of(text)
        scores = logprobs(sound, question, ids)
        chosen = [{'token': o, 'tokenId': t, 'logProbability': p}
                  for o, t, p in zip(text, ids, scores, strict=True)]
        return {**out, 'avgLogprobs': sum(scores)/len(scores), 'logprobsResult': {'chosenCandidates': chosen}}

    def spoil(self, out, fault):  # Blocks and other outcomes of Gemini
        first = out['candidates'][0]
        if fault=='prompt blocked':
            del out['candidates']
            out['promptFeedback'] = {'blockReason': 'SAFETY'}
        elif fault=='all safety':
            for o in out['candidates']: o['finishReason'] = 'SAFETY'; del o['content']
        elif fault=='safety': first['finishReason'] = 'SAFETY'; del first['content']
        elif fault=='max tokens': first['finishReason'] = 'MAX_TOKENS'; first['content'] = {'role': 'model'}
        elif fault=='unknown reason': first['finishReason'] = 'TIRED'
        elif fault=='null content':
            for o in out['candidates']: o['content'] = {'role': 'model', 'parts': []}
        elif fault=='NaN logprob': first['logprobsResult']['chosenCandidates'][0]['logProbability'] = math.nan
        elif fault=='unheard': out['usageMetadata']['promptTokensDetails'][0]['tokenCount'] = 0
        elif fault=='finish: error': [o.update(finishReason='MALFORMED_FUNCTION_CALL') for o in out['candidates']]
        elif fault=='one choice failed': first['finishReason'] = 'OTHER'; del first['content']
        elif fault=='content is a list':
            for o in out['candidates']: o['content']['parts'] = [
                {'text': 'happy?', 'thought': True}, *({'text': c} for c in o['content']['parts'][0]['text'])]
        elif fault=='thoughts used up the budget':
            for o in out['candidates']: o.update(finishReason='MAX_TOKENS', content={'role': 'model'})
            out['usageMetadata'].update(candidatesTokenCount=None, thoughtsTokenCount=60)
        elif fault=='log-probabilities of thoughts':
            for o in out['candidates']: o['logprobsResult']['chosenCandidates'][:0] = [
                {'token': t, 'tokenId': 7, 'logProbability': -9.} for t in THINKING]
        elif fault=='log-probabilities of something else':
            out['usageMetadata']['thoughtsTokenCount'] = 60
            for o in out['candidates']: o['logprobsResult']['chosenCandidates'] = [
                {'token': t, 'tokenId': 7, 'logProbability': -9.} for t in THINKING]
        elif fault=='thoughts': first['content']['parts'].insert(0, {'text': 'Hmm, angry', 'thought': True})

def answers(sound, question, ask, n, beam):  # What is said: `n` words
    said = ('yes', 'no') if 'yes or no' in question else WORDS
    words = ask.get('structured_outputs', {}).get('choice', said)
    if 'grammar' in ask: words = [json.loads(o) for o in ask['grammar'].removeprefix('root ::= ').split(' | ')]
    if beam: return sorted(words, key=lambda o: -total(sound, question, o))[:n]
    if ask.get('temperature', 1)<.05: return [max(words, key=lambda o: total(sound, question, o))]*n
    return [words[int(chance(sound, question, ask.get('seed', 0), i)*len(words))] for i in range(n)]

def total(sound, question, answer):  # The log-probability of an answer with its end
    return math.fsum(logprobs(sound, question, [*ids_of(answer), END_ID]))

def likeliest(p, ask):
    "As vLLM gives them: the token that was drawn first, then the likeliest; as many as were asked for."
    rest = [-.25*(i+1) for i in range(ask.get('top_logprobs', 0))]
    return [{'token': str(i), 'logprob': o, 'bytes': None} for i, o in enumerate([p, *rest][:len(rest)])]

def prompt_logprobs(sound, question, ask):
    "As vLLM reports them: the first token has none; the audio's tokens are in front."
    prompt = [None, *({'151646': {'logprob': -9., 'rank': 5, 'decoded_token': '<|audio|>'}} for _ in range(4))]
    prompt += [{str(ord(o)): {'logprob': -3., 'rank': 2, 'decoded_token': o}} for o in question]
    said = [o for o in ask['messages'] if o['role']=='assistant']
    if not said: return prompt
    assert ask['continue_final_message'] and not ask['add_generation_prompt']
    answer = said[0]['content']
    ids = ids_of(answer.removesuffix(END))+[END_ID]*answer.endswith(END)
    return prompt+[{str(t): {'logprob': p, 'rank': 1, 'decoded_token': END if t==END_ID else chr(t)}}
                   for t, p in zip(ids, logprobs(sound, question, ids), strict=True)]
