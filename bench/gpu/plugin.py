"""A plug-in's op on torch tensors through the C ABI, by ctypes: what the GPU bench times is what a C host calls.

Tensors on a CUDA device run on torch's current stream.  Those on the CPU serve CPU builds: so the bench itself is tested without a GPU.
"""
import ctypes as c


class Error(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("arg", c.c_int32), ("dim", c.c_int32), ("native_code", c.c_int32), ("message", c.c_char * 240)]


class Device(c.Structure):
    _fields_ = [("type", c.c_int32), ("id", c.c_int32)]


class DType(c.Structure):
    _fields_ = [("code", c.c_uint8), ("bits", c.c_uint8), ("lanes", c.c_uint16)]


class Tensor(c.Structure):
    _fields_ = [("data", c.c_void_p), ("device", Device), ("ndim", c.c_int32), ("dtype", DType), ("shape", c.POINTER(c.c_int64)),
                ("strides", c.POINTER(c.c_int64)), ("byte_offset", c.c_uint64)]


class Arg(c.Structure):
    _fields_ = [("name", c.c_char_p), ("shape", c.c_char_p), ("role", c.c_uint32), ("flags", c.c_uint32), ("may_alias", c.c_uint64),
                ("dtypes", c.c_uint64), ("dtype_of", c.c_int32), ("align", c.c_uint32)]


class Value(c.Union):
    _fields_ = [("i", c.c_int64), ("f", c.c_double), ("s", c.c_char_p)]


class Attr(c.Structure):
    _fields_ = [("name", c.c_char_p), ("kind", c.c_uint32), ("reserved", c.c_uint32), ("value", Value)]


class PlanDesc(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("flags", c.c_uint32), ("device", Device), ("host", c.c_void_p), ("attrs", c.POINTER(Attr)),
                ("attr_count", c.c_uint32), ("reserved", c.c_uint32), ("tuning", c.c_void_p), ("tuning_size", c.c_uint64)]


class Need(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("flags", c.c_uint32), ("workspace_size", c.c_uint64), ("workspace_align", c.c_uint64),
                ("packed_size", c.c_uint64), ("packed_format", c.c_char_p)]


class Call(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("tensor_count", c.c_uint32), ("tensors", c.POINTER(c.POINTER(Tensor))), ("stream", c.c_void_p),
                ("workspace", c.c_void_p), ("workspace_size", c.c_uint64)]


class Op(c.Structure):
    pass


Plan = c.c_void_p
Op._fields_ = [
    ("struct_size", c.c_uint32), ("kind", c.c_uint32), ("name", c.c_char_p), ("args", c.POINTER(Arg)), ("attrs", c.POINTER(Attr)),
    ("arg_count", c.c_uint32), ("attr_count", c.c_uint32),
    ("plan_create", c.CFUNCTYPE(c.c_int32, c.POINTER(Op), c.POINTER(PlanDesc), c.POINTER(Plan), c.POINTER(Error))),
    ("plan_destroy", c.CFUNCTYPE(None, Plan)),
    ("plan_need", c.CFUNCTYPE(c.c_int32, Plan, c.POINTER(Call), c.POINTER(Need), c.POINTER(Error))),
    ("run", c.CFUNCTYPE(c.c_int32, Plan, c.POINTER(Call), c.POINTER(Error))),
    ("infer", c.CFUNCTYPE(c.c_int32, Plan, c.POINTER(Call), c.POINTER(Tensor), c.POINTER(Error)))]


class Library(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("abi_minor", c.c_uint32), ("name", c.c_char_p), ("version", c.c_char_p), ("target", c.c_char_p),
                ("build_id", c.c_char_p), ("contract", c.c_void_p), ("contract_size", c.c_uint64), ("ops", c.POINTER(c.POINTER(Op))),
                ("op_count", c.c_uint32), ("flags", c.c_uint32)]


DTYPES = {"float64": (2, 64), "float32": (2, 32), "float16": (2, 16), "bfloat16": (4, 16), "int64": (0, 64), "int32": (0, 32), "int8": (0, 8),
          "uint8": (1, 8), "bool": (6, 8)}


