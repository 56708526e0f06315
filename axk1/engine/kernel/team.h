// Threads that walk through the stages of a pass together, and the memory that they share.
#pragma once
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <sched.h>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

// A barrier that spins for some microseconds and then gives the core away, since others may need it to get here.
class Team {
    alignas(64) std::atomic<int> arrived{0};
    alignas(64) std::atomic<int> phase{0};

  public:
    alignas(64) std::atomic<int64_t> taken[2] = {0, 0};  // of the items that are shared out one by one
    alignas(64) int size = 1;
    void wait() {
        if (size == 1) return;
        const int now = phase.load(std::memory_order_relaxed);
        if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
            arrived.store(0, std::memory_order_relaxed);
            phase.store(now + 1, std::memory_order_release);
            return;
        }
        for (int turn = 0; phase.load(std::memory_order_acquire) == now; turn++) {
            if (turn > 2000) sched_yield();
#if defined(__x86_64__)
            _mm_pause();
#endif
        }
    }
};

struct Worker {
    Team& team;
    int id;
    int turn = 0;

    // Calls f(i) for this thread's part of n items; afterwards all are done.
    template <class F>
    void each(int64_t n, F f) {
        for (int64_t i = n * id / team.size, end = n * (id + 1) / team.size; i < end; i++) f(i);
        team.wait();
    }
    // The same for long stages: half of the items in fixed parts, the others by whoever is free, since a thread may
    // lose its core for a while.
    template <class F>
    void share(int64_t n, F f) {
        if (team.size == 1) return each(n, f);
        const int64_t fixed = n / 2 / team.size, some = n / (16 * team.size) + 1;
        for (int64_t i = fixed * id; i < fixed * (id + 1); i++) f(i);
        std::atomic<int64_t>& taken = team.taken[turn];
        for (;;) {
            const int64_t from = fixed * team.size + taken.fetch_add(some, std::memory_order_relaxed);
            if (from >= n) break;
            for (int64_t i = from; i < n && i < from + some; i++) f(i);
        }
        turn ^= 1;
        if (id == 0) team.taken[turn].store(0, std::memory_order_relaxed);  // nobody is there before the barrier
        team.wait();
    }
    // The same, in turns: for items of which some are much longer than others.
    template <class F>
    void in_turns(int64_t n, F f) {
        for (int64_t i = id; i < n; i += team.size) f(i);
        team.wait();
    }
    template <class F>
    void once(F f) {
        if (id == 0) f();
        team.wait();
    }
};

// Runs f(worker) on `threads` threads of torch's own pool.
template <class F>
void together(int threads, F f) {
    Team team;
#ifdef _OPENMP
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp single
        team.size = omp_get_num_threads();
        Worker worker{team, omp_get_thread_num()};
        f(worker);
    }
#else
    Worker worker{team, 0};
    f(worker);
#endif
}

class Memory {
    struct Free {
        void operator()(void* p) const { free(p); }
    };
    std::vector<std::unique_ptr<void, Free>> parts;

  public:
    template <class T>
    T* take(int64_t count) {
        void* p = aligned_alloc(64, (count * sizeof(T) + 127) / 64 * 64);
        if (!p) abort();
        parts.emplace_back(p);
        return (T*)p;
    }
};
