// The stages of a pass: norms, rotation, attention over the paged cache, experts.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include "network.h"
#include "team.h"

constexpr int64_t BATCH = 64;  // rows whose results lie on the stack at once

static void normalise(const float* x, const Vector& weight, float eps, int64_t width, float* out) {
    F16 squares = {};
    for (int64_t i = 0; i < width; i += 16) {
        const F16 v = load_some(x + i, width - i);
        squares += v * v;
    }
    const float inverse = 1.0f / sqrtf(sum(squares) / width + eps);
    for (int64_t i = 0; i < width; i += 16) {
        const F16 v = load_some(x + i, width - i) * inverse * weight.some(i, width - i);
        store_some(out + i, v, width - i);
    }
}

// Turns the pairs (2 i, 2 i + 1), or (i, i + width / 2), of `width` values in place.
static void rotate(float* x, const float* cos, const float* sin, int64_t width, bool pairs) {
    const int64_t half = width / 2, step = pairs ? 2 : 1, second = pairs ? 1 : half;
    for (int64_t i = 0; i < half; i++) {
        float &a = x[i * step], &b = x[i * step + second];
        const float turned = a * cos[i] - b * sin[i];
        b = b * cos[i] + a * sin[i];
        a = turned;
    }
}

static F16 silu(F16 x) { return x / (1.0f + exponential(-x)); }

// Products of all rows with several matrices that take the same activations; out[i] is [rows, matrix i's out].
static void multiply(Worker& worker, const Matrix* const* w, int count, const Rows& x, const int32_t* all,
                     float* const* out, bool add) {
    int64_t panels = 0;
    for (int i = 0; i < count; i++) panels += w[i]->panels();
    worker.share(panels, [&](int64_t p) {
        int i = 0;
        while (p >= w[i]->panels()) p -= w[i++]->panels();
        const int64_t width = w[i]->out;
        F16 results[BATCH];
        for (int64_t from = 0; from < x.count; from += BATCH) {
            const int64_t n = std::min(BATCH, x.count - from);
            product(*w[i], 0, p, x, all + from, n, results);
            for (int64_t m = 0; m < n; m++) {
                float* to = out[i] + (from + m) * width + p * PANEL;
                const F16 before = add ? load_some(to, width - p * PANEL) : F16{};
                store_some(to, before + results[m], width - p * PANEL);
            }
        }
    });
}

// silu(gate) * up of one block of GROUP inner values, for n rows of x, quantised into rows first, first + 1, ... of act.
static void gated(const Matrix& gate, const Matrix& up, int64_t bank, int64_t block, const Rows& x, const int32_t* row,
                  int64_t n, const Rows& act, int64_t first) {
    F16 g[2][BATCH], u[2][BATCH];
    for (; n > 0; n -= BATCH, row += BATCH, first += BATCH) {
        const int64_t some = std::min(BATCH, n);
        for (int half = 0; half < 2; half++) {
            const int64_t p = 2 * block + half;
            if (p < gate.panels()) {
                product(gate, bank, p, x, row, some, g[half]);
                product(up, bank, p, x, row, some, u[half]);
            } else {
                memset(g[half], 0, sizeof(F16) * some), memset(u[half], 0, sizeof(F16) * some);
            }
        }
        for (int64_t m = 0; m < some; m++)
            quantise_group(silu(g[0][m]) * u[0][m], silu(g[1][m]) * u[1][m], act, first + m, block);
    }
}

// The assignments of tokens to experts, sorted by expert: part e holds places [start[e], start[e + 1]).
struct Assignments {
    int64_t count = 0, active = 0;
    int32_t *token, *expert, *start;  // token of each place; number and first place of each active expert
    float* weight;

