// The kernels of utils/training/src/optimizer.cuh on arrays of the CPU, for test_optimizer_cuda.py.
#include "optimizer.cuh"

#include <string>
#include <vector>

// `count` parameters, one behind the other in each array: a step of SGD that is taken, and one that is skipped.
extern "C" const char* run_all(int count, const long long* counts, const float* p, const float* g, const float* values,
                               float* total, float* new_p, float* new_values, float* kept_p, float* kept_values) {
    static std::string error;
    error.clear();
    const float state[] = {4, 0, 0, 0, 1}, go[] = {1, 0.25f, 1, 1}, stay[] = {0, 0.25f, 1, 1}, before = 2;
    std::vector<double> partial(64);
    std::vector<standin::Buffer*> buffers;
    const auto buffer = [&](const char* name, const void* at, long long bytes, bool writable) {
        buffers.push_back(new standin::Buffer(name, at, bytes, writable));
    };
    buffer("state", state, sizeof state, false);
    buffer("control", go, sizeof go, false);
    buffer("control", stay, sizeof stay, false);
    buffer("before", &before, sizeof before, false);
    buffer("total", total, sizeof(float), true);
    buffer("partial", partial.data(), 8 * partial.size(), true);
    std::vector<optimizer::Parameter> taken, skipped;
    long long at = 0;
    for (int k = 0; k < count; at += counts[k++]) {
        const float* in[] = {p + at, g + at, values + at};
        float* out[] = {new_p + at, new_values + at, kept_p + at, kept_values + at};
        for (const float* x : in) buffer("in", x, 4 * counts[k], false);
        for (float* x : out) buffer("out", x, 4 * counts[k], true);
        taken.push_back({counts[k], in[0], in[1], in[2], nullptr, out[0], out[1], nullptr, 0});
        skipped.push_back({counts[k], in[0], in[1], in[2], nullptr, out[2], out[3], nullptr, 0});
    }
    try {
        optimizer::squares(taken.data(), count, state, &before, partial.data(), total);
        optimizer::sgd(taken.data(), count, go, 0.5, 0.9, 0.25);
        optimizer::sgd(skipped.data(), count, stay, 0.5, 0.9, 0.25);
    } catch (const std::exception& e) {
        error = e.what();
    }
    while (!buffers.empty()) {
        delete buffers.back();
        buffers.pop_back();
    }
    return error.c_str();
}
