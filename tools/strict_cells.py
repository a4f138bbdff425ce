"""A kernel that runs this at its start fails where IPython only prints: at a magic that does not exist, and at a shell
command that fails. ``make test`` and tools/execute.py name it in PYTHONSTARTUP for the kernels that they start.
"""


def strict(shell):
    """Let the shell raise NameError and CalledProcessError."""
    import subprocess

    line_magic, cell_magic, system = shell.run_line_magic, shell.run_cell_magic, shell.system

    def run_line_magic(name, line, _stack_depth=1):
        if shell.find_line_magic(name) is None:
            raise NameError(f"there is no magic %{name}")
        return line_magic(name, line, _stack_depth=_stack_depth + 1)

    def run_cell_magic(name, line, cell):
        if shell.find_cell_magic(name) is None:
            raise NameError(f"there is no magic %%{name}")
        return cell_magic(name, line, cell)

    def run(command):
        system(command)
        if code := shell.user_ns["_exit_code"]:
            raise subprocess.CalledProcessError(code, command)

    def getoutput(command, split=True, depth=0):
        from IPython.utils.text import LSString, SList

        command = shell.var_expand(command, depth=depth + 1)
        output = subprocess.run(command, shell=True, check=True, stdout=subprocess.PIPE, text=True).stdout.rstrip("\n")
        return SList(output.splitlines()) if split else LSString(output)

    shell.run_line_magic, shell.run_cell_magic = run_line_magic, run_cell_magic
    shell.system, shell.getoutput = run, getoutput


if "get_ipython" in globals():
    strict(get_ipython())  # noqa: F821
del strict
