// Products with few rows, and a whole pass of the network over a paged cache in one call.
//
// Compiled at first use (compiler.py). A row's result never depends on the other rows or on the number of threads'
// order of work, so a text is the same alone and in a batch.
#include "stages.h"

namespace {

Rows take_rows(Memory& memory, int64_t count, int64_t width) {
    const int64_t groups = (width + GROUP - 1) / GROUP;
    return Rows::in(memory.take<char>(Rows::size(count, groups)), count, groups);
}

int32_t* counting(Memory& memory, int64_t count) {
    int32_t* all = memory.take<int32_t>(count);
    for (int64_t i = 0; i < count; i++) all[i] = i;
    return all;
}

// One item per row and group, so that long rows and many rows are shared out alike.
void quantise_all(Worker& worker, const float* from, int64_t width, int64_t step, const Rows& rows) {
    worker.each(rows.count * rows.groups, [&](int64_t i) {
        const int64_t row = i / rows.groups, group = i % rows.groups;
        quantise(from + row * step, width, rows, row, group, group + 1);
    });
}

int64_t padded(int64_t width) { return (width + GROUP - 1) / GROUP * GROUP; }

struct Buffers {
    const Network& net;
    const Pass& pass;
    Memory memory;
    int32_t* all;
    float *x, *normed, *q, *k, *v, *q_a, *cos, *sin, *partial, *out, *absorbed, *mixed, *y, *router, *weights;
    int32_t* chosen;
    int64_t longest_part, splits, most_in = 0;
    Assignments assignments;

    Buffers(const Network& net, const Pass& pass, int threads) : net(net), pass(pass) {
        const int64_t T = pass.rows;
        int64_t context = 0;
        for (int64_t t = 0; t < T; t++) context = std::max(context, pass.positions[t] + 1);
        const int64_t head = net.latent ? net.nope + net.rope : net.head, value = net.latent ? net.rank : net.head;
        all = counting(memory, std::max(T * std::max<int64_t>(net.chosen, 1), T * net.heads) + 1);
        x = memory.take<float>(T * net.hidden), y = memory.take<float>(T * net.hidden);
        q = memory.take<float>(T * net.heads * head);
        k = memory.take<float>(T * std::max(net.cache_width, net.kv_heads * net.head));
        v = memory.take<float>(T * std::max<int64_t>(1, net.kv_heads * net.head));
        cos = memory.take<float>(T * net.rope / 2), sin = memory.take<float>(T * net.rope / 2);
        longest_part = Attention::part(context);
        part_rooms = memory.take<char>(threads * PartRoom::size(longest_part));
        splits = (context + longest_part - 1) / longest_part;
        if (context > SHORTEST) splits = std::max(splits, std::min(SPLITS, (context + SHORTEST - 1) / SHORTEST));
        partial = memory.take<float>(T * net.heads * splits * (value + 2));
        out = memory.take<float>(T * net.heads * std::max(value, net.value));
        mixed = memory.take<float>(T * net.heads * std::max(value, net.value));
        absorbed = memory.take<float>(T * net.heads * (net.rank + net.rope));
        int64_t widest = std::max(net.hidden, net.heads * std::max({head, value, net.value}));
        int64_t query_rank = 1, inner = 1, routed = 1;
        for (int64_t l = 0; l < net.layers; l++) {
            const Layer& layer = net.layer[l];
            if (layer.q_a.data) query_rank = std::max(query_rank, layer.q_a.out);
            if (layer.gate.data) inner = std::max(inner, layer.gate.out);
            if (layer.sparse) routed = std::max(routed, layer.experts_gate.out);
        }
        q_a = memory.take<float>(T * query_rank);
        normed = memory.take<float>(T * std::max(widest, query_rank));
        most_in = std::max(padded(widest), padded(query_rank));
        rows_memory = memory.take<char>(Rows::size(T * net.heads, padded(std::max(net.nope, net.rank)) / GROUP + 1) +
                                        Rows::size(T, most_in / GROUP));
        act_memory = memory.take<char>(Rows::size(T, padded(inner) / GROUP));
        routed_memory = memory.take<char>(Rows::size(T * std::max<int64_t>(1, net.chosen), padded(routed) / GROUP));
        router = memory.take<float>(T * std::max<int64_t>(1, net.experts));
        chosen = memory.take<int32_t>(T * std::max<int64_t>(1, net.chosen));
        weights = memory.take<float>(T * std::max<int64_t>(1, net.chosen));
        assignments = Assignments::in(memory, T * std::max<int64_t>(1, net.chosen));
    }
    char *rows_memory, *act_memory, *routed_memory, *part_rooms;

