"The rule kept here: no test, and no process that a test starts, reaches another machine."
import os
import socket
import subprocess
import sys
import urllib.request
import pytest

ELSEWHERE = '192.0.2.1' # RFC 5737: an address that nobody has

def test_other_machines_are_out_of_reach(no_network):
    with pytest.raises(OSError, match='No network in tests'): socket.create_connection((ELSEWHERE, 80))
    with pytest.raises(OSError, match='No network'): urllib.request.urlopen('http://example.org')
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        with pytest.raises(OSError, match='No network'): s.sendto(b'?', (ELSEWHERE, 53))
    assert no_network.read_text().split()==[ELSEWHERE, 'example.org', ELSEWHERE]
    no_network.unlink()

def test_a_swallowed_attempt_of_another_process_is_seen(no_network):
    code = f'''import socket
try: socket.create_connection(({ELSEWHERE!r}, 80), 1)
except OSError as e: print(e)'''
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert 'No network in tests' in out.stdout and no_network.read_text().split()==[ELSEWHERE]
    no_network.unlink()

def test_this_machine_is_within_reach():
    with socket.create_server(('127.0.0.1', 0)) as server:
        for name in ('127.0.0.1', 'localhost'): socket.create_connection((name, server.getsockname()[1]), 5).close()

def test_one_thread_and_no_downloads(): assert os.environ['OMP_NUM_THREADS'] and os.environ['HF_HUB_OFFLINE']=='1'
