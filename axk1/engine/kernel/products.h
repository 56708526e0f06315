// Products of rows of activations with matrices, as the network holds them or packed.
//
// ROWS32 and ROWS16 are the network's own float32 and bfloat16, row after row; COLUMNS32 and COLUMNS16 the same seen
// from the other side, so that a part of another matrix can be taken transposed without a copy.
//
// A packed matrix [out, in] is stored as panels of 16 rows; a panel as groups of GROUP columns, padded with zeros:
//   int8  group: GROUP / 4 chunks of 64 bytes; a chunk holds 4 columns of 16 rows, each weight + 128
//   int4  group: GROUP / 8 chunks; low nibbles hold columns 0-3 of 16 rows, high nibbles columns 4-7, each weight + 8
//   bf16  group: GROUP / 2 chunks; a chunk holds 2 columns of 16 rows
// and for int8 and int4 one bfloat16 scale per row and group. So a lane is a row of the matrix, and nothing has to be
// summed across lanes. Activations are bytes too, with a scale per group; that the weights carry an offset costs the
// sum of a group's activations, which is known before.
#pragma once
#include "lanes.h"

constexpr int GROUP = 32, PANEL = 16;
#if defined(__AVX512F__)
constexpr int ROWS_AT_ONCE = 6;  // 24 of 32 registers for sums
#else
constexpr int ROWS_AT_ONCE = 4;
#endif
enum Kind : int32_t { BF16 = 0, INT8 = 1, INT4 = 2, ROWS32 = 3, ROWS16 = 4, COLUMNS32 = 5, COLUMNS16 = 6 };

struct Matrix {
    int32_t kind, banks;  // banks: matrices of this shape that stand one after another (experts, heads)
    int64_t out, in;
    const uint8_t* data;
    const uint16_t* scales;
    Vector bias;              // may be missing
    int64_t step, bank_step;  // of a matrix that is not packed: numbers between rows (columns), between banks

    bool packed() const { return kind <= INT4; }

    int64_t groups() const { return (in + GROUP - 1) / GROUP; }
    int64_t panels() const { return (out + PANEL - 1) / PANEL; }
    int64_t group_bytes() const { return kind == BF16 ? 2 * PANEL * GROUP : PANEL * GROUP / (kind == INT4 ? 2 : 1); }
    const uint8_t* panel(int64_t bank, int64_t p) const {
        return data + (bank * panels() + p) * groups() * group_bytes();
    }
    const uint16_t* panel_scales(int64_t bank, int64_t p) const {
        return scales + (bank * panels() + p) * groups() * PANEL;
    }
    template <class T>
    const T* numbers(int64_t bank) const {
        return (const T*)data + bank * bank_step;
    }
};

// A group of a row of activations, as bytes: what a byte stands for, and the sums that take the offset of weights away.
struct Group {
    float scale;
    int32_t less8, less128, unused;  // -8 and -128 times the sum of the bytes
    int8_t bytes[GROUP];
};

// Activations: rows of `groups` groups, as bytes, and as floats for weights that are not packed in bytes.
struct Rows {
    int64_t count = 0, groups = 0;
    Group* bytes = nullptr;
    float* values = nullptr;

    static int64_t size(int64_t count, int64_t groups) { return count * groups * (GROUP * 4 + sizeof(Group)) + 256; }
    // Lays the parts out in memory of `size` bytes.
    static Rows in(char* memory, int64_t count, int64_t groups) {
        Rows rows;
        rows.count = count, rows.groups = groups;
        rows.values = (float*)memory;
        rows.bytes = (Group*)(rows.values + count * groups * GROUP);
        return rows;
    }
};

// Quantises one group: bytes in [-127, 127] with scale max / 127.
AXK1_INLINE void quantise_group(F16 a, F16 b, const Rows& rows, int64_t row, int64_t group) {
    static_assert(GROUP == 32, "two vectors a group");
    const int64_t at = row * rows.groups + group;
    Group& to = rows.bytes[at];
    const float most = largest(larger(absolute(a), absolute(b)));
    const float inverse = most > 0 ? 127.0f / most : 0.0f;
    I16 qa = nearest(a * inverse), qb = nearest(b * inverse);
    typedef int8_t C16 __attribute__((vector_size(16)));
    const C16 ca = __builtin_convertvector(qa, C16), cb = __builtin_convertvector(qb, C16);
    memcpy(to.bytes, &ca, 16);
    memcpy(to.bytes + 16, &cb, 16);
    store(rows.values + at * GROUP, a);
    store(rows.values + at * GROUP + 16, b);
    const int32_t total = (int32_t)sum(floats(qa + qb));
    to.scale = most / 127.0f, to.less8 = -8 * total, to.less128 = -128 * total;
}

// Quantises groups [begin, end) of a row of `width` values.
static void quantise(const float* from, int64_t width, const Rows& rows, int64_t row, int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; g++) {
        const int64_t at = g * GROUP;
        quantise_group(load_some(from + at, width - at), load_some(from + at + 16, width - at - 16), rows, row, g);
    }
}

