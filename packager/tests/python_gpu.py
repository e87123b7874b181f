"""What only a GPU can show of the generated Python package: streams, graphs, memory, several devices.

Usage: LAMINA_TEST_DEVICE=cuda python_gpu.py STEP BUNDLE.  Steps: streams, graphs, memory, devices.
"""
import copy
import sys

import torch

from python_modules import DEVICE, Hosts, draw, draw_mask, load, randomise, says


class Patched:
    """An ESMFold2 module with the bundle's layer in it, and a problem for it."""

    def __init__(self, bundle):
        self.hosts = Hosts(load(bundle), dim=128)
        self.module = self.hosts.patched(self.hosts.esmfold2)
        self.x, self.mask = self.hosts.x.clone(), self.hosts.mask

    def fresh(self):
        return self.hosts.patched(randomise(self.hosts.esmfold2_class(128, "outgoing")))


def streams(bundle):
    """A call waits for what its own stream has before it, whichever stream that is, and the caller does not wait for the GPU."""
    one = Patched(bundle)
    expected = one.module(one.x, one.mask)
    late, stream = torch.zeros_like(one.x), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)  # cycles, about a tenth of a second: the input arrives behind them
        late.copy_(one.x)
        found = one.module(late, one.mask)
    assert not stream.query(), "the call returned when the GPU was done"
    stream.synchronize()
    assert torch.equal(found, expected)


def graphs(bundle):
    """Captured after one call; a replay reads what lies in the input then.  Weights cannot be packed in a capture, and it says so."""
    one = Patched(bundle)
    one.module(one.x, one.mask)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = one.module(one.x, one.mask)
    for scale in (2, 3):
        one.x.copy_(scale * one.hosts.x + 1)
        graph.replay()
        assert torch.equal(out, one.module(one.x, one.mask)) and float(out.abs().max()) > 0, scale
    fresh = one.fresh()

    def too_early():
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            fresh(one.x, one.mask)
    says(RuntimeError, "call it once before the capture", too_early)
    torch.cuda.synchronize()
    assert torch.equal(out, one.module(one.x, one.mask)), "after a capture that failed"


def memory(bundle):
    """Calls take memory from torch's allocator alone and give it back; what stays is the packed weights."""
    one = Patched(bundle)
    sizes = (17, 64, 200, 256)
    for size in sizes:  # kernels load with their first launch
        one.module(draw(1, size, size, 128), draw_mask(1, size, size))
    torch.cuda.synchronize()
    allocated, reserved, free = torch.cuda.memory_allocated(), torch.cuda.memory_reserved(), torch.cuda.mem_get_info()[0]
    for size in 5 * sizes:
        one.module(draw(1, size, size, 128), draw_mask(1, size, size))
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() == allocated, "a call kept memory"
    beside = free - torch.cuda.mem_get_info()[0] - (torch.cuda.memory_reserved() - reserved)
    print(f"taken beside torch's allocator by {5 * len(sizes)} calls: {beside} bytes")
    assert beside <= 0, "somebody else allocated"


def devices(bundle):
    """Each device of the machine serves its own tensors, in one process; tensors of two are refused."""
    one = Patched(bundle)
    expected = one.module(one.x, one.mask)
    for index in range(torch.cuda.device_count()):
        there = torch.device("cuda", index)
        found = copy.deepcopy(one.module).to(there)(one.x.to(there), one.mask.to(there))
        assert found.device == there and torch.equal(found.to(DEVICE), expected), there
    print(f"{torch.cuda.device_count()} devices")
    if torch.cuda.device_count() > 1:
        says(RuntimeError, "move the module with .to()", one.module, one.x.to("cuda:1"), one.mask.to("cuda:1"))


if __name__ == "__main__":
    if DEVICE.type != "cuda":
        sys.exit("these steps need a GPU: LAMINA_TEST_DEVICE=cuda")
    with torch.no_grad():
        {step.__name__: step for step in (streams, graphs, memory, devices)}[sys.argv[1]](sys.argv[2])
    print(f"{sys.argv[1]}: passed")
