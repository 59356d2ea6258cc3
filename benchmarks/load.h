/* load.h: the parts that the load generators share: time, errors, phases, latencies, and sockets.
 *
 * At each phase, one line is written to stdout, its name and key=value pairs. Then one line (or the end) of stdin is
 * awaited, so that the server's CPU time and memory can be read in between. An error is a line on stderr and status 1.
 * Everything is static, so include this once, in a program of one file.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

/* ---- time, errors, phases ---- */

static double clock_seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static double now(void) {
    return clock_seconds(CLOCK_MONOTONIC);
}

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *why, ...) {
    va_list arguments;
    va_start(arguments, why);
    vfprintf(stderr, why, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void await_line(void) {
    for (int c = getchar(); c != '\n' && c != EOF;) c = getchar();
}

__attribute__((format(printf, 1, 2))) static void phase(const char *line, ...) {
    va_list arguments;
    va_start(arguments, line);
    vprintf(line, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
    await_line();
}

/* ---- latencies: a histogram of nanoseconds whose buckets are less than 1 % wide ---- */

enum { FINE = 128, FINE_BITS = 7 };
struct histogram {
    long counts[64 * FINE], total;
    double sum, worst;
};

static void record(struct histogram *h, double seconds) {
    uint64_t ns = seconds > 0 ? (uint64_t)(seconds * 1e9) : 0;
    int shift = ns < FINE ? 0 : 63 - __builtin_clzll(ns) - FINE_BITS;
    int bucket = ns < FINE ? (int)ns : (shift + 1) * FINE + (int)((ns >> shift) & (FINE - 1));
    h->counts[bucket]++;
    h->total++;
    h->sum += seconds;
    if (seconds > h->worst) h->worst = seconds;
}

static double percentile_us(const struct histogram *h, double share) {
    long rank = (long)(h->total * share), seen = 0;
    for (int bucket = 0; bucket < 64 * FINE; bucket++) {
        seen += h->counts[bucket];
        if (seen <= rank) continue;
        int shift = bucket < FINE ? 0 : bucket / FINE - 1;
        uint64_t ns = bucket < FINE ? (uint64_t)bucket : (uint64_t)(FINE + bucket % FINE) << shift;
        return ns * 1e-3;
    }
    return h->worst * 1e6;
}

/* ---- sockets ---- */

static void allow_files(rlim_t wanted) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= wanted) return;
    if (limit.rlim_max < wanted) limit.rlim_max = wanted; /* only root may raise it */
    limit.rlim_cur = wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit)) die("%lu sockets are too many: see ulimit -Hn", (unsigned long)wanted);
}

#endif
