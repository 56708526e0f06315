// What Python hands over: the network, layer by layer, and the rows of one pass. Mirrored by structures.py.
#pragma once
#include "products.h"

struct Layer {
    Vector input_norm, post_norm;
    Matrix q_a, q, k, v, o;  // latent attention: q_a may be missing, k is kv_a, v is a bank with a matrix per head
    Matrix k_b;              // latent attention: per head, from the query without position to the latent
    Vector q_norm, k_norm;  // of a head, or of the compressed query and the latent; may be missing
    Matrix gate, up, down;  // dense, or the shared experts
    int64_t sparse;
    Vector router, router_bias, post_mlp_norm;
    Matrix experts_gate, experts_up, experts_down;
    void* cache;
};

struct Network {
    int64_t hidden, layers, heads, kv_heads, latent;
    int64_t head, nope, rope, value, rank, interleave;  // head: of grouped-query attention
    int64_t experts, chosen, groups, chosen_groups, group_rule, normalise;  // group_rule: 0 top2sum, 1 max, 2 none
    int64_t block_size, cache_width, cache_narrow;  // narrow: entries in bfloat16
    float eps, latent_eps, scale, rope_scale, routed_scale, unused;
    const float* inv_freq;
    Vector norm;
    Matrix embedding;
    const Layer* layer;
};

// Rows of a pass: tokens in the order of the pass, each with its sequence's block table.
struct Pass {
    int64_t rows;
    const int64_t *tokens, *positions;
    const int64_t* table_start;  // where a row's block table begins in `tables`
    const int64_t* tables;
    float* states;  // [rows, hidden], after the final norm
};