    void sort(const int32_t* chosen, const float* weights, int64_t tokens, int64_t each, int64_t experts) {
        std::vector<int32_t> places(experts + 1);
        for (int64_t i = 0; i < tokens * each; i++) places[chosen[i] + 1]++;
        count = tokens * each, active = 0;
        for (int64_t e = 0; e < experts; e++) {
            if (places[e + 1]) expert[active] = e, start[active++] = places[e];
            places[e + 1] += places[e];
        }
        start[active] = count;
        for (int64_t i = 0; i < count; i++) {
            const int32_t place = places[chosen[i]]++;
            token[place] = i / each, weight[place] = weights[i];
        }
    }
    static Assignments in(Memory& memory, int64_t count) {
        Assignments a;
        a.token = memory.take<int32_t>(count), a.expert = memory.take<int32_t>(count + 1);
        a.start = memory.take<int32_t>(count + 1), a.weight = memory.take<float>(count);
        return a;
    }
};

struct FeedForward {
    const Matrix *gate, *up, *down;  // null: no dense (shared) part
    const Matrix *experts_gate, *experts_up, *experts_down;
};

// y [tokens, out] = dense part + weighted experts. `shared` and `act` take the inner values of the two.
static void feed_forward(Worker& worker, const FeedForward& w, const Rows& x, const int32_t* all, const Rows& shared,
                         const Assignments& a, const Rows& act, float* y) {
    const int64_t dense = w.gate ? shared.groups : 0, blocks = w.experts_gate ? act.groups : 0;
    worker.share(dense + a.active * blocks, [&](int64_t i) {
        if (i < dense) return gated(*w.gate, *w.up, 0, i, x, all, x.count, shared, 0);
        const int64_t e = (i - dense) / blocks, from = a.start[e];
        gated(*w.experts_gate, *w.experts_up, a.expert[e], (i - dense) % blocks, x, a.token + from,
              a.start[e + 1] - from, act, from);
    });
    const Matrix& any = w.down ? *w.down : *w.experts_down;
    worker.share(any.panels(), [&](int64_t p) {
        const int64_t width = any.out, left = width - p * PANEL;
        F16 results[BATCH];
        for (int64_t from = 0; from < x.count; from += BATCH) {
            const int64_t n = std::min(BATCH, x.count - from);
            if (w.down) product(*w.down, 0, p, shared, all + from, n, results);
            for (int64_t m = 0; m < n; m++)
                store_some(y + (from + m) * width + p * PANEL, w.down ? results[m] : F16{}, left);
        }
        for (int64_t e = 0; e < a.active; e++)
            for (int64_t from = a.start[e]; from < a.start[e + 1]; from += BATCH) {
                const int64_t n = std::min<int64_t>(BATCH, a.start[e + 1] - from);
                product(*w.experts_down, a.expert[e], p, act, all + from, n, results);
                for (int64_t m = 0; m < n; m++) {
                    float* to = y + a.token[from + m] * width + p * PANEL;
                    store_some(to, load_some(to, left) + results[m] * a.weight[from + m], left);
                }
            }
    });
}

// One token's experts by its sigmoid scores; the rules are those of model/moe.py.
static void choose_experts(const Network& net, const Layer& layer, const float* scores, int32_t* chosen, float* weights) {
    const int64_t E = net.experts, each = E / net.groups;
    std::vector<float> choice(E);
    for (int64_t e = 0; e < E; e++) choice[e] = scores[e] + layer.router_bias[e];
    const float never = -std::numeric_limits<float>::infinity();
    if (net.group_rule != 2 && net.chosen_groups < net.groups) {
        std::vector<float> group(net.groups);
        for (int64_t g = 0; g < net.groups; g++) {
            float first = never, second = never;
            for (int64_t e = g * each; e < (g + 1) * each; e++) {
                if (choice[e] > first) second = first, first = choice[e];
                else if (choice[e] > second) second = choice[e];
            }
            group[g] = net.group_rule == 1 ? first : first + second;
        }
        std::vector<char> kept(net.groups);
        for (int64_t i = 0; i < net.chosen_groups; i++) {
            int64_t best = -1;
            for (int64_t g = 0; g < net.groups; g++)
                if (!kept[g] && (best < 0 || group[g] > group[best])) best = g;
            kept[best] = 1;
        }
        for (int64_t e = 0; e < E; e++)
            if (!kept[e / each]) choice[e] = never;
    }
    float total = 1e-20f;
    for (int64_t i = 0; i < net.chosen; i++) {
        int64_t best = 0;
        for (int64_t e = 1; e < E; e++)
            if (choice[e] > choice[best]) best = e;
        choice[best] = never;
        chosen[i] = best, weights[i] = scores[best], total += scores[best];
    }
    for (int64_t i = 0; i < net.chosen; i++)
        weights[i] *= net.normalise ? net.routed_scale / total : net.routed_scale;
}

