"""The tvm-ffi variant of a bundle under the real `kernels` library, in a Python that has no torch.

    python test_variant.py BUNDLE
"""
import importlib.util
import pathlib
import sys
import unittest

import numpy as np

import problem


class NoTorch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


sys.meta_path.insert(0, NoTorch)
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "torch" else find_spec(name, package)

import kernels


class Variant(unittest.TestCase):
    bundle = None

    @classmethod
    def setUpClass(cls):
        # From the repository's root: the library chooses the variant.
        cls.kernel = kernels.get_local_kernel(cls.bundle, backend="cpu")

    def test_it_is_chosen_where_there_is_no_torch(self):
        self.assertTrue(pathlib.Path(self.kernel.__file__).parent.name.startswith("tvm-ffi01-cpu-"))
        self.assertNotIn("torch", sys.modules)

    def test_results(self):
        weights, (pair, mask) = problem.weights(64, 48), problem.pair_and_mask(2, 24, 64)
        packed = self.kernel.pack(**weights, direction="incoming")
        for more in ({}, {"packed": packed}):
            out = np.from_dlpack(self.kernel.forward(pair, mask, **weights, direction="incoming", residual=None, **more))
            self.assertLess(problem.error(out, problem.truth(pair, mask, weights, "incoming")), problem.TOLERANCES["float32"])
        into = np.empty_like(pair)
        self.assertIsNone(self.kernel.forward(pair, mask, **weights, direction="incoming", out=into))
        self.assertTrue(np.array_equal(into, out))

    def test_refusals(self):
        with self.assertRaisesRegex(ValueError, "argument 7 'a_projection_weight': is missing"):
            self.kernel.forward(problem.pair_and_mask(1, 4, 8)[0])
        with self.assertRaisesRegex(TypeError, "'colour' is neither an argument nor an attribute"):
            self.kernel.forward(problem.pair_and_mask(1, 4, 8)[0], colour=1)
        with self.assertRaisesRegex(RuntimeError, r"no build of triangle_multiplication runs on device 2:0: .*device type is 2, this build runs on 1"):
            self.kernel.module(2, 0)


if __name__ == "__main__":
    Variant.bundle = pathlib.Path(sys.argv[1])
    unittest.main(argv=sys.argv[:1], verbosity=2)