// M rows with one panel: out[m] holds 16 results of row number row[m].
template <int KIND, int M>
static void panel_product(const uint8_t* data, const uint16_t* scales, const Rows& rows, const int32_t* row, F16* out) {
    const int64_t groups = rows.groups;
    F16 total[M] = {};
    const Group* x[M];
    const float* values[M];
    for (int m = 0; m < M; m++) x[m] = rows.bytes + row[m] * groups, values[m] = rows.values + row[m] * groups * GROUP;
    for (int64_t g = 0; g < groups; g++) {
        if (KIND == BF16) {
            for (int c = 0; c < GROUP / 2; c++, data += 64) {
                __builtin_prefetch(data + 2048);
                const U16 pair = load<U16>(data);
                const F16 first = (F16)(pair << 16), second = (F16)(pair & 0xffff0000u);
                for (int m = 0; m < M; m++) {
                    total[m] += first * values[m][g * GROUP + 2 * c];
                    total[m] += second * values[m][g * GROUP + 2 * c + 1];
                }
            }
            continue;
        }
        I16 dots[M];
        for (int m = 0; m < M; m++) dots[m] = splat(KIND == INT8 ? x[m][g].less128 : x[m][g].less8);
        if (KIND == INT8) {
            for (int c = 0; c < GROUP / 4; c++, data += 64) {
                __builtin_prefetch(data + 2048);
                const B64 w = load<B64>(data);
                for (int m = 0; m < M; m++) dots[m] = dot4(dots[m], w, load<int32_t>(x[m][g].bytes + 4 * c));
            }
        } else {
            for (int c = 0; c < GROUP / 8; c++, data += 64) {
                __builtin_prefetch(data + 2048);
                const U16 packed = load<U16>(data);
                const B64 low = (B64)(packed & 0x0f0f0f0fu), high = (B64)((packed >> 4) & 0x0f0f0f0fu);
                for (int m = 0; m < M; m++) {
                    dots[m] = dot4(dots[m], low, load<int32_t>(x[m][g].bytes + 8 * c));
                    dots[m] = dot4(dots[m], high, load<int32_t>(x[m][g].bytes + 8 * c + 4));
                }
            }
        }
        const F16 scale = from_bf16(scales + g * PANEL);
        for (int m = 0; m < M; m++) total[m] += floats(dots[m]) * (scale * x[m][g].scale);
    }
    for (int m = 0; m < M; m++) out[m] = total[m];
}

template <int KIND>
static void panel_rows(const uint8_t* d, const uint16_t* s, const Rows& rows, const int32_t* row, int64_t n, F16* out) {
    for (; n >= 8; n -= 8, row += 8, out += 8) panel_product<KIND, 8>(d, s, rows, row, out);
    if (n & 4) panel_product<KIND, 4>(d, s, rows, row, out), row += 4, out += 4;
    if (n & 2) panel_product<KIND, 2>(d, s, rows, row, out), row += 2, out += 2;
    if (n & 1) panel_product<KIND, 1>(d, s, rows, row, out);
}

static void packed_product(const Matrix& w, int64_t bank, int64_t p, const Rows& x, const int32_t* row, int64_t n, F16* out) {
    const uint8_t* data = w.panel(bank, p);
    const uint16_t* scales = w.kind == BF16 ? nullptr : w.panel_scales(bank, p);
    if (w.kind == BF16) panel_rows<BF16>(data, scales, x, row, n, out);
    if (w.kind == INT8) panel_rows<INT8>(data, scales, x, row, n, out);
    if (w.kind == INT4) panel_rows<INT4>(data, scales, x, row, n, out);
}

// M rows with 4 rows of a matrix: out[m * PANEL + i] holds the 16 parts of row number row[m] times row i.
template <class T, int M>
static void four_rows(const T* const* w, int64_t in, const Rows& rows, const int32_t* row, F16* out) {
    const T *w0 = w[0], *w1 = w[1], *w2 = w[2], *w3 = w[3];
    const float* x[M];
    for (int m = 0; m < M; m++) x[m] = rows.values + (int64_t)row[m] * rows.groups * GROUP;
    F16 total[M][4] = {};
    const auto add = [&](int64_t k, int64_t left) __attribute__((always_inline)) {
        const F16 a = load_some(w0 + k, left), b = load_some(w1 + k, left);
        const F16 c = load_some(w2 + k, left), d = load_some(w3 + k, left);
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) {
            const F16 v = load<F16>(x[m] + k);  // rows of activations are padded with zeros
            total[m][0] += a * v;
            total[m][1] += b * v;
            total[m][2] += c * v;
            total[m][3] += d * v;
        }
    };
    int64_t k = 0;
    for (; k + 16 <= in; k += 16) add(k, 16);
    if (k < in) add(k, in - k);
    for (int m = 0; m < M; m++)
        for (int i = 0; i < 4; i++) out[m * PANEL + i] = total[m][i];
}

