"""Times triangle multiplication on one GPU: Lamina's builds and every peer that is installed, interleaved in one process.

    python3 bench/gpu/triangle_multiplication.py --build A.so [--build B.so] [--sizes 128,256] [--channels 128,256] [--incoming] [--out FILE.json]

Every form is checked against float64 first; a form that is wrong is not timed.  Each is captured into a CUDA graph of several calls over
rotating buffers (more than twice the L2 cache); the graphs take turns, and a form's time is the median over the rounds.  All run under the
same power limit that way: timed one after the other, forms differ by up to 30 % that are not theirs.
"""
import argparse
import json
import statistics
import subprocess
import sys

import torch
import torch.nn.functional as F

from plugin import Plugin

TERA = 1e12
BYTES_PER_SECOND, FLOPS_PER_SECOND = 4.3e12, 790e12  # one H200: copy, dense bf16 on random data


def floor_microseconds(n, c):
    """Three kernels, each bound by bytes or by FLOPs: front (read pair, write a, b), contraction, back (read pair and o, write out)."""
    u, m = n * n * c * 2, n * n
    bound = lambda units, flops: max(units * u / BYTES_PER_SECOND, flops / FLOPS_PER_SECOND)
    return 1e6 * (bound(3, 8 * m * c * c) + bound(3, 2 * m * n * c) + bound(3, 4 * m * c * c))