// Attention of one token: its context is cut into at most SPLITS parts, whose results are put together afterwards.
constexpr int64_t SPLITS = 16, SHORTEST = 64, HEADS_AT_ONCE = 4;

struct Attention {
    int64_t heads, shared, key, value, key_step, value_at, value_step;  // shared: query heads per cache head
    float scale;

    static int64_t part(int64_t context) {
        const int64_t even = (context + SPLITS - 1) / SPLITS;
        return std::max(SHORTEST, (even + 15) / 16 * 16);
    }
    int64_t partial_width() const { return value + 2; }  // weighted values, largest score, sum of weights
};

// What one thread needs for a part: where its entries lie, and the scores of up to HEADS_AT_ONCE heads.
struct PartRoom {
    const void** entries;
    float* scores;

    static int64_t size(int64_t part) { return (part + 16) * (8 + 4 * HEADS_AT_ONCE); }
    static PartRoom in(char* memory, int64_t part) {
        return {(const void**)memory, (float*)(memory + 8 * (part + 16))};
    }
};

// scores [HEADS, stride] = keys times queries, 16 entries at a time.
template <class E, int HEADS>
static void score_part(const Attention& a, const E* const* entries, int64_t count, const float* query,
                       int64_t query_step, float* scores, int64_t stride) {
    for (int64_t s = 0; s < count; s += 16) {
        F16 totals[HEADS][16];
        for (int64_t e = 0; e < 16; e++) {
            const E* key = entries[s + e];  // those behind the end repeat the last one
            F16 total[HEADS] = {};
            for (int64_t i = 0; i < a.key; i += 16) {
                const F16 k = load_some(key + i, a.key - i);
                for (int h = 0; h < HEADS; h++) total[h] += k * load_some(query + h * query_step + i, a.key - i);
            }
            for (int h = 0; h < HEADS; h++) totals[h][e] = total[h];
        }
        for (int h = 0; h < HEADS; h++) store(scores + h * stride + s, sums(totals[h]) * a.scale);
    }
}

// partial [HEADS, value] = values weighted by scores, from value `from` on, WIDTH vectors at a time.
template <class E, int HEADS, int WIDTH>
static int64_t mix_part(const Attention& a, const E* const* values, int64_t count, const float* scores,
                        int64_t stride, int64_t from, float* partial, int64_t partial_step) {
    for (; from + 16 * WIDTH <= a.value || (WIDTH == 1 && from < a.value); from += 16 * WIDTH) {
        F16 mixed[HEADS][WIDTH] = {};
        for (int64_t s = 0; s < count; s++)
            for (int w = 0; w < WIDTH; w++) {
                const F16 v = load_some(values[s] + a.value_at + from + 16 * w, a.value - from - 16 * w);
                for (int h = 0; h < HEADS; h++) mixed[h][w] += v * scores[h * stride + s];
            }
        for (int h = 0; h < HEADS; h++)
            for (int w = 0; w < WIDTH; w++)
                store_some(partial + h * partial_step + from + 16 * w, mixed[h][w], a.value - from - 16 * w);
    }
    return from;
}

