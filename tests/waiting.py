"""Waiting for a state, never for a time: a slow machine changes nothing but how long a test takes."""
import os
import time

PATIENCE = float(os.getenv('AMBISCALE_TEST_PATIENCE', '3600'))  # Seconds after which a test hangs, whatever the machine

def until(true, what='it never happened', process=None):
    "Wait until something is true; fails where the process that should make it true has ended."
    end = time.monotonic()+PATIENCE
    while not (found := true()):
        assert process is None or process.poll() is None or true(), what+ended(process)
        assert time.monotonic() < end, what
        time.sleep(.02)
    return found

def ended(process):  # What a process said that has ended
    said = ' '.join(str(o.read()) for o in (process.stdout, process.stderr) if o)
    return f' (the process ended with status {process.returncode}: {said[-3000:]})'