class Problem:
    def __init__(self, n, c, incoming, extras, seed=1):
        g = torch.Generator("cuda").manual_seed(seed)
        bf = torch.bfloat16
        normal = lambda *shape: torch.randn(*shape, generator=g, device="cuda")
        self.n, self.c, self.incoming, self.extras = n, c, incoming, extras
        self.mask = (torch.rand(n, n, generator=g, device="cuda") > 0.1).to(bf)
        weight = lambda rows: (normal(rows, c) / c**0.5).to(bf)
        self.projection, self.gate, self.out_projection, self.out_gate = weight(2 * c), weight(2 * c), weight(c), weight(c)
        self.norms = [(1 + 0.2 * normal(c)).to(bf), (0.2 * normal(c)).to(bf), (1 + 0.2 * normal(c)).to(bf), (0.2 * normal(c)).to(bf)]
        sets = max(2, min(6, int(400e6 // (5 * n * n * c * 2)) + 1))
        self.pairs = [normal(n, n, c).to(bf) for _ in range(sets)]
        self.residual = normal(n, n, c).to(bf) if extras else None
        self.dropout = (torch.rand(1, n, c, generator=g, device="cuda") > 0.25).to(bf) / 0.75 if extras else None

    def formula(self, pair, dtype):
        """The host module's own lines (ESMFold2, Boltz), in any dtype."""
        cast = lambda x: x.to(dtype)
        z = F.layer_norm(cast(pair), (self.c,), *map(cast, self.norms[:2]))
        ab = F.linear(z, cast(self.projection)) * torch.sigmoid(F.linear(z, cast(self.gate))) * cast(self.mask)[..., None]
        a, b = ab.chunk(2, -1)
        o = torch.einsum("kic,kjc->ijc" if self.incoming else "ikc,jkc->ijc", a, b)
        u = F.linear(F.layer_norm(o, (self.c,), *map(cast, self.norms[2:])), cast(self.out_projection))
        u = u * torch.sigmoid(F.linear(z, cast(self.out_gate)))
        return cast(self.residual) + cast(self.dropout) * u if self.extras else u


class Ours:
    def __init__(self, plugin, problem):
        n, c = problem.n, problem.c
        self.name = f"lamina {plugin.target}"
        half = lambda x, i: x[i * c:(i + 1) * c]
        weights = {"norm_in_weight": problem.norms[0], "norm_in_bias": problem.norms[1], "norm_out_weight": problem.norms[2],
                   "norm_out_bias": problem.norms[3], "a_projection_weight": half(problem.projection, 0),
                   "b_projection_weight": half(problem.projection, 1), "a_gate_weight": half(problem.gate, 0),
                   "b_gate_weight": half(problem.gate, 1), "out_projection_weight": problem.out_projection, "out_gate_weight": problem.out_gate}
        direction = {"direction": "incoming"} if problem.incoming else {}
        measure = plugin.prepare("pack", weights | {"packed": torch.empty(0, dtype=torch.uint8, device="cuda")}, dtype="bfloat16", **direction)
        packed = torch.empty(measure.need.packed_size, dtype=torch.uint8, device="cuda")
        plugin.prepare("pack", weights | {"packed": packed}, dtype="bfloat16", **direction).run()
        self.calls, self.outs = [], []
        workspace = None
        for pair in problem.pairs:
            out = torch.full_like(pair, float("nan"))
            tensors = weights | {"pair": pair[None], "pair_mask": problem.mask[None], "packed": packed, "out": out[None]}
            if problem.extras:
                tensors |= {"residual": problem.residual[None], "dropout_mask": problem.dropout.expand(n, n, c)[None]}
            call = plugin.prepare("forward", tensors, **direction)
            if workspace is None:
                workspace = torch.full((call.need.workspace_size + 256,), 255, dtype=torch.uint8, device="cuda")
            call.use_workspace(workspace[(-workspace.data_ptr()) % 256:])
            self.calls.append(call)
            self.outs.append(out)
        self.workspace, self.extra_bytes = workspace, workspace.numel()

    def __call__(self, i):
        self.calls[i].run()
        return self.outs[i]


def peers(problem, wanted):
    """(name, function of a buffer's index); one that is not installed says so."""
    if "eager" in wanted:
        yield "PyTorch eager", lambda i: problem.formula(problem.pairs[i], torch.bfloat16)
    if "cuequivariance" not in wanted:
        return
    try:
        from cuequivariance_torch import triangle_multiplicative_update
    except ImportError as error:
        print(f"cuEquivariance is not installed: {error}", file=sys.stderr)
        return
    p = problem
    def cuequivariance(i):
        u = triangle_multiplicative_update(
            p.pairs[i][None], direction="incoming" if p.incoming else "outgoing", mask=p.mask[None], norm_in_weight=p.norms[0],
            norm_in_bias=p.norms[1], p_in_weight=p.projection, g_in_weight=p.gate, norm_out_weight=p.norms[2], norm_out_bias=p.norms[3],
            p_out_weight=p.out_projection, g_out_weight=p.out_gate)[0]
        return p.residual + p.dropout * u if p.extras else u
    yield "cuEquivariance", cuequivariance


def captured(form, sets, repeats):
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for i in range(sets):
            form(i)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(repeats):
            form(i % sets)
    return graph


def measure(problem, plugins, wanted, rounds):
    truth = problem.formula(problem.pairs[0], torch.float64) if problem.n <= 768 else None
    forms, rows = [], []
    candidates = []
    for plugin in plugins:
        ours = Ours(plugin, problem)
        candidates.append((ours.name, ours))
    candidates += list(peers(problem, wanted))
    sets = len(problem.pairs)
    floor = floor_microseconds(problem.n, problem.c)
    repeats = max(4, min(40, int(6000 / floor)))
    for name, form in candidates:
        try:
            error = None
            if truth is not None:
                got = form(0).double()
                error = ((got - truth).norm() / truth.norm()).item()
                if not error < 1e-2:
                    raise RuntimeError(f"relative error {error:.3g} against float64")
            if name == "PyTorch eager" and problem.n > 1024:
                continue
            forms.append((name, captured(form, sets, repeats), []))
            rows.append({"form": name, "error": error, "extra_bytes": getattr(form, "extra_bytes", None)})
        except Exception as failure:  # a peer that fails here is a line of the table, not the end of it
            print(f"N={problem.n} C={problem.c} {name}: NOT TIMED: {failure}", flush=True)
    for turn in range(rounds + 2):
        for _, graph, times in forms:
            begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
            begin.record()
            graph.replay()
            end.record()
            torch.cuda.synchronize()
            if turn > 1:
                times.append(begin.elapsed_time(end) * 1e3 / repeats)
    for row, (_, _, times) in zip(rows, forms):
        row |= {"N": problem.n, "C": problem.c, "incoming": problem.incoming, "extras": problem.extras, "microseconds": statistics.median(times),
                "least": min(times), "most": max(times), "floor": floor}
    return rows


def print_rows(rows):
    peer = next((row["microseconds"] for row in rows if row["form"] == "cuEquivariance"), None)
    for row in rows:
        ratio = f"{peer / row['microseconds']:5.2f}x cuEq" if peer else ""
        error = f"error {row['error']:.2e}" if row["error"] is not None else ""
        extra = f"{row['extra_bytes'] / (row['N'] ** 2 * row['C'] * 2):.2f} U extra" if row["extra_bytes"] else ""
        direction = "incoming" if row["incoming"] else "outgoing"
        print(f"N={row['N']:5} C={row['C']} {direction} {'fused' if row['extras'] else 'plain':5} {row['form']:18} {row['microseconds']:9.1f} us "
              f"{100 * row['floor'] / row['microseconds']:5.1f} % of floor {ratio} {error} {extra}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(x) for x in text.split(",")]
    parser.add_argument("--build", action="append", required=True, help="a CUDA plug-in; may be given several times")
    parser.add_argument("--sizes", type=numbers, default=[128, 256, 384, 512, 768, 1024, 2048])
    parser.add_argument("--channels", type=numbers, default=[128, 256])
    parser.add_argument("--peers", default="eager,cuequivariance", help="which take turns with ours; eager is slow and cools the card")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--incoming", action="store_true")
    parser.add_argument("--extras", action="store_true", help="with residual and dropout mask, fused in ours")
    parser.add_argument("--commit", default="unknown", help="what the builds were made from, for the record")
    parser.add_argument("--out", help="write all figures as JSON")
    arguments = parser.parse_args()
    query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
    gpu = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    print(f"{gpu}; torch {torch.__version__}; commit {arguments.commit}; {' '.join(sys.argv[1:])}")
    plugins, everything = [Plugin(path) for path in arguments.build], []
    with torch.no_grad():
        for c in arguments.channels:
            for n in arguments.sizes:
                rows = measure(Problem(n, c, arguments.incoming, arguments.extras), plugins, arguments.peers.split(","), arguments.rounds)
                print_rows(rows)
                everything += rows
                torch.cuda.empty_cache()
    if arguments.out:
        with open(arguments.out, "w") as file:
            json.dump({"gpu": gpu, "torch": torch.__version__, "commit": arguments.commit, "command": sys.argv, "rows": everything}, file, indent=1)


if __name__ == "__main__":
    main()
