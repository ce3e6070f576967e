"""The user's own Python functions as extractors: from the config's folder, the current one, or installed packages."""

from __future__ import annotations

import hashlib
import importlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.fingerprint.module_origins import imported_names, local_file
from distfd.workers.session_modules import importing_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class UserFunction:
    """A function named ``module:function``.

    A module that is a single file beside the configuration is read here, on the driver, and so are the user's own
    modules that it imports, and their imports in turn. Workers run exactly these texts, and a change of one changes the
    objective's fingerprint.

    Parameters
    ----------
    name : str
        ``module:function``; the module may be dotted.
    base : str
        The folder where the module is looked for first.

    Raises
    ------
    InputError
        If the name is not of this form.
    """

    name: str
    base: str
    file: str | None = field(init=False, default=None)
    source: bytes = field(init=False, default=b"", repr=False)
    imported: Mapping[str, tuple[str, bytes]] = field(init=False, default_factory=dict, repr=False, hash=False)
    """Name of a module -> (its file, its text)."""

    def __post_init__(self) -> None:
        module, colon, function = self.name.partition(":")
        if not colon or not function.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            raise InputError(f"{self.name!r} is not of the form 'module:function'")
        for folder in (Path(self.base), Path.cwd()):
            file = folder.joinpath(*module.split(".")).with_suffix(".py")
            if file.is_file():
                object.__setattr__(self, "file", str(file.absolute()))
                object.__setattr__(self, "source", file.read_bytes())
                break
        object.__setattr__(self, "imported", self._read_imported(module))

    def _read_imported(self, module: str) -> dict[str, tuple[str, bytes]]:
        """The texts of the user's own modules that this module imports, at its top or inside a function."""
        folders = [self._folder(module)] if self.file else [self.base]
        found: dict[str, tuple[str, bytes]] = {}
        waiting = [module] if self.file is None else list(imported_names(self.source, module, package=False))
        while waiting:
            name = waiting.pop()
            for each in (".".join(name.split(".")[: k + 1]) for k in range(name.count(".") + 1)):
                if each in found or (file := local_file(each, folders)) is None:
                    continue
                text = file.read_bytes()
                found[each] = str(file), text
                waiting += imported_names(text, each, package=file.name == "__init__.py")
        return found

    def _folder(self, module: str) -> str:
        """The folder from which the module in this file is imported."""
        assert self.file is not None, "it is asked for where there is one"
        return str(Path(self.file).parents[module.count(".")])

    def load(self) -> Callable[..., Any]:
        """The function itself; call it once in each process.

        Raises
        ------
        InputError
            If the module cannot be imported or has no such function.
        """
        module, _, function = self.name.partition(":")
        try:
            with importing_texts(self.imported):
                found = self._execute(module) if self.file else importlib.import_module(module)
        except Exception as error:
            where = self.file or f"{self.base}, the current folder and installed packages"
            raise InputError(
                f"{self.name}: cannot import {module} ({type(error).__name__}: {error}; {where})"
            ) from error
        loaded = getattr(found, function, None)
        if not callable(loaded):
            raise InputError(f"{self.name}: {getattr(found, '__file__', None) or module} has no function {function}")
        return loaded  # type: ignore[no-any-return]  # callable() leaves Any

    def _execute(self, name: str) -> ModuleType:
        """Runs the file's text as a module with a unique name: two configurations may both have an extract.py."""
        assert self.file is not None
        folder = self._folder(name)
        if folder not in sys.path:
            sys.path.append(folder)  # so that it can import modules from its own folder
        module = ModuleType(f"{name}_{hashlib.sha256(self.file.encode() + self.source).hexdigest()[:16]}")
        module.__file__ = self.file
        module.__package__ = name.rpartition(".")[0]
        sys.modules[module.__name__] = module  # dataclasses and pickle look here
        exec(compile(self.source, self.file, "exec"), module.__dict__)  # noqa: S102  # the code is the user's own
        return module