    PartRoom part_room(int id) { return PartRoom::in(part_rooms + id * PartRoom::size(longest_part), longest_part); }
    Rows rows(int64_t count, int64_t width) { return Rows::in(rows_memory, count, padded(width) / GROUP); }
};

// Norm of x, quantised for the products that follow.
Rows normalised(Worker& worker, Buffers& b, const float* x, const Vector& weight, float eps, int64_t width) {
    Rows rows = b.rows(b.pass.rows, width);
    worker.each(b.pass.rows, [&](int64_t t) {
        normalise(x + t * width, weight, eps, width, b.normed + t * width);
        quantise(b.normed + t * width, width, rows, t, 0, rows.groups);
    });
    return rows;
}

void project_out(Worker& worker, Buffers& b, const Layer& layer, int64_t value) {
    const int64_t width = b.net.heads * value;
    const Rows rows = b.rows(b.pass.rows, width);
    quantise_all(worker, b.out, width, width, rows);
    const Matrix* o[] = {&layer.o};
    float* to[] = {b.x};
    multiply(worker, o, 1, rows, b.all, to, true);
}

// Stores `width` values of row t's cache entry, from value `at` on.
void keep(const Network& net, const Pass& pass, void* cache, int64_t t, int64_t at, const float* values, int64_t width) {
    const int64_t s = pass.positions[t], block = pass.tables[pass.table_start[t] + s / net.block_size];
    const int64_t place = (block * net.block_size + s % net.block_size) * net.cache_width + at;
    if (!net.cache_narrow) {
        memcpy((float*)cache + place, values, 4 * width);
        return;
    }
    for (int64_t i = 0; i < width; i += 16)
        store_some((uint16_t*)cache + place + i, load_some(values + i, width - i), width - i);
}

void attend_all(Worker& worker, Buffers& b, const Attention& a, const void* cache, const float* query, int64_t query_step,
                float* out) {
    const PartRoom room = b.part_room(worker.id);
    if (b.net.cache_narrow)
        attend(worker, a, b.net, b.pass, (const uint16_t*)cache, query, query_step, room, b.splits, b.partial, out);
    else
        attend(worker, a, b.net, b.pass, (const float*)cache, query, query_step, room, b.splits, b.partial, out);
}

void grouped_query(Worker& worker, Buffers& b, const Layer& layer) {
    const Network& net = b.net;
    const int64_t D = net.head, N = net.heads, KV = net.kv_heads;
    const Rows rows = normalised(worker, b, b.x, layer.input_norm, net.eps, net.hidden);
    const Matrix* qkv[] = {&layer.q, &layer.k, &layer.v};
    float* to[] = {b.q, b.k, b.v};
    multiply(worker, qkv, 3, rows, b.all, to, false);
    worker.each(b.pass.rows * (N + KV), [&](int64_t i) {
        const int64_t t = i / (N + KV), h = i % (N + KV);
        float* x = h < N ? b.q + (t * N + h) * D : b.k + (t * KV + h - N) * D;
        const Vector& norm = h < N ? layer.q_norm : layer.k_norm;
        if (norm) normalise(x, norm, net.eps, D, x);
        rotate(x, b.cos + t * D / 2, b.sin + t * D / 2, D, false);
        if (h < N) return;
        keep(net, b.pass, layer.cache, t, (h - N) * D, x, D);
        keep(net, b.pass, layer.cache, t, (KV + h - N) * D, b.v + (t * KV + h - N) * D, D);
    });
    const Attention a{N, N / KV, D, D, D, KV * D, D, net.scale};
    attend_all(worker, b, a, layer.cache, b.q, D, b.out);
    project_out(worker, b, layer, D);
}

// A bank's matrix h with row t * heads + h of x, for every row and head: out [rows, heads, w.out] at `step` a head.
void multiply_heads(Worker& worker, Buffers& b, const Matrix& w, const Rows& x, float* out, int64_t step) {
    const int64_t N = b.net.heads, T = b.pass.rows, P = w.panels();
    worker.share(N * P, [&](int64_t i) {
        const int64_t h = i / P, p = i % P;
        int32_t row[BATCH];
        F16 results[BATCH];
        for (int64_t from = 0; from < T; from += BATCH) {
            const int64_t n = std::min(BATCH, T - from);
            for (int64_t m = 0; m < n; m++) row[m] = (from + m) * N + h;
            product(w, h, p, x, row, n, results);
            for (int64_t m = 0; m < n; m++)
                store_some(out + row[m] * step + p * PANEL, results[m], w.out - p * PANEL);
        }
    });
}

void latent(Worker& worker, Buffers& b, const Layer& layer) {
    const Network& net = b.net;
    const int64_t N = net.heads, R = net.rank, D = net.rope, T = b.pass.rows, head = net.nope + D;
    Rows rows = normalised(worker, b, b.x, layer.input_norm, net.eps, net.hidden);
    const Matrix* first[] = {&layer.k, layer.q_a.data ? &layer.q_a : &layer.q};
    float* to[] = {b.k, layer.q_a.data ? b.q_a : b.q};
    multiply(worker, first, 2, rows, b.all, to, false);
    worker.each(T, [&](int64_t t) {
        float* made = b.k + t * (R + D);
        normalise(made, layer.k_norm, net.latent_eps, R, made);
        rotate(made + R, b.cos + t * D / 2, b.sin + t * D / 2, D, net.interleave);
        keep(net, b.pass, layer.cache, t, 0, made, R + D);
    });
    if (layer.q_a.data) {
        rows = normalised(worker, b, b.q_a, layer.q_norm, net.latent_eps, layer.q_a.out);
        const Matrix* q[] = {&layer.q};
        multiply(worker, q, 1, rows, b.all, &b.q, false);
    }
    rows = b.rows(T * N, net.nope);
    worker.each(T * N, [&](int64_t i) {
        float* query = b.q + i * head;
        quantise(query, net.nope, rows, i, 0, rows.groups);
        rotate(query + net.nope, b.cos + i / N * D / 2, b.sin + i / N * D / 2, D, net.interleave);
        memcpy(b.absorbed + i * (R + D) + R, query + net.nope, 4 * D);
    });
    multiply_heads(worker, b, layer.k_b, rows, b.absorbed, R + D);
    const Attention a{N, N, R + D, R, 0, 0, 0, net.scale};
    attend_all(worker, b, a, layer.cache, b.absorbed, R + D, b.mixed);
    rows = b.rows(T * N, R);
    quantise_all(worker, b.mixed, R, R, rows);
    multiply_heads(worker, b, layer.v, rows, b.out, net.value);
    project_out(worker, b, layer, net.value);
}

void route(Worker& worker, Buffers& b, const Layer& layer) {
    const Network& net = b.net;
    worker.share(b.pass.rows * net.experts, [&](int64_t i) {
        const float* x = b.normed + i / net.experts * net.hidden;
        const int64_t w = i % net.experts * net.hidden;
        F16 total = {};
        for (int64_t k = 0; k < net.hidden; k += 16)
            total += load_some(x + k, net.hidden - k) * layer.router.some(w + k, net.hidden - k);
        b.router[i] = 1.0f / (1.0f + expf(-sum(total)));
    });
    worker.once([&] {
        for (int64_t t = 0; t < b.pass.rows; t++)
            choose_experts(net, layer, b.router + t * net.experts, b.chosen + t * net.chosen, b.weights + t * net.chosen);
        b.assignments.sort(b.chosen, b.weights, b.pass.rows, net.chosen, net.experts);
    });
}

void feed_forward_layer(Worker& worker, Buffers& b, const Layer& layer) {
    const Network& net = b.net;
    const int64_t T = b.pass.rows, H = net.hidden;
    const Rows rows = normalised(worker, b, b.x, layer.post_norm, net.eps, H);
    const Rows act = Rows::in(b.act_memory, T, padded(layer.gate.out) / GROUP);
    if (!layer.sparse) {
        feed_forward(worker, {&layer.gate, &layer.up, &layer.down, nullptr, nullptr, nullptr}, rows, b.all, act,
                     Assignments{}, Rows{}, b.y);
    } else {
        route(worker, b, layer);
        const Rows routed = Rows::in(b.routed_memory, T * net.chosen, padded(layer.experts_gate.out) / GROUP);
        feed_forward(worker,
                     {&layer.gate, &layer.up, &layer.down, &layer.experts_gate, &layer.experts_up, &layer.experts_down},
                     rows, b.all, act, b.assignments, routed, b.y);
    }
    worker.each(T, [&](int64_t t) {
        float *x = b.x + t * H, *y = b.y + t * H;
        if (layer.sparse) normalise(y, layer.post_mlp_norm, net.eps, H, y);
        for (int64_t i = 0; i < H; i++) x[i] += y[i];
    });
}

void forward(Worker& worker, Buffers& b) {
    const Network& net = b.net;
    const Pass& pass = b.pass;
    worker.each(pass.rows, [&](int64_t t) {
        matrix_row(net.embedding, pass.tokens[t], b.x + t * net.hidden);
        for (int64_t i = 0; i < net.rope / 2; i++) {
            const float angle = (float)pass.positions[t] * net.inv_freq[i];
            b.cos[t * net.rope / 2 + i] = cosf(angle) * net.rope_scale;
            b.sin[t * net.rope / 2 + i] = sinf(angle) * net.rope_scale;
        }
    });
    for (int64_t l = 0; l < net.layers; l++) {
        if (net.latent) latent(worker, b, net.layer[l]);
        else grouped_query(worker, b, net.layer[l]);
        feed_forward_layer(worker, b, net.layer[l]);
    }
    worker.each(pass.rows, [&](int64_t t) {
        normalise(b.x + t * net.hidden, net.norm, net.eps, net.hidden, pass.states + t * net.hidden);
    });
}

}  // namespace

