"""What the Python contestants have in common: the conversation with the runner, told in ../contest.h."""
import asyncio
import inspect
import os
import random
import sys
import time

DSN = os.environ["DATABASE_URL"]
KEYS = 100000
POINT = "select * from bench_point where id = "
WIDE = "select * from bench_wide"
INSERT_ROWS = [(i, f"name {i}", i * 0.5, i % 3 == 0) for i in range(1, 10001)]


def absent(why):
    print("absent", why, sep="\t", flush=True)
    sys.exit(0)


def key():
    return random.randint(1, KEYS)


class Watch:
    """Adds up what lies between start and stop."""

    def __init__(self):
        self.operations, self.seconds, self.cpu, self.kb = 0, 0.0, 0.0, 0

    def start(self):
        self.began_cpu, self.began = time.process_time(), time.perf_counter()

    def stop(self, operations):
        self.seconds += time.perf_counter() - self.began
        self.cpu += time.process_time() - self.began_cpu
        self.operations += operations

    def resident(self, connections):
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        self.operations, self.kb = connections, pages * os.sysconf("SC_PAGESIZE") // 1024

    def __str__(self):
        return f"ok\toperations={self.operations}\tseconds={self.seconds:.6f}\tcpu={self.cpu:.6f}\tkb={self.kb}"


def answer(run, amount, loop):
    watch = Watch()
    try:
        if inspect.iscoroutinefunction(run):
            loop.run_until_complete(run(amount, watch))
        else:
            run(amount, watch)
        return str(watch)
    except Exception as problem:  # whatever it is, the runner is to know
        return "failed\t" + " ".join(str(problem).split())


def serve(label, workloads, loop=None):
    """workloads: {name: function or coroutine function (amount, watch)}"""
    print("ready", label, " ".join(workloads), sep="\t", flush=True)
    for line in sys.stdin:
        name, amount = line.split()
        print(answer(workloads[name], int(amount), loop), flush=True)


def new_loop():
    """An event loop of uvloop where that is installed: the loop and a word for the label."""
    try:
        import uvloop
        loop, word = uvloop.new_event_loop(), " + uvloop"
    except ImportError:
        loop, word = asyncio.new_event_loop(), ""
    asyncio.set_event_loop(loop)
    return loop, word
