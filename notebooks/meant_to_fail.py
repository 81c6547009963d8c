"""`%%fails`: a cell that is meant to fail prints its error, and the notebook goes on.

Jupyter has the tag `raises-exception` for such cells, but not every program that runs notebooks knows it.
"""

from __future__ import annotations

import sys

from IPython.core.getipython import get_ipython
from IPython.core.interactiveshell import InteractiveShell


def fails(line: str, cell: str) -> None:
    """Run a cell and print the error that it ends with; AssertionError if it ends well."""
    shell = get_ipython()
    assert shell is not None
    code = shell.transform_cell(cell)
    name = shell.compile.cache(code, shell.execution_count, raw_code=cell)
    try:
        exec(compile(code, name, "exec"), shell.user_ns)
    except Exception as error:
        # As the kernel notes what nobody catches, without this function.
        sys.last_exc = sys.last_value = error.with_traceback(error.__traceback__.tb_next)
        print(f"{type(error).__name__}: {error}")
    else:
        raise AssertionError("this cell was meant to fail, and it did not")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magic; called by `%load_ext meant_to_fail`."""
    shell.register_magic_function(fails, "cell")
