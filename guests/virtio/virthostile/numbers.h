/* Random and adversarial numbers, and the memory that devices may write: the sandbox at the end of RAM. */
#pragma once
#include "target.h"

/* Room of the rings of a queue in the sandbox. */
#define RINGS_BYTES 0x8000ul

/* Takes the sandbox off the arena. `seed` repeats a run; `mmio` lets buffers lie in registers too. */
void numbers_start(uint64_t seed, bool mmio);

/* Registers at this address are a place for buffers, if those are wanted. */
void numbers_add_device(uint64_t base);

/* Ends the guest if a device wrote where nobody told it to. */
void numbers_check(void);

/* From 0 up to `bound` - 1. */
uint64_t any_below(uint64_t bound);

/* True once in `chance` calls. */
bool once_in(unsigned chance);

uint64_t any_number(void);

/* An address of a buffer: in the sandbox, at a boundary of RAM, in none, or behind 2^64. Where a device writes to it,
 * it does the guest no harm. Nor does a balloon that takes pages away whose numbers stand there. */
uint64_t any_address(const struct target *target);

/* A length: small enough to end before the guest's own memory, wherever it starts, or longer than all RAM. */
uint32_t any_length(void);

/* `bytes` in the sandbox, for buffers; not of one's own. */
uint64_t any_buffer(const struct target *target, uint32_t bytes);

/* A place for a table of up to 256 descriptors. */
uint64_t any_table(const struct target *target);

/* A place for a ring, good or bad. */
uint64_t any_ring(const struct target *target);

/* The rings of a queue have this place in the sandbox. */
uint64_t rings_of(const struct target *target, unsigned queue);
