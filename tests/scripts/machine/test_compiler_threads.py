"""The threads of Jittor's operator compiler, taken from its source, without the rest of Jittor."""

import re
import subprocess

import pytest

from scripts.machine import compiler_repairs, repair

PROGRAM = """
#include <condition_variable>
#include <functional>
#include <iostream>
#include <list>
#include <mutex>
#include <string>
#include <thread>
using std::list; using std::string;
static int segfault_happen = 0;
static string& get_thread_name() { static thread_local string name; return name; }
#define S(x) std::to_string(x)
#define LOGe std::cerr
%s
struct Threads {
    list<SimpleThread> threads;
%s
};
int main(int argc, char** argv) {
    const bool all = argc > 1;  // launch all of them, or none
    int ran = 0;
    for (int round = 0; round < 300; round++) {
        Threads pool;
        for (int i = 0; i < 4; i++) pool.threads.emplace_back(i);
        std::mutex mutex;
        if (all) {
            for (auto& t : pool.threads) t.launch_one([&](int) { std::lock_guard<std::mutex> lock(mutex); ran++; });
            for (auto& t : pool.threads)
                for (std::unique_lock<std::mutex> lock(t.mtx); t.launched; lock.lock()) lock.unlock();
            pool.finish(4);
        }
    }  // ends each thread, started or not
    std::cout << ran << std::endl;
}
"""


@pytest.fixture
def program(tmp_path):
    """build(source of parallel_compiler.cc) -> the path of the program."""

    def build(text):
        thread = re.search(r"struct SimpleThread \{.*?\n\};\n", text, re.S).group()
        finish = compiler_repairs.FINISH if "launched" in text else "    void finish(int) {}\n"
        source = PROGRAM % (thread, finish)
        (tmp_path / "threads.cc").write_text(source if "launched" in text else source.replace("t.launched", "t.func"))
        command = ["g++", "-std=c++14", "-O1", "-pthread", tmp_path / "threads.cc", "-o", tmp_path / "threads"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        return tmp_path / "threads"

    return build


def installed():
    return (repair.jittor_folder() / "src" / "parallel_compiler.cc").read_text()


def test_threads_end_whether_they_have_started_or_not(program):
    path = program(installed())
    assert subprocess.run([path], capture_output=True, text=True, timeout=60).stdout == "0\n"
    assert subprocess.run([path, "all"], capture_output=True, text=True, timeout=60).stdout == "1200\n"


def test_as_published_a_thread_that_has_not_started_is_waited_for_in_vain(program):
    text = installed()
    for old, new, _count in next(r for r in compiler_repairs.REPAIRS if r[0] == "compiler-threads")[3][0][1]:
        text = text.replace(new, old)
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([program(text)], capture_output=True, timeout=5)
