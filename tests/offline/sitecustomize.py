"""Cuts a Python process off from every network but this machine; found through PYTHONPATH by each
process that the tests start, kernels included. What was tried is written to AMBISCALE_NET_LOG. With AMBISCALE_TEST_HOLD
a process waits once that many lines of its journals are on disk, so that it is stopped there and nowhere else."""
import ipaddress
import os
import re
import socket
import sys
import time

real = {name: getattr(socket.socket, name) for name in ('connect', 'connect_ex', 'sendto')}
look_up = socket.getaddrinfo

def at_home(host):
    "Whether a name or an address is this machine; None and '' are, as in `getaddrinfo`."
    if isinstance(host, bytes): host = host.decode()
    if host in (None, '', 'localhost', socket.gethostname()): return True
    try: return ipaddress.ip_address(host.partition('%')[0]).is_loopback
    except ValueError: return False

def refuse(host):
    "Write down where a process wanted to go, and stop it."
    if log := os.environ.get('AMBISCALE_NET_LOG'):
        with open(log, 'a', encoding='utf-8') as f: f.write(f'{host}\n')
    raise OSError(f'No network in tests: {host} is not this machine')

def guarded(name):
    "A method of sockets that goes no further than this machine."
    def method(self, *args):
        address = args[-1]
        if self.family in (socket.AF_INET, socket.AF_INET6) and not at_home(address[0]):
            refuse(address[0])
        return real[name](self, *args)
    return method

def local_look_up(host, *args, **kwargs):
    "Names of other machines are not looked up; addresses need no looking up."
    if not at_home(host):
        try: ipaddress.ip_address(host)
        except ValueError: refuse(host)
    return look_up(host, *args, **kwargs)

for _name in real: setattr(socket.socket, _name, guarded(_name))
socket.getaddrinfo = local_look_up

def held(flush, most):
    "`os.fsync`, which does not return from the last line that is wanted."
    lines = []
    def wrapped(fd):
        flush(fd)
        if os.path.realpath(f'/proc/self/fd/{fd}').endswith('.jsonl'): lines.append(fd)
        while len(lines) >= most: time.sleep(.1)
    return wrapped

def hold():
    if most := os.environ.get('AMBISCALE_TEST_HOLD'): os.fsync = held(os.fsync, int(most))

def borrow():
    "Become the stand-in of a fork that has imported what is slow, if there is a server and it can do this (see `in_one`)."
    address = os.environ.get('AMBISCALE_FORKS')
    if not address: return
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from in_one import stand_in, wanted
    del sys.path[0]
    if asked := wanted(sys.orig_argv): stand_in(address, asked)

hold()
if re.search('ipykernel_launcher|spawn_main|/(ambiscale|papermill|exec_nb|second_day.py) ', ' '.join(sys.orig_argv)+' '): borrow()
