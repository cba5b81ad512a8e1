// Calls from Python into a library of kernels: an exception becomes a message.
#ifndef GUARDED_H
#define GUARDED_H

#include <exception>
#include <string>

// The message of the exception that f throws, or "". It is valid until the next call.
template <class F>
const char* guarded(const F& f) {
    static std::string message;
    try {
        f();
        message.clear();
    } catch (const std::exception& error) {
        message = error.what();
    }
    return message.c_str();
}

#endif
