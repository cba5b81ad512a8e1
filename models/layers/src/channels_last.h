// Convolution in bfloat16 with oneDNN: forward and both gradients, on maps (B, H, W, C). Sums are float32, and each
// result is rounded once. Weights, bias and their gradients are float32. oneDNN uses AMX or AVX512-BF16, whichever the
// processor has. Compiles on its own:
//
//   g++ -std=c++14 -I$HOME/.cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp/include -fsyntax-only -x c++
//   models/layers/src/channels_last.h
#ifndef CHANNELS_LAST_H
#define CHANNELS_LAST_H

#include <cstring>
#include <unordered_map>
#include <vector>

#include <dnnl.hpp>

namespace channels_last {

using dnnl::memory;

struct Convolution {
    int batch, in, h, w, out, oh, ow, kernel, stride, pad, dilation;
};

inline const dnnl::engine& engine() {
    static const dnnl::engine one(dnnl::engine::kind::cpu, 0);
    return one;
}

inline dnnl::stream& stream() {
    static dnnl::stream one(engine());
    return one;
}

inline memory::desc map(int batch, int channels, int h, int w, memory::format_tag tag = memory::format_tag::nhwc,
                        memory::data_type type = memory::data_type::bf16) {
    return memory::desc({batch, channels, h, w}, type, tag);
}

inline memory at(const memory::desc& desc, const void* data) { return memory(desc, engine(), const_cast<void*>(data)); }

// Memory for rearranged weights, kept between calls.
inline memory scratch(const memory::desc& desc) {
    static std::vector<float> numbers;
    if (numbers.size() * sizeof(float) < desc.get_size()) numbers.resize(desc.get_size() / sizeof(float) + 1);
    return at(desc, numbers.data());
}

inline void rearrange(memory from, memory to) {
    dnnl::reorder(from, to).execute(stream(), from, to);
    stream().wait();
}

// The descriptions that oneDNN chooses an implementation from.
struct Descriptions {
    memory::desc x, y, bias, weight, d_weight;
    memory::dims strides, holes, pad;