// Scores and weighted values of HEADS query heads that share a cache head, over entries [from, to).
template <class E, int HEADS>
static void attend_part(const Attention& a, const Network& net, const E* cache, const int64_t* table,
                        const float* query, int64_t query_step, int64_t cache_head, int64_t from, int64_t to,
                        const PartRoom& room, float* partial, int64_t partial_step) {
    const int64_t count = to - from, stride = (count + 15) / 16 * 16;
    const E** entries = (const E**)room.entries;
    for (int64_t s = 0, at = from; s < count; at++, s++)
        entries[s] = cache + cache_head * a.key_step +
                     (table[at / net.block_size] * net.block_size + at % net.block_size) * net.cache_width;
    for (int64_t s = count; s < stride; s++) entries[s] = entries[count - 1];
    score_part<E, HEADS>(a, entries, count, query, query_step, room.scores, stride);
    for (int h = 0; h < HEADS; h++) {
        float *row = room.scores + h * stride, most = row[0];
        for (int64_t s = 1; s < count; s++) most = std::max(most, row[s]);
        F16 total = {};
        for (int64_t s = 0; s < stride; s += 16) {
            F16 weight = exponential(load<F16>(row + s) - most);
            for (int64_t i = std::max<int64_t>(0, count - s); i < 16; i++) weight[i] = 0;
            store(row + s, weight);
            total += weight;
        }
        partial[h * partial_step + a.value] = most;
        partial[h * partial_step + a.value + 1] = sum(total);
    }
    // a value lies `value_step - key_step` further for each head than its key
    Attention shifted = a;
    shifted.value_at += cache_head * (a.value_step - a.key_step);
    const int64_t done = mix_part<E, HEADS, 4>(shifted, entries, count, room.scores, stride, 0, partial, partial_step);
    mix_part<E, HEADS, 1>(shifted, entries, count, room.scores, stride, done, partial, partial_step);
}

// Puts the parts of one head's attention together.
static void merge_parts(const Attention& a, const float* partial, int64_t parts, float* out) {
    float most = partial[a.value], weights[SPLITS], total = 0;
    for (int64_t i = 1; i < parts; i++) most = std::max(most, partial[i * a.partial_width() + a.value]);
    for (int64_t i = 0; i < parts; i++) {
        weights[i] = expf(partial[i * a.partial_width() + a.value] - most);
        total += weights[i] * partial[i * a.partial_width() + a.value + 1];
    }
    for (int64_t at = 0; at < a.value; at += 16) {
        F16 mixed = {};
        for (int64_t i = 0; i < parts; i++)
            mixed += load_some(partial + i * a.partial_width() + at, a.value - at) * (weights[i] / total);
        store_some(out + at, mixed, a.value - at);
    }
}

// All rows' attention over entries of type E: out [rows, heads, value]. No context has more than `splits` parts.
template <class E>
static void attend(Worker& worker, const Attention& a, const Network& net, const Pass& pass, const E* cache,
                   const float* query, int64_t query_step, const PartRoom& room, int64_t splits, float* partial, float* out) {
    const int64_t at_once = std::min(HEADS_AT_ONCE, a.shared), cut = (a.shared + at_once - 1) / at_once;
    const int64_t each = a.heads / a.shared * cut * splits;
    worker.in_turns(pass.rows * each, [&](int64_t i) {
        const int64_t row = i / each, context = pass.positions[row] + 1, length = Attention::part(context);
        // parts outermost, so that threads read different entries
        const int64_t split = i % each / (each / splits), item = i % (each / splits), kv = item / cut;
        const int64_t from = split * length, to = std::min(context, from + length);
        if (from >= to) return;
        const int64_t head = kv * a.shared + item % cut * at_once, width = a.partial_width();
        const int64_t heads = std::min(at_once, (kv + 1) * a.shared - head);
        const auto some = heads == 1   ? attend_part<E, 1>
                          : heads == 2 ? attend_part<E, 2>
                          : heads == 3 ? attend_part<E, 3>
                                       : attend_part<E, 4>;
        some(a, net, cache, pass.tables + pass.table_start[row], query + (row * a.heads + head) * query_step,
             query_step, kv, from, to, room, partial + ((row * a.heads + head) * splits + split) * width,
             splits * width);
    });
    worker.each(pass.rows * a.heads, [&](int64_t i) {
        const int64_t context = pass.positions[i / a.heads] + 1, length = Attention::part(context);
        merge_parts(a, partial + i * splits * a.partial_width(), (context + length - 1) / length, out + i * a.value);
    });
}
