"""The repairs for every machine: to the threads and the command with which Jittor compiles operators.

Jittor compiles operators in several threads, which create graph nodes and write files without a lock: now and then a
run crashes. With the repair they hold a lock except while the C++ compiler runs, which takes nearly all of the time.
The threads also missed messages: a short run could wait at its end forever.
"""


def between(before, new, after):
    return before + after, before + new + after, 1


TURNS = """
// A thread has its turn but while the compiler itself runs; see jit_compiler.cc
namespace jit_compiler {
extern std::mutex turns;
extern thread_local std::unique_lock<std::mutex>* turn;
}
"""
ALONE = """
// Threads that compile operators take turns, but while the compiler itself runs, and no two write one file.
std::mutex turns;
thread_local std::unique_lock<std::mutex>* turn = nullptr;  // of a thread that compiles

struct Alone {
    const string path;
    static std::set<string>& under_way() { static std::set<string> paths; return paths; }
    static std::condition_variable& ended() { static std::condition_variable one; return one; }
    Alone(const string& path) : path(path) {
        if (!turn) return;
        while (under_way().count(path)) ended().wait(*turn);
        under_way().insert(path);
    }
    ~Alone() {
        if (!turn) return;
        under_way().erase(path);
        ended().notify_all();
    }
};

struct Pause {  // to be followed by what runs meanwhile
    Pause() { if (turn) turn->unlock(); }
    ~Pause() { if (turn) turn->lock(); }
};
"""
TAKE_TURN = """        std::unique_lock<std::mutex> turn(jit_compiler::turns);
        jit_compiler::turn = &turn;
"""
LEAVE_TURN = "        jit_compiler::turn = nullptr;\n"
PAUSE = "    Pause pause;\n"

WAIT = """            if (func)
                func(id);
            while (true) {
                cv.wait(lck);
                if (func) {
                    func(id);
                } else
                    return;
            }
"""
WAIT_FOR_LAUNCH = """            while (true) {
                cv.wait(lck, [&] { return launched; });  // true as well if the launch came before this thread waits
                launched = false;
                if (!func) return;
                func(id);
            }
"""
WAIT_ALL_ENDS = """Compile thread timeout, ignored.";
            }
        }
    }
"""
FINISH = """    // func refers to variables of its caller: wait until each thread has left func or will not begin it
    void finish(int active_thread) {
        if (active_thread == 1 || segfault_happen) return;
        for (auto& t : threads) {
            std::unique_lock<std::mutex> lck(t.mtx);
            t.launched = false;
            if (!--active_thread) return;
        }
    }
"""

TUNED = """#ifdef __linux__
        cmd = python_path+" "+jittor_path+"/utils/asm_tuner.py "
            "--cc_path=" + cmd;
#endif
"""
TUNED_OR_QUICK = """#ifdef __linux__
        if (src.find("//@begin") != string::npos)  // lines that the tuner rewrites
            cmd = python_path+" "+jittor_path+"/utils/asm_tuner.py "
                "--cc_path=" + cmd;
        else if (file_exist(cache_path + "/operator.h"))  // precompiled: operator.h.gch
            cmd += " --include=\\"" + cache_path + "/operator.h\\"";
#endif
"""


def everywhere(versions):
    return True


# as in repairs.py
REPAIRS = (
    (
        "parallel-compiler",
        "operators are compiled safely on all cores (threads wrote files at the same time)",
        everywhere,
        [
            (
                "src/parallel_compiler.cc",
                [
                    between("EXTERN_LIB int segfault_happen;\n", TURNS, "\n// simple thread"),
                    between("    auto func = [&](int tid) {\n", TAKE_TURN, "        auto& entrys"),
                    between("        }\n", LEAVE_TURN, "    }; // end of threads.launch_all"),
                ],
            ),
            (
                "src/jit_compiler.cc",
                [
                    between("#include <mutex>\n", "#include <condition_variable>\n#include <set>\n", "\n"),
                    between("std::mutex dl_open_mutex;\n", ALONE, "\njit_op_entry_t"),
                    between("    string other_src;\n", "    Alone alone(jit_lib_path);\n", "    LOGvvv"),
                    between("#endif\n", PAUSE, "    cache_compile(cmd, cache_path, jittor_path);\n"),
                ],
            ),
        ],
        [],
    ),
    (
        "compiler-threads",
        "a run ends although a thread of the operator compiler has not started yet, and does not wait for it in vain",
        everywhere,
        [
            (
                "src/parallel_compiler.cc",
                [
                    (WAIT, WAIT_FOR_LAUNCH, 1),
                    between("    Func func;\n", "    bool launched = false;\n", "    std::mutex mtx;\n"),
                    between("        this->func = func;\n", "        launched = true;\n", "        cv.notify_all();\n"),
                    between(WAIT_ALL_ENDS, FINISH, "    void launch_all(int active_thread"),
                    between("        std::cerr << std::endl;\n", "    threads.finish(active_threads);\n", "    Var::"),
                    ("std::min(sleep_us*2, 1000000); // max 0.1s", "std::min(sleep_us*2, 10000); // max 10 ms", 1),
                ],
            ),
        ],
        [],
    ),
    (
        "operator-header",
        "CPU operators compile in a third of the time: their headers are compiled once, by the preparation",
        everywhere,
        [("src/jit_compiler.cc", [(TUNED, TUNED_OR_QUICK, 1)])],
        [],
    ),
)
