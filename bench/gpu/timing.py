"""Times of forms that take turns on one GPU, and what the card's clock did meanwhile.

Each form is captured into a CUDA graph of several calls over rotating buffers; the graphs take turns, every other round in the opposite
order, and a form's time is the median over the rounds.  All run under the same power limit that way: timed one after the other, forms
differ by up to 30 % that are not theirs.  Where there is no GPU the same calls are timed by the host's clock, for tests of the bench alone.
"""
import ctypes
import statistics
import threading
import time

import torch

SECONDS_OF_A_TURN = 6e-3  # at the floor's speed: long beside what starting a graph takes, short beside what the card needs to change its clock
SLEEP_CYCLES = 200_000    # the GPU waits this long while the host enqueues a turn, so that its start is not timed


class Card:
    """Samples the first GPU's SM clock, power and temperature fifty times a second, by NVIDIA's management library."""

    def __init__(self, device):
        self.samples, self.done = [], threading.Event()
        if device != "cuda":
            return
        try:
            self.library, self.handle = ctypes.CDLL("libnvidia-ml.so.1"), ctypes.c_void_p()
        except OSError:
            return
        if self.library.nvmlInit_v2() == 0 and self.library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self.handle)) == 0:
            threading.Thread(target=self.sample, daemon=True).start()

    def sample(self):
        mhz, milliwatts, celsius = ctypes.c_uint(), ctypes.c_uint(), ctypes.c_uint()
        sm_clock, gpu_sensor = 1, 0
        while not self.done.wait(0.02):
            codes = (self.library.nvmlDeviceGetClockInfo(self.handle, sm_clock, ctypes.byref(mhz)),
                     self.library.nvmlDeviceGetPowerUsage(self.handle, ctypes.byref(milliwatts)),
                     self.library.nvmlDeviceGetTemperature(self.handle, gpu_sensor, ctypes.byref(celsius)))
            if not any(codes):
                self.samples.append((time.monotonic(), mhz.value, milliwatts.value * 1e-3, celsius.value))

    def between(self, begin, end):
        """Medians while something ran; empty where nothing was sampled."""
        rows = [row[1:] for row in list(self.samples) if begin <= row[0] <= end]
        return dict(zip(("sm_mhz", "watts", "celsius"), map(statistics.median, zip(*rows)))) if rows else {}

    def close(self):
        self.done.set()


class Turn:
    """One form's share of a round: calls over the problem's pairs, as many for each form."""

    def __init__(self, form, pairs, floor_seconds, on_gpu):
        self.form, self.pairs, self.on_gpu, self.seconds = form, pairs, on_gpu, []
        self.repeats = max(4, min(40, int(SECONDS_OF_A_TURN / floor_seconds))) if on_gpu else pairs
        for i in range(pairs):
            form(i)
        self.synchronize()
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
        torch.cuda._sleep(SLEEP_CYCLES)
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