// M rows with a panel of 16 rows of a matrix; those behind the last repeat it.
template <class T, int M>
static void row_panel(const T* w, int64_t step, int64_t count, int64_t in, const Rows& x, const int32_t* row, F16* out) {
    F16 parts[M * PANEL];
    for (int64_t i = 0; i < PANEL; i += 4) {
        const T* four[4];
        for (int64_t j = 0; j < 4; j++) four[j] = w + (i + j < count ? i + j : count - 1) * step;
        four_rows<T, M>(four, in, x, row, parts + i);
    }
    for (int m = 0; m < M; m++) out[m] = sums(parts + m * PANEL);
}

template <class T>
static void row_panels(const Matrix& w, int64_t bank, int64_t p, const Rows& x, const int32_t* row, int64_t n, F16* out) {
    const T* from = w.numbers<T>(bank) + p * PANEL * w.step;
    const int64_t count = w.out - p * PANEL;
    for (; n >= ROWS_AT_ONCE; n -= ROWS_AT_ONCE, row += ROWS_AT_ONCE, out += ROWS_AT_ONCE)
        row_panel<T, ROWS_AT_ONCE>(from, w.step, count, w.in, x, row, out);
    if (n & 4) row_panel<T, 4>(from, w.step, count, w.in, x, row, out), row += 4, out += 4;
    if (n & 2) row_panel<T, 2>(from, w.step, count, w.in, x, row, out), row += 2, out += 2;
    if (n & 1) row_panel<T, 1>(from, w.step, count, w.in, x, row, out);
}

// M rows with 16 columns of a matrix: a lane is a column, so that nothing has to be summed across lanes.
template <class T, int M>
static void column_panel(const T* w, int64_t step, int64_t count, int64_t in, const Rows& x, const int32_t* row, F16* out) {
    F16 total[M] = {};
    for (int64_t k = 0; k < in; k++) {
        const F16 v = load_some(w + k * step, count);
        for (int m = 0; m < M; m++) total[m] += v * x.values[(int64_t)row[m] * x.groups * GROUP + k];
    }
    for (int m = 0; m < M; m++) out[m] = total[m];
}

template <class T>
static void column_panels(const Matrix& w, int64_t bank, int64_t p, const Rows& x, const int32_t* row, int64_t n, F16* out) {
    const T* from = w.numbers<T>(bank) + p * PANEL;
    const int64_t count = w.out - p * PANEL;
    for (; n >= 8; n -= 8, row += 8, out += 8) column_panel<T, 8>(from, w.step, count, w.in, x, row, out);
    for (; n; n--, row++, out++) column_panel<T, 1>(from, w.step, count, w.in, x, row, out);
}

// One panel with `n` rows, given by number. A row's result does not depend on the others.
static void product(const Matrix& w, int64_t bank, int64_t p, const Rows& x, const int32_t* row, int64_t n, F16* out) {
    if (w.kind == ROWS32) row_panels<float>(w, bank, p, x, row, n, out);
    if (w.kind == ROWS16) row_panels<uint16_t>(w, bank, p, x, row, n, out);
    if (w.kind == COLUMNS32) column_panels<float>(w, bank, p, x, row, n, out);
    if (w.kind == COLUMNS16) column_panels<uint16_t>(w, bank, p, x, row, n, out);
    if (w.packed()) packed_product(w, bank, p, x, row, n, out);
    if (w.bias)
        for (int64_t m = 0; m < n; m++) out[m] += w.bias.some(p * PANEL, w.out - p * PANEL);
}


// One row of a matrix as floats: an embedding.
static void matrix_row(const Matrix& w, int64_t row, float* to) {
    if (!w.packed()) {
        const Vector all{w.data, w.kind == ROWS16};
        for (int64_t k = 0; k < w.in; k += 16) store_some(to + k, all.some(row * w.step + k, w.in - k), w.in - k);
        return;
    }
    const int64_t p = row / PANEL, lane = row % PANEL;
    const uint8_t* data = w.panel(0, p);
    for (int64_t k = 0; k < w.in; k++) {
        const uint8_t* group = data + k / GROUP * w.group_bytes();
        const int64_t c = k % GROUP;
        if (w.kind == BF16) {
            const uint32_t bits = (uint32_t)load<uint16_t>(group + c / 2 * 64 + lane * 4 + c % 2 * 2) << 16;
            memcpy(to + k, &bits, 4);
            continue;
        }
        const uint32_t scale_bits = (uint32_t)w.panel_scales(0, p)[k / GROUP * PANEL + lane] << 16;
        float scale;
        memcpy(&scale, &scale_bits, 4);
        int32_t weight;
        if (w.kind == INT8)
            weight = (int32_t)group[c / 4 * 64 + lane * 4 + c % 4] - 128;
        else
            weight = (int32_t)(group[c / 8 * 64 + lane * 4 + c % 4] >> (c % 8 / 4 * 4) & 15) - 8;
        to[k] = weight * scale;
    }
}
