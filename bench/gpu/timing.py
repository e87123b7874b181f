"""Times of forms that take turns on one GPU, and what the card's clock did meanwhile.

Each form is captured into a CUDA graph of several calls over rotating buffers; the graphs take turns, every other round in the opposite
order, and a form's time is the median over the rounds.  All run under the same power limit that way: timed one after the other, forms
differ by up to 30 % that are not theirs.  On the CPU (`Clock`s and graphs are missing there) the same calls are timed by a host clock: for
tests of the bench alone.
"""
import ctypes
import statistics
import subprocess
import threading
import time

import torch

LEAST_SECONDS_OF_A_TURN = 2e-3


class Card:
    """Samples the first GPU's clock, power and temperature four times in ten milliseconds' hundred: nvidia-smi in the background."""
    FIELDS = "clocks.sm,power.draw,temperature.gpu"

    def __init__(self, device):
        self.samples, self.process = [], None
        if device != "cuda":
            return
        query = ["nvidia-smi", "--id=0", f"--query-gpu={self.FIELDS}", "--format=csv,noheader,nounits", "--loop-ms=25"]
        self.process = subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            try:
                self.samples.append((time.monotonic(), *map(float, line.split(","))))
            except ValueError:
                continue  # a field that this card does not tell

    def between(self, begin, end):
        """Medians while something ran; empty where nothing was sampled."""
        rows = [row[1:] for row in list(self.samples) if begin <= row[0] <= end]
        return dict(zip(("sm_mhz", "watts", "celsius"), map(statistics.median, zip(*rows)))) if rows else {}

    def close(self):
        if self.process:
            self.process.terminate()


class Turn:
    """One form's share of a round: `repeats` calls over the problem's pairs."""

    def __init__(self, form, pairs, on_gpu):
        self.form, self.pairs, self.on_gpu, self.seconds = form, pairs, on_gpu, []
        for i in range(pairs):
            form(i)
        self.synchronize()
        begin = time.perf_counter()
        form(0)
        self.synchronize()
        self.repeats = max(pairs, min(40, round(LEAST_SECONDS_OF_A_TURN / (time.perf_counter() - begin))))
        self.graph = self.captured() if on_gpu else None

    def synchronize(self):
        if self.on_gpu:
            torch.cuda.synchronize()

    def calls(self):
        for i in range(self.repeats):
            self.form(i % self.pairs)

    def captured(self):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for i in range(self.pairs):
                self.form(i)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.calls()
        return graph

    def take(self):
        if not self.on_gpu:
            begin = time.perf_counter()
            self.calls()
            return (time.perf_counter() - begin) / self.repeats
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        self.graph.replay()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) * 1e-3 / self.repeats


def interleave(turns, rounds, card):
    """Fills each turn's seconds; gives the card's state meanwhile.  The first two rounds warm up."""
    begin = time.monotonic()
    for count in range(rounds + 2):
        if count == 2:
            begin = time.monotonic()
        for turn in turns if count % 2 else reversed(turns):
            seconds = turn.take()
            if count >= 2:
                turn.seconds.append(seconds)
    return card.between(begin, time.monotonic())


def peak_extra_bytes(form, output_bytes, on_gpu):
    """What a call needs beyond its inputs and its output, as the framework's allocator sees it."""
    if not on_gpu:
        return None
    form(0)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    kept = form(0)
    torch.cuda.synchronize()
    extra = torch.cuda.max_memory_allocated() - before - output_bytes
    del kept
    return max(0, extra)


def host_seconds(call, run_loop, runs=64, rounds=50):
    """CPU seconds of one `run`: the host's share alone, by a C loop that enqueues `runs` of them; the GPU's queue never fills."""
    library = ctypes.CDLL(run_loop)
    library.lamina_run_loop.restype = ctypes.c_double
    library.lamina_run_loop.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int]
    if call.on_gpu:
        call.call.stream = torch.cuda.current_stream().cuda_stream
    function = ctypes.cast(call.op.contents.run, ctypes.c_void_p)
    taken = []
    for _ in range(rounds):
        seconds = library.lamina_run_loop(function, call.plan, ctypes.addressof(call.call), ctypes.addressof(call.error), runs)
        if call.on_gpu:
            torch.cuda.synchronize()
        if seconds < 0:
            raise RuntimeError(f"run failed: {call.error.message.decode()}")
        taken.append(seconds / runs)
    return statistics.median(taken[2:])
