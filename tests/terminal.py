"""A terminal for tests: commands run in one, and what is on its screen in the end."""

import fcntl
import os
import pty
import re
import struct
import termios

COLUMNS = 140


def run(command, environment=None):
    """What a command writes to a terminal of ``COLUMNS`` columns, stdout and stderr together."""
    child, terminal = pty.fork()
    if child == 0:
        # Whole, not os.environ changed: readline sets COLUMNS where Python does not see it.
        passed = {**os.environ, "TERM": "xterm-256color", **(environment or {})}
        for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
            passed.pop(name, None)
        os.execvpe(command[0], command, passed)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    written = b""
    try:
        while part := os.read(terminal, 65536):
            written += part
    except OSError:  # the command ended
        pass
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    text = written.decode()
    assert status == 0, text
    return text


def screen(written):
    """The lines that are left on the screen, of the few control codes that bars use."""
    lines, row, column = [""], 0, 0
    for code, text in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z]|[\r\n])|([^\x1b\r\n]+)", written):
        if code == "\r":
            column = 0
        elif code == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif code.endswith("A"):
            row -= int(code[2:-1] or 1)
        elif code.endswith("K"):
            lines[row] = ""
        for sign in text:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + sign + line[column + 1 :]
            column += 1
            if column == COLUMNS:
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
    return [line.rstrip() for line in lines]
