"""The command runner: order, resuming, failures, stopping by a signal, time left; processes and their records."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from electra import cli, command_runner
from electra.command_runner import CommandRunner, Ended, Places, Step, StepProgress, Stopped, call, find_places, read_ended, stoppable
from electra.data.prepare import connect_ray
from electra.errors import UserError


def make_step(folder: Path, name: str, *argv: str, **options: Any) -> Step:
    return Step(title=name, folder=folder / name, output=folder / name / "out", argv=argv or ("work", name), **options)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The command table replaced by one that writes a step's output; what was run."""
    ran: list[list[str]] = []

    def dispatch(argv: list[str]) -> int:
        ran.append(list(argv))
        (tmp_path / argv[1]).mkdir(exist_ok=True)
        if "fail" in argv:
            raise UserError("it broke; mend it")
        if "exit" in argv:
            return int(argv[-1])
        print(f"did {argv[1]}")
        (tmp_path / argv[1] / "out").touch()
        return 0

    monkeypatch.setattr(cli, "dispatch", dispatch)
    return ran


def no_words(step: Step, ended: Ended) -> str:
    return ""


# ---- in this process ----


def test_steps_run_in_order_and_what_is_done_is_skipped(tmp_path: Path, commands: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    steps = [make_step(tmp_path, name) for name in "abc"]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "out").touch()
    seen: list[tuple[str, int]] = []

    def after(step: Step, ended: Ended) -> str:
        seen.append((step.title, ended.returncode))
        return "81.20"

    CommandRunner(steps, after).run_here()
    assert commands == [["work", "a"], ["work", "c"]] and seen == [("a", 0), ("c", 0)]
    err = capsys.readouterr().err
    assert "[3 of 3] c: 81.20, " in err and "$ electra work c" in err and "3 of 3 steps" in err


@pytest.mark.parametrize(
    ("resume_argv", "expected"),
    [(None, ["work", "a", "--resume"]), (("work", "a", "--output", "a", "--resume"), ["work", "a", "--output", "a", "--resume"])],
)
def test_an_interrupted_step_is_resumed(tmp_path: Path, commands: list[list[str]], resume_argv: tuple[str, ...] | None, expected: list[str]) -> None:
    step = make_step(tmp_path, "a", resume_argv=resume_argv)
    assert step.command_line() == ("work", "a")
    step.folder.mkdir()
    (step.folder / "config.toml").touch()
    CommandRunner([step], no_words).run_here()
    assert commands == [expected]


def test_a_failing_step_is_named_and_ends_the_run(tmp_path: Path, commands: list[list[str]]) -> None:
    steps = [make_step(tmp_path, "a", "work", "a", "fail"), make_step(tmp_path, "b")]
    with pytest.raises(UserError, match=r"^a: it broke; mend it$"):
        CommandRunner(steps, no_words).run_here()
    assert len(commands) == 1
    with pytest.raises(UserError, match=r"^a: electra work exited with code 1$"):
        CommandRunner([make_step(tmp_path, "a", "work", "a", "exit", "1")], no_words).run_here()


def test_steps_may_be_replaced_while_running(tmp_path: Path, commands: list[list[str]]) -> None:
    def after(step: Step, ended: Ended) -> str:
        runner.steps[1:] = [make_step(tmp_path, "b", "work", "b", "longer")]
        return ""

    runner = CommandRunner([make_step(tmp_path, "a"), make_step(tmp_path, "b")], after)
    runner.run_here()
    assert commands == [["work", "a"], ["work", "b", "longer"]]


def test_call_returns_what_was_printed_and_a_signal_ends_the_run(tmp_path: Path, commands: list[list[str]]) -> None:
    assert call("work", "a") == "did a\n"
    with pytest.raises(Stopped) as stopped:
        call("work", "a", "exit", 128 + signal.SIGTERM)
    assert stopped.value.code == 143


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_between_commands_stops_and_handlers_are_put_back(number: signal.Signals) -> None:
    """In a process of its own: a signal must not reach the threads and handlers that other tests left in this one."""
    code = (
        "import os, signal, sys, time\n"
        "from electra.command_runner import Stopped, stoppable\n"
        "number = int(sys.argv[1])\n"
        "before = signal.getsignal(number)\n"
        "try:\n"
        "    with stoppable():\n"
        "        os.kill(os.getpid(), number)\n"
        "        time.sleep(60)\n"
        "except Stopped as stopped:\n"
        "    print(stopped.code, signal.getsignal(number) is before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(int(number))], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{128 + number} True\n"), done.stderr


def test_outside_of_the_main_thread_signals_are_left_alone() -> None:
    def work() -> None:
        with stoppable():
            found.append(signal.getsignal(signal.SIGTERM))

    found: list[Any] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]


def test_ray_does_not_take_the_signals() -> None:
    """`ray.init` installs handlers of its own, which would end the run before its steps are stopped."""

    class Ray:
        def init(self, **_: object) -> None:
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))

    with stoppable():
        before = signal.getsignal(signal.SIGTERM)
        connect_ray(Ray(), None, 1)
        assert signal.getsignal(signal.SIGTERM) is before


# ---- time left ----


