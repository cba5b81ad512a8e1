// Convolution and pooling on packed feature maps (B, C/16, H, W, 16): the layout of oneDNN's direct kernels, so that
// nothing is reordered between two layers. Bias, residual and activation are applied while the result is still in
// cache. Compiles on its own:
//
//   g++ -std=c++14 -I$HOME/.cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp/include -fsyntax-only -x c++
//   models/layers/src/packed.h
#ifndef PACKED_H
#define PACKED_H

#include <string>
#include <unordered_map>
#include <vector>

#include <dnnl.hpp>

namespace packed {

using dnnl::memory;

struct Window {
    int kernel, stride, pad, dilation;
};

inline const dnnl::engine& engine() {
    static const dnnl::engine one(dnnl::engine::kind::cpu, 0);
    return one;
}

inline memory::desc map(int batch, int channels, int h, int w) {
    return memory::desc({batch, channels, h, w}, memory::data_type::f32, memory::format_tag::nChw16c);
}

inline memory at(const memory::desc& desc, const float* data) {
    return memory(desc, engine(), const_cast<float*>(data));
}

inline void rearrange(const memory& from, const memory& to) {
    memory source = from, target = to;
    dnnl::stream stream(engine());
    dnnl::reorder(source, target).execute(stream, source, target);
    stream.wait();
}

typedef dnnl::convolution_forward Convolution;

// y = activation(x * weight + bias + add). weight: (O/16, I/16, k, k, 16 inputs, 16 outputs). add may be null. slope:
// of the activation for negative inputs (0: ReLU, 1: none).
inline void convolution(int batch, int in, int h, int w, int out, int oh, int ow, Window n, float slope, const float* x,
                        const float* weight, const float* bias, const float* add, float* y) {
    const memory::dims shape = {out, in, n.kernel, n.kernel};
    const memory::desc from = map(batch, in, h, w), to = map(batch, out, oh, ow);
    const memory::desc weights(shape, memory::data_type::f32, memory::format_tag::OIhw16i16o);
    const memory::desc biases({out}, memory::data_type::f32, memory::format_tag::x);
    dnnl::post_ops after;
    if (add) after.append_binary(dnnl::algorithm::binary_add, to);
    if (slope != 1) after.append_eltwise(1, dnnl::algorithm::eltwise_relu, slope, 0);
    dnnl::primitive_attr attributes;
    attributes.set_post_ops(after);
    auto choose = [&](const memory::desc& a, const memory::desc& b, const memory::desc& c) {
        return Convolution::primitive_desc(
            Convolution::desc(dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, a, b, biases, c,
                              {n.stride, n.stride}, {n.dilation - 1, n.dilation - 1}, {n.pad, n.pad}, {n.pad, n.pad}),
            attributes, engine());
    };
    Convolution::primitive_desc chosen = choose(from, weights, to);
    memory source = at(from, x), kernel = at(weights, weight), target = at(to, y);
    const bool slow = std::string(chosen.impl_info_str()).compare(0, 3, "ref") == 0;  // no fast kernel
    if (slow) {
        const auto any = memory::format_tag::any;
        chosen = choose(memory::desc({batch, in, h, w}, memory::data_type::f32, any),
                        memory::desc(shape, memory::data_type::f32, any),
                        memory::desc({batch, out, oh, ow}, memory::data_type::f32, any));
        source = memory(chosen.src_desc(), engine());
        kernel = memory(chosen.weights_desc(), engine());
        target = memory(chosen.dst_desc(), engine());
        rearrange(at(from, x), source);
        rearrange(at(weights, weight), kernel);
    }
    std::unordered_map<int, memory> arguments = {
        {DNNL_ARG_SRC, source}, {DNNL_ARG_WEIGHTS, kernel}, {DNNL_ARG_BIAS, at(biases, bias)}, {DNNL_ARG_DST, target}};
    if (add) arguments.insert({DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, at(to, add)});
    dnnl::stream stream(engine());
    Convolution(chosen).execute(stream, arguments);
    stream.wait();
    if (slow) rearrange(target, at(to, y));
}

inline memory::desc plain(int batch, int channels, int h, int w) {
    return memory::desc({batch, channels, h, w}, memory::data_type::f32, memory::format_tag::nchw);
}

// The same for unpacked arrays, without bias and activation; they are packed for the duration of the call.
inline void plain_convolution(int batch, int in, int h, int w, int out, int oh, int ow, Window n, const float* x,
                              const float* weight, float* y) {
    const memory::desc weights({out, in, n.kernel, n.kernel}, memory::data_type::f32, memory::format_tag::OIhw16i16o);
    memory source(map(batch, in, h, w), engine()), target(map(batch, out, oh, ow), engine()), kernel(weights, engine());
    rearrange(at(plain(batch, in, h, w), x), source);
    rearrange(at(plain(out, in, n.kernel, n.kernel), weight), kernel);
    const std::vector<float> bias(out);
    auto data = [](const memory& m) { return static_cast<float*>(m.get_data_handle()); };
    convolution(batch, in, h, w, out, oh, ow, n, 1, data(source), data(kernel), bias.data(), nullptr, data(target));
    rearrange(target, at(plain(batch, out, oh, ow), y));
}

inline void max_pool(int batch, int channels, int h, int w, int oh, int ow, Window n, const float* x, float* y) {
    const memory::desc from = map(batch, channels, h, w), to = map(batch, channels, oh, ow);
    const memory::dims before = {n.pad, n.pad};
    const memory::dims behind = {(oh - 1) * n.stride + n.kernel - h - n.pad,
                                 (ow - 1) * n.stride + n.kernel - w - n.pad};
    const dnnl::pooling_forward::desc desc(dnnl::prop_kind::forward_inference, dnnl::algorithm::pooling_max, from, to,
                                           {n.stride, n.stride}, {n.kernel, n.kernel}, before, behind);
    dnnl::stream stream(engine());
    dnnl::pooling_forward(dnnl::pooling_forward::primitive_desc(desc, engine()))
        .execute(stream, {{DNNL_ARG_SRC, at(from, x)}, {DNNL_ARG_DST, at(to, y)}});
    stream.wait();
}

// (B, C, H, W) -> packed, or back.
inline void rearrange(bool pack, int batch, int channels, int h, int w, const float* x, float* y) {
    const memory::desc flat = plain(batch, channels, h, w);
    const memory::desc dense = map(batch, channels, h, w);
    rearrange(at(pack ? flat : dense, x), at(pack ? dense : flat, y));
}

}  // namespace packed

#endif
