"""The watchdog against processes whose use of time and memory is known."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from exercises.grading.limits import MIB, Limits, Watchdog, descendants

BEGIN = """
import os, signal, sys, threading, time
done, tell = os.pipe()
def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
def child(act):
    if os.fork() == 0:
        keep = act()
        os.write(tell, b"x")
        sys.stdin.read()
        os._exit(0)
def wait_for(children):
    for _ in range(children): os.read(done, 1)
"""
END = "\nprint(flush=True)\nwhile True: time.sleep(60)"


@pytest.fixture
def started():
    """Start a Python program and wait until it has come to its end; it is killed with its children after the test."""
    running = []

    def start(program: str) -> subprocess.Popen:
        command = [sys.executable, "-S", "-c", BEGIN + program + END]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        running.append(process)
        process.stdout.readline()
        return process

    yield start
    for process in running:
        for child in list(descendants(process.pid)):
            os.kill(child, signal.SIGKILL)
        with process:
            process.kill()


def watch(process: subprocess.Popen, **limits) -> Watchdog:
    """A watchdog that has looked once."""
    watchdog = Watchdog(process.pid, Limits(**limits), sandboxed=False)
    watchdog.reason = watchdog.look()
    return watchdog


def test_time_of_children_that_were_waited_for_counts(started):
    once = "if os.fork() == 0: work(0.2); os._exit(0)\nos.wait()\n"
    assert 0.55 < watch(started("work(0.2)\n" + 2 * once)).cpu_seconds < 2


def test_time_of_children_that_still_run_counts(started):
    assert 0.25 < watch(started("child(lambda: work(0.3)); wait_for(1)")).cpu_seconds < 2


def test_time_of_a_child_that_nobody_waits_for_is_not_forgotten(started):
    process = started("signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nchild(lambda: work(0.3)); wait_for(1)")
    watchdog = watch(process)
    process.stdin.close()
    while list(descendants(process.pid)):
        time.sleep(0.02)
    before = watchdog.cpu_seconds
    watchdog.look()
    assert 0.25 < before <= watchdog.cpu_seconds
    assert watch(process).cpu_seconds < before - 0.2


def test_time_counts_from_the_start_of_the_watch(started):
    watchdog = Watchdog(started("work(0.4)").pid, Limits(cpu_seconds=0.2), sandboxed=False)
    watchdog.start()
    assert watchdog.look() is None
    assert watchdog.cpu_seconds < 0.2


def test_pages_that_processes_share_count_once(started):
    process = started("shared = b'x' * (60 * 2**20)\nfor _ in range(3): child(lambda: None)\nwait_for(3)")
    roomy, tight = watch(process, memory=120 * MIB), watch(process, memory=60 * MIB)
    assert (roomy.reason, tight.reason) == (None, "memory")
    assert 60 * MIB < tight.peak_memory < 110 * MIB


def test_memory_of_all_processes_adds_up(started):
    process = started("for _ in range(3): child(lambda: b'x' * (40 * 2**20))\nwait_for(3)")
    watchdog = watch(process, memory=100 * MIB)
    assert watchdog.reason == "memory"
    assert 120 * MIB < watchdog.peak_memory < 170 * MIB


def test_children_of_threads_and_their_children_are_processes(started):
    process = started(
        "threading.Thread(target=lambda: child(lambda: child(lambda: None))).start()\nwait_for(2)"
    )
    assert len(list(descendants(process.pid))) == 2
    assert watch(process, processes=2).reason == "processes"
    assert watch(process, processes=3).reason is None


def test_wall_time_is_a_backstop_of_three_times_the_cpu_time_and_half_a_minute():
    assert Limits(cpu_seconds=10).wall == 60
    assert Limits(cpu_seconds=10, wall_seconds=5).wall == 5


def test_waiting_for_a_processor_is_not_held_against_a_process_and_sleeping_is(started):
    pinned = f"os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n"
    crowd = [started(pinned + "print(flush=True)\nwork(60)") for _ in range(5)]
    asleep = started("")
    limits = Limits(wall_seconds=1.2)
    watchdogs = [Watchdog(process.pid, limits, sandboxed=False) for process in (crowd[0], asleep)]
    for watchdog in watchdogs:
        watchdog.start()
    time.sleep(2)
    assert [watchdog.look() for watchdog in watchdogs] == [None, "wall time"]


def test_a_process_that_is_gone_uses_nothing():
    process = subprocess.Popen(["true"])
    process.wait()
    watchdog = watch(process)
    assert (watchdog.reason, watchdog.cpu_seconds, watchdog.peak_memory) == (None, 0, 0)


def test_processes_are_limited_only_where_the_kernel_counts_a_notebooks_own():
    limits = Limits(processes=10)
    assert limits.of_a_process(own_user=True)["RLIMIT_NPROC"] > 10
    assert "RLIMIT_NPROC" not in limits.of_a_process(own_user=False)
