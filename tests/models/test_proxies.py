"""Proxies as environments have them: with and without a scheme, by networks in NO_PROXY, of kinds that cannot be used. What
cannot be used is refused when a model is loaded; this machine is never reached through a proxy."""
import httpx2
import pytest
from loopback import DIRECT, WAVE, WORDS, Loopback
from ambiscale_nb.core import InputError
from ambiscale_nb.models.transport import Transport, bypasses_proxy, find_proxy
from ambiscale_nb.models.contract import CallError, load_model

FAR = 'http://models.invalid:8000/v1'

@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for o in ('HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'NO_PROXY'):
        for name in (o, o.lower()): monkeypatch.delenv(name, raising=False)

@pytest.mark.parametrize(('variable', 'value', 'url', 'proxy'), [
    ('HTTP_PROXY', 'http://p:3128', FAR, 'http://p:3128'), ('http_proxy', 'p:3128', FAR, 'http://p:3128'),
    ('HTTP_PROXY', ' p.corp:3128 ', FAR, 'http://p.corp:3128'), ('HTTP_PROXY', 'p', FAR, 'http://p:80'),
    ('HTTP_PROXY', 'https://p', FAR, 'https://p:443'), ('HTTP_PROXY', '[fd00::1]:3128', FAR, 'http://[fd00::1]:3128'),
    ('HTTP_PROXY', 'http://p:3128/', FAR, 'http://p:3128'), ('ALL_PROXY', 'p:1', FAR, 'http://p:1'),
    ('Http_Proxy', 'p:1', FAR, 'http://p:1'), ('ALL_PROXY', 'p:1', 'https://far.example/v1', 'http://p:1'), ('HTTPS_PROXY', 'p:1', FAR, None), ('HTTP_PROXY', '', FAR, None)])
def test_a_proxy_is_read_as_curl_reads_it(monkeypatch, variable, value, url, proxy):
    monkeypatch.setenv(variable, value)
    found = find_proxy(url)
    assert (found and found[1]) == proxy and (not found or found[0] == variable)

def test_the_password_of_a_proxy_is_passed_on_and_not_shown(monkeypatch):
    monkeypatch.setenv('HTTP_PROXY', 'me:p%40ss@p:3128')
    assert find_proxy(FAR) == ('HTTP_PROXY', 'http://p:3128', ('me', 'p@ss'))
    monkeypatch.setenv('HTTP_PROXY', 'socks5://me:p%40ss@p:3128')
    with pytest.raises(InputError) as e: find_proxy(FAR)
    assert 'p%40ss' not in str(e.value) and 'p@ss' not in str(e.value)

@pytest.mark.parametrize(('variable', 'value', 'said'), [
    ('ALL_PROXY', 'socks5://127.0.0.1:1080', 'ALL_PROXY names a SOCKS proxy'), ('http_proxy', 'socks5h://p:1', 'http_proxy names a SOCKS'),
    ('HTTP_PROXY', 'http://:3128', 'HTTP_PROXY names no proxy'), ('HTTP_PROXY', 'p:port', 'HTTP_PROXY names no proxy'),
    ('HTTP_PROXY', 'http:/p:3128', 'HTTP_PROXY names no proxy'), ('HTTP_PROXY', 'http://[::1', 'HTTP_PROXY names no proxy'),
    ('HTTP_PROXY', 'http//p:3128', 'HTTP_PROXY names no proxy'), ('HTTP_PROXY', 'p:0', 'HTTP_PROXY names no proxy'),
    ('HTTP_PROXY', 'ftp://p:21', 'HTTP_PROXY names no proxy'), ('HTTP_PROXY', 'DIRECT', 'HTTP_PROXY names no proxy'),
    ('Http_Proxy', 'none', 'Http_Proxy names no proxy'), ('HTTP_PROXY', 'http:3128', 'HTTP_PROXY names no proxy'),
    ('HTTP_PROXY', 'http://pr oxy:1', 'HTTP_PROXY names no proxy'), ('HTTP_PROXY', 'http://\u200bp:1', 'HTTP_PROXY names no proxy'),
    ('HTTP_PROXY', 'p:99999', 'HTTP_PROXY names no proxy')])
def test_a_proxy_that_cannot_be_used_is_refused_when_a_model_is_loaded(monkeypatch, variable, value, said):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=said) as e: load_model('vllm', model='demo', base_urls=FAR)
    assert 'models.invalid in NO_PROXY' in str(e.value)
    load_model('vllm', model='demo', base_urls='http://127.0.0.1:8000/v1')  # this machine needs none
    monkeypatch.setenv('NO_PROXY', '.invalid')
    load_model('vllm', model='demo', base_urls=FAR)