extern "C" {

// out [rows, w.out] = x [rows, w.in] times the matrix, transposed, plus its bias.
void axk1_linear(const Matrix* w, const float* x, int64_t rows, float* out, int threads) {
    Memory memory;
    const Rows quantised = take_rows(memory, rows, w->in);
    const int32_t* all = counting(memory, rows);
    together(threads, [&](Worker& worker) {
        quantise_all(worker, x, w->in, w->in, quantised);
        multiply(worker, &w, 1, quantised, all, &out, false);
    });
}

// The weighted sum of each token's experts: x [tokens, in], chosen and weights [tokens, each], out [tokens, in].
void axk1_experts(const Matrix* gate, const Matrix* up, const Matrix* down, const float* x, const int32_t* chosen,
                  const float* weights, int64_t tokens, int64_t each, float* out, int threads) {
    Memory memory;
    const Rows rows = take_rows(memory, tokens, gate->in), act = take_rows(memory, tokens * each, gate->out);
    const int32_t* all = counting(memory, tokens * each);
    Assignments assignments = Assignments::in(memory, tokens * each);
    assignments.sort(chosen, weights, tokens, each, gate->banks);
    together(threads, [&](Worker& worker) {
        quantise_all(worker, x, gate->in, gate->in, rows);
        feed_forward(worker, {nullptr, nullptr, nullptr, gate, up, down}, rows, all, Rows{}, assignments, act, out);
    });
}

void axk1_rows(const Matrix* w, const int64_t* numbers, int64_t count, float* out) {
    for (int64_t i = 0; i < count; i++) matrix_row(*w, numbers[i], out + i * w->in);
}

void axk1_forward(const Network* network, const Pass* pass, int threads) {
    Buffers buffers(*network, *pass, threads);
    together(threads, [&](Worker& worker) { forward(worker, buffers); });
}
}
