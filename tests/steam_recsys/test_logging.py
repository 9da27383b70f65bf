import io
import json
import threading

from steam_recsys import code_version
from steam_recsys.logging import FORMAT_VARIABLE, log, log_error, progress, set_run, stage_line, write_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_output_that_is_not_a_terminal_gets_plain_lines(capsys):
    progress("train", "epoch 1")
    log("train", "done")
    assert capsys.readouterr().out == "[train] … epoch 1\n[train] done\n"


def test_on_a_terminal_the_next_line_overwrites_progress():
    terminal = Terminal()
    for line in ("[train] … epoch 1", "[train] … epoch 2", "[train] done"):
        write_line(terminal, line)
    assert terminal.getvalue() == ("\r\x1b[2K[train] … epoch 1\r\x1b[2K[train] … epoch 2\r\x1b[2K[train] done\n")


def test_characters_that_the_encoding_lacks_are_escaped():
    for encoding, written in (
        ("ascii", rb"[ingest] \u2665 \xe9 \udce9"),
        ("latin-1", rb"[ingest] \u2665 %b \udce9" % b"\xe9"),
    ):
        buffer = io.BytesIO()
        stream = io.TextIOWrapper(buffer, encoding=encoding)
        write_line(stream, "[ingest] ♥ é \udce9")
        assert buffer.getvalue() == written + b"\n"


def test_progress_never_wraps_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    write_line(terminal, "[train] … " + "long " * 10)
    assert len(terminal.getvalue()) == len("\r\x1b[2K") + 19


def test_lines_of_stages_are_recognised_among_others():
    assert stage_line("    [predict 00001] done") == "[predict 00001] done"
    for noise in ("[KFP Executor 2026 INFO]: noise", "noise [train] noise", '{"a": 1}', '{"time": "stage": '):
        assert stage_line(noise) is None


def test_json_lines_have_run_stage_and_version_and_convert_to_text(capsys, monkeypatch):
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    log("reverse_etl", "before any run")
    assert json.loads(capsys.readouterr().out)["version"] == code_version()
    set_run("run-1")
    log("train", 'a "quoted" é\nline')
    progress("predict 00001", "half")
    other = threading.Thread(target=log_error, args=("train", "No memory."))
    other.start()
    other.join()
    lines = capsys.readouterr().out.splitlines()
    entries = [json.loads(line) for line in lines]
    assert {(each["run"], each["version"]) for each in entries} == {("run-1", code_version())}
    assert [(each["severity"], each["stage"], each["message"]) for each in entries] == [
        ("INFO", "train", 'a "quoted" é\nline'),
        ("DEBUG", "predict 00001", "… half"),
        ("ERROR", "train", "failed: No memory."),
    ]
    assert [stage_line(f"    {line}") for line in lines[1:]] == [
        "[predict 00001] … half",
        "[train] failed: No memory.",
    ]
