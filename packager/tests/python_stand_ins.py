"""Imports a released package whose dependencies are not installed: what it imports and nobody provides becomes an empty module.

Only for imports made by the hosts' own files: other packages ask what is installed and behave by the answer, so they get the truth.
"""
import importlib.abc
import importlib.machinery
import sys
import types
from unittest.mock import MagicMock

HOSTS = {"boltz", "openfold3", "protenix", "alphafold3_pytorch"}


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """The last finder on the path."""

    def __init__(self):
        self.names = set()

    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while frame.f_globals.get("__name__", "").startswith("importlib"):
            frame = frame.f_back
        if frame.f_globals.get("__name__", "").partition(".")[0] not in HOSTS:
            return None
        self.names.add(name.partition(".")[0])
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__path__ = []
        module.__getattr__ = lambda name: MagicMock(name=name) if not name.startswith("__") else (_ for _ in ()).throw(AttributeError(name))
        return module

    def exec_module(self, module):
        pass
