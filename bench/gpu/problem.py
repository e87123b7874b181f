"""One triangle multiplication to be timed: shapes, random tensors, the formula in any dtype, and what the hardware's limits allow."""
import torch
import torch.nn.functional as F

# One H200, measured: a copy counting bytes read and written, a dense bf16 product of random data.  docs/measurements says where they come from.
BYTES_PER_SECOND, FLOPS_PER_SECOND = 4.3e12, 790e12
ROTATED_BYTES = 400e6  # at least; the L2 cache holds 60 MB, and a call's own traffic is five tensors or more


class Shape:
    """B pairs of N x N positions, C channels, H hidden ones; io and plane: bytes of an element of pair and out, and of a, b and o."""

    def __init__(self, n, c, h=None, batch=1, dtype="bfloat16", incoming=False, extras=False, gate_before=False):
        self.n, self.c, self.h, self.batch = n, c, h or c, batch
        self.dtype, self.incoming, self.extras = dtype, incoming, extras
        self.gate_width = self.h if gate_before else c  # of the output gate, which multiplies before or after the projection

    @property
    def io(self):
        return 4 if self.dtype == "float32" else 2

    @property
    def unit(self):
        """U: the bytes of one pair tensor."""
        return self.batch * self.n * self.n * self.c * self.io

    def steps(self):
        """(FLOPs, least bytes) of front, contraction and back, each reading its inputs and writing its outputs once."""
        m, c, h, plane = self.batch * self.n * self.n, self.c, self.h, 2
        front = 8 * m * c * h, m * (c * self.io + 2 * h * plane)
        contraction = 2 * m * self.n * h, 3 * m * h * plane
        back = 2 * m * (h + self.gate_width) * c, m * (2 * c * self.io + h * plane) + (self.unit if self.extras else 0)
        return front, contraction, back

    def flops(self):
        return sum(flops for flops, _ in self.steps())

    def bytes(self):
        return sum(size for _, size in self.steps())

    def floor(self):
        """Seconds that three kernels need at least: each is bound by its bytes or by its FLOPs."""
        return sum(max(flops / FLOPS_PER_SECOND, size / BYTES_PER_SECOND) for flops, size in self.steps())

    def key(self):
        return {"B": self.batch, "N": self.n, "C": self.c, "H": self.h, "dtype": self.dtype,
                "direction": "incoming" if self.incoming else "outgoing", "extras": self.extras}


class Problem:
    """Random tensors of a shape: several pairs to take turns, so that no call finds its input in the cache."""

    def __init__(self, shape, device, seed=1, rotated_bytes=ROTATED_BYTES):
        s, generator = shape, torch.Generator(device).manual_seed(seed)
        dtype = getattr(torch, s.dtype)
        normal = lambda *extents: torch.randn(*extents, generator=generator, device=device)
        uniform = lambda *extents: torch.rand(*extents, generator=generator, device=device)
        weight = lambda rows, columns: (normal(rows, columns) / columns**0.5).to(dtype)
        self.shape, self.device, self.dtype = shape, device, dtype
        self.mask = (uniform(s.batch, s.n, s.n) > 0.1).to(dtype)
        self.projection, self.gate = weight(2 * s.h, s.c), weight(2 * s.h, s.c)
        self.out_projection, self.out_gate = weight(s.c, s.h), weight(s.c, s.c)
        self.norm_in = (1 + 0.2 * normal(s.c)).to(dtype), (0.2 * normal(s.c)).to(dtype)
        self.norm_out = (1 + 0.2 * normal(s.h)).to(dtype), (0.2 * normal(s.h)).to(dtype)
        sets = max(2, min(6, int(rotated_bytes // (5 * s.unit)) + 1))
        self.pairs = [normal(s.batch, s.n, s.n, s.c).to(dtype) for _ in range(sets)]
        self.residual = normal(s.batch, s.n, s.n, s.c).to(dtype) if s.extras else None
        self.dropout = (uniform(s.batch, 1, s.n, s.c) > 0.25).to(dtype) / 0.75 if s.extras else None

    def formula(self, pair, cast=lambda x: x):
        """The published module's own lines, in whatever dtype `cast` gives."""
        s = self.shape
        z = F.layer_norm(cast(pair), (s.c,), *map(cast, self.norm_in))
        ab = F.linear(z, cast(self.projection)) * torch.sigmoid(F.linear(z, cast(self.gate))) * cast(self.mask)[..., None]
        a, b = ab.chunk(2, -1)
        o = torch.einsum("bkic,bkjc->bijc" if s.incoming else "bikc,bjkc->bijc", a, b)
        u = F.linear(F.layer_norm(o, (s.h,), *map(cast, self.norm_out)), cast(self.out_projection))
        u = u * torch.sigmoid(F.linear(z, cast(self.out_gate)))
        return cast(self.residual) + cast(self.dropout) * u if s.extras else u

    def relative_error(self, got, pair):
        """Frobenius, against the formula in float64; a band of rows at a time, so that the largest problems fit."""
        s, wide = self.shape, lambda x: x.double()
        band = max(1, min(s.n, int(4e9 // (s.batch * s.n * max(s.c, s.h) * 8 * 8))))
        norm = lambda x: F.layer_norm(wide(x), (s.c,), *map(wide, self.norm_in))
        a, b = (torch.empty(s.batch, s.h, s.n, s.n, dtype=torch.float64, device=self.device) for _ in range(2))
        for i in range(0, s.n, band):
            z = norm(pair[:, i:i + band])
            ab = F.linear(z, wide(self.projection)) * torch.sigmoid(F.linear(z, wide(self.gate))) * wide(self.mask[:, i:i + band, :, None])
            a[:, :, i:i + band], b[:, :, i:i + band] = (x.permute(0, 3, 1, 2) for x in ab.chunk(2, -1))
        difference, size = 0.0, 0.0
        for i in range(0, s.n, band):
            o = a[:, :, :, i:i + band].transpose(2, 3) @ b if s.incoming else a[:, :, i:i + band] @ b.transpose(2, 3)
            o = o.permute(0, 2, 3, 1)
            u = F.linear(F.layer_norm(o, (s.h,), *map(wide, self.norm_out)), wide(self.out_projection))
            u = u * torch.sigmoid(F.linear(norm(pair[:, i:i + band]), wide(self.out_gate)))
            if s.extras:
                u = wide(self.residual[:, i:i + band]) + wide(self.dropout) * u
            difference += (got[:, i:i + band].double() - u).square().sum().item()
            size += u.square().sum().item()
        return (difference / size) ** 0.5
