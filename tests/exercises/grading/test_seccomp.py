"""The filter of system calls, evaluated as the kernel does, for both machine types."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

import pytest

from exercises.grading import seccomp

ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
ALLOWED = {  # what Python, numpy and torch cannot do without
    "read": (0, 63),
    "write": (1, 64),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "execve": (59, 221),
    "wait4": (61, 260),
    "futex": (202, 98),
    "sched_setaffinity": (203, 122),
    "getrandom": (318, 278),
    "pipe2": (293, 59),
    "kill": (62, 129),
    "setresuid": (117, 147),
    "prctl": (157, 167),
}


def verdict(program: bytes, architecture: int, number: int, first_argument: int = 0) -> int:
    """Run classic BPF over struct seccomp_data."""
    data = struct.pack("=IIQQ", number, architecture, 0, first_argument) + bytes(40)
    code = list(struct.iter_unpack("=HBBI", program))
    position = accumulator = 0
    while True:
        operation, if_true, if_false, constant = code[position]
        position += 1
        if operation == 0x06:
            return constant
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, constant)
            continue
        tests = {
            0x15: accumulator == constant,
            0x35: accumulator >= constant,
            0x45: bool(accumulator & constant),
        }
        position += if_true if tests[operation] else if_false


@pytest.fixture(params=MACHINES)
def decide(request):
    """The verdict on a call, by its number on each machine, and which of the two this is."""
    architecture, column = MACHINES[request.param]
    program = seccomp.program(request.param)
    return lambda numbers, argument=0: verdict(program, architecture, numbers[column], argument)


@pytest.mark.parametrize("name", ALLOWED)
def test_calls_that_programs_need_are_allowed(name, decide):
    assert decide(ALLOWED[name]) == ALLOW


@pytest.mark.parametrize("name", [name for name, numbers in seccomp.DENIED.items() if None not in numbers])
def test_denied_calls_are_not_permitted(name, decide):
    assert decide(seccomp.DENIED[name]) == ERROR | errno.EPERM


def test_clone_makes_threads_and_processes_but_no_namespaces(decide):
    fork, thread = 0x01200011, 0x003D0F00
    assert (decide((56, 220), fork), decide((56, 220), thread)) == (ALLOW, ALLOW)
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert decide((56, 220), fork | flag) == ERROR | errno.EPERM
    assert decide((435, 435)) == ERROR | errno.ENOSYS


@pytest.mark.parametrize("numbers", [(41, 198), (53, 199)], ids=["socket", "socketpair"])
def test_sockets_are_only_those_between_processes(numbers, decide):
    unix, inet, inet6, netlink, packet, crypto, vsock = 1, 2, 10, 16, 17, 38, 40
    assert decide(numbers, unix) == ALLOW
    for family in (0, inet, inet6, netlink, packet, crypto, vsock):
        assert decide(numbers, family) == ERROR | errno.EAFNOSUPPORT


def test_calls_of_another_architecture_end_the_process():
    x86_64, aarch64 = seccomp.program("x86_64"), seccomp.program("aarch64")
    i386 = 0x40000003
    assert verdict(x86_64, i386, 1) == verdict(aarch64, i386, 1) == KILL
    assert verdict(x86_64, MACHINES["aarch64"][0], 64) == KILL
    assert verdict(x86_64, MACHINES["x86_64"][0], 0x40000000 | 1) == KILL


def test_numbers_are_those_of_this_machines_c_library():
    """The filter is loaded into a child, where each denied call fails as the filter says."""
    column = MACHINES[os.uname().machine][1]
    harmless = {
        name: seccomp.DENIED[name][column] for name in ("memfd_create", "keyctl", "unshare", "ptrace")
    }
    program = seccomp.program()
    child = os.fork()
    if child == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        code = ctypes.create_string_buffer(program)
        libc.prctl(38, 1, 0, 0, 0)
        filter_ = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
        loaded = libc.prctl(22, 2, ctypes.create_string_buffer(filter_), 0, 0) == 0
        failed = [libc.syscall(number, 0, 0) == -1 and ctypes.get_errno() for number in harmless.values()]
        os._exit(0 if loaded and failed == [errno.EPERM] * len(harmless) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_an_unknown_machine_is_an_error():
    with pytest.raises(ValueError, match="riscv64"):
        seccomp.program("riscv64")