def device_of(tensor):
    return Device(2, tensor.device.index or 0) if tensor.is_cuda else Device(1, 0)


def described(tensor):
    """The ABI's view of a torch tensor; valid while the tensor lives."""
    rank = tensor.dim()
    shape, strides = (c.c_int64 * rank)(*tensor.shape), (c.c_int64 * rank)(*tensor.stride())
    code, bits = DTYPES[str(tensor.dtype).removeprefix("torch.")]
    result = Tensor(tensor.data_ptr(), device_of(tensor), rank, DType(code, bits, 1), shape, strides, 0)
    result.keep = (tensor, shape, strides)
    return result


class Plugin:
    def __init__(self, path):
        self.handle = c.CDLL(path)
        self.handle.lamina_library_v1.restype = c.POINTER(Library)
        self.library = self.handle.lamina_library_v1().contents
        self.target, self.build_id = self.library.target.decode(), self.library.build_id.decode()
        self.ops = {self.library.ops[i].contents.name.decode(): self.library.ops[i] for i in range(self.library.op_count)}

    def prepare(self, op, tensors, **attributes):
        """A plan with its call filled in; `run()` enqueues on torch's current stream.  tensors: by argument name."""
        prepared = Prepared(self.ops[op], tensors, attributes)
        prepared.ask_need()
        return prepared

    def shape_of(self, op, name, tensors, **attributes):
        """The extents of an output, as the build infers them from the other tensors."""
        return Prepared(self.ops[op], tensors, attributes).infer(name)


class Prepared:
    def __init__(self, op, tensors, attributes):
        self.op, self.tensors, self.plan = op, tensors, Plan()
        attrs = (Attr * len(attributes))()
        for slot, (name, value) in zip(attrs, attributes.items()):
            slot.name, slot.kind, slot.value.s = name.encode(), 3, value.encode()
        self.attrs, self.error = attrs, Error(c.sizeof(Error))
        some = next(iter(tensors.values()))
        self.on_gpu = some.is_cuda
        desc = PlanDesc(c.sizeof(PlanDesc), 0, device_of(some), None, attrs, len(attributes))
        self.check(op.contents.plan_create(op, desc, self.plan, self.error))
        count = op.contents.arg_count
        self.names = names = [op.contents.args[i].name.decode() for i in range(count)]
        unknown = set(tensors) - set(names)
        if unknown:
            raise ValueError(f"{op.contents.name.decode()} has no arguments {sorted(unknown)}")
        self.described = [described(tensors[name]) if name in tensors else None for name in names]
        self.by_name = {name: d for name, d in zip(names, self.described) if d}
        self.pointers = (c.POINTER(Tensor) * count)(*[c.pointer(d) if d else None for d in self.described])
        self.call = Call(c.sizeof(Call), count, self.pointers, None, None, 0)
        self.need = Need(c.sizeof(Need))

    def ask_need(self):
        self.check(self.op.contents.plan_need(self.plan, self.call, self.need, self.error))

    def infer(self, name):
        extents = [(c.c_int64 * 8)() for _ in self.names]
        inferred = (Tensor * len(self.names))()
        for tensor, shape in zip(inferred, extents):
            tensor.shape = c.cast(shape, type(tensor.shape))
        self.check(self.op.contents.infer(self.plan, self.call, inferred, self.error))
        at = self.names.index(name)
        return tuple(extents[at][:inferred[at].ndim])

    def __del__(self):
        if self.plan:
            self.op.contents.plan_destroy(self.plan)

    def check(self, status):
        if status:
            raise RuntimeError(f"status {status}: {self.error.message.decode()}")

    def point(self, name, tensor):
        """Another tensor of the same dtype, shape and strides for the next run."""
        self.by_name[name].data = tensor.data_ptr()

    def use_workspace(self, workspace):
        self.call.workspace, self.call.workspace_size = workspace.data_ptr(), workspace.numel()

    def run(self):
        if self.on_gpu:
            import torch  # elsewhere this module needs none
            self.call.stream = torch.cuda.current_stream().cuda_stream
        self.enqueue()

    def enqueue(self):
        self.check(self.op.contents.run(self.plan, self.call, self.error))
