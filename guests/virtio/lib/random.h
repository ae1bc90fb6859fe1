/* Pseudo-random numbers that a seed repeats (xorshift64*). */
#pragma once
#include <stdint.h>

static inline uint64_t random_next(uint64_t *state) {
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dul;
}

/* From 0 up to `bound` - 1. */
static inline uint64_t random_below(uint64_t *state, uint64_t bound) {
	return (random_next(state) >> 16) % bound;
}
