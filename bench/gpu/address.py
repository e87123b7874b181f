"""Tensors that nobody reads, for plug-ins that run on the stand-in driver."""


class Address:
    """A tensor that nobody reads: shape, dtype and an address on the stand-in's GPU."""
    is_cuda, next_address = True, 1 << 40

    def __init__(self, *shape, dtype):
        self.shape, self.dtype, self.device = shape, dtype, type("Device", (), {"index": 0})
        self.address = Address.next_address
        Address.next_address += 1 << 36

    def dim(self):
        return len(self.shape)

    def stride(self):
        strides = [1]
        for extent in reversed(self.shape[1:]):
            strides.insert(0, strides[0] * extent)
        return strides

    def data_ptr(self):
        return self.address

    def numel(self):
        return self.stride()[0] * self.shape[0]
