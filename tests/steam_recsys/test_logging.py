import io
import json
import threading

from steam_recsys.code_version import code_version
from steam_recsys.logging import FORMAT_VARIABLE, log, log_error, progress, say_in_each_line, show, stage_line


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
    assert stage_line("    [predict 00001] done") == "[predict 00001] done"
    for noise in ("[KFP Executor 2026 INFO]: noise", "noise [train] noise", '{"a": 1}', '{"time": "stage": '):
        assert stage_line(noise) is None


def test_in_json_each_line_names_run_stage_and_version_and_reads_as_the_text_does(capsys, monkeypatch):
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    log("reverse_etl", "before any run")
    assert json.loads(capsys.readouterr().out)["version"] == code_version()
    say_in_each_line("run-1")
    log("train", 'a "quoted" é\nline')
    progress("predict 00001", "half")
    other = threading.Thread(target=log_error, args=("train", "No memory."))
    other.start()
    other.join()
    lines = capsys.readouterr().out.splitlines()
    said = [json.loads(line) for line in lines]
    assert {(each["run"], each["version"]) for each in said} == {("run-1", code_version())}
    assert [(each["severity"], each["stage"], each["message"]) for each in said] == [
        ("INFO", "train", 'a "quoted" é\nline'),
        ("DEBUG", "predict 00001", "… half"),
        ("ERROR", "train", "failed: No memory."),
    ]
    assert [stage_line(f"    {line}") for line in lines[1:]] == [
        "[predict 00001] … half",
        "[train] failed: No memory.",
    ]
