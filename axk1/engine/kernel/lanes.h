// Sixteen numbers at a time, in the compiler's own vector types, so that one source serves every instruction set.
// Only `dot4`, the product of bytes, is written for each: AVX-512 VNNI, AVX2, and plain C++.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

typedef float F16 __attribute__((vector_size(64)));
typedef int32_t I16 __attribute__((vector_size(64)));
typedef uint32_t U16 __attribute__((vector_size(64)));
typedef uint16_t H16 __attribute__((vector_size(32)));
typedef uint8_t B64 __attribute__((vector_size(64)));

#define AXK1_INLINE_MEMBER inline __attribute__((always_inline))
#define AXK1_INLINE static AXK1_INLINE_MEMBER

template <class V>
AXK1_INLINE V load(const void* from) {
    V value;
    memcpy(&value, from, sizeof value);
    return value;
}

AXK1_INLINE void store(void* to, const F16& value) { memcpy(to, &value, sizeof value); }
AXK1_INLINE F16 splat(float x) { return F16{} + x; }
AXK1_INLINE I16 splat(int32_t x) { return I16{} + x; }
AXK1_INLINE F16 floats(I16 x) { return __builtin_convertvector(x, F16); }

// bfloat16 is the upper half of a float.
AXK1_INLINE F16 from_bf16(const uint16_t* from) {
    return (F16)(__builtin_convertvector(load<H16>(from), U16) << 16);
}

AXK1_INLINE F16 load_some(const float* from, int64_t count) {
    if (count >= 16) return load<F16>(from);
    F16 value = {};
    if (count > 0) memcpy(&value, from, 4 * count);
    return value;
}

AXK1_INLINE F16 load_some(const uint16_t* from, int64_t count) {
    if (count >= 16) return from_bf16(from);
    uint16_t some[16] = {};
    if (count > 0) memcpy(some, from, 2 * count);
    return from_bf16(some);
}

AXK1_INLINE void store_some(float* to, F16 value, int64_t count) { memcpy(to, &value, 4 * (count < 16 ? count : 16)); }

// Rounds to the nearest bfloat16, ties to even.
AXK1_INLINE void store_some(uint16_t* to, F16 value, int64_t count) {
    const U16 bits = (U16)value;
    const H16 narrow = __builtin_convertvector((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, H16);
    memcpy(to, &narrow, 2 * (count < 16 ? count : 16));
}

// Numbers of a network, in its own format.
struct Vector {
    const void* data;  // may be null
    int64_t narrow;    // bfloat16 instead of float32

    explicit operator bool() const { return data; }
    AXK1_INLINE_MEMBER F16 some(int64_t from, int64_t count) const {
        return narrow ? load_some((const uint16_t*)data + from, count) : load_some((const float*)data + from, count);
    }
    float operator[](int64_t i) const { return some(i, 1)[0]; }
};

AXK1_INLINE F16 larger(F16 a, F16 b) { return a > b ? a : b; }

AXK1_INLINE F16 absolute(F16 x) { return (F16)((U16)x & 0x7fffffffu); }

AXK1_INLINE float sum(F16 x) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)x);
#else
    float total = 0;
    for (int i = 0; i < 16; i++) total += x[i];
    return total;
#endif
}

AXK1_INLINE float largest(F16 x) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)x);
#else
    float most = x[0];
    for (int i = 1; i < 16; i++) most = x[i] > most ? x[i] : most;
    return most;
#endif
}

// The sums of 16 vectors, as one vector: halves the number of vectors four times over.
AXK1_INLINE F16 sums(F16* v) {
    const I16 even1 = {0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30}, odd1 = even1 + 1;
    const I16 even2 = {0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29}, odd2 = even2 + 2;
    const I16 even4 = {0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27}, odd4 = even4 + 4;
    const I16 even8 = {0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23}, odd8 = even8 + 8;
    for (int i = 0; i < 8; i++)
        v[i] = __builtin_shuffle(v[2 * i], v[2 * i + 1], even1) + __builtin_shuffle(v[2 * i], v[2 * i + 1], odd1);
    for (int i = 0; i < 4; i++)
        v[i] = __builtin_shuffle(v[2 * i], v[2 * i + 1], even2) + __builtin_shuffle(v[2 * i], v[2 * i + 1], odd2);
    for (int i = 0; i < 2; i++)
        v[i] = __builtin_shuffle(v[2 * i], v[2 * i + 1], even4) + __builtin_shuffle(v[2 * i], v[2 * i + 1], odd4);
    return __builtin_shuffle(v[0], v[1], even8) + __builtin_shuffle(v[0], v[1], odd8);
}

// The nearest integer, ties to even, of numbers below 2^22: the float's own rounding does it.
AXK1_INLINE I16 nearest(F16 x) { return (I16)(x + 12582912.0f) - 0x4b400000; }

// e^x to a relative error of 2e-7 (polynomial of Cephes); x below -87 gives a number near zero.
AXK1_INLINE F16 exponential(F16 x) {
    x = larger(x, splat(-87.0f));
    x = x < 88.0f ? x : splat(88.0f);
    I16 n = nearest(x * 1.44269504f);
    F16 whole = floats(n);
    F16 r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    F16 p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (F16)((n + 127) << 23);
}

// For each of 16 lanes: total += sum of 4 products of an unsigned byte of w and a signed byte of x.
AXK1_INLINE I16 dot4(I16 total, B64 w, int32_t x) {
#if defined(__AVX512VNNI__)
    return (I16)_mm512_dpbusd_epi32((__m512i)total, (__m512i)w, _mm512_set1_epi32(x));
#elif defined(__AVX2__)
    const __m256i four = _mm256_set1_epi32(x), low = _mm256_set1_epi16(0x00ff);
    const __m256i x_even = _mm256_srai_epi16(_mm256_slli_epi16(four, 8), 8), x_odd = _mm256_srai_epi16(four, 8);
    for (int half = 0; half < 2; half++) {
        __m256i bytes, lanes;
        memcpy(&bytes, (const char*)&w + 32 * half, 32);
        memcpy(&lanes, (const char*)&total + 32 * half, 32);
        __m256i even = _mm256_madd_epi16(_mm256_and_si256(bytes, low), x_even);
        __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(bytes, 8), x_odd);
        lanes = _mm256_add_epi32(lanes, _mm256_add_epi32(even, odd));
        memcpy((char*)&total + 32 * half, &lanes, 32);
    }
    return total;
#else
    int8_t four[4];
    memcpy(four, &x, 4);
    for (int lane = 0; lane < 16; lane++)
        for (int i = 0; i < 4; i++) total[lane] += (int32_t)w[4 * lane + i] * four[i];
    return total;
#endif
}