@pytest.mark.parametrize(('host', 'rules', 'direct'), [
    ('localhost', '', True), ('127.0.0.1', '', True), ('127.8.9.1', '', True), ('::1', '', True), ('a.localhost', '', True),
    ('10.1.2.3', '10.0.0.0/8', True), ('10.1.2.3', '192.168.0.0/16, 10.1.2.0/24', True), ('10.1.3.3', '10.1.2.0/24', False),
    ('fd00::5', 'fd00::/8', True), ('fd00::5', '10.0.0.0/8', False), ('10.1.2.3', '10.1.2.3', True), ('10.1.2.3', '10.1.2.3:8000', True),
    ('gpu.corp', 'corp', True), ('gpu.corp', '.corp', True), ('gpu.corp', '*.corp', True), ('corp', '.corp', True),
    ('gpucorp', 'corp', False), ('gpu.corp.example', 'corp', False), ('GPU.Corp', 'gpu.corp', True), ('any', '*', True),
    ('fd00::5', '[fd00::]/8', True), ('fd00::5', '[fd00::5]:8000', True), ('fd01::5', '[fd00::]/16', False),
    ('::ffff:10.1.2.3', '10.0.0.0/8', True), ('0.0.0.0', '', True), ('gpu.corp', 'gpu.corp.', True),
    ('gpu.corp', 'http://gpu.corp/', True), ('gpu.corp', 'http://gpu.corp:80', True), ('10.1.2.3', '10.0.0.0/255.0.0.0', True),
    ('127.0.0.1.example', '', False), ('localhost.example', '', False), ('10.1.2.3', '10.0.0.0/33', False),
    ('10.1.2.3', '10.1.*', True), ('10.1.2.3', '10.1.2.', True), ('10.1.2.3', '10.1.3.', False), ('10.11.2.3', '10.1.*', False),
    ('gpu.corp', 'far;gpu.corp', True), ('gpu.corp', '"gpu.corp"', True), ('gpu.corp', "'.corp', far", True), ('gpu.corp', 'gpu.*', True),
    ('gpu2.corp', 'gpu*.corp', True), ('my.gpu.corp', 'gpu.*', False), ('10.1.2.3', '10.1.2.3.', True), ('far', '""', False),
    ('gpu.corp', 'gpu.corp:8000', True), ('10.1.2.3', '2.3', False), ('far', ', ,', False), ('far', '10.0.0.0/8', False)])
def test_what_is_reached_directly(host, rules, direct): assert bypasses_proxy(host, rules) == direct

@pytest.mark.parametrize('value', ['socks5://127.0.0.1:1', 'http://:1', 'ftp://p:1'])
@pytest.mark.parametrize('protocol', ['vllm', 'gemini'])
def test_a_proxy_that_cannot_be_used_does_not_keep_from_this_machine(protocol, value, server, monkeypatch):
    for o in ('ALL_PROXY', 'HTTP_PROXY', 'HTTPS_PROXY'): monkeypatch.setenv(o, value)
    alm = load_model(protocol, model='demo', base_urls=server.gemini if protocol=='gemini' else server.url, key='')
    assert alm.greedy(WAVE, DIRECT).text in WORDS
    alm.close()

def test_a_request_goes_through_a_proxy_without_a_scheme_and_past_it_by_a_network(server, monkeypatch):
    near = server.gemini.removeprefix('http://')
    monkeypatch.setenv('HTTP_PROXY', near)
    for url, path in ((FAR, f'{FAR}/x'), (f'http://{near}/v1', '/v1/x')):
        transport = Transport(url)
        answer = transport.receive(httpx2.Request('POST', f'{url}/x', content=b'{}'))
        assert answer['status'] == 404 and server.asked[-1][0] == path  # it has no page of this name
        transport.close()
        monkeypatch.setenv('NO_PROXY', '127.0.0.0/8')

def test_an_error_through_a_proxy_names_its_variable(monkeypatch):
    with Loopback() as gone: pass
    monkeypatch.setenv('HTTP_PROXY', gone.gemini)
    alm = load_model('vllm', model='demo', base_urls=FAR, retry=dict(tries=1))
    with pytest.raises(CallError, match='through the proxy that HTTP_PROXY names'): alm.greedy(WAVE, DIRECT)
    alm.close()