def test_time_left_is_predicted_by_kind(tmp_path: Path) -> None:
    steps = [make_step(tmp_path, f"p{i}", kind="pretrain", seconds=100.0) for i in range(3)]
    steps += [make_step(tmp_path, f"f{i}", kind="finetune", seconds=10.0) for i in range(3)]
    runner = CommandRunner(steps, no_words, noun="trials")
    one = StepProgress(runner, 1)
    assert one.seconds_left() is None and one.state() == "0 of 6 trials"

    def end(step: Step, seconds: float, returncode: int = 0) -> None:
        if not returncode:
            step.folder.mkdir()
            step.output.touch()
        runner.outcomes[step] = Ended(returncode=returncode, seconds=seconds)

    # Pre-training took twice as long as predicted: so will the rest, until a fine-tuning has ended.
    end(steps[0], 200.0)
    assert one.seconds_left() == pytest.approx(2 * (100 + 100) + 2 * (10 + 10 + 10))
    end(steps[3], 5.0)
    assert one.seconds_left() == pytest.approx(2 * (100 + 100) + 0.5 * (10 + 10))
    # Four are left, two at a time.
    assert StepProgress(runner, 2).seconds_left() == pytest.approx((400 + 10) / 2)
    end(steps[1], 1.0, returncode=1)
    assert one.seconds_left() == pytest.approx(200 + 10) and one.state() == "3 of 6 trials, 1 failed, about 3 min 30 s left"
    assert StepProgress(runner, 2).state() == "3 of 6 trials, 1 failed, 2 at a time, about 1 min 45 s left"


def test_places_divide_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_runner, "allowed_cores", lambda: list(range(8)))
    options: dict[str, Any] = {"device": "cpu"}
    assert find_places(20, workers=0, threads=0, **options) == Places(workers=8, threads=1)
    assert find_places(3, workers=0, threads=0, **options) == Places(workers=3, threads=2)
    assert find_places(20, workers=0, threads=4, **options) == Places(workers=2, threads=4)
    assert find_places(20, workers=2, threads=0, **options) == Places(workers=2, threads=4)
    assert find_places(0, workers=0, threads=0, **options) == Places(workers=1, threads=8)
    assert find_places(1000, workers=0, threads=0, ray=True, **options) == Places(workers=256, threads=1, ray=True)


# ---- processes ----


def test_a_process_leaves_its_log_and_how_it_ended(tmp_path: Path) -> None:
    held = np.ones(40_000_000)
    ended = command_runner.run_process(["--version"], tmp_path / "good", {})
    assert ended.returncode == 0 and ended.error is None and ended.cpu_seconds > 0
    # What this process holds is not counted.
    assert 1e6 < ended.peak_memory_bytes < held.nbytes
    log = (tmp_path / "good" / "trial.log").read_text().splitlines()
    assert log[0] == "$ electra --version" and log[1].startswith("electra ")
    assert read_ended(tmp_path / "good") == ended and json.loads((tmp_path / "good" / "trial.json").read_text())["returncode"] == 0
    failed = command_runner.run_process(["predikt"], tmp_path / "bad", {})
    assert failed.returncode == 2 and failed.error == "unknown command 'predikt'; did you mean 'predict'?"
    # A completed step has succeeded, whatever its record contains.
    assert read_ended(tmp_path / "bad").returncode == 0 and read_ended(tmp_path / "none") == Ended(returncode=0, seconds=0.0)


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that run Python code (the first word of a command line, with the step's folder as its argument) instead of electra."""
    real = subprocess.Popen

    def start(command: list[str], **options: Any) -> Any:
        code, folder = command[3:5]
        return real([sys.executable, "-c", code, folder], **options)

    monkeypatch.setattr(command_runner.subprocess, "Popen", start)


WRITE = "import sys; open(sys.argv[1] + '/out', 'w')"


def script(folder: Path, name: str, code: str) -> Step:
    return make_step(folder, name, code, str(folder / name))


@pytest.mark.usefixtures("scripts")
def test_a_failed_process_is_reported_and_the_rest_continues(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [
        script(tmp_path, "good", WRITE),
        script(tmp_path, "bad", "import sys; print('electra: no such file; give another'); print('bye'); sys.exit(2)"),
        script(tmp_path, "trace", "import nothing_of_this_name"),
        script(tmp_path, "quiet", "import sys; sys.exit(3)"),
        script(tmp_path, "killed", "import os; os.kill(os.getpid(), 9)"),
        script(tmp_path, "empty", "pass"),
        script(tmp_path, "last", WRITE),
    ]
    runner = CommandRunner(steps, no_words)
    runner.run_processes(Places(workers=2, threads=0))
    errors = {step.title: ended.error for step, ended in runner.outcomes.items() if ended.returncode}
    assert errors == {
        "bad": "no such file; give another",
        "trace": "ModuleNotFoundError: No module named 'nothing_of_this_name'",
        "quiet": "exited with code 3 and no output",
        "killed": "killed by SIGKILL (out of memory?)",
        "empty": "ended without out",
    }
    assert [step.done for step in steps] == [True, False, False, False, False, False, True]
    err = capsys.readouterr().err
    assert "bad: failed: no such file; give another\n" in err and "2 at a time" in err


@pytest.mark.usefixtures("scripts")
def test_a_signal_ends_the_processes_which_save_themselves_and_starts_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saves = (
        "import signal, sys, time\n"
        "def save(*_):\n    open(sys.argv[1] + '/saved', 'w'); print('electra: stopped after step 7', flush=True); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, save); open(sys.argv[1] + '/ready', 'w'); time.sleep(60)"
    )
    steps = [script(tmp_path, "one", saves), script(tmp_path, "two", saves)]
    runner = CommandRunner(steps, no_words)

    def stop_when_ready() -> None:
        while not (tmp_path / "one" / "ready").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_ready).start()
    with pytest.raises(Stopped) as stopped, stoppable():
        runner.run_processes(Places(workers=1, threads=0))
    assert stopped.value.code == 143 and (tmp_path / "one" / "saved").exists() and not (tmp_path / "two").exists()
    # Neither failed nor done: it runs again.
    assert runner.outcomes == {} and "one: stopped after step 7\n" in capsys.readouterr().err