    explicit Descriptions(const Convolution& n)
        : x(map(n.batch, n.in, n.h, n.w)),
          y(map(n.batch, n.out, n.oh, n.ow)),
          bias({n.out}, memory::data_type::f32, memory::format_tag::x),
          weight(map(n.out, n.in, n.kernel, n.kernel, memory::format_tag::any)),
          d_weight(map(n.out, n.in, n.kernel, n.kernel, memory::format_tag::any, memory::data_type::f32)),
          strides({n.stride, n.stride}),
          holes({n.dilation - 1, n.dilation - 1}),
          pad({n.pad, n.pad}) {}
};

// Weights as Jittor stores them: (O, I, k, k) float32.
inline memory::desc plain_weight(const Convolution& n) {
    return map(n.out, n.in, n.kernel, n.kernel, memory::format_tag::nchw, memory::data_type::f32);
}

inline dnnl::convolution_forward::primitive_desc forward_choice(const Convolution& n, bool biased, bool add,
                                                                float slope) {
    const Descriptions d(n);
    dnnl::post_ops after;
    if (add) after.append_binary(dnnl::algorithm::binary_add, d.y);
    if (slope != 1) after.append_eltwise(1, dnnl::algorithm::eltwise_relu, slope, 0);
    dnnl::primitive_attr attributes;
    attributes.set_post_ops(after);
    const auto kind = dnnl::prop_kind::forward_training;
    const auto direct = dnnl::algorithm::convolution_direct;
    typedef dnnl::convolution_forward::desc Desc;
    const Desc desc = biased ? Desc(kind, direct, d.x, d.weight, d.bias, d.y, d.strides, d.holes, d.pad, d.pad)
                             : Desc(kind, direct, d.x, d.weight, d.y, d.strides, d.holes, d.pad, d.pad);
    return dnnl::convolution_forward::primitive_desc(desc, attributes, engine());
}

// y = activation(x * weight + bias + add). bias and add may be null. slope: of the activation for negative inputs (0:
// ReLU, 1: none). `from`: the layout of the weights; another one than oneDNN's choice is rearranged.
inline void forward(const Convolution& n, float slope, const void* x, const memory::desc& from, const void* weight,
                    const float* bias, const void* add, void* y) {
    const auto chosen = forward_choice(n, bias, add, slope);
    memory kernel = at(from, weight);
    if (chosen.weights_desc() != from) {
        kernel = scratch(chosen.weights_desc());
        rearrange(at(from, weight), kernel);
    }
    std::unordered_map<int, memory> arguments = {
        {DNNL_ARG_SRC, at(chosen.src_desc(), x)}, {DNNL_ARG_WEIGHTS, kernel}, {DNNL_ARG_DST, at(chosen.dst_desc(), y)}};
    if (bias) arguments.insert({DNNL_ARG_BIAS, at(chosen.bias_desc(), bias)});
    if (add) arguments.insert({DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, at(chosen.dst_desc(), add)});
    dnnl::convolution_forward(chosen).execute(stream(), arguments);
    stream().wait();
}

// Weights in the layout that oneDNN chooses for this size of x, and the description of that layout.
inline std::size_t packed_bytes(const Convolution& n) {
    return forward_choice(n, true, false, 0).weights_desc().get_size();
}

inline void pack(const Convolution& n, const float* weight, void* packed, void* desc) {
    const memory::desc chosen = forward_choice(n, true, false, 0).weights_desc();
    rearrange(at(plain_weight(n), weight), at(chosen, packed));
    std::memcpy(desc, &chosen.data, sizeof(chosen.data));
}

inline memory::desc described(const void* desc) {
    dnnl_memory_desc_t data;
    std::memcpy(&data, desc, sizeof(data));
    return memory::desc(data);
}

inline void gradient_of_x(const Convolution& n, const void* dy, const float* weight, void* dx) {
    const Descriptions d(n);
    typedef dnnl::convolution_backward_data Backward;
    const Backward::primitive_desc chosen(
        Backward::desc(dnnl::algorithm::convolution_direct, d.x, d.weight, d.y, d.strides, d.holes, d.pad, d.pad),
        engine(), forward_choice(n, false, false, 1));
    const memory kernel = scratch(chosen.weights_desc());
    rearrange(at(plain_weight(n), weight), kernel);
    Backward(chosen).execute(stream(), {{DNNL_ARG_DIFF_DST, at(chosen.diff_dst_desc(), dy)},
                                        {DNNL_ARG_WEIGHTS, kernel},
                                        {DNNL_ARG_DIFF_SRC, at(chosen.diff_src_desc(), dx)}});
    stream().wait();
}

// d_bias may be null.
inline void gradient_of_weight(const Convolution& n, const void* x, const void* dy, float* d_weight, float* d_bias) {
    const Descriptions d(n);
    typedef dnnl::convolution_backward_weights Backward;
    const auto direct = dnnl::algorithm::convolution_direct;
    const Backward::desc desc =
        d_bias ? Backward::desc(direct, d.x, d.d_weight, d.bias, d.y, d.strides, d.holes, d.pad, d.pad)
               : Backward::desc(direct, d.x, d.d_weight, d.y, d.strides, d.holes, d.pad, d.pad);
    const Backward::primitive_desc chosen(desc, engine(), forward_choice(n, d_bias, false, 1));
    const bool same = chosen.diff_weights_desc() == plain_weight(n);
    const memory kernel = same ? at(plain_weight(n), d_weight) : scratch(chosen.diff_weights_desc());
    std::unordered_map<int, memory> arguments = {{DNNL_ARG_SRC, at(chosen.src_desc(), x)},
                                                 {DNNL_ARG_DIFF_DST, at(chosen.diff_dst_desc(), dy)},
                                                 {DNNL_ARG_DIFF_WEIGHTS, kernel}};
    if (d_bias) arguments.insert({DNNL_ARG_DIFF_BIAS, at(chosen.diff_bias_desc(), d_bias)});
    Backward(chosen).execute(stream(), arguments);
    stream().wait();
    if (!same) rearrange(kernel, at(plain_weight(n), d_weight));
}

// (B, C, H, W) float32 -> (B, H, W, C) bfloat16, or back.
inline void change_layout(bool to_last, int batch, int channels, int h, int w, const void* x, void* y) {
    const memory::desc first = map(batch, channels, h, w, memory::format_tag::nchw, memory::data_type::f32);
    const memory::desc last = map(batch, channels, h, w);
    rearrange(at(to_last ? first : last, x), at(to_last ? last : first, y));
}

}  // namespace channels_last

#endif
