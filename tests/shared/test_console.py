import io

from components.shared.console import STAGE_LINE, log, progress, show


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_than_on_a_terminal_everything_is_a_plain_line(capsys):
    progress("train", "epoch 1")
    log("train", "done")
    assert capsys.readouterr().out == "[train] … epoch 1\n[train] done\n"


def test_on_a_terminal_the_next_line_takes_the_place_of_progress():
    terminal = Terminal()
    for line in ("[train] … epoch 1", "[train] … epoch 2", "[train] done"):
        show(terminal, line)
    assert terminal.getvalue() == ("\r\x1b[2K[train] … epoch 1\r\x1b[2K[train] … epoch 2\r\x1b[2K[train] done\n")


def test_progress_never_wraps_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    show(terminal, "[train] … " + "long " * 10)
    assert len(terminal.getvalue()) == len("\r\x1b[2K") + 19


def test_a_stages_line_is_told_from_what_others_print():
    assert STAGE_LINE.match("    [predict 00001] done")[1] == "[predict 00001] done"
    assert not STAGE_LINE.match("[KFP Executor 2026-01-01 00:00:00,000 INFO]: noise")
    assert not STAGE_LINE.match("noise [train] noise")
