/* The kernel `spansum` of kernels.cs in C, in the same protocol. Built by gcc -O3 for baseline x86-64. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { COUNT = 1 << 20 };
static int numbers[COUNT];

__attribute__((noinline)) static int sum(const int *data, int length)
{
    int total = 0;
    for (int i = 0; i < length; i++) total += data[i];
    return total;
}

static int64_t span_sum(int n)
{
    uint32_t total = (uint32_t)n;
    for (int round = 0; round < 16; round++)
        for (int length = 1 << 10; length <= COUNT; length <<= length == 1 << 10 ? 4 : 6)
            for (int start = 0; start < COUNT; start += length) {
                /* Memory may have changed: no call is the same as the one before. */
                __asm__ volatile("" ::: "memory");
                total = total * 31 + (uint32_t)sum(numbers + start, length);
            }
    return total;
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int main(int argc, char **argv)
{
    int repetitions = argc > 2 ? atoi(argv[2]) : 15;
    uint32_t random = 17;
    for (int i = 0; i < COUNT; i++) { random = random * 1664525u + 1013904223u; numbers[i] = (int)(random >> 8); }
    uint64_t checksum = 0;
    for (int i = 0; i < repetitions; i++) {
        int64_t start = now();
        checksum = checksum * 31 + (uint64_t)span_sum(i);
        printf("iter %d %" PRId64 "\n", i, now() - start);
    }
    printf("checksum %" PRId64 "\n", (int64_t)checksum);
    return 0;
}
